//! A stand-in for a statsd server over TCP that misbehaves on command.
//!
//! Like the stand-in for Graphite, it reads everything from a connection before closing it: data that a
//! server acknowledges and does not read is lost by design.

use std::io::{ErrorKind, Read};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use crate::statsd::Lines;

/// The reaction to data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum StatsdTcpMode {
    Works,
    /// Reads nothing.
    Silent,
    /// Closes its side of all connections.
    Closes,
    /// The same, and closes the socket that accepts connections.
    Refuses,
}

impl StatsdTcpMode {
    pub(crate) const ALL: [Self; 5] =
        [Self::Works, Self::Works, Self::Silent, Self::Closes, Self::Refuses];
}

/// The server.
pub(crate) struct StatsdTcp {
    mode: Arc<Mutex<StatsdTcpMode>>,
    lines: Arc<Mutex<Lines>>,
}

impl StatsdTcp {
    pub(crate) fn start(port: u16) -> Self {
        let mode = Arc::new(Mutex::new(StatsdTcpMode::Works));
        let lines = Arc::new(Mutex::new(Lines::new()));
        let (shared, taken) = (Arc::clone(&mode), Arc::clone(&lines));
        thread::spawn(move || {
            let mut serving = Serving { port, listener: None, connections: Vec::new() };
            loop {
                let mode = *shared.lock().unwrap();
                if !serving.turn(mode, &taken) {
                    thread::sleep(Duration::from_millis(2));
                }
            }
        });
        Self { mode, lines }
    }

    pub(crate) fn set(&self, mode: StatsdTcpMode) {
        *self.mode.lock().unwrap() = mode;
    }

    pub(crate) fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap()
    }
}

/// The sockets of the server.
struct Serving {
    port: u16,
    listener: Option<TcpListener>,
    /// With the beginning of a line.
    connections: Vec<(TcpStream, Vec<u8>)>,
}

impl Serving {
    /// Returns whether there was something to read.
    fn turn(&mut self, mode: StatsdTcpMode, lines: &Mutex<Lines>) -> bool {
        if mode != StatsdTcpMode::Refuses && self.listener.is_none() {
            self.listener = TcpListener::bind(("127.0.0.1", self.port)).ok();
        }
        self.accept();
        if matches!(mode, StatsdTcpMode::Closes | StatsdTcpMode::Refuses) {
            for (stream, _) in &self.connections {
                // Fails if the peer has closed it.
                let _is_closed = stream.shutdown(Shutdown::Write);
            }
        }
        if mode == StatsdTcpMode::Refuses {
            self.listener = None;
        }
        mode != StatsdTcpMode::Silent && self.read(lines)
    }

    fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        listener.set_nonblocking(true).unwrap();
        while let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(true).unwrap();
            self.connections.push((stream, Vec::new()));
        }
    }

    fn read(&mut self, lines: &Mutex<Lines>) -> bool {
        let mut bytes = [0; 65_536];
        for place in 0..self.connections.len() {
            let (stream, rest) = &mut self.connections[place];
            match stream.read(&mut bytes) {
                Ok(length @ 1..) => {
                    rest.extend_from_slice(&bytes[..length]);
                    take(rest, &mut lines.lock().unwrap());
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

/// Takes the whole lines. The rest of a connection that breaks was not sent as a whole.
fn take(rest: &mut Vec<u8>, lines: &mut Lines) {
    let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') else { return };
    let whole: Vec<u8> = rest.drain(..=end).collect();
    lines.take(&String::from_utf8(whole).unwrap());
}
