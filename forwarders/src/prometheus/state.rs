//! What the windows add up to: totals, last values, and which series there are.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use foldhash::quality::{FixedState, RandomState};
use hashbrown::HashMap;
use smallvec::SmallVec;

use super::names::{self, FamilyName, page_series, renamed_series};
use model::{
    MetricKind, OwnTags, Point, Series, SeriesNaming, SeriesPlacement, Snapshot, Sum, Value,
};

/// Everything that Prometheus may see, from the first window on. Without clock and socket: only
/// [`State::apply`] changes it.
pub(super) struct State {
    limits: Limits,
    /// Provides other names for series of the pipeline; `None` where all keep tallyd's.
    naming: Option<Arc<dyn SeriesNaming>>,
    /// The series of the pipeline that were seen lately, and where they are shown. Several may be
    /// shown as one.
    sources: HashMap<Arc<Series>, Source, RandomState>,
    slots: Vec<Option<Slot>>,
    free: Vec<SlotId>,
    /// By series, and whether a naming gave it its name.
    slot_of: HashMap<(Arc<Series>, bool), SlotId, RandomState>,
    families: HashMap<FamilyKey, Family, RandomState>,
    /// The families in the order of the page, and their names.
    order: Vec<(FamilyKey, FamilyName)>,
    order_is_stale: bool,
    /// Bytes of text that the series on the page have at most.
    bytes: u64,
    departed: Departed,
    /// Series that left the page with the latest window, for who has to tell of it.
    left: Vec<(FamilyName, Slot)>,
    /// Where the points of the latest window are, in their order.
    places: Vec<Place>,
    /// Number of the latest window.
    window: u64,
}

/// Where a point is shown.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// At a series that no point before it is shown at.
    First(SlotId),
    /// At a series that has a point of this window already.
    Merged,
    /// Nowhere, because the naming hides it.
    Hidden,
    /// Nowhere: there was no room.
    Nowhere,
}

/// A point of the latest window, as it is shown.
pub(super) enum Placed<'a> {
    /// As this series.
    First(&'a FamilyName, &'a Slot),
    /// As part of a series that came before, or it is not to be shown.
    Merged,
    /// There was no room.
    Nowhere,
}

/// What the state may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// A series without samples for this long is forgotten.
    pub(super) expire_after: Duration,
    /// Most series of the pipeline.
    pub(super) series_max: usize,
    /// Most bytes of the page.
    pub(super) bytes_max: u64,
    /// Most series that left whose totals are remembered.
    pub(super) departed_max: usize,
}

type SlotId = u32;

/// Name and kind, before it is settled which name is shown.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct FamilyKey {
    base: Arc<str>,
    kind: MetricKind,
    is_renamed: bool,
}

/// A series that is to be on the page.
struct Wanted {
    series: Arc<Series>,
    family: FamilyKey,
    /// The description of the family, if a naming gave it its name.
    help: Option<Box<str>>,
    own_tags: Option<OwnTags>,
}

#[derive(Debug, Default)]
struct Family {
    /// In the order of their labels, unless `is_stale`.
    slots: Vec<SlotId>,
    is_stale: bool,
    /// The first, in the order of names, of the metrics that are shown as this one; or the description
    /// that a naming gave it.
    origin: String,
    bytes: u64,
}

#[derive(Debug)]
struct Source {
    slot: SlotId,
    last_window: u64,
    /// `Some` for a renamed series, which leaves with the first poll that does not have it.
    own_tags: Option<OwnTags>,
}

/// A series on the page.
#[derive(Debug)]
pub(super) struct Slot {
    /// The kind of its values, its name and labels.
    pub(super) series: Arc<Series>,
    /// What it shows.
    pub(super) shown: Shown,
    family: FamilyKey,
    sources: u32,
    /// Whether it has ever had more than one source.
    is_shared: bool,
    last_window: u64,
    /// Its place in the snapshot of `last_window`.
    point: u32,
    bytes: u64,
}

/// What a series shows.
#[derive(Clone, Debug)]
pub(super) enum Shown {
    /// Of a counter or trace.
    Total {
        /// Sum of all windows.
        sum: Sum,
        /// The largest that it has been, for a total that falls would be taken for a restart; or the
        /// total of whoever keeps one, whose restart it is.
        shown: f64,
    },
    /// The value of a gauge, the size of a set, in its latest window.
    Last(f64),
    /// Of a timer.
    Summary {
        /// Samples of all windows, weighted by 1/sample rate.
        count: Sum,
        /// Sum of all windows' values.
        sum: Sum,
        /// The percentiles of its latest window.
        percentiles: SmallVec<[f64; 4]>,
    },
}

/// What became of the points of a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Applied {
    /// They are on the page.
    pub(super) shown: u64,
    /// There was no room.
    pub(super) refused: u64,
}

impl State {
    pub(super) fn new(limits: Limits, naming: Option<Arc<dyn SeriesNaming>>) -> Self {
        Self {
            limits,
            naming,
            sources: HashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            slot_of: HashMap::default(),
            families: HashMap::default(),
            order: Vec::new(),
            order_is_stale: false,
            bytes: 0,
            departed: Departed::new(limits.departed_max),
            left: Vec::new(),
            places: Vec::new(),
            window: 0,
        }
    }

    /// Adds a window, and forgets what has been idle for too long.
    pub(super) fn apply(&mut self, snapshot: &Snapshot) -> Applied {
        self.window += 1;
        self.left.clear();
        self.places.clear();
        let mut applied = Applied::default();
        let mut touched = Vec::with_capacity(snapshot.points.len());
        let mut merged: HashMap<SlotId, Value, RandomState> = HashMap::default();
        for (index, point) in snapshot.points.iter().enumerate() {
            let id = match self.slot(point, snapshot) {
                Ok(id) => id,
                Err(place) => {
                    let is_refused = matches!(place, Place::Nowhere);
                    applied.refused += u64::from(is_refused);
                    applied.shown += u64::from(!is_refused);
                    self.places.push(place);
                    continue;
                }
            };
            applied.shown += 1;
            let Some(slot) = &mut self.slots[id as usize] else { continue };
            if slot.last_window == self.window {
                let first = &snapshot.points[slot.point as usize].value;
                let value = merged.entry(id).or_insert_with(|| first.clone());
                value.merge(point.value.clone(), snapshot);
                self.places.push(Place::Merged);
            } else {
                (slot.last_window, slot.point) = (self.window, index as u32);
                self.places.push(Place::First(id));
                touched.push(id);
            }
        }
        for id in touched {
            let Some(slot) = &mut self.slots[id as usize] else { continue };
            let alone = &snapshot.points[slot.point as usize].value;
            slot.shown.add(merged.get(&id).unwrap_or(alone), slot.is_shared);
            if let Some(naming) = self.naming.as_deref().filter(|_| slot.family.is_renamed) {
                slot.shown.convert(naming);
            }
        }
        let polls = self.naming.as_deref().map_or(vec![], |naming| polls(snapshot, naming));
        self.expire(windows_in(self.limits.expire_after, snapshot.window.interval), &polls);
        self.put_in_order();
        applied
    }

    /// Whether series may be renamed.
    pub(super) fn has_naming(&self) -> bool {
        self.naming.is_some()
    }

    /// How many series of the pipeline are shown.
    #[cfg(test)]
    pub(super) fn source_count(&self) -> usize {
        self.sources.len()
    }

    /// Bytes that the page has at most.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The families in order, each with the metric that it shows and its series.
    pub(super) fn families(
        &self,
    ) -> impl Iterator<Item = (&FamilyName, MetricKind, &str, impl Iterator<Item = &Slot>)> {
        self.order.iter().filter_map(|(key, name)| {
            let family = self.families.get(key)?;
            let slots = family.slots.iter().filter_map(|id| self.slots[*id as usize].as_ref());
            Some((name, key.kind, family.origin.as_str(), slots))
        })
    }

    /// The series that left with the latest window, under the names that they had.
    pub(super) fn left(&self) -> &[(FamilyName, Slot)] {
        &self.left
    }

    /// The points of the latest window, in their order.
    pub(super) fn placed(&self) -> impl Iterator<Item = Placed<'_>> {
        let mut names = vec![None; self.slots.len()];
        for (key, name) in &self.order {
            for id in self.families.get(key).into_iter().flat_map(|family| &family.slots) {
                names[*id as usize] = Some(name);
            }
        }
        self.places.iter().map(move |place| match *place {
            Place::First(id) => match (names[id as usize], &self.slots[id as usize]) {
                (Some(name), Some(slot)) => Placed::First(name, slot),
                // It was touched in this window, so it is live.
                _ => Placed::Nowhere,
            },
            Place::Merged | Place::Hidden => Placed::Merged,
            Place::Nowhere => Placed::Nowhere,
        })
    }

    /// The series that had no point in the latest window.
    pub(super) fn idle(&self) -> impl Iterator<Item = (&FamilyName, &Slot)> {
        self.families()
            .flat_map(|(name, _, _, slots)| slots.map(move |slot| (name, slot)))
            .filter(|(_, slot)| slot.last_window != self.window)
    }

    /// Where a point's series is shown, or why it is not.
    fn slot(&mut self, point: &Point, snapshot: &Snapshot) -> Result<SlotId, Place> {
        if let Some(source) = self.sources.get_mut(&point.series) {
            source.last_window = self.window;
            return Ok(source.slot);
        }
        let wanted = self.wanted(&point.series).ok_or(Place::Hidden)?;
        if self.sources.len() >= self.limits.series_max {
            return Err(Place::Nowhere);
        }
        let (family, own_tags) = (wanted.family.clone(), wanted.own_tags);
        let origin: Box<str> = wanted.help.clone().unwrap_or_else(|| point.series.name().into());
        let id = match self.slot_of.get(&(Arc::clone(&wanted.series), family.is_renamed)) {
            Some(id) => *id,
            None => self.admit(wanted, &origin, snapshot).ok_or(Place::Nowhere)?,
        };
        let slot = self.slots[id as usize].as_mut().ok_or(Place::Nowhere)?;
        slot.sources += 1;
        slot.is_shared |= slot.sources > 1;
        self.note_origin(&family, &origin);
        let source = Source { slot: id, last_window: self.window, own_tags };
        self.sources.insert(Arc::clone(&point.series), source);
        Ok(id)
    }

    /// The series on the page for a series of the pipeline; `None` if the naming hides it.
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
                (page_series(series), series.kind(), None, None)
            }
        };
        let family = FamilyKey { base: series.name().into(), kind, is_renamed: help.is_some() };
        Some(Wanted { series: Arc::new(series), family, help, own_tags })
    }

    /// A series that is not on the page yet; `origin` is what its family says of itself.
    fn admit(&mut self, wanted: Wanted, origin: &str, snapshot: &Snapshot) -> Option<SlotId> {
        let Wanted { series, family: key, .. } = wanted;
        // The family's own, so that its name is there once for all its series.
        let known = self.families.get_key_value(&key).map(|(key, _)| key.clone());
        let is_new = known.is_none();
        let key = known.unwrap_or(key);
        let bytes = lines_at_most(&series, snapshot.percentiles.len());
        let family_bytes = if is_new { header_at_most(origin) } else { 0 };
        if self.bytes + bytes + family_bytes > self.limits.bytes_max {
            return None;
        }
        self.bytes += bytes + family_bytes;
        let shown = self.departed.take(&series).unwrap_or_else(|| Shown::none(series.kind()));
        let slot = Slot {
            series: Arc::clone(&series),
            shown,
            family: key.clone(),
            sources: 0,
            is_shared: false,
            last_window: 0,
            point: 0,
            bytes,
        };
        let id = self.free.pop().unwrap_or(self.slots.len() as SlotId);
        if id as usize == self.slots.len() {
            self.slots.push(None);
        }
        self.slots[id as usize] = Some(slot);
        self.slot_of.insert((series, key.is_renamed), id);
        self.order_is_stale |= is_new;
        let family = self.families.entry(key).or_default();
        family.slots.push(id);
        family.bytes += family_bytes;
        family.is_stale = true;
        Some(id)
    }

    fn note_origin(&mut self, key: &FamilyKey, name: &str) {
        if let Some(family) = self.families.get_mut(key)
            && (family.origin.is_empty() || name < family.origin.as_str())
        {
            name.clone_into(&mut family.origin);
        }
    }

    fn expire(&mut self, windows: u64, polls: &[&Series]) {
        let mut idle = Vec::new();
        self.sources.retain(|series, source| {
            let is_late = source.last_window < self.window
                && source
                    .own_tags
                    .is_some_and(|own| polls.iter().any(|poll| own.is_same_source(series, poll)));
            let is_idle = is_late || source.last_window + windows <= self.window;
            if is_idle {
                idle.push(source.slot);
            }
            !is_idle
        });
        let mut gone = Vec::new();
        for id in idle {
            let Some(slot) = &mut self.slots[id as usize] else { continue };
            slot.sources -= 1;
            if slot.sources == 0 {
                gone.extend(self.slots[id as usize].take().map(|slot| (id, slot)));
            }
        }
        if !gone.is_empty() {
            self.take_leave(gone);
        }
    }

    fn take_leave(&mut self, gone: Vec<(SlotId, Slot)>) {
        // Names as of the last window: a series ends under the name that it had.
        let named: HashMap<&FamilyKey, &FamilyName, RandomState> =
            self.order.iter().map(|(key, name)| (key, name)).collect();
        let mut keys = Vec::new();
        for (id, slot) in gone {
            self.slot_of.remove(&(Arc::clone(&slot.series), slot.family.is_renamed));
            self.free.push(id);
            self.bytes -= slot.bytes;
            self.departed.remember(&slot);
            let key = slot.family.clone();
            if let Some(name) = named.get(&key) {
                self.left.push(((*name).clone(), slot));
            }
            keys.push(key);
        }
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
            let names = names::assign(&families);
            self.order = keys.into_iter().zip(names).collect();
        }
    }
}

impl FamilyKey {
    fn family(&self) -> names::Family<'_> {
        names::Family { base: &self.base, kind: self.kind, is_renamed: self.is_renamed }
    }
}

impl Shown {
    fn none(kind: MetricKind) -> Self {
        match kind {
            MetricKind::Counter | MetricKind::Trace => {
                Self::Total { sum: Sum::default(), shown: 0.0 }
            }
            MetricKind::Gauge | MetricKind::Set => Self::Last(0.0),
            MetricKind::Timer => Self::Summary {
                count: Sum::default(),
                sum: Sum::default(),
                percentiles: SmallVec::new(),
            },
        }
    }

    /// Adds what the series was in one window. A total is shown as it is where its series is shown
    /// alone; with another's it is not what is shown, be the other there in this window or not.
    fn add(&mut self, value: &Value, is_shared: bool) {
        match (self, value) {
            (Self::Total { sum, shown }, Value::Total(total)) if !is_shared => {
                *sum = Sum::of(total.total);
                *shown = total.total;
            }
            (Self::Total { sum, shown }, Value::Total(total)) => {
                sum.merge(total.added);
                *shown = shown.max(sum.value());
            }
            (Self::Total { sum, shown }, Value::Counter(window) | Value::Trace(window)) => {
                sum.merge(*window);
                *shown = shown.max(sum.value());
            }
            (Self::Last(shown), Value::Gauge { value, .. }) => *shown = *value,
            (Self::Last(shown), Value::Set(set)) => *shown = set.count,
            (Self::Summary { count, sum, percentiles }, Value::Timer(timer)) => {
                count.add(timer.summary.count);
                sum.add(timer.summary.sum);
                percentiles.clone_from(&timer.summary.percentiles);
            }
            (shown, value) => debug_assert!(false, "{value:?} for {shown:?}"),
        }
    }

    /// Converts the value of a renamed series to the form that its naming demands.
    fn convert(&mut self, naming: &dyn SeriesNaming) {
        if let Self::Total { shown: value, .. } | Self::Last(value) = self {
            *value = naming.shown_value(*value);
        }
    }
}

/// The series of a window that mark polls.
fn polls<'a>(snapshot: &'a Snapshot, naming: &dyn SeriesNaming) -> Vec<&'a Series> {
    let series = snapshot.points.iter().map(|point| &*point.series);
    series.filter(|series| naming.marks_poll(series)).collect()
}

/// The totals of series that left, so that one that comes back goes on where it was: Prometheus
/// would take a smaller total for a restart, and miss some of a larger one. Known by their hash,
/// because their text is what may cost much.
struct Departed {
    max: usize,
    totals: HashMap<u128, (u64, Shown), RandomState>,
    /// In the order in which they left; those that came back may still be in it.
    order: VecDeque<(u64, u128)>,
    number: u64,
}

impl Departed {
    fn new(max: usize) -> Self {
        Self { max, totals: HashMap::default(), order: VecDeque::new(), number: 0 }
    }

    fn remember(&mut self, slot: &Slot) {
        if self.max == 0 || matches!(slot.shown, Shown::Last(_)) {
            return;
        }
        let mut shown = slot.shown.clone();
        if let Shown::Summary { percentiles, .. } = &mut shown {
            percentiles.clear();
        }
        self.number += 1;
        let hash = hash(&slot.series);
        self.totals.insert(hash, (self.number, shown));
        self.order.push_back((self.number, hash));
        while self.totals.len() > self.max || self.order.len() > 2 * self.max {
            let Some((number, hash)) = self.order.pop_front() else { return };
            if self.totals.get(&hash).is_some_and(|(current, _)| *current == number) {
                self.totals.remove(&hash);
            }
        }
    }

    fn take(&mut self, series: &Series) -> Option<Shown> {
        if self.totals.is_empty() {
            return None;
        }
        self.totals.remove(&hash(series)).map(|(_, shown)| shown)
    }
}

/// 128 bits, so that two series do not share one by chance.
fn hash(series: &Series) -> u128 {
    let half = |seed| u128::from(FixedState::with_seed(seed).hash_one(series));
    half(1) << 64 | half(2)
}

/// Braces, quotes, a label for the quantile, the longest number, what is added to a name.
const LINE_BYTES: usize = 80;

/// What a series costs on the page at most.
fn lines_at_most(series: &Series, percentiles: usize) -> u64 {
    let lines = if series.kind() == MetricKind::Timer { percentiles + 2 } else { 1 };
    let labels: usize = series
        .tags()
        .map(|(key, value)| {
            let escapes = value.bytes().filter(|byte| matches!(byte, b'"' | b'\\' | b'\n')).count();
            key.len() + value.len() + escapes + "=\"\",".len()
        })
        .sum();
    (lines * (series.name().len() + labels + LINE_BYTES)) as u64
}

/// What the lines before the series of a family cost at most: its name in both, and its origin with
/// every byte escaped.
fn header_at_most(origin: &str) -> u64 {
    (2 * LINE_BYTES + 4 * origin.len()) as u64
}

fn windows_in(span: Duration, interval: Duration) -> u64 {
    (span.as_nanos().div_ceil(interval.as_nanos().max(1)) as u64).max(1)
}
