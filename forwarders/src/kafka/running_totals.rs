//! The totals of counters and traces since the start of their series, for `running_totals`.
//!
//! pystatsd never set a trace back to 0, and some consumers compute differences from that. A total
//! starts at 0 with the first point of its series, and ends when the series has expired.
//!
//! Until the next window comes, each series has two totals: with the latest window and without it.
//! Points of that window that are still pending when the daemon stops are encoded again by the next
//! run, so the saved state is without them.

mod saved;

use std::sync::Arc;
use std::time::Duration;

use foldhash::quality::RandomState;
use hashbrown::HashMap;

use model::{Series, Snapshot, Sum, Value};

/// The totals of all series of one destination. Has neither clock nor socket.
pub(super) struct RunningTotals {
    limits: RunningTotalLimits,
    total_of: HashMap<Arc<Series>, RunningTotal, RandomState>,
    /// The series of each point of the latest window; `None` for a point without a total.
    latest: Vec<Option<Arc<Series>>>,
    /// Length of all windows so far. Idle time is measured with it: the wall clock may be set.
    elapsed: Duration,
}

/// The limits of the totals.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunningTotalLimits {
    /// Time without points after which a total ends.
    pub(crate) expire_after: Duration,
    /// Maximum number of totals.
    pub(crate) series_max: usize,
}

/// The total of one series.
struct RunningTotal {
    /// The total without the latest window.
    before: Sum,
    /// The total with the latest window.
    now: Sum,
    /// [`RunningTotals::elapsed`] at the end of the latest window with a point of the series.
    last_seen: Duration,
}

/// There is no room for the total of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

impl RunningTotals {
    pub(super) fn new(limits: RunningTotalLimits) -> Self {
        Self { limits, total_of: HashMap::default(), latest: Vec::new(), elapsed: Duration::ZERO }
    }

    /// Adds a window. Returns the total of each of its points, in their order: `None` for a value
    /// that has none, such as a gauge.
    pub(super) fn add(&mut self, snapshot: &Snapshot) -> Vec<Result<Option<f64>, NoRoom>> {
        self.elapsed += snapshot.window.length;
        let (elapsed, expire_after) = (self.elapsed, self.limits.expire_after);
        self.total_of.retain(|_, total| {
            total.before = total.now;
            total.last_seen + expire_after > elapsed
        });
        self.latest.clear();
        let mut totals = Vec::with_capacity(snapshot.points.len());
        for point in &snapshot.points {
            let total = self.add_point(&point.series, &point.value);
            let has_total = matches!(total, Ok(Some(_)));
            self.latest.push(has_total.then(|| Arc::clone(&point.series)));
            totals.push(total);
        }
        totals
    }

    fn add_point(&mut self, series: &Arc<Series>, value: &Value) -> Result<Option<f64>, NoRoom> {
        let added = match value {
            Value::Counter(sum) | Value::Trace(sum) => *sum,
            Value::Total(total) => total.added,
            Value::Gauge { .. } | Value::Timer(_) | Value::Set(_) => return Ok(None),
        };
        let is_full = self.total_of.len() >= self.limits.series_max;
        let total = match self.total_of.get_mut(series) {
            Some(total) => total,
            None if is_full => return Err(NoRoom),
            None => self.total_of.entry(Arc::clone(series)).or_insert(RunningTotal {
                before: Sum::default(),
                now: Sum::default(),
                last_seen: self.elapsed,
            }),
        };
        total.now.merge(added);
        total.last_seen = self.elapsed;
        Ok(Some(total.now.value()))
    }
}

#[cfg(test)]
mod tests;
