//! The series that one listener knows.

use std::sync::Arc;

use model::Series;

use super::identity::Identity;
use super::registry::{Admitted, Registry};
use super::shapes::{Look, Meaning, Shapes};
use super::spread::Spread;
use super::tally::{Met, Place, Tally};
use crate::protocol::SampleValue;
use crate::protocol::split::Split;

/// The series that a listener knows, with the tally of the open window.
///
/// One thread owns it, so nothing in it is locked. Series stay in it from window to window: a known
/// series costs no allocation.
#[derive(Debug)]
pub struct Table {
    index: Spread<Place>,
    entries: Vec<Option<Entry>>,
    free: Vec<Place>,
    shapes: Shapes,
    tally: Box<Tally>,
    exact_samples: usize,
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    series: Arc<Series>,
}

impl Table {
    /// An empty table; timers keep so many values one by one, and lines seen before may take so
    /// many bytes.
    #[must_use]
    pub fn new(exact_samples: usize, line_cache: usize) -> Self {
        Self {
            index: Spread::default(),
            entries: Vec::new(),
            free: Vec::new(),
            shapes: Shapes::new(line_cache),
            tally: Box::default(),
            exact_samples,
        }
    }

    /// Takes other settings. Lines are forgotten: what one means may have changed.
    pub fn reconfigure(&mut self, exact_samples: usize, line_cache: usize) {
        self.exact_samples = exact_samples;
        self.shapes = Shapes::new(line_cache);
    }

    /// Adds a sample. Asks the registry only for a series that this table has not seen. Returns the
    /// series' place, unless the sample was folded into another series.
    #[inline]
    pub fn record(
        &mut self,
        identity: &Identity<'_>,
        value: &SampleValue<'_>,
        weight: f64,
        arrival_ns: u64,
        registry: &Registry,
    ) -> Option<Place> {
        let (place, is_own) = match self.find(identity) {
            Some(place) => (place, true),
            None => self.meet(identity, registry),
        };
        if !is_own && let SampleValue::Total { added, .. } = value {
            // Of what is folded together nobody keeps a total.
            let added = SampleValue::Counter(*added);
            self.tally.record(place, &added, weight, arrival_ns, self.exact_samples);
            return None;
        }
        self.tally.record(place, value, weight, arrival_ns, self.exact_samples);
        is_own.then_some(place)
    }

    /// Looks up a line's shape, for [`Table::record_known`].
    #[inline]
    pub fn find_shape(&self, look: &mut Look, split: &Split<'_>) {
        if let Some(place) = self.shapes.find(look, split) {
            self.tally.prefetch(place);
        }
    }

    /// Adds the sample of a line whose shape is known; says whether it is.
    #[inline]
    pub fn record_known(&mut self, look: Look, split: &Split<'_>, arrival_ns: u64) -> bool {
        let Some(known) = self.shapes.check(look, split) else { return false };
        let value = match known.meaning {
            Meaning::Counter => SampleValue::Counter(split.number),
            Meaning::Gauge => SampleValue::GaugeSet(split.number),
            Meaning::Timer => SampleValue::Timer(split.number),
            Meaning::Trace => SampleValue::Trace,
        };
        self.tally.record(known.place, &value, known.weight, arrival_ns, self.exact_samples);
        true
    }

    /// The shapes of lines that lead straight to a place.
    pub fn shapes(&mut self) -> &mut Shapes {
        &mut self.shapes
    }

    /// Goes on with an empty tally, one that came back or a new one, and gives away the one that it
    /// had.
    #[must_use]
    pub fn replace_tally(&mut self, mut next: Box<Tally>) -> Box<Tally> {
        debug_assert!(next.is_empty(), "what it holds would count twice");
        self.forget(&next.forgotten);
        next.grow(self.entries.len());
        std::mem::replace(&mut self.tally, next)
    }

    /// The last tally.
    #[must_use]
    pub fn into_tally(self) -> Box<Tally> {
        self.tally
    }

    /// Series that the table remembers.
    #[must_use]
    pub fn series_count(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    fn forget(&mut self, places: &[Place]) {
        if places.is_empty() {
            return;
        }
        for place in places {
            let Some(entry) = self.entries[*place as usize].take() else { continue };
            self.index.remove(entry.hash, |other| other == place);
            self.free.push(*place);
        }
        let entries = &self.entries;
        self.shapes.retain(|place| entries[place as usize].is_some());
    }

    #[inline]
    fn find(&self, identity: &Identity<'_>) -> Option<Place> {
        let is_it = |place: &Place| {
            self.entry(*place)
                .is_some_and(|entry| entry.hash == identity.hash && identity.is_of(&entry.series))
        };
        self.index.find(identity.hash, is_it).copied()
    }

    /// The place of a series that this table has not seen, or of the one into which the registry
    /// folds it; and whether it is the series' own.
    #[cold]
    fn meet(&mut self, identity: &Identity<'_>, registry: &Registry) -> (Place, bool) {
        let Admitted { id, hash, series, folded } = registry.admit(identity);
        if folded {
            // Only the overflow series is remembered, not who was folded into it.
            let known = self.index.find(hash, |place| {
                self.entry(*place)
                    .is_some_and(|entry| entry.hash == hash && *entry.series == *series)
            });
            if let Some(place) = known {
                return (*place, false);
            }
        }
        let place = self.add(Entry { hash, series: Arc::clone(&series) });
        self.tally.met.push(Met { place, id, series });
        (place, !folded)
    }

    fn add(&mut self, entry: Entry) -> Place {
        let hash = entry.hash;
        let place = if let Some(place) = self.free.pop() {
            self.entries[place as usize] = Some(entry);
            place
        } else {
            self.entries.push(Some(entry));
            // A series costs far more than its number: memory ends before 2^32 of them.
            (self.entries.len() - 1) as Place
        };
        self.tally.grow(self.entries.len());
        let Self { index, entries, .. } = self;
        index.insert_unique(hash, place, |place| {
            entries[*place as usize].as_ref().map_or(0, |entry| entry.hash)
        });
        place
    }

    fn entry(&self, place: Place) -> Option<&Entry> {
        self.entries.get(place as usize)?.as_ref()
    }
}
