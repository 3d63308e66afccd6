//! The aggregator's view of one listener's table: the series in each slot.

use std::sync::Arc;

use model::Series;

use super::expiry::ExpiryClass;
use super::registry::SeriesId;
use super::tally::{NewSeries, SeriesSlot, Tally};

/// Maximum number of series that a listener removes between two windows, which takes about 20 ms.
const EXPIRED_PER_WINDOW: usize = 65_536;
/// With very many series, the maximum is this fraction of them, so that expired ones do not pile
/// up.
const EXPIRED_SHARE: usize = 16;

/// The series in one listener's table, as reported by its tallies so far.
#[derive(Debug, Default)]
pub struct ListenerSeries {
    known: Vec<Option<KnownSeries>>,
    /// Number of the window in which the listener last received all expired series.
    pub(super) cleaned: u64,
}

/// The series in a slot.
#[derive(Debug)]
pub struct KnownSeries {
    /// Its number in the store. Changes if the series expires and is admitted again.
    pub id: SeriesId,
    /// The series itself. Changes together with the number.
    pub series: Arc<Series>,
    /// The time after which it expires, as this listener reported it.
    pub(super) expiry: ExpiryClass,
    /// Whether the listener was asked to remove it. Until it has, samples may still arrive.
    is_expired: bool,
}

impl ListenerSeries {
    /// Applies the changes that the tally reports: series removed before it was filled, and series
    /// added since.
    pub fn update(&mut self, tally: &mut Tally) {
        // Removals first, because new series may have taken their slots.
        for slot in tally.expired.drain(..) {
            self.known[slot as usize] = None;
        }
        for NewSeries { slot, id, series } in tally.new_series.drain(..) {
            if self.known.len() <= slot as usize {
                self.known.resize_with(slot as usize + 1, || None);
            }
            self.known[slot as usize] =
                Some(KnownSeries { id, series, expiry: 0, is_expired: false });
        }
        // A burst of new series must not keep its memory for good.
        tally.new_series.shrink_to(0);
    }

    /// The series in a slot of a tally whose changes were applied.
    pub fn get_mut(&mut self, slot: SeriesSlot) -> Option<&mut KnownSeries> {
        let known = self.known.get_mut(slot as usize).and_then(Option::as_mut);
        debug_assert!(known.is_some(), "a slot is reported before it is used");
        known
    }

    /// Lists series that `is_known` rejects in the empty tally, which goes back to the listener.
    /// Returns whether the list is complete: it is bounded, because the listener receives nothing
    /// while it removes series.
    pub fn list_expired(
        &mut self,
        tally: &mut Tally,
        is_known: impl Fn(&KnownSeries) -> bool,
    ) -> bool {
        debug_assert!(tally.is_empty(), "a slot is freed only while its cell is empty");
        let most = EXPIRED_PER_WINDOW.max(self.known.len() / EXPIRED_SHARE);
        for (slot, known) in self.known.iter_mut().enumerate() {
            // The rest goes with a later tally: as long as a list was not complete, the store asks
            // for another one after each merge.
            if tally.expired.len() == most {
                return false;
            }
            if let Some(known) = known
                && !known.is_expired
                && !is_known(known)
            {
                known.is_expired = true;
                tally.expired.push(slot as SeriesSlot);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use model::MetricKind;

    use super::*;

    /// The numbers of expired series that go to a listener in each of two windows.
    fn listed(series_count: u32) -> [usize; 2] {
        let series = Arc::new(Series::new::<&str, &str>(MetricKind::Trace, "m", &[]));
        let mut known = ListenerSeries::default();
        let mut tally = Tally::default();
        tally.new_series.extend((0..series_count).map(|slot| NewSeries {
            slot,
            id: slot,
            series: Arc::clone(&series),
        }));
        known.update(&mut tally);
        [(); 2].map(|()| {
            let mut tally = Tally::default();
            known.list_expired(&mut tally, |_| false);
            tally.expired.len()
        })
    }

    #[test]
    fn a_listener_removes_a_bounded_number_of_series_in_a_window() {
        assert_eq!(listed(100_000), [65_536, 34_464]);
        assert_eq!(listed(16 * 65_536 + 160), [65_546, 65_546], "a sixteenth of very many");
    }
}
