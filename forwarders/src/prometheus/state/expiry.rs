//! The expiry of idle series.

use std::sync::Arc;

use foldhash::quality::RandomState;
use hashbrown::HashMap;

use super::expired::{ExpiredTotal, hash};
use super::{FamilyKey, Slot, SlotId, State};
use crate::prometheus::names::FamilyName;
use model::{Series, SeriesNaming, Snapshot};

impl State {
    /// Removes the series that have been idle for too long, and renamed series that the latest poll
    /// of their source lacks.
    pub(super) fn expire(&mut self, snapshot: &Snapshot) {
        let polls = self.naming.as_deref().map_or(vec![], |naming| polls(snapshot, naming));
        let (elapsed, expire_after) = (self.elapsed, self.limits.expire_after);
        let mut idle = Vec::new();
        self.sources.retain(|series, source| {
            // A poll contains every series of its source, so a renamed series that it lacks has
            // ended.
            let is_late = source.last_seen < elapsed
                && source
                    .own_tags
                    .is_some_and(|own| polls.iter().any(|poll| own.is_same_source(series, poll)));
            let is_idle = is_late || source.last_seen + expire_after <= elapsed;
            if is_idle {
                idle.push(source.slot);
            }
            !is_idle
        });
        let mut gone = Vec::new();
        for id in idle {
            // A slot lives as long as any of its sources.
            let Some(slot) = &mut self.slots[id as usize] else { continue };
            slot.sources -= 1;
            if slot.sources == 0 {
                self.held.forget(&mut slot.is_held);
                gone.extend(self.slots[id as usize].take().map(|slot| (id, slot)));
            }
        }
        if !gone.is_empty() {
            self.remove_expired(gone);
        }
    }

    fn remove_expired(&mut self, gone: Vec<(SlotId, Slot)>) {
        // `order` still has the names of the previous window: a series ends under the name that it
        // had.
        let named: HashMap<&FamilyKey, &FamilyName, RandomState> =
            self.order.iter().map(|(key, name)| (key, name)).collect();
        let mut keys = Vec::new();
        for (id, slot) in gone {
            self.slot_of.remove(&(Arc::clone(&slot.series), slot.family.is_renamed));
            self.free.push(id);
            self.bytes -= slot.bytes;
            self.expired.remember(hash(&slot.series), slot.total());
            let key = slot.family.clone();
            if let Some(name) = named.get(&key) {
                self.just_expired.push(((*name).clone(), slot));
            }
            keys.push(key);
        }
        // Filters each family only once, even if many of its series have expired.
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let Some(family) = self.families.get_mut(&key) else { continue };
            family.slots.retain(|id| self.slots[*id as usize].is_some());
            if family.slots.is_empty() {
                self.bytes -= family.bytes;
                self.families.remove(&key);
                self.order_is_stale = true;
            }
        }
    }
}

impl Slot {
    /// Returns its total, which is kept in case the series returns.
    pub(super) fn total(&self) -> ExpiredTotal {
        ExpiredTotal { shown: self.shown.clone(), created_ms: self.created_ms }
    }
}

/// Returns the series of a window that mark a poll.
fn polls<'a>(snapshot: &'a Snapshot, naming: &dyn SeriesNaming) -> Vec<&'a Series> {
    let series = snapshot.points.iter().map(|point| &*point.series);
    series.filter(|series| naming.marks_poll(series)).collect()
}
