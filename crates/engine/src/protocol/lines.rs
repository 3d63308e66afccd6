//! Finds the lines of a datagram.

use std::ops::Range;

use memchr::memchr;

use super::is_blank;
use super::scan::{find, find_far};
use crate::sys::lanes::{LANES, equal_to};

/// Returns the ranges of non-blank lines, trimmed.
#[inline]
#[must_use]
pub fn lines(bytes: &[u8]) -> DatagramLines<'_> {
    DatagramLines { bytes, start: 0 }
}

/// The lines of a datagram that were not returned yet.
#[derive(Clone, Debug)]
pub struct DatagramLines<'b> {
    bytes: &'b [u8],
    /// Start of the next line.
    start: usize,
}

impl Iterator for DatagramLines<'_> {
    type Item = Range<usize>;

    // Always: one of several loops that call it is the hot one.
    #[inline(always)]
    fn next(&mut self) -> Option<Range<usize>> {
        while self.start < self.bytes.len() {
            let end = line_end(self.bytes, self.start);
            let line = without_blanks(self.bytes, self.start..end);
            self.start = end + 1;
            if !line.is_empty() {
                return Some(line);
            }
        }
        None
    }
}

/// Bytes that are searched first.
const NEAR: usize = 2 * LANES;
/// Bytes that are searched next, before `memchr` searches the rest: it is faster only for long texts.
const MIDDLE: usize = 16 * LANES;

/// Returns the end of the line that begins at `start`.
#[inline]
fn line_end(bytes: &[u8], start: usize) -> usize {
    const END: [u8; 1] = [b'\n'];
    let rest = &bytes[start..];
    let Some(near) = rest.first_chunk::<NEAR>() else { return find(bytes, start, END) };
    // A line of the original statsd ends here, and a call of `memchr` would take longer.
    let lanes = |at: usize| near[at..].first_chunk().map_or(0, |lanes| equal_to(lanes, END));
    let ends = lanes(0) | lanes(LANES) << LANES;
    if ends != 0 {
        return start + ends.trailing_zeros() as usize;
    }
    let middle = &bytes[..bytes.len().min(start + NEAR + MIDDLE)];
    let end = find_far(middle, start + NEAR, END[0]);
    if end < middle.len() || end == bytes.len() {
        return end;
    }
    memchr(END[0], &bytes[end..]).map_or(bytes.len(), |length| end + length)
}

#[inline]
fn without_blanks(bytes: &[u8], Range { mut start, mut end }: Range<usize>) -> Range<usize> {
    while start < end && is_blank(bytes[start]) {
        start += 1;
    }
    while start < end && is_blank(bytes[end - 1]) {
        end -= 1;
    }
    start..end
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_of_any_length_ends_before_its_newline() {
        for length in (1..=100).chain([280, 287, 288, 289, 290, 400]) {
            let line = "x".repeat(length);
            for rest in ["", "\n", "\ny", "\n\n\ty\r\n", &format!("\n{}", "y".repeat(99))] {
                let text = format!(" a\n{line}{rest}");
                let found: Vec<_> = lines(text.as_bytes()).map(|range| &text[range]).collect();
                let mut expected = vec!["a", &line];
                expected.extend(Some(rest.trim()).filter(|rest| !rest.is_empty()));
                assert_eq!(found, expected, "{text:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn lines_are_the_trimmed_texts_between_line_ends(
            parts in prop::collection::vec("[ \t\r]{0,2}[a ]{0,150}", 0..20),
        ) {
            let text = parts.join("\n");
            let blanks = [' ', '\t', '\r'];
            let expected: Vec<_> =
                text.split('\n').map(|line| line.trim_matches(blanks)).filter(|line| !line.is_empty()).collect();
            let found: Vec<_> = lines(text.as_bytes()).map(|range| &text[range]).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
