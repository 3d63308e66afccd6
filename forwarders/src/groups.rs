//! Merges points that look the same at a destination.

use std::hash::BuildHasher;
use std::iter;
use std::ops::Range;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use model::{MetricKind, Series, Snapshot, Value};

/// The points of a window, grouped by the text that a destination shows for their series.
///
/// Series that differ in the model can look the same at the destination, because it leaves out a
/// tag or replaces a character. Sent separately, one of them would overwrite the others or be
/// counted in addition to them. The memory is reused from window to window.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// The texts of all series, concatenated.
    text: Vec<u8>,
    list: Vec<Entered>,
    /// The points that share a group with an earlier point: the group's index in `list` and the
    /// point's index in the snapshot.
    joined: Vec<(usize, usize)>,
    /// Indexes into `list`, by text and kind.
    index: HashTable<usize>,
    hasher: RandomState,
}

/// Points whose series look the same.
#[derive(Debug)]
pub(crate) struct MergedPoints<'a> {
    /// The text of the series, in the two parts that `write` of [`Groups::fill`] has appended.
    pub(crate) front: &'a [u8],
    pub(crate) back: &'a [u8],
    /// Number of points in the group.
    pub(crate) points: u64,
    /// The series of the first point.
    pub(crate) series: &'a Series,
    /// The merged value of the points.
    pub(crate) value: &'a Value,
}

#[derive(Debug)]
struct Entered {
    kind: MetricKind,
    front: Range<usize>,
    back: Range<usize>,
    /// Index of the group's first point in the snapshot.
    first: usize,
    points: u64,
    /// The merged value, if the group has several points.
    merged: Option<Value>,
}

impl Groups {
    /// Replaces the content with the points of a window. `write` appends the text of a series and
    /// returns the position at which its second part starts.
    pub(crate) fn fill(
        &mut self,
        snapshot: &Snapshot,
        write: impl Fn(&mut Vec<u8>, &Series) -> usize,
    ) {
        self.text.clear();
        self.list.clear();
        self.joined.clear();
        self.index.clear();
        for (first, point) in snapshot.points.iter().enumerate() {
            let start = self.text.len();
            let back = write(&mut self.text, &point.series);
            let kind = point.series.kind();
            let (front, back) = (start..back, back..self.text.len());
            let Some(place) = self.place(kind, start) else {
                self.list.push(Entered { kind, front, back, first, points: 1, merged: None });
                continue;
            };
            // Only the first point of a group keeps its text.
            self.text.truncate(start);
            let entered = &mut self.list[place];
            let of_first = &snapshot.points[entered.first].value;
            // Cloned only here: most groups have one point, whose value is used in place.
            let merged = entered.merged.get_or_insert_with(|| of_first.clone());
            merged.merge(point.value.clone(), snapshot);
            entered.points += 1;
            self.joined.push((place, first));
        }
    }

    /// Iterates over the groups in the order of their first points. `snapshot` must be the snapshot
    /// that [`fill`](Self::fill) was called with.
    pub(crate) fn iter<'a>(
        &'a self,
        snapshot: &'a Snapshot,
    ) -> impl Iterator<Item = MergedPoints<'a>> {
        self.list.iter().map(|entered| MergedPoints {
            front: &self.text[entered.front.clone()],
            back: &self.text[entered.back.clone()],
            points: entered.points,
            series: &snapshot.points[entered.first].series,
            value: entered.merged.as_ref().unwrap_or(&snapshot.points[entered.first].value),
        })
    }

    /// Returns the points' indexes in the snapshot, group after group; `None` if that is the order
    /// of the snapshot.
    pub(crate) fn places(&mut self) -> Option<impl Iterator<Item = usize>> {
        if self.joined.is_empty() {
            return None;
        }
        self.joined.sort_unstable();
        let mut joined = self.joined.as_slice();
        Some(self.list.iter().enumerate().flat_map(move |(place, entered)| {
            let own = joined.partition_point(|(group, _)| *group == place);
            let (own, rest) = joined.split_at(own);
            joined = rest;
            iter::once(entered.first).chain(own.iter().map(|(_, point)| *point))
        }))
    }

    /// Returns the group whose text equals the end of `text`, from `start`. Without one, reserves
    /// the text for the next group in `list`.
    fn place(&mut self, kind: MetricKind, start: usize) -> Option<usize> {
        let Self { text, list, index, hasher, .. } = self;
        let hash_of = |kind: MetricKind, text: &[u8]| hasher.hash_one((kind, text));
        let of = |entered: &Entered| &text[entered.front.start..entered.back.end];
        let wanted = &text[start..];
        let entry = index.entry(
            hash_of(kind, wanted),
            |place| list[*place].kind == kind && of(&list[*place]) == wanted,
            |place| hash_of(list[*place].kind, of(&list[*place])),
        );
        match entry {
            Entry::Occupied(place) => Some(*place.get()),
            Entry::Vacant(vacant) => {
                vacant.insert(list.len());
                None
            }
        }
    }
}
