//! A hash table that grows a little at a time.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// How many tables share the entries.
const SHARES: usize = 64;
/// The 64th root of two.
const GROWTH: f64 = 1.010_889_286_051_700_5;
/// Values of the hash's bits that choose the share.
const CHOICES: usize = 1_024;
/// The share for each of them.
const SHARE_OF: [u8; CHOICES] = shares();

/// A [`HashTable`] for up to millions of entries, split by hash. What is not said here is as there.
///
/// A table that is full moves to one of twice the size. With a million entries that takes a tenth of a
/// second, which is long enough for a socket to overflow. The shares here are small, and of different
/// sizes, so that they are not full at the same time: each is larger than the one before by the same
/// factor, and the last nearly twice the first.
#[derive(Debug)]
pub(super) struct Spread<T> {
    shares: Box<[HashTable<T>]>,
}

impl<T> Default for Spread<T> {
    fn default() -> Self {
        Self { shares: (0..SHARES).map(|_| HashTable::new()).collect() }
    }
}

impl<T> Spread<T> {
    /// The entry of this hash that is it.
    #[inline]
    pub(super) fn find(&self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<&T> {
        self.shares[share_of(hash)].find(hash, is_it)
    }

    /// Adds an entry that is not in it; `hash_of` gives the hash of any.
    pub(super) fn insert_unique(&mut self, hash: u64, entry: T, hash_of: impl Fn(&T) -> u64) {
        self.shares[share_of(hash)].insert_unique(hash, entry, hash_of);
    }

    /// The place of the entry of this hash that is it, or for it.
    pub(super) fn entry(
        &mut self,
        hash: u64,
        is_it: impl FnMut(&T) -> bool,
        hash_of: impl Fn(&T) -> u64,
    ) -> Entry<'_, T> {
        self.shares[share_of(hash)].entry(hash, is_it, hash_of)
    }

    /// Removes the entry of this hash that is it.
    pub(super) fn remove(&mut self, hash: u64, is_it: impl FnMut(&T) -> bool) {
        if let Ok(found) = self.shares[share_of(hash)].find_entry(hash, is_it) {
            found.remove();
        }
    }

    /// All entries, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.shares.iter().flatten()
    }
}

/// By bits that hashbrown uses for neither place nor tag: these are the lowest and the highest.
#[inline]
fn share_of(hash: u64) -> usize {
    SHARE_OF[(hash >> 40) as usize % CHOICES] as usize
}

const fn shares() -> [u8; CHOICES] {
    let mut shares = [0; CHOICES];
    // Share `i` has the choices from `2^(i / SHARES) - 1` to `2^((i + 1) / SHARES) - 1` of all.
    let (mut share, mut end, mut choice) = (0, GROWTH, 0);
    while choice < CHOICES {
        while 1.0 + choice as f64 / CHOICES as f64 >= end {
            share += 1;
            end *= GROWTH;
        }
        // Rounding could make one more.
        shares[choice] = if share < SHARES { share as u8 } else { (SHARES - 1) as u8 };
        choice += 1;
    }
    shares
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;
    use crate::aggregator::seed;

    #[test]
    fn entries_are_found_until_they_are_removed() {
        let (mut spread, seed) = (Spread::default(), seed::draw());
        let hash = |number: &u32| seed.hash_one(number);
        for number in 0..100_000_u32 {
            spread.insert_unique(hash(&number), number, hash);
        }
        for number in 0..50_000 {
            spread.remove(hash(&number), |other| *other == number);
        }
        for number in 0..100_000 {
            let found = spread.find(hash(&number), |other| *other == number);
            assert_eq!(found.is_some(), number >= 50_000);
        }
        let mut left: Vec<u32> = spread.iter().copied().collect();
        left.sort_unstable();
        assert_eq!(left, (50_000..100_000).collect::<Vec<_>>());
    }

    #[test]
    fn shares_grow_one_after_the_other() {
        let (mut spread, seed) = (Spread::default(), seed::draw());
        let hash = |number: &u32| seed.hash_one(number);
        let capacities = |spread: &Spread<u32>| -> Vec<usize> {
            spread.shares.iter().map(HashTable::capacity).collect()
        };
        // From one growth of a share to its next.
        let (mut before, mut grown) = (capacities(&spread), Vec::new());
        for number in 0..400_000_u32 {
            spread.insert_unique(hash(&number), number, hash);
            if number % 4_000 == 3_999 {
                let now = capacities(&spread);
                if number > 200_000 {
                    grown.push(now.iter().zip(&before).filter(|(now, was)| now > was).count());
                }
                before = now;
            }
        }
        assert_eq!(grown.iter().sum::<usize>(), SHARES, "twice the entries, each share once");
        assert!(grown.iter().all(|shares| *shares <= SHARES / 8), "{grown:?}");
    }
}
