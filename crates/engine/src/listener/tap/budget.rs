//! Limits the cost of taps: samples per second for each client, time for each listener.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Maximum time that a listener can save up.
const SAVED_MAX_NS: i64 = 10_000_000;
/// Under load, up to this many samples are skipped after a sample that is shown. Always showing the
/// next one would show the first sample of each datagram, or always the same one of a program that
/// sends in a fixed order.
const SKIP_MAX: u64 = 32;

/// A rate limiter: a number of samples per second, and a burst after a pause. All listeners share
/// it.
#[derive(Debug)]
pub struct RateLimiter {
    /// When the next sample is due, in nanoseconds. It may be ahead of time by the burst.
    next_ns: AtomicU64,
    step_ns: u64,
    burst_ns: u64,
}

impl RateLimiter {
    /// Creates a limiter for `per_second` samples per second, at least one, and bursts of `burst`.
    #[must_use]
    pub fn new(per_second: u64, burst: u64) -> Self {
        let step_ns = 1_000_000_000 / per_second.max(1);
        Self { next_ns: AtomicU64::new(0), step_ns, burst_ns: step_ns * burst.saturating_sub(1) }
    }

    /// Whether there is room for a sample.
    #[inline]
    #[must_use]
    pub fn has_room(&self, now_ns: u64) -> bool {
        self.next_ns.load(Ordering::Relaxed) <= now_ns + self.burst_ns
    }

    /// The number of samples to skip before the next one is shown: random if there is little room,
    /// otherwise none.
    pub fn skip(&self, now_ns: u64, random: &mut Xorshift) -> u64 {
        let is_short = self.next_ns.load(Ordering::Relaxed) > now_ns + self.burst_ns / 16 * 15;
        if is_short { random.next() % SKIP_MAX } else { 0 }
    }

    /// Takes the room for a sample, and returns whether there was any.
    pub fn take(&self, now_ns: u64) -> bool {
        let take = |next_ns: u64| {
            let has_room = next_ns <= now_ns + self.burst_ns;
            // `max` drops the time in which nothing was shown: a pause earns one burst, however
            // long it was.
            has_room.then(|| next_ns.max(now_ns) + self.step_ns)
        };
        self.next_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

/// The time that a listener may spend on taps: a share of the time that passes.
#[derive(Debug)]
pub struct TimeBudget {
    left_ns: i64,
    counted_ns: u64,
    percent: u64,
}

impl TimeBudget {
    /// Creates a full budget.
    #[must_use]
    pub fn new(percent: u64, now_ns: u64) -> Self {
        Self { left_ns: SAVED_MAX_NS, counted_ns: now_ns, percent }
    }

    /// Changes the share.
    pub fn set_percent(&mut self, percent: u64) {
        self.percent = percent;
    }

    /// Adds the share of the time that has passed.
    pub fn earn(&mut self, now_ns: u64) {
        let passed_ns = now_ns.saturating_sub(self.counted_ns);
        self.counted_ns = now_ns;
        let earned_ns = i64::try_from(passed_ns / 100 * self.percent).unwrap_or(i64::MAX);
        self.left_ns = self.left_ns.saturating_add(earned_ns).min(SAVED_MAX_NS);
    }

    /// Whether no time is left.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.left_ns <= 0
    }

    /// Spends an estimated time, for work that is shorter than reading the clock.
    pub fn spend_ns(&mut self, time_ns: u64) {
        self.spend(Duration::from_nanos(time_ns));
    }

    /// Spends time. That may be more than was left; the debt must be earned before anything is
    /// spent again.
    pub fn spend(&mut self, time: Duration) {
        let time_ns = i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        self.left_ns = self.left_ns.saturating_sub(time_ns);
    }
}

/// Pseudorandom numbers, so that no sender's pattern matches the selection: xorshift64 (Marsaglia
/// 2003).
#[derive(Debug)]
pub struct Xorshift(u64);

impl Xorshift {
    /// Starts from a seed; zero, from which xorshift never departs, is replaced.
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

    /// Takes samples like a listener.
    struct Taker {
        rate: RateLimiter,
        random: Xorshift,
        skip: u64,
    }

    impl Taker {
        fn new(per_second: u64, burst: u64) -> Self {
            Self { rate: RateLimiter::new(per_second, burst), random: Xorshift::new(7), skip: 0 }
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

        /// The number of samples taken in each second, of `per_second` evenly spread samples.
        fn taken(mut self, per_second: u64, seconds: u64) -> Vec<usize> {
            let moments =
                |second| (0..per_second).map(move |n| second * SECOND + n * SECOND / per_second);
            (10..10 + seconds)
                .map(|second| moments(second).filter(|now| self.take(*now)).count())
                .collect()
        }
    }

    #[test]
    fn samples_are_taken_up_to_the_rate() {
        assert_eq!(Taker::new(1000, 1000).taken(900, 3), [900, 900, 900]);
        let flood = Taker::new(1000, 1000).taken(100_000, 4);
        // The first second includes the burst.
        assert!((1900..=2001).contains(&flood[0]), "{flood:?}");
        assert!(flood[1..].iter().all(|taken| (950..=1020).contains(taken)), "{flood:?}");
        let little_more = Taker::new(1000, 1000).taken(2_000, 6);
        assert!((900..=1020).contains(&little_more[5]), "{little_more:?}");
    }

    #[test]
    fn a_burst_is_taken_at_once() {
        let mut taker = Taker::new(100, 100);
        let at_once = (0..10_000).filter(|_| taker.take(SECOND)).count();
        assert_eq!(at_once, 100);
        assert!(!taker.rate.has_room(SECOND));
        assert!(taker.rate.has_room(SECOND + SECOND / 100));
    }

    #[test]
    fn in_a_flood_all_positions_of_a_datagram_are_shown() {
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
    fn a_listener_spends_its_share_of_the_time() {
        let mut budget = TimeBudget::new(5, 0);
        let mut spent = Duration::ZERO;
        for millisecond in 0..1000 {
            budget.earn(millisecond * 1_000_000);
            // Each step takes longer than the time earned in a millisecond.
            while !budget.is_spent() {
                budget.spend(Duration::from_micros(80));
                spent += Duration::from_micros(80);
            }
        }
        // 5 % and the initial budget.
        assert!((59..=61).contains(&spent.as_millis()), "{spent:?}");
    }
}
