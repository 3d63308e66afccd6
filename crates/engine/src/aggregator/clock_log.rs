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
