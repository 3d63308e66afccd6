//! Statistics of the windows: how many were closed, how late the last one was, its top metrics.

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::activity::WindowTopMetrics;

/// The statistics of the windows. The aggregator updates them once per window.
#[derive(Debug)]
pub struct WindowStats {
    state: Mutex<WindowState>,
    top_metrics: Mutex<Option<Arc<WindowTopMetrics>>>,
}

#[derive(Debug)]
struct WindowState {
    interval: Duration,
    closed: u64,
    clock_steps: u64,
    last: Option<LastWindow>,
    /// When the forwarders received the last window; initially when the aggregator was created.
    handed_on: Instant,
}

/// A copy of the statistics.
#[derive(Clone, Copy, Debug)]
pub struct WindowCounts {
    /// Length of a window.
    pub interval: Duration,
    /// Number of windows closed since the start.
    pub closed: u64,
    /// How often the wall clock was set since the start.
    pub clock_steps: u64,
    /// The last closed window.
    pub last: Option<LastWindow>,
    /// Time since the forwarders received it, or since the start.
    pub silent_for: Duration,
}

/// The last closed window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastWindow {
    /// Its end, in Unix milliseconds.
    pub end_ms: u64,
    /// Its length.
    pub length: Duration,
    /// Time from its end until the forwarders received it.
    pub lag: Duration,
    /// Number of points in it.
    pub points: u64,
}

impl WindowStats {
    /// Creates statistics without a closed window.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        let (closed, clock_steps, last, handed_on) = (0, 0, None, Instant::now());
        let state = WindowState { interval, closed, clock_steps, last, handed_on };
        Self { state: Mutex::new(state), top_metrics: Mutex::default() }
    }

    /// Changes the length of windows.
    pub fn set_interval(&self, interval: Duration) {
        self.state.lock().interval = interval;
    }

    /// Counts a window that the forwarders have received.
    pub fn closed(&self, window: LastWindow) {
        let mut state = self.state.lock();
        state.closed += 1;
        state.last = Some(window);
        state.handed_on = Instant::now();
    }

    /// Counts a step of the wall clock.
    pub fn clock_stepped(&self) {
        self.state.lock().clock_steps += 1;
    }

    /// Sets the top metrics of the last window.
    pub fn set_top_metrics(&self, top_metrics: WindowTopMetrics) {
        *self.top_metrics.lock() = Some(Arc::new(top_metrics));
    }

    /// The top metrics of the last window; `None` before the first window is closed.
    #[must_use]
    pub fn top_metrics(&self) -> Option<Arc<WindowTopMetrics>> {
        self.top_metrics.lock().clone()
    }

    /// A copy of the statistics, without the top metrics.
    #[must_use]
    pub fn counts(&self) -> WindowCounts {
        let state = self.state.lock();
        WindowCounts {
            interval: state.interval,
            closed: state.closed,
            clock_steps: state.clock_steps,
            last: state.last,
            silent_for: state.handed_on.elapsed(),
        }
    }
}
