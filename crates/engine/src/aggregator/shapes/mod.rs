//! The line cache: a fast path that skips decoding, tagging and the lookup of the series.
//!
//! A client sends the same line over and over, and only the numbers in it change: the value, the
//! sample rate and the timestamp. A shape is such a line without its numbers. A line with a known
//! shape belongs to a known series; only its numbers remain to be read. A statsd line may have several
//! values, `m:1:2|c`: it has the shape of the line with one.
//!
//! A shape is stored as a hash, for which senders cannot construct a collision. So all shapes take the
//! same little room, however long they are. As long as there are few of them, the short ones are stored
//! with their bytes, too, which are faster to compare than to hash.
//!
//! A lookup has steps, so that a caller with several lines can overlap their waits for memory:
//! [`Shapes::start_lookup`] and [`Shapes::prefetch`] for each line, then [`Shapes::find_candidate`] for
//! each, then [`Shapes::finish_lookup`] for each. The steps between the first and the last may be left
//! out.

mod index;
mod line_hash;
mod short_lines;
mod target;

use self::index::ShapeIndex;
use self::line_hash::{LINE_BYTES_MAX, LineHash, LineHasher};
use self::short_lines::ShortLines;
pub use self::target::NumberMeaning;
use self::target::ShapeTarget;
use super::seed;
use super::tally::SeriesSlot;
use crate::protocol::split::{ShortSplit, Split};
use crate::protocol::statsd::ShortLine;

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

/// A lookup in progress: the hash of a line's shape, and its entry if that was found.
#[derive(Clone, Copy, Debug)]
pub struct ShapeLookup {
    /// `None` for a line that is longer than all known ones.
    hash: Option<LineHash>,
    found: Option<ShapeTarget>,
}

impl ShapeLookup {
    /// A lookup that finds nothing.
    pub const NONE: Self = Self { hash: None, found: None };
}

/// The shapes of one listener, and the slots in its table to which they lead.
pub struct Shapes {
    /// Takes no memory until the first shape is learned.
    index: ShapeIndex,
    hasher: LineHasher,
    /// Shapes that are also in `index`, or were.
    short: ShortLines,
    /// Whether no shape was added or removed since [`Shapes::start_finding`]: the entries that
    /// lookups have found since then are still valid.
    is_unchanged: bool,
}

impl Shapes {
    /// Creates an empty cache that takes at most `bytes_max` bytes. If that is too little, it never
    /// learns a shape.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        let spare = bytes_max.saturating_sub(index::BYTES_MIN) / 2;
        let short = ShortLines::new(spare, &mut seed::draw_key());
        let index = ShapeIndex::new(bytes_max - short.bytes_max());
        Self { index, hasher: LineHasher::new(), short, is_unchanged: false }
    }

    /// Whether it can learn shapes.
    #[inline]
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.index.is_enabled()
    }

    /// Whether it can learn another shape without removing one.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.index.has_room()
    }

    /// The number of shapes.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is no shape.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Hashes a line's shape.
    #[inline]
    #[must_use]
    pub fn start_lookup(&self, split: &Split<'_>) -> ShapeLookup {
        ShapeLookup { hash: self.hash(split), found: None }
    }

    /// Prefetches the first bucket of a shape for [`Shapes::find_candidate`].
    #[inline]
    pub fn prefetch(&self, lookup: ShapeLookup) {
        if let Some(hash) = lookup.hash {
            self.index.prefetch(0, hash);
        }
    }

    #[inline]
    fn hash(&self, split: &Split<'_>) -> Option<LineHash> {
        match split.pieces_around_number() {
            Some([before, after]) => self.hasher.hash_two(before, after, split.has_number()),
            None => self.hasher.hash(&split.pieces()),
        }
    }

    /// Begins the second step for a group of lines: must be called before
    /// [`Shapes::find_candidate`] for the first of them.
    #[inline]
    pub fn start_finding(&mut self) {
        self.is_unchanged = true;
    }

    /// Looks for the shape in its first bucket, where it most likely is, and otherwise prefetches
    /// its second one. Returns the slot of its series, if found, so that the caller can prefetch
    /// its cell.
    #[inline]
    pub fn find_candidate(&mut self, lookup: &mut ShapeLookup) -> Option<SeriesSlot> {
        let hash = lookup.hash?;
        lookup.found = self.index.find_in(0, hash);
        if lookup.found.is_none() {
            self.index.prefetch(1, hash);
        }
        lookup.found.map(|target| target.slot)
    }

    /// Returns the properties of the line, if its shape is known; `weight` is that of its split.
    #[inline(always)]
    pub fn finish_lookup(&mut self, lookup: ShapeLookup, weight: f64) -> Option<KnownLine> {
        let target = match lookup.found {
            // A line decoded since may have moved or removed the entry.
            Some(target) if self.is_unchanged => target,
            _ => self.find(lookup.hash?)?,
        };
        let ShapeTarget { slot, meaning } = target;
        Some(KnownLine { slot, meaning, weight })
    }

    /// Returns the series of a short line and the meaning of its number, if its shape is known: all
    /// steps of a lookup at once. From then on, [`Shapes::find_by_bytes`] may find the line.
    #[inline(always)]
    pub fn find_short(&mut self, split: &ShortSplit<'_>) -> Option<(SeriesSlot, NumberMeaning)> {
        let hash = self.hasher.hash_short(split.before, split.after)?;
        let target = self.find(hash)?;
        if split.before.len() <= short_lines::NAME_MAX {
            self.short.insert(split, target);
        }
        Some((target.slot, target.meaning))
    }

    /// Whether [`Shapes::find_by_bytes`] is worth a try with the next line.
    #[inline(always)]
    pub fn expects_known_bytes(&mut self) -> bool {
        self.short.expects_known()
    }

    /// Returns the properties of a short line, if its bytes are known, and the number of bytes after its
    /// number up to the next line.
    #[inline(always)]
    pub fn find_by_bytes(&mut self, line: &ShortLine<'_>) -> Option<(KnownLine, usize)> {
        let found = self.short.find(line)?;
        let ShapeTarget { slot, meaning } = found.target;
        Some((KnownLine { slot, meaning, weight: 1.0 }, found.tail_bytes))
    }

    #[inline]
    fn find(&mut self, hash: LineHash) -> Option<ShapeTarget> {
        self.index.find_in(0, hash).or_else(|| self.index.find_in(1, hash))
    }

    /// Adds a line's shape, unless its split missed the sample rate: then the weight of the next
    /// line with this shape would be unknown.
    pub fn learn(&mut self, lookup: ShapeLookup, split: &Split<'_>, known: KnownLine) {
        let KnownLine { slot, meaning, weight } = known;
        let is_weight_known = !meaning.is_weighted() || weight == split.weight;
        if !is_weight_known || split.line.len() > LINE_BYTES_MAX || !self.index.is_enabled() {
            return;
        }
        let hash = lookup.hash.or_else(|| {
            self.hasher.make_fit(split.line.len());
            self.hash(split)
        });
        if let Some(hash) = hash {
            self.is_unchanged = false;
            self.index.insert(hash, ShapeTarget { slot, meaning });
            if self.index.len() > short_lines::LINES_MAX {
                self.short.clear();
            }
        }
    }

    /// Removes the shapes that lead to slots which `keep` rejects.
    pub fn retain(&mut self, keep: impl Fn(SeriesSlot) -> bool) {
        self.is_unchanged = false;
        // A scan of the whole index, which is needed only when series expire. Lists of the shapes
        // of each slot would take memory all the time.
        self.index.retain(&keep);
        self.short.retain(&keep);
    }
}

impl std::fmt::Debug for Shapes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Shapes({})", self.index.len())
    }
}

#[cfg(test)]
mod tests;
