//! Log lines about the clock of the windows.

use std::time::{Duration, Instant};

use basics::clocks::readable;
use basics::log_throttle::LogThrottle;
use basics::time::rfc3339_ms;
use tracing::warn;

use super::clock::{ClockStep, Edge};

/// A window that ends later than this is reported.
const LATE: Duration = Duration::from_secs(1);
/// Maximum number of lines about steps per minute, for a clock that is set all the time.
const STEPS_PER_MINUTE: u32 = 10;
const MINUTE: Duration = Duration::from_secs(60);

/// Logs steps of the wall clock and late windows.
#[derive(Debug)]
pub(super) struct ClockLog {
    minute_began: Instant,
    lines: u32,
    unreported: u64,
    late: LogThrottle,
}

impl ClockLog {
    pub(super) fn new() -> Self {
        let minute_began = Instant::now();
        Self { minute_began, lines: 0, unreported: 0, late: LogThrottle::default() }
    }

    /// Logs a step of the wall clock.
    pub(super) fn step(&mut self, step: ClockStep) {
        if self.minute_began.elapsed() >= MINUTE {
            (self.minute_began, self.lines) = (Instant::now(), 0);
        }
        if self.lines == STEPS_PER_MINUTE {
            self.unreported += 1;
            return;
        }
        self.lines += 1;
        let unreported = std::mem::take(&mut self.unreported);
        let unreported = (unreported > 0).then_some(unreported);
        let by = readable(Duration::from_millis(step.by_ms.unsigned_abs()));
        let window_end = rfc3339_ms(step.end_ms);
        if let Some(until_ms) = step.repeats_until_ms {
            let until = rfc3339_ms(until_ms);
            warn!(
                by,
                window_end,
                until,
                unreported,
                "wall clock set back; windows have ended at these times before and get timestamps \
                 a few milliseconds later"
            );
        } else if step.by_ms < 0 {
            warn!(by, window_end, unreported, "wall clock set back; windows follow the new time");
        } else {
            warn!(
                by,
                window_end,
                unreported,
                "wall clock set forward, or host suspended; windows follow the new time"
            );
        }
    }

    /// Logs a window that ended late.
    pub(super) fn closed(&mut self, edge: &Edge) {
        if edge.late < LATE {
            return;
        }
        if let Some(windows) = self.late.count(1) {
            warn!(
                window_end = rfc3339_ms(edge.end_ms),
                late = readable(edge.late),
                length = readable(edge.length),
                windows,
                "window ended late; the process was paused or got no CPU time"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use basics::log_capture::lines_logged;

    fn step(by_ms: i64, repeats_until_ms: Option<u64>) -> ClockStep {
        ClockStep { by_ms, end_ms: 1_000_000_010_000, repeats_until_ms }
    }

    #[test]
    fn a_step_is_logged_with_its_direction() {
        let mut log = ClockLog::new();
        for (step, expected) in [
            (step(1, None), "wall clock set forward, or host suspended; windows follow"),
            (step(-3_000, None), "wall clock set back; windows follow the new time"),
            (step(-3_000, Some(1_000_000_020_000)), "wall clock set back; windows have ended"),
            (step(0, None), "wall clock set forward, or host suspended; windows follow"),
        ] {
            let lines = lines_logged(|| log.step(step));
            let [line] = &lines[..] else { panic!("{lines:?}") };
            assert!(line.contains(expected), "{line}");
            assert!(line.contains("window_end=\"2001-09-09T01:46:50.000Z\""), "{line}");
            assert!(!line.contains("unreported"), "{line}");
        }
    }

    #[test]
    fn a_clock_that_is_set_all_the_time_gets_ten_lines_a_minute() {
        let mut log = ClockLog::new();
        let lines = lines_logged(|| (0..15).for_each(|_| log.step(step(-500, None))));
        assert_eq!(lines.len(), 10);
        // A minute later.
        log.minute_began = log.minute_began.checked_sub(MINUTE).unwrap();
        let lines = lines_logged(|| (0..15).for_each(|_| log.step(step(-500, None))));
        assert_eq!(lines.len(), 10);
        assert!(lines[0].contains("unreported=5"), "{}", lines[0]);
        assert!(!lines[1].contains("unreported"), "{}", lines[1]);
    }

    #[test]
    fn only_a_window_that_ends_late_is_logged() {
        let logged = |late| {
            let edge = Edge {
                end_ms: 1_000_000_010_000,
                start_ms: None,
                length: Duration::from_secs(10),
                late,
            };
            lines_logged(|| ClockLog::new().closed(&edge))
        };
        assert_eq!(logged(LATE - Duration::from_millis(1)), [""; 0]);
        for late in [LATE, 2 * LATE] {
            let lines = logged(late);
            let [line] = &lines[..] else { panic!("{lines:?}") };
            assert!(line.contains("window ended late") && line.contains("windows=1"), "{line}");
        }
    }
}
