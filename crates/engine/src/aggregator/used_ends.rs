//! The ends of windows that were used as timestamps, so that none is used again when the wall clock
//! is set back.

use model::UsedRange;

use super::multiples::next_multiple;

/// Maximum number of ranges. Every step of the clock adds at most two, and every window that a run
/// before left open and no run completes adds one.
const RANGES_MAX: usize = 32;
/// Later times and more passes, which only a damaged file can claim, could overflow.
const TIME_MAX_MS: u64 = 1 << 44;
const TIMES_MAX: u64 = 1 << 32;

/// Ranges of the wall clock in which windows ended.
#[derive(Debug, Default)]
pub(super) struct UsedEnds {
    /// The range that grows comes last.
    ranges: Vec<UsedRange>,
}

impl UsedEnds {
    /// Continues with the ranges of an earlier run.
    pub(super) fn restored(mut ranges: Vec<UsedRange>) -> Self {
        ranges.retain(|range| {
            range.first_ms <= range.last_ms
                && range.last_ms <= TIME_MAX_MS
                && range.times <= TIMES_MAX
        });
        ranges.truncate(RANGES_MAX);
        Self { ranges }
    }

    /// All ranges, for the next run.
    pub(super) fn ranges(&self) -> &[UsedRange] {
        &self.ranges
    }

    /// How often windows have ended here.
    pub(super) fn times(&self, end_ms: u64) -> u64 {
        self.containing(end_ms).map(|range| range.times).max().unwrap_or(0)
    }

    /// The first multiple of `interval_ms`, from the multiple `end_ms` on, at which no window ended.
    pub(super) fn next_unused(&self, mut end_ms: u64, interval_ms: u64) -> u64 {
        // Each turn leaves at least one range behind for good.
        while let Some(last_ms) = self.containing(end_ms).map(|range| range.last_ms).max() {
            end_ms = next_multiple(last_ms, interval_ms);
        }
        end_ms
    }

    /// A window has ended here, at most `apart_ms` after the previous one if both belong together.
    pub(super) fn add(&mut self, end_ms: u64, apart_ms: u64) {
        let times = self.times(end_ms) + 1;
        let last_ms = end_ms + times - 1;
        if let Some(latest) = self.ranges.last_mut()
            && latest.times == times
            && (latest.last_ms..=latest.last_ms + apart_ms).contains(&end_ms)
        {
            latest.last_ms = last_ms;
            return;
        }
        if self.ranges.len() == RANGES_MAX {
            self.merge_nearest();
        }
        self.ranges.push(UsedRange { first_ms: end_ms, last_ms, times });
    }

    /// The timestamp of a window that did not end here in this run: an earlier run used it for the
    /// first part of a window, and no run completes that one.
    pub(super) fn add_timestamp(&mut self, timestamp_ms: u64) {
        // A window at a multiple that was used `n` times before has the timestamp multiple + `n`, and
        // the range of that multiple reaches at least to the millisecond before.
        let repeats = timestamp_ms.checked_sub(1).map_or(0, |before_ms| self.times(before_ms));
        let first_ms = timestamp_ms.saturating_sub(repeats);
        if self.ranges.len() == RANGES_MAX {
            self.merge_nearest();
        }
        // Before the range that grows, which the next window extends.
        let place = self.ranges.len().saturating_sub(1);
        let times = repeats + 1;
        self.ranges.insert(place, UsedRange { first_ms, last_ms: timestamp_ms, times });
    }

    fn containing(&self, end_ms: u64) -> impl Iterator<Item = &UsedRange> {
        self.ranges.iter().filter(move |range| (range.first_ms..=range.last_ms).contains(&end_ms))
    }

    /// Makes room: counts everything between the two ranges that are nearest as used.
    fn merge_nearest(&mut self) {
        self.ranges.sort_unstable_by_key(|range| range.first_ms);
        let gap = |place: &usize| {
            let (one, next) = (self.ranges[*place], self.ranges[*place + 1]);
            next.first_ms.saturating_sub(one.last_ms)
        };
        let Some(place) = (0..self.ranges.len() - 1).min_by_key(gap) else { return };
        let next = self.ranges.remove(place + 1);
        let merged = &mut self.ranges[place];
        merged.last_ms = merged.last_ms.max(next.last_ms);
        merged.times = merged.times.max(next.times);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The ends of windows in a row.
    fn pass(used: &mut UsedEnds, ends: impl Iterator<Item = u64>) -> Vec<u64> {
        ends.map(|end_ms| {
            let times = used.times(end_ms);
            used.add(end_ms, 10);
            times
        })
        .collect()
    }

    #[test]
    fn each_pass_over_the_same_time_counts() {
        let mut used = UsedEnds::default();
        assert_eq!(pass(&mut used, (100..=150).step_by(10)), [0; 6]);
        assert_eq!(pass(&mut used, (120..=170).step_by(10)), [1, 1, 1, 1, 0, 0]);
        assert_eq!(pass(&mut used, (110..=180).step_by(10)), [1, 2, 2, 2, 2, 1, 1, 0]);
        assert_eq!(used.next_unused(100, 10), 190);
        assert_eq!(used.next_unused(90, 10), 90);
    }

    #[test]
    fn an_excursion_uses_only_the_time_that_it_visited() {
        let mut used = UsedEnds::default();
        pass(&mut used, (100..=150).step_by(10));
        pass(&mut used, (9_000..=9_020).step_by(10));
        pass(&mut used, (160..=200).step_by(10));
        assert_eq!(used.next_unused(210, 10), 210);
        assert_eq!(used.next_unused(9_010, 10), 9_030);
    }

    #[test]
    fn the_two_nearest_ranges_are_joined_when_there_are_too_many() {
        let mut used = UsedEnds::default();
        let mut ends: Vec<u64> = (1..RANGES_MAX as u64).map(|number| number * 1_000).collect();
        ends.push(5_500);
        ends.push(100_000);
        pass(&mut used, ends.iter().copied());
        assert_eq!(used.ranges.len(), RANGES_MAX);
        assert!(ends.iter().all(|end_ms| used.times(*end_ms) == 1));
        let is_joined = |end_ms| used.times(end_ms) > 0;
        assert_eq!([4_500, 5_200, 5_800, 6_500].map(is_joined), [false, true, false, false]);
    }

    #[test]
    fn a_timestamp_counts_at_its_multiple_and_leaves_the_range_that_grows() {
        let mut used = UsedEnds::default();
        pass(&mut used, (100..=150).step_by(10));
        pass(&mut used, (900..=920).step_by(10));
        used.add_timestamp(160);
        used.add_timestamp(141);
        assert_eq!([140, 150, 160, 170].map(|end_ms| used.times(end_ms)), [2, 1, 1, 0]);
        pass(&mut used, (930..=950).step_by(10));
        let range = |first_ms, last_ms, times| UsedRange { first_ms, last_ms, times };
        let expected =
            [range(100, 150, 1), range(160, 160, 1), range(140, 141, 2), range(900, 950, 1)];
        assert_eq!(used.ranges(), expected);
    }

    #[test]
    fn timestamps_are_bounded_too() {
        let mut used = UsedEnds::default();
        used.add_timestamp(0);
        (1..100).for_each(|number| used.add_timestamp(number * 1_000));
        assert!(used.ranges.len() <= RANGES_MAX);
        assert!((0..100).all(|number| used.times(number * 1_000) > 0));
    }

    proptest! {
        #[test]
        fn the_ranges_are_bounded_and_never_forget_an_end(
            jumps in proptest::collection::vec((0_u64..100_000, 1_u64..20), 1..200),
        ) {
            let mut used = UsedEnds::default();
            let mut all = std::collections::HashMap::new();
            for (from, count) in jumps {
                for end in (from..from + count).map(|end| end * 10) {
                    let times = used.times(end);
                    prop_assert!(times >= *all.get(&end).unwrap_or(&0));
                    used.add(end, 10);
                    all.insert(end, times + 1);
                }
            }
            prop_assert!(used.ranges.len() <= RANGES_MAX);
            for (end, times) in all {
                prop_assert!(used.times(end) >= times);
            }
        }
    }
}
