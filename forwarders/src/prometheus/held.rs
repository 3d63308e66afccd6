//! Totals that are held: they stay constant because of negative increments.
//!
//! Prometheus takes a total that falls for a restart. So after a negative increment a total stays
//! constant until further increments have compensated for it. Without a report, the series would
//! look idle.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use basics::escape::escaped;
use basics::log_throttle::LogThrottle;
use tracing::warn;

/// The series whose total is held.
#[derive(Debug, Default)]
pub(super) struct HeldTotals {
    /// Number of live series whose total is held, for the self-metrics.
    series: Arc<AtomicU64>,
    /// Number of series whose total became held since the latest report.
    new: u64,
    /// The metric of the first of them.
    metric: String,
    throttle: LogThrottle,
}

impl HeldTotals {
    /// Returns the shared number of live series whose total is held.
    pub(super) fn series(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.series)
    }

    /// Notes whether the total of a series is held after a window. `was_held` is the state before
    /// the window, which is updated.
    pub(super) fn note(&mut self, was_held: &mut bool, is_held: bool, metric: &str) {
        if !is_held {
            return self.forget(was_held);
        }
        if std::mem::replace(was_held, true) {
            return;
        }
        self.series.fetch_add(1, Ordering::Relaxed);
        if self.new == 0 {
            self.metric = escaped(metric.as_bytes());
        }
        self.new += 1;
    }

    /// Notes that a series is no longer held, or no longer live.
    pub(super) fn forget(&mut self, was_held: &mut bool) {
        if std::mem::take(was_held) {
            self.series.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Logs the series whose total became held, at most once a minute.
    pub(super) fn report(&mut self, forwarder: &str) {
        let Some(series) = self.throttle.count(std::mem::take(&mut self.new)) else { return };
        warn!(
            forwarder,
            metric = self.metric,
            series,
            "a counter decreased: its Prometheus total stays constant until it has increased by as \
             much; use a gauge for a number that falls"
        );
    }
}
