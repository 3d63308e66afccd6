//! Finds the lines of a datagram.

use std::ops::Range;

use memchr::memchr;

use super::is_blank;
use super::scan::{find, find_far};
use crate::sys::lanes::{LANES, equal_to};

/// A line, and the place of its first mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkedLine {
    /// The line without blanks around it, never empty.
    pub range: Range<usize>,
    /// The place of the first mark in the datagram; not before the line's end if it has none.
    pub mark: usize,
}

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

impl DatagramLines<'_> {
    /// The start of the next line, and of blanks before it.
    #[inline]
    #[must_use]
    pub fn start(&self) -> usize {
        self.start
    }

    /// Continues with the line that starts at this place.
    #[inline]
    pub fn skip_to(&mut self, start: usize) {
        self.start = start;
    }

    /// Returns the next line like [`DatagramLines::next`], together with the place of its first byte
    /// that equals one of `wanted`. The line end and this byte are found with one search.
    // Always: it is called in one loop, the hottest of all.
    #[inline(always)]
    pub fn next_marked<const N: usize>(&mut self, wanted: [u8; N]) -> Option<MarkedLine> {
        while self.start < self.bytes.len() {
            let (end, mark) = end_and_mark(self.bytes, self.start, wanted);
            let range = without_blanks(self.bytes, self.start..end);
            self.start = end + 1;
            if !range.is_empty() {
                return Some(MarkedLine { range, mark });
            }
        }
        None
    }
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

const END: [u8; 1] = [b'\n'];

/// Returns the end of the line that begins at `start`.
// Always: it is the first step of each decoded line.
#[inline(always)]
fn line_end(bytes: &[u8], start: usize) -> usize {
    let Some(near) = bytes.get(start..).and_then(<[u8]>::first_chunk::<NEAR>) else {
        return end_of_last(bytes, start);
    };
    // A line of the original statsd ends here, and a call of `memchr` would take longer.
    let ends = marks_near(near, END);
    if ends != 0 {
        return start + ends.trailing_zeros() as usize;
    }
    far_end(bytes, start + NEAR)
}

/// The end of a line that begins among the last bytes of a datagram, fewer than [`NEAR`].
#[inline]
fn end_of_last(bytes: &[u8], start: usize) -> usize {
    if bytes.len() < LANES {
        return find(bytes, start, END);
    }
    // With an additional mark at the end.
    let marks = u64::from(marks_of_last(bytes, start, END)) | 1 << (bytes.len() - start);
    start + marks.trailing_zeros() as usize
}

#[inline]
fn marks_near<const N: usize>(near: &[u8; NEAR], wanted: [u8; N]) -> u32 {
    let lanes = |at: usize| near[at..].first_chunk().map_or(0, |lanes| equal_to(lanes, wanted));
    lanes(0) | lanes(LANES) << LANES
}

/// Finds the first byte that equals one of `wanted` among [`NEAR`] bytes from `start`. May miss it in a
/// datagram of few bytes.
#[inline(always)]
pub(super) fn find_among_near<const N: usize>(
    bytes: &[u8],
    start: usize,
    wanted: [u8; N],
) -> Option<usize> {
    let marks = match bytes.get(start..).and_then(<[u8]>::first_chunk) {
        Some(near) => marks_near(near, wanted),
        None => marks_of_last(bytes, start, wanted),
    };
    (marks != 0).then(|| start + marks.trailing_zeros() as usize)
}

/// The marks of the bytes from `start`, which are fewer than [`NEAR`].
#[inline]
fn marks_of_last<const N: usize>(bytes: &[u8], start: usize, wanted: [u8; N]) -> u32 {
    let (marks, marked) = match bytes.last_chunk() {
        Some(near) => (marks_near(near, wanted), NEAR),
        None => (marks_of_few(bytes, wanted), bytes.len()),
    };
    // Without the marks of bytes before the start.
    let before = (start + marked).saturating_sub(bytes.len());
    marks.checked_shr(before as u32).unwrap_or(0)
}

/// The marks of a datagram of fewer bytes than [`NEAR`]; none if it is shorter than the lanes.
#[inline]
fn marks_of_few<const N: usize>(bytes: &[u8], wanted: [u8; N]) -> u32 {
    let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) else { return 0 };
    // Both lanes together are all bytes.
    equal_to(first, wanted) | equal_to(last, wanted) << (bytes.len() - LANES)
}

/// Returns the end of the line that begins at `start`, and the place of its mark: see [`MarkedLine`].
#[inline(always)]
fn end_and_mark<const N: usize>(bytes: &[u8], start: usize, wanted: [u8; N]) -> (usize, usize) {
    // The last bytes of a datagram are searched together with those before them.
    let before = (start + NEAR).saturating_sub(bytes.len());
    let near = bytes.get(start.wrapping_sub(before)..).and_then(<[u8]>::first_chunk);
    let Some(near) = near else { return end_and_mark_of_few(bytes, start, wanted) };
    let place = |marks: u32| {
        // Without the marks of bytes before the line, and with an additional one at the end.
        let marks = u64::from(marks) >> before | 1 << (NEAR - before);
        start + marks.trailing_zeros() as usize
    };
    let (end, mark) = (place(marks_near(near, END)), place(marks_near(near, wanted)));
    if end < start + NEAR || end == bytes.len() {
        return (end, mark);
    }
    let near_end = end;
    let end = far_end(bytes, near_end);
    // A mark near the beginning of the line is the first one.
    (end, if mark < near_end { mark } else { find(&bytes[..end], near_end, wanted) })
}

/// The same for a datagram of few bytes.
#[inline(never)]
fn end_and_mark_of_few<const N: usize>(
    bytes: &[u8],
    start: usize,
    wanted: [u8; N],
) -> (usize, usize) {
    if bytes.len() < LANES {
        return (find(bytes, start, END), find(bytes, start, wanted));
    }
    let place = |marks: u32| {
        // With an additional mark at the end.
        let marks = u64::from(marks) >> start | 1 << (bytes.len() - start);
        start + marks.trailing_zeros() as usize
    };
    (place(marks_of_few(bytes, END)), place(marks_of_few(bytes, wanted)))
}

/// Returns the end of a line that has no end before `start`.
#[inline]
fn far_end(bytes: &[u8], start: usize) -> usize {
    let middle = &bytes[..bytes.len().min(start + MIDDLE)];
    let end = find_far(middle, start, END[0]);
    if end < middle.len() || end == bytes.len() {
        return end;
    }
    memchr(END[0], &bytes[end..]).map_or(bytes.len(), |length| end + length)
}

#[inline]
fn without_blanks(bytes: &[u8], range: Range<usize>) -> Range<usize> {
    // Few lines begin or end with a blank or another of the bytes up to the space.
    match &bytes[range.clone()] {
        [b'!'..=0xff, .., b'!'..=0xff] => range,
        _ => trimmed(bytes, range),
    }
}

#[inline(never)]
fn trimmed(bytes: &[u8], Range { mut start, mut end }: Range<usize>) -> Range<usize> {
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

    #[test]
    fn the_last_line_of_a_datagram_without_a_newline_has_its_end_and_its_mark() {
        for (first, last) in (0..=40).flat_map(|first| (1..=40).map(move |last| (first, last))) {
            for mark in 0..=last {
                let (mut bytes, start) = (vec![b'x'; first], first + 1);
                bytes.push(b'\n');
                bytes.resize(start + last, b'y');
                let marked = bytes.get_mut(start + mark).map(|byte| *byte = b':');
                let mut lines = lines(&bytes);
                if first > 0 {
                    let MarkedLine { range, mark } = lines.next_marked([b':']).unwrap();
                    assert_eq!(range, 0..first);
                    assert!(mark >= first, "{first} {last}");
                }
                let found = lines.next_marked([b':']).unwrap();
                assert_eq!(found.range, start..start + last);
                let expected = marked.map(|()| start + mark);
                assert_eq!(
                    Some(found.mark).filter(|mark| *mark < bytes.len()),
                    expected,
                    "{first} {last}"
                );
                assert_eq!(lines.next_marked([b':']), None);
            }
        }
    }

    proptest! {
        #[test]
        fn a_near_byte_is_found_unless_the_datagram_is_short(
            text in "[a:]{0,2}[ab]{0,40}[:b]{0,3}[ab]{0,60}", start in 0_usize..110,
        ) {
            let found = find_among_near(text.as_bytes(), start, [b':']);
            let near = text.bytes().enumerate().skip(start).take(NEAR);
            let expected = near.filter(|(_, byte)| *byte == b':').map(|(place, _)| place).next();
            prop_assert_eq!(found, expected.filter(|_| text.len() >= LANES));
        }

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

        #[test]
        fn the_first_mark_of_each_line_is_found_with_its_end(
            parts in prop::collection::vec("[ \t]{0,40}[a:\\[ ]{0,3}[ab]{0,90}[b:\\[]{0,3}", 0..8),
        ) {
            let text = parts.join("\n");
            let mut marked = lines(text.as_bytes());
            for range in lines(text.as_bytes()) {
                let MarkedLine { range: found, mark } = marked.next_marked([b':', b'[']).unwrap();
                prop_assert_eq!(&found, &range);
                let expected = text[range.clone()].find([':', '[']).map(|at| range.start + at);
                prop_assert_eq!(Some(mark).filter(|mark| *mark < range.end), expected, "{:?}", text);
            }
            prop_assert_eq!(marked.next_marked([b':', b'[']), None);
        }
    }
}
