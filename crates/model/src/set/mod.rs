//! Distinct members of a set in one window.

mod sketch;

use std::fmt;

use hashbrown::HashSet;
use xxhash_rust::xxh3::xxh3_64;

use self::sketch::SetSketch;

/// A set counts exactly up to this many members; beyond, a sketch of fixed size replaces them.
const EXACT_MEMBERS_MAX: usize = 4_096;

type MemberHashes = HashSet<u64, foldhash::fast::RandomState>;

/// The distinct members of a set.
///
/// A member is represented by a 64-bit hash that is the same on every host, so that sets of two
/// hosts can be merged downstream. Two of 4,096 members share a hash once in 10^12 windows.
#[derive(Clone)]
pub struct DistinctSet {
    store: SetStore,
}

#[derive(Clone)]
enum SetStore {
    Exact(MemberHashes),
    Sketch(Box<SetSketch>),
}

/// The contents of a set in a form that can be stored.
#[derive(Debug)]
pub enum SetParts {
    /// The members' hashes, sorted.
    Members(Vec<u64>),
    /// More members than are kept, as a serialized HLL sketch of Apache DataSketches. Each member
    /// is a 64-bit integer there: its hash.
    Sketch(Vec<u8>),
}

impl Default for DistinctSet {
    fn default() -> Self {
        Self { store: SetStore::Exact(MemberHashes::default()) }
    }
}

impl DistinctSet {
    /// Adds a member.
    pub fn insert(&mut self, member: &[u8]) {
        self.insert_hash(member_hash(member));
    }

    fn insert_hash(&mut self, hash: u64) {
        match &mut self.store {
            SetStore::Exact(members) => {
                // Before the size is checked: a member that is already in a full set must not turn
                // it into a sketch.
                members.insert(hash);
                if members.len() > EXACT_MEMBERS_MAX {
                    self.store = SetStore::Sketch(sketch_of(members));
                }
            }
            SetStore::Sketch(sketch) => sketch.insert(hash),
        }
    }

    /// Adds all members of `other`.
    pub fn merge(&mut self, other: Self) {
        match other.store {
            SetStore::Exact(members) => members.iter().for_each(|hash| self.insert_hash(*hash)),
            SetStore::Sketch(mut theirs) => match &mut self.store {
                SetStore::Sketch(own) => own.merge(&theirs),
                SetStore::Exact(members) => {
                    // The members go into the sketch, because a sketch cannot list its members.
                    members.iter().for_each(|hash| theirs.insert(*hash));
                    self.store = SetStore::Sketch(theirs);
                }
            },
        }
    }

    /// The members' hashes in no order, or `None` if there are too many to be kept.
    #[must_use]
    pub fn member_hashes(&self) -> Option<impl Iterator<Item = u64> + '_> {
        match &self.store {
            SetStore::Exact(members) => Some(members.iter().copied()),
            SetStore::Sketch(_) => None,
        }
    }

    /// The number of distinct members: exact up to 4,096, then within 2 %.
    #[must_use]
    pub fn count(&self) -> f64 {
        match &self.store {
            SetStore::Exact(members) => members.len() as f64,
            SetStore::Sketch(sketch) => sketch.count().round(),
        }
    }

    /// The contents, to be stored.
    #[must_use]
    pub fn parts(&self) -> SetParts {
        match &self.store {
            SetStore::Exact(members) => {
                let mut members: Vec<u64> = members.iter().copied().collect();
                // The order of a hash table differs from run to run. Sorted, equal sets have equal
                // bytes.
                members.sort_unstable();
                SetParts::Members(members)
            }
            SetStore::Sketch(sketch) => SetParts::Sketch(sketch.to_bytes()),
        }
    }

    /// Makes a set of its stored contents; `None` if these are not the contents of a set.
    #[must_use]
    pub fn from_parts(parts: SetParts) -> Option<Self> {
        let store = match parts {
            SetParts::Members(members) if members.len() > EXACT_MEMBERS_MAX => return None,
            SetParts::Members(members) => SetStore::Exact(members.into_iter().collect()),
            SetParts::Sketch(bytes) => SetStore::Sketch(Box::new(SetSketch::from_bytes(&bytes)?)),
        };
        Some(Self { store })
    }

    /// Makes a set of the registers that tallyd 0.1.0 stored for more than 4,096 members; `None` for
    /// any other bytes.
    ///
    /// Such sets can be counted and merged with each other. A member that is in such a set and in
    /// another one is counted twice, because the registers were chosen by another hash.
    #[must_use]
    pub fn from_registers_of_0_1(registers: &[u8]) -> Option<Self> {
        let sketch = SetSketch::from_registers_of_0_1(registers)?;
        Some(Self { store: SetStore::Sketch(Box::new(sketch)) })
    }
}

impl fmt::Debug for DistinctSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.store {
            SetStore::Exact(members) => write!(formatter, "DistinctSet({} members)", members.len()),
            SetStore::Sketch(_) => formatter.write_str("DistinctSet(sketch)"),
        }
    }
}

/// The hash that represents a member, on every host and in every window.
fn member_hash(member: &[u8]) -> u64 {
    xxh3_64(member)
}

// Once for each set and window: inlined, it would slow down the recording of members.
#[cold]
fn sketch_of(members: &MemberHashes) -> Box<SetSketch> {
    let mut sketch = SetSketch::default();
    members.iter().for_each(|hash| sketch.insert(*hash));
    Box::new(sketch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_of(members: std::ops::Range<u32>) -> DistinctSet {
        let mut set = DistinctSet::default();
        for member in members {
            set.insert(member.to_string().as_bytes());
        }
        set
    }

    #[test]
    fn members_count_once_however_often_they_come() {
        let mut set = DistinctSet::default();
        for member in ["+4930123", "+4930123", "-x"] {
            set.insert(member.as_bytes());
        }
        assert_eq!(set.count(), 2.0);
    }

    #[test]
    fn a_set_is_exact_up_to_its_limit_and_close_beyond() {
        assert_eq!(set_of(0..4096).count(), 4096.0);
        for size in [4097, 5_000, 20_000, 100_000, 1_000_000] {
            let error = (set_of(0..size).count() / f64::from(size) - 1.0).abs();
            assert!(error < 0.02, "{size} members: off by {error}");
        }
    }

    #[test]
    fn merged_sets_count_shared_members_once() {
        let mut small = set_of(0..600);
        small.merge(set_of(400..1000));
        assert_eq!(small.count(), 1000.0);
        for (left, right) in
            [(0..100, 50..50_000), (0..50_000, 0..100), (0..30_000, 20_000..50_000)]
        {
            let mut set = set_of(left);
            set.merge(set_of(right));
            assert!((set.count() / 50_000.0 - 1.0).abs() < 0.02);
        }
    }

    /// The parts as they are stored: equal bytes are equal sets.
    fn stored(set: &DistinctSet) -> Vec<u8> {
        match set.parts() {
            SetParts::Members(members) => members.into_iter().flat_map(u64::to_le_bytes).collect(),
            SetParts::Sketch(bytes) => bytes,
        }
    }

    #[test]
    fn parts_of_several_listeners_merge_to_the_set_that_one_would_have_recorded() {
        // Around the sizes at which a set becomes a sketch, and a sketch changes its form.
        for size in [10, 4_000, 4_096, 4_097, 6_100, 6_144, 6_145, 6_200, 9_000, 40_000] {
            let whole = set_of(0..size);
            for cut in [0, 1, size / 3, size / 2, size] {
                let shared = (cut / 2)..(cut + (size - cut) / 2);
                let parts = [set_of(0..cut), set_of(shared), set_of(cut..size)];
                for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0], [2, 1, 0]] {
                    let mut merged = DistinctSet::default();
                    order.into_iter().for_each(|part: usize| merged.merge(parts[part].clone()));
                    assert!(stored(&merged) == stored(&whole), "{size} cut at {cut}, {order:?}");
                    assert_eq!(merged.count(), whole.count());
                }
            }
        }
    }

    #[test]
    fn stored_sets_are_read_and_continued() {
        for size in [0, 1, 4_096, 4_097, 7_000] {
            let set = set_of(0..size);
            let mut again = DistinctSet::from_parts(set.parts()).unwrap();
            assert!(stored(&again) == stored(&set), "{size}");
            assert_eq!(again.count(), set.count());
            (size..size + 500).for_each(|member| again.insert(member.to_string().as_bytes()));
            assert!(stored(&again) == stored(&set_of(0..size + 500)), "{size}");
        }
        assert!(DistinctSet::from_parts(SetParts::Members((0..4_097).collect())).is_none());
    }
}
