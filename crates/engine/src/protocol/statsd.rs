//! statsd lines, and what has grown around them.
//!
//! ```text
//! name:value|type                        one sample, newline separated
//! name:value:value|type|@rate            several of them; each stands for 1/rate samples
//! name:value|type|@rate:value|type       several runs under one name, as the first statsd reads it
//! name:value|type|#tag:value,tag:value   tags as DogStatsD writes them,
//! name,tag=value,tag=value:value|type    as Telegraf does
//! name[tag=value,tag=value]:value|type   and as SignalFx does
//! ```
//!
//! A type is `c` (counter), `g` (gauge), `ms`, `h`, `d` (timers) or `s` (set). Where the peers
//! differ, it is like this:
//!
//! - A name is kept as it is. What an output cannot carry, that output makes safe. A bracket that
//!   opens no tags is part of the name; a name that goes on behind its brackets is put together.
//! - The sections behind the type come in any order. Unknown ones (`c:` a container, `T` a
//!   timestamp, whatever comes next) are passed over, so that newer clients lose nothing.
//! - All sections `#` of a line count, and all dialects: they are merged, and of equal tags the
//!   last wins. A `#` section is for the whole line, a rate for its own run of values.
//! - A tag splits at its first separator. One without a value, `urgent`, becomes `urgent=true`, as
//!   with Telegraf and as the JSON `"urgent": true` does; one with an empty value, `urgent:`, means
//!   "no such tag"; nothing between two commas is nothing.
//! - Each value of a run is a sample of its own, and a bad one is one rejection that costs its
//!   neighbours nothing. Whatever else is wrong with a line is one rejection of the whole line.
//! - The members of a set are not split: DogStatsD does not pack them and no client does, but
//!   addresses and URLs are members, and they have colons.
//! - A gauge with a sign is a change of the level, so a negative level can only be set by going
//!   through 0. A rate weighs counters and timers; with a gauge or a set it is only checked.
//! - A line with a NUL is bad: it has the length that DogStatsD's clients put before each packet of
//!   a stream, which is not read here.
//! - Events (`_e{…`) and service checks (`_sc|…`) are no samples: they are skipped and counted.

use std::borrow::Cow;

use memchr::{memchr, memchr_iter, memchr2, memchr3};
use model::MetricKind;
use smallvec::SmallVec;

use super::split::Split;
use super::{
    Limits, RejectReason, Rejection, Sample, SampleValue, Tags, lines, normalize_tags,
    parse_finite, weight_at,
};

/// Decodes a datagram and hands each sample or rejection to `each`, in order.
///
/// Returns how many lines were skipped: events and service checks, which are neither.
pub fn decode<'a>(
    datagram: &'a [u8],
    limits: &Limits,
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

/// Splits a line around its number, without decoding it; none where it is not as plain as
/// `name:1|c`, with whatever behind.
#[inline]
#[must_use]
pub fn split(line: &[u8]) -> Option<Split<'_>> {
    let colon = memchr2(b':', b'[', line)?;
    // A bracket may hold colons of its own. A sign would make a gauge's value a change.
    if line[colon] == b'[' {
        return None;
    }
    Split::at_number(line, colon + 1, false)
        .filter(|split| line.get(split.number_end) == Some(&b'|'))
}

/// The text of a line. None has a NUL, but the lengths have that DogStatsD's clients put before what
/// they send over a stream: these must not become parts of names.
fn read_text(bytes: &[u8], at: usize) -> Result<Piece<'_>, Rejection> {
    let bad =
        |place, expected| Rejection { reason: RejectReason::BadLine, offset: at + place, expected };
    if let Some(place) = memchr(0, bytes) {
        return Err(bad(place, "no NUL; DogStatsD clients need a `unix_datagram` listener"));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| bad(error.valid_up_to(), "UTF-8"))?;
    Ok(Piece { text, at })
}

/// Fails if the whole line is bad; bad values of a good line are rejected here.
fn decode_line<'a>(
    line: Piece<'a>,
    tags: &mut TagReader<'a, '_>,
    each: &mut impl FnMut(Result<Sample<'a>, Rejection>),
) -> Result<(), Rejection> {
    tags.tags.clear();
    let (name, rest) = read_name(line, tags)?;
    let runs = read_sections(rest, tags)?;
    if runs.iter().map(Run::value_count).sum::<usize>() > tags.limits.max_values {
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
                // Copied only for a line with more values to come.
                tags: if is_last { std::mem::take(&mut tags.tags) } else { tags.tags.clone() },
            }));
        }
    }
    Ok(())
}

/// A piece of the datagram that knows where it lies in it.
#[derive(Clone, Copy)]
struct Piece<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Piece<'a> {
    /// What is before the first separator, an ASCII character, and what is behind it if it is
    /// there.
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

/// A kind that statsd has.
#[derive(Clone, Copy)]
enum StatsdKind {
    Counter,
    Gauge,
    Timer,
    Set,
}

impl StatsdKind {
    fn read(word: Piece<'_>) -> Result<Self, Rejection> {
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

/// Values with their type and rate.
struct Run<'a> {
    values: Piece<'a>,
    kind: StatsdKind,
    weight: f64,
}

impl Run<'_> {
    fn value_count(&self) -> usize {
        match self.kind {
            StatsdKind::Set => 1,
            StatsdKind::Counter | StatsdKind::Gauge | StatsdKind::Timer => {
                1 + memchr_iter(b':', self.values.text.as_bytes()).count()
            }
        }
    }
}

/// Reads up to the colon before the values; returns the name and what is behind that colon.
fn read_name<'a>(
    line: Piece<'a>,
    tags: &mut TagReader<'a, '_>,
) -> Result<(Cow<'a, str>, Piece<'a>), Rejection> {
    let (front, _) = line.cut(b'|');
    let brackets = Brackets::find(front);
    let rest = brackets.as_ref().map_or(front, |brackets| brackets.after);
    let (rest, Some(values)) = rest.cut(b':') else {
        return Err(front.end().reject(RejectReason::BadLine, "`:` and a value"));
    };
    let (rest, influx) = rest.cut(b',');
    let mut name = Cow::Borrowed(rest.text);
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

/// SignalFx's tags and what is around them.
struct Brackets<'a> {
    before: Piece<'a>,
    inside: Piece<'a>,
    after: Piece<'a>,
}

impl<'a> Brackets<'a> {
    /// Looks for them where a name would be. What is inside may hold colons.
    fn find(front: Piece<'a>) -> Option<Self> {
        let bytes = front.text.as_bytes();
        let open = memchr3(b'[', b',', b':', bytes).filter(|place| bytes[*place] == b'[')?;
        let (inside, after) = front.from(open + 1).cut(b']');
        let after = after.filter(|after| after.text.contains(':'))?;
        Some(Self { before: front.before(open), inside, after })
    }
}

/// Reads all that is behind the first colon but leaves the values for later.
fn read_sections<'a>(
    rest: Piece<'a>,
    tags: &mut TagReader<'a, '_>,
) -> Result<SmallVec<[Run<'a>; 1]>, Rejection> {
    let mut runs = SmallVec::<[Run<'a>; 1]>::new();
    let (values, mut rest) = rest.cut(b'|');
    // Values of which the type comes next.
    let mut untyped = Some(values);
    while let Some(sections) = rest {
        let section;
        (section, rest) = sections.cut(b'|');
        if let Some(values) = untyped {
            let word;
            (word, untyped) = section.cut(b':');
            runs.push(Run { values, kind: StatsdKind::read(word)?, weight: 1.0 });
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
            _ => {}
        }
    }
    match untyped {
        Some(values) => Err(values.end().reject(RejectReason::BadLine, "`|` and a type")),
        None => Ok(runs),
    }
}

/// Gathers tags from everywhere in a line.
struct TagReader<'a, 'l> {
    tags: Tags<'a>,
    limits: &'l Limits,
}

impl<'a> TagReader<'a, '_> {
    fn read(&mut self, list: Piece<'a>, separator: u8) -> Result<(), Rejection> {
        let mut rest = Some(list);
        while let Some(list) = rest {
            let tag;
            (tag, rest) = list.cut(b',');
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

fn read_value(kind: StatsdKind, value: Piece<'_>) -> Result<SampleValue<'_>, Rejection> {
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

fn read_rate(rate: Piece<'_>) -> Result<f64, Rejection> {
    parse_finite(rate.text)
        .and_then(weight_at)
        .ok_or_else(|| rate.reject(RejectReason::BadSampleRate, "a number above 0 and up to 1"))
}

#[cfg(test)]
mod tests;
