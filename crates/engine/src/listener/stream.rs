//! Receives messages over connections, TCP or Unix: one message per line, or packets of lines.
//!
//! One thread serves all connections of a listener. It never blocks on any of them, and reads a
//! bounded number of bytes from one before the next has its turn. Data that it has not read yet
//! stays in the kernel, which makes the sender wait. The module `tls` has what differs with TLS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use basics::log_throttle::LogThrottle;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with, sockopt};
use socket2::Socket;
use tracing::warn;

use self::tls_state::TlsServer;
use super::Protocol;
use super::allow::{AllowList, Gate};
use super::config::ListenerEndpoint;
use super::connections::{Connections, OpenConnection, Peer};
use super::keepalive::set_keepalive;
use super::recorder::{ListenerUpdate, Recorder};
use super::senders::{SenderId, SenderTraffic};
use super::socket_file::SocketFile;
use super::stats::{CloseReason, ListenerStats, RefusalReason};
use super::stream_config::{Keepalive, StreamConfig};
use super::stream_input::{FedState, InputPart, LastInput, StreamInput};
use super::tls_config::TlsSettings;
use crate::wake::Waker;

/// Maximum number of connections that wait to be accepted; the system has its own limit.
pub(super) const BACKLOG: i32 = 4096;
/// Maximum number of bytes read from a connection per turn.
const TURN_BYTES: usize = 64 << 10;
/// Maximum number of connections accepted per turn.
const TURN_ACCEPTS: usize = 64;
/// Maximum number of sockets served per turn; the kernel returns the others first in the next turn.
const TURN_SOCKETS: usize = 256;
/// Pause in accepting when the system has no resources for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Pause after an error of the listening socket, so that a persistent error does not occupy a core.
const ERROR_PAUSE: Duration = Duration::from_millis(10);
/// Maximum number of reads from a connection before the daemon closes it: more than the kernel
/// buffers for a connection, unless its sender keeps sending.
const REST_READS: usize = 256;
/// Bounds of the time between two searches for idle connections.
const SWEEP_MIN: Duration = Duration::from_millis(10);
const SWEEP_MAX: Duration = Duration::from_secs(15);
/// After a stop, connections are read until no data has arrived for this long: data that a sender's
/// kernel held back because our buffer was full needs a moment to arrive.
const DRAIN_QUIET: Duration = Duration::from_millis(50);
/// Maximum time to read after a stop: a busy sender must not keep the daemon from stopping.
const DRAIN_MAX: Duration = Duration::from_secs(2);
/// The number of the listening socket. Connections have higher numbers.
const LISTENER: u64 = 0;

/// The parts that differ between TCP and Unix listeners.
#[derive(Debug)]
pub(super) enum StreamTransport {
    /// Peers have addresses, which the list may restrict, and perhaps TLS.
    Tcp(AllowList, Option<TlsSettings>),
    /// The permissions of the file restrict who may connect.
    Unix(SocketFile),
}

/// A bound listening socket that does not accept connections yet.
#[derive(Debug)]
pub struct BoundStream {
    socket: OwnedFd,
    poll: OwnedFd,
    protocol: Protocol,
    stats: Arc<ListenerStats>,
    transport: StreamTransport,
    config: StreamConfig,
}

impl BoundStream {
    pub(super) fn new(
        socket: Socket,
        protocol: Protocol,
        label: String,
        transport: StreamTransport,
        config: StreamConfig,
    ) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        watch(&poll, &socket, LISTENER)?;
        let stats = Arc::new(ListenerStats::of_connections(label));
        Ok(Self { socket: socket.into(), poll, protocol, stats, transport, config })
    }

    /// The protocol of its clients.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The counts of this listener.
    #[must_use]
    pub fn stats(&self) -> &Arc<ListenerStats> {
        &self.stats
    }

    /// Accepts and reads until stopped, then drains the open connections.
    pub fn run(self, recorder: Recorder, waker: &Waker) {
        Server::new(self, recorder).run(waker);
    }
}

fn watch(poll: &OwnedFd, socket: impl AsFd, number: u64) -> io::Result<()> {
    let data = epoll::EventData::new_u64(number);
    Ok(epoll::add(poll, socket, data, epoll::EventFlags::IN)?)
}

/// Counts the traffic of a connection since the last batch was published.
#[cold]
fn count_sender(stats: &ListenerStats, peer: &Peer, bytes: usize, recorder: &Recorder) {
    let (messages, rejected) = recorder.received_in_batch();
    let sender = match peer {
        Peer::Ip(address) => SenderId::of_address(*address),
        Peer::Unix { process: Some(process), .. } => SenderId::Process(*process),
        Peer::Unix { process: None, .. } => SenderId::Unnamed,
    };
    let traffic = SenderTraffic { datagrams: 0, bytes: bytes as u64, messages, rejected };
    stats.senders().count(&[(sender, traffic)]);
}

/// Records bytes that a connection has sent. Returns whether its further bytes can be read. `max` is the
/// maximum length of a line or a packet.
fn record(
    recorder: &mut Recorder,
    stats: &ListenerStats,
    max: usize,
    connection: &mut OpenConnection,
    bytes: &[u8],
) -> bool {
    recorder.begin_batch();
    recorder.count_read(0, bytes.len());
    let peer = &connection.peer;
    let is_watched = stats.senders().is_watched();
    let state = connection.input.feed(bytes, max, &mut |part| match part {
        InputPart::Lines(lines) => recorder.record_lines(lines, peer),
        InputPart::Rejected(rejection, beginning) => {
            recorder.reject_part(rejection, beginning, peer);
        }
    });
    if is_watched {
        count_sender(stats, peer, bytes.len(), recorder);
    }
    recorder.publish();
    if state == FedState::HasEnded {
        connection.alive = Instant::now();
    }
    state != FedState::Unreadable
}

/// The state of the listener's thread.
struct Server {
    /// `None` once the daemon stops.
    listening: Option<OwnedFd>,
    file: Option<SocketFile>,
    /// The path of the socket file, shown as the address of senders.
    origin: Option<Arc<str>>,
    poll: OwnedFd,
    config: StreamConfig,
    stats: Arc<ListenerStats>,
    gate: Gate,
    recorder: Recorder,
    connections: Connections,
    tls: TlsServer,
    last_number: u64,
    buffer: Box<[u8]>,
    sweep_at: Option<Instant>,
    accept_at: Option<Instant>,
    full_throttle: LogThrottle,
    address_throttle: LogThrottle,
    accept_throttle: LogThrottle,
}

impl Server {
    fn new(bound: BoundStream, recorder: Recorder) -> Self {
        let (allow, tls, file) = match bound.transport {
            StreamTransport::Tcp(allow, tls) => (allow, tls, None),
            StreamTransport::Unix(file) => (AllowList::default(), None, Some(file)),
        };
        let mut server = Self {
            listening: Some(bound.socket),
            origin: file.as_ref().map(|file| file.to_string().into()),
            file,
            poll: bound.poll,
            config: bound.config,
            gate: Gate::new(allow, Arc::clone(&bound.stats)),
            stats: bound.stats,
            recorder,
            connections: Connections::default(),
            tls: TlsServer::default(),
            last_number: LISTENER,
            // One for all connections: a connection takes memory only for a line that has not
            // ended.
            buffer: vec![0; TURN_BYTES].into_boxed_slice(),
            sweep_at: None,
            accept_at: None,
            full_throttle: LogThrottle::default(),
            address_throttle: LogThrottle::default(),
            accept_throttle: LogThrottle::default(),
        };
        server.set_tls(tls);
        server
    }

    fn run(mut self, waker: &Waker) {
        while !waker.is_stopping() {
            self.recorder.hand_over_at_edge();
            if let Some(update) = self.recorder.take_update() {
                self.apply_update(update);
            }
            match self.turn() {
                Ok(0) => self.wait(waker, self.next_timer()),
                Ok(_) => {}
                Err(error) => self.pause_after(&error),
            }
            self.run_timers(Instant::now());
        }
        self.drain(waker);
        let left: Vec<_> = self.connections.iter().map(|(number, _)| number).collect();
        left.into_iter().for_each(|number| self.close(number, CloseReason::Stopped));
        self.recorder.finish();
    }

    /// Applies new settings. Open connections stay, even if a new one would now be refused.
    fn apply_update(&mut self, update: ListenerUpdate) {
        match update.endpoint {
            ListenerEndpoint::Tcp(tcp) => {
                self.gate.set_allow(tcp.allow);
                if tcp.stream.keepalive != self.config.keepalive {
                    self.set_keepalive(tcp.stream.keepalive);
                }
                self.update_tls(tcp.tls.as_ref());
                self.config = tcp.stream;
            }
            ListenerEndpoint::Unix(unix) => self.config = unix.stream,
            ListenerEndpoint::Udp(_) | ListenerEndpoint::UnixDatagram(_) => {}
        }
        self.sweep_at = self.next_sweep(Instant::now());
    }

    fn set_keepalive(&self, keepalive: Keepalive) {
        let open = self.connections.iter().map(|(_, connection)| connection.socket.as_fd());
        for socket in self.listening.iter().map(AsFd::as_fd).chain(open) {
            if let Err(error) = set_keepalive(socket, keepalive) {
                let listener = self.stats.label();
                warn!(listener, %error, "cannot change `keepalive`");
            }
        }
    }

    /// Serves every readable socket once. Returns the number of sockets served.
    fn turn(&mut self) -> io::Result<usize> {
        let mut events = [const { std::mem::MaybeUninit::uninit() }; TURN_SOCKETS];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let (events, _) = match epoll::wait(&self.poll, &mut events, Some(&at_once)) {
            Err(Errno::INTR) => return Ok(0),
            events => events?,
        };
        for event in &*events {
            // Numbers are never reused. An event of a connection that was closed earlier in this
            // turn therefore finds no connection, instead of a new one.
            match event.data.u64() {
                LISTENER => self.accept(TURN_ACCEPTS),
                number => drop(self.read(number)),
            }
        }
        Ok(events.len())
    }

    fn accept(&mut self, most: usize) {
        for _ in 0..most {
            if !self.may_accept() {
                return;
            }
            let Some(listening) = &self.listening else { return };
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match acceptfrom_with(listening, flags) {
                Ok((socket, address)) => {
                    let address = address.and_then(|address| SocketAddr::try_from(address).ok());
                    self.admit(socket, address);
                }
                Err(Errno::AGAIN) => return,
                // The peer has closed the connection already, or a firewall rejected it.
                Err(Errno::INTR | Errno::CONNABORTED | Errno::PERM) => {}
                Err(error) => return self.pause_accepting(error),
            }
        }
    }

    fn admit(&mut self, socket: OwnedFd, address: Option<SocketAddr>) {
        let address = address.map(|a| SocketAddr::new(a.ip().to_canonical(), a.port()));
        // Before the limit: a sender that is not allowed must count as such even when all
        // connections are in use.
        if !self.gate.admits(|| address) {
            return;
        }
        let Ok(tls) = self.new_session() else { return };
        self.make_room(address.map(|address| address.ip()));
        self.make_room_for_handshake();
        let number = self.last_number + 1;
        if let Err(error) = watch(&self.poll, &socket, number) {
            // This connection is lost; accepting resumes after the pause.
            self.stats.refuse(RefusalReason::TooMany);
            return self.pause_accepting(Errno::from_io_error(&error).unwrap_or(Errno::NOMEM));
        }
        self.last_number = number;
        let peer = match &self.origin {
            Some(path) => Peer::Unix {
                path: Arc::clone(path),
                process: sockopt::socket_peercred(&socket).ok().map(|peer| peer.pid.as_raw_pid()),
            },
            None => Peer::Ip(address),
        };
        let alive = Instant::now();
        if tls.is_some() {
            self.begin_handshake(number, alive);
        }
        let input = StreamInput::new(self.config.framing);
        self.connections.insert(number, OpenConnection { socket, peer, input, tls, alive });
        self.stats.connection_accepted();
        self.sweep_at = self.sweep_at.or_else(|| self.next_sweep(alive));
    }

    /// Closes connections until one from this address fits within the limits.
    fn make_room(&mut self, address: Option<IpAddr>) {
        if let Some(address) = address {
            let max = self.config.max_per_address;
            while self.connections.count_of(address) >= max {
                self.evict(|connections| connections.longest_idle_of(address));
                if let Some(count) = self.address_throttle.count(1) {
                    warn!(
                        listener = self.stats.label(),
                        count,
                        max_connections_per_address = max,
                        %address,
                        "closed the longest idle connections of addresses that open more than \
                         `max_connections_per_address`; this is the latest one"
                    );
                }
            }
        }
        let max = self.config.max_connections;
        while self.connections.len() >= max {
            self.evict(Connections::longest_idle);
            if let Some(count) = self.full_throttle.count(1) {
                warn!(
                    listener = self.stats.label(),
                    count,
                    max_connections = max,
                    "closed the longest idle connections to make room for new ones: \
                     `max_connections` reached"
                );
            }
        }
    }

    /// Closes the connection that `pick` returns. If it has sent a line that is not read yet, it is
    /// not idle, and the next one is picked.
    fn evict(&mut self, pick: impl Fn(&mut Connections) -> Option<u64>) {
        let mut left = self.connections.len();
        while let Some(number) = pick(&mut self.connections) {
            let alive = self.connections.get(number).map(|connection| connection.alive);
            self.read_rest(number);
            let now = self.connections.get(number).map(|connection| connection.alive);
            left = left.saturating_sub(1);
            match now {
                // The peer has closed it.
                None => return,
                Some(_) if now == alive || left == 0 => {
                    return self.close(number, CloseReason::Evicted);
                }
                Some(_) => {}
            }
        }
    }

    /// Reads the data of a connection that the kernel holds.
    fn read_rest(&mut self, number: u64) {
        for _ in 0..REST_READS {
            if !self.read(number) {
                return;
            }
        }
    }

    /// Stops accepting for a while, because the system is out of file descriptors or memory.
    /// Waiting connections are accepted later.
    fn pause_accepting(&mut self, error: Errno) {
        self.stats.accept_failed();
        if let Some(count) = self.accept_throttle.count(1) {
            let listener = self.stats.label();
            warn!(listener, count, %error, "cannot accept connections, will retry");
        }
        // Otherwise the waiting connection would end each wait at once, and the thread would take a
        // whole core.
        self.set_accepting(false);
        self.accept_at = Some(Instant::now() + ACCEPT_PAUSE);
    }

    fn set_accepting(&self, is_accepting: bool) {
        let flags = if is_accepting { epoll::EventFlags::IN } else { epoll::EventFlags::empty() };
        if let Some(listening) = &self.listening {
            let data = epoll::EventData::new_u64(LISTENER);
            // Fails only for a socket that is not watched, and this one is.
            let _cannot_fail = epoll::modify(&self.poll, listening, data, flags);
        }
    }

    /// Reads from a connection once. Returns whether there was data.
    fn read(&mut self, number: u64) -> bool {
        let Some(connection) = self.connections.get_mut(number) else { return false };
        if connection.tls.is_some() {
            return self.read_tls(number);
        }
        // Before the read: data that is read after the end of a window belongs to the next one.
        self.recorder.hand_over_at_edge();
        let length = match rustix::io::read(&connection.socket, &mut self.buffer[..]) {
            Ok(0) => {
                self.close(number, CloseReason::ByPeer);
                return false;
            }
            Ok(length) => length,
            Err(Errno::AGAIN | Errno::INTR) => return false,
            Err(_) => {
                self.close(number, CloseReason::Failed);
                return false;
            }
        };
        let (max_line, bytes) = (self.config.max_line, &self.buffer[..length]);
        if !record(&mut self.recorder, &self.stats, max_line, connection, bytes) {
            self.close(number, CloseReason::BadPacket);
            return false;
        }
        true
    }

    /// Closes a connection, and records or rejects its last input.
    fn close(&mut self, number: u64, why: CloseReason) {
        let Some(mut connection) = self.connections.remove(number) else { return };
        self.close_tls(number, &mut connection, why);
        let has_ended =
            why == CloseReason::ByPeer && connection.tls.as_ref().is_none_or(|tls| tls.has_ended());
        let last = connection.input.finish(has_ended);
        if last != LastInput::None {
            self.recorder.begin_batch();
            match last {
                LastInput::None => {}
                LastInput::Line(line) => self.recorder.record_lines(&line, &connection.peer),
                LastInput::Unfinished(rejection, bytes) => {
                    self.recorder.reject_part(rejection, &bytes, &connection.peer);
                }
            }
            if self.stats.senders().is_watched() {
                count_sender(&self.stats, &connection.peer, 0, &self.recorder);
            }
            self.recorder.publish();
        }
        self.stats.connection_closed(why);
    }

    /// The next time at which there is work even if no socket is readable.
    fn next_timer(&self) -> Option<Instant> {
        let timers = [self.sweep_at, self.accept_at, self.next_handshake_timeout()];
        timers.into_iter().flatten().min()
    }

    fn run_timers(&mut self, now: Instant) {
        if self.next_timer().is_none_or(|timer| now < timer) {
            return;
        }
        if self.accept_at.is_some_and(|at| at <= now) {
            self.accept_at = None;
            self.set_accepting(true);
        }
        self.close_slow_handshakes(now);
        if self.sweep_at.is_some_and(|at| at <= now) {
            self.close_idle(now);
            // Without connections, the thread sleeps until there is one.
            self.sweep_at = self.next_sweep(now);
        }
    }

    /// The time of the next search for idle connections, if there is a limit. A periodic search is
    /// simpler than a timer per connection, and closes one late by at most a quarter of the limit.
    fn next_sweep(&self, now: Instant) -> Option<Instant> {
        let limit = self.config.idle_timeout.filter(|_| !self.connections.is_empty())?;
        Some(now + (limit.get() / 4).clamp(SWEEP_MIN, SWEEP_MAX))
    }

    fn close_idle(&mut self, now: Instant) {
        let Some(limit) = self.config.idle_timeout else { return };
        let is_idle = |connection: &OpenConnection| {
            now.saturating_duration_since(connection.alive) >= limit.get()
        };
        let open = self.connections.iter();
        let idle: Vec<_> =
            open.filter(|(_, connection)| is_idle(connection)).map(|(number, _)| number).collect();
        for number in idle {
            // A line that the kernel holds has arrived in time.
            self.read_rest(number);
            if self.connections.get(number).is_some_and(is_idle) {
                self.close(number, CloseReason::Idle);
            }
        }
    }

    fn wait(&self, waker: &Waker, until: Option<Instant>) {
        if let Err(error) = waker.wait(self.poll.as_fd(), until) {
            self.pause_after(&error);
        }
    }

    fn pause_after(&self, error: &io::Error) {
        warn!(listener = self.stats.label(), %error, "cannot wait for connections, will retry");
        std::thread::sleep(ERROR_PAUSE);
    }

    /// Accepts the connections made so far, and reads the data that all connections have sent.
    fn drain(&mut self, waker: &Waker) {
        // Without the file, no new sender finds the socket.
        self.file = None;
        self.accept(usize::MAX);
        // Once it is closed, the kernel refuses further connections. It would accept them
        // otherwise, and their data would never be read.
        self.listening = None;
        let end = Instant::now() + DRAIN_MAX;
        let mut quiet_at = Instant::now() + DRAIN_QUIET;
        while !self.connections.is_empty() {
            self.recorder.hand_over_at_edge();
            match self.turn() {
                Ok(0) if Instant::now() >= quiet_at => return,
                Ok(0) => self.wait(waker, Some(quiet_at)),
                Ok(_) => quiet_at = Instant::now() + DRAIN_QUIET,
                Err(error) => self.pause_after(&error),
            }
            if Instant::now() > end {
                warn!(
                    listener = self.stats.label(),
                    "drain deadline reached; remaining data left unread"
                );
                return;
            }
        }
    }
}

mod tls;
mod tls_state;

#[cfg(not(loom))]
#[cfg(test)]
mod tests;
