//! The values of a line.

use std::borrow::Cow;

use memchr::memchr_iter;
use model::{MetricKind, TimerType};

use super::super::split::simple_number;
use super::super::{RejectReason, Rejection, SampleValue, parse_finite};
use super::text::TextPart;

/// The types of all kinds, for errors; a test compares them with [`MetricKind`].
pub(super) const KNOWN_TYPES: &str = "`c`, `g`, `ms`, `h`, `d` or `s`";

/// A kind of metric that statsd has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum StatsdKind {
    Counter,
    Gauge,
    Timer(TimerType),
    Set,
}

impl StatsdKind {
    /// The kind with this type; `None` if statsd has no such type.
    #[inline]
    pub(super) fn of(word: &str) -> Option<Self> {
        match MetricKind::from_statsd_type(word)? {
            MetricKind::Counter => Some(Self::Counter),
            MetricKind::Gauge => Some(Self::Gauge),
            MetricKind::Timer => Some(Self::Timer(TimerType::from_statsd_type(word))),
            MetricKind::Set => Some(Self::Set),
            MetricKind::Trace => None,
        }
    }

    pub(super) fn read(word: TextPart<'_>) -> Result<Self, Rejection> {
        Self::of(word.text).ok_or_else(|| {
            let is_missing = word.text.is_empty();
            let reason =
                if is_missing { RejectReason::MissingType } else { RejectReason::UnknownType };
            word.reject(reason, KNOWN_TYPES)
        })
    }
}

impl StatsdKind {
    /// A number as a value of this kind; `None` for a set, whose members are text.
    pub(super) fn value(self, number: f64) -> Option<SampleValue<'static>> {
        match self {
            Self::Counter => Some(SampleValue::Counter(number)),
            Self::Gauge => Some(SampleValue::GaugeSet(number)),
            Self::Timer(_) => Some(SampleValue::Timer(number)),
            Self::Set => None,
        }
    }
}

/// A run of values with a common type and rate.
pub struct ValueRun<'a> {
    pub(super) values: TextPart<'a>,
    /// The number if the values are only one that has been read already.
    pub(super) number: Option<f64>,
    pub(super) kind: StatsdKind,
    pub(super) weight: f64,
}

impl<'a> ValueRun<'a> {
    /// The number of samples for which each value stands.
    #[must_use]
    pub fn weight(&self) -> f64 {
        self.weight
    }

    /// The type, if the values are those of a timer.
    #[inline]
    #[must_use]
    pub fn timer_type(&self) -> TimerType {
        match self.kind {
            StatsdKind::Timer(timer_type) => timer_type,
            StatsdKind::Counter | StatsdKind::Gauge | StatsdKind::Set => TimerType::default(),
        }
    }

    /// The value, if there is only one and it has been read already.
    #[inline]
    #[must_use]
    pub fn single_value(&self) -> Option<SampleValue<'static>> {
        self.number.and_then(|number| self.kind.value(number))
    }

    pub(super) fn value_count(&self) -> usize {
        match self.kind {
            StatsdKind::Set => 1,
            StatsdKind::Counter | StatsdKind::Gauge | StatsdKind::Timer(_) => {
                1 + memchr_iter(b':', self.values.text.as_bytes()).count()
            }
        }
    }

    /// Passes each value or its rejection to `each`, in order.
    #[inline]
    pub fn for_each_value(&self, mut each: impl FnMut(Result<SampleValue<'a>, Rejection>)) {
        if let Some(value) = self.single_value() {
            return each(Ok(value));
        }
        let mut rest = Some(self.values);
        while let Some(values) = rest {
            let value;
            (value, rest) = self.next_value(values);
            each(value);
        }
    }

    /// Reads the first value. Returns the others, if there are any.
    // Always: a call for each value would cost a packed line a sixth more.
    #[inline(always)]
    fn next_value(
        &self,
        values: TextPart<'a>,
    ) -> (Result<SampleValue<'a>, Rejection>, Option<TextPart<'a>>) {
        // Most values are simple numbers, whose end is found while they are read. A gauge with a
        // sign is a change.
        let may_be_negative = self.kind != StatsdKind::Gauge;
        if let Some((number, end)) = simple_number(values.bytes(), 0, may_be_negative)
            && let Some(value) = self.kind.value(number)
        {
            match values.bytes().get(end) {
                None => return (Ok(value), None),
                Some(b':') => return (Ok(value), Some(values.from(end + 1))),
                Some(_) => {}
            }
        }
        self.next_unusual_value(values)
    }

    fn next_unusual_value(
        &self,
        values: TextPart<'a>,
    ) -> (Result<SampleValue<'a>, Rejection>, Option<TextPart<'a>>) {
        let (value, rest) = match self.kind {
            StatsdKind::Set => (values, None),
            StatsdKind::Counter | StatsdKind::Gauge | StatsdKind::Timer(_) => values.cut(b':'),
        };
        (read_value(self.kind, value), rest)
    }
}

fn read_value(kind: StatsdKind, value: TextPart<'_>) -> Result<SampleValue<'_>, Rejection> {
    if value.text.is_empty() {
        return Err(value.reject(RejectReason::MissingValue, "a value"));
    }
    let member = || SampleValue::Set(Cow::Borrowed(value.text));
    if kind == StatsdKind::Set {
        return Ok(member());
    }
    let number = parse_finite(value.text)
        .ok_or_else(|| value.reject(RejectReason::BadValue, "a finite number"))?;
    if kind == StatsdKind::Gauge && value.text.starts_with(['+', '-']) {
        return Ok(SampleValue::GaugeAdd(number));
    }
    Ok(kind.value(number).unwrap_or_else(member))
}
