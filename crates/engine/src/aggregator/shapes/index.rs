//! The hash table of the cache.

use std::num::NonZero;

use super::line_hash::LineHash;
use super::target::{SLOT_MAX, ShapeTarget};
use crate::aggregator::tally::SeriesSlot;

/// Entries per bucket: as many as fit into a cache line.
const WAYS: usize = 4;
/// Number of buckets of the smallest table.
const BUCKETS_MIN: usize = 256;
/// Size of the smallest table.
pub(super) const BYTES_MIN: usize = BUCKETS_MIN * size_of::<Bucket>();
/// The table grows when buckets have this many entries on average. Up to then, few entries find no
/// room in either of their buckets.
const LOAD_MAX: usize = 3;
/// In a full table, one in this many new entries may displace another. If every new entry could, and
/// more lines came in turn than there is room for, they would displace each other before they come again.
const ADMIT_ONE_IN: u32 = 8;
/// Set in an entry when its line comes again.
const CAME_AGAIN: u32 = 1 << 31;

/// The meaning of known lines, by their hashes.
///
/// Each hash has two buckets. The second one is used if the first one is full.
pub(super) struct ShapeIndex {
    buckets: Vec<Bucket>,
    buckets_max: usize,
    count: usize,
    /// How often an entry found no room, for [`ADMIT_ONE_IN`].
    without_room: u32,
}

/// Places for [`WAYS`] entries, which a `way` numbers. It fills exactly one cache line, so that a
/// search touches only one.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Bucket {
    firsts: [u64; WAYS],
    /// [`LineHash::second`] and [`CAME_AGAIN`]; 0 if the way is free.
    seconds: [u32; WAYS],
    /// [`ShapeTarget::to_bits`].
    targets: [u32; WAYS],
}

impl ShapeIndex {
    /// Creates an empty table that takes at most `bytes_max` bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        let buckets_max = if bytes_max < BYTES_MIN { 0 } else { bytes_max / size_of::<Bucket>() };
        Self { buckets: Vec::new(), buckets_max, count: 0, without_room: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.buckets.len() * size_of::<Bucket>()
    }

    /// Whether it can hold entries.
    pub(super) fn is_enabled(&self) -> bool {
        self.buckets_max > 0
    }

    /// Whether another entry finds room, apart from a few that have two full buckets.
    pub(super) fn has_room(&self) -> bool {
        self.count < self.buckets_max * LOAD_MAX
    }

    /// Prefetches the first (0) or second (1) bucket of this hash for [`ShapeIndex::find_in`].
    #[inline]
    pub(super) fn prefetch(&self, place: usize, hash: LineHash) {
        if let Some(bucket) = self.buckets.get(self.buckets_of(hash)[place]) {
            crate::sys::prefetch(bucket);
        }
    }

    /// Finds an entry in the first (0) or second (1) bucket of its hash.
    #[inline]
    pub(super) fn find_in(&mut self, place: usize, hash: LineHash) -> Option<ShapeTarget> {
        let index = self.buckets_of(hash)[place];
        self.buckets.get_mut(index)?.find(hash)
    }

    /// Adds an entry, or replaces the one with the same hash. In a table that has reached its maximum
    /// size, the entry may find no room.
    pub(super) fn insert(&mut self, hash: LineHash, target: ShapeTarget) {
        if target.slot > SLOT_MAX || !self.is_enabled() {
            return;
        }
        if self.count >= self.buckets.len() * LOAD_MAX && self.buckets.len() < self.buckets_max {
            self.grow();
        }
        let entry = Entry { hash, target: target.to_bits() };
        let homes = self.buckets_of(hash);
        if homes.iter().any(|index| self.buckets[*index].overwrite(entry)) {
            return;
        }
        if self.insert_free(entry) || self.insert_by_moving(entry) {
            self.count += 1;
        } else {
            self.displace(entry);
        }
    }

    /// Removes the entries that lead to slots which `keep` rejects.
    pub(super) fn retain(&mut self, keep: impl Fn(SeriesSlot) -> bool) {
        for bucket in &mut self.buckets {
            for way in 0..WAYS {
                if bucket.is_taken(way) && !keep(ShapeTarget::from_bits(bucket.targets[way]).slot) {
                    bucket.seconds[way] = 0;
                    self.count -= 1;
                }
            }
        }
    }

    /// Adds an entry if one of its buckets has room.
    fn insert_free(&mut self, entry: Entry) -> bool {
        self.buckets_of(entry.hash).iter().any(|index| self.buckets[*index].insert_free(entry))
    }

    /// Adds an entry if another one in its buckets can move to its other bucket.
    fn insert_by_moving(&mut self, entry: Entry) -> bool {
        for index in self.buckets_of(entry.hash) {
            for way in 0..WAYS {
                let Some(other) = self.buckets[index].entry(way) else { continue };
                let homes = self.buckets_of(other.hash);
                let away = if homes[0] == index { homes[1] } else { homes[0] };
                if self.buckets[away].insert_free(other) {
                    self.buckets[index].put(way, entry);
                    return true;
                }
            }
        }
        false
    }

    /// Replaces another entry, but only for one of [`ADMIT_ONE_IN`] entries without room.
    fn displace(&mut self, entry: Entry) {
        self.without_room = self.without_room.wrapping_add(1);
        if !self.without_room.is_multiple_of(ADMIT_ONE_IN) {
            return;
        }
        // A line that has come only once makes room. Without such a line, another line loses the mark
        // that it came again, and makes room later unless it has come again by then. So lines that
        // never come again cannot displace recurring lines.
        let homes = self.buckets_of(entry.hash);
        if !homes.iter().any(|index| self.buckets[*index].replace_once_seen(entry)) {
            self.buckets[homes[0]]
                .unmark(self.without_room as usize / ADMIT_ONE_IN as usize % WAYS);
        }
    }

    fn grow(&mut self) {
        // By half, which leaves less room unused than doubling.
        let length = (self.buckets.len() * 3 / 2).clamp(BUCKETS_MIN, self.buckets_max);
        let old = std::mem::replace(&mut self.buckets, vec![Bucket::default(); length]);
        self.count = 0;
        for entry in old.iter().flat_map(Bucket::entries) {
            // Half of the table is free, so nearly every entry finds room. The others are lost.
            self.count += usize::from(self.insert_free(entry) || self.insert_by_moving(entry));
        }
    }

    /// The two buckets of a hash, in the order of the search.
    #[inline]
    fn buckets_of(&self, hash: LineHash) -> [usize; 2] {
        // Scales a half of the hash to the length of the table: `half / 2^32 * length`.
        let bucket_at = |half: u64| ((half * self.buckets.len() as u64) >> 32) as usize;
        [bucket_at(hash.first >> 32), bucket_at(hash.first & u64::from(u32::MAX))]
    }
}

/// An entry outside a bucket.
#[derive(Clone, Copy)]
struct Entry {
    hash: LineHash,
    /// As in [`Bucket::targets`].
    target: u32,
}

impl Bucket {
    #[inline]
    fn way_of(&self, hash: LineHash) -> Option<usize> {
        let is_it = |way: &usize| {
            self.firsts[*way] == hash.first && self.seconds[*way] & !CAME_AGAIN == hash.second.get()
        };
        (0..WAYS).find(is_it)
    }

    #[inline]
    fn find(&mut self, hash: LineHash) -> Option<ShapeTarget> {
        let way = self.way_of(hash)?;
        // Only once, because a write makes the processor write the whole cache line back to memory.
        if self.seconds[way] & CAME_AGAIN == 0 {
            self.seconds[way] |= CAME_AGAIN;
        }
        Some(ShapeTarget::from_bits(self.targets[way]))
    }

    fn is_taken(&self, way: usize) -> bool {
        self.seconds[way] != 0
    }

    fn put(&mut self, way: usize, entry: Entry) {
        self.firsts[way] = entry.hash.first;
        self.seconds[way] = entry.hash.second.get();
        self.targets[way] = entry.target;
    }

    fn put_where(&mut self, is_wanted: impl Fn(&Self, usize) -> bool, entry: Entry) -> bool {
        let way = (0..WAYS).find(|way| is_wanted(self, *way));
        way.inspect(|way| self.put(*way, entry)).is_some()
    }

    fn overwrite(&mut self, entry: Entry) -> bool {
        let way = self.way_of(entry.hash);
        way.inspect(|way| self.put(*way, entry)).is_some()
    }

    fn insert_free(&mut self, entry: Entry) -> bool {
        self.put_where(|bucket, way| !bucket.is_taken(way), entry)
    }

    fn replace_once_seen(&mut self, entry: Entry) -> bool {
        self.put_where(|bucket, way| bucket.seconds[way] & CAME_AGAIN == 0, entry)
    }

    fn unmark(&mut self, way: usize) {
        self.seconds[way] &= !CAME_AGAIN;
    }

    fn entry(&self, way: usize) -> Option<Entry> {
        let second = NonZero::new(self.seconds[way] & !CAME_AGAIN)?;
        let hash = LineHash { first: self.firsts[way], second };
        Some(Entry { hash, target: self.targets[way] })
    }

    fn entries(&self) -> impl Iterator<Item = Entry> {
        (0..WAYS).filter_map(|way| self.entry(way))
    }
}

#[cfg(test)]
mod tests;
