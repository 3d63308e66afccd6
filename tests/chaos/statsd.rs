//! A stand-in for a statsd server over UDP, whose port is closed on command.

use std::fs;
use std::net::{SocketAddrV4, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use socket2::SockRef;

use crate::senders::{SENDERS, place_of};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum StatsdMode {
    Works,
    /// The host reports a closed port.
    Refuses,
}

impl StatsdMode {
    pub(crate) const ALL: [Self; 3] = [Self::Works, Self::Works, Self::Refuses];
}

/// What arrived.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// How often each number arrived, by sender.
    pub(crate) numbers: Vec<Vec<u8>>,
    /// The sum of the counter `c`, by sender.
    pub(crate) counts: Vec<f64>,
    pub(crate) odd: Vec<String>,
}

/// The server.
pub(crate) struct Statsd {
    socket: Arc<UdpSocket>,
    lines: Arc<Mutex<Lines>>,
}

impl Statsd {
    pub(crate) fn start(port: u16) -> Self {
        let socket = Arc::new(UdpSocket::bind(("127.0.0.1", port)).unwrap());
        SockRef::from(&*socket).set_recv_buffer_size(8 << 20).unwrap();
        let lines = Arc::new(Mutex::new(Lines::new()));
        let (reading, shared) = (Arc::clone(&socket), Arc::clone(&lines));
        thread::spawn(move || {
            let mut bytes = vec![0; 65_536];
            loop {
                // An error is the report of a datagram that this socket never sent.
                let Ok(length) = reading.recv(&mut bytes) else { continue };
                let text = String::from_utf8_lossy(&bytes[..length]);
                shared.lock().unwrap().take(&text);
            }
        });
        Self { socket, lines }
    }

    /// A socket that is connected to another peer gets no datagrams, and the host refuses them. The
    /// datagrams that it already has stay readable, so that none is lost.
    pub(crate) fn set(&self, mode: StatsdMode) {
        match mode {
            StatsdMode::Works => rustix::net::connect_unspec(&self.socket).unwrap(),
            StatsdMode::Refuses => {
                let peer: SocketAddrV4 = "127.0.0.1:1".parse().unwrap();
                rustix::net::connect(&self.socket, &peer).unwrap();
            }
        }
    }

    pub(crate) fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap()
    }

    /// Datagrams that the kernel dropped, because this test was too slow.
    pub(crate) fn kernel_drops(&self) -> u64 {
        let port = format!(":{:04X}", self.socket.local_addr().unwrap().port());
        let table = fs::read_to_string("/proc/net/udp").unwrap();
        let mut rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
        let row = rows.find(|row| row.get(1).is_some_and(|local| local.ends_with(&port)));
        row.and_then(|row| row.last()?.parse().ok()).unwrap_or_default()
    }
}

impl Lines {
    pub(crate) fn new() -> Self {
        Self {
            numbers: vec![Vec::new(); SENDERS.len()],
            counts: vec![0.0; SENDERS.len()],
            odd: Vec::new(),
        }
    }

    pub(crate) fn take(&mut self, text: &str) {
        for line in text.lines() {
            if self.take_line(line).is_none() && self.odd.len() < 100 {
                self.odd.push(line.to_owned());
            }
        }
    }

    /// Takes `name:value|type|#s:SENDER`.
    fn take_line(&mut self, line: &str) -> Option<()> {
        let (name, rest) = line.split_once(':')?;
        let (value, tags) = rest.split_once("|#s:")?;
        let (value, kind) = value.split_once('|')?;
        let sender = place_of(tags)?;
        let value: f64 = value.parse().ok()?;
        match (name, kind) {
            ("t", "ms") => {
                let (numbers, place) = (&mut self.numbers[sender], value as usize);
                numbers.resize(numbers.len().max(place + 1), 0);
                numbers[place] = numbers[place].saturating_add(1);
            }
            ("c", "c") => self.counts[sender] += value,
            ("g", "g") => {}
            _ => return None,
        }
        Some(())
    }
}
