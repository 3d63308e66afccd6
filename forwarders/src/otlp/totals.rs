//! The totals of counters, traces and timers since the start of their series, for
//! `temporality: cumulative`.
//!
//! Each window has every live series, like an export of an OpenTelemetry SDK: Prometheus shows a
//! series only while it receives points of it. The payload of a series without a point in the window
//! counts no points. A series that expires ends with a point without a value.
//!
//! The totals are those before the latest window, which is kept too. It is added when the next one
//! comes: until then, some of its points may be pending, and these are not part of the saved state.

mod saved;

use std::sync::Arc;
use std::time::Duration;

use basics::log_throttle::LogThrottle;
use foldhash::quality::RandomState;
use hashbrown::HashMap;
use tracing::warn;

use crate::delivery::payload::Batch;
use crate::format::otlp::{
    HistogramPoint, MetricForm, PointTimes, Temporality, WholeCounts, WindowEncoder, by_metric,
    write_end, write_histogram, write_metric, write_number,
};
use model::{MetricKind, Point, Series, Snapshot, Sum, Timer, Value};

/// The totals of all live series. Has neither clock nor socket.
pub(super) struct Totals {
    /// The destination's name in the log.
    name: String,
    limits: TotalLimits,
    slots: Vec<Option<TotalSlot>>,
    free: Vec<TotalId>,
    slot_of: HashMap<Arc<Series>, TotalId, RandomState>,
    /// The latest window, which is not part of the totals yet.
    latest: Option<LatestWindow>,
    /// Length of all windows so far. Idle time is measured with it: the wall clock may be set.
    elapsed: Duration,
    /// Points of series for which there was no room, since the latest report.
    without_room: u64,
    throttle: LogThrottle,
}

/// The limits of the totals.
#[derive(Clone, Copy, Debug)]
pub(super) struct TotalLimits {
    /// Time without samples after which a series expires.
    pub(super) expire_after: Duration,
    /// Maximum number of live series.
    pub(super) series_max: usize,
}

type TotalId = usize;

/// A live series.
struct TotalSlot {
    series: Arc<Series>,
    /// When the series started, in Unix nanoseconds.
    start_ns: u64,
    /// [`Totals::elapsed`] at the end of the latest window with a point of it.
    last_seen: Duration,
    /// `None` before the first window is added.
    total: Option<Total>,
}

/// The total of a series.
#[derive(Clone)]
enum Total {
    Sum {
        sum: Sum,
        is_monotonic: bool,
    },
    /// As a sketch.
    Timer(Timer),
}

struct LatestWindow {
    snapshot: Snapshot,
    /// The slot of each point; `None` for gauges and sets, and for series without room.
    slots: Vec<Option<TotalId>>,
}

impl Totals {
    pub(super) fn new(name: &str, limits: TotalLimits) -> Self {
        Self {
            name: name.to_owned(),
            limits,
            slots: Vec::new(),
            free: Vec::new(),
            slot_of: HashMap::default(),
            latest: None,
            elapsed: Duration::ZERO,
            without_room: 0,
            throttle: LogThrottle::default(),
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
        let slots: Vec<Option<TotalId>> =
            snapshot.points.iter().map(|point| self.seen(&point.series, times)).collect();
        let order = by_metric(snapshot.points.iter().map(|point| &*point.series));
        for place in &order {
            let (point, slot) = (&snapshot.points[*place], slots[*place]);
            batch.push(1, |_| (), |out| self.write_point(out, point, slot, times, encoder));
        }
        batch.set_places(order.into_iter());
        self.encode_idle(times, encoder, batch);
        self.latest = Some(LatestWindow { snapshot: snapshot.clone(), slots });
    }

    /// Moves the starts of totals back to that of a window, if the clock was set back. For good:
    /// otherwise, the start would move with each window until the clock has caught up, and each window
    /// would look like a reset.
    fn start_by(&mut self, window_start_ns: u64) {
        for slot in self.slots.iter_mut().flatten() {
            slot.start_ns = slot.start_ns.min(window_start_ns);
        }
    }

    /// Logs that there is no room for all series, at most once a minute.
    pub(super) fn report(&mut self) {
        let without_room = std::mem::take(&mut self.without_room);
        let Some(points) = self.throttle.count(without_room) else { return };
        let (forwarder, max_series) = (&self.name, self.limits.series_max);
        warn!(
            forwarder,
            points,
            max_series,
            "more series than totals are kept for: their points restart in each window"
        );
    }

    /// Adds the latest window to the totals.
    fn add_latest(&mut self) {
        let Some(LatestWindow { snapshot, slots }) = self.latest.take() else { return };
        for (point, slot) in snapshot.points.iter().zip(slots) {
            if let Some(slot) = slot.and_then(|slot| self.slots[slot].as_mut()) {
                let before = slot.total.take();
                slot.total = Total::with(before, &point.value);
            }
        }
    }

    /// The slot of a series with a point in this window; a new one if necessary. `None` if the series
    /// has no total, or if there is no room.
    fn seen(&mut self, series: &Arc<Series>, times: PointTimes) -> Option<TotalId> {
        if matches!(series.kind(), MetricKind::Gauge | MetricKind::Set) {
            return None;
        }
        if let Some(id) = self.slot_of.get(series) {
            if let Some(slot) = &mut self.slots[*id] {
                slot.last_seen = self.elapsed;
            }
            return Some(*id);
        }
        let (start_ns, last_seen) = (times.start_ns, self.elapsed);
        let slot = TotalSlot { series: Arc::clone(series), start_ns, last_seen, total: None };
        let id = self.admit(slot);
        self.without_room += u64::from(id.is_none());
        id
    }

    /// Adds a series; `None` if there is no room.
    fn admit(&mut self, slot: TotalSlot) -> Option<TotalId> {
        if self.slot_of.len() >= self.limits.series_max {
            return None;
        }
        let id = self.free.pop().unwrap_or(self.slots.len());
        if id == self.slots.len() {
            self.slots.push(None);
        }
        self.slot_of.insert(Arc::clone(&slot.series), id);
        self.slots[id] = Some(slot);
        Some(id)
    }

    fn write_point(
        &self,
        out: &mut Vec<u8>,
        point: &Point,
        slot: Option<TotalId>,
        times: PointTimes,
        encoder: &WindowEncoder,
    ) {
        let slot = slot.and_then(|slot| self.slots[slot].as_ref());
        let before = slot.and_then(|slot| slot.total.clone());
        let start_ns = slot.map_or(times.start_ns, |slot| slot.start_ns);
        match Total::with(before, &point.value) {
            Some(total) => total.write(out, &point.series, start_ns, times, encoder),
            None => encoder.write(out, point, times),
        }
    }

    /// Adds the payloads of the series without a point in the window, of which some expire.
    fn encode_idle(&mut self, times: PointTimes, encoder: &WindowEncoder, batch: &mut Batch) {
        let is_idle = |slot: &&TotalSlot| slot.last_seen < self.elapsed;
        let idle: Vec<&TotalSlot> = self.slots.iter().flatten().filter(is_idle).collect();
        let mut expired = Vec::new();
        for place in by_metric(idle.iter().map(|slot| &*slot.series)) {
            let TotalSlot { series, start_ns, last_seen, total } = idle[place];
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
                self.slots[id] = None;
                self.free.push(id);
            }
        }
    }
}

impl Total {
    /// A total with the value of another window; `None` for a value without a total.
    fn with(before: Option<Self>, value: &Value) -> Option<Self> {
        let added = match value {
            Value::Counter(sum) | Value::Trace(sum) => *sum,
            Value::Total(total) => total.added,
            Value::Timer(timer) => {
                let mut total = match before {
                    Some(Self::Timer(total)) => total,
                    _ => Timer::default(),
                };
                // As a sketch, because a total has no bound on its samples.
                total.merge(timer.timer.clone(), 0);
                return Some(Self::Timer(total));
            }
            Value::Gauge { .. } | Value::Set(_) => return None,
        };
        let (mut sum, was_monotonic) = match before {
            Some(Self::Sum { sum, is_monotonic }) => (sum, is_monotonic),
            _ => (Sum::default(), true),
        };
        sum.merge(added);
        Some(Self::Sum { sum, is_monotonic: was_monotonic && added.value() >= 0.0 })
    }

    fn form(&self) -> MetricForm {
        let temporality = Temporality::Cumulative;
        match self {
            Self::Sum { is_monotonic, .. } => {
                MetricForm::Sum { temporality, is_monotonic: *is_monotonic }
            }
            Self::Timer(_) => MetricForm::Histogram { temporality },
        }
    }

    /// Appends the payload of a series.
    fn write(
        &self,
        out: &mut Vec<u8>,
        series: &Series,
        start_ns: u64,
        times: PointTimes,
        encoder: &WindowEncoder,
    ) {
        write_metric(out, self.form(), series.name());
        let times = PointTimes { start_ns, ..times };
        match self {
            Self::Sum { sum, .. } => write_number(out, series, times, sum.value()),
            Self::Timer(timer) => {
                let (summary, counts) = (timer.summary(&[]), WholeCounts::down());
                let (buckets, max) = (timer.buckets(), encoder.buckets_max);
                let point = HistogramPoint::new(buckets, &summary, counts, max);
                write_histogram(out, series, times, &point);
            }
        }
    }

    /// The total as a value of the spool's encoding.
    fn to_value(&self, kind: MetricKind) -> Value {
        match self {
            Self::Sum { sum, .. } if kind == MetricKind::Trace => Value::Trace(*sum),
            Self::Sum { sum, .. } => Value::Counter(*sum),
            Self::Timer(timer) => Value::timer(timer.clone(), &[]),
        }
    }
}
