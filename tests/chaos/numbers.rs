//! Sets of numbers of samples, as ranges.

/// From the first number to the last.
pub(crate) type Range = (u64, u64);

/// Sorted ranges without overlap.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers(Vec<Range>);

impl Numbers {
    /// The union of ranges, and the overlaps between them.
    pub(crate) fn of(ranges: impl IntoIterator<Item = Range>) -> (Self, Vec<Range>) {
        let mut sorted: Vec<Range> =
            ranges.into_iter().filter(|(first, last)| first <= last).collect();
        sorted.sort_unstable();
        let (mut union, mut overlaps) = (Vec::<Range>::new(), Vec::new());
        for (first, last) in sorted {
            match union.last_mut() {
                Some(before) if first <= before.1 => {
                    overlaps.push((first, last.min(before.1)));
                    before.1 = before.1.max(last);
                }
                Some(before) if first == before.1 + 1 => before.1 = last,
                _ => union.push((first, last)),
            }
        }
        (Self(union), overlaps)
    }

    /// The ranges up to `last` without those in `others`.
    pub(crate) fn missing(&self, last: u64) -> Self {
        let (mut missing, mut next) = (Vec::new(), 1);
        for range in &self.0 {
            if range.0 > next {
                missing.push((next, range.0 - 1));
            }
            next = range.1 + 1;
        }
        if next <= last {
            missing.push((next, last));
        }
        Self(missing)
    }

    pub(crate) fn without(&self, other: &Self) -> Self {
        let mut rest = Vec::new();
        for &(begin, last) in &self.0 {
            let mut first = begin;
            for &(from, to) in other.0.iter().filter(|(from, to)| *to >= begin && *from <= last) {
                if from > first {
                    rest.push((first, from - 1));
                }
                first = to + 1;
            }
            if first <= last {
                rest.push((first, last));
            }
        }
        Self(rest)
    }

    pub(crate) fn ranges(&self) -> &[Range] {
        &self.0
    }

    /// How many numbers there are.
    pub(crate) fn count(&self) -> u64 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// How many numbers above `bound` there are.
    pub(crate) fn count_above(&self, bound: u64) -> u64 {
        self.0.iter().map(|(first, last)| (last + 1).saturating_sub((*first).max(bound + 1))).sum()
    }
}

#[test]
fn ranges_are_united_and_subtracted() {
    let (numbers, overlaps) = Numbers::of([(8, 9), (1, 3), (4, 5), (3, 3)]);
    assert_eq!(numbers.ranges(), [(1, 5), (8, 9)]);
    assert_eq!(overlaps, [(3, 3)]);
    assert_eq!(numbers.missing(12).ranges(), [(6, 7), (10, 12)]);
    assert_eq!(numbers.without(&Numbers(vec![(2, 2), (5, 8)])).ranges(), [(1, 1), (3, 4), (9, 9)]);
    assert_eq!((numbers.count(), numbers.count_above(4)), (7, 3));
}
