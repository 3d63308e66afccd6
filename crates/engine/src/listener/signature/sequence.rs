//! Finds lost and reordered datagrams by the numbers that senders give them.
//!
//! The nonce of a signed datagram may be any number. tallyd's clients count it up by one for each datagram,
//! from a random number on; brubeck's clients draw it. Three successive small steps forward are a
//! sequence: random nonces look like one once in 2^48 datagrams.

use std::collections::HashMap;
use std::net::SocketAddr;

/// Steps forward after which the nonces of a sender are a sequence.
const STEPS_MIN: u8 = 3;
/// Maximum step of a sequence. A larger one begins another sequence.
const STEP_MAX: u32 = 1 << 16;
/// Numbers before the newest of which it is known whether they arrived. One that has not arrived when the
/// sequence has advanced this far is lost.
const TRACKED: u32 = 64;

/// How a datagram stands to the others of its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatagramOrder {
    /// It follows on those before.
    InOrder,
    /// It was sent before another one that has already arrived.
    Reordered,
    /// Its sender does not number its datagrams, or has not sent enough yet.
    Unnumbered,
}

/// The datagrams of one sender.
#[derive(Clone, Copy, Debug)]
struct SenderSequence {
    /// The latest number.
    newest: u32,
    /// Which of the numbers up to the newest have arrived; the newest is the lowest bit.
    arrived: u64,
    /// Successive steps forward, up to [`STEPS_MIN`].
    steps: u8,
    /// The latest time of a signature, in seconds.
    signed: u64,
}

impl SenderSequence {
    fn new(nonce: u32, signed: u64) -> Self {
        // As if all numbers before had arrived: whether they were sent is unknown.
        Self { newest: nonce, arrived: u64::MAX, steps: 0, signed }
    }

    fn is_numbered(&self) -> bool {
        self.steps >= STEPS_MIN
    }

    /// Adds a datagram. Returns its order, and the number of datagrams that are lost for certain now.
    fn add(&mut self, nonce: u32, signed: u64) -> (DatagramOrder, u64) {
        let is_earlier = signed < self.signed;
        self.signed = self.signed.max(signed);
        let was_numbered = self.is_numbered();
        let (ahead, behind) = (nonce.wrapping_sub(self.newest), self.newest.wrapping_sub(nonce));
        if (1..=STEP_MAX).contains(&ahead) {
            let lost = self.step(ahead);
            return match was_numbered {
                true => (DatagramOrder::InOrder, lost),
                false => (unnumbered(is_earlier), 0),
            };
        }
        if behind < TRACKED {
            self.arrived |= 1 << behind;
        }
        if was_numbered && behind <= STEP_MAX {
            return (DatagramOrder::Reordered, 0);
        }
        if behind < TRACKED {
            return (unnumbered(is_earlier), 0);
        }
        let lost = self.missing();
        *self = Self { signed: self.signed, ..Self::new(nonce, signed) };
        (unnumbered(is_earlier), lost)
    }

    /// Advances to a number that is `ahead` of the newest. Returns how many numbers leave the tracked
    /// range that have not arrived.
    fn step(&mut self, ahead: u32) -> u64 {
        self.newest = self.newest.wrapping_add(ahead);
        self.steps = (self.steps + 1).min(STEPS_MIN);
        let lost = if ahead < TRACKED {
            u64::from(ahead - (self.arrived >> (TRACKED - ahead)).count_ones())
        } else {
            u64::from(TRACKED - self.arrived.count_ones()) + u64::from(ahead - TRACKED)
        };
        self.arrived = self.arrived.checked_shl(ahead).unwrap_or(0) | 1;
        lost
    }

    /// The tracked numbers of a sequence that have not arrived.
    fn missing(&self) -> u64 {
        if self.is_numbered() { u64::from(self.arrived.count_zeros()) } else { 0 }
    }
}

/// The order of a datagram without a number: only its time, which has whole seconds, may show that it is
/// late.
fn unnumbered(is_earlier: bool) -> DatagramOrder {
    if is_earlier { DatagramOrder::Reordered } else { DatagramOrder::Unnumbered }
}

/// The senders of a key on one socket, by address and port.
///
/// There are two generations. When the young one is full it becomes the old one, and the previous old one
/// is forgotten; a sender in the old one returns to the young one with its next datagram.
#[derive(Debug, Default)]
pub struct SenderSequences {
    young: HashMap<SocketAddr, SenderSequence>,
    old: HashMap<SocketAddr, SenderSequence>,
}

/// The order of a datagram, and its effects on the counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceReport {
    /// The order of the datagram.
    pub order: DatagramOrder,
    /// Datagrams that are now known to be lost, of this sender or of forgotten ones.
    pub lost: u64,
    /// Senders that were forgotten to make room.
    pub forgotten: u64,
}

impl SenderSequences {
    /// Adds a datagram of a sender. At most about `most` senders are remembered.
    pub fn add(
        &mut self,
        sender: SocketAddr,
        nonce: u32,
        signed: u64,
        most: usize,
    ) -> SequenceReport {
        if let Some(sequence) = self.young.get_mut(&sender) {
            let (order, lost) = sequence.add(nonce, signed);
            return SequenceReport { order, lost, forgotten: 0 };
        }
        let (mut forgotten, mut lost_with_them) = (0, 0);
        if self.young.len() >= (most / 2).max(1) {
            let leaving = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
            // The sender itself may be among them.
            let stays = leaving.get(&sender).copied();
            let others = leaving.iter().filter(|(other, _)| **other != sender);
            (forgotten, lost_with_them) = others.fold((0, 0), |(count, lost), (_, sequence)| {
                (count + 1, lost + sequence.missing())
            });
            self.old.extend(stays.map(|sequence| (sender, sequence)));
        }
        let (order, lost) = match self.old.remove(&sender) {
            Some(mut sequence) => {
                let added = sequence.add(nonce, signed);
                self.young.insert(sender, sequence);
                added
            }
            None => {
                self.young.insert(sender, SenderSequence::new(nonce, signed));
                (DatagramOrder::Unnumbered, 0)
            }
        };
        SequenceReport { order, lost: lost + lost_with_them, forgotten }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::DatagramOrder::{Reordered, Unnumbered};
    use super::*;

    fn sender(number: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], number))
    }

    /// The numbers of datagrams in order, reordered, unnumbered and lost, of one sender.
    fn outcome(nonces: impl IntoIterator<Item = u32>) -> [u64; 4] {
        let (mut sequences, mut counts) = (SenderSequences::default(), [0; 4]);
        for nonce in nonces {
            let report = sequences.add(sender(1), nonce, 0, 10);
            counts[report.order as usize] += 1;
            counts[3] += report.lost;
        }
        counts
    }

    #[test]
    fn numbers_that_count_up_are_in_order() {
        assert_eq!(outcome(0..100), [96, 0, 4, 0]);
        // They wrap around.
        let around = (0..100_u32).map(|number| number.wrapping_sub(50));
        assert_eq!(outcome(around), [96, 0, 4, 0]);
    }

    #[test]
    fn a_gap_is_lost_when_the_sequence_has_left_it_behind() {
        let with_gap = |last| (0..10).chain(15..last);
        assert_eq!(outcome(with_gap(74))[3], 0);
        assert_eq!(outcome(with_gap(75))[3], 1);
        assert_eq!(outcome(with_gap(200))[3], 5);
        // A gap that is longer than the tracked range is lost at once, but for its end.
        assert_eq!(outcome((0..10).chain(1_010..1_011))[3], 1_000 - 63);
        assert_eq!(outcome((0..10).chain(1_010..2_000))[3], 1_000);
    }

    #[test]
    fn a_late_datagram_is_reordered_and_not_lost() {
        let late = (0..10).chain([11, 12, 10]).chain(13..200);
        assert_eq!(outcome(late), [195, 1, 4, 0]);
        // Too late: it was counted as lost.
        let too_late = (0..10).chain(11..100).chain([10]).chain(100..200);
        assert_eq!(outcome(too_late), [195, 1, 4, 1]);
    }

    #[test]
    fn a_number_that_has_left_the_tracked_range_stays_lost() {
        let tracked = |late| outcome((0..10).chain(11..75).chain([late]));
        assert_eq!(tracked(11), [70, 1, 4, 1]);
        assert_eq!(tracked(10), [70, 1, 4, 1]);
        // An unnumbered datagram outside the range begins another sequence, one in it does not.
        assert_eq!(outcome([100, 36, 37, 38, 39, 40]), [1, 0, 5, 0]);
        assert_eq!(outcome([100, 37, 38, 39, 40, 41]), [0, 0, 6, 0]);
    }

    #[test]
    fn another_sequence_begins_with_a_jump() {
        let restarted = (0..10).chain([12]).chain(1_000_000..1_000_200);
        // The gap before the jump is lost.
        assert_eq!(outcome(restarted), [7 + 196, 0, 4 + 4, 2]);
    }

    #[test]
    fn random_nonces_are_no_sequence() {
        let mut state = 1_u64;
        let random = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 32) as u32
        });
        assert_eq!(outcome(random.take(1_000_000)), [0, 0, 1_000_000, 0]);
    }

    #[test]
    fn without_numbers_only_an_earlier_second_shows_a_late_datagram() {
        let mut sequences = SenderSequences::default();
        let orders =
            [(1 << 20, 100), (1 << 30, 101), (1 << 25, 100), (1 << 22, 100), (1 << 28, 101)]
                .map(|(nonce, signed)| sequences.add(sender(1), nonce, signed, 10).order);
        assert_eq!(orders, [Unnumbered, Unnumbered, Reordered, Reordered, Unnumbered]);
    }

    #[test]
    fn senders_beyond_the_bound_replace_those_that_sent_least_recently() {
        let mut sequences = SenderSequences::default();
        let mut forgotten = 0;
        for round in 0..1_000_u32 {
            // One sender stays active among others that send once.
            let report = sequences.add(sender(1), round, 0, 10);
            assert_eq!(report.order == DatagramOrder::InOrder, round > 3);
            forgotten += report.forgotten;
            forgotten += sequences.add(sender(1_000 + round as u16), 7, 0, 10).forgotten;
            assert!(sequences.young.len() + sequences.old.len() <= 10);
        }
        assert!((980..1_000).contains(&forgotten), "{forgotten}");
    }

    #[test]
    fn half_of_the_senders_are_forgotten_at_once() {
        let mut sequences = SenderSequences::default();
        let forgotten = (1..=16).map(|number| sequences.add(sender(number), 7, 0, 10).forgotten);
        assert_eq!(forgotten.collect::<Vec<_>>(), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 5]);
    }

    #[test]
    fn the_gaps_of_a_forgotten_sender_are_lost() {
        let mut sequences = SenderSequences::default();
        let mut lost = 0;
        for nonce in (0..10).chain(12..14) {
            lost += sequences.add(sender(1), nonce, 0, 2).lost;
        }
        assert_eq!(lost, 0);
        for other in 2..5 {
            lost += sequences.add(sender(other), 0, 0, 2).lost;
        }
        assert_eq!(lost, 2);
    }

    proptest! {
        /// However datagrams are lost, and as long as none is late by more than the tracked range: each
        /// number of a sequence has arrived or is lost.
        #[test]
        fn each_number_has_arrived_or_is_lost(
            start: u32,
            steps in prop::collection::vec((0..4_u8, 0..40_usize), 1..300),
        ) {
            // Each number is dropped, or sent after a delay of some others.
            let mut order: Vec<(usize, u32)> = Vec::new();
            for (number, (fate, delay)) in steps.iter().enumerate() {
                if *fate > 0 {
                    let delay = if *fate == 1 { *delay } else { 0 };
                    order.push((number + delay, number as u32));
                }
            }
            order.sort_by_key(|(at, _)| *at);
            let (first, sent) = (4, steps.len() as u32);
            let middle = order.iter().map(|(_, number)| number + first);
            // A clean beginning, and an end after which everything is decided.
            let numbers = (0..first).chain(middle).chain(first + sent..first + sent + 64);
            let arrived = numbers.clone().count() as u64;
            let counts = outcome(numbers.map(|number| number.wrapping_add(start)));
            prop_assert_eq!(counts[0] + counts[1] + counts[2], arrived);
            prop_assert_eq!(counts[3], u64::from(first + sent + 64) - arrived);
        }
    }
}
