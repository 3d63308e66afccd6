//! Decodes statsd lines, including the extensions of common clients.
//!
//! ```text
//! name:value|type                        one sample; lines are separated by newlines
//! name:value:value|type|@rate            several samples, each of which stands for 1/rate samples
//! name:value|type|@rate:value|type       several runs with one name, as in the original statsd
//! name:value|type|#tag:value,tag:value   tags of DogStatsD
//! name,tag=value,tag=value:value|type    tags of Telegraf
//! name[tag=value,tag=value]:value|type   tags of SignalFx
//! ```
//!
//! A type is `c` (counter), `g` (gauge), `ms`, `h`, `d` (timers) or `s` (set). Where
//! implementations differ, this one behaves as follows:
//!
//! - A name is kept as it is; outputs replace characters that they cannot carry. A name that
//!   continues after its brackets is joined. A single bracket is part of the name, but not if it
//!   begins or ends something like tags, `[k=v`: that line is invalid.
//! - The sections after the type may come in any order. Those of newer clients, `WORD:…` (such as
//!   `c:` for a container) and `T…` (a timestamp), are ignored, so that these clients lose nothing,
//!   and so are empty ones. Any other section makes the line invalid: ignoring a rate without its
//!   `@` would change the numbers.
//! - Values may also follow in a section, `|:5|c`, as some clients of the original statsd do.
//! - The tags of all `#` sections and of all dialects are merged, and the last of equal tags wins.
//!   A `#` section applies to the whole line, a rate to its own run of values.
//! - A tag is split at its first separator. One without a value, `urgent`, becomes `urgent=true`,
//!   as in Telegraf and as with the JSON `"urgent": true`; one with an empty value, `urgent:`,
//!   means "no such tag"; empty text between two commas is ignored. In a `#` section, each tag may
//!   have the `#` again, as in `#a:1,#b:2`.
//! - Each value of a run is a separate sample, and an invalid one is a rejection that does not
//!   affect the others. Any other error is one rejection of the whole line.
//! - The members of a set are not split: neither DogStatsD nor any client packs them, and members
//!   such as addresses and URLs contain colons.
//! - A gauge with a sign is a change of the level, so a negative level can be set only by way of 0.
//!   A rate weights counters and timers; with a gauge or a set it is only validated.
//! - A line with a NUL is invalid: it contains the length that DogStatsD clients put before each
//!   packet of a stream, a format that is not supported here.
//! - Events (`_e{…`) and service checks (`_sc|…`) are not samples: they are skipped and counted.

use std::borrow::Cow;

use memchr::memchr;
use model::MetricKind;
use smallvec::SmallVec;

mod split;
mod text;
mod values;

pub use self::split::split;
use self::text::TextPart;
use self::values::StatsdKind;
pub use self::values::ValueRun;
use super::scan::find;
use super::split::Split;
use super::{
    MessageLimits, RejectReason, Rejection, Sample, Tags, lines, normalize_tags, parse_finite,
    weight_at,
};
use crate::sys::ascii;

/// Decodes a datagram and passes each sample or rejection to `each`, in order.
///
/// Returns the number of skipped lines: events and service checks, which are neither.
pub fn decode<'a>(
    datagram: &'a [u8],
    limits: &MessageLimits,
    each: &mut impl FnMut(Result<Sample<'a>, Rejection>),
) -> u64 {
    decode_lines(datagram, limits, &mut EachSample(each))
}

/// Takes the lines of a datagram, in order.
pub trait LineSink<'a> {
    /// Takes a valid line.
    fn line(&mut self, line: StatsdLine<'a, '_>);

    /// Takes the rejection of a line.
    fn rejected(&mut self, rejection: Rejection);
}

/// A valid line. Some of its values may be invalid.
pub struct StatsdLine<'a, 'l> {
    /// The metric name, never empty.
    pub name: Cow<'a, str>,
    /// Tags, sorted by key; keys are unique, and no value is empty. The list is reused for the next
    /// line.
    pub tags: &'l mut Tags<'a>,
    /// At least one.
    pub runs: &'l [ValueRun<'a>],
}

/// Decodes a datagram line by line: the values of a line share its name and its tags, so a caller
/// that looks up the series has to do it once. Returns the number of skipped lines.
pub fn decode_lines<'a>(
    datagram: &'a [u8],
    limits: &MessageLimits,
    sink: &mut impl LineSink<'a>,
) -> u64 {
    let mut tags = TagReader::new(limits);
    let mut skipped = 0;
    for place in lines(datagram) {
        let at = place.start;
        skipped += u64::from(!decode_or_skip(&datagram[place], at, &mut tags, sink));
    }
    skipped
}

/// Decodes one line without blanks around it. Returns false if it was skipped.
pub fn decode_line<'a>(
    line: &'a [u8],
    limits: &MessageLimits,
    sink: &mut impl LineSink<'a>,
) -> bool {
    decode_or_skip(line, 0, &mut TagReader::new(limits), sink)
}

/// Makes a sample of each value.
struct EachSample<'e, F>(&'e mut F);

impl<'a, F: FnMut(Result<Sample<'a>, Rejection>)> LineSink<'a> for EachSample<'_, F> {
    fn line(&mut self, line: StatsdLine<'a, '_>) {
        let StatsdLine { name, tags, runs } = line;
        for (number, run) in runs.iter().enumerate() {
            run.for_each_value(|value, is_last| {
                let is_last = is_last && number + 1 == runs.len();
                (self.0)(value.map(|value| Sample {
                    name: name.clone(),
                    value,
                    weight: run.weight,
                    // Copied only if the line has more values.
                    tags: if is_last { std::mem::take(tags) } else { tags.clone() },
                }));
            });
        }
    }

    fn rejected(&mut self, rejection: Rejection) {
        (self.0)(Err(rejection));
    }
}

/// The values of a line that was split around several numbers. `None` if there are more than the
/// limit, or if the kind has no numbers.
#[must_use]
pub fn packed_values<'a>(
    split: &Split<'a>,
    kind: MetricKind,
    weight: f64,
    limits: &MessageLimits,
) -> Option<ValueRun<'a>> {
    let kind = match kind {
        MetricKind::Counter => StatsdKind::Counter,
        MetricKind::Gauge => StatsdKind::Gauge,
        MetricKind::Timer => StatsdKind::Timer,
        MetricKind::Set | MetricKind::Trace => return None,
    };
    let text = std::str::from_utf8(&split.line[split.number_start..split.number_end]).ok()?;
    let values = TextPart { text, at: split.number_start };
    let run = ValueRun { values, kind, weight };
    (!has_more_values(values, std::slice::from_ref(&run), limits.max_values)).then_some(run)
}

/// Decodes a line that starts at `at`. Returns false if it is no sample and must be skipped.
#[inline]
fn decode_or_skip<'a>(
    line: &'a [u8],
    at: usize,
    tags: &mut TagReader<'a, '_>,
    sink: &mut impl LineSink<'a>,
) -> bool {
    if line.starts_with(b"_e{") || line.starts_with(b"_sc|") {
        return false;
    }
    let read = read_text(line, at).and_then(|line| decode_text(line, tags, sink));
    if let Err(rejection) = read {
        sink.rejected(rejection);
    }
    true
}

#[inline]
fn read_text(bytes: &[u8], at: usize) -> Result<TextPart<'_>, Rejection> {
    match ascii::text(bytes) {
        Some(text) => Ok(TextPart { text, at }),
        None => read_unusual_text(bytes, at),
    }
}

/// Returns the text of a line. A NUL belongs to a length that a DogStatsD client has put before a
/// packet on a stream, which must not become part of a name.
#[cold]
fn read_unusual_text(bytes: &[u8], at: usize) -> Result<TextPart<'_>, Rejection> {
    let bad =
        |place, expected| Rejection { reason: RejectReason::BadLine, offset: at + place, expected };
    if let Some(place) = memchr(0, bytes) {
        return Err(bad(place, "no NUL; DogStatsD clients need a `unix_datagram` listener"));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| bad(error.valid_up_to(), "UTF-8"))?;
    Ok(TextPart { text, at })
}

/// Decodes a line. Fails if the whole line is invalid.
#[inline]
fn decode_text<'a>(
    line: TextPart<'a>,
    tags: &mut TagReader<'a, '_>,
    sink: &mut impl LineSink<'a>,
) -> Result<(), Rejection> {
    // The list is reused for all lines of a datagram, and the latest line leaves its tags in it.
    tags.tags.clear();
    let (name, colon) = match plain_name(line) {
        Some(front) => front,
        None => read_name_with_tags(line, tags)?,
    };
    let bar = find(line.bytes(), colon + 1, [b'|']);
    let values = line.between(colon + 1..bar);
    let runs = read_sections(line, values, bar, tags)?;
    // Before the first value is passed on, because the whole line is rejected.
    if has_more_values(line, &runs, tags.limits.max_values) {
        return Err(values.reject(RejectReason::TooManyValues, "fewer values (limits.max_values)"));
    }
    normalize_tags(&mut tags.tags);
    sink.line(StatsdLine { name, tags: &mut tags.tags, runs: &runs });
    Ok(())
}

/// The sections after the type.
const KNOWN_SECTIONS: &str = "`@RATE`, `#TAGS`, `:VALUES` or an extension such as `c:ID`";

/// Whether the runs have more values than the limit. Counts only those of a long line: a value takes
/// at least one byte, a colon.
#[inline]
fn has_more_values(line: TextPart<'_>, runs: &[ValueRun<'_>], limit: usize) -> bool {
    limit < line.text.len() && runs.iter().map(ValueRun::value_count).sum::<usize>() > limit
}

/// The name of a line and the place of the colon after it, if the name has no tags and no bracket, as
/// most names.
#[inline]
fn plain_name(line: TextPart<'_>) -> Option<(Cow<'_, str>, usize)> {
    let colon = find(line.bytes(), 0, [b':', b',', b'[', b']', b'|']);
    let is_plain = colon > 0 && line.bytes().get(colon) == Some(&b':');
    is_plain.then(|| (Cow::Borrowed(line.part(0..colon)), colon))
}

/// Reads a name with tags. Returns the name and the place of the colon after it. The tags after the
/// type may contain brackets and colons, too, so nothing after the first bar belongs to the name.
fn read_name_with_tags<'a>(
    line: TextPart<'a>,
    tags: &mut TagReader<'a, '_>,
) -> Result<(Cow<'a, str>, usize), Rejection> {
    let bytes = line.bytes();
    let brackets = Brackets::find(bytes);
    let start = brackets.as_ref().map_or(0, |brackets| brackets.close + 1);
    let colon = find(bytes, start, [b':', b'|']);
    if bytes.get(colon) != Some(&b':') {
        let bar = line.from(find(bytes, 0, [b'|']));
        return Err(bar.reject(RejectReason::BadLine, "`:` and a value"));
    }
    let name_end = find(bytes, start, [b',', b':']);
    let rest = line.part(start..name_end);
    let mut name = Cow::Borrowed(rest);
    match brackets {
        None => reject_half_of_brackets(line, name_end, colon)?,
        Some(Brackets { open, .. }) => {
            tags.read(line, open + 1, b'=', b']')?;
            name = joined(line.part(0..open), rest);
        }
    }
    if name_end < colon {
        tags.read(line, name_end + 1, b'=', b':')?;
    }
    if name.is_empty() {
        return Err(line.reject(RejectReason::BadName, "a name"));
    }
    Ok((name, colon))
}

fn joined<'a>(start: &'a str, end: &'a str) -> Cow<'a, str> {
    match (start, end) {
        (start, "") => Cow::Borrowed(start),
        ("", end) => Cow::Borrowed(end),
        (start, end) => Cow::Owned([start, end].concat()),
    }
}

/// The places of the brackets around the tags of SignalFx.
struct Brackets {
    open: usize,
    close: usize,
}

impl Brackets {
    /// Finds brackets in the name. Their content may contain colons.
    fn find(line: &[u8]) -> Option<Self> {
        let is_at = |place: usize, byte: u8| line.get(place) == Some(&byte);
        let open = find(line, 0, [b'[', b',', b':', b'|']);
        if !is_at(open, b'[') {
            return None;
        }
        let close = find(line, open + 1, [b']', b'|']);
        let colon = find(line, close + 1, [b':', b'|']);
        (is_at(close, b']') && is_at(colon, b':')).then_some(Self { open, close })
    }
}

/// Rejects tags of SignalFx that lack one of their brackets: as part of a name or of another tag,
/// they would make a series for each of their values. The values begin after `colon`.
fn reject_half_of_brackets(
    line: TextPart<'_>,
    name_end: usize,
    colon: usize,
) -> Result<(), Rejection> {
    let bytes = &line.bytes()[..colon];
    let bracket = find(line.bytes(), 0, [b'[', b']', b':']);
    let bad = |expected| Err(line.from(bracket).reject(RejectReason::BadLine, expected));
    let has_tag = |part: &[u8]| memchr(b'=', part).is_some();
    match bytes.get(bracket) {
        Some(b'[') if bracket < name_end && has_tag(&bytes[bracket..]) => {
            bad("`]` after the tags, before `:`")
        }
        Some(b']') if has_tag(&bytes[..bracket.min(name_end)]) => bad("`[` before the tags"),
        _ => Ok(()),
    }
}

/// Reads the sections after the first values, from their bar on. The values are decoded later.
fn read_sections<'a>(
    line: TextPart<'a>,
    values: TextPart<'a>,
    mut bar: usize,
    tags: &mut TagReader<'a, '_>,
) -> Result<SmallVec<[ValueRun<'a>; 1]>, Rejection> {
    let bytes = line.bytes();
    let mut runs = SmallVec::<[ValueRun<'a>; 1]>::new();
    // Values whose type comes next.
    let mut untyped = Some(values);
    while bar < bytes.len() {
        let start = bar + 1;
        if untyped.is_none() && bytes.get(start) == Some(&b'#') {
            // The end of the section is found while its tags are read.
            bar = tags.read(line, start + 1, b':', b'|')?;
            continue;
        }
        bar = find(bytes, start, [b'|']);
        let section = line.between(start..bar);
        if let Some(values) = untyped {
            let kind;
            (kind, untyped) = read_type(section)?;
            runs.push(ValueRun { values, kind, weight: 1.0 });
            continue;
        }
        match (section.bytes().first(), runs.last_mut()) {
            (Some(b'@'), Some(run)) => {
                let rate;
                (rate, untyped) = section.from(1).cut(b':');
                let weight = read_rate(rate)?;
                if let StatsdKind::Counter | StatsdKind::Timer = run.kind {
                    run.weight = weight;
                }
            }
            (Some(b':'), _) if section.text.len() > 1 => untyped = Some(section.from(1)),
            _ => ignore_extension(section)?,
        }
    }
    match untyped {
        Some(values) => Err(values.end().reject(RejectReason::BadLine, "`|` and a type")),
        None => Ok(runs),
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
        [] | [b':'] | [b'T', ..] => return Ok(()),
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

/// Collects the tags from all parts of a line.
struct TagReader<'a, 'l> {
    tags: Tags<'a>,
    limits: &'l MessageLimits,
}

impl<'a, 'l> TagReader<'a, 'l> {
    #[inline]
    fn new(limits: &'l MessageLimits) -> Self {
        Self { tags: Tags::new(), limits }
    }

    /// Reads tags from `start` up to the first `end`. Returns the place of this end, or of the line's
    /// end.
    fn read(
        &mut self,
        line: TextPart<'a>,
        mut start: usize,
        separator: u8,
        end: u8,
    ) -> Result<usize, Rejection> {
        let bytes = line.bytes();
        loop {
            // Only in a `#` section: in the other dialects it is part of the key.
            while separator == b':' && bytes.get(start) == Some(&b'#') {
                start += 1;
            }
            let key_end = find(bytes, start, [b',', separator, end]);
            let (mut tag_end, mut value) = (key_end, "true");
            if bytes.get(key_end) == Some(&separator) {
                tag_end = find(bytes, key_end + 1, [b',', end]);
                value = line.part(key_end + 1..tag_end);
            }
            if start < tag_end {
                self.push(line.part(start..key_end), value, line.at + start)?;
            }
            if bytes.get(tag_end) != Some(&b',') {
                return Ok(tag_end);
            }
            start = tag_end + 1;
        }
    }

    #[inline]
    fn push(&mut self, key: &'a str, value: &'a str, at: usize) -> Result<(), Rejection> {
        let reject = |reason, expected| Err(Rejection { reason, offset: at, expected });
        if key.is_empty() {
            return reject(RejectReason::BadTag, "a name for the tag");
        }
        if self.tags.len() == self.limits.max_tags {
            return reject(RejectReason::TooManyTags, "fewer tags (limits.max_tags)");
        }
        self.tags.push((Cow::Borrowed(key), value.into()));
        Ok(())
    }
}

fn read_rate(rate: TextPart<'_>) -> Result<f64, Rejection> {
    parse_finite(rate.text).and_then(weight_at).ok_or_else(|| {
        rate.reject(RejectReason::BadSampleRate, "a number greater than 0 and at most 1")
    })
}

#[cfg(test)]
mod tests;
