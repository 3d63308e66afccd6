//! New series: their names on the page, and whether it has room for them.

use std::sync::Arc;

use super::{FamilyKey, PointPlace, Shown, Slot, SlotId, SourceSeries, State};
use crate::prometheus::names::{page_series, renamed_series};
use crate::prometheus::native;
use model::{OwnTags, Series, SeriesPlacement};

/// The series under which the page shows a series of the pipeline.
struct Wanted {
    series: Arc<Series>,
    family: FamilyKey,
    /// The description of the family, if a naming assigned its name.
    help: Option<Box<str>>,
    own_tags: Option<OwnTags>,
}

impl State {
    /// Returns the slot of a series of the pipeline, which is added to the page if it is new, or
    /// the reason why it has none. `percentiles` is the number of percentiles.
    pub(super) fn slot(
        &mut self,
        series: &Arc<Series>,
        percentiles: usize,
    ) -> Result<SlotId, PointPlace> {
        // The usual case, without the cost of sanitising names and labels.
        if let Some(source) = self.sources.get_mut(series) {
            source.last_seen = self.elapsed;
            return Ok(source.slot);
        }
        // Before the limit, because a hidden series takes no room.
        let wanted = self.wanted(series).ok_or(PointPlace::Hidden)?;
        // Also for a series that would share a slot: its entry in `sources` takes memory too.
        if self.sources.len() >= self.limits.series_max {
            return Err(PointPlace::Nowhere);
        }
        let (family, own_tags) = (wanted.family.clone(), wanted.own_tags);
        let origin: Box<str> = wanted.help.clone().unwrap_or_else(|| series.name().into());
        let id = match self.slot_of.get(&(Arc::clone(&wanted.series), family.is_renamed)) {
            Some(id) => *id,
            None => self
                .admit(wanted, series.name(), &origin, percentiles)
                .ok_or(PointPlace::Nowhere)?,
        };
        let slot = self.slots[id as usize].as_mut().ok_or(PointPlace::Nowhere)?;
        slot.sources += 1;
        // Stays set when the other sources expire: their increments remain in the total.
        slot.is_shared |= slot.sources > 1;
        self.note_origin(&family, &origin);
        let source = SourceSeries { slot: id, last_seen: self.elapsed, own_tags };
        self.sources.insert(Arc::clone(series), source);
        Ok(id)
    }

    /// Returns the series under which the page shows a series; `None` if the naming hides it.
    fn wanted(&self, series: &Series) -> Option<Wanted> {
        let placement = self.naming.as_ref().map(|naming| naming.place(series));
        let (series, kind, help, own_tags) = match placement {
            Some(SeriesPlacement::Renamed(assigned)) => {
                let help = assigned.help.as_ref().into();
                (
                    renamed_series(series, &assigned),
                    assigned.kind,
                    Some(help),
                    Some(assigned.own_tags),
                )
            }
            Some(SeriesPlacement::Hidden) => return None,
            Some(SeriesPlacement::Unchanged) | None => {
                (page_series(series, &self.timers.forms), series.kind(), None, None)
            }
        };
        let family = FamilyKey { base: series.name().into(), kind, is_renamed: help.is_some() };
        Some(Wanted { series: Arc::new(series), family, help, own_tags })
    }

    /// Adds a series to the page; `None` if the page has no room. `metric` is its name in the
    /// pipeline, and `origin` describes a new family.
    fn admit(
        &mut self,
        wanted: Wanted,
        metric: &str,
        origin: &str,
        percentiles: usize,
    ) -> Option<SlotId> {
        let Wanted { series, family: key, .. } = wanted;
        let fresh = Shown::initial(series.kind(), &self.timers, metric);
        // The key that the family already has, so that all its series share one copy of the name.
        let known = self.families.get_key_value(&key).map(|(key, _)| key.clone());
        let is_new = known.is_none();
        let key = known.unwrap_or(key);
        let native_bytes = if fresh.native().is_some() { native::bytes_at_most(0) } else { 0 };
        let bytes = native_bytes + self.size_at_most(&series, &fresh, percentiles);
        let family_bytes = if is_new { self.header_at_most(origin) } else { 0 };
        // Checked for a whole series before it is shown, so that a page never has to be cut.
        if self.bytes + bytes + family_bytes > self.limits.bytes_max {
            return None;
        }
        self.bytes += bytes + family_bytes;
        let earlier = self.expired.take(&series);
        let continued =
            earlier.and_then(|total| Some((fresh.continued_from(&total.shown)?, total.created_ms)));
        let (shown, created_ms) = continued.unwrap_or((fresh, self.window_start_ms));
        let slot = Slot {
            series: Arc::clone(&series),
            shown,
            created_ms,
            family: key.clone(),
            sources: 0,
            is_shared: false,
            is_held: false,
            last_window: 0,
            point: 0,
            bytes,
            native_bytes,
        };
        // Reused, so that `slots` grows with the live series and not with every series ever seen.
        let id = self.free.pop().unwrap_or(self.slots.len() as SlotId);
        if id as usize == self.slots.len() {
            self.slots.push(None);
        }
        self.slots[id as usize] = Some(slot);
        self.slot_of.insert((series, key.is_renamed), id);
        // A new series in a known family changes neither the order of the families nor their names.
        self.order_is_stale |= is_new;
        let family = self.families.entry(key).or_default();
        family.slots.push(id);
        family.bytes += family_bytes;
        family.is_stale = true;
        self.fit_native(id);
        Some(id)
    }

    /// Keeps the alphabetically first name as the origin of a family.
    fn note_origin(&mut self, key: &FamilyKey, name: &str) {
        // Not the name that arrived first: after a restart another one could be first, which would
        // change the help text.
        if let Some(family) = self.families.get_mut(key)
            && (family.origin.is_empty() || name < family.origin.as_str())
        {
            name.clone_into(&mut family.origin);
        }
    }
}
