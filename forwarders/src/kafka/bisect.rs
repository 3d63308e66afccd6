//! Finds the record for which brokers refuse a batch.
//!
//! Brokers accept or refuse whole batches. They refuse a batch because of one record that is too
//! large, or because the batch of many small records is larger than the topic allows. The records of
//! a refused batch are therefore suspects. They are sent again in groups, each half as large as a
//! group that failed or twice as large as a group that passed. A record that fails alone is refused
//! permanently; the others are delivered.

/// Maximum size of the first group, in bytes: half of librdkafka's default batch.
const FIRST_BYTES_MAX: usize = 500_000;

/// The progress of a search through the suspects of a batch.
#[derive(Debug, Default)]
pub(super) struct RecordBisect {
    /// Maximum size of the next group, in bytes; `None` before the first group.
    budget: Option<usize>,
    group: RecordGroup,
    largest_passed: usize,
    refused_alone: u64,
}

/// The records that are with the brokers at the same time.
#[derive(Debug, Default)]
struct RecordGroup {
    records: usize,
    bytes: usize,
    failed: bool,
}

impl RecordBisect {
    /// Returns whether a group has been handed over and awaits reports.
    pub(super) fn is_trying(&self) -> bool {
        self.group.records > 0
    }

    /// Prepares a group from suspects with a total size of `suspect_bytes`.
    pub(super) fn start(&mut self, suspect_bytes: usize) {
        // Only the first call counts: afterwards, the outcome of each group sets the size of the
        // next.
        self.budget.get_or_insert((suspect_bytes / 2).clamp(1, FIRST_BYTES_MAX));
    }

    /// Returns whether the group has room for one more record; an empty group always has.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        !self.is_trying() || self.group.bytes + bytes <= self.budget.unwrap_or(0)
    }

    /// Counts a record that was handed over with the group.
    pub(super) fn add(&mut self, bytes: usize) {
        self.group.records += 1;
        self.group.bytes += bytes;
    }

    /// Notes that a record of the group was refused. Returns whether the record is the cause,
    /// because it was alone.
    pub(super) fn refused(&mut self) -> bool {
        self.group.failed = true;
        let alone = self.group.records == 1;
        self.refused_alone += u64::from(alone);
        alone
    }

    /// Ends the group after its last report and sets the size of the next.
    pub(super) fn close(&mut self) {
        let RecordGroup { records, bytes, failed } = std::mem::take(&mut self.group);
        if failed {
            self.budget = Some((bytes / 2).max(1));
        } else {
            // The group may be far below its budget, because the queue was full or few suspects are
            // left.
            self.budget = Some(bytes.max(self.budget.unwrap_or(0)).saturating_mul(2));
            // A record that passes alone does not show which batch size the topic allows.
            if records > 1 {
                self.largest_passed = self.largest_passed.max(bytes);
            }
        }
    }

    /// Discards the group: another error shows nothing about its size or its records.
    pub(super) fn call_off(&mut self) {
        self.group = RecordGroup::default();
    }

    /// Ends the search when all suspects are delivered or refused. If no record was the cause, the
    /// batch itself was too large: returns the size of the largest group that passed, in bytes.
    pub(super) fn finish(&mut self) -> Option<usize> {
        let Self { largest_passed, refused_alone, budget, .. } = std::mem::take(self);
        let batch_to_blame = budget.is_some() && refused_alone == 0 && largest_passed > 0;
        batch_to_blame.then_some(largest_passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches records of the given sizes with brokers that refuse by `refuses`. Returns the
    /// refused records, the number of groups and the result of the search.
    fn sift(
        sizes: &[usize],
        refuses: impl Fn(&[usize]) -> bool,
    ) -> (Vec<usize>, usize, Option<usize>) {
        let mut bisect = RecordBisect::default();
        let mut suspects: Vec<usize> = (0..sizes.len()).collect();
        let (mut blamed, mut groups) = (Vec::new(), 0);
        while !suspects.is_empty() {
            bisect.start(suspects.iter().map(|id| sizes[*id]).sum());
            let mut group = Vec::new();
            for id in &suspects {
                if !bisect.has_room(sizes[*id]) {
                    break;
                }
                bisect.add(sizes[*id]);
                group.push(*id);
            }
            groups += 1;
            assert!(groups < 1000, "it does not end");
            if refuses(&group) {
                blamed.extend(group.iter().filter(|_| bisect.refused()));
                suspects.retain(|id| !blamed.contains(id));
            } else {
                suspects.retain(|id| !group.contains(id));
            }
            bisect.close();
        }
        (blamed, groups, bisect.finish())
    }

    #[test]
    fn the_one_bad_record_of_many_is_found_in_few_groups() {
        let sizes = vec![200; 5_000];
        for bad in [0, 1, 2_500, 4_999] {
            let (blamed, groups, learned) = sift(&sizes, |group| group.contains(&bad));
            assert_eq!((blamed, learned), (vec![bad], None));
            assert!(groups <= 40, "{groups} groups");
        }
    }

    #[test]
    fn a_topic_that_takes_only_small_batches_loses_nothing_and_the_size_is_learned() {
        let sizes = vec![200; 5_000];
        let (blamed, _, learned) = sift(&sizes, |group| group.len() * 200 > 10_000);
        assert!(blamed.is_empty());
        assert!(matches!(learned, Some(5_000..=10_000)), "{learned:?}");
    }

    #[test]
    fn several_bad_records_are_each_found() {
        let sizes: Vec<usize> =
            (0..1_000).map(|id| if id % 250 == 7 { 90_000 } else { 100 }).collect();
        let (blamed, ..) = sift(&sizes, |group| group.iter().any(|id| sizes[*id] == 90_000));
        assert_eq!(blamed, [7, 257, 507, 757]);
    }
}
