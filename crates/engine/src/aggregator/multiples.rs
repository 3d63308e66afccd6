//! The multiples of the interval on the wall clock.

/// The first multiple of the interval after a time in Unix milliseconds.
#[must_use]
pub fn next_multiple(now_ms: u64, interval_ms: u64) -> u64 {
    (now_ms / interval_ms + 1) * interval_ms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_multiple_is_later_than_now() {
        for (now_ms, next_ms) in [(0, 1_000), (999, 1_000), (1_000, 2_000), (2_500, 3_000)] {
            assert_eq!(next_multiple(now_ms, 1_000), next_ms, "{now_ms}");
        }
    }
}
