//! Distinct members of a set in one window.

#[cfg(test)]
mod forgery;
mod seed;
mod sketch;

use std::fmt;

use hashbrown::HashSet;

pub use self::seed::SetSeed;
use self::sketch::SetSketch;
use crate::heap::allocation;

/// A set counts exactly up to this many members; beyond, a sketch of fixed size replaces them.
const EXACT_MEMBERS_MAX: usize = 4_096;

type MemberHashes = HashSet<u64, foldhash::fast::RandomState>;

/// The distinct members of a set.
///
/// A member is represented by a 64-bit hash with a secret seed. Sets of two hosts can be merged
/// downstream if they have the same seed. Two of 4,096 members share a hash once in 10^12 windows.
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
    /// Adds a member. All members of a set need the same seed.
    pub fn insert(&mut self, member: &[u8], seed: &SetSeed) {
        self.insert_hash(seed.hash(member));
    }

    fn insert_hash(&mut self, hash: u64) {
        match &mut self.store {
            SetStore::Exact(members) => {
                // Before the size is checked: a member that is already in a full set must not turn
                // it into a sketch.
                members.insert(hash);
                if members.len() > EXACT_MEMBERS_MAX {
                    self.store = SetStore::Sketch(Box::new(sketch_of(&*members)));
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

    /// An estimate of the memory that the members occupy, without the set itself.
    pub(crate) fn heap_bytes(&self) -> usize {
        match &self.store {
            SetStore::Exact(members) => allocation(members.allocation_size()),
            SetStore::Sketch(sketch) => allocation(size_of::<SetSketch>()) + sketch.heap_bytes(),
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

    /// The set as a serialized HLL sketch of Apache DataSketches, even if its members are kept. Equal
    /// sets have equal bytes.
    #[must_use]
    pub fn to_datasketches(&self) -> Vec<u8> {
        match self.parts() {
            // In the order of the hashes: a sketch of few members keeps the order of its updates.
            SetParts::Members(members) => sketch_of(&members).to_bytes(),
            SetParts::Sketch(bytes) => bytes,
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

// Once for each set and window: inlined, it would slow down the recording of members.
#[cold]
fn sketch_of<'a>(members: impl IntoIterator<Item = &'a u64>) -> SetSketch {
    let mut sketch = SetSketch::default();
    members.into_iter().for_each(|hash| sketch.insert(*hash));
    sketch
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed() -> SetSeed {
        SetSeed::from_text("")
    }

    fn set_of(members: std::ops::Range<u32>) -> DistinctSet {
        let (mut set, seed) = (DistinctSet::default(), seed());
        for member in members {
            set.insert(member.to_string().as_bytes(), &seed);
        }
        set
    }

    #[test]
    fn members_count_once_however_often_they_come() {
        let mut set = DistinctSet::default();
        for member in ["+4930123", "+4930123", "-x"] {
            set.insert(member.as_bytes(), &seed());
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
    fn a_set_keeps_up_to_4096_members_and_then_a_sketch() {
        let (full, sketch) = (set_of(0..4_096), set_of(0..4_097));
        assert_eq!(full.member_hashes().unwrap().count(), 4_096);
        assert!(sketch.member_hashes().is_none());
        assert_eq!(format!("{full:?} {sketch:?}"), "DistinctSet(4096 members) DistinctSet(sketch)");
    }

    #[test]
    fn the_registers_of_version_0_1_are_a_set_that_continues() {
        // The registers are at the end of the bytes of a sketch.
        let SetParts::Sketch(bytes) = set_of(0..7_000).parts() else { panic!("a sketch") };
        let registers = &bytes[bytes.len() - (1 << 16)..];
        let mut set = DistinctSet::from_registers_of_0_1(registers).unwrap();
        assert!((set.count() / 7_000.0 - 1.0).abs() < 0.02, "{}", set.count());
        set.merge(set_of(7_000..9_000));
        assert!((set.count() / 9_000.0 - 1.0).abs() < 0.02, "{}", set.count());
        assert!(DistinctSet::from_registers_of_0_1(&registers[1..]).is_none());
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

    /// Members of eight bytes with these hashes, if the hash has no seed: XXH3 is a permutation for
    /// this length, which anyone can invert.
    fn members_with_hashes(hashes: impl Iterator<Item = u64>) -> Vec<[u8; 8]> {
        const MULTIPLIER: u64 = 0x9fb2_1c65_1e98_df25;
        // Newton's method doubles the number of right bits.
        let inverse = (0..6).fold(MULTIPLIER, |inverse, _| {
            inverse.wrapping_mul(2_u64.wrapping_sub(MULTIPLIER.wrapping_mul(inverse)))
        });
        let flip = u64::from_le_bytes(*b"\x7c\x01\x81\x2c\xf7\x21\xad\x1c")
            ^ u64::from_le_bytes(*b"\xde\xd4\x6d\xe9\x83\x90\x97\xdb");
        let member = |hash: u64| {
            let hash = hash ^ (hash >> 28) ^ (hash >> 56);
            let hash = hash.wrapping_mul(inverse);
            let hash = (hash ^ ((hash >> 35).wrapping_add(8))).wrapping_mul(inverse);
            let hash = (0..6).fold(hash, |hash, step| {
                hash ^ hash.rotate_left(49 << step) ^ hash.rotate_left(24 << step)
            });
            (hash ^ flip).rotate_left(32).to_le_bytes()
        };
        hashes.map(member).collect()
    }

    #[test]
    fn members_cannot_be_chosen_to_count_as_one_or_as_many() {
        // As `few` all have one place in the table of hashes; they are as many as `many`.
        let few = members_with_hashes((0..20_000).map(|low| 7 << 48 | 1 << 47 | low));
        let many = members_with_hashes((0..20_000).map(|place| place << 48));
        for member in &few {
            assert_eq!(xxhash_rust::xxh3::xxh3_64(member) >> 47, 15, "the inversion is right");
        }
        for members in [few, many] {
            for seed in [SetSeed::random(), SetSeed::from_text("shared")] {
                let mut set = DistinctSet::default();
                members.iter().for_each(|member| set.insert(member, &seed));
                let error = (set.count() / 20_000.0 - 1.0).abs();
                assert!(error < 0.03, "off by {error}");
            }
        }
    }

    #[test]
    fn sets_merge_only_with_the_same_seed() {
        let set = |seed: &SetSeed| {
            let mut set = DistinctSet::default();
            ["a", "b"].iter().for_each(|member| set.insert(member.as_bytes(), seed));
            set
        };
        let mut same = set(&SetSeed::from_text("x"));
        same.merge(set(&SetSeed::from_text("x")));
        let mut other = set(&SetSeed::random());
        other.merge(set(&SetSeed::random()));
        assert_eq!((same.count(), other.count()), (2.0, 4.0));
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
    fn a_set_of_any_size_is_written_as_a_sketch_that_depends_on_its_members_alone() {
        for size in [0, 1, 2, 7, 8, 9, 100, 4_096, 4_097, 6_145, 9_000] {
            let bytes = set_of(0..size).to_datasketches();
            let mut reversed = DistinctSet::default();
            for member in (0..size).rev() {
                reversed.insert(member.to_string().as_bytes(), &seed());
            }
            assert!(reversed.to_datasketches() == bytes, "{size}");
            let estimate = datasketches::hll::HllSketch::deserialize(&bytes).unwrap().estimate();
            // Up to 4,096 members a set is exact, and a sketch almost.
            let error = estimate - set_of(0..size).count();
            assert!(error.abs() <= 0.5 + f64::from(size) * 3e-4, "{size}: {error}");
        }
    }

    #[test]
    fn stored_sets_are_read_and_continued() {
        for size in [0, 1, 4_096, 4_097, 7_000] {
            let set = set_of(0..size);
            let mut again = DistinctSet::from_parts(set.parts()).unwrap();
            assert!(stored(&again) == stored(&set), "{size}");
            assert_eq!(again.count(), set.count());
            for member in size..size + 500 {
                again.insert(member.to_string().as_bytes(), &seed());
            }
            assert!(stored(&again) == stored(&set_of(0..size + 500)), "{size}");
        }
        assert!(DistinctSet::from_parts(SetParts::Members((0..4_097).collect())).is_none());
    }
}
