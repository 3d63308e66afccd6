//! Splits a line around its numbers, without decoding it.

use super::super::lines::{DatagramLines, MarkedLine};
use super::super::scan::{find, find_far, is_of_digits};
use super::super::split::{ShortSplit, Split};

/// Minimum number of bytes from the bar before the type to the end of a line with a rate or a timestamp:
/// `|c|@1`.
const SHORTEST_SECTIONS: usize = 5;

/// Maximum number of bytes from the colon to the end of a line that [`split_short`] tries: `:1234567|ms`.
const LONGEST_SHORT: usize = 11;

/// The bytes of which the first one in a line is its mark. Brackets may contain colons.
const MARKS: [u8; 2] = [b':', b'['];

/// Returns the next line of a datagram, with its mark: the first colon or bracket.
// Always: it is called in the hottest loop.
#[inline(always)]
pub fn next_line(lines: &mut DatagramLines<'_>) -> Option<MarkedLine> {
    lines.next_marked(MARKS)
}

/// Splits a line if it has the form `name:1|c` with a short number and no further sections, as most
/// lines of the original statsd have; `mark` is the place of its mark. [`split`] splits the line into
/// the same parts.
#[inline(always)]
#[must_use]
pub fn split_short(line: &[u8], mark: usize) -> Option<ShortSplit<'_>> {
    // A longer line would make the search for the number useless. Without a mark, the difference may wrap.
    if line.len().wrapping_sub(mark) > LONGEST_SHORT || line.get(mark) != Some(&b':') {
        return None;
    }
    let split = Split::short_at(line, mark)?;
    let is_simple = split.after.first() == Some(&b'|') && split.after.len() < SHORTEST_SECTIONS;
    is_simple.then_some(split)
}

/// Splits a line around its number or numbers. False unless the line has the simple form `name:1|c`
/// or `name:1:2|c`, with any further sections. `mark` is the place of its mark.
#[inline]
#[must_use]
pub fn split(split: &mut Split<'_>, mark: usize) -> bool {
    let line = split.line;
    // Brackets may contain colons. The number must not be negative: a sign would turn the value of
    // a gauge into a change.
    if line.get(mark) != Some(&b':') || !split.leave_out_number(mark + 1, false) {
        return false;
    }
    let is_simple = match line.get(split.number_end) {
        Some(b'|') => true,
        Some(b':') => leave_out_all_numbers(split),
        _ => false,
    };
    is_simple && leave_out_sections(split)
}

/// Extends the split to all numbers of the line. The values are ASCII, but may still be invalid.
#[inline(never)]
fn leave_out_all_numbers(split: &mut Split<'_>) -> bool {
    let is_of_numbers =
        |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b':' | b'-' | b'+' | b'e' | b'E');
    let rest = &split.line[split.number_end..];
    let Some(length) = rest.iter().position(|byte| !is_of_numbers(byte)) else { return false };
    let is_valid = rest[length] == b'|';
    split.leave_out_numbers_until(split.number_end + length);
    is_valid
}

/// Leaves the sample rate and the timestamp out of the shape. False if a rate is invalid, or if the
/// line has several, of which each may belong to other values.
#[inline]
fn leave_out_sections(split: &mut Split<'_>) -> bool {
    let line = split.line;
    // Most lines of the original statsd end after the type.
    if line.len() - split.number_end < SHORTEST_SECTIONS {
        return true;
    }
    // The type is the first section, and stays in the shape.
    let mut bar = find(line, split.number_end + 1, [b'|']);
    while bar < line.len() {
        let start = bar + 1;
        // Most of these sections are long lists of tags.
        bar = find_far(line, start, b'|');
        let is_valid = match line.get(start) {
            Some(b'@') => leave_out_rate(split, start + 1, bar),
            Some(b'T') => leave_out_time(split, start + 1, bar),
            _ => true,
        };
        if !is_valid {
            return false;
        }
    }
    true
}

fn leave_out_rate(split: &mut Split<'_>, start: usize, end: usize) -> bool {
    let is_first = !split.has_rate();
    is_first && split.leave_out_rate(start, end)
}

fn leave_out_time(split: &mut Split<'_>, start: usize, end: usize) -> bool {
    // Any other text after the `T` is valid too, and remains in the shape.
    if !split.has_time() && is_of_digits(&split.line[start..end]) {
        split.leave_out_time(start, end);
    }
    true
}
