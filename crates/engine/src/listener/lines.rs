//! Cutting what comes over a connection into lines.

use memchr::{memchr, memrchr};

/// A part of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// One or more complete lines.
    Lines(&'a [u8]),
    /// The beginning of a line that is too long; the rest of it is passed over.
    TooLong(&'a [u8]),
}

/// What a connection has brought of a line that is not complete. Takes memory only while there is
/// such a line.
#[derive(Debug, Default)]
pub(crate) struct LineCutter {
    partial: Vec<u8>,
    /// Whether the rest of the line is passed over.
    is_skipping: bool,
}

impl LineCutter {
    /// Gives all lines that end within `chunk` to `each`, in order, and keeps the beginning of the
    /// next one. A line has at most `max` bytes without its end. Returns whether a line ended.
    pub(crate) fn feed(
        &mut self,
        chunk: &[u8],
        max: usize,
        each: &mut impl FnMut(Part<'_>),
    ) -> bool {
        let Some(last) = memrchr(b'\n', chunk) else {
            self.keep(chunk, max, each);
            return false;
        };
        let (mut complete, beginning) = chunk.split_at(last + 1);
        if self.is_skipping || !self.partial.is_empty() {
            let end = memchr(b'\n', complete).unwrap_or(last);
            let rest_of_line = complete.split_off(..=end).unwrap_or_default();
            self.keep(&rest_of_line[..end], max, each);
            if !std::mem::take(&mut self.is_skipping) {
                each(Part::Lines(&std::mem::take(&mut self.partial)));
            }
        }
        if !complete.is_empty() {
            give(complete, max, each);
        }
        self.keep(beginning, max, each);
        true
    }

    /// What there is of a line that did not end, and nothing any more.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.partial)
    }

    fn keep(&mut self, piece: &[u8], max: usize, each: &mut impl FnMut(Part<'_>)) {
        if self.is_skipping {
            return;
        }
        let room = max - self.partial.len();
        let piece_kept = &piece[..piece.len().min(room)];
        let length = self.partial.len() + piece_kept.len();
        if length > self.partial.capacity() {
            // Grows in steps, but never beyond what a line may have.
            self.partial.reserve_exact(length.next_power_of_two().min(max) - self.partial.len());
        }
        self.partial.extend_from_slice(piece_kept);
        if piece.len() > room {
            self.is_skipping = true;
            each(Part::TooLong(&std::mem::take(&mut self.partial)));
        }
    }
}

/// Gives complete lines away, those that are too long apart from the others.
fn give(complete: &[u8], max: usize, each: &mut impl FnMut(Part<'_>)) {
    // With the usual limit no line can be too long in what one read brings.
    if complete.len() <= max {
        return each(Part::Lines(complete));
    }
    let mut given = 0;
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', complete) {
        if end - start > max {
            if given < start {
                each(Part::Lines(&complete[given..start]));
            }
            each(Part::TooLong(&complete[start..start + max]));
            given = end + 1;
        }
        start = end + 1;
    }
    if given < complete.len() {
        each(Part::Lines(&complete[given..]));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds a stream in chunks and notes its lines, `!` and the beginning for those too long, and
    /// `…` for what was left.
    fn cut(chunks: &[&[u8]], max: usize) -> Vec<String> {
        let (mut cutter, mut seen) = (LineCutter::default(), Vec::new());
        for chunk in chunks {
            cutter.feed(chunk, max, &mut |part| match part {
                Part::Lines(lines) => {
                    let text = String::from_utf8_lossy(lines).into_owned();
                    let text = text.strip_suffix('\n').map_or(text.clone(), str::to_owned);
                    seen.extend(text.split('\n').map(str::to_owned));
                }
                Part::TooLong(beginning) => {
                    seen.push(format!("!{}", String::from_utf8_lossy(beginning)));
                }
            });
            assert!(cutter.partial.capacity() <= max);
        }
        let rest = cutter.finish();
        if !rest.is_empty() {
            seen.push(format!("…{}", String::from_utf8_lossy(&rest)));
        }
        seen
    }

    #[test]
    fn a_line_is_one_however_it_comes() {
        let whole = cut(&[b"one\ntwo\r\n\nthree"], 64);
        assert_eq!(whole, ["one", "two\r", "", "…three"]);
        let bytes: Vec<&[u8]> = b"one\ntwo\r\n\nthree".chunks(1).collect();
        assert_eq!(cut(&bytes, 64), whole);
        assert_eq!(cut(&[b"o", b"ne\ntw", b"o\r\n\nthr", b"ee"], 64), whole);
    }

    #[test]
    fn a_line_that_is_too_long_costs_its_neighbours_nothing() {
        let stream = b"good\n123456789\nfine\n1234567890\nlast\n";
        let whole = cut(&[stream], 8);
        assert_eq!(whole, ["good", "!12345678", "fine", "!12345678", "last"]);
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(cut(&bytes, 8), whole);
        assert_eq!(cut(&[b"12345678\n", b"1234", b"5678\n"], 8), ["12345678", "12345678"]);
        assert_eq!(cut(&[b"123456789"], 8), ["!12345678"], "what is left of it is nothing");
    }

    proptest! {
        #[test]
        fn the_cuts_between_chunks_make_no_difference(
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
