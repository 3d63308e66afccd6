//! The running totals, latest values and live series that result from the windows.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use foldhash::quality::RandomState;
use hashbrown::HashMap;

use super::held::HeldTotals;
use super::names::FamilyName;
use super::timers::TimerSettings;
use model::{MetricKind, Percentile, Series, SeriesNaming, Snapshot, Value};

mod admission;
mod expired;
mod expiry;
mod order;
pub(super) mod placed;
mod saved;
mod shown;
mod size;
mod slot;

use expired::ExpiredTotals;
pub(super) use shown::Shown;
use slot::{Family, FamilyKey, SourceSeries};
pub(super) use slot::{Slot, SlotId};

/// The state of the page after all windows since the start. It has neither clock nor socket: only
/// [`State::apply`] and [`State::restore`] change what the page shows.
pub(super) struct State {
    limits: Limits,
    timers: TimerSettings,
    /// Provides other names for series; `None` if all have tallyd's names.
    naming: Option<Arc<dyn SeriesNaming>>,
    /// The live series of the pipeline, under the names that senders use, each with its slot: the
    /// series on the page. Several series may share a slot.
    sources: HashMap<Arc<Series>, SourceSeries, RandomState>,
    slots: Vec<Option<Slot>>,
    free: Vec<SlotId>,
    /// Slots by the series on the page and by whether a naming assigned its name: a renamed series
    /// and an equal one that is not renamed belong to different families.
    slot_of: HashMap<(Arc<Series>, bool), SlotId, RandomState>,
    families: HashMap<FamilyKey, Family, RandomState>,
    /// The families in the order of the page, with their names.
    order: Vec<(FamilyKey, FamilyName)>,
    order_is_stale: bool,
    /// Upper bound of the size of the page, in bytes.
    bytes: u64,
    /// The totals of expired series.
    expired: ExpiredTotals,
    /// The series whose total is held.
    held: HeldTotals,
    /// How often a native histogram has lost resolution.
    reduced: Arc<AtomicU64>,
    /// Series that expired with the latest window, for which remote write sends stale markers.
    just_expired: Vec<(FamilyName, Slot)>,
    /// Where the points of the latest window are shown, in the order of the snapshot.
    places: Vec<PointPlace>,
    /// Number of the latest window, from 1.
    window: u64,
    /// Length of all windows so far. Idle time is measured with it: the wall clock may be set.
    elapsed: Duration,
    /// Start of the latest window, in Unix milliseconds.
    window_start_ms: u64,
    /// The percentiles that the timers' values belong to.
    percentiles: Arc<[Percentile]>,
    /// The values that the series of the latest window had before it; empty unless `keeps_previous`.
    previous: Vec<(SlotId, Shown)>,
    keeps_previous: bool,
}

/// Where a point is shown.
#[derive(Clone, Copy, Debug)]
enum PointPlace {
    /// In a slot without an earlier point of the window.
    First(SlotId),
    /// In a slot with an earlier point of the window.
    Merged(SlotId),
    /// Nowhere, because the naming hides the series.
    Hidden,
    /// Nowhere, because the page has no room.
    Nowhere,
}

/// The limits of the state.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Time without samples after which a series expires.
    pub(super) expire_after: Duration,
    /// Maximum number of live series of the pipeline.
    pub(super) series_max: usize,
    /// Maximum size of the page, in bytes.
    pub(super) bytes_max: u64,
    /// Maximum number of expired series whose totals are kept.
    pub(super) expired_max: usize,
}

/// The outcome for the points of a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Applied {
    /// Points that are on the page or that the naming hides.
    pub(super) shown: u64,
    /// Points without room on the page.
    pub(super) refused: u64,
}

impl State {
    pub(super) fn new(limits: Limits, naming: Option<Arc<dyn SeriesNaming>>) -> Self {
        Self {
            limits,
            timers: TimerSettings::default(),
            naming,
            sources: HashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            slot_of: HashMap::default(),
            families: HashMap::default(),
            order: Vec::new(),
            order_is_stale: false,
            bytes: 0,
            expired: ExpiredTotals::new(limits.expired_max),
            held: HeldTotals::default(),
            reduced: Arc::default(),
            just_expired: Vec::new(),
            places: Vec::new(),
            window: 0,
            elapsed: Duration::ZERO,
            window_start_ms: 0,
            percentiles: Arc::new([]),
            previous: Vec::new(),
            keeps_previous: false,
        }
    }

    /// Keeps the values that the series of the latest window had before it: [`State::save`] needs
    /// them while points of the window are not delivered.
    pub(super) fn keeping_previous(self) -> Self {
        Self { keeps_previous: true, ..self }
    }

    /// Shows timers in the forms of `timers`, by default a summary.
    pub(super) fn showing_timers(self, timers: TimerSettings) -> Self {
        Self { timers, ..self }
    }

    /// The forms of timers.
    pub(super) fn timers(&self) -> &TimerSettings {
        &self.timers
    }

    /// The percentiles of the timers' values.
    pub(super) fn percentiles(&self) -> &[Percentile] {
        &self.percentiles
    }

    /// Adds a window, and expires series that have been idle for too long.
    pub(super) fn apply(&mut self, snapshot: &Snapshot) -> Applied {
        self.window += 1;
        self.elapsed += snapshot.window.length;
        let length_ms = snapshot.window.length.as_millis() as u64;
        self.window_start_ms = snapshot.window.end_ms.saturating_sub(length_ms);
        self.just_expired.clear();
        self.places.clear();
        self.previous.clear();
        self.set_percentiles(&snapshot.percentiles);
        let mut applied = Applied::default();
        let mut touched = Vec::with_capacity(snapshot.points.len());
        // Values are cloned only for series that have several points in this window.
        let mut merged: HashMap<SlotId, Value, RandomState> = HashMap::default();
        for (index, point) in snapshot.points.iter().enumerate() {
            let id = match self.slot(&point.series, snapshot.percentiles.len()) {
                Ok(id) => id,
                Err(place) => {
                    let is_refused = matches!(place, PointPlace::Nowhere);
                    // A hidden point is no loss: the operator has chosen a naming that hides it.
                    applied.refused += u64::from(is_refused);
                    applied.shown += u64::from(!is_refused);
                    self.places.push(place);
                    continue;
                }
            };
            applied.shown += 1;
            let Some(slot) = &mut self.slots[id as usize] else { continue };
            if slot.last_window == self.window {
                // Merged before they reach the slot: of two gauges the later one counts, and
                // percentiles need all values.
                let first = &snapshot.points[slot.point as usize].value;
                let value = merged.entry(id).or_insert_with(|| first.clone());
                value.merge(point.value.clone(), snapshot);
                self.places.push(PointPlace::Merged(id));
            } else {
                (slot.last_window, slot.point) = (self.window, index as u32);
                self.places.push(PointPlace::First(id));
                touched.push(id);
            }
        }
        // A separate pass, because a series has its value only after its last point.
        self.add_values(snapshot, touched, &merged);
        // After the points, so that a series with a point in this window cannot expire.
        self.expire(snapshot);
        // After the expiry: names depend only on the families that remain.
        self.put_in_order();
        applied
    }

    /// Adds the values of the window to their series.
    fn add_values(
        &mut self,
        snapshot: &Snapshot,
        touched: Vec<SlotId>,
        merged: &HashMap<SlotId, Value, RandomState>,
    ) {
        for id in touched {
            let Some(slot) = &mut self.slots[id as usize] else { continue };
            if self.keeps_previous {
                self.previous.push((id, slot.shown.clone()));
            }
            let alone = &snapshot.points[slot.point as usize].value;
            let value = merged.get(&id).unwrap_or(alone);
            slot.shown.add(value, slot.is_shared);
            if matches!(value, Value::Total(_)) && !slot.is_shared {
                // Only the source knows when its total began.
                slot.created_ms = 0;
            }
            if !slot.family.is_renamed {
                // The shown total of a renamed series is converted below, so it cannot be compared
                // with its sum.
                self.held.note(&mut slot.is_held, slot.shown.is_held(), slot.series.name());
            }
            if let Some(naming) = self.naming.as_deref().filter(|_| slot.family.is_renamed) {
                slot.shown.convert(naming);
            }
            self.fit_native(id);
        }
    }

    /// Returns the counter of how often a native histogram has lost resolution.
    pub(super) fn reduced_histograms(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.reduced)
    }

    /// The series whose total is held.
    pub(super) fn held(&mut self) -> &mut HeldTotals {
        &mut self.held
    }

    /// Returns the shared number of live series whose total is held.
    pub(super) fn held_totals(&self) -> Arc<AtomicU64> {
        self.held.series()
    }

    /// Returns whether a naming may rename series.
    pub(super) fn has_naming(&self) -> bool {
        self.naming.is_some()
    }

    /// Returns the number of live series of the pipeline.
    #[cfg(test)]
    pub(super) fn source_count(&self) -> usize {
        self.sources.len()
    }

    /// Returns the upper bound of the page's size, in bytes.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Iterates over the families in page order, each with its name, kind, origin and series.
    pub(super) fn families(
        &self,
    ) -> impl Iterator<Item = (&FamilyName, MetricKind, &str, impl Iterator<Item = &Slot> + Clone)>
    {
        self.order.iter().filter_map(|(key, name)| {
            let family = self.families.get(key)?;
            let slots = family.slots.iter().filter_map(|id| self.slots[*id as usize].as_ref());
            Some((name, key.kind, family.origin.as_str(), slots))
        })
    }

    /// Returns the series that expired with the latest window, under their last names.
    pub(super) fn just_expired(&self) -> &[(FamilyName, Slot)] {
        &self.just_expired
    }

    /// Iterates over the series without a point in the latest window.
    pub(super) fn idle(&self) -> impl Iterator<Item = (&FamilyName, &Slot)> {
        self.families()
            .flat_map(|(name, _, _, slots)| slots.map(move |slot| (name, slot)))
            .filter(|(_, slot)| slot.last_window != self.window)
    }

    /// Sets the percentiles. If they are others than before, removes the values of the timers,
    /// which must not be shown under the new ones.
    fn set_percentiles(&mut self, percentiles: &Arc<[Percentile]>) {
        if *percentiles == self.percentiles {
            return;
        }
        self.percentiles = Arc::clone(percentiles);
        for slot in self.slots.iter_mut().flatten() {
            if let Shown::Timer(total) = &mut slot.shown {
                total.percentiles.clear();
            }
        }
    }
}
