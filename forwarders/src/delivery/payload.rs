//! The encoded payloads of a window, and the outcome of each.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use model::PointRanges;

/// One unit to send: a Kafka message, a part of a request body, a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<'a> {
    /// Its index in the batch, for [`Batch::delivered`] and [`Batch::refused`].
    pub id: usize,
    /// The encoded bytes.
    pub bytes: &'a [u8],
    /// The key of a Kafka message; empty for other destinations.
    pub key: &'a [u8],
    /// The number of points in it, for the ledger.
    pub points: u64,
}

/// A payload that is delivered or refused.
pub(crate) struct SettledPayload<'a> {
    pub(crate) id: usize,
    pub(crate) bytes: &'a [u8],
    pub(crate) key: &'a [u8],
    /// The positions of its points, in payload order.
    pub(crate) positions: Range<usize>,
}

/// The payloads of one snapshot, or of a part of it, and the outcome of each.
///
/// All bytes are in one buffer that is reused for each window. A batch survives a failed attempt:
/// payloads that were delivered are not sent again.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// Points in the open entries.
    pending: u64,
    /// Outcomes since the latest [`Batch::take_settled`].
    settled: Settled,
    /// Payloads that were refused since the latest [`Batch::take_settled`], with the reason.
    refusals: Vec<(usize, &'static str)>,
    /// The index in the snapshot of each point, in the order of the payloads. Empty if the payloads
    /// are in the order of the snapshot.
    places: Vec<usize>,
}

#[derive(Debug)]
struct Entry {
    key: Range<usize>,
    body: Range<usize>,
    points: u64,
    /// Whether the payload is neither delivered nor refused.
    open: bool,
}

/// The points that a destination accepted or refused since the latest [`Batch::take_settled`].
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use = "points that were refused must be counted, or they are lost silently"]
pub struct Settled {
    /// Points that were delivered.
    pub delivered: u64,
    /// Points that will never be delivered, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// The destination's own words about the latest refusal for each reason.
    pub words: BTreeMap<&'static str, String>,
    latest: Option<&'static str>,
    /// The refused points that the destination identified, by reason, as indexes into the encoded
    /// snapshot.
    pub(crate) places: BTreeMap<&'static str, PointRanges>,
}

impl Settled {
    /// The destination's own words about the latest refusal; `None` if no point was refused.
    #[must_use]
    pub fn last_refusal(&self) -> Option<&str> {
        self.words.get(self.latest?).map(String::as_str)
    }
}

impl Batch {
    /// Removes all payloads. Keeps the allocations for the next window.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.pending = 0;
        self.settled = Settled::default();
        self.refusals.clear();
        self.places.clear();
    }

    /// Adds a payload of `points` points. The closures append its key and its body to the buffer.
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

    /// Sets the indexes of all points in the snapshot, payload by payload. Needed if the payloads
    /// are not in the order of the snapshot's points.
    pub fn set_places(&mut self, places: impl Iterator<Item = usize>) {
        self.places.clear();
        self.places.extend(places);
        debug_assert_eq!(self.places.len() as u64, self.points(), "every point has its place");
    }

    /// The number of points that are neither delivered nor refused.
    #[must_use]
    pub fn points_pending(&self) -> u64 {
        self.pending
    }

    /// The number of points in all payloads, settled or not.
    #[must_use]
    pub fn points(&self) -> u64 {
        self.entries.iter().map(|entry| entry.points).sum()
    }

    /// The number of points in the payload `id`, settled or not.
    #[must_use]
    pub fn points_of(&self, id: usize) -> u64 {
        self.entries[id].points
    }

    /// The points that are neither delivered nor refused, as indexes into the encoded snapshot.
    #[must_use]
    pub fn points_left(&self) -> PointRanges {
        self.places_of(|id| self.entries[id].open)
    }

    /// The points of the selected payloads, as indexes into the encoded snapshot.
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
        // The ranges select positions in payload order; `places` maps these to the snapshot.
        let mut places: Vec<usize> = ranges.of(&self.places).copied().collect();
        // `PointRanges::add` expects indexes in ascending order.
        places.sort_unstable();
        let mut ranges = PointRanges::default();
        places.into_iter().for_each(|place| ranges.add(place..place + 1));
        ranges
    }

    /// Whether every payload is delivered or refused.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        // Not by the number of pending points: a payload without points has to be sent too.
        self.entries.iter().all(|entry| !entry.open)
    }

    /// The payloads that are neither delivered nor refused, in order.
    pub fn pending(&self) -> impl Iterator<Item = Payload<'_>> {
        self.pending_from(0)
    }

    /// The payloads of [`Batch::pending`] whose id is at least `first`, for a destination that
    /// resumes there.
    pub fn pending_from(&self, first: usize) -> impl Iterator<Item = Payload<'_>> {
        let entries = self.entries.iter().enumerate().skip(first);
        entries.filter(|(_, entry)| entry.open).map(|(id, entry)| Payload {
            id,
            bytes: &self.bytes[entry.body.clone()],
            key: &self.bytes[entry.key.clone()],
            points: entry.points,
        })
    }

    /// The payloads that are delivered or refused.
    pub(crate) fn settled_payloads(&self) -> impl Iterator<Item = SettledPayload<'_>> {
        let mut start = 0;
        let entries = self.entries.iter().enumerate().map(move |(id, entry)| {
            let positions = start..start + entry.points as usize;
            start = positions.end;
            (id, entry, positions)
        });
        entries.filter(|(_, entry, _)| !entry.open).map(|(id, entry, positions)| SettledPayload {
            id,
            bytes: &self.bytes[entry.body.clone()],
            key: &self.bytes[entry.key.clone()],
            positions,
        })
    }

    /// The index in the encoded snapshot of the point at a position in payload order.
    pub(crate) fn place(&self, position: usize) -> usize {
        self.places.get(position).copied().unwrap_or(position)
    }

    /// The payloads that were refused since the latest [`Batch::take_settled`], with the reason.
    pub(crate) fn refusals(&self) -> &[(usize, &'static str)] {
        &self.refusals
    }

    /// The first payload of [`Batch::pending`], for a destination that sends one at a time.
    #[must_use]
    pub fn first_pending(&self) -> Option<Payload<'_>> {
        self.pending().next()
    }

    /// Records that the payload `id` was delivered.
    pub fn delivered(&mut self, id: usize) {
        self.settled.delivered += self.close(id);
    }

    /// Records that the payload `id` will never be delivered. `reason` is a word of the ledger,
    /// `words` is the destination's own explanation.
    pub fn refused(&mut self, id: usize, reason: &'static str, words: impl Into<String>) {
        // A payload that is settled already keeps its first outcome.
        if self.entries[id].open {
            self.refusals.push((id, reason));
        }
        self.one_refused(id, reason, words);
    }

    /// Records that one payload will never be delivered although the destination does not say
    /// which. `id` stands for it in the ledger; its points are not listed in `Settled::places`.
    pub fn one_refused(&mut self, id: usize, reason: &'static str, words: impl Into<String>) {
        self.set_aside(id, reason);
        self.settled.words.insert(reason, words.into());
        self.settled.latest = Some(reason);
    }

    /// Records that the payload `id` is dropped on purpose, without an explanation to log
    /// (`debug_mode`).
    pub fn set_aside(&mut self, id: usize, reason: &'static str) {
        let points = self.close(id);
        *self.settled.refused.entry(reason).or_default() += points;
    }

    /// Records that every pending payload was delivered.
    pub fn all_delivered(&mut self) {
        for id in 0..self.entries.len() {
            self.delivered(id);
        }
    }

    /// Takes the outcomes since the previous call.
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

    /// Closes the payload `id`. Returns the number of its points if it was open, and 0 if not.
    fn close(&mut self, id: usize) -> u64 {
        let entry = &mut self.entries[id];
        // A second report, such as a late acknowledgement, must not count the points twice.
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
    fn delivered_payloads_are_not_pending() {
        let mut batch = batch_of(&[1, 2, 4]);
        batch.delivered(1);
        let bodies: Vec<_> = batch.pending().map(|payload| payload.bytes).collect();
        assert_eq!(bodies, [b"body 0", b"body 2"]);
        assert_eq!(batch.points_pending(), 5);
        assert_eq!([0, 1, 2].map(|id| batch.points_of(id)), [1, 2, 4]);
        assert!(!batch.is_settled());
    }

    #[test]
    fn pending_payloads_name_the_remaining_points() {
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
    fn refused_points_are_identified_in_any_order_unless_the_destination_does_not_say_which() {
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
    fn points_have_their_index_in_the_snapshot_although_payloads_are_in_another_order() {
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
