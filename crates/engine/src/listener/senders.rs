//! Who sends how much, counted while somebody wants to know.
//!
//! To ask the kernel for the sender of each datagram costs a listener that has much to do some 6 %, so
//! it is done for a while after each look at the counts, and not at other times.

use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long after a look senders are still counted.
pub const WATCHED_FOR: Duration = Duration::from_secs(30);

/// A sender, as far as it makes sense to tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    /// Another host: programs there may have a new port for each message.
    Host(IpAddr),
    /// A socket of this host: by its port the program is found.
    Socket(SocketAddr),
    /// A process of this host, at the other end of a Unix socket.
    Process(i32),
    /// One without an address.
    Unnamed,
}

impl Sender {
    /// The one with this address.
    #[must_use]
    pub fn of_address(address: Option<SocketAddr>) -> Self {
        match address {
            Some(address) if address.ip().is_loopback() => Self::Socket(address),
            Some(address) => Self::Host(address.ip()),
            None => Self::Unnamed,
        }
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(ip) => ip.fmt(formatter),
            Self::Socket(address) => address.fmt(formatter),
            Self::Process(pid) => write!(formatter, "pid {pid}"),
            Self::Unnamed => formatter.write_str("unknown"),
        }
    }
}

/// What came from a sender.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Datagrams; of a connection there are none.
    pub datagrams: u64,
    /// Bytes.
    pub bytes: u64,
    /// Messages, rejected ones included.
    pub messages: u64,
    /// Messages that were rejected.
    pub rejected: u64,
}

impl Sent {
    /// Adds what came from another, or later.
    pub fn add(&mut self, other: &Self) {
        self.datagrams += other.datagrams;
        self.bytes += other.bytes;
        self.messages += other.messages;
        self.rejected += other.rejected;
    }
}

/// The senders of a listener since somebody began to look.
#[derive(Clone, Debug)]
pub struct Senders {
    /// For how long they have been counted.
    pub counted_for: Duration,
    /// What came from each of those that are told apart, in no order.
    pub by_sender: Vec<(Sender, Sent)>,
    /// What came from all others.
    pub others: Sent,
}

/// Shared between a listener's thread and whoever looks.
#[derive(Debug, Default)]
pub struct SenderCounts {
    /// All that a listener looks at while nobody is interested, once a batch.
    is_watched: AtomicBool,
    watch: Mutex<Watch>,
}

#[derive(Debug, Default)]
struct Watch {
    /// When it began and when it ends, unless somebody looks again.
    times: Option<(Instant, Instant)>,
    table: Table,
}

impl SenderCounts {
    /// Whether senders are to be counted.
    #[inline]
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.is_watched.load(Ordering::Relaxed)
    }

    /// What was counted so far. From now on it is for another while, up to `most` senders one by one.
    #[must_use]
    pub fn look(&self, most: usize) -> Senders {
        self.look_at(Instant::now(), most)
    }

    fn look_at(&self, now: Instant, most: usize) -> Senders {
        let mut watch = self.lock();
        let began = match watch.times {
            Some((began, until)) if now <= until => began,
            _ => {
                watch.table = Table::default();
                now
            }
        };
        watch.times = Some((began, now + WATCHED_FOR));
        watch.table.most = most;
        self.is_watched.store(true, Ordering::Relaxed);
        Senders {
            counted_for: now.duration_since(began),
            by_sender: watch.table.by_sender.iter().map(|(who, one)| (*who, one.sent)).collect(),
            others: watch.table.others,
        }
    }

    /// Counts a batch.
    pub fn count(&self, batch: &[(Sender, Sent)]) {
        self.count_at(Instant::now(), batch);
    }

    fn count_at(&self, now: Instant, batch: &[(Sender, Sent)]) {
        let mut watch = self.lock();
        if watch.times.is_none_or(|(_, until)| now > until) {
            self.is_watched.store(false, Ordering::Relaxed);
            *watch = Watch::default();
            return;
        }
        batch.iter().for_each(|(who, sent)| watch.table.count(*who, sent));
    }

    fn lock(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock()
    }
}

/// Few of perhaps very many senders: those that send the most.
///
/// One that is not in the full table takes the place of the one that counts least, and begins with the
/// other's count as its rank (the space-saving algorithm). So one that sends often comes in and stays,
/// however many others there are that send once. What is told of it is what it sent since it came in.
#[derive(Debug, Default)]
struct Table {
    most: usize,
    by_sender: HashMap<Sender, Ranked>,
    others: Sent,
}

#[derive(Debug)]
struct Ranked {
    sent: Sent,
    /// Rank of the one whose place it took.
    inherited: u64,
}

impl Ranked {
    fn rank(&self) -> u64 {
        self.inherited + self.sent.messages
    }
}

impl Table {
    fn count(&mut self, who: Sender, sent: &Sent) {
        if let Some(known) = self.by_sender.get_mut(&who) {
            known.sent.add(sent);
            return;
        }
        let mut inherited = 0;
        while self.by_sender.len() >= self.most {
            let least = self.by_sender.iter().min_by_key(|(_, one)| one.rank());
            let Some((least, _)) = least.map(|(who, one)| (*who, one.rank())) else {
                return self.others.add(sent);
            };
            if let Some(gone) = self.by_sender.remove(&least) {
                inherited = gone.rank();
                self.others.add(&gone.sent);
            }
        }
        self.by_sender.insert(who, Ranked { sent: *sent, inherited });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(number: u32) -> Sender {
        Sender::of_address(Some(SocketAddr::new(IpAddr::V4(number.into()), 1)))
    }

    fn sent(messages: u64) -> Sent {
        Sent { datagrams: 1, bytes: 10 * messages, messages, rejected: 0 }
    }

    #[test]
    fn senders_are_told_apart_by_what_stays_the_same() {
        let shown = |address: &str| Sender::of_address(Some(address.parse().unwrap())).to_string();
        assert_eq!(shown("10.0.0.7:1234"), "10.0.0.7");
        assert_eq!(shown("127.0.0.1:1234"), "127.0.0.1:1234");
        assert_eq!(shown("[::1]:5"), "[::1]:5");
        assert_eq!(Sender::Process(7).to_string(), "pid 7");
    }

    #[test]
    fn nothing_is_counted_unless_somebody_looked_a_short_while_ago() {
        let (counts, start) = (SenderCounts::default(), Instant::now());
        assert!(!counts.is_watched());
        assert!(counts.look_at(start, 10).by_sender.is_empty());
        assert!(counts.is_watched());
        counts.count_at(start, &[(host(1), sent(2)), (host(1), sent(3))]);
        let at = start + WATCHED_FOR;
        let seen = counts.look_at(at, 10);
        assert_eq!(seen.counted_for, WATCHED_FOR);
        assert_eq!(seen.by_sender.len(), 1);
        let expected = Sent { datagrams: 2, bytes: 50, messages: 5, rejected: 0 };
        assert_eq!(seen.by_sender[0].1, expected);
        // That was a look too. A while after it:
        let late = at + WATCHED_FOR + Duration::from_millis(1);
        counts.count_at(late, &[(host(1), sent(1))]);
        assert!(!counts.is_watched());
        assert!(counts.look_at(late, 10).by_sender.is_empty(), "it begins anew");
    }

    #[test]
    fn one_that_sends_much_is_found_among_any_number_of_others() {
        let (counts, start) = (SenderCounts::default(), Instant::now());
        let _empty = counts.look_at(start, 16);
        for number in 0..100_000 {
            counts.count_at(start, &[(host(number + 10), sent(1))]);
            if number % 10 == 0 {
                counts.count_at(start, &[(host(1), sent(1))]);
            }
        }
        let seen = counts.look_at(start, 16);
        assert_eq!(seen.by_sender.len(), 16);
        let found = seen.by_sender.iter().find(|(who, _)| *who == host(1)).unwrap();
        assert!(found.1.messages > 9_000, "{found:?}");
        let mut total = seen.others;
        seen.by_sender.iter().for_each(|(_, sent)| total.add(sent));
        assert_eq!((total.messages, total.datagrams), (110_000, 110_000), "nothing is lost");
    }

    #[test]
    fn without_room_all_are_others() {
        let (counts, start) = (SenderCounts::default(), Instant::now());
        let _empty = counts.look_at(start, 0);
        counts.count_at(start, &[(host(1), sent(4))]);
        let seen = counts.look_at(start, 0);
        assert!(seen.by_sender.is_empty());
        assert_eq!(seen.others.messages, 4);
    }
}
