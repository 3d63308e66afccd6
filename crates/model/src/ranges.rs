//! Some points of a snapshot, by their places in it.

use std::ops::Range;

/// Points of a snapshot by their places in it: ranges in order, none of which touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PointRanges(Vec<Range<usize>>);

impl PointRanges {
    /// The first so many points.
    #[must_use]
    pub fn first(points: usize) -> Self {
        let mut ranges = Self::default();
        ranges.add(0..points);
        ranges
    }

    /// Adds points that come after all others.
    pub fn add(&mut self, points: Range<usize>) {
        match self.0.last_mut() {
            Some(last) if last.end == points.start => last.end = points.end,
            _ if points.is_empty() => {}
            _ => self.0.push(points),
        }
    }

    /// Adds points that are none of these.
    pub fn join(&mut self, other: Self) {
        let mut all = std::mem::take(&mut self.0);
        all.extend(other.0);
        all.sort_unstable_by_key(|range| range.start);
        all.into_iter().for_each(|range| self.add(range));
    }

    /// At most so many of them, from the beginning.
    #[must_use]
    pub fn at_most(&self, points: usize) -> Self {
        let (mut few, mut room) = (Self::default(), points);
        for range in &self.0 {
            let end = range.end.min(range.start + room);
            few.add(range.start..end);
            room -= end - range.start;
        }
        few
    }

    /// The same points, where so many come before them.
    #[must_use]
    pub fn behind(mut self, points: usize) -> Self {
        for range in &mut self.0 {
            *range = range.start + points..range.end + points;
        }
        self
    }

    /// The ranges themselves, in order.
    #[must_use]
    pub fn ranges(&self) -> &[Range<usize>] {
        &self.0
    }

    /// How many points these are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().map(|range| range.len() as u64).sum()
    }

    /// These of all the points; a place beyond the end is none.
    pub fn of<'a, T>(&'a self, points: &'a [T]) -> impl Iterator<Item = &'a T> {
        self.0.iter().flat_map(|range| points.get(range.clone()).unwrap_or_default())
    }
}
