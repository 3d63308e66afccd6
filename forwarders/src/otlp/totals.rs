//! The totals of counters, traces and timers since the start of their series, for
//! `temporality: cumulative`.
//!
//! Each window has every live series, like an export of an OpenTelemetry SDK: Prometheus shows a
//! series only while it receives points of it. The payload of a series without a point in the window
//! counts no points. A series that expires ends with a point without a value.
//!
//! Until the next window comes, each series has two totals: with the latest window and without it,
//! because some points of that window may be pending, and these are not part of the saved state.
//!
//! A point for whose total there is no room is refused. It could only be sent as the start of another
//! total, and readers that ignore start times, such as Prometheus, would add up the wrong increments.

mod histogram;
mod saved;
mod total;

use std::sync::Arc;
use std::time::Duration;

use foldhash::quality::RandomState;
use hashbrown::HashMap;

use self::total::Total;
use crate::delivery::payload::Batch;
use crate::delivery::stats::reason;
use crate::format::otlp::{PointTimes, WindowEncoder, by_metric, write_end, write_metric};
use model::{Series, Snapshot, Value};

/// The explanation for points that are dropped as `totals_full`.
const FULL_WORDS: &str = "there is no room for more totals (max_series, max_totals)";

/// The memory of a slot without its series and its timer: its place in the list and its entry in the
/// table, which are at worst half empty.
const SLOT_BYTES: usize =
    2 * (size_of::<Option<TotalSlot>>() + size_of::<(Arc<Series>, TotalId)>());

/// The totals of all live series. Has neither clock nor socket.
pub(super) struct Totals {
    /// The destination's name in the log.
    name: String,
    limits: TotalLimits,
    slots: Vec<Option<TotalSlot>>,
    free: Vec<TotalId>,
    slot_of: HashMap<Arc<Series>, TotalId, RandomState>,
    /// The slot of each point of the latest window; `None` for gauges and sets, and for points
    /// without room.
    latest: Vec<Option<TotalId>>,
    /// Length of all windows so far. Idle time is measured with it: the wall clock may be set.
    elapsed: Duration,
    /// An estimate of the memory of all slots.
    bytes: u64,
}

/// The limits of the totals.
#[derive(Clone, Copy, Debug)]
pub(super) struct TotalLimits {
    /// Time without samples after which a series expires.
    pub(super) expire_after: Duration,
    /// Maximum number of live series.
    pub(super) series_max: usize,
    /// Maximum memory of the totals.
    pub(super) bytes_max: u64,
}

type TotalId = usize;

/// A live series.
struct TotalSlot {
    series: Arc<Series>,
    /// When the series started, in Unix nanoseconds.
    start_ns: u64,
    /// [`Totals::elapsed`] at the end of the latest window with a point of it.
    last_seen: Duration,
    /// The total without the latest window; `None` if the series has only a point in that.
    total: Option<Total>,
    /// The total with the latest window, if the series has a point in it.
    next: Option<Total>,
    /// An estimate of the memory of the slot, with the latest window.
    bytes: u64,
}

/// There is no room for the total of a point.
#[derive(Debug, PartialEq, Eq)]
struct NoRoom;

impl Totals {
    pub(super) fn new(name: &str, limits: TotalLimits) -> Self {
        Self {
            name: name.to_owned(),
            limits,
            slots: Vec::new(),
            free: Vec::new(),
            slot_of: HashMap::default(),
            latest: Vec::new(),
            elapsed: Duration::ZERO,
            bytes: 0,
        }
    }

    /// Adds the payloads of a window: first its points, then the series without a point in it.
    pub(super) fn encode(
        &mut self,
        snapshot: &Snapshot,
        encoder: &WindowEncoder,
        batch: &mut Batch,
    ) {
        self.add_latest();
        self.elapsed += snapshot.window.length;
        let times = PointTimes::of(snapshot);
        self.start_by(times.start_ns);
        let mut latest = vec![None; snapshot.points.len()];
        let order = by_metric(snapshot.points.iter().map(|point| &*point.series));
        for (id, place) in order.iter().enumerate() {
            let point = &snapshot.points[*place];
            match self.add(&point.series, &point.value, times) {
                Ok(Some(slot)) => {
                    batch.push(1, |_| (), |out| self.write_next(out, slot, times, encoder));
                    latest[*place] = Some(slot);
                }
                Ok(None) => batch.push(1, |_| (), |out| encoder.write(out, point, times)),
                Err(NoRoom) => {
                    batch.push(1, |_| (), |_| ());
                    batch.refused(id, reason::TOTALS_FULL, FULL_WORDS);
                }
            }
        }
        batch.set_places(order.into_iter());
        self.encode_idle(times, encoder, batch);
        self.latest = latest;
    }

    /// Appends the total of a series with the latest window.
    fn write_next(
        &self,
        out: &mut Vec<u8>,
        slot: TotalId,
        times: PointTimes,
        encoder: &WindowEncoder,
    ) {
        let Some(TotalSlot { series, start_ns, next: Some(total), .. }) = &self.slots[slot] else {
            return;
        };
        total.write(out, series, *start_ns, times, encoder);
    }

    /// Moves the starts of totals back to that of a window, if the clock was set back. For good:
    /// otherwise, the start would move with each window until the clock has caught up, and each window
    /// would look like a reset.
    fn start_by(&mut self, window_start_ns: u64) {
        for slot in self.slots.iter_mut().flatten() {
            slot.start_ns = slot.start_ns.min(window_start_ns);
        }
    }

    /// Adds the latest window to the totals.
    fn add_latest(&mut self) {
        for slot in self.slots.iter_mut().flatten() {
            if let Some(next) = slot.next.take() {
                slot.total = Some(next);
            }
        }
    }

    /// Adds a point of this window to the total of its series, and returns the slot, a new one if
    /// necessary. `None` for a value without a total.
    fn add(
        &mut self,
        series: &Arc<Series>,
        value: &Value,
        times: PointTimes,
    ) -> Result<Option<TotalId>, NoRoom> {
        let known = self.slot_of.get(series).copied();
        let slot = known.and_then(|id| self.slots[id].as_ref());
        let before = slot.and_then(|slot| slot.next.as_ref().or(slot.total.as_ref()));
        let used = slot.map_or(0, |slot| slot.bytes);
        let Some(total) = Total::with(before, value) else { return Ok(None) };
        let bytes = slot_bytes(series, &total);
        if bytes > used && self.bytes - used + bytes > self.limits.bytes_max {
            return Err(NoRoom);
        }
        let id = match known {
            Some(id) => id,
            None => self.admit(TotalSlot {
                series: Arc::clone(series),
                start_ns: times.start_ns,
                last_seen: self.elapsed,
                total: None,
                next: None,
                bytes: 0,
            })?,
        };
        if let Some(slot) = &mut self.slots[id] {
            self.bytes = self.bytes - slot.bytes + bytes;
            (slot.last_seen, slot.bytes) = (self.elapsed, bytes);
            slot.next = Some(total);
        }
        Ok(Some(id))
    }

    /// Adds a series, if their number and their memory allow it.
    fn admit(&mut self, slot: TotalSlot) -> Result<TotalId, NoRoom> {
        let is_full = self.slot_of.len() >= self.limits.series_max;
        if is_full || self.bytes + slot.bytes > self.limits.bytes_max {
            return Err(NoRoom);
        }
        let id = self.free.pop().unwrap_or(self.slots.len());
        if id == self.slots.len() {
            self.slots.push(None);
        }
        self.bytes += slot.bytes;
        self.slot_of.insert(Arc::clone(&slot.series), id);
        self.slots[id] = Some(slot);
        Ok(id)
    }

    /// Adds the payloads of the series without a point in the window, of which some expire.
    fn encode_idle(&mut self, times: PointTimes, encoder: &WindowEncoder, batch: &mut Batch) {
        let is_idle = |slot: &&TotalSlot| slot.last_seen < self.elapsed;
        let idle: Vec<&TotalSlot> = self.slots.iter().flatten().filter(is_idle).collect();
        let mut expired = Vec::new();
        for place in by_metric(idle.iter().map(|slot| &*slot.series)) {
            let TotalSlot { series, start_ns, last_seen, total, .. } = idle[place];
            let Some(total) = total else { continue };
            let has_expired = *last_seen + self.limits.expire_after <= self.elapsed;
            let write = |out: &mut Vec<u8>| {
                if has_expired {
                    write_metric(out, total.form(), series.name());
                    write_end(out, series, PointTimes { start_ns: *start_ns, ..times });
                } else {
                    total.write(out, series, *start_ns, times, encoder);
                }
            };
            batch.push(0, |_| (), write);
            if has_expired {
                expired.push(Arc::clone(series));
            }
        }
        for series in expired {
            if let Some(id) = self.slot_of.remove(&series) {
                self.bytes -= self.slots[id].take().map_or(0, |slot| slot.bytes);
                self.free.push(id);
            }
        }
    }
}

/// An estimate of the memory of a slot with this total. The one without the latest window is not
/// larger.
fn slot_bytes(series: &Series, total: &Total) -> u64 {
    (SLOT_BYTES + series.heap_bytes() + 2 * total.heap_bytes()) as u64
}
