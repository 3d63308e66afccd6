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

use memchr::{memchr, memchr_iter, memchr2, memchr3};
use model::MetricKind;
use smallvec::SmallVec;

use super::split::Split;
use super::{
    MessageLimits, RejectReason, Rejection, Sample, SampleValue, Tags, lines, normalize_tags,
    parse_finite, weight_at,
};

/// Decodes a datagram and passes each sample or rejection to `each`, in order.
///
/// Returns the number of skipped lines: events and service checks, which are neither.
pub fn decode<'a>(
    datagram: &'a [u8],
    limits: &MessageLimits,
    each: &mut impl FnMut(Result<Sample<'a>, Rejection>),
) -> u64 {
    let mut tags = TagReader { tags: Tags::new(), limits };
    let mut skipped = 0;
    for place in lines(datagram) {
        let (bytes, at) = (&datagram[place.clone()], place.start);
        if bytes.starts_with(b"_e{") || bytes.starts_with(b"_sc|") {
            skipped += 1;
            continue;
        }
        let read = read_text(bytes, at).and_then(|line| decode_line(line, &mut tags, each));
        if let Err(rejection) = read {
            each(Err(rejection));
        }
    }
    skipped
}

/// Splits a line around its number, without decoding it. `None` unless the line has the simple form
/// `name:1|c`, with any further sections.
#[inline]
#[must_use]
pub fn split(line: &[u8]) -> Option<Split<'_>> {
    let colon = memchr2(b':', b'[', line)?;
    // Brackets may contain colons. A sign would turn the value of a gauge into a change.
    if line[colon] == b'[' {
        return None;
    }
    Split::at_number(line, colon + 1, false)
        .filter(|split| line.get(split.number_end) == Some(&b'|'))
}

/// Returns the text of a line. A NUL belongs to a length that a DogStatsD client has put before a
/// packet on a stream, which must not become part of a name.
fn read_text(bytes: &[u8], at: usize) -> Result<TextPart<'_>, Rejection> {
    let bad =
        |place, expected| Rejection { reason: RejectReason::BadLine, offset: at + place, expected };
    if let Some(place) = memchr(0, bytes) {
        return Err(bad(place, "no NUL; DogStatsD clients need a `unix_datagram` listener"));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| bad(error.valid_up_to(), "UTF-8"))?;
    Ok(TextPart { text, at })
}

/// Decodes a line. Fails if the whole line is invalid; invalid values of a valid line are passed to
/// `each`.
fn decode_line<'a>(
    line: TextPart<'a>,
    tags: &mut TagReader<'a, '_>,
    each: &mut impl FnMut(Result<Sample<'a>, Rejection>),
) -> Result<(), Rejection> {
    // The list is reused for all lines of a datagram, and a rejected line leaves its tags in it.
    tags.tags.clear();
    let (name, rest) = read_name(line, tags)?;
    let runs = read_sections(rest, tags)?;
    // Before the first value is passed on, because the whole line is rejected.
    if runs.iter().map(ValueRun::value_count).sum::<usize>() > tags.limits.max_values {
        return Err(rest.reject(RejectReason::TooManyValues, "fewer values (limits.max_values)"));
    }
    normalize_tags(&mut tags.tags);
    for (number, run) in runs.iter().enumerate() {
        let mut rest = Some(run.values);
        while let Some(values) = rest {
            let value;
            (value, rest) = match run.kind {
                StatsdKind::Set => (values, None),
                StatsdKind::Counter | StatsdKind::Gauge | StatsdKind::Timer => values.cut(b':'),
            };
            let is_last = rest.is_none() && number + 1 == runs.len();
            each(read_value(run.kind, value).map(|value| Sample {
                name: name.clone(),
                value,
                weight: run.weight,
                // Copied only if the line has more values.
                tags: if is_last { std::mem::take(&mut tags.tags) } else { tags.tags.clone() },
            }));
        }
    }
    Ok(())
}

/// A part of the datagram, with its position.
#[derive(Clone, Copy)]
struct TextPart<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> TextPart<'a> {
    /// Splits at the first separator, an ASCII character. The second part is `None` if there is no
    /// separator.
    fn cut(self, separator: u8) -> (Self, Option<Self>) {
        match memchr(separator, self.text.as_bytes()) {
            Some(place) => (self.before(place), Some(self.from(place + 1))),
            None => (self, None),
        }
    }

    fn before(self, place: usize) -> Self {
        Self { text: &self.text[..place], at: self.at }
    }

    fn from(self, place: usize) -> Self {
        Self { text: &self.text[place..], at: self.at + place }
    }

    fn end(self) -> Self {
        self.from(self.text.len())
    }

    fn reject(self, reason: RejectReason, expected: &'static str) -> Rejection {
        Rejection { reason, offset: self.at, expected }
    }
}

/// The types of all kinds; a test compares them with the table.
const KNOWN_TYPES: &str = "`c`, `g`, `ms`, `h`, `d` or `s`";

/// The sections after the type.
const KNOWN_SECTIONS: &str = "`@RATE`, `#TAGS`, `:VALUES` or an extension such as `c:ID`";

/// A kind that statsd has.
#[derive(Clone, Copy)]
enum StatsdKind {
    Counter,
    Gauge,
    Timer,
    Set,
}

impl StatsdKind {
    fn read(word: TextPart<'_>) -> Result<Self, Rejection> {
        match MetricKind::from_statsd_type(word.text) {
            Some(MetricKind::Counter) => Ok(Self::Counter),
            Some(MetricKind::Gauge) => Ok(Self::Gauge),
            Some(MetricKind::Timer) => Ok(Self::Timer),
            Some(MetricKind::Set) => Ok(Self::Set),
            Some(MetricKind::Trace) | None => {
                let is_missing = word.text.is_empty();
                let reason =
                    if is_missing { RejectReason::MissingType } else { RejectReason::UnknownType };
                Err(word.reject(reason, KNOWN_TYPES))
            }
        }
    }
}

/// A run of values with a common type and rate.
struct ValueRun<'a> {
    values: TextPart<'a>,
    kind: StatsdKind,
    weight: f64,
}

impl ValueRun<'_> {
    fn value_count(&self) -> usize {
        match self.kind {
            StatsdKind::Set => 1,
            StatsdKind::Counter | StatsdKind::Gauge | StatsdKind::Timer => {
                1 + memchr_iter(b':', self.values.text.as_bytes()).count()
            }
        }
    }
}

/// Reads up to the colon before the values. Returns the name and the rest after the colon.
fn read_name<'a>(
    line: TextPart<'a>,
    tags: &mut TagReader<'a, '_>,
) -> Result<(Cow<'a, str>, TextPart<'a>), Rejection> {
    // Only up to the type: the tags after it may contain brackets and colons, too.
    let (front, _) = line.cut(b'|');
    let brackets = Brackets::find(front);
    let rest = brackets.as_ref().map_or(front, |brackets| brackets.after);
    let (rest, Some(values)) = rest.cut(b':') else {
        return Err(front.end().reject(RejectReason::BadLine, "`:` and a value"));
    };
    let own = rest;
    let (rest, influx) = own.cut(b',');
    let mut name = Cow::Borrowed(rest.text);
    if brackets.is_none() {
        reject_half_of_brackets(own, rest)?;
    }
    if let Some(Brackets { before, inside, .. }) = brackets {
        tags.read(inside, b'=')?;
        name = match (before.text, rest.text) {
            (start, "") => Cow::Borrowed(start),
            ("", end) => Cow::Borrowed(end),
            (start, end) => Cow::Owned([start, end].concat()),
        };
    }
    if let Some(influx) = influx {
        tags.read(influx, b'=')?;
    }
    if name.is_empty() {
        return Err(line.reject(RejectReason::BadName, "a name"));
    }
    Ok((name, line.from(values.at - line.at)))
}

/// The tags of SignalFx, and the parts of the name around them.
struct Brackets<'a> {
    before: TextPart<'a>,
    inside: TextPart<'a>,
    after: TextPart<'a>,
}

impl<'a> Brackets<'a> {
    /// Finds brackets in the name. Their content may contain colons.
    fn find(front: TextPart<'a>) -> Option<Self> {
        let bytes = front.text.as_bytes();
        let open = memchr3(b'[', b',', b':', bytes).filter(|place| bytes[*place] == b'[')?;
        let (inside, after) = front.from(open + 1).cut(b']');
        let after = after.filter(|after| after.text.contains(':'))?;
        Some(Self { before: front.before(open), inside, after })
    }
}

/// Rejects tags of SignalFx that lack one of their brackets: as part of a name or of another tag,
/// they would make a series for each of their values. `own` is the part before the values.
fn reject_half_of_brackets(own: TextPart<'_>, name: TextPart<'_>) -> Result<(), Rejection> {
    let bytes = own.text.as_bytes();
    // Most lines have no bracket and pay for this search only.
    let Some(bracket) = memchr2(b'[', b']', bytes) else { return Ok(()) };
    let bad = |expected| Err(own.from(bracket).reject(RejectReason::BadLine, expected));
    let has_tag = |part: &[u8]| memchr(b'=', part).is_some();
    let name_end = name.text.len();
    if bytes[bracket] == b'[' && bracket < name_end && has_tag(&bytes[bracket..]) {
        return bad("`]` after the tags, before `:`");
    }
    if bytes[bracket] == b']' && has_tag(&bytes[..bracket.min(name_end)]) {
        return bad("`[` before the tags");
    }
    Ok(())
}

/// Reads everything after the first colon, except the values, which are decoded later.
fn read_sections<'a>(
    rest: TextPart<'a>,
    tags: &mut TagReader<'a, '_>,
) -> Result<SmallVec<[ValueRun<'a>; 1]>, Rejection> {
    let mut runs = SmallVec::<[ValueRun<'a>; 1]>::new();
    let (values, mut rest) = rest.cut(b'|');
    // Values whose type comes next.
    let mut untyped = Some(values);
    while let Some(sections) = rest {
        let section;
        (section, rest) = sections.cut(b'|');
        if let Some(values) = untyped {
            let word;
            (word, untyped) = section.cut(b':');
            runs.push(ValueRun { values, kind: StatsdKind::read(word)?, weight: 1.0 });
            continue;
        }
        match (section.text.as_bytes().first(), runs.last_mut()) {
            (Some(b'@'), Some(run)) => {
                let rate;
                (rate, untyped) = section.from(1).cut(b':');
                let weight = read_rate(rate)?;
                if let StatsdKind::Counter | StatsdKind::Timer = run.kind {
                    run.weight = weight;
                }
            }
            (Some(b'#'), _) => tags.read(section.from(1), b':')?,
            (Some(b':'), _) if section.text.len() > 1 => untyped = Some(section.from(1)),
            _ => ignore_extension(section)?,
        }
    }
    match untyped {
        Some(values) => Err(values.end().reject(RejectReason::BadLine, "`|` and a type")),
        None => Ok(runs),
    }
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

impl<'a> TagReader<'a, '_> {
    fn read(&mut self, list: TextPart<'a>, separator: u8) -> Result<(), Rejection> {
        let mut rest = Some(list);
        while let Some(list) = rest {
            let mut tag;
            (tag, rest) = list.cut(b',');
            // Only in a `#` section: in the other dialects it is part of the key.
            while separator == b':' && tag.text.starts_with('#') {
                tag = tag.from(1);
            }
            if tag.text.is_empty() {
                continue;
            }
            let (key, value) = tag.cut(separator);
            if key.text.is_empty() {
                return Err(tag.reject(RejectReason::BadTag, "a name for the tag"));
            }
            if self.tags.len() == self.limits.max_tags {
                return Err(tag.reject(RejectReason::TooManyTags, "fewer tags (limits.max_tags)"));
            }
            let value = value.map_or("true", |value| value.text);
            self.tags.push((Cow::Borrowed(key.text), Cow::Borrowed(value)));
        }
        Ok(())
    }
}

fn read_value(kind: StatsdKind, value: TextPart<'_>) -> Result<SampleValue<'_>, Rejection> {
    if value.text.is_empty() {
        return Err(value.reject(RejectReason::MissingValue, "a value"));
    }
    let number = || {
        parse_finite(value.text)
            .ok_or_else(|| value.reject(RejectReason::BadValue, "a finite number"))
    };
    Ok(match kind {
        StatsdKind::Counter => SampleValue::Counter(number()?),
        StatsdKind::Gauge if value.text.starts_with(['+', '-']) => SampleValue::GaugeAdd(number()?),
        StatsdKind::Gauge => SampleValue::GaugeSet(number()?),
        StatsdKind::Timer => SampleValue::Timer(number()?),
        StatsdKind::Set => SampleValue::Set(Cow::Borrowed(value.text)),
    })
}

fn read_rate(rate: TextPart<'_>) -> Result<f64, Rejection> {
    parse_finite(rate.text).and_then(weight_at).ok_or_else(|| {
        rate.reject(RejectReason::BadSampleRate, "a number greater than 0 and at most 1")
    })
}

#[cfg(test)]
mod tests;
