//! What the aggregator knows of a listener's table: which series has which place.

use std::sync::Arc;

use model::Series;

use super::registry::SeriesId;
use super::tally::{Met, Place, Tally};

/// Most series that a listener is to forget between two windows: some 20 ms for it.
const FORGOTTEN_AT_ONCE: usize = 65_536;
/// Of more series than that, so many times fewer than there are, lest they pile up.
const FORGOTTEN_SHARE: usize = 16;

/// The places of one listener's table, as its tallies have told them so far.
#[derive(Debug, Default)]
pub struct Places {
    placed: Vec<Option<Placed>>,
    /// Number of the window in which the listener was last told what is forgotten.
    pub(super) cleaned: u64,
}

/// The series at a place.
#[derive(Debug)]
pub struct Placed {
    /// The number by which the store knows it; to be corrected if it does not any more.
    pub id: SeriesId,
    /// The series itself; to be corrected together with the number.
    pub series: Arc<Series>,
    /// Whether the listener was told to forget it. Until it has, samples may still come.
    is_forgotten: bool,
}

impl Places {
    /// Takes over what changed in the listener's table before and while it filled the tally.
    pub fn update(&mut self, tally: &mut Tally) {
        for place in tally.forgotten.drain(..) {
            self.placed[place as usize] = None;
        }
        for Met { place, id, series } in tally.met.drain(..) {
            if self.placed.len() <= place as usize {
                self.placed.resize_with(place as usize + 1, || None);
            }
            self.placed[place as usize] = Some(Placed { id, series, is_forgotten: false });
        }
        tally.met.shrink_to(0);
    }

    /// The series at a place of a tally that was taken over.
    pub fn get_mut(&mut self, place: Place) -> Option<&mut Placed> {
        let placed = self.placed.get_mut(place as usize).and_then(Option::as_mut);
        debug_assert!(placed.is_some(), "a place is told before it is used");
        placed
    }

    /// Notes in the empty tally, which goes back to the listener, what `is_known` does not know any
    /// more. Returns whether that is all: the listener receives nothing while it forgets.
    pub fn forget(&mut self, tally: &mut Tally, is_known: impl Fn(&Placed) -> bool) -> bool {
        debug_assert!(tally.is_empty(), "a place is only freed while nothing is in it");
        let most = FORGOTTEN_AT_ONCE.max(self.placed.len() / FORGOTTEN_SHARE);
        for (place, placed) in self.placed.iter_mut().enumerate() {
            if tally.forgotten.len() == most {
                return false;
            }
            if let Some(placed) = placed
                && !placed.is_forgotten
                && !is_known(placed)
            {
                placed.is_forgotten = true;
                tally.forgotten.push(place as Place);
            }
        }
        true
    }
}
