//! The table of series that one listener knows.

use std::borrow::Cow;
use std::sync::Arc;

use model::{MetricKind, Series, SeriesText, TimerType};

use super::cell::CellSettings;
use super::flagged_hash::FlaggedHash;
use super::identity::{Identifier, Identity, SeriesKey};
use super::incremental_map::IncrementalMap;
use super::mapped_names::MappedNames;
use super::redirects::{DROPPED, Redirect, Redirects};
use super::registry::{Admitted, Registry};
use super::shapes::{KnownLine, NumberMeaning, ShapeLookup, Shapes};
use super::tally::{NewSeries, SeriesSlot, Tally};
use crate::protocol::dispatch::Protocol;
use crate::protocol::split::ShortSplit;
use crate::protocol::statsd::ShortLine;
use crate::protocol::{Rejection, SampleValue, TagText, Tags};
use crate::rules::{Change, RuleVerdict, Rules};

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
    rules: TableRules,
    /// The names that rules change, or whose values they multiply or drop.
    mapped: MappedNames,
    redirects: Redirects,
    /// The latest rejection by a rule.
    rejection: Option<Rejection>,
}

/// The rules for the lines of a table.
#[derive(Clone, Debug)]
pub struct TableRules {
    /// The rules.
    pub rules: Arc<Rules>,
    /// The protocol of all lines.
    pub protocol: Protocol,
    /// Maximum memory for the names that the rules change, in bytes.
    pub cache_bytes: usize,
}

impl TableRules {
    fn none() -> Self {
        Self { rules: Arc::default(), protocol: Protocol::default(), cache_bytes: 0 }
    }
}

/// Number of series and of known lines whose cells and entries together take about half a megabyte.
const SMALL: usize = 8_192;

#[derive(Debug)]
struct TableEntry {
    /// The flag is set if lines with this name and these tags are recorded in the series, and not set if
    /// the rules are not known to leave such lines as they are. As a part of the hash, it costs the lines of
    /// a table without rules nothing.
    hash: FlaggedHash,
    series: Arc<Series>,
}

/// There is one for each series.
const _: () = assert!(size_of::<Option<TableEntry>>() == 16, "an entry has grown");

impl TableEntry {
    fn new(hash: u64, series: &Arc<Series>, is_direct: bool) -> Self {
        Self { hash: FlaggedHash::new(hash, is_direct), series: Arc::clone(series) }
    }

    fn set_direct(&mut self, is_direct: bool) {
        self.hash = FlaggedHash::new(self.hash.hash(), is_direct);
    }
}

/// The place of the values of a line.
#[derive(Clone, Copy, Debug)]
pub struct SeriesPlace {
    /// The slot of the series, or of the overflow series that takes its place. A slot without a cell if
    /// rules multiply the values or drop the line.
    pub slot: SeriesSlot,
    /// Whether the slot belongs to the series itself.
    pub is_requested: bool,
    /// Whether the table knew the series of such a line.
    pub was_known: bool,
    /// Whether a rule rejects the line, which this table did not know:
    /// [`SeriesTable::rejection`] is the reason.
    pub is_rejected: bool,
}

impl SeriesPlace {
    #[inline]
    fn requested(slot: SeriesSlot) -> Self {
        Self { slot, is_requested: true, was_known: false, is_rejected: false }
    }
}

/// The kind of a series, and the type of a timer that is new. The type does not belong to the identity.
#[derive(Clone, Copy, Debug)]
pub struct SeriesKind {
    /// The kind.
    pub kind: MetricKind,
    /// The type with which a timer arrived.
    pub timer_type: TimerType,
}

impl From<MetricKind> for SeriesKind {
    fn from(kind: MetricKind) -> Self {
        Self { kind, timer_type: TimerType::default() }
    }
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
            rules: TableRules::none(),
            mapped: MappedNames::new(0),
            redirects: Redirects::default(),
            rejection: None,
        }
    }

    /// Applies rules to all lines from now on.
    #[must_use]
    pub fn with_rules(mut self, rules: TableRules) -> Self {
        self.set_rules(rules);
        self
    }

    /// Applies other settings. Empties the line cache, because new tags of the agent may have
    /// changed the series of a line.
    pub fn reconfigure(&mut self, cells: CellSettings, line_cache: usize) {
        self.cells = cells;
        self.shapes = Shapes::new(line_cache);
    }

    /// Applies other rules from now on. Must be called after [`SeriesTable::reconfigure`], because the
    /// slots of known lines are no longer valid, and new tags of the agent lead to other series. Samples
    /// that are recorded stay where they are.
    pub fn set_rules(&mut self, rules: TableRules) {
        debug_assert!(self.shapes.is_empty(), "known lines may lead to removed slots");
        self.mapped = MappedNames::new(rules.cache_bytes);
        self.redirects = Redirects::default();
        let is_direct = rules.rules.is_empty();
        self.entries.iter_mut().flatten().for_each(|entry| entry.set_direct(is_direct));
        self.rules = rules;
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
        let is_recorded = self.record_in(place, value, weight, arrival_ns);
        debug_assert!(is_recorded, "no rules apply");
        // Without a slot, the line is not cached: each overflowed sample has to ask the registry,
        // which counts it, and which admits the series once there is room.
        place.is_requested.then_some(place.slot)
    }

    /// Adds a sample to the series that was located for it. Returns whether it was added, and not
    /// dropped by a rule.
    #[inline]
    #[must_use]
    pub fn record_in(
        &mut self,
        place: SeriesPlace,
        value: &SampleValue<'_>,
        weight: f64,
        arrival_ns: u64,
    ) -> bool {
        let SeriesPlace { slot, is_requested, .. } = place;
        if !is_requested && let SampleValue::Total { added, .. } = value {
            // The totals of several series are no total of the overflow series: count increments.
            return self.record_at(slot, &SampleValue::Counter(*added), weight, arrival_ns);
        }
        self.record_at(slot, value, weight, arrival_ns)
    }

    /// Finds or adds a series, to which no rules apply. If it overflows, one sample is counted as
    /// overflowed.
    #[must_use]
    pub fn locate(&mut self, identity: &Identity<'_>, registry: &Registry) -> SeriesPlace {
        match find(&self.index, &self.entries, &identity.key(), FlaggedHash::is_of) {
            Some(slot) => SeriesPlace::requested(slot),
            None => self.insert(identity, registry),
        }
    }

    /// Finds or adds the series of a line with these sorted tags, for its first value;
    /// [`SeriesTable::record_in`] and [`SeriesTable::record_at`] add the values. If the series
    /// overflows, the first value is counted as overflowed. Rules apply to a line that this table does
    /// not know.
    #[must_use]
    pub fn locate_message(
        &mut self,
        identifier: &Identifier,
        (kind, name): (impl Into<SeriesKind>, &str),
        tags: &[impl TagText],
        registry: &Registry,
    ) -> SeriesPlace {
        let SeriesKind { kind, timer_type } = kind.into();
        let Self { index, entries, text, mapped, .. } = self;
        let key = identifier.key_of_message(kind, name, tags, text);
        let known = find(index, entries, &key, FlaggedHash::is_set_and_of);
        let known = known.or_else(|| mapped.find(&key));
        if let Some(slot) = known {
            return SeriesPlace { was_known: true, ..SeriesPlace::requested(slot) };
        }
        let (hash, text) = (key.hash, key.text.to_vec());
        let mut sent = Tags::new();
        sent.extend(tags.iter().map(TagText::to_tag));
        let line = NewLine { hash, kind, timer_type, name, text, tags: sent };
        if self.rules.rules.is_empty() {
            self.insert_line(line, identifier, registry)
        } else {
            self.apply_rules(&line, identifier, registry)
        }
    }

    /// The reason why the latest line with [`SeriesPlace::is_rejected`] is rejected.
    #[must_use]
    pub fn rejection(&self) -> Option<Rejection> {
        self.rejection
    }

    /// Adds the series of a line to which no rules apply.
    fn insert_line<'a>(
        &mut self,
        line: NewLine<'a>,
        identifier: &'a Identifier,
        registry: &Registry,
    ) -> SeriesPlace {
        let NewLine { hash, kind, timer_type, name, text, mut tags } = line;
        identifier.add_agent_tags(&mut tags);
        let text = Cow::Owned(text);
        self.insert(&Identity { hash, kind, timer_type, name, tags: &tags, text }, registry)
    }

    /// Applies the rules to a line, and remembers where it leads.
    #[cold]
    fn apply_rules(
        &mut self,
        line: &NewLine<'_>,
        identifier: &Identifier,
        registry: &Registry,
    ) -> SeriesPlace {
        let rules = Arc::clone(&self.rules.rules);
        match rules.apply(self.rules.protocol, line.kind, line.name).verdict {
            RuleVerdict::Change(change) => self.map(line, &change, identifier, registry),
            RuleVerdict::Reject(rejection) => {
                self.rejection = Some(rejection);
                self.remember(line, DROPPED, registry);
                SeriesPlace { is_rejected: true, ..SeriesPlace::requested(DROPPED) }
            }
        }
    }

    /// Finds or adds the series of a line that rules change.
    fn map(
        &mut self,
        line: &NewLine<'_>,
        change: &Change<'_>,
        identifier: &Identifier,
        registry: &Registry,
    ) -> SeriesPlace {
        let mut tags: Tags<'_> = line.tags.iter().map(TagText::to_tag).collect();
        change.set_tags(&mut tags);
        identifier.add_agent_tags(&mut tags);
        let name = change.name.as_deref().unwrap_or(line.name);
        let identity = identifier.identify(line.kind, name, &tags).with_timer_type(line.timer_type);
        let found = find(&self.index, &self.entries, &identity.key(), FlaggedHash::is_of);
        let place = found.map_or_else(|| self.insert(&identity, registry), SeriesPlace::requested);
        if let Some(expire_after) = change.expire_after
            && place.is_requested
        {
            self.tally.set_expiry(place.slot, expire_after);
        }
        let is_scaled = change.scale != 1.0;
        let slot = match is_scaled {
            true => self.redirects.slot_for(place.slot, change.scale),
            false => place.slot,
        };
        if place.is_requested && !is_scaled && identity.key().is_same(&line.key()) {
            if let Some(Some(entry)) = self.entries.get_mut(slot as usize) {
                entry.set_direct(true);
            }
        } else if place.is_requested {
            // A line that overflows is not remembered, because its series may find room later.
            self.remember(line, slot, registry);
        }
        SeriesPlace { slot, ..place }
    }

    fn remember(&mut self, line: &NewLine<'_>, slot: SeriesSlot, registry: &Registry) {
        let forgotten = self.mapped.insert(&line.key(), slot);
        registry.count_forgotten_names(forgotten);
    }

    /// Adds a sample to a series of this table.
    #[inline(never)]
    #[must_use]
    pub fn record_at(
        &mut self,
        slot: SeriesSlot,
        value: &SampleValue<'_>,
        weight: f64,
        arrival_ns: u64,
    ) -> bool {
        // Most samples are increments.
        if let SampleValue::Counter(count) = value
            && weight == 1.0
            && self.tally.add_count(slot, *count)
        {
            return true;
        }
        self.tally.record(slot, value, weight, arrival_ns, &self.cells)
            || self.record_redirected(slot, value, weight, arrival_ns)
    }

    /// Adds a sample whose slot has no cell. Returns `false` if a rule drops it.
    #[cold]
    #[must_use]
    fn record_redirected(
        &mut self,
        slot: SeriesSlot,
        value: &SampleValue<'_>,
        weight: f64,
        arrival_ns: u64,
    ) -> bool {
        let Some(Redirect { slot, scale }) = self.redirects.get(slot) else { return false };
        self.tally.record(slot, &value.scaled(scale), weight, arrival_ns, &self.cells)
    }

    /// The series of a slot; `None` for the slot of lines that rules drop.
    #[must_use]
    pub fn series(&self, slot: SeriesSlot) -> Option<&Arc<Series>> {
        let slot = self.redirects.get(slot).map_or(slot, |redirect| redirect.slot);
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
    // Always: the result would go through memory.
    #[inline(always)]
    pub fn known_line(&mut self, lookup: ShapeLookup, weight: f64) -> Option<KnownLine> {
        self.shapes.finish_lookup(lookup, weight)
    }

    /// Adds the sample of a short line, if its shape is known. Returns `None` if it is not, and otherwise
    /// the same as [`SeriesTable::record_known`].
    #[inline(always)]
    pub fn record_short(&mut self, line: &ShortSplit<'_>, arrival_ns: u64) -> Option<bool> {
        let (slot, meaning) = self.shapes.find_short(line)?;
        let known = KnownLine { slot, meaning, weight: 1.0 };
        Some(self.record_known(known, line.number, arrival_ns))
    }

    /// Adds the sample of a short line, if its bytes are known. Returns whether it was added, and not
    /// dropped by a rule, and the number of bytes after its number up to the next line.
    #[inline(always)]
    pub fn record_by_bytes(
        &mut self,
        line: &ShortLine<'_>,
        arrival_ns: u64,
    ) -> Option<(bool, usize)> {
        let (known, tail_bytes) = self.shapes.find_by_bytes(line)?;
        let is_recorded = self.tally.add_number(known.slot, line.number, arrival_ns)
            || self.record_unusual(known, line.number, arrival_ns);
        Some((is_recorded, tail_bytes))
    }

    /// Adds the sample of a known line with this number. Returns `false` if a rule drops it.
    #[inline(always)]
    #[must_use]
    pub fn record_known(&mut self, known: KnownLine, number: f64, arrival_ns: u64) -> bool {
        let KnownLine { slot, meaning, weight } = known;
        let is_added = match meaning {
            NumberMeaning::Counter => weight == 1.0 && self.tally.add_count(slot, number),
            NumberMeaning::Gauge => self.tally.set_gauge(slot, number, arrival_ns),
            NumberMeaning::Timer | NumberMeaning::Trace => false,
        };
        is_added || self.record_unusual(known, number, arrival_ns)
    }

    /// The same for a number that changes the form of its cell, is weighted, or belongs to a timer, and
    /// for a slot without a cell.
    #[inline(never)]
    #[must_use]
    fn record_unusual(&mut self, known: KnownLine, number: f64, arrival_ns: u64) -> bool {
        let value = match known.meaning {
            NumberMeaning::Counter => SampleValue::Counter(number),
            NumberMeaning::Gauge => SampleValue::GaugeSet(number),
            NumberMeaning::Timer => SampleValue::Timer(number),
            NumberMeaning::Trace => SampleValue::Trace,
        };
        self.tally.record(known.slot, &value, known.weight, arrival_ns, &self.cells)
            || self.record_redirected(known.slot, &value, known.weight, arrival_ns)
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
            self.index.remove(entry.hash.hash(), |other| other == slot);
            self.free.push(*slot);
        }
        // A shape must not outlive its slot, which the next new series takes.
        let Self { entries, redirects, mapped, shapes, .. } = self;
        let is_live = |slot| matches!(entries.get(slot as usize), Some(Some(_)));
        redirects.retain(is_live);
        let is_valid = |slot| is_live(slot) || slot == DROPPED || redirects.get(slot).is_some();
        mapped.retain(is_valid);
        shapes.retain(is_valid);
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
                    .is_some_and(|entry| entry.hash.is_of(hash) && *entry.series == *series)
            });
            if let Some(slot) = known {
                return SeriesPlace { is_requested: false, ..SeriesPlace::requested(*slot) };
            }
        }
        let is_direct = self.rules.rules.is_empty();
        let slot = self.insert_entry(TableEntry::new(hash, &series, is_direct));
        self.tally.new_series.push(NewSeries { slot, id, series });
        SeriesPlace { is_requested: !overflowed, ..SeriesPlace::requested(slot) }
    }

    fn insert_entry(&mut self, entry: TableEntry) -> SeriesSlot {
        let hash = entry.hash.hash();
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
            entries[*slot as usize].as_ref().map_or(0, |entry| entry.hash.hash())
        });
        slot
    }

    fn entry(&self, slot: SeriesSlot) -> Option<&TableEntry> {
        self.entries.get(slot as usize)?.as_ref()
    }
}

/// A line that a table does not know.
struct NewLine<'a> {
    hash: u64,
    kind: MetricKind,
    timer_type: TimerType,
    name: &'a str,
    /// Name and tags with the agent's as one text.
    text: Vec<u8>,
    /// The tags of the message.
    tags: Tags<'a>,
}

impl NewLine<'_> {
    fn key(&self) -> SeriesKey<'_> {
        SeriesKey { hash: self.hash, kind: self.kind, text: &self.text }
    }
}

/// Finds the series with this key: among those in which lines with the same key are recorded, or among
/// all, as `is_of` says.
#[inline]
fn find(
    index: &IncrementalMap<SeriesSlot>,
    entries: &[Option<TableEntry>],
    key: &SeriesKey<'_>,
    is_of: impl Fn(FlaggedHash, u64) -> bool,
) -> Option<SeriesSlot> {
    let is_it = |slot: &SeriesSlot| {
        let entry = entries.get(*slot as usize).and_then(Option::as_ref);
        entry.is_some_and(|entry| is_of(entry.hash, key.hash) && key.matches(&entry.series))
    };
    index.find(key.hash, is_it).copied()
}

#[cfg(test)]
mod tests;
