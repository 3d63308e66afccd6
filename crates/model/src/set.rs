//! Distinct members of a set in one window.

use std::fmt;

use hashbrown::HashSet;
use xxhash_rust::xxh3::xxh3_64;

use super::estimator::Estimator;

/// Up to here a set counts exactly; beyond, an estimator of fixed size takes over.
const EXACT_MEMBERS_MAX: usize = 4_096;

type Members = HashSet<u64, foldhash::fast::RandomState>;

/// The distinct members that a set saw.
///
/// Members are remembered by a 64-bit hash that is the same on every host, so that sets of two
/// hosts can be joined downstream. Two of 4,096 members share a hash once in 10^12 windows.
#[derive(Clone)]
pub struct DistinctSet {
    store: Store,
}

#[derive(Clone)]
enum Store {
    Exact(Members),
    Estimated(Estimator),
}

/// All that there is to a set, for whoever stores it.
#[derive(Debug)]
pub enum SetParts {
    /// The members' hashes, sorted.
    Members(Vec<u64>),
    /// The estimator's registers.
    Registers(Box<[u8]>),
}

impl Default for DistinctSet {
    fn default() -> Self {
        Self { store: Store::Exact(Members::default()) }
    }
}

impl DistinctSet {
    /// Adds a member.
    pub fn insert(&mut self, member: &[u8]) {
        self.insert_hash(xxh3_64(member));
    }

    fn insert_hash(&mut self, hash: u64) {
        match &mut self.store {
            Store::Exact(members) => {
                members.insert(hash);
                if members.len() > EXACT_MEMBERS_MAX {
                    self.store = Store::Estimated(estimator(members));
                }
            }
            Store::Estimated(estimator) => estimator.insert(hash),
        }
    }

    /// Adds all members of `other`.
    pub fn merge(&mut self, other: Self) {
        match other.store {
            Store::Exact(members) => members.iter().for_each(|hash| self.insert_hash(*hash)),
            Store::Estimated(mut theirs) => match &mut self.store {
                Store::Estimated(own) => own.merge(&theirs),
                Store::Exact(members) => {
                    members.iter().for_each(|hash| theirs.insert(*hash));
                    self.store = Store::Estimated(theirs);
                }
            },
        }
    }

    /// The members' hashes, if there are so few that all are known; in no order.
    #[must_use]
    pub fn member_hashes(&self) -> Option<impl Iterator<Item = u64> + '_> {
        match &self.store {
            Store::Exact(members) => Some(members.iter().copied()),
            Store::Estimated(_) => None,
        }
    }

    /// How many distinct members there are: exact up to 4,096, then within 2 %.
    #[must_use]
    pub fn count(&self) -> f64 {
        match &self.store {
            Store::Exact(members) => members.len() as f64,
            Store::Estimated(estimator) => estimator.count().round(),
        }
    }

    /// Takes it apart.
    pub fn parts(&self) -> SetParts {
        match &self.store {
            Store::Exact(members) => {
                let mut members: Vec<u64> = members.iter().copied().collect();
                members.sort_unstable();
                SetParts::Members(members)
            }
            Store::Estimated(estimator) => SetParts::Registers(estimator.registers().into()),
        }
    }

    /// Puts it together again; `None` if these are not the parts of a set.
    pub fn from_parts(parts: SetParts) -> Option<Self> {
        let store = match parts {
            SetParts::Members(members) if members.len() > EXACT_MEMBERS_MAX => return None,
            SetParts::Members(members) => Store::Exact(members.into_iter().collect()),
            SetParts::Registers(registers) => {
                Store::Estimated(Estimator::from_registers(registers)?)
            }
        };
        Some(Self { store })
    }
}

impl fmt::Debug for DistinctSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.store {
            Store::Exact(members) => write!(formatter, "DistinctSet({} members)", members.len()),
            Store::Estimated(_) => formatter.write_str("DistinctSet(estimated)"),
        }
    }
}

fn estimator(members: &Members) -> Estimator {
    let mut estimator = Estimator::default();
    members.iter().for_each(|hash| estimator.insert(*hash));
    estimator
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
    fn a_set_is_exact_up_to_its_bound_and_close_beyond() {
        assert_eq!(set_of(0..4096).count(), 4096.0);
        for size in [4097, 5_000, 20_000, 100_000, 1_000_000] {
            let error = (set_of(0..size).count() / f64::from(size) - 1.0).abs();
            assert!(error < 0.02, "{size} members: off by {error}");
        }
    }

    #[test]
    fn merged_sets_count_what_they_share_once() {
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
}
