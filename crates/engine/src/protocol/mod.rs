//! Decoders: bytes of a datagram in, samples or rejections out.
//!
//! Everything here is synchronous and pure: no socket, no clock, no lock. A sample borrows from
//! the datagram. Text is copied only to resolve JSON escapes, or to join a statsd name around its
//! brackets.

use std::borrow::Cow;
use std::cmp::Ordering;

use model::{MetricKind, TimerType};
use serde::Deserialize;
use smallvec::SmallVec;

pub mod dispatch;
pub mod json;
mod lines;
mod scan;
pub mod signed;
pub mod signed_gauges;
pub mod split;
pub mod statsd;
mod tag_text;
mod tag_value;

pub use lines::{DatagramLines, MarkedLine, lines};
pub use signed_gauges::SignedGauges;
use split::Split;
pub use tag_text::{TagText, TextTag, TextTags};
pub use tag_value::TagValue;

/// The tags of a sample. Eight fit without an allocation.
pub type Tags<'a> = SmallVec<[Tag<'a>; 8]>;

/// A key and its value.
pub type Tag<'a> = (Cow<'a, str>, TagValue<'a>);

/// One observation, as a client sent it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'a> {
    /// The metric name, never empty.
    pub name: Cow<'a, str>,
    /// The observed value.
    pub value: SampleValue<'a>,
    /// The number of samples that it stands for: 1/sample rate, at least 1.
    pub weight: f64,
    /// Tags, sorted by key; keys are unique, and no value is empty.
    pub tags: Tags<'a>,
    /// Facts of a statsd line that do not affect the value.
    pub facts: LineFacts,
}

/// The facts of a statsd line that affect neither a value nor its series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineFacts {
    /// The type of a timer.
    pub timer_type: TimerType,
    /// Whether the client sent a time for the value, which counts when it arrives nevertheless.
    pub is_timestamped: bool,
}

/// The value of a sample, by kind of metric. All numbers are finite.
#[derive(Clone, Debug, PartialEq)]
pub enum SampleValue<'a> {
    /// An increment.
    Counter(f64),
    /// A running total that the source keeps.
    Total {
        /// The increment since the previous report.
        added: f64,
        /// The total.
        total: f64,
    },
    /// A new level.
    GaugeSet(f64),
    /// A change of the level.
    GaugeAdd(f64),
    /// A measured value.
    Timer(f64),
    /// A member.
    Set(Cow<'a, str>),
    /// An occurrence.
    Trace,
}

impl SampleValue<'_> {
    /// The kind of metric to which it belongs.
    #[must_use]
    pub fn kind(&self) -> MetricKind {
        match self {
            Self::Counter(_) | Self::Total { .. } => MetricKind::Counter,
            Self::GaugeSet(_) | Self::GaugeAdd(_) => MetricKind::Gauge,
            Self::Timer(_) => MetricKind::Timer,
            Self::Set(_) => MetricKind::Set,
            Self::Trace => MetricKind::Trace,
        }
    }

    /// The value multiplied by a finite factor, rounded to the nearest number, and finite. Members of sets
    /// and occurrences stay.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        let scaled = |number: f64| (number * factor).clamp(f64::MIN, f64::MAX);
        match self {
            Self::Counter(number) => Self::Counter(scaled(*number)),
            Self::Total { added, total } => {
                Self::Total { added: scaled(*added), total: scaled(*total) }
            }
            Self::GaugeSet(number) => Self::GaugeSet(scaled(*number)),
            Self::GaugeAdd(number) => Self::GaugeAdd(scaled(*number)),
            Self::Timer(number) => Self::Timer(scaled(*number)),
            Self::Set(_) | Self::Trace => self.clone(),
        }
    }

    /// Its effect on the series, in one word.
    #[must_use]
    pub const fn means(&self) -> &'static str {
        match self {
            Self::Counter(_) | Self::Total { .. } => "count",
            Self::GaugeSet(_) => "set",
            Self::GaugeAdd(_) => "add",
            Self::Timer(_) => "value",
            Self::Set(_) => "member",
            Self::Trace => "occurrence",
        }
    }
}

/// The rejection of a message, or of one value of a line. It holds no text of the message, because
/// it must be cheap: invalid messages may arrive by the million.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The reason, as counted in the ledger.
    pub reason: RejectReason,
    /// Position of the error in the datagram, in bytes.
    pub offset: usize,
    /// The input expected at this position, for the operator.
    pub expected: &'static str,
}

impl Rejection {
    /// Moves the offset, for a message that starts after this many bytes.
    #[must_use]
    pub fn shifted_by(self, bytes: usize) -> Self {
        Self { offset: self.offset + bytes, ..self }
    }
}

/// The reason for a rejection, as counted in the ledger. The names are stable: dashboards and
/// alerts refer to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectReason {
    /// Not JSON: invalid syntax or encoding, or text after the message.
    BadJson,
    /// Not a statsd line: a part of `name:value|type` is missing, or the encoding is invalid.
    BadLine,
    /// Nested more deeply than any message needs.
    TooDeep,
    /// JSON, but not an object.
    NotAnObject,
    /// No `metric_name`.
    MissingName,
    /// The name is empty or not a string.
    BadName,
    /// No type.
    MissingType,
    /// An unknown type.
    UnknownType,
    /// No `value`, although the type requires one.
    MissingValue,
    /// The value is not a finite number or, for a set in JSON, neither a string nor a number.
    BadValue,
    /// The sample rate is not a number greater than 0 and at most 1.
    BadSampleRate,
    /// A tag's value is an object or an array.
    NestedTag,
    /// A tag has no name.
    BadTag,
    /// More tags than `limits.max_tags`.
    TooManyTags,
    /// More values on a line than `limits.max_values`.
    TooManyValues,
    /// A line of a stream is longer than `max_line`, or a datagram did not fit into the buffer.
    TooLong,
    /// A connection ended within a line.
    Unfinished,
    /// A rule of the configuration drops the message, or makes no name of its name.
    Rule,
    /// A datagram to a listener with a `secret` is too short for a signature.
    Unsigned,
    /// No `secret` of the listener has signed the datagram.
    BadSignature,
    /// A datagram was signed longer ago than `signatures.window`, or in a second that a full window forgot.
    Stale,
    /// A datagram was signed further in the future than `signatures.window`.
    FromFuture,
    /// A signed datagram arrived again.
    Replayed,
    /// An earlier run that crashed, or did not save its memory, may have accepted the datagram.
    MaybeReplayed,
    /// A signed datagram cannot be remembered: `signatures.max_datagrams` of its second are.
    WindowFull,
}

impl RejectReason {
    /// All reasons, in the order of listings.
    pub const ALL: [Self; 25] = [
        Self::BadJson,
        Self::BadLine,
        Self::TooDeep,
        Self::NotAnObject,
        Self::MissingName,
        Self::BadName,
        Self::MissingType,
        Self::UnknownType,
        Self::MissingValue,
        Self::BadValue,
        Self::BadSampleRate,
        Self::NestedTag,
        Self::BadTag,
        Self::TooManyTags,
        Self::TooManyValues,
        Self::TooLong,
        Self::Unfinished,
        Self::Rule,
        Self::Unsigned,
        Self::BadSignature,
        Self::Stale,
        Self::FromFuture,
        Self::Replayed,
        Self::MaybeReplayed,
        Self::WindowFull,
    ];

    /// The name in the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadJson => "bad_json",
            Self::BadLine => "bad_line",
            Self::TooDeep => "too_deep",
            Self::NotAnObject => "not_an_object",
            Self::MissingName => "missing_name",
            Self::BadName => "bad_name",
            Self::MissingType => "missing_type",
            Self::UnknownType => "unknown_type",
            Self::MissingValue => "missing_value",
            Self::BadValue => "bad_value",
            Self::BadSampleRate => "bad_sample_rate",
            Self::NestedTag => "nested_tag",
            Self::BadTag => "bad_tag",
            Self::TooManyTags => "too_many_tags",
            Self::TooManyValues => "too_many_values",
            Self::TooLong => "too_long",
            Self::Unfinished => "unfinished",
            Self::Rule => "rule",
            Self::Unsigned => "unsigned",
            Self::BadSignature => "bad_signature",
            Self::Stale => "stale",
            Self::FromFuture => "from_future",
            Self::Replayed => "replayed",
            Self::MaybeReplayed => "maybe_replayed",
            Self::WindowFull => "window_full",
        }
    }
}

/// The `limits` section: the limits on one message.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MessageLimits {
    /// Maximum number of tags of a message; one with more is rejected as `too_many_tags`. More tags
    /// make every lookup more expensive. Defaults to `256`.
    pub max_tags: usize,
    /// Maximum number of values on a statsd line; one with more is rejected as `too_many_values`.
    /// Each value is a sample with all tags of the line. Defaults to `4096`, which a packet of 8 KiB,
    /// the largest that DogStatsD clients send, cannot exceed.
    pub max_values: usize,
}

impl Default for MessageLimits {
    fn default() -> Self {
        Self { max_tags: 256, max_values: 4_096 }
    }
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Parses a number as clients write it in a string: decimal and finite, with an optional sign,
/// fraction and exponent. `NaN`, `inf` and blanks are not accepted.
#[must_use]
pub fn parse_finite(text: &str) -> Option<f64> {
    if let Some(split) = Split::at_number(text.as_bytes(), 0, true)
        && split.number_end == text.len()
    {
        return Some(split.number);
    }
    let starts_like_a_number = text
        .bytes()
        .find(|byte| !matches!(byte, b'+' | b'-'))
        .is_some_and(|byte| byte.is_ascii_digit() || byte == b'.');
    if !starts_like_a_number {
        return None;
    }
    text.parse::<f64>().ok().filter(|number| number.is_finite())
}

/// The number of samples for which one stands at this sample rate; `None` if the rate is not
/// greater than 0 and at most 1.
fn weight_at(rate: f64) -> Option<f64> {
    // The weight at a rate of 0 is infinite, and so is that at the smallest subnormal rates.
    (0.0..=1.0).contains(&rate).then(|| rate.recip()).filter(|weight| weight.is_finite())
}

/// Sorts tags by key, keeps the last of equal keys, and removes tags with an empty value, which
/// means "no such tag".
#[inline]
pub fn normalize_tags<T: TagText>(tags: &mut SmallVec<[T; 8]>) {
    let (has_equal_keys, has_empty_values) = sort_by_key(tags);
    if has_equal_keys {
        keep_last_of_equal_keys(tags);
    }
    if has_empty_values {
        remove_empty_values(tags);
    }
}

#[cold]
fn keep_last_of_equal_keys<T: TagText>(tags: &mut SmallVec<[T; 8]>) {
    // `dedup_by` keeps the first of equal keys; in reverse order, that is the last one.
    tags.reverse();
    tags.dedup_by(|later, kept| later.key() == kept.key());
    tags.reverse();
}

#[cold]
fn remove_empty_values<T: TagText>(tags: &mut SmallVec<[T; 8]>) {
    tags.retain(|tag| !tag.value().is_empty());
}

/// Sorts tags by key, and keeps equal keys in their order. Returns whether there are any, and whether
/// there are empty values.
#[inline]
fn sort_by_key(tags: &mut [impl TagText]) -> (bool, bool) {
    // Most messages have few tags, and a sender writes them in the same order each time, mostly sorted.
    if tags.len() <= 16 { insert_in_order(tags) } else { sort_many_by_key(tags) }
}

#[inline]
fn insert_in_order(tags: &mut [impl TagText]) -> (bool, bool) {
    let (mut has_equal_keys, mut has_empty_values) = (false, false);
    for next in 0..tags.len() {
        has_empty_values |= tags[next].value().is_empty();
        let mut place = next;
        while place > 0 {
            match compare(tags[place - 1].key(), tags[place].key()) {
                Ordering::Less => break,
                Ordering::Equal => {
                    has_equal_keys = true;
                    break;
                }
                Ordering::Greater => tags.swap(place - 1, place),
            }
            place -= 1;
        }
    }
    (has_equal_keys, has_empty_values)
}

#[cold]
fn sort_many_by_key(tags: &mut [impl TagText]) -> (bool, bool) {
    tags.sort_by(|a, b| a.key().cmp(b.key()));
    let has_equal_keys = tags.windows(2).any(|pair| pair[0].key() == pair[1].key());
    (has_equal_keys, tags.iter().any(|tag| tag.value().is_empty()))
}

/// Compares two texts. If their first bytes differ, as usual, this saves a call.
#[inline]
pub(crate) fn compare(a: &str, b: &str) -> Ordering {
    match (a.as_bytes().first(), b.as_bytes().first()) {
        // Not `cmp`, whose result would be a number that the caller compares again.
        (Some(first), Some(other)) if first < other => Ordering::Less,
        (Some(first), Some(other)) if first > other => Ordering::Greater,
        _ => a.cmp(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_finite_decimal_number_is_a_number() {
        for (text, number) in [
            ("43", 43.0),
            ("-1.5", -1.5),
            ("+4", 4.0),
            ("1e3", 1000.0),
            (".5", 0.5),
            ("1e-400", 0.0),
        ] {
            assert_eq!(parse_finite(text), Some(number), "{text}");
        }
        for text in
            ["", " 43", "43 ", "4_3", "0x10", "NaN", "inf", "-inf", "1e400", "--1", "+", "1,5"]
        {
            assert_eq!(parse_finite(text), None, "{text}");
        }
    }

    #[test]
    fn a_rate_is_greater_than_0_and_at_most_1() {
        for (rate, weight) in [(1.0, 1.0), (0.25, 4.0), (0.001, 1_000.0)] {
            assert_eq!(weight_at(rate), Some(weight), "{rate}");
        }
        for rate in [0.0, -0.0, -0.5, 1.000_1, 5e-324, f64::NAN, f64::INFINITY] {
            assert_eq!(weight_at(rate), None, "{rate}");
        }
    }

    #[test]
    fn a_scaled_value_stays_finite() {
        for (value, scaled) in [
            (SampleValue::Counter(3.0), SampleValue::Counter(1.5)),
            (SampleValue::GaugeSet(-3.0), SampleValue::GaugeSet(-1.5)),
            (SampleValue::GaugeAdd(1.0), SampleValue::GaugeAdd(0.5)),
            (SampleValue::Timer(1.0), SampleValue::Timer(0.5)),
            (SampleValue::Set("5".into()), SampleValue::Set("5".into())),
            (SampleValue::Trace, SampleValue::Trace),
        ] {
            assert_eq!(value.scaled(0.5), scaled);
        }
        assert_eq!(SampleValue::Timer(-1e308).scaled(1e308), SampleValue::Timer(f64::MIN));
    }

    #[test]
    fn each_value_says_what_it_does_to_its_series() {
        let total = SampleValue::Total { added: 1.0, total: 5.0 };
        for (value, means) in [
            (SampleValue::Counter(1.0), "count"),
            (total, "count"),
            (SampleValue::GaugeSet(1.0), "set"),
            (SampleValue::GaugeAdd(1.0), "add"),
            (SampleValue::Timer(1.0), "value"),
            (SampleValue::Set("a".into()), "member"),
            (SampleValue::Trace, "occurrence"),
        ] {
            assert_eq!(value.means(), means);
        }
    }

    #[test]
    fn the_last_of_equal_tags_wins_even_if_it_is_empty() {
        let mut tags = Tags::new();
        for (key, value) in [("b", "1"), ("a", "2"), ("b", "3"), ("c", "4"), ("c", "")] {
            tags.push((key.into(), value.into()));
        }
        normalize_tags(&mut tags);
        let tags: Vec<_> = tags.iter().map(|(key, value)| (&**key, &**value)).collect();
        assert_eq!(tags, [("a", "2"), ("b", "3")]);
    }

    #[test]
    fn few_tags_are_sorted_like_many() {
        for (given, sorted, has_equal_keys, has_empty_values) in [
            ("", "", false, false),
            ("a=1", "a=1", false, false),
            ("b=1 a=2 c=3", "a=2 b=1 c=3", false, false),
            ("ab=1 a=2 aa=3", "a=2 aa=3 ab=1", false, false),
            ("b=1 a= c=3", "a= b=1 c=3", false, true),
            // Equal keys keep their order.
            ("b=2 a=9 b=1 b=3", "a=9 b=2 b=1 b=3", true, false),
            ("b=1 a=2 b=", "a=2 b=1 b=", true, true),
        ] {
            for sort in [insert_in_order, sort_many_by_key] {
                let mut tags: Tags<'_> = given
                    .split_whitespace()
                    .map(|tag| tag.split_once('=').unwrap())
                    .map(|(key, value)| (key.into(), value.into()))
                    .collect();
                assert_eq!(sort(&mut tags), (has_equal_keys, has_empty_values), "{given}");
                let shown: Vec<_> =
                    tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
                assert_eq!(shown.join(" "), sorted, "{given}");
            }
        }
    }
}
