//! Connections, over TCP or from programs of this host: a message a line.
//!
//! One thread serves all connections of a listener. It never waits for any of them, takes at most
//! so much from one before the next has its turn, and leaves what it does not get to in the kernel,
//! which makes the sender wait.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use basics::log_throttle::LogThrottle;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::Socket;
use tracing::warn;

use super::allow::{AllowList, Gate};
use super::config::{Endpoint, StreamConfig};
use super::lines::{LineCutter, Part};
use super::recorder::{Change, Recorder};
use super::senders::{Sender, Sent};
use super::socket_file::SocketFile;
use super::stats::{Closed, ListenerStats, Refusal};
use super::{Origin, Protocol};
use crate::protocol::{RejectReason, Rejection};
use crate::wake::Waker;

/// Connections that may wait to be accepted; the system has a bound of its own.
pub(super) const BACKLOG: i32 = 4096;
/// Most bytes that a connection brings in one turn.
const TURN_BYTES: usize = 64 << 10;
/// Most connections that are accepted in one turn.
const TURN_ACCEPTS: usize = 64;
/// Most sockets that one look brings; those left over come first at the next.
const TURN_SOCKETS: usize = 256;
/// How long nothing is accepted after the system had no means for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Pause after an error of the listener, so that one that stays does not burn a core.
const ERROR_PAUSE: Duration = Duration::from_millis(10);
/// Bounds of the time between two looks for idle connections.
const SWEEP_MIN: Duration = Duration::from_millis(10);
const SWEEP_MAX: Duration = Duration::from_secs(15);
/// After a stop connections are read until nothing has come for so long: what a sender's kernel
/// held back because ours was full needs a moment to arrive.
const DRAIN_QUIET: Duration = Duration::from_millis(50);
/// But no longer than this: whoever goes on sending must not keep the daemon from stopping.
const DRAIN_MAX: Duration = Duration::from_secs(2);
/// File descriptors for everything but connections.
const OTHER_DESCRIPTORS: u64 = 128;
/// The listening socket among the connections, whose numbers start above it.
const LISTENER: u64 = 0;

/// What the two kinds of listeners do not share.
#[derive(Debug)]
pub(super) enum Place {
    /// Peers have addresses, some of which may connect.
    Ip(AllowList),
    /// The file says who may connect.
    File(SocketFile),
}

/// A listening socket; nothing is accepted yet.
#[derive(Debug)]
pub struct BoundStream {
    socket: OwnedFd,
    poll: OwnedFd,
    protocol: Protocol,
    stats: Arc<ListenerStats>,
    place: Place,
    config: StreamConfig,
}

impl BoundStream {
    pub(super) fn new(
        socket: Socket,
        protocol: Protocol,
        label: String,
        place: Place,
        config: StreamConfig,
    ) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        watch(&poll, &socket, LISTENER)?;
        make_room(config.max_connections);
        let stats = Arc::new(ListenerStats::of_connections(label));
        Ok(Self { socket: socket.into(), poll, protocol, stats, place, config })
    }

    /// What its clients speak.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The counts of this listener.
    #[must_use]
    pub fn stats(&self) -> &Arc<ListenerStats> {
        &self.stats
    }

    /// Accepts and reads until stopped, then what connections have brought by then.
    pub fn run(self, recorder: Recorder, waker: &Waker) {
        Server::new(self, recorder).run(waker);
    }
}

fn watch(poll: &OwnedFd, socket: impl AsFd, number: u64) -> io::Result<()> {
    let data = epoll::EventData::new_u64(number);
    Ok(epoll::add(poll, socket, data, epoll::EventFlags::IN)?)
}

/// Lets the process have as many files as the system allows it: the usual limit of 1,024 is for
/// programs that use `select`.
fn make_room(connections: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let needed = connections as u64 + OTHER_DESCRIPTORS;
    if current.is_some_and(|current| current < needed) {
        let _stays_as_it_is = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
    if maximum.is_some_and(|maximum| maximum < needed) {
        warn!(
            max_connections = connections,
            limit = maximum,
            "the system allows fewer open files than `max_connections` needs; for more: LimitNOFILE="
        );
    }
}

/// One that connected.
struct Connection {
    socket: OwnedFd,
    peer: Peer,
    lines: LineCutter,
    /// When it was accepted or its last line ended. Single bytes are no sign of life: with one now
    /// and then, somebody could hold all connections for ever.
    alive: Instant,
}

/// How a connection's sender is shown.
enum Peer {
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

/// Counts what a connection brought since the last batch was published.
#[cold]
fn count_sender(stats: &ListenerStats, peer: &Peer, bytes: usize, recorder: &Recorder) {
    let (messages, rejected) = recorder.received_in_batch();
    let sender = match peer {
        Peer::Ip(address) => Sender::of_address(*address),
        Peer::Unix { process: Some(process), .. } => Sender::Process(*process),
        Peer::Unix { process: None, .. } => Sender::Unnamed,
    };
    let sent = Sent { datagrams: 0, bytes: bytes as u64, messages, rejected };
    stats.senders().count(&[(sender, sent)]);
}

/// The thread's state.
struct Server {
    /// Gone once the daemon stops.
    listening: Option<OwnedFd>,
    file: Option<SocketFile>,
    /// The file as a sender is shown.
    origin: Option<Arc<str>>,
    poll: OwnedFd,
    config: StreamConfig,
    stats: Arc<ListenerStats>,
    gate: Gate,
    recorder: Recorder,
    connections: HashMap<u64, Connection>,
    last_number: u64,
    buffer: Box<[u8]>,
    sweep_at: Option<Instant>,
    accept_at: Option<Instant>,
    full: LogThrottle,
    no_means: LogThrottle,
}

impl Server {
    fn new(bound: BoundStream, recorder: Recorder) -> Self {
        let (allow, file) = match bound.place {
            Place::Ip(allow) => (allow, None),
            Place::File(file) => (AllowList::default(), Some(file)),
        };
        Self {
            listening: Some(bound.socket),
            origin: file.as_ref().map(|file| file.to_string().into()),
            file,
            poll: bound.poll,
            config: bound.config,
            gate: Gate::new(allow, Arc::clone(&bound.stats)),
            stats: bound.stats,
            recorder,
            connections: HashMap::new(),
            last_number: LISTENER,
            buffer: vec![0; TURN_BYTES].into_boxed_slice(),
            sweep_at: None,
            accept_at: None,
            full: LogThrottle::default(),
            no_means: LogThrottle::default(),
        }
    }

    fn run(mut self, waker: &Waker) {
        while !waker.is_stopping() {
            self.recorder.at_edge();
            if let Some(change) = self.recorder.take_change() {
                self.follow(change);
            }
            match self.turn() {
                Ok(0) => self.wait(waker, self.next_duty()),
                Ok(_) => {}
                Err(error) => self.pause_after(&error),
            }
            self.see_to_duties();
        }
        self.drain(waker);
        let left: Vec<_> = self.connections.keys().copied().collect();
        left.into_iter().for_each(|number| self.close(number, Closed::Stopped));
        self.recorder.finish();
    }

    /// Connections that are there stay, whatever is allowed from now on.
    fn follow(&mut self, change: Change) {
        match change.endpoint {
            Endpoint::Tcp(tcp) => {
                self.gate.set_allow(tcp.allow);
                self.config = tcp.stream;
            }
            Endpoint::Unix(unix) => self.config = unix.stream,
            Endpoint::Udp(_) | Endpoint::UnixDatagram(_) => {}
        }
        make_room(self.config.max_connections);
        if self.sweep_at.is_some() {
            self.sweep_at = Some(Instant::now() + self.sweep_pause());
        }
    }

    /// Serves every socket that has something, once. Returns how many had.
    fn turn(&mut self) -> io::Result<usize> {
        let mut events = [const { std::mem::MaybeUninit::uninit() }; TURN_SOCKETS];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let (events, _) = match epoll::wait(&self.poll, &mut events, Some(&at_once)) {
            Err(Errno::INTR) => return Ok(0),
            events => events?,
        };
        for event in &*events {
            match event.data.u64() {
                LISTENER => self.accept(TURN_ACCEPTS),
                number => self.read(number),
            }
        }
        Ok(events.len())
    }

    fn accept(&mut self, most: usize) {
        for _ in 0..most {
            let Some(listening) = &self.listening else { return };
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match acceptfrom_with(listening, flags) {
                Ok((socket, address)) => {
                    let address = address.and_then(|address| SocketAddr::try_from(address).ok());
                    self.admit(socket, address);
                }
                Err(Errno::AGAIN) => return,
                // One that was gone again, or that a firewall stopped.
                Err(Errno::INTR | Errno::CONNABORTED | Errno::PERM) => {}
                Err(error) => return self.pause_accepting(error),
            }
        }
    }

    fn admit(&mut self, socket: OwnedFd, address: Option<SocketAddr>) {
        let address = address.map(|a| SocketAddr::new(a.ip().to_canonical(), a.port()));
        if !self.gate.admits(|| address) {
            return;
        }
        if self.connections.len() >= self.config.max_connections {
            self.stats.refuse(Refusal::TooMany);
            if let Some(count) = self.full.count(1) {
                warn!(
                    listener = self.stats.label(),
                    count,
                    max_connections = self.config.max_connections,
                    "connections refused: there are as many as `max_connections` allows"
                );
            }
            return;
        }
        let number = self.last_number + 1;
        if let Err(error) = watch(&self.poll, &socket, number) {
            // Tried again with the next one.
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
        let connection = Connection { socket, peer, lines: LineCutter::default(), alive };
        self.connections.insert(number, connection);
        self.stats.connection_accepted();
        self.sweep_at.get_or_insert(alive + self.sweep_pause());
    }

    /// The system is out of file descriptors or memory: whoever waits is accepted later.
    fn pause_accepting(&mut self, error: Errno) {
        if let Some(count) = self.no_means.count(1) {
            warn!(listener = self.stats.label(), count, %error, "cannot accept connections; trying again");
        }
        self.set_accepting(false);
        self.accept_at = Some(Instant::now() + ACCEPT_PAUSE);
    }

    fn set_accepting(&self, is_accepting: bool) {
        let flags = if is_accepting { epoll::EventFlags::IN } else { epoll::EventFlags::empty() };
        if let Some(listening) = &self.listening {
            let data = epoll::EventData::new_u64(LISTENER);
            // It is watched already, which is all that can be wrong.
            let _cannot_fail = epoll::modify(&self.poll, listening, data, flags);
        }
    }

    /// Takes a connection's turn.
    fn read(&mut self, number: u64) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let recorder = &mut self.recorder;
        recorder.at_edge();
        let length = match rustix::io::read(&connection.socket, &mut self.buffer[..]) {
            Ok(0) => return self.close(number, Closed::ByPeer),
            Ok(length) => length,
            Err(Errno::AGAIN | Errno::INTR) => return,
            Err(_) => return self.close(number, Closed::Failed),
        };
        recorder.begin_batch();
        recorder.count_read(0, length);
        let (max, peer) = (self.config.max_line, &connection.peer);
        let is_watched = self.stats.senders().is_watched();
        let has_ended_line =
            connection.lines.feed(&self.buffer[..length], max, &mut |part| match part {
                Part::Lines(lines) => recorder.lines(lines, peer),
                Part::TooLong(line) => {
                    let reason = RejectReason::TooLong;
                    let rejection = Rejection { reason, offset: max, expected: "the line's end" };
                    recorder.reject(rejection, line, peer);
                }
            });
        if is_watched {
            count_sender(&self.stats, peer, length, recorder);
        }
        recorder.publish();
        if has_ended_line {
            connection.alive = Instant::now();
        }
    }

    /// Lets go of a connection. A last line without an end counts if the sender said that it was
    /// all; else it may be half of one, which could pass for another message.
    fn close(&mut self, number: u64, why: Closed) {
        let Some(mut connection) = self.connections.remove(&number) else { return };
        let line = connection.lines.finish();
        if !line.trim_ascii().is_empty() {
            self.recorder.begin_batch();
            if matches!(why, Closed::ByPeer) {
                self.recorder.lines(&line, &connection.peer);
            } else {
                let (reason, offset) = (RejectReason::Unfinished, line.len());
                let rejection = Rejection { reason, offset, expected: "the line's end" };
                self.recorder.reject(rejection, &line, &connection.peer);
            }
            if self.stats.senders().is_watched() {
                count_sender(&self.stats, &connection.peer, 0, &self.recorder);
            }
            self.recorder.publish();
        }
        self.stats.connection_closed(why);
    }

    /// When there is something to do though no socket has anything.
    fn next_duty(&self) -> Option<Instant> {
        [self.sweep_at, self.accept_at].into_iter().flatten().min()
    }

    fn see_to_duties(&mut self) {
        let Some(duty) = self.next_duty() else { return };
        let now = Instant::now();
        if now < duty {
            return;
        }
        if self.accept_at.is_some_and(|at| at <= now) {
            self.accept_at = None;
            self.set_accepting(true);
        }
        if self.sweep_at.is_some_and(|at| at <= now) {
            self.close_idle(now);
            self.sweep_at = (!self.connections.is_empty()).then(|| now + self.sweep_pause());
        }
    }

    /// A look at all connections now and then is simpler than a timer each; one is found at most a
    /// quarter too late.
    fn sweep_pause(&self) -> Duration {
        (self.config.idle_timeout.get() / 4).clamp(SWEEP_MIN, SWEEP_MAX)
    }

    fn close_idle(&mut self, now: Instant) {
        let limit = self.config.idle_timeout.get();
        let connections = self.connections.iter();
        let idle: Vec<_> = connections
            .filter(|(_, connection)| now.duration_since(connection.alive) >= limit)
            .map(|(number, _)| *number)
            .collect();
        idle.into_iter().for_each(|number| self.close(number, Closed::Idle));
    }

    fn wait(&self, waker: &Waker, until: Option<Instant>) {
        if let Err(error) = waker.wait(self.poll.as_fd(), until) {
            self.pause_after(&error);
        }
    }

    fn pause_after(&self, error: &io::Error) {
        warn!(listener = self.stats.label(), %error, "cannot wait for connections; trying again");
        std::thread::sleep(ERROR_PAUSE);
    }

    /// Accepts whoever has connected so far and reads what connections have brought.
    fn drain(&mut self, waker: &Waker) {
        self.file = None;
        self.accept(usize::MAX);
        self.listening = None;
        let end = Instant::now() + DRAIN_MAX;
        let mut quiet_at = Instant::now() + DRAIN_QUIET;
        while !self.connections.is_empty() {
            self.recorder.at_edge();
            match self.turn() {
                Ok(0) if Instant::now() >= quiet_at => return,
                Ok(0) => self.wait(waker, Some(quiet_at)),
                Ok(_) => quiet_at = Instant::now() + DRAIN_QUIET,
                Err(error) => self.pause_after(&error),
            }
            if Instant::now() > end {
                warn!(
                    listener = self.stats.label(),
                    "senders go on; the rest is not read any more"
                );
                return;
            }
        }
    }
}
