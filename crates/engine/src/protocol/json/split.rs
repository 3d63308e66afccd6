//! Splits a line around its numbers, without decoding it.

use super::super::is_blank;
use super::super::split::Split;
use crate::sys::lanes::{AROUND, LANES, equal_unless};

/// Splits a line around its value, its sample rate and its timestamp, where the keys suggest that they
/// are. False if the value is not a simple number.
///
/// This is only a guess: callers must compare the places with the places that decoding found.
#[inline]
#[must_use]
pub fn split(split: &mut Split<'_>) -> bool {
    let line = split.line;
    // The last position at which a step can read. A line without one is too short for a message.
    let Some(last) = line.len().checked_sub(LANES + 1).filter(|last| *last >= 2) else {
        return false;
    };
    let mut at = 2;
    // Two steps at once, as long as the line is long enough.
    while let Some(around) = around::<{ AROUND + LANES }>(line, at) {
        let marks = value_marks(around, 0) | value_marks(around, LANES) << LANES;
        if marks != 0 && !leave_out_values(split, at, marks) {
            return false;
        }
        at += 2 * LANES;
    }
    while let Some(around) = around::<AROUND>(line, at) {
        let marks = value_marks(around, 0);
        if marks != 0 && !leave_out_values(split, at, marks) {
            return false;
        }
        at += LANES;
    }
    // The last step overlaps the previous one, whose marks are shifted out.
    let marks = around::<AROUND>(line, last).map_or(0, |around| value_marks(around, 0));
    let marks = marks.checked_shr((at - last) as u32).unwrap_or(0);
    marks == 0 || leave_out_values(split, at, marks)
}

/// The bytes from the second one before `at`, if the line has as many.
#[inline]
fn around<const N: usize>(line: &[u8], at: usize) -> Option<&[u8; N]> {
    line.get(at - 2..)?.first_chunk()
}

/// Leaves the values after the marked colons out of the shape; the lowest mark is for the byte at `at`.
fn leave_out_values(split: &mut Split<'_>, at: usize, mut marks: u32) -> bool {
    while marks != 0 {
        let colon = at + marks.trailing_zeros() as usize;
        marks &= marks - 1;
        if !leave_out_value(split, colon) {
            return false;
        }
    }
    true
}

/// Marks the colons of members whose values may change from message to message: colons before a value
/// that is not a string, and colons after a key like `timestamp`, which ends with a `p`. Reads one step
/// from `start`.
#[inline]
fn value_marks(around: &[u8], start: usize) -> u32 {
    let around = around.get(start..).and_then(<[u8]>::first_chunk);
    around.map_or(0, |around| equal_unless(around, b':', b'p', b'"'))
}

/// Leaves the value after a colon out of the shape, if its key has changing values. Returns false if
/// the value should be a number and is not a simple one.
#[inline]
fn leave_out_value(split: &mut Split<'_>, colon: usize) -> bool {
    let key = &split.line[..colon];
    let blanks = split.line[colon + 1..].iter().take_while(|byte| is_blank(**byte)).count();
    let start = colon + 1 + blanks;
    if key.ends_with(b"\"value\"") {
        return split.leave_out_number(start, true);
    }
    // A value takes precedence over a count, in any order.
    if key.ends_with(b"\"count\"") {
        return split.has_number() || split.leave_out_number(start, true);
    }
    leave_out_time_or_rate(split, colon, start);
    true
}

/// Leaves the value from `start` out of the shape, if the key before the colon is that of a timestamp or
/// of a sample rate.
// Not inlined, so that the code for a value is small.
#[inline(never)]
fn leave_out_time_or_rate(split: &mut Split<'_>, colon: usize, start: usize) {
    let key = &split.line[..colon];
    if key.ends_with(b"\"timestamp\"") {
        if let Some(end) = end_of_time(split.line, start) {
            split.leave_out_time(start, end);
        }
    } else if key.ends_with(b"\"sample_rate\"") {
        split.leave_out_simple_rate(start);
    }
}

/// The end of a timestamp that is a number or a string of printable ASCII without escapes. `None`
/// for any other value: decoding has to check whether that is valid JSON.
fn end_of_time(line: &[u8], start: usize) -> Option<usize> {
    if line.get(start) == Some(&b'"') {
        let is_plain =
            |byte: &&u8| matches!(**byte, b' '..=b'~') && !matches!(**byte, b'"' | b'\\');
        let end = start + 1 + line[start + 1..].iter().take_while(is_plain).count();
        return (line.get(end) == Some(&b'"')).then_some(end + 1);
    }
    let first = start + usize::from(line.get(start) == Some(&b'-'));
    let digits = |at: usize| {
        let digits = line.get(at..).unwrap_or_default().iter();
        at + digits.take_while(|byte| byte.is_ascii_digit()).count()
    };
    let point = digits(first);
    let is_valid = point == first + 1 || (point > first && line[first] != b'0');
    let end = if line.get(point) == Some(&b'.') { digits(point + 1) } else { point };
    let continues = matches!(line.get(end), Some(b'e' | b'E' | b'.' | b'+' | b'-'));
    (is_valid && end != point + 1 && !continues).then_some(end)
}
