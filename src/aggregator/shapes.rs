//! Lines seen before: the fast path past decoding, tagging and looking up.
//!
//! A client sends the same line over and over, and only the number in it changes. A shape is such a
//! line without its number. A line with a known shape belongs to a known series, has a known weight,
//! and its number is all that is left to read.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;

use crate::protocol::SampleValue;

/// Shapes that are remembered, in sets of two; a power of two. With their bytes they take a
/// megabyte, which stays in the cache of a core.
const SHAPES: usize = 4_096;
/// Bytes of a line, without its number, that a shape can hold.
const BYTES_MAX: usize = 228;
/// After so many lines it is looked at whether remembering pays.
const TRIAL_LINES: u32 = 1_024;
/// Fewer known lines among them, and the next lines are not looked up: with more series than shapes
/// every look is in vain.
const TRIAL_HITS_MIN: u32 = TRIAL_LINES / 4;
/// So many lines pass before the next trial.
const PAUSE_LINES: u32 = 16 * TRIAL_LINES;

/// A line with the place of its number, as a protocol finds it without decoding.
#[derive(Clone, Copy, Debug)]
pub struct Split<'a> {
    /// The whole line.
    pub line: &'a [u8],
    /// Where the number starts; the end of the line if there is none.
    pub number_start: usize,
    /// Where it ends.
    pub number_end: usize,
    /// The number; 1 if there is none.
    pub number: f64,
}

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
    shapes: Box<[Shape]>,
    /// Drawn anew: senders must not choose lines that push each other out.
    seed: RandomState,
    looked_up: u32,
    found: u32,
    pause: u32,
}

#[derive(Clone, Copy)]
struct Shape {
    hash: u64,
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
        let none = Shape {
            hash: 0,
            weight: 1.0,
            place: 0,
            meaning: Meaning::Trace,
            before: 0,
            length: 0,
            bytes: [0; BYTES_MAX],
        };
        Self {
            shapes: vec![none; SHAPES].into_boxed_slice(),
            seed: RandomState::default(),
            looked_up: 0,
            found: 0,
            pause: 0,
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
        let set = Self::set(hash);
        let shape = self.shapes[set..set + 2].iter().find(|shape| shape.is(hash, before, after))?;
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
        let hash = self.hash(before, after);
        let set = Self::set(hash);
        // The newer of the two moves to the back, the older one goes.
        self.shapes.copy_within(set..set + 1, set + 1);
        let shape = &mut self.shapes[set];
        shape.bytes[..before.len()].copy_from_slice(before);
        shape.bytes[before.len()..length].copy_from_slice(after);
        shape.before = before.len() as u8;
        shape.length = length as u8;
        (shape.hash, shape.place) = (hash, known.place);
        (shape.meaning, shape.weight) = (known.meaning, known.weight);
    }

    /// Forgets all, because the slots have other numbers now.
    pub fn clear(&mut self) {
        self.shapes.iter_mut().for_each(|shape| shape.length = 0);
    }

    fn hash(&self, before: &[u8], after: &[u8]) -> u64 {
        let mut hasher = self.seed.build_hasher();
        hasher.write(before);
        hasher.write(after);
        hasher.finish()
    }

    fn set(hash: u64) -> usize {
        hash as usize % (SHAPES / 2) * 2
    }
}

impl Default for Shapes {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Shapes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = self.shapes.iter().filter(|shape| shape.length > 0).count();
        write!(formatter, "Shapes({known})")
    }
}

impl Shape {
    #[inline]
    fn is(&self, hash: u64, before: &[u8], after: &[u8]) -> bool {
        self.hash == hash
            && usize::from(self.length) == before.len() + after.len()
            && usize::from(self.before) == before.len()
            && self.bytes[..before.len()] == *before
            && self.bytes[before.len()..usize::from(self.length)] == *after
            && self.length > 0
    }
}

impl<'a> Split<'a> {
    /// A line without a number.
    #[must_use]
    pub fn without_number(line: &'a [u8]) -> Self {
        Self { line, number_start: line.len(), number_end: line.len(), number: 1.0 }
    }

    /// A line whose number starts at `start`, if it is of the plain kind: digits, perhaps a sign
    /// and a fraction, few enough that the double is exact.
    #[inline]
    #[must_use]
    pub fn at_number(line: &'a [u8], start: usize, may_be_negative: bool) -> Option<Self> {
        let negative = may_be_negative && line.get(start) == Some(&b'-');
        let first = start + usize::from(negative);
        let (whole, point) = digits(line, first, 0);
        let whole_digits = point - first;
        // A leading zero is no JSON, and a sign of something odd anywhere.
        if whole_digits == 0 || (whole_digits > 1 && line[first] == b'0') {
            return None;
        }
        let (mantissa, end, fraction_digits) = if line.get(point) == Some(&b'.') {
            let (mantissa, end) = digits(line, point + 1, whole);
            (mantissa, end, end - point - 1)
        } else {
            (whole, point, 0)
        };
        let is_cut = line.get(point) == Some(&b'.') && fraction_digits == 0;
        let goes_on = matches!(line.get(end), Some(b'e' | b'E' | b'.' | b'0'..=b'9'));
        if is_cut || goes_on || whole_digits + fraction_digits > EXACT_DIGITS {
            return None;
        }
        // Both are exact doubles, so the quotient is the nearest one to the decimal.
        let magnitude = mantissa as f64 / POWERS_OF_TEN[fraction_digits];
        let number = if negative { -magnitude } else { magnitude };
        Some(Self { line, number_start: start, number_end: end, number })
    }

    fn around(&self) -> (&'a [u8], &'a [u8]) {
        (&self.line[..self.number_start], &self.line[self.number_end..])
    }
}

/// Decimal digits that always fit the 53 bits of a double.
const EXACT_DIGITS: usize = 15;

const POWERS_OF_TEN: [f64; EXACT_DIGITS + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// Reads digits from `at` on, at most a few more than are exact; gives the number and their end.
#[inline]
fn digits(line: &[u8], mut at: usize, mut number: u64) -> (u64, usize) {
    let stop = line.len().min(at + EXACT_DIGITS + 1);
    while at < stop && line[at].is_ascii_digit() {
        // Not more than 32 digits, of which only 15 are used: what overflows is thrown away.
        number = number.wrapping_mul(10).wrapping_add(u64::from(line[at] - b'0'));
        at += 1;
    }
    (number, at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    #[test]
    fn only_plain_numbers_are_read_here() {
        for odd in [
            "01",
            "1e3",
            "1.",
            ".5",
            "",
            "-",
            "+1",
            "1.2.3",
            "1234567890123456",
            "0.1234567890123456",
        ] {
            assert!(Split::at_number(odd.as_bytes(), 0, true).is_none(), "{odd}");
        }
        assert!(Split::at_number(b"-1", 0, false).is_none());
    }

    proptest! {
        #[test]
        fn a_number_is_what_the_standard_library_reads(text in "-?(0|[1-9][0-9]{0,9})(\\.[0-9]{1,5})?") {
            let split = Split::at_number(text.as_bytes(), 0, true).unwrap();
            prop_assert_eq!(split.number_end, text.len());
            prop_assert_eq!(split.number.to_bits(), text.parse::<f64>().unwrap().to_bits());
        }

        #[test]
        fn any_bytes_are_split_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), start in 0_usize..70) {
            let _ = Split::at_number(&bytes, start, true);
        }
    }
}
