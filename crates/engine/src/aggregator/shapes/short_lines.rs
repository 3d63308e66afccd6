//! The short lines that came again and again, with their bytes.

use super::line_hash::{STEP, short_words, words};
use super::target::ShapeTarget;
use crate::aggregator::seed::KeyStream;
use crate::aggregator::tally::SeriesSlot;
use crate::protocol::split::ShortSplit;
use crate::protocol::statsd::{ShortLine, TAIL_BYTES};

/// Maximum number of lines.
pub(super) const LINES_MAX: usize = 8_192;
/// Maximum length of a name with its colon.
pub(super) const NAME_MAX: usize = 2 * STEP;
/// Places of each line: so many that nearly all names find a free one.
const PLACES: usize = 8;
/// Bytes of a line with its places.
const LINE_BYTES: usize = size_of::<KeptLine>() + PLACES * size_of::<u16>();
/// The number of lines for which the table has room at first.
const LINES_MIN: usize = 64;
/// After this number of lines in succession that were not found, only one in [`TRIED_ONE_IN`] is tried: a client
/// sends lines of the same kind again and again, and most clients send only one kind.
const UNKNOWN_MAX: u32 = 8;
const TRIED_ONE_IN: u32 = 64;
/// A place without a line.
const FREE: u16 = u16::MAX;

const _: () = assert!(LINES_MAX <= FREE as usize && LINE_BYTES == 64);

/// Short lines, `name:1|c`, without their numbers.
///
/// Their bytes are compared, so a simple hash is enough: a collision costs time, and nothing else. The table
/// is for a listener with few lines, as most have: the bytes of a million lines would take too much memory.
///
/// Each name has two adjacent places. A line that finds both of them taken is not added.
pub(super) struct ShortLines {
    /// Indices into `lines`, by the hash of the name. The length is a power of two, or 0 without lines.
    places: Vec<u16>,
    lines: Vec<KeptLine>,
    /// A power of two, or 0.
    lines_max: usize,
    /// The number of lines that came while the table was full.
    without_room: usize,
    /// The number of lines since the latest one that was found or added, up to `UNKNOWN_MAX`, and then since
    /// the latest one that was tried.
    unknown: u32,
    key: [u64; 5],
}

#[derive(Clone, Copy)]
struct KeptLine {
    name: [u64; 4],
    name_bytes: u16,
    tail_bytes: u16,
    /// The bytes after the number, with the line end.
    tail: u32,
    /// The bits of these bytes.
    tail_mask: u32,
    /// [`ShapeTarget::to_bits`].
    target: u32,
}

/// A name of at most [`NAME_MAX`] bytes.
#[derive(Clone, Copy)]
struct NameWords {
    /// The first and the last bytes, which may overlap. Names of the same length differ in them.
    words: [u64; 4],
    bytes: u16,
}

/// A line that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct FoundLine {
    pub(super) target: ShapeTarget,
    /// The number of bytes after the line's number up to the next line.
    pub(super) tail_bytes: usize,
}

impl ShortLines {
    /// Creates an empty table that takes at most `bytes_max` bytes.
    pub(super) fn new(bytes_max: usize, key: &mut KeyStream) -> Self {
        let fit = (bytes_max / LINE_BYTES).min(LINES_MAX);
        let lines_max = fit.checked_ilog2().map_or(0, |exponent| 1 << exponent);
        let key = [(); 5].map(|()| key.draw_word());
        Self { places: Vec::new(), lines: Vec::new(), lines_max, without_room: 0, unknown: 0, key }
    }

    /// Maximum size of the table in bytes.
    pub(super) fn bytes_max(&self) -> usize {
        self.lines_max * LINE_BYTES
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.places.capacity() * size_of::<u16>() + self.lines.capacity() * size_of::<KeptLine>()
    }

    /// Whether the next line is likely to be found. Must be called for each line, except after one that was
    /// found.
    #[inline(always)]
    pub(super) fn expects_known(&mut self) -> bool {
        // Without a short line, as from a client that writes tags on every line.
        if self.lines.is_empty() {
            return false;
        }
        self.unknown += 1;
        if self.unknown == UNKNOWN_MAX + TRIED_ONE_IN {
            self.unknown = UNKNOWN_MAX;
        }
        self.unknown <= UNKNOWN_MAX
    }

    /// Finds a line.
    #[inline(always)]
    pub(super) fn find(&mut self, line: &ShortLine<'_>) -> Option<FoundLine> {
        let name = NameWords::of(line.name)?;
        let place = self.place_of(&name);
        let is_it = |known: &&KeptLine| known.is_it(&name, line.tail);
        let known = self.line_at(place).filter(is_it);
        let known = known.or_else(|| self.line_at(place ^ 1).filter(is_it))?;
        let KeptLine { target, tail_bytes, .. } = *known;
        self.unknown = 0;
        Some(FoundLine { target: ShapeTarget::from_bits(target), tail_bytes: tail_bytes.into() })
    }

    /// Adds a line, if it is short and there is room.
    pub(super) fn insert(&mut self, line: &ShortSplit<'_>, target: ShapeTarget) {
        let Some(line) = KeptLine::of(line, target) else { return };
        if self.lines.len() == self.lines_max {
            self.without_room += 1;
            // Some of the lines may no longer come. The others will be added again.
            if self.without_room < 8 * self.lines_max.max(1) {
                return;
            }
            self.clear();
        }
        if self.lines.len() * PLACES == self.places.len() {
            let room = (2 * self.lines.len()).max(LINES_MIN).min(self.lines_max);
            self.place_again(room);
        }
        self.insert_free(line);
    }

    /// Removes the lines that lead to slots which `keep` rejects.
    pub(super) fn retain(&mut self, keep: impl Fn(SeriesSlot) -> bool) {
        self.lines.retain(|line| keep(ShapeTarget::from_bits(line.target).slot));
        self.place_again(self.places.len() / PLACES);
    }

    /// Removes all lines, and frees their memory.
    pub(super) fn clear(&mut self) {
        (self.places, self.lines, self.without_room) = (Vec::new(), Vec::new(), 0);
    }

    /// Rebuilds the table with room for this number of lines.
    fn place_again(&mut self, room: usize) {
        self.places = vec![FREE; room * PLACES];
        for line in std::mem::replace(&mut self.lines, Vec::with_capacity(room)) {
            self.insert_free(line);
        }
    }

    fn insert_free(&mut self, line: KeptLine) {
        let place = self.place_of(&line.name());
        let places = [place, place ^ 1];
        let is_there = |place: &usize| {
            self.line_at(*place).is_some_and(|known| known.is_it(&line.name(), line.tail))
        };
        // A line with a blank at its end is not found by its bytes, and comes here each time.
        if places.iter().any(is_there) {
            return;
        }
        if let Some(free) = places.into_iter().find(|place| self.places.get(*place) == Some(&FREE))
        {
            self.places[free] = self.lines.len() as u16;
            self.lines.push(line);
            self.unknown = 0;
        }
    }

    #[inline(always)]
    fn line_at(&self, place: usize) -> Option<&KeptLine> {
        self.lines.get(usize::from(*self.places.get(place)?))
    }

    /// The first place of a name.
    #[inline(always)]
    fn place_of(&self, name: &NameWords) -> usize {
        let [a, b, c, d] = name.words;
        let [of_a, of_b, of_c, of_d, of_all] = self.key;
        let folded = |x: u64, y: u64| {
            let product = u128::from(x) * u128::from(y);
            product as u64 ^ (product >> 64) as u64
        };
        let halves = folded(a ^ of_a, b ^ of_b) ^ folded(c ^ of_c, d ^ of_d);
        // With one key in fifteen, names that differ in a number at their end would share their places.
        let hash = folded(halves, of_all);
        hash as usize & self.places.len().wrapping_sub(1)
    }
}

impl KeptLine {
    /// `None` if the line is not short enough.
    fn of(line: &ShortSplit<'_>, target: ShapeTarget) -> Option<Self> {
        let ShortSplit { before, after, .. } = line;
        let NameWords { words, bytes } = NameWords::of(before)?;
        let mut tail = [0; TAIL_BYTES];
        tail.get_mut(..after.len())?.copy_from_slice(after);
        *tail.get_mut(after.len())? = b'\n';
        let tail_bytes = after.len() + 1;
        Some(Self {
            name: words,
            name_bytes: bytes,
            tail_bytes: tail_bytes as u16,
            tail: u32::from_le_bytes(tail),
            tail_mask: u32::MAX >> (8 * (TAIL_BYTES - tail_bytes)),
            target: target.to_bits(),
        })
    }

    fn name(&self) -> NameWords {
        NameWords { words: self.name, bytes: self.name_bytes }
    }

    #[inline(always)]
    fn is_it(&self, name: &NameWords, tail: u32) -> bool {
        let [a, b, c, d] = self.name;
        let [of_a, of_b, of_c, of_d] = name.words;
        // One branch for all of them.
        let name_differs = (a ^ of_a) | (b ^ of_b) | (c ^ of_c) | (d ^ of_d);
        let length_differs = u64::from(self.name_bytes ^ name.bytes);
        let tail_differs = u64::from((self.tail ^ tail) & self.tail_mask);
        name_differs | length_differs | tail_differs == 0
    }
}

impl NameWords {
    /// `None` if the name is too long.
    #[inline(always)]
    fn of(name: &[u8]) -> Option<Self> {
        let [[a, b], [c, d]] = match (name.first_chunk(), name.last_chunk()) {
            (Some(first), Some(last)) => [words(first), words(last)],
            _ => [short_words(name), [0; 2]],
        };
        (name.len() <= NAME_MAX).then_some(Self { words: [a, b, c, d], bytes: name.len() as u16 })
    }
}

#[cfg(test)]
mod tests;
