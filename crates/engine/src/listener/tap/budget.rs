//! What taps may cost: samples a second for each client, time for each listener.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Time that a listener may save up.
const CREDIT_MAX_NS: i64 = 10_000_000;
/// When samples are many, up to so many are passed over behind one that is shown. With the first that
/// comes taken each time, it would be the first of each datagram, or always the same of a program that
/// repeats itself.
const SKIP_MAX: u64 = 32;

/// So many samples a second, and as many at once after a pause. Shared by all listeners.
#[derive(Debug)]
pub struct Rate {
    /// When the next one is due, in nanoseconds. It may be ahead of the time by the burst.
    next_ns: AtomicU64,
    step_ns: u64,
    burst_ns: u64,
}

impl Rate {
    /// For so many a second, at least one, of which `burst` may come at once.
    #[must_use]
    pub fn new(a_second: u64, burst: u64) -> Self {
        let step_ns = 1_000_000_000 / a_second.max(1);
        Self { next_ns: AtomicU64::new(0), step_ns, burst_ns: step_ns * burst.saturating_sub(1) }
    }

    /// Whether there is room for one more.
    #[inline]
    #[must_use]
    pub fn has_room(&self, now_ns: u64) -> bool {
        self.next_ns.load(Ordering::Relaxed) <= now_ns + self.burst_ns
    }

    /// How many samples to pass over before the next is taken: some where there is little room.
    pub fn skip(&self, now_ns: u64, random: &mut Random) -> u64 {
        let is_short = self.next_ns.load(Ordering::Relaxed) > now_ns + self.burst_ns / 16 * 15;
        if is_short { random.next() % SKIP_MAX } else { 0 }
    }

    /// Takes room for one if there is any.
    pub fn take(&self, now_ns: u64) -> bool {
        let take = |next_ns: u64| {
            let has_room = next_ns <= now_ns + self.burst_ns;
            has_room.then(|| next_ns.max(now_ns) + self.step_ns)
        };
        self.next_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

/// Time that a listener has for looking: a share of what passes.
#[derive(Debug)]
pub struct Credit {
    left_ns: i64,
    counted_ns: u64,
    percent: u64,
}

impl Credit {
    /// A full one.
    #[must_use]
    pub fn new(percent: u64, now_ns: u64) -> Self {
        Self { left_ns: CREDIT_MAX_NS, counted_ns: now_ns, percent }
    }

    /// Another share from now on.
    pub fn set_percent(&mut self, percent: u64) {
        self.percent = percent;
    }

    /// Adds the share of the time that has passed.
    pub fn earn(&mut self, now_ns: u64) {
        let passed_ns = now_ns.saturating_sub(self.counted_ns);
        self.counted_ns = now_ns;
        let earned_ns = i64::try_from(passed_ns / 100 * self.percent).unwrap_or(i64::MAX);
        self.left_ns = self.left_ns.saturating_add(earned_ns).min(CREDIT_MAX_NS);
    }

    /// Whether nothing of it is left.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.left_ns <= 0
    }

    /// Takes an estimate of what looking took, where to ask the clock would take longer.
    pub fn spend_ns(&mut self, time_ns: u64) {
        self.spend(Duration::from_nanos(time_ns));
    }

    /// Takes what looking took. That may be more than there was, and is earned before the next look.
    pub fn spend(&mut self, time: Duration) {
        let time_ns = i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        self.left_ns = self.left_ns.saturating_sub(time_ns);
    }
}

/// Numbers without a pattern that a sender could share: xorshift64 (Marsaglia 2003).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Starts at a seed, which must not be zero.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Takes as a listener does.
    struct Taker {
        rate: Rate,
        random: Random,
        skip: u64,
    }

    impl Taker {
        fn new(a_second: u64, burst: u64) -> Self {
            Self { rate: Rate::new(a_second, burst), random: Random::new(7), skip: 0 }
        }

        fn take(&mut self, now_ns: u64) -> bool {
            if self.skip > 0 {
                self.skip -= u64::from(self.rate.has_room(now_ns));
                return false;
            }
            let is_taken = self.rate.take(now_ns);
            if is_taken {
                self.skip = self.rate.skip(now_ns, &mut self.random);
            }
            is_taken
        }

        /// How many of so many samples, evenly spread over a second, are taken in each of some seconds.
        fn taken(mut self, a_second: u64, seconds: u64) -> Vec<usize> {
            let moments =
                |second| (0..a_second).map(move |n| second * SECOND + n * SECOND / a_second);
            (10..10 + seconds)
                .map(|second| moments(second).filter(|now| self.take(*now)).count())
                .collect()
        }
    }

    #[test]
    fn all_are_taken_that_the_rate_allows_and_of_more_just_so_many() {
        assert_eq!(Taker::new(1000, 1000).taken(900, 3), [900, 900, 900]);
        let flood = Taker::new(1000, 1000).taken(100_000, 4);
        // The first second has the burst in it.
        assert!((1900..=2001).contains(&flood[0]), "{flood:?}");
        assert!(flood[1..].iter().all(|taken| (950..=1020).contains(taken)), "{flood:?}");
        let little_more = Taker::new(1000, 1000).taken(2_000, 6);
        assert!((900..=1020).contains(&little_more[5]), "{little_more:?}");
    }

    #[test]
    fn as_many_as_the_burst_come_at_once() {
        let mut taker = Taker::new(100, 100);
        let at_once = (0..10_000).filter(|_| taker.take(SECOND)).count();
        assert_eq!(at_once, 100);
        assert!(!taker.rate.has_room(SECOND));
        assert!(taker.rate.has_room(SECOND + SECOND / 100));
    }

    #[test]
    fn in_a_flood_each_of_a_datagram_has_its_turn() {
        for burst in [1, 1000] {
            let mut taker = Taker::new(1000, burst);
            let mut turns = [0_u32; 10];
            for datagram in 1..200_000_u64 {
                for turn in &mut turns {
                    *turn += u32::from(taker.take(datagram * 100_000));
                }
            }
            let total: u32 = turns.iter().sum();
            assert!(turns.iter().all(|turn| (total / 20..total / 5).contains(turn)), "{turns:?}");
        }
    }

    #[test]
    fn a_listener_looks_for_its_share_of_the_time() {
        let mut credit = Credit::new(5, 0);
        let mut spent = Duration::ZERO;
        for millisecond in 0..1000 {
            credit.earn(millisecond * 1_000_000);
            // As long as it may, in looks that take longer than what a millisecond brings.
            while !credit.is_spent() {
                credit.spend(Duration::from_micros(80));
                spent += Duration::from_micros(80);
            }
        }
        // 5 % and what was saved up.
        assert!((59..=61).contains(&spent.as_millis()), "{spent:?}");
    }
}
