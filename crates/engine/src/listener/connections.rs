//! The open connections of a listener, by number, by address and by idleness.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use super::Origin;
use super::stream_input::StreamInput;
use super::tls_session::TlsSession;

/// Stale entries of the idle order that are kept in addition to as many as there are connections.
const STALE_MAX: usize = 64;

/// An open connection.
pub(super) struct OpenConnection {
    pub(super) socket: OwnedFd,
    pub(super) peer: Peer,
    pub(super) input: StreamInput,
    /// `None` without TLS.
    pub(super) tls: Option<Box<TlsSession>>,
    /// When it was accepted, or when its last line or packet ended. Single bytes do not count: an attacker
    /// could otherwise hold all connections forever with a byte now and then.
    pub(super) alive: Instant,
}

/// The sender of a connection.
pub(super) enum Peer {
    Ip(Option<SocketAddr>),
    Unix { path: Arc<str>, process: Option<i32> },
}

impl Origin for Peer {
    fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(address) => address.map(|address| address.ip()),
            Self::Unix { .. } => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(Some(address)) => address.fmt(formatter),
            Self::Ip(None) => formatter.write_str("unknown"),
            Self::Unix { path, process: Some(process) } => {
                write!(formatter, "{path} (pid {process})")
            }
            Self::Unix { path, process: None } => formatter.write_str(path),
        }
    }
}

/// The open connections. Numbers are never reused.
#[derive(Default)]
pub(super) struct Connections {
    open: HashMap<u64, OpenConnection>,
    by_address: HashMap<IpAddr, BTreeSet<u64>>,
    /// One entry for each connection, and entries of closed ones. The time of an entry may be older
    /// than that of its connection: an update for each line would cost every read a search.
    idle: BinaryHeap<Reverse<(Instant, u64)>>,
}

impl Connections {
    /// Adds a connection under an unused number.
    pub(super) fn insert(&mut self, number: u64, connection: OpenConnection) {
        if let Some(address) = connection.peer.ip() {
            self.by_address.entry(address).or_default().insert(number);
        }
        self.idle.push(Reverse((connection.alive, number)));
        self.open.insert(number, connection);
        if self.idle.len() > 2 * self.open.len() + STALE_MAX {
            let entries = self.open.iter().map(|(number, one)| Reverse((one.alive, *number)));
            self.idle = entries.collect();
        }
    }

    /// Removes a connection.
    pub(super) fn remove(&mut self, number: u64) -> Option<OpenConnection> {
        let connection = self.open.remove(&number)?;
        if let Some(address) = connection.peer.ip()
            && let Some(numbers) = self.by_address.get_mut(&address)
        {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_address.remove(&address);
            }
        }
        Some(connection)
    }

    pub(super) fn get(&self, number: u64) -> Option<&OpenConnection> {
        self.open.get(&number)
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut OpenConnection> {
        self.open.get_mut(&number)
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &OpenConnection)> {
        self.open.iter().map(|(number, connection)| (*number, connection))
    }

    /// Number of connections from an address.
    pub(super) fn count_of(&self, address: IpAddr) -> usize {
        self.by_address.get(&address).map_or(0, BTreeSet::len)
    }

    /// The connection that has completed no line for the longest time.
    pub(super) fn longest_idle(&mut self) -> Option<u64> {
        while let Some(Reverse((alive, number))) = self.idle.peek().copied() {
            match self.open.get(&number).map(|connection| connection.alive) {
                Some(now) if now == alive => return Some(number),
                Some(now) => {
                    self.idle.pop();
                    self.idle.push(Reverse((now, number)));
                }
                None => drop(self.idle.pop()),
            }
        }
        None
    }

    /// The same among the connections from an address.
    pub(super) fn longest_idle_of(&self, address: IpAddr) -> Option<u64> {
        let numbers = self.by_address.get(&address)?.iter().copied();
        numbers.min_by_key(|number| (self.open.get(number).map(|one| one.alive), *number))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use super::*;
    use crate::listener::stream_config::Framing;

    /// Connections with these numbers, which became alive in this order, from addresses that end in
    /// the remainder of the number by 2.
    fn connections(numbers: &[u64], start: Instant) -> Connections {
        let mut connections = Connections::default();
        for (age, number) in numbers.iter().enumerate() {
            let peer = Peer::Ip(Some(([127, 0, 0, (number % 2) as u8], 9).into()));
            let alive = start + Duration::from_secs(age as u64);
            let socket = File::open("/dev/null").unwrap().into();
            let input = StreamInput::new(Framing::Lines);
            let connection = OpenConnection { socket, peer, input, tls: None, alive };
            connections.insert(*number, connection);
        }
        connections
    }

    #[test]
    fn the_longest_idle_connection_is_found_although_others_send_and_close() {
        let start = Instant::now();
        let mut connections = connections(&[5, 6, 7, 8], start);
        assert_eq!(connections.longest_idle(), Some(5));
        connections.get_mut(5).unwrap().alive = start + Duration::from_secs(9);
        connections.get_mut(6).unwrap().alive = start + Duration::from_millis(2_500);
        assert_eq!(connections.longest_idle(), Some(7));
        assert_eq!(connections.longest_idle_of([127, 0, 0, 1].into()), Some(7));
        assert_eq!(connections.longest_idle_of([127, 0, 0, 0].into()), Some(6));
        assert_eq!(connections.longest_idle_of([127, 0, 0, 9].into()), None);
        assert!(connections.remove(7).is_some() && connections.remove(7).is_none());
        let order = std::iter::from_fn(|| {
            let number = connections.longest_idle()?;
            connections.remove(number).map(|_| number)
        });
        assert_eq!(order.collect::<Vec<_>>(), [6, 8, 5]);
        assert_eq!(connections.count_of([127, 0, 0, 1].into()), 0);
    }

    #[test]
    fn closed_connections_leave_a_bounded_number_of_entries() {
        let start = Instant::now();
        let mut connections = connections(&[1], start);
        for number in 2..10_000 {
            let one = connections.remove(number - 1).unwrap();
            connections.insert(number, one);
            assert!(connections.idle.len() <= 2 + STALE_MAX);
        }
        assert_eq!(connections.longest_idle(), Some(9_999));
        assert_eq!((connections.len(), connections.by_address.len()), (1, 1));
    }
}
