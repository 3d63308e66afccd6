//! A stand-in for Kamailio that replies with recordings, or not at all.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use binrpc::{BinrpcValue, DecodeLimits, PacketHeader, PacketKind, decode, encode};

/// A recorded exchange.
pub struct Capture {
    pub name: String,
    /// The method and its arguments.
    pub command: String,
    pub request: Vec<u8>,
    pub reply: Vec<u8>,
    /// The output of `kamcmd`.
    pub printed: String,
}

/// The reaction to a request.
#[derive(Clone, Default)]
pub enum Answer {
    /// The recorded reply, or the fault for an unknown method.
    #[default]
    Recorded,
    /// No reply.
    Hang,
    /// Closing the connection.
    HangUp,
}

/// A peer on a Unix stream socket and on TCP.
#[derive(Clone)]
pub struct Replay {
    pub unix: String,
    pub tcp: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    replies: Mutex<HashMap<String, (PacketKind, Vec<u8>)>>,
    answer: Mutex<Answer>,
    requests: Mutex<Vec<(String, Vec<u8>)>>,
    connections: AtomicUsize,
    /// Number of connections that are answered, the others hang; 0 for all.
    answered: AtomicUsize,
}

/// The recorded exchanges of a folder below `crates/binrpc/tests/captures`.
pub fn captures(folder: &str) -> Vec<Capture> {
    let top = crate::root().join("crates/binrpc/tests/captures").join(folder);
    let index = fs::read_to_string(top.join("index.tsv")).unwrap();
    let read = |name: &str, ending: &str| fs::read(top.join(format!("{name}{ending}"))).unwrap();
    let rows = index.lines().skip(1).map(|line| line.split('\t').collect::<Vec<_>>());
    rows.map(|row| Capture {
        name: row[0].to_owned(),
        command: row[1].to_owned(),
        request: read(row[0], ".request.bin"),
        reply: read(row[0], ".reply.bin"),
        printed: String::from_utf8(read(row[0], ".kamcmd.txt")).unwrap(),
    })
    .collect()
}

/// The kind and the payload of a packet.
pub fn payload(packet: &[u8]) -> (PacketKind, &[u8]) {
    let (header, start) = PacketHeader::decode(packet).unwrap().unwrap();
    (header.kind, &packet[start..])
}

impl Replay {
    /// Starts a stand-in in a folder that outlives it.
    pub fn start(folder: &Path) -> Self {
        let path: PathBuf = folder.join("ctl");
        let unix = UnixListener::bind(&path).unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let state = Arc::<State>::default();
        let replay = Self {
            unix: format!("unix:{}", path.display()),
            tcp: format!("tcp:{}", tcp.local_addr().unwrap()),
            state: Arc::clone(&state),
        };
        let of_unix = Arc::clone(&state);
        thread::spawn(move || {
            unix.incoming().flatten().for_each(|stream| serve(stream, &of_unix));
        });
        thread::spawn(move || tcp.incoming().flatten().for_each(|stream| serve(stream, &state)));
        replay
    }

    /// Makes it reply with the recordings of a folder.
    pub fn learn(&self, folder: &str) {
        // Of two recordings of one command the first wins: the second is from another state.
        for capture in captures(folder).iter().rev() {
            self.learn_one(capture);
        }
    }

    pub fn learn_one(&self, capture: &Capture) {
        self.set_recorded(&capture.command, capture);
    }

    /// Makes it reply to this command with these records.
    pub fn set(&self, command: &str, records: &[BinrpcValue]) {
        let mut payload = Vec::new();
        records.iter().for_each(|record| encode(record, &mut payload));
        self.state.replies.lock().unwrap().insert(command.to_owned(), (PacketKind::Reply, payload));
    }

    /// Makes it reply to this command with the reply of a recording of another command.
    pub fn set_recorded(&self, command: &str, capture: &Capture) {
        let (kind, payload) = payload(&capture.reply);
        let reply = (kind, payload.to_vec());
        self.state.replies.lock().unwrap().insert(command.to_owned(), reply);
    }

    /// Makes it reply to this command with the fault for an unknown method.
    pub fn forget(&self, command: &str) {
        self.state.replies.lock().unwrap().remove(command);
    }

    /// Sets the reaction to further requests.
    pub fn answer(&self, answer: Answer) {
        *self.state.answer.lock().unwrap() = answer;
    }

    /// Makes it reply on the first connections only; later ones hang.
    pub fn answer_only(&self, connections: usize) {
        self.state.answered.store(connections, Ordering::SeqCst);
    }

    /// The commands requested so far.
    pub fn requests(&self) -> Vec<String> {
        self.state.requests.lock().unwrap().iter().map(|(command, _)| command.clone()).collect()
    }

    /// The payload of the latest request.
    pub fn last_request(&self) -> Vec<u8> {
        self.state.requests.lock().unwrap().last().unwrap().1.clone()
    }

    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: impl Read + Write + Send + 'static, state: &Arc<State>) {
    let before = state.connections.fetch_add(1, Ordering::SeqCst);
    let state = Arc::clone(state);
    thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        // A request of the tests fits into one read.
        while let Ok(size @ 1..) = stream.read(&mut buffer) {
            let answered = state.answered.load(Ordering::SeqCst);
            let answer = match answered > 0 && before >= answered {
                true => Answer::Hang,
                false => state.answer.lock().unwrap().clone(),
            };
            match answer {
                Answer::Recorded => {
                    let answer = recorded(&state, &buffer[..size]);
                    if stream.write_all(&answer).is_err() {
                        return;
                    }
                }
                Answer::Hang => {}
                Answer::HangUp => return,
            }
        }
    });
}

fn recorded(state: &State, request: &[u8]) -> Vec<u8> {
    let (header, start) = PacketHeader::decode(request).unwrap().unwrap();
    let records = decode(&request[start..], &DecodeLimits::default()).unwrap();
    let words: Vec<String> = records.iter().map(word).collect();
    let command = words.join(" ");
    state.requests.lock().unwrap().push((command.clone(), request[start..].to_vec()));
    let replies = state.replies.lock().unwrap();
    let (kind, payload) = replies.get(&command).cloned().unwrap_or_else(|| {
        let mut payload = Vec::new();
        encode(&BinrpcValue::Int(500), &mut payload);
        encode(&format!("command {} not found", words[0]).as_str().into(), &mut payload);
        (PacketKind::Fault, payload)
    });
    encode::packet(kind, header.cookie, &payload)
}

fn word(value: &BinrpcValue) -> String {
    match value {
        BinrpcValue::Int(int) => int.to_string(),
        other => other.text().unwrap().into_owned(),
    }
}
