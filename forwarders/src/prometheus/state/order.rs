//! The order of families and series on the page, and the names of families.

use super::{FamilyKey, SlotId, State};
use crate::prometheus::names;

impl State {
    pub(super) fn put_in_order(&mut self) {
        // Sorts only families with new series, because a removal keeps the order.
        for family in self.families.values_mut().filter(|family| family.is_stale) {
            let slots = &self.slots;
            let labels = |id: &SlotId| slots[*id as usize].as_ref().map(|slot| slot.series.tags());
            family.slots.sort_by(|a, b| match (labels(a), labels(b)) {
                (Some(a), Some(b)) => a.cmp(b),
                (a, b) => a.is_some().cmp(&b.is_some()),
            });
            family.is_stale = false;
        }
        if std::mem::take(&mut self.order_is_stale) {
            let mut keys: Vec<FamilyKey> = self.families.keys().cloned().collect();
            keys.sort_unstable();
            let families: Vec<_> = keys.iter().map(FamilyKey::family).collect();
            let names = names::assign(&families, &self.timers.forms);
            self.order = keys.into_iter().zip(names).collect();
        }
    }
}

impl FamilyKey {
    fn family(&self) -> names::Family<'_> {
        names::Family { base: &self.base, kind: self.kind, is_renamed: self.is_renamed }
    }
}
