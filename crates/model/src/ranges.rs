//! A selection of a snapshot's points.

use std::ops::Range;

/// A selection of a snapshot's points: ranges of their indexes, sorted, with gaps between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PointRanges(Vec<Range<usize>>);

impl PointRanges {
    /// The first `points` points.
    #[must_use]
    pub fn first(points: usize) -> Self {
        let mut ranges = Self::default();
        ranges.add(0..points);
        ranges
    }

    /// Adds points that follow all selected ones.
    pub fn add(&mut self, points: Range<usize>) {
        match self.0.last_mut() {
            Some(last) if last.end == points.start => last.end = points.end,
            _ if points.is_empty() => {}
            _ => self.0.push(points),
        }
    }

    /// Adds the points of another selection; no point is in both.
    pub fn join(&mut self, other: Self) {
        let mut all = std::mem::take(&mut self.0);
        all.extend(other.0);
        // Sorted first, so that `add` can join neighbours that come from different selections.
        all.sort_unstable_by_key(|range| range.start);
        all.into_iter().for_each(|range| self.add(range));
    }

    /// The first points of the selection, at most `points` of them.
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

    /// The same points in a snapshot that has `points` more at its beginning.
    #[must_use]
    pub fn behind(mut self, points: usize) -> Self {
        for range in &mut self.0 {
            *range = range.start + points..range.end + points;
        }
        self
    }

    /// The ranges, in order.
    #[must_use]
    pub fn ranges(&self) -> &[Range<usize>] {
        &self.0
    }

    /// The number of selected points.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().map(|range| range.len() as u64).sum()
    }

    /// The selected ones of `points`. Indexes beyond the end are ignored.
    pub fn of<'a, T>(&'a self, points: &'a [T]) -> impl Iterator<Item = &'a T> {
        self.0.iter().flat_map(|range| points.get(range.clone()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(ranges: &[(usize, usize)]) -> PointRanges {
        let mut selection = PointRanges::default();
        ranges.iter().for_each(|(start, end)| selection.add(*start..*end));
        selection
    }

    fn ranges(selection: &PointRanges) -> Vec<(usize, usize)> {
        selection.ranges().iter().map(|range| (range.start, range.end)).collect()
    }

    #[test]
    fn adjacent_ranges_become_one_and_empty_ones_are_left_out() {
        assert_eq!(ranges(&PointRanges::first(3)), [(0, 3)]);
        assert_eq!(ranges(&PointRanges::first(0)), []);
        assert_eq!(ranges(&selection(&[(1, 3), (3, 5), (5, 5), (7, 7), (8, 9)])), [(1, 5), (8, 9)]);
    }

    #[test]
    fn selections_with_alternating_ranges_join_in_order() {
        let mut joined = selection(&[(0, 2), (6, 8)]);
        joined.join(selection(&[(2, 4), (10, 11)]));
        joined.join(selection(&[(5, 6)]));
        assert_eq!(ranges(&joined), [(0, 4), (5, 8), (10, 11)]);
    }

    #[test]
    fn the_first_points_of_a_selection_can_end_within_a_range() {
        let all = selection(&[(2, 5), (7, 10), (20, 30)]);
        for (points, expected) in [
            (0, vec![]),
            (2, vec![(2, 4)]),
            (3, vec![(2, 5)]),
            (4, vec![(2, 5), (7, 8)]),
            (8, vec![(2, 5), (7, 10), (20, 22)]),
            (100, vec![(2, 5), (7, 10), (20, 30)]),
        ] {
            assert_eq!(ranges(&all.at_most(points)), expected, "{points}");
        }
    }

    #[test]
    fn points_at_the_beginning_move_the_ranges() {
        assert_eq!(ranges(&selection(&[(1, 3), (5, 6)]).behind(4)), [(5, 7), (9, 10)]);
    }

    #[test]
    fn the_selected_points_are_counted_and_returned_in_order() {
        let selection = selection(&[(1, 3), (4, 6)]);
        assert_eq!(selection.count(), 4);
        let letters = ["a", "b", "c", "d", "e", "f", "g"];
        assert_eq!(selection.of(&letters).copied().collect::<String>(), "bcef");
    }
}
