//! The timestamp of a window's lines.

use model::Window;

/// The unit of the timestamps of a window's lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Precision {
    Seconds,
    Milliseconds,
}

/// The shortest interval of whole seconds, in milliseconds, that has a second in which no other
/// window ends.
const ROOM_MS: u64 = 2_000;

/// Returns the timestamp of a window's lines and its unit. A point replaces another of the same
/// series and timestamp, so no two windows may share one.
///
/// Windows end on whole seconds, with two exceptions: an interval that is not a whole number of
/// seconds, and the last window before a stop. The latter gets the second of its end or, if another
/// window ended in that second, the next one. If the interval leaves no second free, it gets
/// milliseconds.
pub(super) fn timestamp(window: Window) -> (Precision, u64) {
    let interval_ms = window.interval.as_millis() as u64;
    let (end_ms, second) = (window.end_ms, window.end_ms / 1000);
    if end_ms.is_multiple_of(1000) {
        (Precision::Seconds, second)
    } else if interval_ms >= ROOM_MS && interval_ms.is_multiple_of(1000) {
        let edge_before = end_ms - end_ms % interval_ms;
        (Precision::Seconds, second.max(edge_before / 1000 + 1))
    } else {
        (Precision::Milliseconds, end_ms)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn no_two_windows_share_a_timestamp() {
        use Precision::{Milliseconds, Seconds};
        for (interval_ms, end_ms, expected) in [
            (10_000, 20_000, (Seconds, 20)),
            (1_000, 21_000, (Seconds, 21)),
            // Ended early by a stop; a window after the restart ends at 30.
            (10_000, 24_321, (Seconds, 24)),
            (10_000, 29_999, (Seconds, 29)),
            // The previous window ended at 20.
            (10_000, 20_001, (Seconds, 21)),
            (10_000, 20_999, (Seconds, 21)),
            (2_000, 20_400, (Seconds, 21)),
            (2_000, 21_400, (Seconds, 21)),
            (1_000, 20_400, (Milliseconds, 20_400)),
            (200, 20_400, (Milliseconds, 20_400)),
            (200, 21_000, (Seconds, 21)),
            (2_500, 22_500, (Milliseconds, 22_500)),
        ] {
            let window = Window { end_ms, interval: Duration::from_millis(interval_ms) };
            assert_eq!(timestamp(window), expected, "{interval_ms} {end_ms}");
        }
    }
}
