//! Checks that the lines of a stream do not depend on its chunks.

use crate::listener::lines::{LineBuffer, LineChunk};

/// A line of a stream.
#[derive(Debug, PartialEq, Eq)]
enum Cut {
    Line(Vec<u8>),
    /// The beginning of a line that is too long.
    TooLong(Vec<u8>),
    /// An incomplete line at the end of the stream.
    Rest(Vec<u8>),
}

/// Splits a stream in chunks and as a whole. The first byte is the maximum length of a line, the
/// second determines the lengths of chunks, and the rest is the stream.
pub fn check(input: &[u8]) {
    let [max, seed, stream @ ..] = input else { return };
    let max = usize::from(*max).max(1);
    assert_eq!(cut(chunks(stream, *seed), max), lines(stream, max));
    assert_eq!(cut(std::iter::once(stream), max), lines(stream, max));
}

/// Chunks whose lengths depend on the bytes in them.
fn chunks(mut stream: &[u8], seed: u8) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let first = *stream.first()?;
        let length = usize::from(first.wrapping_mul(seed) % 32) + 1;
        let (chunk, rest) = stream.split_at(length.min(stream.len()));
        stream = rest;
        Some(chunk)
    })
}

fn cut<'a>(chunks: impl Iterator<Item = &'a [u8]>, max: usize) -> Vec<Cut> {
    let (mut buffer, mut cuts) = (LineBuffer::default(), Vec::new());
    for chunk in chunks {
        let mut has_ended = false;
        let ended = buffer.feed(chunk, max, &mut |part| match part {
            LineChunk::Lines(lines) => {
                has_ended = true;
                let lines = lines.strip_suffix(b"\n").unwrap_or(lines);
                cuts.extend(lines.split(|byte| *byte == b'\n').map(|line| Cut::Line(line.into())));
            }
            LineChunk::TooLong(beginning) => cuts.push(Cut::TooLong(beginning.into())),
        });
        assert_eq!(ended, chunk.contains(&b'\n'));
        assert!(ended || !has_ended);
    }
    let rest = buffer.finish();
    if !rest.is_empty() {
        cuts.push(Cut::Rest(rest));
    }
    cuts
}

/// The reference: the lines of a complete stream.
fn lines(stream: &[u8], max: usize) -> Vec<Cut> {
    let mut lines: Vec<&[u8]> = stream.split(|byte| *byte == b'\n').collect();
    let rest = lines.pop().unwrap_or_default();
    let too_long = |line: &[u8]| Cut::TooLong(line[..max].to_vec());
    let is_too_long = |line: &[u8]| line.len() > max;
    let mut cuts: Vec<Cut> = lines
        .into_iter()
        .map(|line| if is_too_long(line) { too_long(line) } else { Cut::Line(line.to_vec()) })
        .collect();
    if is_too_long(rest) {
        cuts.push(too_long(rest));
    } else if !rest.is_empty() {
        cuts.push(Cut::Rest(rest.to_vec()));
    }
    cuts
}
