//! The line cache: a fast path that skips decoding, tagging and the lookup of the series.
//!
//! A client sends the same line over and over, and only the number in it changes. A shape is such a
//! line without its number. A line with a known shape belongs to a known series and has a known
//! weight; only its number remains to be read. A statsd line may have several numbers, `m:1:2|c`: it
//! has the shape of the line with one.
//!
//! A lookup has three steps, so that a caller with several lines can overlap their waits for
//! memory: [`Shapes::start_lookup`] for each line, then [`Shapes::find_candidate`] for each, then
//! [`Shapes::verify`] for each.

mod line_arena;

use std::hash::{BuildHasher, Hasher};

use model::MetricKind;

use self::line_arena::{LINE_BYTES_MAX, LineArena, LineHeader, LineOffset};
use super::seed::{self, Seeded};
use super::tally::SeriesSlot;
use crate::protocol::SampleValue;
use crate::protocol::split::Split;

/// Shapes per bucket: as many as fit into a cache line.
const WAYS: usize = 5;
/// Number of buckets of the smallest index.
const BUCKETS_MIN: usize = 256;
/// The index grows when buckets hold more shapes than this on average; few buckets are full then.
const LOAD_MAX: usize = 2;
/// When the memory is used up, the cache was useful if at least one in this many lines was known.
const HITS_SHARE_MIN: u64 = 4;
/// A cache that was not useful pauses for this many times the lines that it has looked up.
const PAUSE_RUNS: u64 = 16;

/// The meaning of the number in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberMeaning {
    /// An increment.
    Counter,
    /// A new level.
    Gauge,
    /// A measured value.
    Timer,
    /// Nothing: an occurrence.
    Trace,
}

impl NumberMeaning {
    /// The meaning of a value's number. `None` for values whose lines are not cached: running
    /// totals, changes of gauges, whose sign has a meaning, and members of sets, which are not
    /// numbers.
    #[must_use]
    pub fn of(value: &SampleValue<'_>) -> Option<Self> {
        match value {
            SampleValue::Counter(_) => Some(Self::Counter),
            SampleValue::GaugeSet(_) => Some(Self::Gauge),
            SampleValue::Timer(_) => Some(Self::Timer),
            SampleValue::Trace => Some(Self::Trace),
            SampleValue::Total { .. } | SampleValue::GaugeAdd(_) | SampleValue::Set(_) => None,
        }
    }

    /// The kind of metric to which it belongs.
    #[must_use]
    pub fn kind(self) -> MetricKind {
        match self {
            Self::Counter => MetricKind::Counter,
            Self::Gauge => MetricKind::Gauge,
            Self::Timer => MetricKind::Timer,
            Self::Trace => MetricKind::Trace,
        }
    }

    fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Counter,
            1 => Self::Gauge,
            2 => Self::Timer,
            _ => Self::Trace,
        }
    }
}

/// The properties of a line with a known shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KnownLine {
    /// The slot of its series in the table.
    pub slot: SeriesSlot,
    /// The meaning of its number.
    pub meaning: NumberMeaning,
    /// The sample's weight.
    pub weight: f64,
}

/// A lookup in progress: the hash of a line's shape, and the candidate found by it. Whether the
/// candidate is the shape of the line, [`Shapes::verify`] decides.
#[derive(Clone, Copy, Debug)]
pub struct ShapeLookup {
    hash: u32,
    candidate: Option<(SeriesSlot, LineOffset)>,
    /// [`Shapes::changes`] when the candidate was found; 0, which is never current, before.
    changes: u64,
}

/// The shapes of one listener, and the slots in its table to which they lead.
pub struct Shapes {
    /// A power of two of them. None until the first shape is learned, so that an unused listener
    /// takes no memory.
    buckets: Vec<Bucket>,
    lines: LineArena,
    count: usize,
    bytes_max: usize,
    /// Incremented when candidates of earlier lookups may have become invalid.
    changes: u64,
    /// A seed of this cache alone: senders must not be able to choose lines that evict each other.
    seed: Seeded,
    /// Lines that were looked up since the cache was last emptied.
    looked_up: u64,
    /// How many of them had a known shape.
    found: u64,
    /// Lines that still pass without a lookup.
    pause: u64,
    /// The way to evict when a bucket is full. As all buckets share it, the choice within a
    /// bucket is arbitrary. Evicting the oldest shape would be wrong: lines often come in a fixed
    /// order, and then the oldest one comes next.
    victim: usize,
}

/// The shapes with the same low bits of their hash. Searching it touches one cache line.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Bucket {
    /// 0 where the way is free.
    hashes: [u32; WAYS],
    slots: [SeriesSlot; WAYS],
    lines: [LineOffset; WAYS],
}

impl Shapes {
    /// Creates an empty cache that takes at most `bytes_max` bytes. With 0, it never learns a
    /// shape.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            buckets: Vec::new(),
            lines: LineArena::default(),
            count: 0,
            bytes_max,
            changes: 1,
            seed: seed::draw(),
            looked_up: 0,
            found: 0,
            pause: 0,
            victim: 0,
        }
    }

    /// Whether the next line is worth a lookup. Must be called exactly once per line, because it
    /// counts them.
    #[inline]
    pub fn should_look_up(&mut self) -> bool {
        if self.pause > 0 {
            self.pause -= 1;
            return false;
        }
        self.looked_up += 1;
        true
    }

    /// Hashes a line's shape, and prefetches the bucket for [`Shapes::find_candidate`].
    #[inline]
    #[must_use]
    pub fn start_lookup(&self, split: &Split<'_>) -> ShapeLookup {
        let (before, after) = split.around();
        let mut hasher = self.seed.build_hasher();
        // The position of the number is not hashed: `verify` compares it.
        hasher.write(before);
        hasher.write(after);
        let hash = hasher.finish();
        // The top bit is always set, because 0 marks a free way. Buckets are chosen by the low
        // bits.
        let hash = (hash ^ (hash >> 32)) as u32 | 1 << 31;
        if let Some(bucket) = self.buckets.get(self.bucket_of(hash)) {
            crate::sys::prefetch(bucket);
        }
        ShapeLookup { hash, candidate: None, changes: 0 }
    }

    /// Finds the candidate by its hash, and prefetches its line for [`Shapes::verify`]. Returns the
    /// slot that the candidate leads to, so that the caller can prefetch the cell.
    #[inline]
    pub fn find_candidate(
        &self,
        lookup: &mut ShapeLookup,
        split: &Split<'_>,
    ) -> Option<SeriesSlot> {
        lookup.candidate = self.candidate(lookup.hash);
        lookup.changes = self.changes;
        let (slot, line) = lookup.candidate?;
        self.lines.prefetch(line, split.line.len());
        Some(slot)
    }

    /// Returns the properties of the line, if the candidate is its shape.
    #[inline]
    pub fn verify(&mut self, lookup: ShapeLookup, split: &Split<'_>) -> Option<KnownLine> {
        // A line decoded since may have added the shape, or have moved or evicted the candidate.
        let is_current = lookup.changes == self.changes;
        let (slot, line) = if is_current { lookup.candidate } else { self.candidate(lookup.hash) }?;
        let (before, after) = split.around();
        let (header, line) = self.lines.get(line);
        // The hash has 31 bits, so only equal bytes prove that it is the same shape. The position
        // of the number is part of it.
        if line.len() != before.len() + after.len()
            || usize::from(header.before) != before.len()
            || line[..before.len()] != *before
            || line[before.len()..] != *after
        {
            return None;
        }
        self.found += 1;
        Some(KnownLine {
            slot,
            meaning: NumberMeaning::from_byte(header.meaning),
            weight: header.weight,
        })
    }

    #[inline]
    fn candidate(&self, hash: u32) -> Option<(SeriesSlot, LineOffset)> {
        let bucket = self.buckets.get(self.bucket_of(hash))?;
        let way = bucket.hashes.iter().position(|known| *known == hash)?;
        Some((bucket.slots[way], bucket.lines[way]))
    }

    /// Adds a line's shape.
    pub fn learn(&mut self, lookup: ShapeLookup, split: &Split<'_>, known: KnownLine) {
        let hash = lookup.hash;
        let (before, after) = split.around();
        let length = before.len() + after.len();
        if length > LINE_BYTES_MAX || self.bytes_max == 0 {
            return;
        }
        // Before the bucket is chosen, because it may empty the cache or enlarge the index.
        self.make_room();
        self.changes += 1;
        let header = LineHeader {
            weight: known.weight,
            before: before.len() as u16,
            length: length as u16,
            meaning: known.meaning as u8,
        };
        let index = self.bucket_of(hash);
        let bucket = &mut self.buckets[index];
        // A shape with the same hash must be replaced, even if it is another one: `candidate` finds
        // only the first of them.
        let same = bucket.hashes.iter().position(|known| *known == hash);
        let way = same.or_else(|| bucket.hashes.iter().position(|known| *known == 0));
        let way = way.unwrap_or_else(|| {
            self.victim = (self.victim + 1) % WAYS;
            self.victim
        });
        if bucket.hashes[way] == 0 {
            self.count += 1;
        } else {
            self.lines.remove(bucket.lines[way]);
        }
        bucket.hashes[way] = hash;
        bucket.slots[way] = known.slot;
        bucket.lines[way] = self.lines.insert(header, before, after);
    }

    /// Removes the shapes that lead to slots which `keep` rejects.
    pub fn retain(&mut self, keep: impl Fn(SeriesSlot) -> bool) {
        self.changes += 1;
        // A scan of the whole index, which is needed only when series expire. Lists of the shapes
        // of each slot would take memory all the time.
        let Self { buckets, lines, count, .. } = self;
        for bucket in buckets {
            for way in 0..WAYS {
                if bucket.hashes[way] != 0 && !keep(bucket.slots[way]) {
                    bucket.hashes[way] = 0;
                    lines.remove(bucket.lines[way]);
                    *count -= 1;
                }
            }
        }
    }

    /// Ensures that one more shape fits.
    fn make_room(&mut self) {
        if self.bytes() >= self.bytes_max {
            // Start over rather than track which shapes are in use: these return at once.
            // If few lines were known, each line probably has a timestamp or an identifier of its
            // own, and learning them costs more than it saves.
            if self.found * HITS_SHARE_MIN < self.looked_up {
                self.pause = self.looked_up * PAUSE_RUNS;
            }
            (self.looked_up, self.found, self.count) = (0, 0, 0);
            (self.buckets, self.lines) = (Vec::new(), LineArena::default());
        }
        if self.count >= self.buckets.len() * LOAD_MAX {
            self.grow_index();
        }
    }

    fn bytes(&self) -> usize {
        self.lines.bytes() + self.buckets.len() * size_of::<Bucket>()
    }

    fn grow_index(&mut self) {
        let doubled = vec![Bucket::default(); (self.buckets.len() * 2).max(BUCKETS_MIN)];
        let old = std::mem::replace(&mut self.buckets, doubled);
        for bucket in old {
            for way in (0..WAYS).filter(|way| bucket.hashes[*way] != 0) {
                let hash = bucket.hashes[way];
                let index = self.bucket_of(hash);
                // The index has doubled, so a bucket receives shapes of one former bucket only, and
                // has a free way: the default is never used.
                let next = &mut self.buckets[index];
                let free = next.hashes.iter().position(|known| *known == 0).unwrap_or(way);
                next.hashes[free] = hash;
                next.slots[free] = bucket.slots[way];
                next.lines[free] = bucket.lines[way];
            }
        }
    }

    #[inline]
    fn bucket_of(&self, hash: u32) -> usize {
        // The length is a power of two. For 0 the mask has all bits set, and `get` finds no bucket.
        hash as usize & self.buckets.len().wrapping_sub(1)
    }
}

impl std::fmt::Debug for Shapes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Shapes({})", self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str) -> Option<Split<'_>> {
        let start = line.find(':').map_or(line.len(), |colon| colon + 1);
        if start == line.len() {
            return Some(Split::without_number(line.as_bytes()));
        }
        Split::at_number(line.as_bytes(), start, true)
    }

    fn known(slot: SeriesSlot) -> KnownLine {
        KnownLine { slot, meaning: NumberMeaning::Counter, weight: 1.0 }
    }

    fn learn(shapes: &mut Shapes, line: &str, slot: SeriesSlot) {
        let split = split(line).unwrap();
        shapes.learn(shapes.start_lookup(&split), &split, known(slot));
    }

    fn find(shapes: &mut Shapes, line: &str) -> Option<SeriesSlot> {
        let split = split(line).unwrap();
        let mut lookup = shapes.start_lookup(&split);
        shapes.find_candidate(&mut lookup, &split);
        shapes.verify(lookup, &split).map(|known| known.slot)
    }

    #[test]
    fn a_line_that_differs_only_in_its_number_is_known() {
        let mut shapes = Shapes::new(1 << 20);
        learn(&mut shapes, "a:1|c", 7);
        for (line, slot) in [
            ("a:1|c", Some(7)),
            ("a:25.5|c", Some(7)),
            ("a:-3|c", Some(7)),
            ("a:1|g", None),
            ("b:1|c", None),
            ("a:1|c ", None),
            ("aa:1|c", None),
            ("a:1", None),
            ("a", None),
        ] {
            assert_eq!(find(&mut shapes, line), slot, "{line}");
        }
    }

    #[test]
    fn a_line_without_a_number_is_known_as_a_whole() {
        let mut shapes = Shapes::new(1 << 20);
        learn(&mut shapes, "abc", 1);
        assert_eq!(find(&mut shapes, "abc"), Some(1));
        assert_eq!(find(&mut shapes, "abd"), None);
    }

    #[test]
    fn a_line_that_is_too_long_is_not_cached() {
        let mut shapes = Shapes::new(1 << 20);
        let line = "x".repeat(LINE_BYTES_MAX + 1);
        learn(&mut shapes, &line, 1);
        assert_eq!(find(&mut shapes, &line), None);
        learn(&mut shapes, &line[1..], 1);
        assert_eq!(find(&mut shapes, &line[1..]), Some(1));
    }

    #[test]
    fn shapes_of_freed_slots_are_removed_and_their_room_is_reused() {
        let mut shapes = Shapes::new(1 << 20);
        for slot in 0..1_000 {
            learn(&mut shapes, &format!("m{slot:03}:1|c"), slot);
        }
        let bytes = shapes.bytes();
        shapes.retain(|slot| slot % 2 == 0);
        let mut found = |slot| find(&mut shapes, &format!("m{slot:03}:1|c"));
        let slots: Vec<_> = (0..1_000).filter_map(&mut found).collect();
        assert!(slots.iter().all(|slot| slot % 2 == 0));
        // A few were evicted from full buckets.
        assert!(slots.len() > 480, "{}", slots.len());
        for slot in 0..500 {
            learn(&mut shapes, &format!("n{slot:03}:1|c"), slot);
        }
        assert!(shapes.bytes() < bytes + bytes / 20);
    }

    #[test]
    fn nearly_all_lines_are_known_while_there_is_room() {
        let mut shapes = Shapes::new(64 << 20);
        for _ in 0..2 {
            for slot in 0..100_000 {
                learn(&mut shapes, &format!("some.name.{slot}:1|c"), slot);
            }
        }
        let known = (0..100_000)
            .filter(|slot| find(&mut shapes, &format!("some.name.{slot}:1|c")) == Some(*slot));
        assert!(known.count() > 98_000);
    }

    #[test]
    fn a_full_cache_starts_over_and_pauses_if_it_was_not_useful() {
        let mut shapes = Shapes::new(1 << 20);
        let (mut looks, mut slot) = (0, 0);
        while shapes.pause == 0 {
            looks += u32::from(shapes.should_look_up());
            learn(&mut shapes, &format!("some.name.{slot}:1|c"), slot);
            slot += 1;
            assert!(shapes.bytes() <= 2 << 20);
        }
        assert_eq!(shapes.pause, u64::from(looks) * PAUSE_RUNS);

        let mut shapes = Shapes::new(1 << 20);
        for slot in 0..100_000 {
            assert!(shapes.should_look_up(), "half of the lines are known");
            learn(&mut shapes, &format!("some.name.{slot}:1|c"), slot);
            shapes.should_look_up();
            assert!(find(&mut shapes, &format!("some.name.{slot}:1|c")).is_some());
        }
    }

    #[test]
    fn without_room_nothing_is_learned() {
        let mut shapes = Shapes::new(0);
        learn(&mut shapes, "a:1|c", 7);
        assert_eq!(find(&mut shapes, "a:1|c"), None);
    }
}
