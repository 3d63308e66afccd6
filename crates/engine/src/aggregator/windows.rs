//! How the windows go: how many were closed, how late the last one was, and who was busy in it.

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::activity::Busiest;

/// Shared between the aggregator, which writes once a window, and whoever reports.
#[derive(Debug)]
pub struct WindowStats {
    inner: Mutex<Inner>,
    busiest: Mutex<Option<Arc<Busiest>>>,
}

#[derive(Debug)]
struct Inner {
    interval: Duration,
    closed: u64,
    last: Option<LastWindow>,
    /// When the last one was handed on, at first when the aggregator was made.
    handed_on: Instant,
}

/// All of it at one moment.
#[derive(Clone, Copy, Debug)]
pub struct WindowCounts {
    /// Length of a window.
    pub interval: Duration,
    /// Windows that were closed since the start.
    pub closed: u64,
    /// The last one of them.
    pub last: Option<LastWindow>,
    /// How long ago that was, or the start.
    pub silent_for: Duration,
}

/// A window that was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastWindow {
    /// Its end, in Unix milliseconds.
    pub end_ms: u64,
    /// From then until the forwarders had it.
    pub lag: Duration,
    /// Points in it.
    pub points: u64,
}

impl WindowStats {
    /// No window yet.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        let inner = Inner { interval, closed: 0, last: None, handed_on: Instant::now() };
        Self { inner: Mutex::new(inner), busiest: Mutex::default() }
    }

    /// Windows are of another length from now on.
    pub fn set_interval(&self, interval: Duration) {
        self.inner.lock().interval = interval;
    }

    /// The forwarders have a window.
    pub fn closed(&self, window: LastWindow) {
        let mut inner = self.inner.lock();
        inner.closed += 1;
        inner.last = Some(window);
        inner.handed_on = Instant::now();
    }

    /// Who was busy in the last window.
    pub fn tell_busiest(&self, busiest: Busiest) {
        *self.busiest.lock() = Some(Arc::new(busiest));
    }

    /// The metrics that stood out in the last window; `None` before the first one is closed.
    #[must_use]
    pub fn busiest(&self) -> Option<Arc<Busiest>> {
        self.busiest.lock().clone()
    }

    /// How it stands.
    #[must_use]
    pub fn counts(&self) -> WindowCounts {
        let inner = self.inner.lock();
        WindowCounts {
            interval: inner.interval,
            closed: inner.closed,
            last: inner.last,
            silent_for: inner.handed_on.elapsed(),
        }
    }
}
