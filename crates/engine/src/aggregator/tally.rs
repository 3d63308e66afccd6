//! What one listener gathered in the open window.

use std::sync::Arc;

use model::Series;

use super::cell::Cell;
use super::registry::SeriesId;
use crate::protocol::SampleValue;

/// Where a listener keeps a series: its table's entry, and the cell in each of its tallies.
pub type Place = u32;

/// The cells of a listener's series in one window.
///
/// It goes to the aggregator at the window's edge and comes back empty. The series themselves stay
/// with the listener; what the aggregator has to know of them travels along, in both directions.
#[derive(Debug, Default)]
pub struct Tally {
    cells: Vec<Cell>,
    /// The cells with samples, so that idle series cost a flush nothing.
    touched: Vec<Place>,
    /// The series that the listener met in this window.
    pub(super) met: Vec<Met>,
    /// On the way back: places whose series are forgotten. The listener frees them before it uses
    /// the tally again, and the list tells the aggregator, next time, that it did.
    pub(super) forgotten: Vec<Place>,
}

/// A series that got a place.
#[derive(Debug)]
pub struct Met {
    /// The place, perhaps another series' before.
    pub place: Place,
    /// The number by which the store knows the series.
    pub id: SeriesId,
    /// The series itself.
    pub series: Arc<Series>,
}

impl Tally {
    /// Makes room for so many places.
    pub fn grow(&mut self, places: usize) {
        if self.cells.len() < places {
            self.cells.resize_with(places, Cell::default);
        }
    }

    /// Adds a sample; there is room for its place.
    #[inline]
    pub fn record(
        &mut self,
        place: Place,
        value: &SampleValue<'_>,
        weight: f64,
        arrival_ns: u64,
        exact_samples: usize,
    ) {
        let cell = &mut self.cells[place as usize];
        if matches!(cell, Cell::Empty) {
            self.touched.push(place);
        }
        cell.record(value, weight, arrival_ns, exact_samples);
    }

    /// Asks the processor to have the cell at hand soon.
    #[inline]
    pub fn prefetch(&self, place: Place) {
        if let Some(cell) = self.cells.get(place as usize) {
            crate::sys::prefetch(cell);
        }
    }

    /// Hands over what every series gathered.
    pub fn drain(&mut self, mut each: impl FnMut(Place, Cell)) {
        let Self { cells, touched, .. } = self;
        for place in touched.drain(..) {
            each(place, std::mem::take(&mut cells[place as usize]));
        }
    }

    /// Whether it holds no samples.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.touched.is_empty()
    }
}
