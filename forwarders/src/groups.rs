//! Points that look the same at a destination, merged.

use std::hash::BuildHasher;
use std::iter;
use std::ops::Range;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use model::{MetricKind, Series, Snapshot, Value};

/// The points of a window by what a destination shows of their series.
///
/// Series that differ in the model can look the same there: a tag is left out, a character
/// replaced. Written one after the other, the last would replace the others or count beside them.
/// Its memory is reused from window to window.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// What is shown, one series behind the other.
    text: Vec<u8>,
    list: Vec<Entered>,
    /// Points that are in a group with an earlier one: the group's place in `list`, and their own in
    /// the snapshot.
    joined: Vec<(usize, usize)>,
    /// Places in `list`, by text and kind.
    index: HashTable<usize>,
    hasher: RandomState,
}

/// Points that look the same.
#[derive(Debug)]
pub(crate) struct MergedPoints<'a> {
    /// What the series look like, in the two parts that were written.
    pub(crate) front: &'a [u8],
    pub(crate) back: &'a [u8],
    /// How many points they are.
    pub(crate) points: u64,
    /// The value of all of them.
    pub(crate) value: &'a Value,
}

#[derive(Debug)]
struct Entered {
    kind: MetricKind,
    front: Range<usize>,
    back: Range<usize>,
    /// The first point of the snapshot in it.
    first: usize,
    points: u64,
    /// The value of all of them, where there are several.
    merged: Option<Value>,
}

impl Groups {
    /// Takes the points of a window instead of those that it had. `write` appends what is shown of
    /// a series, and returns where its second part starts.
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
            self.text.truncate(start);
            let entered = &mut self.list[place];
            let of_first = &snapshot.points[entered.first].value;
            let merged = entered.merged.get_or_insert_with(|| of_first.clone());
            merged.merge(point.value.clone(), snapshot);
            entered.points += 1;
            self.joined.push((place, first));
        }
    }

    /// The groups in the order of their first points; `snapshot` is the one that they are of.
    pub(crate) fn iter<'a>(
        &'a self,
        snapshot: &'a Snapshot,
    ) -> impl Iterator<Item = MergedPoints<'a>> {
        self.list.iter().map(|entered| MergedPoints {
            front: &self.text[entered.front.clone()],
            back: &self.text[entered.back.clone()],
            points: entered.points,
            value: entered.merged.as_ref().unwrap_or(&snapshot.points[entered.first].value),
        })
    }

    /// Where the points of the groups are in the snapshot, one group's behind the other's; `None` if
    /// that is just its order.
    #[cfg(feature = "graphite")]
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

    /// The group that has the text at the end of `text`; where there is none, the next one that is
    /// pushed gets it.
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
