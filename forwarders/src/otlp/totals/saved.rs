//! The totals as bytes, for the next run of the daemon or for the forwarder that replaces this one.
//!
//! ```text
//! (start (Unix ns) · idle time (ms) · is monotonic · point of the spool), repeated to the end
//! ```

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::{Total, TotalId, TotalSlot, Totals, slot_bytes};
use crate::delivery::forwarder::{InvalidState, SavedState};
use crate::delivery::payload::Batch;
use crate::spool::codec::put_point;
use crate::spool::leb128;
use crate::spool::primitives::{MalformedSnapshot, SnapshotReader};
use model::Point;

/// A series that was decoded.
struct SavedSeries {
    start_ns: u64,
    idle: Duration,
    is_monotonic: bool,
    point: Point,
}

impl Totals {
    /// Encodes the totals in at most `max` bytes. The pending points of the latest window are not
    /// part of them: the next run adds them again.
    pub(in crate::otlp) fn save(&self, batch: &Batch, max: u64) -> SavedState {
        let mut out = Vec::new();
        let mut left_out = 0;
        let is_pending = self.pending(batch);
        for (slot, is_pending) in self.slots.iter().zip(is_pending) {
            let Some(slot) = slot else { continue };
            let next = slot.next.as_ref().filter(|_| !is_pending);
            let Some(total) = next.or(slot.total.as_ref()) else { continue };
            let before = out.len();
            let is_put = self.put(&mut out, slot, total);
            if !is_put || out.len() as u64 > max {
                out.truncate(before);
                left_out += 1;
            }
        }
        SavedState { bytes: out, left_out }
    }

    /// Whether each slot has a pending point.
    fn pending(&self, batch: &Batch) -> Vec<bool> {
        let mut is_pending = vec![false; self.slots.len()];
        for slot in batch.points_left().of(&self.latest).copied().flatten() {
            let slot: TotalId = slot;
            is_pending[slot] = true;
        }
        is_pending
    }

    /// Appends a series; `false` if its total cannot be saved.
    fn put(&self, out: &mut Vec<u8>, slot: &TotalSlot, total: &Total) -> bool {
        let Some(value) = total.to_value(slot.series.kind()) else { return false };
        let idle = self.elapsed.saturating_sub(slot.last_seen).as_millis() as u64;
        let is_monotonic = !matches!(total, Total::Sum { is_monotonic: false, .. });
        leb128::write(out, slot.start_ns);
        leb128::write(out, idle);
        out.push(u8::from(is_monotonic));
        put_point(out, &Point { series: Arc::clone(&slot.series), value });
        true
    }

    /// Continues with totals that were saved `away` ago. Series that have been idle for too long by
    /// now are left out. All limits hold.
    ///
    /// # Errors
    /// When the bytes are not saved totals; nothing has changed then.
    pub(in crate::otlp) fn restore(
        &mut self,
        bytes: &[u8],
        away: Duration,
    ) -> Result<(), InvalidState> {
        let saved = decode(bytes).map_err(|MalformedSnapshot| InvalidState)?;
        // Idle times count back from here.
        self.elapsed += self.limits.expire_after;
        let mut without_room = 0_u64;
        for SavedSeries { start_ns, idle, is_monotonic, point } in saved {
            let idle = idle.saturating_add(away);
            if idle >= self.limits.expire_after {
                continue;
            }
            let Some(mut total) = Total::with(None, &point.value) else { continue };
            if let Total::Sum { is_monotonic: restored, .. } = &mut total {
                *restored = is_monotonic;
            }
            let last_seen = self.elapsed - idle;
            let bytes = slot_bytes(&point.series, &total);
            let (series, total) = (point.series, Some(total));
            let slot = TotalSlot { series, start_ns, last_seen, total, next: None, bytes };
            without_room += u64::from(self.admit(slot).is_err());
        }
        if without_room > 0 {
            let (forwarder, series) = (&self.name, without_room);
            warn!(
                forwarder,
                series,
                "there was no room for the totals of these series (max_series, max_totals); they \
                 restart if there is room later"
            );
        }
        Ok(())
    }
}

fn decode(bytes: &[u8]) -> Result<Vec<SavedSeries>, MalformedSnapshot> {
    let mut reader = SnapshotReader(bytes);
    let mut saved = Vec::new();
    while !reader.0.is_empty() {
        saved.push(SavedSeries {
            start_ns: reader.number()?,
            idle: Duration::from_millis(reader.number()?),
            is_monotonic: reader.byte()? != 0,
            point: reader.point(&[])?,
        });
    }
    Ok(saved)
}
