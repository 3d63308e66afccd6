//! Decodes statsd lines, including the extensions of common clients.
//!
//! ```text
//! name:value|type                        one sample; lines are separated by newlines
//! name:value:value|type|@rate            several samples, each of which stands for 1/rate samples
//! name:value|type|@rate:value|type       several runs with one name, as in the original statsd
//! name:value|type|#tag:value,tag:value   tags of DogStatsD
//! name,tag=value,tag=value:value|type    tags of Telegraf
//! name[tag=value,tag=value]:value|type   tags of SignalFx
//! name;tag=value;tag=value:value|type    tags of Graphite
//! name#tag=value,tag=value:value|type    tags of Librato
//! ```
//!
//! A type is `c` (counter), `g` (gauge), `ms`, `h`, `d` (timers) or `s` (set). Where
//! implementations differ, this one behaves as follows:
//!
//! - A name is kept as it is; outputs replace characters that they cannot carry. A name that
//!   continues after its brackets is joined. A single bracket is part of the name, unless it
//!   begins or ends something like tags, as in `[k=v`: such a line is invalid. A `;` or a `#` is part
//!   of the name, too, unless a key and `=` follow it.
//! - The sections after the type may come in any order. Sections of newer clients, `WORD:…` (such
//!   as `c:` for a container) and `T…` (a timestamp, whose values are counted), and empty ones have no
//!   effect, so that these clients lose no samples. Any other section makes the line invalid: ignoring a
//!   rate without its `@` would change the numbers.
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
//!   [`SignedGauges`](super::SignedGauges) applies the meaning that the sign has in DogStatsD.
//!   A rate weights counters and timers; with a gauge or a set it is only validated.
//! - A line with a NUL is invalid: it contains the length that DogStatsD clients put before each
//!   packet of a stream, which a listener without `framing: length_prefixed` does not expect.
//! - Events (`_e{…`) and service checks (`_sc|…`) are not samples: they are skipped and counted.

use std::borrow::Cow;

use memchr::memchr;
use model::{MetricKind, TimerType};

mod name;
mod order;
mod plain;
mod sections;
mod short;
mod split;
mod tags;
mod text;
mod values;

use self::name::{plain_name, read_name_with_tags};
pub use self::order::TagOrder;
use self::plain::PlainLine;
use self::sections::{Sections, read_more_sections, read_sections};
pub use self::short::{ShortLine, TAIL_BYTES, read_short};
pub use self::split::{next_line, split, split_short};
use self::tags::TagReader;
use self::text::{LineText, TextPart};
use self::values::StatsdKind;
pub use self::values::ValueRun;
use super::scan::find;
use super::split::Split;
use super::{LineFacts, MessageLimits, RejectReason, Rejection, Sample, TextTags, lines};
use crate::sys::ascii::{self, CutText};

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
    /// Tags, sorted by key; keys are unique, and no value is empty.
    pub tags: &'l TextTags<'a>,
    /// At least one.
    pub runs: &'l [ValueRun<'a>],
    /// Whether the client sent a time for the values.
    pub is_timestamped: bool,
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
        let StatsdLine { name, tags, runs, is_timestamped } = line;
        let sample = |name: Cow<'a, str>, run: &ValueRun<'a>, value| Sample {
            name,
            value,
            weight: run.weight,
            tags: tags.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
            facts: LineFacts { timer_type: run.timer_type(), is_timestamped },
        };
        // Most lines have one value.
        if let [run] = runs
            && let Some(value) = run.single_value()
        {
            return (self.0)(Ok(sample(name, run, value)));
        }
        for run in runs {
            run.for_each_value(|value| {
                (self.0)(value.map(|value| sample(name.clone(), run, value)));
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
        // The series exists, so that the type has no effect.
        MetricKind::Timer => StatsdKind::Timer(TimerType::default()),
        MetricKind::Set | MetricKind::Trace => return None,
    };
    let text = ascii::text(&split.line[split.number_start..split.number_end])?;
    let values = TextPart { text, at: split.number_start };
    let run = ValueRun { values, number: None, kind, weight };
    (!has_more_values(text.len(), std::slice::from_ref(&run), limits.max_values)).then_some(run)
}

/// Decodes a line that starts at `at`. Returns false if it is no sample and must be skipped.
#[inline]
fn decode_or_skip<'a>(
    line: &'a [u8],
    at: usize,
    tags: &mut TagReader<'a, '_>,
    sink: &mut impl LineSink<'a>,
) -> bool {
    if line.first() == Some(&b'_') && (line.starts_with(b"_e{") || line.starts_with(b"_sc|")) {
        return false;
    }
    let read = read_text(line, at).and_then(|line| decode_text(line, tags, sink));
    if let Err(rejection) = read {
        sink.rejected(rejection);
    }
    true
}

#[inline]
fn read_text(bytes: &[u8], at: usize) -> Result<LineText<'_>, Rejection> {
    match CutText::of_ascii(bytes) {
        Some(text) => Ok(LineText { text, at }),
        None => read_unusual_text(bytes, at),
    }
}

/// Returns the text of a line. A NUL belongs to a length that a DogStatsD client has put before a
/// packet on a stream, which must not become part of a name.
#[cold]
fn read_unusual_text(bytes: &[u8], at: usize) -> Result<LineText<'_>, Rejection> {
    let bad =
        |place, expected| Rejection { reason: RejectReason::BadLine, offset: at + place, expected };
    if let Some(place) = memchr(0, bytes) {
        return Err(bad(
            place,
            "no NUL; DogStatsD clients need `framing: length_prefixed`, or a `unix_datagram` listener",
        ));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| bad(error.valid_up_to(), "UTF-8"))?;
    Ok(LineText { text: CutText::of_text(text), at })
}

/// Decodes a line. Fails if the whole line is invalid.
#[inline]
fn decode_text<'a>(
    line: LineText<'a>,
    tags: &mut TagReader<'a, '_>,
    sink: &mut impl LineSink<'a>,
) -> Result<(), Rejection> {
    // The list is reused for all lines of a datagram, and the latest line leaves its tags in it.
    tags.clear();
    let Some(plain) = PlainLine::read(line) else { return decode_unusual(line, tags, sink) };
    let (bytes, mut bar) = (line.bytes(), plain.bar);
    if bytes.get(bar + 1) == Some(&b'#') {
        // The end of the section is found while its tags are read.
        bar = tags.read::<b':', b',', b'|'>(line, bar + 2)?;
    }
    if bar < bytes.len() || tags.limits.max_values == 0 {
        return decode_more(line, plain, bar, tags, sink);
    }
    let runs = std::slice::from_ref(&plain.run);
    let (name, tags) = (plain.name, tags.normalized());
    sink.line(StatsdLine { name, tags, runs, is_timestamped: false });
    Ok(())
}

/// Decodes the sections of a line after its first type and tags.
#[inline(never)]
fn decode_more<'a>(
    line: LineText<'a>,
    plain: PlainLine<'a>,
    bar: usize,
    tags: &mut TagReader<'a, '_>,
    sink: &mut impl LineSink<'a>,
) -> Result<(), Rejection> {
    let values = plain.run.values;
    let mut sections = Sections::from(plain.run);
    read_more_sections(line, bar, tags, &mut sections)?;
    pass_on(line, plain.name, values, &sections, tags, sink)
}

/// Decodes a line that may have another form than that of a [`PlainLine`].
#[inline(never)]
fn decode_unusual<'a>(
    line: LineText<'a>,
    tags: &mut TagReader<'a, '_>,
    sink: &mut impl LineSink<'a>,
) -> Result<(), Rejection> {
    let (name, colon) = match plain_name(line) {
        Some(front) => front,
        None => read_name_with_tags(line, tags)?,
    };
    let bar = find(line.bytes(), colon + 1, [b'|']);
    let values = line.between(colon + 1..bar);
    let mut sections = Sections::default();
    read_sections(line, values, bar, tags, &mut sections)?;
    pass_on(line, name, values, &sections, tags, sink)
}

/// Passes on a line that was read, unless it has too many values. `values` are the first ones.
#[inline(never)]
fn pass_on<'a>(
    line: LineText<'a>,
    name: Cow<'a, str>,
    values: TextPart<'a>,
    sections: &Sections<'a>,
    tags: &mut TagReader<'a, '_>,
    sink: &mut impl LineSink<'a>,
) -> Result<(), Rejection> {
    let Sections { runs, is_timestamped } = sections;
    // Before the first value is passed on, because the whole line is rejected.
    if has_more_values(line.bytes().len(), runs, tags.limits.max_values) {
        return Err(values.reject(RejectReason::TooManyValues, "fewer values (limits.max_values)"));
    }
    let is_timestamped = *is_timestamped;
    sink.line(StatsdLine { name, tags: tags.normalized(), runs, is_timestamped });
    Ok(())
}

/// Whether the runs have more values than the limit. Counts the values only if the line has more
/// bytes than the limit: each value takes at least one byte, its colon.
#[inline]
fn has_more_values(line_bytes: usize, runs: &[ValueRun<'_>], limit: usize) -> bool {
    limit < line_bytes && runs.iter().map(ValueRun::value_count).sum::<usize>() > limit
}

#[cfg(test)]
mod tests;
