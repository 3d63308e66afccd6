//! The running totals, latest values and live series that result from the windows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use foldhash::quality::RandomState;
use hashbrown::HashMap;
use smallvec::SmallVec;
use xxhash_rust::xxh3::Xxh3;

use super::held::HeldTotals;
use super::names::{self, FamilyName, page_series, renamed_series};
use super::native::{self, NativeHistogram};
use super::timer_total::TimerTotal;
use super::timers::{TimerForm, TimerSettings};
use model::{
    MetricKind, OwnTags, Percentile, Series, SeriesNaming, SeriesPlacement, Snapshot, Sum, Value,
};

mod expired;
mod saved;

use expired::{ExpiredTotal, ExpiredTotals};

/// The state of the page after all windows since the start. It has neither clock nor socket: only
/// [`State::apply`] and [`State::restore`] change what the page shows.
pub(super) struct State {
    limits: Limits,
    timers: TimerSettings,
    /// Provides other names for series; `None` if all have tallyd's names.
    naming: Option<Arc<dyn SeriesNaming>>,
    /// The live series of the pipeline, under the names that senders use, each with its slot: the
    /// series on the page. Several series may share a slot.
    sources: HashMap<Arc<Series>, Source, RandomState>,
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
    places: Vec<Place>,
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
enum Place {
    /// In a slot without an earlier point of the window.
    First(SlotId),
    /// In a slot with an earlier point of the window.
    Merged(SlotId),
    /// Nowhere, because the naming hides the series.
    Hidden,
    /// Nowhere, because the page has no room.
    Nowhere,
}

/// A point of the latest window, as remote write sends it.
pub(super) enum Placed<'a> {
    /// As the value of this series. `points` are the indexes of its points in the snapshot.
    Shown { id: SlotId, name: &'a FamilyName, slot: &'a Slot, points: SmallVec<[usize; 1]> },
    /// Not at all, because the naming hides its series. With the index of the point.
    Hidden(usize),
    /// Not at all, because the page has no room for its series. With the index of the point.
    Nowhere(usize),
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

pub(super) type SlotId = u32;

/// The name and kind of a family, before conflicts between names are resolved.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct FamilyKey {
    base: Arc<str>,
    kind: MetricKind,
    is_renamed: bool,
}

/// The series under which the page shows a series of the pipeline.
struct Wanted {
    series: Arc<Series>,
    family: FamilyKey,
    /// The description of the family, if a naming assigned its name.
    help: Option<Box<str>>,
    own_tags: Option<OwnTags>,
}

/// A family on the page.
#[derive(Debug, Default)]
struct Family {
    /// Sorted by labels, unless `is_stale`.
    slots: Vec<SlotId>,
    is_stale: bool,
    /// The alphabetically first name of the metrics that are shown as this family, or the
    /// description that a naming assigned.
    origin: String,
    /// Upper bound of the size of its headers on the page, in bytes.
    bytes: u64,
}

/// A live series of the pipeline.
#[derive(Debug)]
struct Source {
    slot: SlotId,
    /// [`State::elapsed`] at the end of the latest window with a point of it.
    last_seen: Duration,
    /// `Some` for a renamed series, which expires with the first poll that does not contain it.
    own_tags: Option<OwnTags>,
}

/// A series on the page.
#[derive(Debug)]
pub(super) struct Slot {
    /// Kind, name and labels.
    pub(super) series: Arc<Series>,
    /// The value on the page.
    pub(super) shown: Shown,
    /// When its total was 0, in Unix milliseconds; 0 if that is unknown.
    pub(super) created_ms: u64,
    family: FamilyKey,
    /// Number of live series of the pipeline that it shows.
    sources: u32,
    /// Whether it has ever had more than one source.
    is_shared: bool,
    /// Whether its total is held, see [`HeldTotals`].
    is_held: bool,
    /// Number of the latest window with a point of it; 0 if it has none yet.
    last_window: u64,
    /// Index of its first point in the snapshot of `last_window`.
    point: u32,
    /// Upper bound of its size on the page, in bytes.
    bytes: u64,
    /// The part of `bytes` for the buckets of a native histogram.
    native_bytes: u64,
}

/// The value of a series on the page.
#[derive(Clone, Debug)]
pub(super) enum Shown {
    /// A counter or a trace.
    Total {
        /// Sum of all windows.
        sum: Sum,
        /// The largest sum so far, because Prometheus would take a smaller one for a restart. For a
        /// counter whose source keeps the total, that total, which falls when the source restarts.
        shown: f64,
    },
    /// The value of a gauge or the size of a set in its latest window.
    Last(f64),
    /// A timer.
    Timer(TimerTotal),
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
                    let is_refused = matches!(place, Place::Nowhere);
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
                self.places.push(Place::Merged(id));
            } else {
                (slot.last_window, slot.point) = (self.window, index as u32);
                self.places.push(Place::First(id));
                touched.push(id);
            }
        }
        // A separate pass, because a series has its value only after its last point.
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
        let polls = self.naming.as_deref().map_or(vec![], |naming| polls(snapshot, naming));
        // After the points, so that a series with a point in this window cannot expire.
        self.expire(&polls);
        // After the expiry: names depend only on the families that remain.
        self.put_in_order();
        applied
    }

    /// Merges buckets of a native histogram until it has no more than the limit, and no more than the
    /// page has room for.
    fn fit_native(&mut self, id: SlotId) {
        let Some(slot) = &mut self.slots[id as usize] else { return };
        let Shown::Timer(TimerTotal { native: Some(native), .. }) = &mut slot.shown else { return };
        let others = self.bytes - slot.native_bytes;
        let room = self.limits.bytes_max.saturating_sub(others).max(slot.native_bytes);
        let most = self.timers.native_buckets_max.min(native::buckets_within(room));
        if native.shrink(most) {
            self.reduced.fetch_add(1, Ordering::Relaxed);
        }
        let bytes = native::bytes_at_most(native.bucket_count());
        self.bytes = others + bytes;
        slot.bytes = slot.bytes - slot.native_bytes + bytes;
        slot.native_bytes = bytes;
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

    /// Iterates over the points of the latest window. Points that share a series on the page come
    /// together, at the place of the first.
    pub(super) fn placed(&self) -> impl Iterator<Item = Placed<'_>> {
        // By slot, so that no point needs a search for the name of its family.
        let mut names = vec![None; self.slots.len()];
        for (key, name) in &self.order {
            for id in self.families.get(key).into_iter().flat_map(|family| &family.slots) {
                names[*id as usize] = Some(name);
            }
        }
        let mut merged: HashMap<SlotId, SmallVec<[usize; 1]>, RandomState> = HashMap::default();
        for (point, place) in self.places.iter().enumerate() {
            if let Place::Merged(id) = place {
                merged.entry(*id).or_default().push(point);
            }
        }
        self.places.iter().enumerate().filter_map(move |(point, place)| match *place {
            Place::First(id) => match (names[id as usize], &self.slots[id as usize]) {
                (Some(name), Some(slot)) => {
                    let mut points = SmallVec::from_elem(point, 1);
                    points.extend(merged.remove(&id).unwrap_or_default());
                    Some(Placed::Shown { id, name, slot, points })
                }
                // Unreachable: a slot with a point in this window has not expired.
                _ => Some(Placed::Nowhere(point)),
            },
            // Returned with the first point of its series.
            Place::Merged(_) => None,
            Place::Hidden => Some(Placed::Hidden(point)),
            Place::Nowhere => Some(Placed::Nowhere(point)),
        })
    }

    /// Iterates over the series without a point in the latest window.
    pub(super) fn idle(&self) -> impl Iterator<Item = (&FamilyName, &Slot)> {
        self.families()
            .flat_map(|(name, _, _, slots)| slots.map(move |slot| (name, slot)))
            .filter(|(_, slot)| slot.last_window != self.window)
    }

    /// Returns the slot of a series of the pipeline, which is added to the page if it is new, or
    /// the reason why it has none. `percentiles` is the number of percentiles.
    fn slot(&mut self, series: &Arc<Series>, percentiles: usize) -> Result<SlotId, Place> {
        // The usual case, without the cost of sanitising names and labels.
        if let Some(source) = self.sources.get_mut(series) {
            source.last_seen = self.elapsed;
            return Ok(source.slot);
        }
        // Before the limit, because a hidden series takes no room.
        let wanted = self.wanted(series).ok_or(Place::Hidden)?;
        // Also for a series that would share a slot: its entry in `sources` takes memory too.
        if self.sources.len() >= self.limits.series_max {
            return Err(Place::Nowhere);
        }
        let (family, own_tags) = (wanted.family.clone(), wanted.own_tags);
        let origin: Box<str> = wanted.help.clone().unwrap_or_else(|| series.name().into());
        let id = match self.slot_of.get(&(Arc::clone(&wanted.series), family.is_renamed)) {
            Some(id) => *id,
            None => {
                self.admit(wanted, series.name(), &origin, percentiles).ok_or(Place::Nowhere)?
            }
        };
        let slot = self.slots[id as usize].as_mut().ok_or(Place::Nowhere)?;
        slot.sources += 1;
        // Stays set when the other sources expire: their increments remain in the total.
        slot.is_shared |= slot.sources > 1;
        self.note_origin(&family, &origin);
        let source = Source { slot: id, last_seen: self.elapsed, own_tags };
        self.sources.insert(Arc::clone(series), source);
        Ok(id)
    }

    /// Returns the series under which the page shows a series; `None` if the naming hides it.
    fn wanted(&self, series: &Series) -> Option<Wanted> {
        let placement = self.naming.as_ref().map(|naming| naming.place(series));
        let (series, kind, help, own_tags) = match placement {
            Some(SeriesPlacement::Renamed(assigned)) => {
                let help = assigned.help.as_ref().into();
                (
                    renamed_series(series, &assigned),
                    assigned.kind,
                    Some(help),
                    Some(assigned.own_tags),
                )
            }
            Some(SeriesPlacement::Hidden) => return None,
            Some(SeriesPlacement::Unchanged) | None => {
                (page_series(series, &self.timers.forms), series.kind(), None, None)
            }
        };
        let family = FamilyKey { base: series.name().into(), kind, is_renamed: help.is_some() };
        Some(Wanted { series: Arc::new(series), family, help, own_tags })
    }

    /// Adds a series to the page; `None` if the page has no room. `metric` is its name in the
    /// pipeline, and `origin` describes a new family.
    fn admit(
        &mut self,
        wanted: Wanted,
        metric: &str,
        origin: &str,
        percentiles: usize,
    ) -> Option<SlotId> {
        let Wanted { series, family: key, .. } = wanted;
        let fresh = Shown::initial(series.kind(), &self.timers, metric);
        // The key that the family already has, so that all its series share one copy of the name.
        let known = self.families.get_key_value(&key).map(|(key, _)| key.clone());
        let is_new = known.is_none();
        let key = known.unwrap_or(key);
        let native_bytes = if fresh.native().is_some() { native::bytes_at_most(0) } else { 0 };
        let bytes = native_bytes + self.size_at_most(&series, &fresh, percentiles);
        let family_bytes = if is_new { self.header_at_most(origin) } else { 0 };
        // Checked for a whole series before it is shown, so that a page never has to be cut.
        if self.bytes + bytes + family_bytes > self.limits.bytes_max {
            return None;
        }
        self.bytes += bytes + family_bytes;
        let earlier = self.expired.take(&series);
        let continued =
            earlier.and_then(|total| Some((fresh.continued_from(&total.shown)?, total.created_ms)));
        let (shown, created_ms) = continued.unwrap_or((fresh, self.window_start_ms));
        let slot = Slot {
            series: Arc::clone(&series),
            shown,
            created_ms,
            family: key.clone(),
            sources: 0,
            is_shared: false,
            is_held: false,
            last_window: 0,
            point: 0,
            bytes,
            native_bytes,
        };
        // Reused, so that `slots` grows with the live series and not with every series ever seen.
        let id = self.free.pop().unwrap_or(self.slots.len() as SlotId);
        if id as usize == self.slots.len() {
            self.slots.push(None);
        }
        self.slots[id as usize] = Some(slot);
        self.slot_of.insert((series, key.is_renamed), id);
        // A new series in a known family changes neither the order of the families nor their names.
        self.order_is_stale |= is_new;
        let family = self.families.entry(key).or_default();
        family.slots.push(id);
        family.bytes += family_bytes;
        family.is_stale = true;
        self.fit_native(id);
        Some(id)
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

    /// Keeps the alphabetically first name as the origin of a family.
    fn note_origin(&mut self, key: &FamilyKey, name: &str) {
        // Not the name that arrived first: after a restart another one could be first, which would
        // change the help text.
        if let Some(family) = self.families.get_mut(key)
            && (family.origin.is_empty() || name < family.origin.as_str())
        {
            name.clone_into(&mut family.origin);
        }
    }

    /// Removes the series that have been idle for too long, and renamed series that the latest poll
    /// of their source lacks. `polls` are the series of the window that mark a poll.
    fn expire(&mut self, polls: &[&Series]) {
        let (elapsed, expire_after) = (self.elapsed, self.limits.expire_after);
        let mut idle = Vec::new();
        self.sources.retain(|series, source| {
            // A poll contains every series of its source, so a renamed series that it lacks has
            // ended.
            let is_late = source.last_seen < elapsed
                && source
                    .own_tags
                    .is_some_and(|own| polls.iter().any(|poll| own.is_same_source(series, poll)));
            let is_idle = is_late || source.last_seen + expire_after <= elapsed;
            if is_idle {
                idle.push(source.slot);
            }
            !is_idle
        });
        let mut gone = Vec::new();
        for id in idle {
            // A slot lives as long as any of its sources.
            let Some(slot) = &mut self.slots[id as usize] else { continue };
            slot.sources -= 1;
            if slot.sources == 0 {
                self.held.forget(&mut slot.is_held);
                gone.extend(self.slots[id as usize].take().map(|slot| (id, slot)));
            }
        }
        if !gone.is_empty() {
            self.remove_expired(gone);
        }
    }

    fn remove_expired(&mut self, gone: Vec<(SlotId, Slot)>) {
        // `order` still has the names of the previous window: a series ends under the name that it
        // had.
        let named: HashMap<&FamilyKey, &FamilyName, RandomState> =
            self.order.iter().map(|(key, name)| (key, name)).collect();
        let mut keys = Vec::new();
        for (id, slot) in gone {
            self.slot_of.remove(&(Arc::clone(&slot.series), slot.family.is_renamed));
            self.free.push(id);
            self.bytes -= slot.bytes;
            self.expired.remember(hash(&slot.series), slot.total());
            let key = slot.family.clone();
            if let Some(name) = named.get(&key) {
                self.just_expired.push(((*name).clone(), slot));
            }
            keys.push(key);
        }
        // Filters each family only once, even if many of its series have expired.
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let Some(family) = self.families.get_mut(&key) else { continue };
            family.slots.retain(|id| self.slots[*id as usize].is_some());
            if family.slots.is_empty() {
                self.bytes -= family.bytes;
                self.families.remove(&key);
                self.order_is_stale = true;
            }
        }
    }

    fn put_in_order(&mut self) {
        // Sorts only families with new series, because a removal keeps the order.
        for family in self.families.values_mut().filter(|family| family.is_stale) {
            let slots = &self.slots;
            let labels = |id: &SlotId| slots[*id as usize].as_ref().map(|slot| slot.series.tags());
            family.slots.sort_by(|a, b| match (labels(a), labels(b)) {
                (Some(a), Some(b)) => a.cmp(b),
                (a, b) => a.is_some().cmp(&b.is_some()),
            });
            family.is_stale = false;
        }
        if std::mem::take(&mut self.order_is_stale) {
            let mut keys: Vec<FamilyKey> = self.families.keys().cloned().collect();
            keys.sort_unstable();
            let families: Vec<_> = keys.iter().map(FamilyKey::family).collect();
            let names = names::assign(&families, &self.timers.forms);
            self.order = keys.into_iter().zip(names).collect();
        }
    }
}

impl Slot {
    /// Returns its total, which is kept in case the series returns.
    fn total(&self) -> ExpiredTotal {
        ExpiredTotal { shown: self.shown.clone(), created_ms: self.created_ms }
    }
}

impl FamilyKey {
    fn family(&self) -> names::Family<'_> {
        names::Family { base: &self.base, kind: self.kind, is_renamed: self.is_renamed }
    }
}

impl Shown {
    /// Returns the value before the first window.
    fn initial(kind: MetricKind, timers: &TimerSettings, metric: &str) -> Self {
        match kind {
            MetricKind::Counter | MetricKind::Trace => {
                Self::Total { sum: Sum::default(), shown: 0.0 }
            }
            MetricKind::Gauge | MetricKind::Set => Self::Last(0.0),
            MetricKind::Timer => Self::Timer(TimerTotal::new(timers, metric)),
        }
    }

    /// Adds the value of one window. If the source keeps the total and the slot has never been
    /// shared, the source's total is shown as it is. In a shared slot only increments count, even
    /// if the other sources are idle: their earlier increments are part of the total.
    fn add(&mut self, value: &Value, is_shared: bool) {
        match (self, value) {
            (Self::Total { sum, shown }, Value::Total(total)) if !is_shared => {
                // Kept up to date for the case that another source joins the slot.
                *sum = Sum::of(total.total);
                *shown = total.total;
            }
            (Self::Total { sum, shown }, Value::Total(total)) => {
                sum.merge(total.added);
                *shown = shown.max(sum.value());
            }
            (Self::Total { sum, shown }, Value::Counter(window) | Value::Trace(window)) => {
                // A negative count corrects the sum, but the shown total must not fall.
                sum.merge(*window);
                *shown = shown.max(sum.value());
            }
            (Self::Last(shown), Value::Gauge { value, .. }) => *shown = *value,
            (Self::Last(shown), Value::Set(set)) => *shown = set.count,
            (Self::Timer(total), Value::Timer(window)) => total.add(window),
            (shown, value) => debug_assert!(false, "{value:?} for {shown:?}"),
        }
    }

    /// Continues from a saved value; `None` if that belongs to a series of another form.
    fn continued_from(&self, saved: &Self) -> Option<Self> {
        match (self, saved) {
            (Self::Timer(fresh), Self::Timer(saved)) => {
                fresh.continued_from(saved).map(Self::Timer)
            }
            _ if std::mem::discriminant(self) == std::mem::discriminant(saved) => {
                Some(saved.clone())
            }
            _ => None,
        }
    }

    /// Returns the number of bounds of a classic histogram.
    fn bounds(&self) -> usize {
        match self {
            Self::Timer(TimerTotal { classic: Some(classic), .. }) => classic.bounds().len(),
            _ => 0,
        }
    }

    fn native(&self) -> Option<&NativeHistogram> {
        match self {
            Self::Timer(total) => total.native.as_deref(),
            Self::Total { .. } | Self::Last(_) => None,
        }
    }

    /// Returns whether negative increments hold the total: the sum is below the shown total.
    pub(super) fn is_held(&self) -> bool {
        match self {
            // A difference in only the last bits is the rounding of the sum.
            Self::Total { sum, shown } => *shown - sum.value() > shown.abs() * 1e-12,
            Self::Last(_) | Self::Timer(_) => false,
        }
    }

    /// Converts the value of a renamed series to the form that its naming requires.
    fn convert(&mut self, naming: &dyn SeriesNaming) {
        if let Self::Total { shown: value, .. } | Self::Last(value) = self {
            *value = naming.shown_value(*value);
        }
    }
}

/// Returns the series of a window that mark a poll.
fn polls<'a>(snapshot: &'a Snapshot, naming: &dyn SeriesNaming) -> Vec<&'a Series> {
    let series = snapshot.points.iter().map(|point| &*point.series);
    series.filter(|series| naming.marks_poll(series)).collect()
}

/// Returns a hash of 128 bits, so that two series do not share a total by chance. It is stored, so it
/// must be the same in every build.
fn hash(series: &Series) -> u128 {
    let mut hasher = Xxh3::new();
    let parts = series.tags().flat_map(|(key, value)| [key, value]);
    for part in std::iter::once(series.name()).chain(parts) {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.update(series.kind().as_str().as_bytes());
    hasher.digest128()
}

/// Maximum size of a line without name and labels, in bytes: braces, quotes, the label of the
/// quantile or bucket, the longest number, and the suffix of the name. A metric in protobuf takes
/// less, and so does a classic bucket there.
const LINE_BYTES: usize = 80;

impl State {
    /// Returns the upper bound of a series' size on the page, in bytes, without native buckets.
    fn size_at_most(&self, series: &Series, shown: &Shown, percentiles: usize) -> u64 {
        let lines = match shown {
            Shown::Timer(_) => {
                // Each family has a sum and a count, a histogram also the bucket +Inf. Lines of a
                // summary count even if there is none: this is only an upper bound.
                let histogram =
                    if self.timers.forms.has_histogram() { 3 + shown.bounds() } else { 0 };
                percentiles + 2 + histogram
            }
            Shown::Total { .. } | Shown::Last(_) => 1,
        };
        let labels: usize = series
            .tags()
            .map(|(key, value)| {
                let is_escaped = |byte: &u8| matches!(byte, b'"' | b'\\' | b'\n');
                let escapes = value.bytes().filter(is_escaped).count();
                key.len() + value.len() + escapes + "=\"\",".len()
            })
            .sum();
        let line = series.name().len() + labels + LINE_BYTES;
        // A page with native histograms exists as text and in protobuf.
        let protobuf =
            if self.timers.forms.has(TimerForm::Native) { 1 + shown.bounds() } else { 0 };
        (lines * line + protobuf * LINE_BYTES.max(line)) as u64
    }

    /// Returns the upper bound of a family's headers, in bytes: its name in both lines, and its origin
    /// with every byte escaped.
    fn header_at_most(&self, origin: &str) -> u64 {
        let families = self.timers.forms.families().len();
        (families * (2 * LINE_BYTES + 4 * origin.len())) as u64
    }
}
