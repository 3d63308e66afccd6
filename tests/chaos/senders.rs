//! The senders: one for each listener, which numbers its samples.

use std::io::{self, ErrorKind, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::config::Site;

/// The senders' names, which are the values of the tag `s`, with the listener of each as the status shows
/// it. A listener has no other sender.
pub(crate) const SENDERS: [&str; 6] =
    ["udp", "udp_statsd", "tcp", "tcp_statsd", "unix", "gram_statsd"];

/// Samples in each step: a timer, a counter and a gauge.
pub(crate) const SAMPLES: u64 = 3;

/// Time limit of a write that blocks. On a stream, the write is then repeated.
const PATIENCE: Duration = Duration::from_millis(100);
/// The pause between two steps outside bursts.
const PAUSE: Duration = Duration::from_millis(12);

/// The place of a sender in [`SENDERS`].
pub(crate) fn place_of(name: &str) -> Option<usize> {
    SENDERS.iter().position(|sender| *sender == name)
}

/// The count of the counter in a step.
pub(crate) fn weight(number: u64) -> u64 {
    number % 7 + 1
}

/// Whether a step is one datagram, which is in one window as a whole.
pub(crate) fn is_datagram(sender: usize) -> bool {
    ["udp", "udp_statsd", "gram_statsd"].contains(&SENDERS[sender])
}

/// A sender sends a message that tallyd rejects before each step whose number is a multiple of
/// this.
const REJECTED_EVERY: u64 = 53;

/// A message that tallyd rejects. The reason changes from one message of a sender to the next.
fn rejected(sender: usize, number: u64) -> &'static str {
    let messages = if SENDERS[sender].ends_with("statsd") {
        ["t:x|ms\n", "no colon\n", ":1|c\n", "c:1|z\n"]
    } else {
        ["not JSON\n", "{\"metric_name\":\"t\"}\n", "{\"metric_name\":1}\n", "[1]\n"]
    };
    messages[(number / REJECTED_EVERY) as usize % messages.len()]
}

fn step(sender: usize, number: u64) -> String {
    let (name, count) = (SENDERS[sender], weight(number));
    if name.ends_with("statsd") {
        return format!("t:{number}|ms|#s:{name}\nc:{count}|c|#s:{name}\ng:+1|g|#s:{name}\n");
    }
    let line = |metric: &str, kind: &str, value: String| {
        format!(
            "{{\"metric_name\":\"{metric}\",\"metric_type\":\"{kind}\",\"value\":{value},\"s\":\"{name}\"}}\n"
        )
    };
    let timer = line("t", "timer", number.to_string());
    timer + &line("c", "counter", count.to_string()) + &line("g", "gauge", "\"+1\"".to_owned())
}

/// All senders.
pub(crate) struct Senders {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    site: Arc<Site>,
    senders: Vec<Sender>,
    is_open: AtomicBool,
    is_over: AtomicBool,
    /// The daemon's run; a sender makes a new connection to each.
    run: AtomicU64,
}

#[derive(Default)]
struct Sender {
    /// The number of the last step that was sent.
    sent: AtomicU64,
    /// Locked during a step.
    step: Mutex<()>,
    /// Messages that tallyd rejects.
    rejected: AtomicU64,
    /// Such messages that may have arrived in part.
    rejected_in_doubt: AtomicU64,
    /// Steps that may have arrived in part, because the connection broke.
    in_doubt: Mutex<Vec<u64>>,
}

impl Senders {
    /// Starts the senders, which wait for [`Senders::open`].
    pub(crate) fn start(site: &Arc<Site>) -> Self {
        let senders = SENDERS.map(|_| Sender::default()).into();
        let site = Arc::clone(site);
        let (is_open, is_over, run) = Default::default();
        let shared = Arc::new(Shared { site, senders, is_open, is_over, run });
        let threads = (0..SENDERS.len()).map(|place| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.run(place))
        });
        Self { threads: threads.collect(), shared }
    }

    /// Lets the senders send to a run of the daemon.
    pub(crate) fn open(&self, run: u64) {
        self.shared.run.store(run, Ordering::SeqCst);
        self.shared.is_open.store(true, Ordering::SeqCst);
    }

    /// Lets the senders pause, and waits until they do.
    pub(crate) fn close(&self) {
        self.shared.is_open.store(false, Ordering::SeqCst);
        self.shared.senders.iter().for_each(|sender| drop(sender.step.lock().unwrap()));
    }

    /// The number of the last step of each.
    pub(crate) fn sent(&self) -> Vec<u64> {
        self.shared.senders.iter().map(|sender| sender.sent.load(Ordering::SeqCst)).collect()
    }

    /// The number of messages of each that tallyd rejects, and how many more may have arrived.
    pub(crate) fn rejected(&self) -> Vec<(u64, u64)> {
        let load = |number: &AtomicU64| number.load(Ordering::SeqCst);
        let senders = self.shared.senders.iter();
        senders.map(|one| (load(&one.rejected), load(&one.rejected_in_doubt))).collect()
    }

    /// The steps in doubt of each.
    pub(crate) fn in_doubt(&self) -> Vec<Vec<u64>> {
        self.shared.senders.iter().map(|sender| sender.in_doubt.lock().unwrap().clone()).collect()
    }

    pub(crate) fn stop(self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

impl Shared {
    fn run(&self, place: usize) {
        let mut wire: Option<(u64, Wire)> = None;
        while !self.is_over.load(Ordering::SeqCst) {
            let sent = self.step(place, &mut wire);
            // Some bursts, some pauses.
            if !matches!(sent, Some(number) if number % 128 < 40) {
                thread::sleep(PAUSE);
            }
        }
    }

    /// Sends one step if it can. Returns its number.
    fn step(&self, place: usize, wire: &mut Option<(u64, Wire)>) -> Option<u64> {
        let sender = &self.senders[place];
        let _in_step = sender.step.lock().unwrap();
        if !self.is_open.load(Ordering::SeqCst) {
            return None;
        }
        let run = self.run.load(Ordering::SeqCst);
        if wire.as_ref().is_none_or(|(of_run, _)| *of_run != run) {
            *wire = Wire::open(place, &self.site).ok().map(|wire| (run, wire));
        }
        let (_, open) = wire.as_mut()?;
        let number = sender.sent.load(Ordering::SeqCst) + 1;
        if number.is_multiple_of(REJECTED_EVERY) {
            // The step follows when this message has been sent.
            match open.send(rejected(place, number).as_bytes()) {
                Sent::Whole => sender.rejected.fetch_add(1, Ordering::SeqCst),
                Sent::Not => return None,
                Sent::Perhaps => {
                    sender.rejected_in_doubt.fetch_add(1, Ordering::SeqCst);
                    *wire = None;
                    return None;
                }
            };
        }
        match open.send(step(place, number).as_bytes()) {
            Sent::Whole => sender.sent.store(number, Ordering::SeqCst),
            Sent::Not => return None,
            Sent::Perhaps => {
                sender.in_doubt.lock().unwrap().push(number);
                sender.sent.store(number, Ordering::SeqCst);
                *wire = None;
            }
        }
        Some(number)
    }
}

/// Whether bytes were sent.
enum Sent {
    Whole,
    Not,
    Perhaps,
}

enum Wire {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Unix(UnixStream),
    Gram(UnixDatagram),
}

impl Wire {
    fn open(place: usize, site: &Site) -> io::Result<Self> {
        let udp = |port: u16| {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            socket.connect(("127.0.0.1", port))?;
            Ok(Self::Udp(socket))
        };
        let tcp = |port: u16| {
            let stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(Self::Tcp(stream))
        };
        match SENDERS[place] {
            "udp" => udp(site.udp_json),
            "udp_statsd" => udp(site.udp_statsd),
            "tcp" => tcp(site.tcp_json),
            "tcp_statsd" => tcp(site.tcp_statsd),
            "unix" => {
                let stream = UnixStream::connect(site.folder.join("json.sock"))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Ok(Self::Unix(stream))
            }
            _ => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(site.folder.join("statsd.sock"))?;
                socket.set_write_timeout(Some(PATIENCE))?;
                Ok(Self::Gram(socket))
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Sent {
        match self {
            Self::Udp(socket) => whole_or_not(socket.send(bytes)),
            Self::Gram(socket) => whole_or_not(socket.send(bytes)),
            Self::Tcp(stream) => write(stream, bytes),
            Self::Unix(stream) => write(stream, bytes),
        }
    }
}

fn whole_or_not(sent: io::Result<usize>) -> Sent {
    sent.map_or(Sent::Not, |_| Sent::Whole)
}

/// Writes all bytes, however long it takes, unless the connection breaks.
fn write(stream: &mut impl Write, bytes: &[u8]) -> Sent {
    let mut rest = bytes;
    while !rest.is_empty() {
        match stream.write(rest) {
            Ok(length) => rest = &rest[length..],
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                _ => return Sent::Perhaps,
            },
        }
    }
    Sent::Whole
}
