//! Finds the record for which brokers refuse a batch.
//!
//! Brokers judge batches: one record that is too large, or many small ones in a batch that is
//! larger than the topic takes, and all of it is refused. So the records of a refused batch are
//! suspects, and are sent again in groups, each half as large as the one that failed and twice as
//! large as the one that passed. A record that fails alone is refused for good; the others arrive.

/// No first group is larger; half of librdkafka's usual batch.
const FIRST_BYTES_MAX: usize = 500_000;

/// What was learned of a row of groups.
#[derive(Debug, Default)]
pub(super) struct Sieve {
    /// Most bytes of the next group; `None` as long as there was none.
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

impl Sieve {
    /// Whether a group is on its way.
    pub(super) fn is_trying(&self) -> bool {
        self.group.records > 0
    }

    /// Makes ready for a group out of suspects of so many bytes altogether.
    pub(super) fn start(&mut self, suspect_bytes: usize) {
        self.budget.get_or_insert((suspect_bytes / 2).clamp(1, FIRST_BYTES_MAX));
    }

    /// Whether the group has room for one more record, as it always has for a first.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        !self.is_trying() || self.group.bytes + bytes <= self.budget.unwrap_or(0)
    }

    /// A record goes with the group.
    pub(super) fn add(&mut self, bytes: usize) {
        self.group.records += 1;
        self.group.bytes += bytes;
    }

    /// A record of the group was refused; returns whether it is to blame, as it was alone.
    pub(super) fn refused(&mut self) -> bool {
        self.group.failed = true;
        let alone = self.group.records == 1;
        self.refused_alone += u64::from(alone);
        alone
    }

    /// All of the group was reported on.
    pub(super) fn close(&mut self) {
        let RecordGroup { records, bytes, failed } = std::mem::take(&mut self.group);
        if failed {
            self.budget = Some((bytes / 2).max(1));
        } else {
            self.budget = Some(bytes.max(self.budget.unwrap_or(0)).saturating_mul(2));
            if records > 1 {
                self.largest_passed = self.largest_passed.max(bytes);
            }
        }
    }

    /// The group says nothing, as something else went wrong with it.
    pub(super) fn call_off(&mut self) {
        self.group = RecordGroup::default();
    }

    /// All suspects are delivered or refused. When none of them was to blame, the batch as such was
    /// too large: returns the most bytes that passed.
    pub(super) fn finish(&mut self) -> Option<usize> {
        let Self { largest_passed, refused_alone, budget, .. } = std::mem::take(self);
        let batch_to_blame = budget.is_some() && refused_alone == 0 && largest_passed > 0;
        batch_to_blame.then_some(largest_passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sifts records through brokers that refuse by `refuses`; returns who was blamed, how many
    /// groups it took and what was learned.
    fn sift(
        sizes: &[usize],
        refuses: impl Fn(&[usize]) -> bool,
    ) -> (Vec<usize>, usize, Option<usize>) {
        let mut sieve = Sieve::default();
        let mut suspects: Vec<usize> = (0..sizes.len()).collect();
        let (mut blamed, mut groups) = (Vec::new(), 0);
        while !suspects.is_empty() {
            sieve.start(suspects.iter().map(|id| sizes[*id]).sum());
            let mut group = Vec::new();
            for id in &suspects {
                if !sieve.has_room(sizes[*id]) {
                    break;
                }
                sieve.add(sizes[*id]);
                group.push(*id);
            }
            groups += 1;
            assert!(groups < 1000, "it does not end");
            if refuses(&group) {
                blamed.extend(group.iter().filter(|_| sieve.refused()));
                suspects.retain(|id| !blamed.contains(id));
            } else {
                suspects.retain(|id| !group.contains(id));
            }
            sieve.close();
        }
        (blamed, groups, sieve.finish())
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
