//! The sockets of a load. They take turns, and the payloads are sent in a ring.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use socket2::Socket;

use super::payloads::Payloads;
use crate::commands::client::connect::{ConnectError, connect, is_passing};
use crate::commands::client::endpoint::SendEndpoint;
use engine::sys::SendRing;

/// Most datagrams of one system call.
const DATAGRAMS_A_CALL: u64 = 64;
/// The same if datagrams share packets.
const MERGED_A_CALL: u64 = 16 * 64;
/// Most bytes of one write to a stream.
const BYTES_A_WRITE: usize = 64 << 10;
/// How long a stream may take for the rest of a line at the end.
const LAST_LINE_MAX: Duration = Duration::from_secs(5);

/// Connected sockets, with the payloads.
pub(super) enum LoadSockets {
    /// A payload is a datagram.
    Datagrams(DatagramSockets),
    /// A payload is a line.
    Streams(StreamSockets),
}

/// Payloads and bytes that the system accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Passed {
    /// Whole payloads.
    pub(super) payloads: u64,
    /// Bytes, including those of incomplete payloads.
    pub(super) bytes: u64,
}

impl LoadSockets {
    /// Opens this number of sockets. With `gso`, datagrams of one size share a packet.
    pub(super) fn connect(
        endpoint: &SendEndpoint,
        sockets: u16,
        payloads: Payloads,
        gso: bool,
    ) -> Result<Self, ConnectError> {
        let sockets = (0..sockets).map(|_| connect(endpoint)).collect::<Result<Vec<_>, _>>()?;
        Ok(if endpoint.is_datagram() {
            let ring = SendRing::new(payloads.bytes, &payloads.ends);
            let ring = match sockets.first() {
                Some(socket) if gso => ring.merging(socket.as_fd()),
                _ => ring,
            };
            Self::Datagrams(DatagramSockets {
                ring,
                ends: payloads.ends,
                next: 0,
                sockets,
                turn: 0,
            })
        } else {
            let connection = |socket| StreamConnection { socket, next: 0, within: 0 };
            let connections = sockets.into_iter().map(connection).collect();
            Self::Streams(StreamSockets { payloads, connections, turn: 0 })
        })
    }

    /// Sends up to `most` payloads, at least one, with one system call.
    ///
    /// # Errors
    /// The error of the system; a datagram that it refused is skipped.
    pub(super) fn send(&mut self, most: u64) -> io::Result<Passed> {
        match self {
            Self::Datagrams(datagrams) => datagrams.send(most),
            Self::Streams(streams) => streams.send(most),
        }
    }

    /// Whether datagrams share packets; `false` too if the system refused such a packet.
    pub(super) fn is_merging(&self) -> bool {
        matches!(self, Self::Datagrams(datagrams) if datagrams.ring.is_merging())
    }

    /// Completes incomplete lines, and closes the sockets.
    ///
    /// # Errors
    /// When a line could not be completed.
    pub(super) fn finish(self) -> (Passed, io::Result<()>) {
        match self {
            Self::Datagrams(_) => (Passed::default(), Ok(())),
            Self::Streams(mut streams) => streams.finish(),
        }
    }
}

/// Sockets whose payloads are datagrams.
pub(super) struct DatagramSockets {
    ring: SendRing,
    ends: Vec<usize>,
    next: usize,
    sockets: Vec<Socket>,
    turn: usize,
}

impl DatagramSockets {
    fn send(&mut self, most: u64) -> io::Result<Passed> {
        let first = self.next;
        let a_call = if self.ring.is_merging() { MERGED_A_CALL } else { DATAGRAMS_A_CALL };
        let most = most.min(a_call) as usize;
        let last = self.ends.len().min(first + most);
        let socket = &self.sockets[self.turn];
        self.turn = (self.turn + 1) % self.sockets.len();
        let sent = self.ring.send(socket.as_fd(), first..last);
        let taken = match &sent {
            Ok(sent) => *sent,
            Err(error) if is_passing(error) => 0,
            Err(_) => 1,
        };
        self.next = (first + taken) % self.ends.len();
        let start = if first == 0 { 0 } else { self.ends[first - 1] };
        let end = if taken == 0 { start } else { self.ends[first + taken - 1] };
        sent.map(|sent| Passed { payloads: sent as u64, bytes: (end - start) as u64 })
    }
}

/// Sockets whose payloads are lines.
pub(super) struct StreamSockets {
    payloads: Payloads,
    connections: Vec<StreamConnection>,
    turn: usize,
}

/// A connection, and its place in the ring.
struct StreamConnection {
    socket: Socket,
    /// The line that is next or incomplete.
    next: usize,
    /// Bytes of it that are sent.
    within: usize,
}

impl StreamSockets {
    fn send(&mut self, most: u64) -> io::Result<Passed> {
        let turn = self.turn;
        self.turn = (turn + 1) % self.connections.len();
        self.connections[turn].write(&self.payloads, most)
    }

    fn finish(&mut self) -> (Passed, io::Result<()>) {
        let until = Instant::now() + LAST_LINE_MAX;
        let (mut passed, mut outcome) = (Passed::default(), Ok(()));
        for connection in &mut self.connections {
            while connection.within > 0 && outcome.is_ok() {
                match connection.write(&self.payloads, 1) {
                    Ok(more) => {
                        passed.payloads += more.payloads;
                        passed.bytes += more.bytes;
                    }
                    Err(error) if is_passing(&error) && Instant::now() < until => {}
                    Err(error) => outcome = Err(error),
                }
            }
        }
        (passed, outcome)
    }
}

impl StreamConnection {
    /// Writes up to `most` lines, the rest of an incomplete one included.
    fn write(&mut self, payloads: &Payloads, most: u64) -> io::Result<Passed> {
        let start = payloads.start(self.next) + self.within;
        let last = payloads.len().min(self.next.saturating_add(most as usize));
        let end = payloads.ends[last - 1].min(start + BYTES_A_WRITE);
        let written = self.socket.write(&payloads.bytes[start..end])?;
        let position = start + written;
        let mut whole = 0;
        while self.next + whole < last && payloads.ends[self.next + whole] <= position {
            whole += 1;
        }
        let next = self.next + whole;
        self.within = if next == payloads.len() { 0 } else { position - payloads.start(next) };
        self.next = next % payloads.len();
        Ok(Passed { payloads: whole as u64, bytes: written as u64 })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_partly_written_line_continues_where_it_stopped() {
        let (mut reader, writer) = UnixStream::pair().unwrap();
        let socket = Socket::from(writer);
        socket.set_nonblocking(true).unwrap();
        socket.set_send_buffer_size(4096).unwrap();
        let line = [vec![b'x'; 999], vec![b'\n']].concat();
        let payloads =
            Payloads { bytes: line.repeat(7), ends: (1..=7).map(|n| n * 1000).collect() };
        let connections = vec![StreamConnection { socket, next: 0, within: 0 }];
        let mut sockets = LoadSockets::Streams(StreamSockets { payloads, connections, turn: 0 });
        let reading = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).unwrap();
            bytes
        });
        let mut sent = Passed::default();
        while sent.payloads < 2000 {
            match sockets.send(2000 - sent.payloads) {
                Ok(passed) => {
                    sent.payloads += passed.payloads;
                    sent.bytes += passed.bytes;
                }
                Err(error) => assert!(is_passing(&error), "{error}"),
            }
        }
        let (rest, outcome) = sockets.finish();
        outcome.unwrap();
        sent.payloads += rest.payloads;
        sent.bytes += rest.bytes;
        assert_eq!(sent, Passed { payloads: 2000, bytes: 2_000_000 });
        assert_eq!(reading.join().unwrap(), line.repeat(2000));
    }
}
