//! Makes a message of the members that are not tags.

use std::borrow::Cow;

use model::MetricKind;

use super::super::split::NumberPlaces;
use super::super::{RejectReason, Rejection, SampleValue, parse_finite, weight_at};
use super::cursor::{JsonValue, RawJson, reject};

/// A message without its tags.
pub struct JsonMessage<'a> {
    /// The metric name, never empty.
    pub name: Cow<'a, str>,
    /// The observed value.
    pub value: SampleValue<'a>,
    /// The number of samples that it stands for, at least 1.
    pub weight: f64,
    /// The places of the numbers that may change from message to message.
    pub places: NumberPlaces,
}

/// The canonical words of all kinds, for errors; a test compares them with [`MetricKind`].
pub(super) const KNOWN_TYPES: &str = "`trace`, `gauge`, `counter`, `timer` or `set`";

/// The key of a member that is not a tag.
#[derive(Clone, Copy)]
pub(super) enum ReservedKey {
    Name,
    Kind,
    Value,
    Count,
    SampleRate,
}

/// The members of a message that are not tags. The last of equal keys wins.
#[derive(Default)]
pub(super) struct Reserved<'a> {
    values: [Option<JsonValue<'a>>; 5],
    /// The position of the timestamp, whose value is not used.
    pub(super) timestamp: Option<usize>,
}

impl<'a> Reserved<'a> {
    /// Keeps a value in place of an earlier one with the same key.
    #[inline]
    pub(super) fn keep(&mut self, key: ReservedKey, value: JsonValue<'a>) {
        self.values[key as usize] = Some(value);
    }

    fn get(&self, key: ReservedKey) -> Option<&JsonValue<'a>> {
        self.values[key as usize].as_ref()
    }

    /// Makes the message.
    pub(super) fn message(&mut self) -> Result<JsonMessage<'a>, Rejection> {
        let name = self.take_name()?;
        let (kind, kind_start) = self.kind()?;
        // Checked even for kinds that ignore it: an invalid rate is a mistake of the sender.
        let rate_weight = self.get(ReservedKey::SampleRate).map_or(Ok(1.0), weight)?;
        let kind =
            kind.ok_or_else(|| reject(RejectReason::UnknownType, kind_start, KNOWN_TYPES))?;
        let (value, place) = self.take_value(kind)?;
        let is_weighed = matches!(kind, MetricKind::Counter | MetricKind::Timer);
        let weight = if is_weighed { rate_weight } else { 1.0 };
        let rate = self.get(ReservedKey::SampleRate).map(|rate| rate.offset);
        let places = NumberPlaces { value: place, rate, time: self.timestamp };
        Ok(JsonMessage { name, value, weight, places })
    }

    fn take_name(&mut self) -> Result<Cow<'a, str>, Rejection> {
        match &mut self.values[ReservedKey::Name as usize] {
            Some(JsonValue { raw: RawJson::String(name), .. }) if !name.is_empty() => {
                Ok(std::mem::take(name))
            }
            Some(other) => Err(reject(RejectReason::BadName, other.offset, "a string with a name")),
            None => Err(missing(RejectReason::MissingName, "`metric_name`")),
        }
    }

    /// Returns the kind, if its word is known, and the position of the word.
    fn kind(&self) -> Result<(Option<MetricKind>, usize), Rejection> {
        match self.get(ReservedKey::Kind) {
            Some(JsonValue { raw: RawJson::String(word), offset }) => {
                Ok((MetricKind::from_json_word(word), *offset))
            }
            Some(other) => Err(reject(RejectReason::UnknownType, other.offset, KNOWN_TYPES)),
            None => Err(missing(RejectReason::MissingType, "`metric_type`")),
        }
    }

    /// Returns the value, and its position if it was in the message.
    fn take_value(
        &mut self,
        kind: MetricKind,
    ) -> Result<(SampleValue<'a>, Option<usize>), Rejection> {
        let key = match kind {
            MetricKind::Trace => return Ok((SampleValue::Trace, None)),
            MetricKind::Counter if self.get(ReservedKey::Count).is_some() => ReservedKey::Count,
            _ => ReservedKey::Value,
        };
        let Some(value) = &mut self.values[key as usize] else {
            return match kind {
                MetricKind::Counter => Ok((SampleValue::Counter(1.0), None)),
                _ => Err(missing(RejectReason::MissingValue, "`value`")),
            };
        };
        let start = value.offset;
        let value = match kind {
            MetricKind::Counter => SampleValue::Counter(number(value)?),
            MetricKind::Gauge => gauge(value)?,
            MetricKind::Timer => SampleValue::Timer(number(value)?),
            MetricKind::Set => SampleValue::Set(take_member(value)?),
            MetricKind::Trace => SampleValue::Trace,
        };
        Ok((value, Some(start)))
    }
}

fn number(value: &JsonValue<'_>) -> Result<f64, Rejection> {
    match &value.raw {
        RawJson::Number(text) => parse_finite(text),
        RawJson::String(text) => parse_finite(text),
        RawJson::Bool(_) | RawJson::Null | RawJson::Nested => None,
    }
    .ok_or_else(|| reject(RejectReason::BadValue, value.offset, "a finite number"))
}

fn gauge<'a>(value: &JsonValue<'_>) -> Result<SampleValue<'a>, Rejection> {
    let number = number(value)?;
    let is_delta = matches!(&value.raw, RawJson::String(text) if text.starts_with(['+', '-']));
    Ok(if is_delta { SampleValue::GaugeAdd(number) } else { SampleValue::GaugeSet(number) })
}

fn take_member<'a>(value: &mut JsonValue<'a>) -> Result<Cow<'a, str>, Rejection> {
    match &mut value.raw {
        RawJson::String(text) => Ok(std::mem::take(text)),
        RawJson::Number(text) => Ok(Cow::Borrowed(text)),
        RawJson::Bool(_) | RawJson::Null | RawJson::Nested => {
            Err(reject(RejectReason::BadValue, value.offset, "a string or a number"))
        }
    }
}

fn weight(rate: &JsonValue<'_>) -> Result<f64, Rejection> {
    number(rate).ok().and_then(weight_at).ok_or_else(|| {
        reject(RejectReason::BadSampleRate, rate.offset, "a number greater than 0 and at most 1")
    })
}

fn missing(reason: RejectReason, expected: &'static str) -> Rejection {
    reject(reason, 0, expected)
}
