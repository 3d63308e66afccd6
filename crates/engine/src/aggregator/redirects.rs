//! Slots without a cell: they lead to another slot and multiply the values for it, or to nothing.
//!
//! A known line has only a slot and the meaning of its number. A line that a rule drops, or whose values
//! a rule multiplies, gets a slot that no cell has. Looking for its cell fails, and only then is the
//! redirect looked up, so that all other lines pay nothing for it.

use std::collections::HashMap;

use super::tally::SeriesSlot;

/// The first slot without a cell. Half of the slots that the line cache can hold are below it; the
/// memory of a host would run out long before so many series.
const FIRST: SeriesSlot = 1 << 29;

/// The slot of lines that rules drop.
pub(super) const DROPPED: SeriesSlot = FIRST;

/// The slots of a table that multiply values.
#[derive(Debug, Default)]
pub(super) struct Redirects {
    /// By slot, from the first one after [`DROPPED`]; `None` where the slot is free.
    targets: Vec<Option<Redirect>>,
    free: Vec<SeriesSlot>,
    slots: HashMap<(SeriesSlot, u64), SeriesSlot>,
}

/// The target of a slot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Redirect {
    /// A slot with a cell.
    pub(super) slot: SeriesSlot,
    /// The factor for values.
    pub(super) scale: f64,
}

impl Redirects {
    /// Returns the slot that multiplies values by `scale` for `slot`. There is one for each pair, so that
    /// their number is limited by those of series and of rules.
    pub(super) fn slot_for(&mut self, slot: SeriesSlot, scale: f64) -> SeriesSlot {
        let Self { targets, free, slots } = self;
        *slots.entry((slot, scale.to_bits())).or_insert_with(|| {
            let target = Some(Redirect { slot, scale });
            match free.pop() {
                Some(free) => {
                    targets[index(free)] = target;
                    free
                }
                None => {
                    targets.push(target);
                    DROPPED + targets.len() as SeriesSlot
                }
            }
        })
    }

    /// The target of a slot without a cell; `None` for lines that are dropped.
    pub(super) fn get(&self, slot: SeriesSlot) -> Option<Redirect> {
        *self.targets.get(slot.checked_sub(DROPPED + 1)? as usize)?
    }

    /// Removes the slots whose targets `keep` rejects.
    pub(super) fn retain(&mut self, keep: impl Fn(SeriesSlot) -> bool) {
        let Self { targets, free, slots } = self;
        slots.retain(|(target, _), slot| {
            let is_kept = keep(*target);
            if !is_kept {
                targets[index(*slot)] = None;
                free.push(*slot);
            }
            is_kept
        });
    }
}

fn index(slot: SeriesSlot) -> usize {
    (slot - DROPPED - 1) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pair_of_slot_and_factor_has_one_slot_until_it_is_removed() {
        let mut redirects = Redirects::default();
        let [a, b, c] = [(7, 2.0), (7, 3.0), (8, 2.0)].map(|(s, f)| redirects.slot_for(s, f));
        assert_eq!(redirects.slot_for(7, 3.0), b);
        assert!(a != b && b != c && a != c && ![a, b, c].contains(&DROPPED));
        assert_eq!(redirects.get(c), Some(Redirect { slot: 8, scale: 2.0 }));
        assert_eq!(redirects.get(DROPPED), None);
        redirects.retain(|slot| slot != 7);
        assert_eq!((redirects.get(a), redirects.get(b)), (None, None));
        assert_eq!(redirects.get(c), Some(Redirect { slot: 8, scale: 2.0 }));
        let reused = redirects.slot_for(9, 4.0);
        assert!([a, b].contains(&reused), "free slots are reused");
        assert_eq!(redirects.get(reused), Some(Redirect { slot: 9, scale: 4.0 }));
    }
}
