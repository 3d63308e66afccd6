//! Counts traffic by sender, on demand.
//!
//! Asking the kernel for the sender of each datagram costs a busy listener about 6 % of its time.
//! So senders are counted only for a while after each request for the counts.

use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long senders are counted after a request for the counts.
pub const WATCHED_FOR: Duration = Duration::from_secs(30);

/// A sender, by the parts of its address that stay the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SenderId {
    /// Another host, whose programs may use a new port for each message.
    Host(IpAddr),
    /// A socket on this host; its port leads to the program.
    Socket(SocketAddr),
    /// A process on this host, connected to a Unix socket.
    Process(i32),
    /// A sender without an address.
    Unnamed,
}

impl SenderId {
    /// The sender with this address.
    #[must_use]
    pub fn of_address(address: Option<SocketAddr>) -> Self {
        match address {
            Some(address) if address.ip().is_loopback() => Self::Socket(address),
            Some(address) => Self::Host(address.ip()),
            None => Self::Unnamed,
        }
    }
}

impl fmt::Display for SenderId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(ip) => ip.fmt(formatter),
            Self::Socket(address) => address.fmt(formatter),
            Self::Process(pid) => write!(formatter, "pid {pid}"),
            Self::Unnamed => formatter.write_str("unknown"),
        }
    }
}

/// The traffic of a sender.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderTraffic {
    /// Number of datagrams; 0 for a connection.
    pub datagrams: u64,
    /// Number of bytes.
    pub bytes: u64,
    /// Number of messages, including rejected ones.
    pub messages: u64,
    /// Number of rejected messages, without samples that a rule drops.
    pub rejected: u64,
}

impl SenderTraffic {
    /// Adds other traffic.
    pub fn add(&mut self, other: &Self) {
        self.datagrams += other.datagrams;
        self.bytes += other.bytes;
        self.messages += other.messages;
        self.rejected += other.rejected;
    }
}

/// The senders of a listener since counting began.
#[derive(Clone, Debug)]
pub struct SenderReport {
    /// Time since counting began.
    pub counted_for: Duration,
    /// The traffic of each sender that is counted individually, in no particular order.
    pub by_sender: Vec<(SenderId, SenderTraffic)>,
    /// The traffic of all other senders.
    pub others: SenderTraffic,
}

/// The counts of one listener, shared with the admin endpoint.
#[derive(Debug, Default)]
pub struct SenderCounts {
    /// While senders are not counted, a listener checks only this, once per batch.
    is_watched: AtomicBool,
    watch: Mutex<Watch>,
}

#[derive(Debug, Default)]
struct Watch {
    /// When counting began, and when it ends unless there is another request.
    times: Option<(Instant, Instant)>,
    top: SenderTable,
}

impl SenderCounts {
    /// Whether to count senders.
    #[inline]
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.is_watched.load(Ordering::Relaxed)
    }

    /// Returns the counts so far, and continues counting for [`WATCHED_FOR`]. At most `most`
    /// senders are counted individually from now on.
    #[must_use]
    pub fn report(&self, most: usize) -> SenderReport {
        self.report_at(Instant::now(), most)
    }

    fn report_at(&self, now: Instant, most: usize) -> SenderReport {
        let mut watch = self.lock();
        let began = match watch.times {
            Some((began, until)) if now <= until => began,
            _ => {
                watch.top = SenderTable::default();
                now
            }
        };
        watch.times = Some((began, now + WATCHED_FOR));
        watch.top.most = most;
        // Relaxed, because nothing depends on the order: a listener that sees it late counts one
        // batch less.
        self.is_watched.store(true, Ordering::Relaxed);
        SenderReport {
            counted_for: now.duration_since(began),
            by_sender: watch
                .top
                .by_sender
                .iter()
                .map(|(id, ranked)| (*id, ranked.traffic))
                .collect(),
            others: watch.top.others,
        }
    }

    /// Adds the traffic of a batch.
    pub fn count(&self, batch: &[(SenderId, SenderTraffic)]) {
        self.count_at(Instant::now(), batch);
    }

    fn count_at(&self, now: Instant, batch: &[(SenderId, SenderTraffic)]) {
        let mut watch = self.lock();
        if watch.times.is_none_or(|(_, until)| now > until) {
            self.is_watched.store(false, Ordering::Relaxed);
            // The requests have ended, so the table of senders need not be kept.
            *watch = Watch::default();
            return;
        }
        batch.iter().for_each(|(id, traffic)| watch.top.count(*id, traffic));
    }

    fn lock(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock()
    }
}

/// The senders with the most messages, found with the space-saving algorithm.
///
/// When the table is full, a new sender replaces the one with the lowest rank and inherits this
/// rank. So a frequent sender enters the table and stays there, however many senders appear only
/// once. The reported traffic of a sender counts from the moment at which it entered.
#[derive(Debug, Default)]
struct SenderTable {
    most: usize,
    by_sender: HashMap<SenderId, Ranked>,
    others: SenderTraffic,
}

#[derive(Debug)]
struct Ranked {
    traffic: SenderTraffic,
    /// The rank of the sender that it replaced.
    inherited: u64,
}

impl Ranked {
    fn rank(&self) -> u64 {
        self.inherited + self.traffic.messages
    }
}

impl SenderTable {
    fn count(&mut self, id: SenderId, traffic: &SenderTraffic) {
        if let Some(known) = self.by_sender.get_mut(&id) {
            known.traffic.add(traffic);
            return;
        }
        let mut inherited = 0;
        // A loop, because a request may have lowered `most`.
        while self.by_sender.len() >= self.most {
            let least = self.by_sender.iter().min_by_key(|(_, one)| one.rank());
            let Some((least, _)) = least.map(|(id, one)| (*id, one.rank())) else {
                return self.others.add(traffic);
            };
            if let Some(evicted) = self.by_sender.remove(&least) {
                inherited = evicted.rank();
                // The traffic moves instead of being lost, so that the sum over all senders stays
                // right.
                self.others.add(&evicted.traffic);
            }
        }
        self.by_sender.insert(id, Ranked { traffic: *traffic, inherited });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(number: u32) -> SenderId {
        SenderId::of_address(Some(SocketAddr::new(IpAddr::V4(number.into()), 1)))
    }

    fn sent(messages: u64) -> SenderTraffic {
        SenderTraffic { datagrams: 1, bytes: 10 * messages, messages, rejected: 0 }
    }

    #[test]
    fn senders_are_identified_by_the_stable_part_of_their_address() {
        let shown =
            |address: &str| SenderId::of_address(Some(address.parse().unwrap())).to_string();
        assert_eq!(shown("10.0.0.7:1234"), "10.0.0.7");
        assert_eq!(shown("127.0.0.1:1234"), "127.0.0.1:1234");
        assert_eq!(shown("[::1]:5"), "[::1]:5");
        assert_eq!(SenderId::Process(7).to_string(), "pid 7");
    }

    #[test]
    fn senders_are_counted_only_for_a_while_after_a_request() {
        let (counts, start) = (SenderCounts::default(), Instant::now());
        assert!(!counts.is_watched());
        assert!(counts.report_at(start, 10).by_sender.is_empty());
        assert!(counts.is_watched());
        counts.count_at(start, &[(host(1), sent(2)), (host(1), sent(3))]);
        let at = start + WATCHED_FOR;
        let seen = counts.report_at(at, 10);
        assert_eq!(seen.counted_for, WATCHED_FOR);
        assert_eq!(seen.by_sender.len(), 1);
        let expected = SenderTraffic { datagrams: 2, bytes: 50, messages: 5, rejected: 0 };
        assert_eq!(seen.by_sender[0].1, expected);
        // That was a request as well. A while after it:
        let late = at + WATCHED_FOR + Duration::from_millis(1);
        counts.count_at(late, &[(host(1), sent(1))]);
        assert!(!counts.is_watched());
        assert!(counts.report_at(late, 10).by_sender.is_empty(), "counting starts over");
    }

    #[test]
    fn a_frequent_sender_is_found_among_any_number_of_others() {
        let (counts, start) = (SenderCounts::default(), Instant::now());
        let _empty = counts.report_at(start, 16);
        for number in 0..100_000 {
            counts.count_at(start, &[(host(number + 10), sent(1))]);
            if number % 10 == 0 {
                counts.count_at(start, &[(host(1), sent(1))]);
            }
        }
        let seen = counts.report_at(start, 16);
        assert_eq!(seen.by_sender.len(), 16);
        let found = seen.by_sender.iter().find(|(id, _)| *id == host(1)).unwrap();
        assert!(found.1.messages > 9_000, "{found:?}");
        let mut total = seen.others;
        seen.by_sender.iter().for_each(|(_, traffic)| total.add(traffic));
        assert_eq!((total.messages, total.datagrams), (110_000, 110_000), "nothing is lost");
    }

    #[test]
    fn without_room_all_senders_count_as_others() {
        let (counts, start) = (SenderCounts::default(), Instant::now());
        let _empty = counts.report_at(start, 0);
        counts.count_at(start, &[(host(1), sent(4))]);
        let seen = counts.report_at(start, 0);
        assert!(seen.by_sender.is_empty());
        assert_eq!(seen.others.messages, 4);
    }
}
