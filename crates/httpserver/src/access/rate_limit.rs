//! The rate limit of an exporter-toolkit file: a token bucket.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Admits `burst` requests at once, and one more for each `interval`.
#[derive(Debug)]
pub(super) struct RateLimit {
    interval: Duration,
    burst: u32,
    state: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    /// Requests that are admitted now.
    room: f64,
    filled_at: Instant,
}

impl RateLimit {
    /// A limit with a full bucket. `interval` is above zero.
    pub(super) fn new(interval: Duration, burst: u32) -> Self {
        let state = Mutex::new(Bucket { room: f64::from(burst), filled_at: Instant::now() });
        Self { interval, burst, state }
    }

    /// Whether a request is admitted.
    pub(super) fn admits(&self, now: Instant) -> bool {
        let mut bucket = self.state.lock();
        let passed = now.saturating_duration_since(bucket.filled_at);
        let gained = passed.as_secs_f64() / self.interval.as_secs_f64();
        bucket.room = (bucket.room + gained).min(f64::from(self.burst));
        bucket.filled_at = now;
        let is_admitted = bucket.room >= 1.0;
        if is_admitted {
            bucket.room -= 1.0;
        }
        is_admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_admitted_and_then_one_for_each_interval() {
        let limit = RateLimit::new(Duration::from_secs(1), 2);
        let start = Instant::now();
        let admitted = [0, 0, 0, 500, 1_500, 1_600, 60_000, 60_000, 60_000]
            .map(|ms| limit.admits(start + Duration::from_millis(ms)));
        assert_eq!(admitted, [true, true, false, false, true, false, true, true, false]);
        let none = RateLimit::new(Duration::from_secs(1), 0);
        assert!(!none.admits(start + Duration::from_secs(9)));
    }
}
