//! The totals as bytes, for the next run of the daemon or for the forwarder that replaces this one.
//!
//! ```text
//! (idle time (ms) · point of the spool), repeated to the end
//! ```

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::{RunningTotal, RunningTotals};
use crate::delivery::forwarder::{InvalidState, SavedState};
use crate::delivery::payload::Batch;
use crate::spool::codec::put_point;
use crate::spool::leb128;
use crate::spool::primitives::{MalformedSnapshot, SnapshotReader};
use model::{MetricKind, Point, Series, Sum, Value};

impl RunningTotals {
    /// Encodes the totals in at most `max` bytes. The pending points of the latest window are not
    /// part of them: the next run adds them again.
    pub(in crate::kafka) fn save(&self, batch: &Batch, max: u64) -> SavedState {
        let pending = self.pending(batch);
        let (mut bytes, mut left_out) = (Vec::new(), 0);
        for (series, total) in &self.total_of {
            let length = bytes.len();
            let sum = if pending.contains(series) { total.before } else { total.now };
            let idle = self.elapsed.saturating_sub(total.last_seen);
            leb128::write(&mut bytes, idle.as_millis() as u64);
            put_point(&mut bytes, &point(series, sum));
            if bytes.len() as u64 > max {
                bytes.truncate(length);
                left_out += 1;
            }
        }
        SavedState { bytes, left_out }
    }

    /// The series with a pending point.
    fn pending(&self, batch: &Batch) -> HashSet<Arc<Series>> {
        batch.points_left().of(&self.latest).flatten().cloned().collect()
    }

    /// Continues with totals that were saved `away` ago. Those of series that have expired by now
    /// are left out.
    ///
    /// # Errors
    /// When the bytes are not saved totals; nothing has changed then.
    pub(in crate::kafka) fn restore(
        &mut self,
        bytes: &[u8],
        away: Duration,
    ) -> Result<(), InvalidState> {
        let saved = decode(bytes).map_err(|MalformedSnapshot| InvalidState)?;
        // Idle times count back from here.
        self.elapsed += self.limits.expire_after;
        for (idle, series, sum) in saved {
            let idle = idle.saturating_add(away);
            if idle >= self.limits.expire_after || self.total_of.len() >= self.limits.series_max {
                continue;
            }
            let last_seen = self.elapsed - idle;
            self.total_of.insert(series, RunningTotal { before: sum, now: sum, last_seen });
        }
        Ok(())
    }
}

/// The total of a series as a value of the spool's encoding.
fn point(series: &Arc<Series>, sum: Sum) -> Point {
    let is_trace = series.kind() == MetricKind::Trace;
    let value = if is_trace { Value::Trace(sum) } else { Value::Counter(sum) };
    Point { series: Arc::clone(series), value }
}

fn decode(bytes: &[u8]) -> Result<Vec<(Duration, Arc<Series>, Sum)>, MalformedSnapshot> {
    let mut reader = SnapshotReader(bytes);
    let mut saved = Vec::new();
    while !reader.0.is_empty() {
        let idle = Duration::from_millis(reader.number()?);
        let Point { series, value } = reader.point(&[])?;
        let (Value::Counter(sum) | Value::Trace(sum)) = value else {
            return Err(MalformedSnapshot);
        };
        saved.push((idle, series, sum));
    }
    Ok(saved)
}
