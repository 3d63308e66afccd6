//! A stand-in for carbon's plaintext port that misbehaves on command.
//!
//! It never closes a connection before it has read everything from it: Graphite's protocol has no
//! acknowledgement, so a carbon that ends without reading loses data by design.

use std::collections::HashMap;
use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use crate::evidence::Evidence;

/// The reaction to data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum GraphiteMode {
    Works,
    /// Reads a few bytes at a time.
    Slow,
    /// Reads nothing.
    Silent,
    /// Closes its side of all connections.
    Closes,
    /// The same, and closes the socket that accepts connections.
    Refuses,
}

impl GraphiteMode {
    pub(crate) const ALL: [Self; 6] =
        [Self::Works, Self::Works, Self::Slow, Self::Silent, Self::Closes, Self::Refuses];
}

/// The server.
#[derive(Clone)]
pub(crate) struct Graphite(Arc<State>);

struct State {
    port: u16,
    now: Mutex<(GraphiteMode, u8)>,
    evidence: Mutex<Evidence>,
}

impl Graphite {
    pub(crate) fn start(port: u16) -> Self {
        let now = Mutex::new((GraphiteMode::Works, 1));
        let server = Self(Arc::new(State { port, now, evidence: Mutex::default() }));
        let state = Arc::clone(&server.0);
        thread::spawn(move || Serving::default().run(&state));
        server
    }

    pub(crate) fn set(&self, mode: GraphiteMode) {
        self.0.now.lock().unwrap().0 = mode;
    }

    /// Moves to the next of three addresses. Returns its last part.
    pub(crate) fn relocate(&self) -> u8 {
        let mut now = self.0.now.lock().unwrap();
        now.1 = now.1 % 3 + 1;
        now.1
    }

    pub(crate) fn evidence(&self) -> MutexGuard<'_, Evidence> {
        self.0.evidence.lock().unwrap()
    }
}

/// The sockets of the server, which one thread serves: what arrived on an older connection is read first.
#[derive(Default)]
struct Serving {
    listener: Option<TcpListener>,
    host: u8,
    connections: Vec<Connection>,
}

struct Connection {
    stream: TcpStream,
    rest: Vec<u8>,
    /// Fields of points that are not complete yet, by sender and time.
    timer: HashMap<String, f64>,
    timer_key: String,
}

impl Serving {
    fn run(mut self, state: &State) {
        loop {
            let (mode, host) = *state.now.lock().unwrap();
            self.listen(mode, host, state.port);
            self.accept();
            let is_busy = mode != GraphiteMode::Silent && self.read(mode, &state.evidence);
            if !is_busy || mode == GraphiteMode::Slow {
                thread::sleep(Duration::from_millis(2));
            }
        }
    }

    fn listen(&mut self, mode: GraphiteMode, host: u8, port: u16) {
        if matches!(mode, GraphiteMode::Closes | GraphiteMode::Refuses) || host != self.host {
            for connection in &self.connections {
                // Fails if the peer has closed it.
                let _is_closed = connection.stream.shutdown(Shutdown::Write);
            }
        }
        if mode == GraphiteMode::Refuses || host != self.host {
            // Connections that wait there hold data.
            self.accept();
            self.listener = None;
        }
        self.host = host;
        if mode != GraphiteMode::Refuses && self.listener.is_none() {
            let address = SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), port));
            self.listener = TcpListener::bind(address).ok();
        }
    }

    fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        listener.set_nonblocking(true).unwrap();
        while let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(true).unwrap();
            let (rest, timer, timer_key) = Default::default();
            self.connections.push(Connection { stream, rest, timer, timer_key });
        }
    }

    /// Reads from the oldest connection that has data. Returns whether there was one.
    fn read(&mut self, mode: GraphiteMode, evidence: &Mutex<Evidence>) -> bool {
        let mut bytes = [0; 65_536];
        let size = if mode == GraphiteMode::Slow { 700 } else { bytes.len() };
        for place in 0..self.connections.len() {
            let connection = &mut self.connections[place];
            match connection.stream.read(&mut bytes[..size]) {
                Ok(length @ 1..) => {
                    connection.take(&bytes[..length], &mut evidence.lock().unwrap());
                    return true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(_) | Err(_) => {
                    self.connections.remove(place);
                    return true;
                }
            }
        }
        false
    }
}

impl Connection {
    fn take(&mut self, bytes: &[u8], evidence: &mut Evidence) {
        self.rest.extend_from_slice(bytes);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return };
        let lines: Vec<u8> = self.rest.drain(..=end).collect();
        for line in String::from_utf8(lines).unwrap().lines() {
            if self.store_line(line, evidence).is_none() {
                evidence.add_odd(line);
            }
        }
    }

    /// Stores `name[.field];s=SENDER value time`. The lines of a point follow each other.
    fn store_line(&mut self, line: &str, evidence: &mut Evidence) -> Option<()> {
        let mut words = line.split(' ');
        let (path, value, time) = (words.next()?, words.next()?, words.next()?);
        let (name, sender) = path.split_once(";s=")?;
        let value: f64 = value.parse().ok()?;
        let time_ms = time.parse::<u64>().ok()? * 1_000;
        match name.split_once('.') {
            None if name == "c" => evidence.add("c", sender, time_ms, |_| Some(value)),
            None if name == "g" => Some(()),
            Some(("c", "rate")) => Some(()),
            Some(("t", field)) => {
                let key = format!("{sender} {time}");
                if self.timer_key != key || field == "count" {
                    self.timer.clear();
                    self.timer_key = key;
                }
                self.timer.insert(field.to_owned(), value);
                // `max` is the last of the four that the evidence needs.
                match field {
                    "max" if self.timer.len() == 5 => {
                        let timer = &self.timer;
                        evidence.add("t", sender, time_ms, |name| timer.get(name).copied())
                    }
                    _ => Some(()),
                }
            }
            _ => None,
        }
    }
}
