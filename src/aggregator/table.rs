//! The samples of one listener in the open window.

use std::sync::Arc;

use forwarders::model::Series;
use hashbrown::HashTable;

use super::cell::Cell;
use super::identity::Identity;
use super::registry::{Admitted, Registry, SeriesId};
use super::shapes::{Meaning, Shapes};
use crate::protocol::SampleValue;
use crate::protocol::split::Split;

/// The series that a listener knows, each with what it gathered in the open window.
///
/// One thread at a time owns it, so nothing in it is locked. Series stay in it from window to
/// window: a known series costs no allocation.
#[derive(Debug)]
pub struct Table {
    index: HashTable<u32>,
    slots: Vec<Slot>,
    /// The slots with samples in this window, so that idle series cost a flush nothing.
    touched: Vec<u32>,
    exact_samples: usize,
    shapes: Shapes,
    /// Number of the window in which it was last rid of forgotten series.
    pub(super) cleaned: u64,
}

#[derive(Debug)]
struct Slot {
    hash: u64,
    id: SeriesId,
    series: Arc<Series>,
    cell: Cell,
}

/// A series with what it gathered, as [`Table::drain`] hands it over.
#[derive(Debug)]
pub struct Drained<'a> {
    /// The number by which the store knows it; to be corrected if it does not any more.
    pub id: &'a mut SeriesId,
    /// The hash of its identity.
    pub hash: u64,
    /// The series itself; to be corrected together with the number.
    pub series: &'a mut Arc<Series>,
    /// What it gathered.
    pub cell: Cell,
}

impl Table {
    /// An empty table; timers keep so many values one by one.
    #[must_use]
    pub fn new(exact_samples: usize) -> Self {
        Self {
            index: HashTable::new(),
            slots: Vec::new(),
            touched: Vec::new(),
            exact_samples,
            shapes: Shapes::new(),
            cleaned: 0,
        }
    }

    /// Adds a sample. Asks the registry only for a series that this table has not seen. Returns the
    /// series' slot, unless the sample was folded into another series.
    #[inline]
    pub fn record(
        &mut self,
        identity: &Identity<'_>,
        value: &SampleValue<'_>,
        weight: f64,
        arrival_ns: u64,
        registry: &Registry,
    ) -> Option<u32> {
        let (place, is_own) = match self.find(identity) {
            Some(place) => (place, true),
            None => self.meet(identity, registry),
        };
        self.record_at(place, value, weight, arrival_ns);
        is_own.then_some(place)
    }

    /// Adds the sample of a line whose shape is known; says whether it is.
    #[inline]
    pub fn record_known(&mut self, split: &Split<'_>, arrival_ns: u64) -> bool {
        let Some(known) = self.shapes.find(split) else { return false };
        let value = match known.meaning {
            Meaning::Counter => SampleValue::Counter(split.number),
            Meaning::Gauge => SampleValue::GaugeSet(split.number),
            Meaning::Timer => SampleValue::Timer(split.number),
            Meaning::Trace => SampleValue::Trace,
        };
        self.record_at(known.place, &value, known.weight, arrival_ns);
        true
    }

    /// The shapes of lines that lead straight to a slot.
    pub fn shapes(&mut self) -> &mut Shapes {
        &mut self.shapes
    }

    #[inline]
    fn record_at(&mut self, place: u32, value: &SampleValue<'_>, weight: f64, arrival_ns: u64) {
        let slot = &mut self.slots[place as usize];
        if matches!(slot.cell, Cell::Empty) {
            self.touched.push(place);
        }
        slot.cell.record(value, weight, arrival_ns, self.exact_samples);
    }

    /// Hands over what every series gathered and leaves the series for the next window.
    pub fn drain(&mut self, mut each: impl FnMut(Drained<'_>)) {
        for place in self.touched.drain(..) {
            let slot = &mut self.slots[place as usize];
            let cell = std::mem::take(&mut slot.cell);
            each(Drained { id: &mut slot.id, hash: slot.hash, series: &mut slot.series, cell });
        }
    }

    /// Forgets the series of a drained table that `is_live` does not know any more.
    pub fn retain(&mut self, is_live: impl Fn(SeriesId, &Arc<Series>) -> bool) {
        debug_assert!(self.touched.is_empty(), "only a drained table may forget series");
        self.shapes.clear();
        self.slots.retain(|slot| is_live(slot.id, &slot.series));
        self.slots.shrink_to(self.slots.len() * 2);
        self.index.clear();
        self.index.shrink_to(self.slots.len() * 2, |_| 0);
        for place in 0..self.slots.len() {
            self.index_slot(place as u32);
        }
    }

    /// Series that the table remembers.
    #[must_use]
    pub fn series_count(&self) -> usize {
        self.slots.len()
    }

    #[inline]
    fn find(&self, identity: &Identity<'_>) -> Option<u32> {
        self.index
            .find(identity.hash, |place| {
                let slot = &self.slots[*place as usize];
                slot.hash == identity.hash && identity.is_of(&slot.series)
            })
            .copied()
    }

    /// The slot of a series that this table has not seen, or of the one into which the registry
    /// folds it; and whether it is the series' own.
    #[cold]
    fn meet(&mut self, identity: &Identity<'_>, registry: &Registry) -> (u32, bool) {
        let Admitted { id, hash, series, folded } = registry.admit(identity);
        if folded {
            // Only the overflow series is remembered, not who was folded into it.
            let known = self.index.find(hash, |place| {
                let slot = &self.slots[*place as usize];
                slot.hash == hash && *slot.series == *series
            });
            if let Some(place) = known {
                return (*place, false);
            }
        }
        let place = self.slots.len() as u32;
        self.slots.push(Slot { hash, id, series, cell: Cell::Empty });
        self.index_slot(place);
        (place, !folded)
    }

    fn index_slot(&mut self, place: u32) {
        let Self { index, slots, .. } = self;
        let hash = slots[place as usize].hash;
        index.insert_unique(hash, place, |place| slots[*place as usize].hash);
    }
}
