//! A stand-in for InfluxDB 1 that misbehaves on command.

use std::io::{self, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::http_request::HttpRequest;
use socket2::SockRef;

use crate::acks::Acks;
use crate::evidence::Evidence;

/// The reaction to a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum InfluxMode {
    Works,
    /// This status, without storing anything.
    Status(u16),
    /// Refuses the lines of gauges and stores the others, as after a conflict of types.
    Partial,
    /// 413 for more lines than this.
    TooLarge(usize),
    /// A web page with status 200.
    LoginPage,
    /// No reply, until the mode changes.
    Silent,
    ResetBefore,
    /// Stores the lines and resets the connection.
    ResetAfter,
    /// Stores the lines and closes the connection within the reply.
    HalfReply,
    /// Stores the lines and replies byte by byte.
    SlowReply,
    /// Closes the connection after each reply.
    Closes,
    /// Closes the socket that accepts connections.
    Refuses,
}

impl InfluxMode {
    pub(crate) const ALL: [Self; 18] = [
        Self::Works,
        Self::Works,
        Self::Partial,
        Self::Partial,
        Self::Status(500),
        Self::Status(503),
        Self::Status(429),
        Self::Status(404),
        Self::Status(401),
        Self::TooLarge(3),
        Self::LoginPage,
        Self::Silent,
        Self::ResetBefore,
        Self::ResetAfter,
        Self::HalfReply,
        Self::SlowReply,
        Self::Closes,
        Self::Refuses,
    ];
}

/// The server.
#[derive(Clone)]
pub(crate) struct Influx(Arc<State>);

struct State {
    port: u16,
    now: Mutex<Now>,
    /// The daemon's run, which a connection belongs to from its beginning.
    run: AtomicU64,
    evidence: Mutex<Evidence>,
    acks: Mutex<Acks>,
}

#[derive(Clone, Copy, PartialEq)]
struct Now {
    mode: InfluxMode,
    /// The last part of its address, 127.0.0.x.
    host: u8,
}

impl Influx {
    pub(crate) fn start(port: u16) -> Self {
        let now = Mutex::new(Now { mode: InfluxMode::Works, host: 1 });
        let (run, evidence, acks) = Default::default();
        let server = Self(Arc::new(State { port, now, run, evidence, acks }));
        let state = Arc::clone(&server.0);
        thread::spawn(move || accept(&state));
        server
    }

    pub(crate) fn set(&self, mode: InfluxMode) {
        self.0.now.lock().unwrap().mode = mode;
    }

    /// All connections from now on belong to this run of the daemon.
    pub(crate) fn set_run(&self, run: u64) {
        self.0.run.store(run, Ordering::SeqCst);
    }

    /// The ends of the windows up to `until_ms` that a run sent although an earlier one had them
    /// acknowledged.
    pub(crate) fn repeated(&self, run: u64, until_ms: u64) -> Vec<u64> {
        self.0.acks.lock().unwrap().repeated(run, until_ms)
    }

    /// Moves to the next of three addresses. Returns its last part.
    pub(crate) fn relocate(&self) -> u8 {
        let mut now = self.0.now.lock().unwrap();
        now.host = now.host % 3 + 1;
        now.host
    }

    pub(crate) fn evidence(&self) -> std::sync::MutexGuard<'_, Evidence> {
        self.0.evidence.lock().unwrap()
    }
}

impl State {
    fn now(&self) -> Now {
        *self.now.lock().unwrap()
    }
}

/// Accepts connections at the current address while the mode allows it.
fn accept(state: &Arc<State>) {
    let mut listener: Option<(u8, TcpListener)> = None;
    loop {
        let now = state.now();
        if now.mode == InfluxMode::Refuses
            || listener.as_ref().is_some_and(|(host, _)| *host != now.host)
        {
            listener = None;
        } else if listener.is_none() {
            let address = SocketAddr::from((Ipv4Addr::new(127, 0, 0, now.host), state.port));
            // Another program may hold the port for a moment.
            listener = TcpListener::bind(address).ok().map(|bound| (now.host, bound));
        }
        match listener.as_ref().map(|(_, listener)| {
            listener.set_nonblocking(true).unwrap();
            listener.accept()
        }) {
            Some(Ok((stream, _))) => {
                let state = Arc::clone(state);
                thread::spawn(move || serve(&stream, now.host, &state));
            }
            _ => thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// Serves a connection until it ends. An error is the end of the connection too.
fn serve(stream: &TcpStream, host: u8, state: &State) {
    let _ended = stream.set_nonblocking(false).and_then(|()| serve_requests(stream, host, state));
}

fn serve_requests(stream: &TcpStream, host: u8, state: &State) -> io::Result<()> {
    let run = state.run.load(Ordering::SeqCst);
    let mut reader = BufReader::new(stream);
    while let Some(request) = HttpRequest::read(&mut reader)? {
        let (seconds, body) = (request.first_line.contains("precision=s"), request.text());
        let now = state.now();
        // A server that has moved does not serve its old connections.
        let mode = if now.host == host { now.mode } else { InfluxMode::ResetBefore };
        let lines = body.lines().count();
        match mode {
            InfluxMode::Status(status) => refuse(stream, status)?,
            InfluxMode::TooLarge(max) if lines > max => refuse(stream, 413)?,
            InfluxMode::LoginPage => {
                reply(
                    stream,
                    "200 OK",
                    "Content-Type: text/html\r\n",
                    "<!DOCTYPE html><html>log in</html>",
                )?;
            }
            InfluxMode::Silent => {
                while state.now() == now {
                    thread::sleep(Duration::from_millis(10));
                }
                return reset(stream);
            }
            InfluxMode::ResetBefore | InfluxMode::Refuses => return reset(stream),
            _ => {
                let windows = stored(body, seconds);
                state.acks.lock().unwrap().sent(run, &windows);
                let gauges = body.lines().filter(|line| line.starts_with("g,")).count();
                state.evidence.lock().unwrap().append(windows.clone());
                if mode == InfluxMode::Partial && gauges > 0 {
                    refuse_part(stream, gauges)?;
                } else if !acknowledge(stream, mode)? {
                    return Ok(());
                }
                // The daemon may have given up on a slow reply.
                if mode != InfluxMode::SlowReply {
                    state.acks.lock().unwrap().acknowledged(run, &windows);
                }
            }
        }
    }
    Ok(())
}

fn refuse_part(stream: &TcpStream, lines: usize) -> io::Result<()> {
    let words = format!(
        "partial write: field type conflict: input field \\\"value\\\" on measurement \\\"g\\\" is type \
         float, already exists as type string dropped={lines}"
    );
    reply(stream, "400 Bad Request", "", &format!("{{\"error\":\"{words}\"}}"))
}

fn refuse(stream: &TcpStream, status: u16) -> io::Result<()> {
    let after = if status == 429 { "Retry-After: 1\r\n" } else { "" };
    let words = match status {
        404 => "database not found: \\\"m\\\"",
        413 => "Request Entity Too Large",
        _ => "not now",
    };
    reply(stream, &format!("{status} No"), after, &format!("{{\"error\":\"{words}\"}}"))
}

fn reply(mut stream: &TcpStream, status: &str, headers: &str, body: &str) -> io::Result<()> {
    let length = body.len();
    let text = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
    stream.write_all(text.as_bytes())
}

/// Replies to a request whose lines are stored. Returns whether the connection stays open.
fn acknowledge(mut stream: &TcpStream, mode: InfluxMode) -> io::Result<bool> {
    let done = b"HTTP/1.1 204 No Content\r\nX-Influxdb-Version: 1.8\r\n\r\n";
    match mode {
        InfluxMode::ResetAfter => reset(stream).map(|()| false),
        InfluxMode::HalfReply => stream.write_all(&done[..12]).map(|()| false),
        InfluxMode::SlowReply => {
            for byte in done {
                stream.write_all(&[*byte])?;
                thread::sleep(Duration::from_millis(8));
            }
            Ok(true)
        }
        InfluxMode::Closes => stream.write_all(done).map(|()| false),
        _ => stream.write_all(done).map(|()| true),
    }
}

/// Makes the end of the connection a reset.
fn reset(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

fn stored(body: &str, seconds: bool) -> Evidence {
    let mut windows = Evidence::default();
    for line in body.lines() {
        if store_line(line, seconds, &mut windows).is_none() {
            windows.add_odd(line);
        }
    }
    windows
}

/// Stores `name,s=SENDER field=value,… time`.
fn store_line(line: &str, seconds: bool, evidence: &mut Evidence) -> Option<()> {
    let (series, rest) = line.split_once(' ')?;
    let (fields, time) = rest.split_once(' ')?;
    let (name, sender) = series.split_once(",s=")?;
    let time: u64 = time.parse().ok()?;
    let time_ms = if seconds { time * 1_000 } else { time };
    evidence.add(name, sender, time_ms, |wanted| {
        let mut fields = fields.split(',').filter_map(|field| field.split_once('='));
        fields.find(|(name, _)| *name == wanted).and_then(|(_, value)| value.parse().ok())
    })
}
