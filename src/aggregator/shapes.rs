//! Lines seen before: the fast path past decoding, tagging and looking up.
//!
//! A client sends the same line over and over, and only the number in it changes. A shape is such a
//! line without its number. A line with a known shape belongs to a known series, has a known weight,
//! and its number is all that is left to read.

use std::hash::{BuildHasher, Hasher};

use super::seed::{self, Seeded};
use crate::protocol::SampleValue;
use crate::protocol::split::Split;

/// A line may stand in so many places. With fewer, lines of a thousand series would too often push
/// each other out.
const WAYS: usize = 4;
/// Sets of that many places. All shapes with their bytes take a megabyte, which stays in the cache
/// of a core.
const SETS: usize = 1_024;
/// Bytes of a line, without its number, that a shape can hold.
const BYTES_MAX: usize = 228;
/// After so many lines it is looked at whether remembering pays.
const TRIAL_LINES: u32 = 1_024;
/// Fewer known lines among them, and the next lines are not looked up: with more series than shapes
/// every look is in vain.
const TRIAL_HITS_MIN: u32 = TRIAL_LINES / 4;
/// So many lines pass before the next trial.
const PAUSE_LINES: u32 = 16 * TRIAL_LINES;

/// What a number of a known shape means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// An increment.
    Counter,
    /// A new level.
    Gauge,
    /// A measured value.
    Timer,
    /// Nothing: an occurrence.
    Trace,
}

impl Meaning {
    /// What the number of such a value means; none where it is not a plain number.
    #[must_use]
    pub fn of(value: &SampleValue<'_>) -> Option<Self> {
        match value {
            SampleValue::Counter(_) => Some(Self::Counter),
            SampleValue::GaugeSet(_) => Some(Self::Gauge),
            SampleValue::Timer(_) => Some(Self::Timer),
            SampleValue::Trace => Some(Self::Trace),
            SampleValue::GaugeAdd(_) | SampleValue::Set(_) => None,
        }
    }
}

/// What is known of a line with a known shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Known {
    /// The series' slot in the table.
    pub place: u32,
    /// What its number means.
    pub meaning: Meaning,
    /// The sample's weight.
    pub weight: f64,
}

/// The shapes of one table: they name its slots.
pub struct Shapes {
    /// The hashes by themselves, so that a look touches one cache line before the shape's own.
    hashes: Vec<[u64; WAYS]>,
    /// Both are empty until the first is learned: a listener that nobody uses costs nothing.
    shapes: Vec<[Shape; WAYS]>,
    /// Drawn anew: senders must not choose lines that push each other out.
    seed: Seeded,
    looked_up: u32,
    found: u32,
    pause: u32,
    next_way: usize,
}

#[derive(Clone, Copy)]
struct Shape {
    weight: f64,
    place: u32,
    meaning: Meaning,
    /// Bytes before the number, and altogether; 0 altogether is no shape.
    before: u8,
    length: u8,
    bytes: [u8; BYTES_MAX],
}

impl Shapes {
    /// No shapes.
    #[must_use]
    pub fn new() -> Self {
        Self {
            hashes: Vec::new(),
            shapes: Vec::new(),
            seed: seed::draw(),
            looked_up: 0,
            found: 0,
            pause: 0,
            next_way: 0,
        }
    }

    /// Whether lines are to be looked up at all right now. To be asked once a line.
    #[inline]
    pub fn is_worth_a_look(&mut self) -> bool {
        if self.pause > 0 {
            self.pause -= 1;
            return false;
        }
        self.looked_up += 1;
        if self.looked_up > TRIAL_LINES {
            if self.found < TRIAL_HITS_MIN {
                self.pause = PAUSE_LINES;
            }
            (self.looked_up, self.found) = (0, 0);
        }
        true
    }

    /// What is known of the line.
    #[inline]
    pub fn find(&mut self, split: &Split<'_>) -> Option<Known> {
        let (before, after) = split.around();
        let hash = self.hash(before, after);
        let set = hash as usize % SETS;
        let way = self.hashes.get(set)?.iter().position(|known| *known == hash)?;
        let shape = &self.shapes[set][way];
        if !shape.is(before, after) {
            return None;
        }
        self.found += 1;
        Some(Known { place: shape.place, meaning: shape.meaning, weight: shape.weight })
    }

    /// Remembers the line's shape in place of one that was remembered before.
    pub fn learn(&mut self, split: &Split<'_>, known: Known) {
        let (before, after) = split.around();
        let length = before.len() + after.len();
        if length == 0 || length > BYTES_MAX {
            return;
        }
        if self.shapes.is_empty() {
            self.hashes = vec![[0; WAYS]; SETS];
            self.shapes = vec![[Shape::NONE; WAYS]; SETS];
        }
        let hash = self.hash(before, after);
        let set = hash as usize % SETS;
        // Which one has to go is left to chance: lines often come in turn, and then the oldest is
        // just the one that comes next.
        self.next_way = (self.next_way + 1) % WAYS;
        let way = self.hashes[set].iter().position(|known| *known == 0).unwrap_or(self.next_way);
        self.hashes[set][way] = hash;
        let shape = &mut self.shapes[set][way];
        shape.bytes[..before.len()].copy_from_slice(before);
        shape.bytes[before.len()..length].copy_from_slice(after);
        shape.before = before.len() as u8;
        shape.length = length as u8;
        (shape.place, shape.meaning, shape.weight) = (known.place, known.meaning, known.weight);
    }

    /// Forgets all, because the slots have other numbers now.
    pub fn clear(&mut self) {
        (self.hashes, self.shapes) = (Vec::new(), Vec::new());
    }

    fn hash(&self, before: &[u8], after: &[u8]) -> u64 {
        let mut hasher = self.seed.build_hasher();
        hasher.write(before);
        hasher.write(after);
        hasher.finish()
    }
}

impl Default for Shapes {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Shapes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = self.shapes.as_flattened().iter().filter(|shape| shape.length > 0).count();
        write!(formatter, "Shapes({known})")
    }
}

impl Shape {
    const NONE: Self = Self {
        weight: 1.0,
        place: 0,
        meaning: Meaning::Trace,
        before: 0,
        length: 0,
        bytes: [0; BYTES_MAX],
    };

    #[inline]
    fn is(&self, before: &[u8], after: &[u8]) -> bool {
        usize::from(self.length) == before.len() + after.len()
            && usize::from(self.before) == before.len()
            && self.bytes[..before.len()] == *before
            && self.bytes[before.len()..usize::from(self.length)] == *after
            && self.length > 0
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

    fn known(place: u32) -> Known {
        Known { place, meaning: Meaning::Counter, weight: 1.0 }
    }

    #[test]
    fn a_line_that_differs_in_its_number_alone_is_known() {
        let mut shapes = Shapes::new();
        shapes.learn(&split("a:1|c").unwrap(), known(7));
        for (line, place) in [
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
            let found = shapes.find(&split(line).unwrap()).map(|known| known.place);
            assert_eq!(found, place, "{line}");
        }
        shapes.clear();
        assert_eq!(shapes.find(&split("a:1|c").unwrap()), None);
    }

    #[test]
    fn a_line_without_a_number_is_known_as_a_whole() {
        let mut shapes = Shapes::new();
        shapes.learn(&split("abc").unwrap(), known(1));
        assert!(shapes.find(&split("abc").unwrap()).is_some());
        assert!(shapes.find(&split("abd").unwrap()).is_none());
    }

    #[test]
    fn too_long_a_line_is_simply_not_remembered() {
        let mut shapes = Shapes::new();
        let line = "x".repeat(BYTES_MAX + 1);
        shapes.learn(&split(&line).unwrap(), known(1));
        assert!(shapes.find(&split(&line).unwrap()).is_none());
        shapes.learn(&split(&line[1..]).unwrap(), known(1));
        assert!(shapes.find(&split(&line[1..]).unwrap()).is_some());
    }

    #[test]
    fn looking_pauses_while_it_is_in_vain() {
        let mut shapes = Shapes::new();
        let looks = (0..100_000).filter(|_| shapes.is_worth_a_look()).count();
        assert!(looks < 10_000, "{looks}");
        let mut shapes = Shapes::new();
        shapes.learn(&split("abc").unwrap(), known(1));
        let all = (0..100_000)
            .all(|_| shapes.is_worth_a_look() && shapes.find(&split("abc").unwrap()).is_some());
        assert!(all);
    }
}
