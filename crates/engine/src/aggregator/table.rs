//! The table of series that one listener knows.

use std::borrow::Cow;
use std::sync::Arc;

use model::{MetricKind, Series, SeriesText};

use super::cell::CellSettings;
use super::identity::{Identifier, Identity, SeriesKey};
use super::incremental_map::IncrementalMap;
use super::registry::{Admitted, Registry};
use super::shapes::{KnownLine, NumberMeaning, ShapeLookup, Shapes};
use super::tally::{NewSeries, SeriesSlot, Tally};
use crate::protocol::{SampleValue, TagText, Tags};

/// The series that a listener knows, and the tally of the open window.
///
/// One thread owns it, so nothing in it needs a lock. Series stay in it from window to window, so
/// samples of known series need no allocation.
#[derive(Debug)]
pub struct SeriesTable {
    /// The slot of each series, by the hash of its identity.
    index: IncrementalMap<SeriesSlot>,
    /// By slot; `None` where the slot is free.
    entries: Vec<Option<TableEntry>>,
    free: Vec<SeriesSlot>,
    shapes: Shapes,
    tally: Box<Tally>,
    cells: CellSettings,
    /// The text of the latest key, kept for its memory.
    text: SeriesText,
}

/// Number of series and of known lines whose cells and entries together take about half a megabyte.
const SMALL: usize = 8_192;

#[derive(Debug)]
struct TableEntry {
    hash: u64,
    series: Arc<Series>,
}

/// The place of the values of a line.
#[derive(Clone, Copy, Debug)]
pub struct SeriesPlace {
    /// The slot of the series, or of the overflow series that takes its place.
    pub slot: SeriesSlot,
    /// Whether the slot belongs to the series itself.
    pub is_requested: bool,
}

impl SeriesTable {
    /// Creates an empty table, whose line cache takes at most `line_cache` bytes.
    #[must_use]
    pub fn new(cells: CellSettings, line_cache: usize) -> Self {
        Self {
            index: IncrementalMap::default(),
            entries: Vec::new(),
            free: Vec::new(),
            shapes: Shapes::new(line_cache),
            tally: Box::default(),
            cells,
            text: SeriesText::default(),
        }
    }

    /// Applies other settings. Empties the line cache, because new tags of the agent may have
    /// changed the series of a line.
    pub fn reconfigure(&mut self, cells: CellSettings, line_cache: usize) {
        self.cells = cells;
        self.shapes = Shapes::new(line_cache);
    }

    /// Adds a sample. Asks the registry only about a series that is not in this table. Returns the
    /// slot of the series, or `None` if the sample overflowed.
    #[inline]
    pub fn record(
        &mut self,
        identity: &Identity<'_>,
        value: &SampleValue<'_>,
        weight: f64,
        arrival_ns: u64,
        registry: &Registry,
    ) -> Option<SeriesSlot> {
        let place = self.locate(identity, registry);
        self.record_in(place, value, weight, arrival_ns)
    }

    /// Adds a sample to the series that was located for it. Returns the slot of the series, or
    /// `None` if the sample overflowed.
    #[inline]
    pub fn record_in(
        &mut self,
        place: SeriesPlace,
        value: &SampleValue<'_>,
        weight: f64,
        arrival_ns: u64,
    ) -> Option<SeriesSlot> {
        let SeriesPlace { slot, is_requested } = place;
        if !is_requested && let SampleValue::Total { added, .. } = value {
            // The totals of several series are no total of the overflow series: count increments.
            self.record_at(slot, &SampleValue::Counter(*added), weight, arrival_ns);
            return None;
        }
        self.record_at(slot, value, weight, arrival_ns);
        // Without a slot, the line is not cached: each overflowed sample has to ask the registry,
        // which counts it, and which admits the series once there is room.
        is_requested.then_some(slot)
    }

    /// Finds or adds a series. If it overflows, one sample is counted as overflowed.
    #[must_use]
    pub fn locate(&mut self, identity: &Identity<'_>, registry: &Registry) -> SeriesPlace {
        match find(&self.index, &self.entries, &identity.key()) {
            Some(slot) => SeriesPlace { slot, is_requested: true },
            None => self.insert(identity, registry),
        }
    }

    /// Finds or adds the series of a line with these sorted tags, for its first value;
    /// [`SeriesTable::record_in`] and [`SeriesTable::record_at`] add the values. If the series
    /// overflows, the first value is counted as overflowed.
    #[must_use]
    pub fn locate_message(
        &mut self,
        identifier: &Identifier,
        (kind, name): (MetricKind, &str),
        tags: &[impl TagText],
        registry: &Registry,
    ) -> SeriesPlace {
        let Self { index, entries, text, .. } = self;
        let key = identifier.key_of_message(kind, name, tags, text);
        if let Some(slot) = find(index, entries, &key) {
            return SeriesPlace { slot, is_requested: true };
        }
        let (hash, text) = (key.hash, Cow::Owned(key.text.to_vec()));
        let mut effective = Tags::new();
        effective.extend(tags.iter().map(TagText::to_tag));
        identifier.add_agent_tags(&mut effective);
        let identity = Identity { hash, kind, name, tags: &effective, text };
        self.insert(&identity, registry)
    }

    /// Adds a sample to a series of this table.
    // Not inlined, so that its callers do not keep the compiler from inlining the same code into
    // `record_known`, through which most samples go.
    #[inline(never)]
    pub fn record_at(
        &mut self,
        slot: SeriesSlot,
        value: &SampleValue<'_>,
        weight: f64,
        arrival_ns: u64,
    ) {
        self.tally.record(slot, value, weight, arrival_ns, &self.cells);
    }

    /// The series of a slot, which must be taken.
    #[must_use]
    pub fn series(&self, slot: SeriesSlot) -> Option<&Arc<Series>> {
        self.entry(slot).map(|entry| &entry.series)
    }

    /// Must be called before [`SeriesTable::find_shape`] for the first of several lines.
    #[inline]
    pub fn start_finding(&mut self) {
        self.shapes.start_finding();
    }

    /// Looks for a line's shape, and prefetches the cell that
    /// [`SeriesTable::record_known`] will need.
    #[inline]
    pub fn find_shape(&mut self, lookup: &mut ShapeLookup) {
        if let Some(slot) = self.shapes.find_candidate(lookup) {
            self.tally.prefetch(slot);
        }
    }

    /// Returns the properties of a line with this weight if its shape is known.
    #[inline]
    pub fn known_line(&mut self, lookup: ShapeLookup, weight: f64) -> Option<KnownLine> {
        self.shapes.finish_lookup(lookup, weight)
    }

    /// Adds the sample of a known line with this number.
    #[inline]
    pub fn record_known(&mut self, known: KnownLine, number: f64, arrival_ns: u64) {
        let value = match known.meaning {
            NumberMeaning::Counter => SampleValue::Counter(number),
            NumberMeaning::Gauge => SampleValue::GaugeSet(number),
            NumberMeaning::Timer => SampleValue::Timer(number),
            NumberMeaning::Trace => SampleValue::Trace,
        };
        self.tally.record(known.slot, &value, known.weight, arrival_ns, &self.cells);
    }

    /// Whether the line cache has room for any line.
    #[inline]
    #[must_use]
    pub fn has_line_cache(&self) -> bool {
        self.shapes.is_enabled()
    }

    /// Whether the known lines and the tally are so small that the processor's cache holds them.
    #[inline]
    #[must_use]
    pub fn is_small(&self) -> bool {
        self.shapes.len() <= SMALL && self.entries.len() <= SMALL
    }

    /// The line cache.
    pub fn shapes(&mut self) -> &mut Shapes {
        &mut self.shapes
    }

    /// Continues with an empty tally, either a returned or a new one, and returns the filled one.
    #[must_use]
    pub fn replace_tally(&mut self, mut next: Box<Tally>) -> Box<Tally> {
        debug_assert!(next.is_empty(), "its samples would count twice");
        // Only now, when `next` has no samples yet, can slots be freed. The list stays in `next`,
        // which thereby confirms the removals to the aggregator.
        self.remove_expired(&next.expired);
        next.grow(self.entries.len());
        std::mem::replace(&mut self.tally, next)
    }

    /// Returns the last tally.
    #[must_use]
    pub fn into_tally(self) -> Box<Tally> {
        self.tally
    }

    /// The number of series in the table.
    #[must_use]
    pub fn series_count(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    fn remove_expired(&mut self, slots: &[SeriesSlot]) {
        if slots.is_empty() {
            return;
        }
        for slot in slots {
            let Some(entry) = self.entries[*slot as usize].take() else { continue };
            self.index.remove(entry.hash, |other| other == slot);
            self.free.push(*slot);
        }
        // A shape must not outlive its slot, which the next new series takes.
        let entries = &self.entries;
        self.shapes.retain(|slot| entries[slot as usize].is_some());
    }

    /// Adds a series, or the overflow series that the registry returns instead.
    #[cold]
    fn insert(&mut self, identity: &Identity<'_>, registry: &Registry) -> SeriesPlace {
        let Admitted { id, hash, series, overflowed } = registry.admit(identity);
        if overflowed {
            // The table keeps the overflow series, not the series that overflow: their number has
            // no limit.
            let known = self.index.find(hash, |slot| {
                self.entry(*slot)
                    .is_some_and(|entry| entry.hash == hash && *entry.series == *series)
            });
            if let Some(slot) = known {
                return SeriesPlace { slot: *slot, is_requested: false };
            }
        }
        let slot = self.insert_entry(TableEntry { hash, series: Arc::clone(&series) });
        self.tally.new_series.push(NewSeries { slot, id, series });
        SeriesPlace { slot, is_requested: !overflowed }
    }

    fn insert_entry(&mut self, entry: TableEntry) -> SeriesSlot {
        let hash = entry.hash;
        let slot = if let Some(slot) = self.free.pop() {
            self.entries[slot as usize] = Some(entry);
            slot
        } else {
            self.entries.push(Some(entry));
            // No truncation: memory would run out long before 2^32 series.
            (self.entries.len() - 1) as SeriesSlot
        };
        // Here, so that `record`, which runs for each sample, never has to grow the tally.
        self.tally.grow(self.entries.len());
        let Self { index, entries, .. } = self;
        // The hash is stored with the entry, so that growing reads no names and tags.
        index.insert_unique(hash, slot, |slot| {
            entries[*slot as usize].as_ref().map_or(0, |entry| entry.hash)
        });
        slot
    }

    fn entry(&self, slot: SeriesSlot) -> Option<&TableEntry> {
        self.entries.get(slot as usize)?.as_ref()
    }
}

#[inline]
fn find(
    index: &IncrementalMap<SeriesSlot>,
    entries: &[Option<TableEntry>],
    key: &SeriesKey<'_>,
) -> Option<SeriesSlot> {
    let is_it = |slot: &SeriesSlot| {
        let entry = entries.get(*slot as usize).and_then(Option::as_ref);
        entry.is_some_and(|entry| entry.hash == key.hash && key.matches(&entry.series))
    };
    index.find(key.hash, is_it).copied()
}

#[cfg(test)]
mod tests;
