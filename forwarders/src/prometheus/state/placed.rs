//! The series that show the points of the latest window.

use foldhash::quality::RandomState;
use hashbrown::HashMap;
use smallvec::SmallVec;

use super::{PointPlace, Slot, SlotId, State};
use crate::prometheus::names::FamilyName;

/// A point of the latest window, as remote write sends it.
pub(in crate::prometheus) enum Placed<'a> {
    /// As the value of this series. `points` are the indexes of its points in the snapshot.
    Shown { id: SlotId, name: &'a FamilyName, slot: &'a Slot, points: SmallVec<[usize; 1]> },
    /// Not at all, because the naming hides its series. With the index of the point.
    Hidden(usize),
    /// Not at all, because the page has no room for its series. With the index of the point.
    Nowhere(usize),
}

impl State {
    /// Iterates over the points of the latest window. Points that share a series on the page come
    /// together, at the place of the first.
    pub(in crate::prometheus) fn placed(&self) -> impl Iterator<Item = Placed<'_>> {
        // By slot, so that no point needs a search for the name of its family.
        let mut names = vec![None; self.slots.len()];
        for (key, name) in &self.order {
            for id in self.families.get(key).into_iter().flat_map(|family| &family.slots) {
                names[*id as usize] = Some(name);
            }
        }
        let mut merged: HashMap<SlotId, SmallVec<[usize; 1]>, RandomState> = HashMap::default();
        for (point, place) in self.places.iter().enumerate() {
            if let PointPlace::Merged(id) = place {
                merged.entry(*id).or_default().push(point);
            }
        }
        self.places.iter().enumerate().filter_map(move |(point, place)| match *place {
            PointPlace::First(id) => match (names[id as usize], &self.slots[id as usize]) {
                (Some(name), Some(slot)) => {
                    let mut points = SmallVec::from_elem(point, 1);
                    points.extend(merged.remove(&id).unwrap_or_default());
                    Some(Placed::Shown { id, name, slot, points })
                }
                // Unreachable: a slot with a point in this window has not expired.
                _ => Some(Placed::Nowhere(point)),
            },
            // Returned with the first point of its series.
            PointPlace::Merged(_) => None,
            PointPlace::Hidden => Some(Placed::Hidden(point)),
            PointPlace::Nowhere => Some(Placed::Nowhere(point)),
        })
    }
}
