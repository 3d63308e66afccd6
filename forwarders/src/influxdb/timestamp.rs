//! The timestamp of a window's lines.

use model::Window;

/// Unit of the timestamps of a window's lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Precision {
    Seconds,
    Milliseconds,
}

/// The timestamp of a window's lines: in seconds, if the window ended on one, otherwise in
/// milliseconds. A point replaces one of the same series and timestamp, so no two windows may share
/// one: windows end off the second when the interval is not a whole number of seconds, at a stop, and
/// in a time that the wall clock repeats.
pub(super) fn timestamp(window: Window) -> (Precision, u64) {
    match window.end_ms {
        end_ms if end_ms.is_multiple_of(1000) => (Precision::Seconds, end_ms / 1000),
        end_ms => (Precision::Milliseconds, end_ms),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn no_two_windows_share_a_timestamp() {
        use Precision::{Milliseconds, Seconds};
        for (end_ms, expected) in [
            (20_000, (Seconds, 20)),
            (22_500, (Milliseconds, 22_500)),
            // Cut short by stops, several within a second.
            (24_321, (Milliseconds, 24_321)),
            (24_322, (Milliseconds, 24_322)),
            // A time that the wall clock repeats.
            (20_001, (Milliseconds, 20_001)),
        ] {
            let window = Window { end_ms, length: Duration::from_secs(10) };
            assert_eq!(timestamp(window), expected, "{end_ms}");
        }
    }
}
