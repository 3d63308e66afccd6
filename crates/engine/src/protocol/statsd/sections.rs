//! The sections of a line after its first values: types, rates, tags of DogStatsD, extensions.

use smallvec::SmallVec;

use super::super::scan::{find, is_of_digits};
use super::super::{RejectReason, Rejection, parse_finite, weight_at};
use super::tags::TagReader;
use super::text::{LineText, TextPart};
use super::values::{StatsdKind, ValueRun};

/// The sections of a line, except its tags.
#[derive(Default)]
pub(super) struct Sections<'a> {
    /// The runs of values. Most lines have one.
    pub(super) runs: SmallVec<[ValueRun<'a>; 1]>,
    /// Whether there is a timestamp.
    pub(super) is_timestamped: bool,
}

impl<'a> From<ValueRun<'a>> for Sections<'a> {
    fn from(run: ValueRun<'a>) -> Self {
        Self { runs: SmallVec::from([run]), is_timestamped: false }
    }
}

/// The sections after the type.
const KNOWN_SECTIONS: &str = "`@RATE`, `#TAGS`, `:VALUES` or an extension such as `c:ID`";

/// Reads the sections after the first values and adds them to `sections`. `bar` is the place of the bar
/// after the first values. The values are decoded later.
#[inline]
pub(super) fn read_sections<'a>(
    line: LineText<'a>,
    values: TextPart<'a>,
    bar: usize,
    tags: &mut TagReader<'a, '_>,
    sections: &mut Sections<'a>,
) -> Result<(), Rejection> {
    let bar = read_types(line, values, bar, sections)?;
    read_more_sections(line, bar, tags, sections)
}

/// Reads the sections from the bar before them.
#[inline]
pub(super) fn read_more_sections<'a>(
    line: LineText<'a>,
    mut bar: usize,
    tags: &mut TagReader<'a, '_>,
    sections: &mut Sections<'a>,
) -> Result<(), Rejection> {
    let bytes = line.bytes();
    while bar < bytes.len() {
        let start = bar + 1;
        if bytes.get(start) == Some(&b'#') {
            // The end of the section is found while its tags are read.
            bar = tags.read::<b':', b',', b'|'>(line, start + 1)?;
            continue;
        }
        bar = find(bytes, start, [b'|']);
        if let Some((b'T', time)) = bytes.get(start..bar).and_then(<[u8]>::split_first) {
            // Other text after the `T` is no time, and has no effect either.
            sections.is_timestamped |= is_of_digits(time);
            continue;
        }
        if let Some(values) = read_section(line.between(start..bar), sections)? {
            bar = read_types(line, values, bar, sections)?;
        }
    }
    Ok(())
}

/// Reads the type of `values`, and further values with their types that follow it directly, as in
/// `1|c:2|g`. Returns the place of the bar after the last type, or of the line's end.
#[inline]
fn read_types<'a>(
    line: LineText<'a>,
    mut values: TextPart<'a>,
    mut bar: usize,
    sections: &mut Sections<'a>,
) -> Result<usize, Rejection> {
    while bar < line.bytes().len() {
        let start = bar + 1;
        bar = find(line.bytes(), start, [b'|']);
        let (kind, untyped) = read_type(line.between(start..bar))?;
        sections.runs.push(ValueRun { values, number: None, kind, weight: 1.0 });
        match untyped {
            Some(more) => values = more,
            None => return Ok(bar),
        }
    }
    Err(values.end().reject(RejectReason::BadLine, "`|` and a type"))
}

/// Reads a section that is neither a type nor tags. Returns the values in it, whose type is the
/// next section.
fn read_section<'a>(
    section: TextPart<'a>,
    sections: &mut Sections<'a>,
) -> Result<Option<TextPart<'a>>, Rejection> {
    match (section.bytes(), sections.runs.last_mut()) {
        ([b'@', ..], Some(run)) => {
            let (rate, untyped) = section.from(1).cut(b':');
            let weight = read_rate(rate)?;
            if let StatsdKind::Counter | StatsdKind::Timer(_) = run.kind {
                run.weight = weight;
            }
            Ok(untyped)
        }
        ([b':', _, ..], _) => Ok(Some(section.from(1))),
        _ => ignore_extension(section).map(|()| None),
    }
}

/// Reads a type, and returns the values after it that have no type yet.
#[inline]
fn read_type(section: TextPart<'_>) -> Result<(StatsdKind, Option<TextPart<'_>>), Rejection> {
    if let Some(kind) = StatsdKind::of(section.text) {
        return Ok((kind, None));
    }
    let (word, untyped) = section.cut(b':');
    Ok((StatsdKind::read(word)?, untyped))
}

/// Accepts a section that has no effect: one of a newer client, or an empty one. A colon alone is
/// empty, too: DogStatsD's own tests have it.
fn ignore_extension(section: TextPart<'_>) -> Result<(), Rejection> {
    let bytes = section.text.as_bytes();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    match bytes {
        [] | [b':'] => return Ok(()),
        [first, ..] if first.is_ascii_alphabetic() => {
            let end = bytes.iter().position(|byte| !is_name(*byte));
            if end.is_some_and(|end| bytes[end] == b':') {
                return Ok(());
            }
        }
        [b'0'..=b'9' | b'.' | b'+' | b'-', ..] => {
            return Err(section.reject(RejectReason::BadSampleRate, "`@` before a sample rate"));
        }
        _ => {}
    }
    Err(section.reject(RejectReason::BadLine, KNOWN_SECTIONS))
}

fn read_rate(rate: TextPart<'_>) -> Result<f64, Rejection> {
    parse_finite(rate.text).and_then(weight_at).ok_or_else(|| {
        rate.reject(RejectReason::BadSampleRate, "a number greater than 0 and at most 1")
    })
}
