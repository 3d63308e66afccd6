//! Sends a copy of every datagram to other daemons (`listeners[].mirror`).

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use basics::address::resolve;
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use socket2::SockRef;
use tracing::{info, warn};

use crate::sys;

/// Maximum number of targets of one listener. Each costs as much as the receipt of a datagram.
const TARGETS_MAX: usize = 8;
/// The scheme of a target in the configuration.
const SCHEME: &str = "udp://";
/// The send buffer to request, so that a burst fits in while the network card is busy.
const SEND_BUFFER: usize = 4 << 20;
/// Time between two attempts to open a socket, such as while the network has no route.
const OPEN_PERIOD: Duration = Duration::from_secs(1);

/// The targets of a listener, in the order of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MirrorList(Vec<MirrorTarget>);

/// An address that gets a copy of every datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorTarget {
    /// As configured, such as `udp://old.example.net:8125`.
    text: String,
    address: SocketAddr,
}

impl MirrorList {
    /// The targets.
    #[must_use]
    pub fn targets(&self) -> &[MirrorTarget] {
        &self.0
    }
}

impl MirrorTarget {
    /// Parses and resolves a target. Of the addresses of a name it takes the first of IPv4, because
    /// older daemons listen only there, else the first.
    ///
    /// # Errors
    /// When the text has another form, or the lookup fails. The error says which form is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let shape =
            || format!("a target is udp://host:port, such as udp://127.0.0.1:8126, not `{text}`");
        let found = resolve(text.strip_prefix(SCHEME).ok_or_else(shape)?)?;
        let ipv4 = found.iter().find(|address| address.is_ipv4());
        let address = *ipv4.or(found.first()).ok_or_else(shape)?;
        if address.port() == 0 {
            return Err(shape());
        }
        Ok(Self { text: text.to_owned(), address })
    }

    /// The address that datagrams are sent to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl fmt::Display for MirrorTarget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for MirrorList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        if texts.len() > TARGETS_MAX {
            let message = format!("at most {TARGETS_MAX} targets, not {}", texts.len());
            return Err(D::Error::custom(message));
        }
        let mut targets: Vec<MirrorTarget> = Vec::new();
        for text in texts {
            let target = MirrorTarget::parse(&text).map_err(D::Error::custom)?;
            if targets.iter().any(|other| other.address == target.address) {
                let message = format!("`{target}` has the address of another target");
                return Err(D::Error::custom(message));
            }
            targets.push(target);
        }
        Ok(Self(targets))
    }
}

/// The counts of one target. Every datagram of an allowed sender that was read as a whole is in one of
/// them.
#[derive(Debug, Default)]
pub struct MirrorStats {
    target: String,
    sent: AtomicU64,
    failed: AtomicU64,
}

impl MirrorStats {
    /// The target as configured.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Datagrams that the system took.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Datagrams that could not be sent: the target's host has refused an earlier one, there is no
    /// route to it, the send buffer was full, or the datagram is too long for UDP.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

/// The open targets of a listener's thread.
#[derive(Debug, Default)]
pub(super) struct Mirror(Vec<OpenTarget>);

#[derive(Debug)]
struct OpenTarget {
    address: SocketAddr,
    /// `None` if it could not be opened.
    socket: Option<UdpSocket>,
    open_at: Instant,
    /// Whether the latest attempt to open it failed.
    is_failing: bool,
    stats: Arc<MirrorStats>,
}

impl Mirror {
    /// Opens the targets of `list`, and returns their counts. Targets that were open before keep theirs.
    pub(super) fn set(&mut self, list: &MirrorList) -> Vec<Arc<MirrorStats>> {
        let mut previous = std::mem::take(&mut self.0);
        for target in &list.0 {
            let text = target.to_string();
            let same = previous
                .iter()
                .position(|open| open.address == target.address && open.stats.target == text);
            self.0.push(match same {
                Some(index) => previous.swap_remove(index),
                None => OpenTarget::new(target, text),
            });
        }
        self.0.iter().map(|target| Arc::clone(&target.stats)).collect()
    }

    /// Whether there is no target.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sends the datagrams to each target, without waiting.
    pub(super) fn send(&mut self, datagrams: &[&[u8]]) {
        for target in &mut self.0 {
            let sent = target.send(datagrams) as u64;
            target.stats.sent.fetch_add(sent, Ordering::Relaxed);
            target.stats.failed.fetch_add(datagrams.len() as u64 - sent, Ordering::Relaxed);
        }
    }
}

impl OpenTarget {
    fn new(target: &MirrorTarget, text: String) -> Self {
        let stats = Arc::new(MirrorStats { target: text, ..MirrorStats::default() });
        let (address, open_at) = (target.address, Instant::now());
        Self { address, socket: None, open_at, is_failing: false, stats }
    }

    /// Returns the number of datagrams sent.
    fn send(&mut self, datagrams: &[&[u8]]) -> usize {
        if self.socket.is_none() {
            self.open();
        }
        self.socket.as_ref().map_or(0, |socket| sys::send_each(socket.as_fd(), datagrams))
    }

    fn open(&mut self) {
        let now = Instant::now();
        if now < self.open_at {
            return;
        }
        self.open_at = now + OPEN_PERIOD;
        let (target, was_failing) = (&self.stats.target, self.is_failing);
        match connected(self.address) {
            Ok(socket) => {
                (self.socket, self.is_failing) = (Some(socket), false);
                if was_failing {
                    info!(target, "mirroring datagrams again");
                }
            }
            Err(error) => {
                self.is_failing = true;
                if !was_failing {
                    warn!(target, %error, "cannot mirror datagrams, will retry every second");
                }
            }
        }
    }
}

/// A socket that sends to this address without blocking.
fn connected(address: SocketAddr) -> io::Result<UdpSocket> {
    let any = match address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    SockRef::from(&socket).set_send_buffer_size(SEND_BUFFER)?;
    socket.connect(address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<String, String> {
        MirrorTarget::parse(text).map(|target| target.address.to_string())
    }

    fn list(targets: &[&UdpSocket]) -> MirrorList {
        let target = |socket: &&UdpSocket| {
            MirrorTarget::parse(&format!("udp://{}", socket.local_addr().unwrap())).unwrap()
        };
        MirrorList(targets.iter().map(target).collect())
    }

    fn counts(stats: &[Arc<MirrorStats>]) -> Vec<(u64, u64)> {
        stats.iter().map(|mirror| (mirror.sent(), mirror.failed())).collect()
    }

    fn received(socket: &UdpSocket) -> Vec<u8> {
        let mut bytes = [0; 100];
        let length = socket.recv(&mut bytes).unwrap();
        bytes[..length].to_vec()
    }

    fn receiver() -> UdpSocket {
        UdpSocket::bind("127.0.0.1:0").unwrap()
    }

    #[test]
    fn a_target_has_a_scheme_a_host_and_a_port() {
        assert_eq!(parsed("udp://127.0.0.1:8126").unwrap(), "127.0.0.1:8126");
        assert_eq!(parsed("udp://[::1]:8126").unwrap(), "[::1]:8126");
        assert_eq!(parsed("udp://localhost:8126").unwrap(), "127.0.0.1:8126", "IPv4 first");
        for wrong in
            ["127.0.0.1:8126", "tcp://127.0.0.1:8126", "udp://127.0.0.1", "udp://127.0.0.1:0"]
        {
            assert!(parsed(wrong).unwrap_err().contains("host:port"), "{wrong}");
        }
    }

    #[test]
    fn every_target_gets_every_datagram_and_the_counts_add_up() {
        let (one, two, gone) = (receiver(), receiver(), receiver());
        let mut mirror = Mirror::default();
        let stats = mirror.set(&list(&[&one, &two, &gone]));
        drop(gone);
        mirror.send(&[b"a:1|c", b"b"]);
        mirror.send(&[b"", b"c"]);
        for socket in [&one, &two] {
            let all: Vec<_> = (0..4).map(|_| received(socket)).collect();
            assert_eq!(all, [&b"a:1|c"[..], b"b", b"", b"c"]);
        }
        let counts = counts(&stats);
        assert_eq!(counts[..2], [(4, 0), (4, 0)]);
        let (sent, failed) = counts[2];
        assert_eq!(sent + failed, 4);
        assert!(failed >= 1, "the system reports the refusal of the first with the next");
    }

    #[test]
    fn a_change_of_the_list_keeps_the_counts_of_targets_that_stay() {
        let (one, two) = (receiver(), receiver());
        let mut mirror = Mirror::default();
        assert_eq!(counts(&mirror.set(&list(&[&one]))), [(0, 0)]);
        mirror.send(&[b"a"]);
        let stats = mirror.set(&list(&[&two, &one]));
        mirror.send(&[b"b"]);
        assert_eq!(counts(&stats), [(1, 0), (2, 0)]);
        let stats = mirror.set(&MirrorList::default());
        assert!(mirror.is_empty() && counts(&stats).is_empty());
    }

    #[test]
    fn a_target_without_a_route_fails_and_delays_nothing() {
        // Only an interface of this host has a link-local address, and it needs a zone.
        let target = MirrorTarget::parse("udp://[fe80::1]:8126").unwrap();
        let mut mirror = Mirror::default();
        let stats = mirror.set(&MirrorList(vec![target]));
        mirror.send(&[b"a", b"b"]);
        assert_eq!(counts(&stats), [(0, 2)]);
    }

    #[test]
    fn a_datagram_that_is_too_long_for_udp_fails_alone() {
        let one = receiver();
        let mut mirror = Mirror::default();
        let stats = mirror.set(&list(&[&one]));
        let long = vec![b'x'; 66_000];
        mirror.send(&[b"a", &long, b"b"]);
        assert_eq!(counts(&stats), [(2, 1)]);
        assert_eq!([received(&one), received(&one)], [b"a", b"b"]);
    }
}
