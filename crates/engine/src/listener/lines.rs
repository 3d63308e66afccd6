//! Splits the bytes of a connection into lines.

use memchr::{memchr, memrchr};

/// A part of a stream, passed to the caller of [`LineBuffer::feed`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LineChunk<'a> {
    /// One or more complete lines.
    Lines(&'a [u8]),
    /// The beginning of a line that is too long; the rest of it is skipped.
    TooLong(&'a [u8]),
}

/// The incomplete line of a connection. It takes memory only while there is such a line.
#[derive(Debug, Default)]
pub(crate) struct LineBuffer {
    partial: Vec<u8>,
    /// Whether the rest of the line is skipped.
    is_skipping: bool,
}

impl LineBuffer {
    /// Passes all lines that end within `chunk` to `each`, in order, and keeps the beginning of the
    /// next one. A line may have at most `max` bytes, not counting its newline. Returns whether a
    /// line ended.
    pub(crate) fn feed(
        &mut self,
        chunk: &[u8],
        max: usize,
        each: &mut impl FnMut(LineChunk<'_>),
    ) -> bool {
        let Some(last) = memrchr(b'\n', chunk) else {
            self.keep(chunk, max, each);
            return false;
        };
        let (mut complete, beginning) = chunk.split_at(last + 1);
        // Only the first line continues an earlier chunk. The others are passed on without a copy.
        if self.is_skipping || !self.partial.is_empty() {
            let end = memchr(b'\n', complete).unwrap_or(last);
            let rest_of_line = complete.split_off(..=end).unwrap_or_default();
            self.keep(&rest_of_line[..end], max, each);
            if !std::mem::take(&mut self.is_skipping) {
                each(LineChunk::Lines(&std::mem::take(&mut self.partial)));
            }
        }
        if !complete.is_empty() {
            emit(complete, max, each);
        }
        self.keep(beginning, max, each);
        true
    }

    /// Takes the incomplete line; empty if there is none, or if it was too long.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.partial)
    }

    /// Adds a piece without a newline to the incomplete line. If that becomes too long, passes its
    /// beginning to `each` and skips the rest.
    fn keep(&mut self, piece: &[u8], max: usize, each: &mut impl FnMut(LineChunk<'_>)) {
        if self.is_skipping {
            return;
        }
        // A reload may have lowered the maximum below the length of the line so far.
        let room = max.saturating_sub(self.partial.len());
        let is_too_long = self.partial.len() + piece.len() > max;
        let piece_kept = &piece[..piece.len().min(room)];
        let length = self.partial.len() + piece_kept.len();
        if length > self.partial.capacity() {
            // Grows in powers of two, but never beyond the maximum length of a line.
            self.partial.reserve_exact(length.next_power_of_two().min(max) - self.partial.len());
        }
        self.partial.extend_from_slice(piece_kept);
        if is_too_long {
            self.is_skipping = true;
            each(LineChunk::TooLong(&std::mem::take(&mut self.partial)));
        }
    }
}

/// Passes on complete lines: as many together as possible, and each one that is too long by itself.
fn emit(complete: &[u8], max: usize, each: &mut impl FnMut(LineChunk<'_>)) {
    // Always true with the default limit, which is the maximum size of a read.
    if complete.len() <= max {
        return each(LineChunk::Lines(complete));
    }
    let mut emitted = 0;
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', complete) {
        if end - start > max {
            if emitted < start {
                each(LineChunk::Lines(&complete[emitted..start]));
            }
            each(LineChunk::TooLong(&complete[start..start + max]));
            emitted = end + 1;
        }
        start = end + 1;
    }
    if emitted < complete.len() {
        each(LineChunk::Lines(&complete[emitted..]));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds a stream in chunks and returns its lines: with `!` if they were too long, with `…` if
    /// incomplete.
    fn cut(chunks: &[&[u8]], max: usize) -> Vec<String> {
        let (mut buffer, mut seen) = (LineBuffer::default(), Vec::new());
        for chunk in chunks {
            buffer.feed(chunk, max, &mut |part| match part {
                LineChunk::Lines(lines) => {
                    let text = String::from_utf8_lossy(lines).into_owned();
                    let text = text.strip_suffix('\n').map_or(text.clone(), str::to_owned);
                    seen.extend(text.split('\n').map(str::to_owned));
                }
                LineChunk::TooLong(beginning) => {
                    seen.push(format!("!{}", String::from_utf8_lossy(beginning)));
                }
            });
            assert!(buffer.partial.capacity() <= max);
        }
        let rest = buffer.finish();
        if !rest.is_empty() {
            seen.push(format!("…{}", String::from_utf8_lossy(&rest)));
        }
        seen
    }

    #[test]
    fn lines_do_not_depend_on_chunks() {
        let whole = cut(&[b"one\ntwo\r\n\nthree"], 64);
        assert_eq!(whole, ["one", "two\r", "", "…three"]);
        let bytes: Vec<&[u8]> = b"one\ntwo\r\n\nthree".chunks(1).collect();
        assert_eq!(cut(&bytes, 64), whole);
        assert_eq!(cut(&[b"o", b"ne\ntw", b"o\r\n\nthr", b"ee"], 64), whole);
    }

    #[test]
    fn a_line_that_is_too_long_leaves_its_neighbours_intact() {
        let stream = b"good\n123456789\nfine\n1234567890\nlast\n";
        let whole = cut(&[stream], 8);
        assert_eq!(whole, ["good", "!12345678", "fine", "!12345678", "last"]);
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(cut(&bytes, 8), whole);
        assert_eq!(cut(&[b"12345678\n", b"1234", b"5678\n"], 8), ["12345678", "12345678"]);
        assert_eq!(cut(&[b"123456789"], 8), ["!12345678"], "its rest is skipped");
    }

    #[test]
    fn a_maximum_that_is_lowered_within_a_line_applies_to_this_line() {
        for (rest, following) in [("9\nok\n", true), ("\nok\n", true), ("9", false)] {
            let (mut buffer, mut seen) = (LineBuffer::default(), Vec::new());
            let mut each = |part: LineChunk<'_>| seen.push(format!("{part:?}"));
            buffer.feed(b"12345678", 8, &mut each);
            buffer.feed(rest.as_bytes(), 4, &mut each);
            let mut expected = vec![format!("{:?}", LineChunk::TooLong(b"12345678"))];
            expected.extend(following.then(|| format!("{:?}", LineChunk::Lines(b"ok\n"))));
            assert_eq!(seen, expected, "{rest:?}");
        }
    }

    proptest! {
        #[test]
        fn any_chunks_give_the_same_lines(
            lines in prop::collection::vec("[ab]{0,12}", 0..20),
            sizes in prop::collection::vec(1_usize..30, 1..40),
            max in 1_usize..12,
        ) {
            let stream = lines.join("\n").into_bytes();
            let (mut chunks, mut rest) = (Vec::new(), stream.as_slice());
            for size in sizes {
                let (chunk, left) = rest.split_at(size.min(rest.len()));
                chunks.push(chunk);
                rest = left;
            }
            chunks.push(rest);
            prop_assert_eq!(cut(&chunks, max), cut(&[&stream], max));
        }
    }
}
