//! The samples that one listener gathered in the open window.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use model::Series;

use super::cell::{Cell, CellSettings};
use super::registry::SeriesId;
use crate::protocol::SampleValue;

/// The index of a series within one listener: of the entry in its table, and of the cell in each of
/// its tallies.
pub type SeriesSlot = u32;

/// The cells of a listener's series in one window.
///
/// It goes to the aggregator at the end of the window and comes back empty. The series themselves
/// stay with the listener; changes to them travel with the tally, in both directions.
#[derive(Debug, Default)]
pub struct Tally {
    cells: Vec<Cell>,
    /// The cells with samples, so that idle series cost a flush nothing.
    touched: Vec<SeriesSlot>,
    /// The series that the listener added to its table in this window.
    pub(super) new_series: Vec<NewSeries>,
    /// On the way back: slots whose series have expired. The listener frees them before it uses the
    /// tally again; at the next handover, the list confirms that to the aggregator.
    pub(super) expired: Vec<SeriesSlot>,
    /// The series for which rules set a time of expiry in this window, and the longest time.
    pub(super) expiries: HashMap<SeriesSlot, Duration>,
}

/// A series that was added to a listener's table.
#[derive(Debug)]
pub struct NewSeries {
    /// Its slot, which may have belonged to another series before.
    pub slot: SeriesSlot,
    /// Its number in the store.
    pub id: SeriesId,
    /// The series itself.
    pub series: Arc<Series>,
}

impl Tally {
    /// Grows to this many slots.
    pub fn grow(&mut self, slots: usize) {
        if self.cells.len() < slots {
            self.cells.resize_with(slots, Cell::default);
        }
    }

    /// Adds a sample, if the slot has a cell: see [`Tally::grow`]. Returns whether it has.
    #[inline]
    #[must_use]
    pub fn record(
        &mut self,
        slot: SeriesSlot,
        value: &SampleValue<'_>,
        weight: f64,
        arrival_ns: u64,
        settings: &CellSettings,
    ) -> bool {
        let Some(cell) = self.cells.get_mut(slot as usize) else { return false };
        // A cell is empty only until its first sample, so each slot is listed once.
        if matches!(cell, Cell::Empty) {
            self.touched.push(slot);
        }
        cell.record(value, weight, arrival_ns, settings);
        true
    }

    /// Sets the time after which the series in a slot expires, unless a longer one is set.
    pub(super) fn set_expiry(&mut self, slot: SeriesSlot, after: Duration) {
        let longest = self.expiries.entry(slot).or_insert(after);
        *longest = (*longest).max(after);
    }

    /// Adds an increment to a counter. False if it has no cell or no sample yet, or is no plain counter.
    #[inline]
    pub fn add_count(&mut self, slot: SeriesSlot, count: f64) -> bool {
        self.cells.get_mut(slot as usize).is_some_and(|cell| cell.add_count(count))
    }

    /// Sets a gauge. False if it has no cell or no sample yet, or was changed by deltas.
    #[inline]
    pub fn set_gauge(&mut self, slot: SeriesSlot, value: f64, arrival_ns: u64) -> bool {
        self.cells.get_mut(slot as usize).is_some_and(|cell| cell.set_gauge(value, arrival_ns))
    }

    /// Adds a sample of weight 1 with this number. False if its slot has no cell, or the cell would need
    /// another form, or has no sample yet.
    #[inline]
    pub fn add_number(&mut self, slot: SeriesSlot, number: f64, arrival_ns: u64) -> bool {
        self.cells.get_mut(slot as usize).is_some_and(|cell| cell.add_number(number, arrival_ns))
    }

    /// Prefetches the cell of a slot.
    #[inline]
    pub fn prefetch(&self, slot: SeriesSlot) {
        if let Some(cell) = self.cells.get(slot as usize) {
            crate::sys::prefetch(cell);
        }
    }

    /// Passes each cell with samples to `each`, and leaves the tally empty.
    pub fn drain(&mut self, mut each: impl FnMut(SeriesSlot, Cell)) {
        let Self { cells, touched, .. } = self;
        for slot in touched.drain(..) {
            each(slot, std::mem::take(&mut cells[slot as usize]));
        }
    }

    /// Whether it holds no samples.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.touched.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregator::AggregationConfig;

    #[test]
    fn a_tally_is_empty_until_its_first_sample_and_after_it_was_drained() {
        let settings = AggregationConfig::default().cells(None);
        let mut tally = Tally::default();
        tally.grow(3);
        assert!(tally.is_empty());
        for slot in [2, 0, 2] {
            assert!(tally.record(slot, &SampleValue::Counter(1.0), 1.0, 0, &settings));
        }
        assert!(!tally.record(3, &SampleValue::Counter(1.0), 1.0, 0, &settings), "no cell");
        assert!(!tally.is_empty());
        let mut drained = Vec::new();
        tally.drain(|slot, cell| drained.push((slot, cell.samples())));
        assert_eq!(drained, [(2, 2), (0, 1)]);
        assert!(tally.is_empty());
    }
}
