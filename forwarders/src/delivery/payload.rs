//! Encoded bytes on their way to a destination, and what became of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use model::PointRanges;

/// One sendable unit: a Kafka message, a request body, a window of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<'a> {
    /// Where it stands in its batch; what [`Batch::delivered`] and [`Batch::refused`] take.
    pub id: usize,
    /// The encoded bytes.
    pub bytes: &'a [u8],
    /// What partitions by it (Kafka); empty where the destination has no such thing.
    pub key: &'a [u8],
    /// How many points are in it, so that a loss can be counted.
    pub points: u64,
}

/// The payloads of one snapshot, or of a part of it, and, of each, whether the destination has it.
///
/// All bytes lie in one buffer that is reused from window to window. A batch outlives a failed
/// attempt: what was delivered is not sent again.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    pending: u64,
    settled: Settled,
    /// Payloads that were refused since last asked, and why.
    refusals: Vec<(usize, &'static str)>,
    /// The place of each point in the order of the payloads; empty where that is the snapshot's.
    places: Vec<usize>,
}

#[derive(Debug)]
struct Entry {
    key: Range<usize>,
    body: Range<usize>,
    points: u64,
    open: bool,
}

/// What a destination did with points since last asked.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use = "points that were refused must be counted, or they are lost silently"]
pub struct Settled {
    /// Points that the destination has.
    pub delivered: u64,
    /// Points that will never arrive, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// The destination's own words about the latest refusal of each reason.
    pub words: BTreeMap<&'static str, String>,
    latest: Option<&'static str>,
    /// Which points of what was encoded were refused, by reason, as far as the destination says
    /// which.
    pub(crate) places: BTreeMap<&'static str, PointRanges>,
}

impl Settled {
    /// The destination's own words about the latest refusal.
    #[must_use]
    pub fn last_refusal(&self) -> Option<&str> {
        self.words.get(self.latest?).map(String::as_str)
    }
}

impl Batch {
    /// Forgets everything but keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.pending = 0;
        self.settled = Settled::default();
        self.refusals.clear();
        self.places.clear();
    }

    /// Adds a payload of `points` points whose key and body the closures append.
    pub fn push(
        &mut self,
        points: u64,
        key: impl FnOnce(&mut Vec<u8>),
        body: impl FnOnce(&mut Vec<u8>),
    ) {
        let key_start = self.bytes.len();
        key(&mut self.bytes);
        let body_start = self.bytes.len();
        body(&mut self.bytes);
        self.entries.push(Entry {
            key: key_start..body_start,
            body: body_start..self.bytes.len(),
            points,
            open: true,
        });
        self.pending += points;
    }

    /// Says where the points of the payloads are, one payload's behind the other's, when they are
    /// not in the order of what was encoded.
    pub fn set_places(&mut self, places: impl Iterator<Item = usize>) {
        self.places.clear();
        self.places.extend(places);
        debug_assert_eq!(self.places.len() as u64, self.points(), "every point has its place");
    }

    /// Points that are neither delivered nor refused.
    #[must_use]
    pub fn points_pending(&self) -> u64 {
        self.pending
    }

    /// Points in all payloads, whatever became of them.
    #[must_use]
    pub fn points(&self) -> u64 {
        self.entries.iter().map(|entry| entry.points).sum()
    }

    /// Which points of what was encoded these are.
    #[must_use]
    pub fn points_left(&self) -> PointRanges {
        self.places_of(|id| self.entries[id].open)
    }

    /// Where the points of these payloads are.
    fn places_of(&self, is_wanted: impl Fn(usize) -> bool) -> PointRanges {
        let (mut ranges, mut start) = (PointRanges::default(), 0);
        for (id, entry) in self.entries.iter().enumerate() {
            let end = start + entry.points as usize;
            if is_wanted(id) {
                ranges.add(start..end);
            }
            start = end;
        }
        if self.places.is_empty() {
            return ranges;
        }
        let mut places: Vec<usize> = ranges.of(&self.places).copied().collect();
        places.sort_unstable();
        let mut ranges = PointRanges::default();
        places.into_iter().for_each(|place| ranges.add(place..place + 1));
        ranges
    }

    /// Whether nothing is left to send.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.entries.iter().all(|entry| !entry.open)
    }

    /// The payloads that are neither delivered nor refused, in order.
    pub fn pending(&self) -> impl Iterator<Item = Payload<'_>> {
        self.pending_from(0)
    }

    /// Those of [`Batch::pending`] whose id is `first` or above, for a destination that goes on
    /// where it stopped.
    pub fn pending_from(&self, first: usize) -> impl Iterator<Item = Payload<'_>> {
        let entries = self.entries.iter().enumerate().skip(first);
        entries.filter(|(_, entry)| entry.open).map(|(id, entry)| Payload {
            id,
            bytes: &self.bytes[entry.body.clone()],
            key: &self.bytes[entry.key.clone()],
            points: entry.points,
        })
    }

    /// The first payload of [`Batch::pending`], for a destination that takes one at a time.
    #[must_use]
    pub fn first_pending(&self) -> Option<Payload<'_>> {
        self.pending().next()
    }

    /// Notes that the destination has the payload `id`.
    pub fn delivered(&mut self, id: usize) {
        self.settled.delivered += self.close(id);
    }

    /// Notes that the payload `id` will never arrive: why, as a stable word for the ledger, and in
    /// the destination's own words.
    pub fn refused(&mut self, id: usize, reason: &'static str, words: impl Into<String>) {
        if self.entries[id].open {
            self.refusals.push((id, reason));
        }
        self.one_refused(id, reason, words);
    }

    /// Notes that one payload will never arrive, where the destination does not say which: `id` stands
    /// for it in the ledger, and nowhere else.
    pub fn one_refused(&mut self, id: usize, reason: &'static str, words: impl Into<String>) {
        self.set_aside(id, reason);
        self.settled.words.insert(reason, words.into());
        self.settled.latest = Some(reason);
    }

    /// Notes that the payload `id` is not to be sent, which is no trouble: `debug_mode`.
    pub fn set_aside(&mut self, id: usize, reason: &'static str) {
        let points = self.close(id);
        *self.settled.refused.entry(reason).or_default() += points;
    }

    /// Notes the same outcome for every payload that is still pending.
    pub fn all_delivered(&mut self) {
        for id in 0..self.entries.len() {
            self.delivered(id);
        }
    }

    /// Hands over what became of points since the last call.
    pub fn take_settled(&mut self) -> Settled {
        let places = self.take_refusals();
        Settled { places, ..std::mem::take(&mut self.settled) }
    }

    fn take_refusals(&mut self) -> BTreeMap<&'static str, PointRanges> {
        let mut by_reason = BTreeMap::<_, BTreeSet<usize>>::new();
        for (id, reason) in std::mem::take(&mut self.refusals) {
            by_reason.entry(reason).or_default().insert(id);
        }
        by_reason
            .into_iter()
            .map(|(reason, ids)| (reason, self.places_of(|id| ids.contains(&id))))
            .collect()
    }

    fn close(&mut self, id: usize) -> u64 {
        let entry = &mut self.entries[id];
        if !std::mem::take(&mut entry.open) {
            return 0;
        }
        self.pending -= entry.points;
        entry.points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch_of(points: &[u64]) -> Batch {
        let mut batch = Batch::default();
        for (index, count) in points.iter().enumerate() {
            batch.push(
                *count,
                |key| key.extend_from_slice(b"k"),
                |body| body.extend_from_slice(format!("body {index}").as_bytes()),
            );
        }
        batch
    }

    #[test]
    fn what_was_delivered_is_not_pending_any_more() {
        let mut batch = batch_of(&[1, 2, 4]);
        batch.delivered(1);
        let bodies: Vec<_> = batch.pending().map(|payload| payload.bytes).collect();
        assert_eq!(bodies, [b"body 0", b"body 2"]);
        assert_eq!(batch.points_pending(), 5);
        assert!(!batch.is_settled());
    }

    #[test]
    fn what_is_pending_names_the_points_that_are_left() {
        let mut batch = batch_of(&[1, 2, 4, 1]);
        assert_eq!(batch.points_left(), PointRanges::first(8));
        batch.delivered(1);
        let left = batch.points_left();
        let points: Vec<_> = left.of(&[10, 11, 12, 13, 14, 15, 16, 17]).copied().collect();
        assert_eq!((points, left.count()), (vec![10, 13, 14, 15, 16, 17], 6));
        let behind = left.behind(1);
        let points: Vec<_> = behind.of(&[9, 10, 11, 12, 13, 14, 15, 16, 17]).copied().collect();
        assert_eq!(points, [10, 13, 14, 15, 16, 17]);
        batch.all_delivered();
        assert_eq!(batch.points_left(), PointRanges::default());
    }

    #[test]
    fn what_is_refused_is_told_by_its_place_whatever_the_order_unless_nobody_knows_it() {
        let mut batch = batch_of(&[1, 2, 4, 1, 1]);
        batch.refused(4, "refused", "no");
        batch.refused(1, "refused", "no");
        batch.refused(0, "too_large", "no");
        batch.refused(1, "too_large", "it was refused already");
        batch.one_refused(2, "refused", "one of them");
        let ranges = |ranges: &[Range<usize>]| {
            let mut all = PointRanges::default();
            ranges.iter().cloned().for_each(|range| all.add(range));
            all
        };
        let places = batch.take_settled().places;
        assert_eq!(places["refused"], ranges(&[1..3, 8..9]));
        assert_eq!(places["too_large"], PointRanges::first(1));
        assert_eq!(places.len(), 2);
        batch.refused(3, "refused", "no");
        let mut joined = places["refused"].clone();
        joined.join(batch.take_settled().places["refused"].clone());
        assert_eq!(joined, ranges(&[1..3, 7..9]));
        assert_eq!(joined.at_most(3), ranges(&[1..3, 7..8]));
        assert_eq!(joined.at_most(1), PointRanges::first(1).behind(1));
        assert_eq!(joined.at_most(9), joined);
    }

    #[test]
    fn points_are_named_where_they_are_also_if_payloads_are_in_another_order() {
        let mut batch = batch_of(&[2, 1, 3]);
        batch.set_places([0, 4, 1, 2, 3, 5].into_iter());
        batch.delivered(1);
        batch.refused(0, "refused", "no");
        let places = |ranges: &PointRanges| -> Vec<usize> {
            ranges.of(&[0, 1, 2, 3, 4, 5]).copied().collect()
        };
        assert_eq!(places(&batch.points_left()), [2, 3, 5]);
        assert_eq!(places(&batch.take_settled().places["refused"]), [0, 4]);
        batch.clear();
        batch.push(2, |_| (), |_| ());
        assert_eq!(batch.points_left(), PointRanges::first(2));
    }

    #[test]
    fn every_point_is_settled_once() {
        let mut batch = batch_of(&[1, 2, 4]);
        batch.refused(0, "too_large", "message too large");
        batch.delivered(0);
        batch.all_delivered();
        let settled = batch.take_settled();
        assert_eq!(settled.delivered, 6);
        assert_eq!(settled.refused, BTreeMap::from([("too_large", 1)]));
        assert_eq!(settled.last_refusal(), Some("message too large"));
        assert_eq!(batch.take_settled(), Settled::default());
        assert!(batch.is_settled());
    }
}
