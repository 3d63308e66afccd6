//! Splits a line around its numbers: the rest stays the same from one sample of a series to the
//! next.

use super::{parse_finite, weight_at};

/// A line with the positions of its numbers, found without decoding.
#[derive(Clone, Copy, Debug)]
pub struct Split<'a> {
    /// The whole line.
    pub line: &'a [u8],
    /// Start of the number; the end of the line if there is none.
    pub number_start: usize,
    /// End of the number.
    pub number_end: usize,
    /// The number; 1 if there is none, and NaN if there are several, which needs no separate flag.
    pub number: f64,
    /// The number of samples for which the line stands, by its sample rate; 1 if there is none.
    pub weight: f64,
    /// The place of the sample rate.
    rate: Gap,
    /// The place of the timestamp.
    time: Gap,
}

/// The parts of a line with one short number and no other gap: in registers, where a [`Split`] would
/// be in memory.
#[derive(Clone, Copy, Debug)]
pub struct ShortSplit<'a> {
    /// The line up to its number.
    pub before: &'a [u8],
    /// The line after its number.
    pub after: &'a [u8],
    /// The number.
    pub number: f64,
}

/// A part of a line that its shape leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gap {
    start: u32,
    end: u32,
}

impl Gap {
    /// No gap: a place after the end of every line.
    const NONE: Self = Self { start: u32::MAX, end: u32::MAX };

    fn of(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }
}

/// Maximum number of pieces of a line: those around three numbers.
pub const PIECES: usize = 4;

/// The parts of a line around its numbers. Two lines with equal pieces differ in nothing but their
/// numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinePieces<'a> {
    /// In order. Those after the last number are empty.
    pub pieces: [&'a [u8]; PIECES],
    /// The number of gaps between them. Without it, an absent number would be the same as an empty
    /// piece after one.
    pub gaps: u32,
}

#[cfg(test)]
impl LinePieces<'_> {
    /// The pieces as text, with `…` for each number.
    pub(super) fn shown(&self) -> String {
        let pieces = self.pieces[..=self.gaps as usize].iter();
        pieces.map(|piece| String::from_utf8_lossy(piece)).collect::<Vec<_>>().join("…")
    }
}

impl<'a> Split<'a> {
    /// A line without a number.
    #[inline]
    #[must_use]
    pub fn without_number(line: &'a [u8]) -> Self {
        Self::around_number(line, line.len(), line.len(), 1.0)
    }

    #[inline]
    fn around_number(line: &'a [u8], start: usize, end: usize, number: f64) -> Self {
        let (rate, time) = (Gap::NONE, Gap::NONE);
        Self { line, number_start: start, number_end: end, number, weight: 1.0, rate, time }
    }

    /// A line whose number starts at `start`. `None` unless the number is simple: digits with an
    /// optional sign and fraction, few enough for the double to be exact.
    #[inline]
    #[must_use]
    pub fn at_number(line: &'a [u8], start: usize, may_be_negative: bool) -> Option<Self> {
        let (number, end) = simple_number(line, start, may_be_negative)?;
        Some(Self::around_number(line, start, end, number))
    }

    /// The parts around the number of a line whose number follows the colon at `colon`, if the number
    /// is short and not negative.
    #[inline(always)]
    pub(super) fn short_at(line: &'a [u8], colon: usize) -> Option<ShortSplit<'a>> {
        let start = colon + 1;
        let (number, end) = short_number(line, start)?;
        let (before, after) = (line.get(..start)?, line.get(end..)?);
        Some(ShortSplit { before, after, number })
    }

    /// Leaves several numbers out of the shape, from the start of the first one.
    pub(super) fn leave_out_numbers_until(&mut self, end: usize) {
        (self.number_end, self.number) = (end, f64::NAN);
    }

    /// Whether there are several numbers.
    #[inline]
    #[must_use]
    pub fn is_packed(&self) -> bool {
        self.number.is_nan()
    }

    /// Whether the line has a number.
    #[inline]
    #[must_use]
    pub fn has_number(&self) -> bool {
        self.number_start < self.line.len()
    }

    /// Leaves a sample rate out of the shape. False if it is not valid.
    pub(super) fn leave_out_rate(&mut self, start: usize, end: usize) -> bool {
        let rate = match simple_number(self.line, start, false) {
            Some((rate, rate_end)) if rate_end == end => Some(rate),
            _ => std::str::from_utf8(&self.line[start..end]).ok().and_then(parse_finite),
        };
        let Some(weight) = rate.and_then(weight_at) else { return false };
        self.weight = weight;
        self.rate = Gap::of(start, end);
        true
    }

    /// Leaves a sample rate out of the shape, if it is a simple number. Any other one remains in the
    /// shape, and the weight of the split stays 1.
    pub(super) fn leave_out_simple_rate(&mut self, start: usize) {
        if let Some((rate, end)) = simple_number(self.line, start, false)
            && let Some(weight) = weight_at(rate)
        {
            self.weight = weight;
            self.rate = Gap::of(start, end);
        }
    }

    /// Leaves the number of a value out of the shape. False if it is not simple.
    #[inline]
    pub(super) fn leave_out_number(&mut self, start: usize, may_be_negative: bool) -> bool {
        let number = simple_number(self.line, start, may_be_negative);
        if let Some((number, end)) = number {
            (self.number_start, self.number_end, self.number) = (start, end, number);
        }
        number.is_some()
    }

    /// Whether a sample rate was left out.
    #[inline]
    #[must_use]
    pub(super) fn has_rate(&self) -> bool {
        self.rate != Gap::NONE
    }

    /// Leaves a timestamp out of the shape.
    #[inline]
    pub(super) fn leave_out_time(&mut self, start: usize, end: usize) {
        self.time = Gap::of(start, end);
    }

    /// Whether a timestamp was left out.
    #[inline]
    #[must_use]
    pub fn has_time(&self) -> bool {
        self.time.start != Gap::NONE.start
    }

    /// The same places in another line of the same length, which has the same numbers there.
    pub(super) fn of_line<'b>(&self, line: &'b [u8]) -> Split<'b> {
        let Self { line: _, number_start, number_end, number, weight, rate, time } = *self;
        Split { line, number_start, number_end, number, weight, rate, time }
    }

    /// Whether these are the places at which a decoder found the numbers of the line.
    #[must_use]
    pub fn is_at(&self, places: &NumberPlaces) -> bool {
        let is_at = |gap: Gap, place: Option<usize>| {
            gap == Gap::NONE || place.is_some_and(|place| place == gap.start as usize)
        };
        self.number_start == places.value.unwrap_or(self.line.len())
            && is_at(self.rate, places.rate)
            && is_at(self.time, places.time)
    }

    /// The parts before and after the number, if the line has no other gap, as most have none.
    #[inline]
    #[must_use]
    pub fn pieces_around_number(&self) -> Option<[&'a [u8]; 2]> {
        // Two gaps are equal only if both are `NONE`.
        (self.rate == self.time)
            .then(|| [&self.line[..self.number_start], &self.line[self.number_end..]])
    }

    /// The parts around all numbers.
    #[must_use]
    pub fn pieces(&self) -> LinePieces<'a> {
        let mut gaps = [self.rate, self.time, Gap::NONE];
        if self.has_number() {
            gaps[2] = Gap::of(self.number_start, self.number_end);
        }
        gaps.sort_unstable_by_key(|gap| gap.start);
        let mut pieces = [&self.line[self.line.len()..]; PIECES];
        let (mut rest, mut count) = (0, 0);
        for gap in gaps.iter().take_while(|gap| **gap != Gap::NONE) {
            pieces[count] = &self.line[rest..gap.start as usize];
            rest = gap.end as usize;
            count += 1;
        }
        pieces[count] = &self.line[rest..];
        LinePieces { pieces, gaps: count as u32 }
    }
}

/// The places at which a decoder found the numbers of a line that the shape may leave out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NumberPlaces {
    /// The value from which the sample was made.
    pub value: Option<usize>,
    /// The sample rate.
    pub rate: Option<usize>,
    /// The timestamp.
    pub time: Option<usize>,
}

/// Reads a number that is simple, and returns it with its end: see [`Split::at_number`].
#[inline(always)]
pub(super) fn simple_number(
    line: &[u8],
    start: usize,
    may_be_negative: bool,
) -> Option<(f64, usize)> {
    // Most numbers are short.
    short_number(line, start).or_else(|| any_simple_number(line, start, may_be_negative))
}

/// Reads a number of at most seven characters without a sign or an exponent, and returns it with its
/// end.
#[inline(always)]
pub(super) fn short_number(line: &[u8], start: usize) -> Option<(f64, usize)> {
    let ShortNumber { number, length } = word_at(line, start).and_then(ShortNumber::of)?;
    Some((number, start + length))
}

/// A number of at most seven characters without a sign or an exponent.
#[derive(Clone, Copy, Debug, PartialEq)]
struct ShortNumber {
    number: f64,
    length: usize,
}

impl ShortNumber {
    /// Reads the number at the start of eight characters. `None` for any other text.
    // Always: it is a part of the hottest loop, and its result would go through memory.
    #[inline(always)]
    fn of(word: u64) -> Option<Self> {
        const fn each(byte: u8) -> u64 {
            u64::from_le_bytes([byte; 8])
        }
        let digits = word ^ each(b'0');
        // The highest bit of each byte above 9. The other bits are added apart from it, so that no
        // byte carries into the next one.
        let others = (((digits & each(0x7f)) + each(0x76)) | digits) & each(0x80);
        let count = others.trailing_zeros() / 8;
        let has_leading_zero = digits & 0xff == 0 && count > 1;
        if !(1..8).contains(&count) || has_leading_zero {
            return None;
        }
        match (word >> (8 * count)) as u8 {
            b'.' => Self::with_fraction(word, digits, others & (others - 1), count),
            b'e' | b'E' => None,
            // Moved to the last of eight places, the digits follow zeros.
            _ => Some(Self {
                number: f64::from(eight_digits(digits << (64 - 8 * count))),
                length: count as usize,
            }),
        }
    }

    /// The same with a point after `whole` digits. `others` are the marks of other characters after
    /// the point.
    // Not inlined, so that the code for integers is small.
    #[inline(never)]
    fn with_fraction(word: u64, digits: u64, others: u64, whole: u32) -> Option<Self> {
        let length = others.trailing_zeros() / 8;
        // At least one digit after the point.
        if !(whole + 2..8).contains(&length) {
            return None;
        }
        if matches!((word >> (8 * length)) as u8, b'.' | b'e' | b'E') {
            return None;
        }
        // The digits before the point move by one place, over the point.
        let before = digits & ((1 << (8 * whole)) - 1);
        let after = digits >> (8 * (whole + 1)) << (8 * (whole + 1));
        let mantissa = eight_digits((before << 8 | after) << (64 - 8 * length));
        let fraction_digits = (length - whole - 1) as usize;
        // Both are exact doubles, so the quotient is the double nearest to the decimal number.
        let number = f64::from(mantissa) / POWERS_OF_TEN[fraction_digits];
        Some(Self { number, length: length as usize })
    }
}

/// The eight bytes from `at`, with zeros after the end of the line. `None` if the line ends before
/// `at`.
#[inline]
pub(super) fn word_at(line: &[u8], at: usize) -> Option<u64> {
    let rest = line.get(at..)?;
    if let Some(bytes) = rest.first_chunk() {
        return Some(u64::from_le_bytes(*bytes));
    }
    let Some(last) = line.last_chunk() else { return Some(short_word(rest)) };
    let missing = at + 8 - line.len();
    Some(u64::from_le_bytes(*last).checked_shr(8 * missing as u32).unwrap_or(0))
}

/// The word of a line of fewer than eight bytes, such as a value that a decoder has cut out of its
/// line.
#[inline]
fn short_word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// The number of eight digits, of which the first byte is the most significant: adjacent digits, then
/// pairs, then groups of four are joined, all of them at once.
#[inline]
fn eight_digits(digits: u64) -> u32 {
    let join = |parts: u64, base: u64, bits: u32| parts.wrapping_mul((base << bits) | 1) >> bits;
    let pairs = join(digits, 10, 8) & 0x00ff_00ff_00ff_00ff;
    let fours = join(pairs, 100, 16) & 0x0000_ffff_0000_ffff;
    join(fours, 10_000, 32) as u32
}

#[inline(never)]
fn any_simple_number(line: &[u8], start: usize, may_be_negative: bool) -> Option<(f64, usize)> {
    let negative = may_be_negative && line.get(start) == Some(&b'-');
    let first = start + usize::from(negative);
    let (whole, point) = digits(line, first, 0);
    let whole_digits = point - first;
    // JSON does not allow leading zeros, and in statsd they are unusual: leave them to decoding.
    if whole_digits == 0 || (whole_digits > 1 && line[first] == b'0') {
        return None;
    }
    let (mantissa, end, fraction_digits) = if line.get(point) == Some(&b'.') {
        let (mantissa, end) = digits(line, point + 1, whole);
        // A point without digits.
        if end == point + 1 {
            return None;
        }
        (mantissa, end, end - point - 1)
    } else {
        (whole, point, 0)
    };
    let continues = matches!(line.get(end), Some(b'e' | b'E' | b'.' | b'0'..=b'9'));
    if continues || whole_digits + fraction_digits > EXACT_DIGITS {
        return None;
    }
    // Both are exact doubles, so the quotient is the double nearest to the decimal number.
    let magnitude = match fraction_digits {
        0 => mantissa as f64,
        _ => mantissa as f64 / POWERS_OF_TEN[fraction_digits],
    };
    Some((if negative { -magnitude } else { magnitude }, end))
}

/// Number of decimal digits that always fit into the 53 bits of a double.
const EXACT_DIGITS: usize = 15;

const POWERS_OF_TEN: [f64; EXACT_DIGITS + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// Reads digits from `at`, at most as many as are exact, and appends them to a number. Returns the
/// number and the end of the digits.
fn digits(line: &[u8], at: usize, mut number: u64) -> (u64, usize) {
    let mut end = at;
    for byte in line.get(at..).unwrap_or_default().iter().take(EXACT_DIGITS) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        // At most 30 digits, before and after the point. A number of more than 15 is not used, so
        // its overflow does no harm.
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        end += 1;
    }
    (number, end)
}

#[cfg(test)]
mod tests;
