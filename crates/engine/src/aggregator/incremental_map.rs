//! A hash table that grows in small steps.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// Number of shards.
const SHARDS: usize = 64;
/// Ratio between the sizes of two consecutive shards: the 64th root of two.
const GROWTH: f64 = 1.010_889_286_051_700_5;
/// Number of values of the hash bits that select the shard.
const SELECTORS: usize = 1_024;
/// The shard for each of these values.
const SHARD_OF: [u8; SELECTORS] = shards();

/// A [`HashTable`] for up to millions of entries, split into shards by hash.
///
/// A full table moves its entries to one of twice the size. With a million entries that takes a
/// tenth of a second, long enough for a socket's buffer to overflow. The shards are small, and they
/// differ in size, so that they do not become full at the same time: each is larger than the
/// previous one by a constant factor, and the last is nearly twice as large as the first.
#[derive(Debug)]
pub(super) struct IncrementalMap<T> {
    shards: Box<[HashTable<T>]>,
}

impl<T> Default for IncrementalMap<T> {
    fn default() -> Self {
        // An empty table allocates nothing, so a listener that is never used does not pay for its
        // shards.
        Self { shards: (0..SHARDS).map(|_| HashTable::new()).collect() }
    }
}

impl<T> IncrementalMap<T> {
    /// Finds the entry with this hash that satisfies `is_it`.
    #[inline]
    pub(super) fn find(&self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<&T> {
        self.shards[shard_of(hash)].find(hash, is_it)
    }

    /// Adds an entry that is not in the map yet; `hash_of` returns the hash of any entry.
    pub(super) fn insert_unique(&mut self, hash: u64, entry: T, hash_of: impl Fn(&T) -> u64) {
        // At most this shard grows, so no insertion moves more than a small part of all entries.
        self.shards[shard_of(hash)].insert_unique(hash, entry, hash_of);
    }

    /// Returns the entry with this hash that satisfies `is_it`, or the vacant entry for it.
    pub(super) fn entry(
        &mut self,
        hash: u64,
        is_it: impl FnMut(&T) -> bool,
        hash_of: impl Fn(&T) -> u64,
    ) -> Entry<'_, T> {
        self.shards[shard_of(hash)].entry(hash, is_it, hash_of)
    }

    /// Removes the entry with this hash that satisfies `is_it`.
    pub(super) fn remove(&mut self, hash: u64, is_it: impl FnMut(&T) -> bool) {
        if let Ok(found) = self.shards[shard_of(hash)].find_entry(hash, is_it) {
            found.remove();
        }
    }

    /// All entries, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.shards.iter().flatten()
    }
}

/// Selects the shard by bits from the middle of the hash: hashbrown uses the lowest bits for the
/// position of an entry and the highest for its tag, which must stay evenly distributed in a shard.
#[inline]
fn shard_of(hash: u64) -> usize {
    SHARD_OF[(hash >> 40) as usize % SELECTORS] as usize
}

const fn shards() -> [u8; SELECTORS] {
    let mut shards = [0; SELECTORS];
    // Shard `i` covers the part of all values from `2^(i / SHARDS) - 1` to `2^((i + 1) / SHARDS) -
    // 1`.
    let (mut shard, mut end, mut selector) = (0, GROWTH, 0);
    while selector < SELECTORS {
        while 1.0 + selector as f64 / SELECTORS as f64 >= end {
            shard += 1;
            end *= GROWTH;
        }
        shards[selector] = shard;
        selector += 1;
    }
    shards
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;
    use crate::aggregator::seed;

    #[test]
    fn each_shard_has_its_part_of_the_selectors() {
        assert!(SHARD_OF.is_sorted());
        // In spite of rounding errors, which could lead to one shard more.
        assert_eq!((SHARD_OF[0], SHARD_OF[SELECTORS - 1]), (0, SHARDS as u8 - 1));
        let parts: Vec<_> = SHARD_OF.chunk_by(|one, next| one == next).map(<[u8]>::len).collect();
        assert_eq!((parts.len(), parts[0], parts[SHARDS - 1]), (SHARDS, 12, 22));
    }

    #[test]
    fn entries_are_found_until_they_are_removed() {
        let (mut map, seed) = (IncrementalMap::default(), seed::draw());
        let hash = |number: &u32| seed.hash_one(number);
        for number in 0..100_000_u32 {
            map.insert_unique(hash(&number), number, hash);
        }
        for number in 0..50_000 {
            map.remove(hash(&number), |other| *other == number);
        }
        for number in 0..100_000 {
            let found = map.find(hash(&number), |other| *other == number);
            assert_eq!(found.is_some(), number >= 50_000);
        }
        let mut left: Vec<u32> = map.iter().copied().collect();
        left.sort_unstable();
        assert_eq!(left, (50_000..100_000).collect::<Vec<_>>());
    }

    /// The finalizer of the generator SplitMix64.
    fn splitmix64(number: u64) -> u64 {
        let z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    #[test]
    fn shards_grow_one_after_the_other() {
        let mut map = IncrementalMap::default();
        // The same hashes each time: how many shards grow at the ends of the range depends on them.
        let hash = |number: &u32| splitmix64(u64::from(*number));
        let capacities = |map: &IncrementalMap<u32>| -> Vec<usize> {
            map.shards.iter().map(HashTable::capacity).collect()
        };
        // Long enough for each shard to grow once.
        let (mut before, mut grown) = (capacities(&map), Vec::new());
        for number in 0..400_000_u32 {
            map.insert_unique(hash(&number), number, hash);
            if number % 4_000 == 3_999 {
                let now = capacities(&map);
                if number > 200_000 {
                    grown.push(now.iter().zip(&before).filter(|(now, was)| now > was).count());
                }
                before = now;
            }
        }
        // Each shard grows once while the entries double, except for one that grows at the ends of
        // the range.
        assert!(grown.iter().sum::<usize>().abs_diff(SHARDS) <= 1, "{grown:?}");
        assert!(grown.iter().all(|shards| *shards <= SHARDS / 8), "{grown:?}");
    }
}
