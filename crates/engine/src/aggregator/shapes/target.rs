//! The series to which a known line leads, and the meaning of its number.

use model::MetricKind;

use crate::aggregator::tally::SeriesSlot;
use crate::protocol::SampleValue;

/// Bits of the meaning, below the slot.
const MEANING_BITS: u32 = 2;
/// Lines of series with greater slots are not cached: the slot would have no room next to the
/// meaning.
pub(super) const SLOT_MAX: SeriesSlot = SeriesSlot::MAX >> MEANING_BITS;

/// The meaning of the number in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberMeaning {
    /// An increment.
    Counter,
    /// A new level.
    Gauge,
    /// A measured value.
    Timer,
    /// None: the line is an occurrence.
    Trace,
}

impl NumberMeaning {
    /// The meaning of a value's number. `None` for values whose lines are not cached: running
    /// totals, changes of gauges, whose sign has a meaning, and members of sets, which are not
    /// numbers.
    #[must_use]
    pub fn of(value: &SampleValue<'_>) -> Option<Self> {
        match value {
            SampleValue::Counter(_) => Some(Self::Counter),
            SampleValue::GaugeSet(_) => Some(Self::Gauge),
            SampleValue::Timer(_) => Some(Self::Timer),
            SampleValue::Trace => Some(Self::Trace),
            SampleValue::Total { .. } | SampleValue::GaugeAdd(_) | SampleValue::Set(_) => None,
        }
    }

    /// The kind of metric to which it belongs.
    #[must_use]
    pub fn kind(self) -> MetricKind {
        match self {
            Self::Counter => MetricKind::Counter,
            Self::Gauge => MetricKind::Gauge,
            Self::Timer => MetricKind::Timer,
            Self::Trace => MetricKind::Trace,
        }
    }

    /// The meaning in the lowest two bits.
    fn from_bits(bits: u32) -> Self {
        match bits & 3 {
            0 => Self::Counter,
            1 => Self::Gauge,
            2 => Self::Timer,
            _ => Self::Trace,
        }
    }

    /// Whether a value with this meaning counts as often as the weight of its sample says.
    pub(super) fn is_weighted(self) -> bool {
        matches!(self, Self::Counter | Self::Timer)
    }
}

/// A known line's series and the meaning of its number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ShapeTarget {
    pub(super) slot: SeriesSlot,
    pub(super) meaning: NumberMeaning,
}

impl ShapeTarget {
    /// Both in one word. The slot is at most [`SLOT_MAX`].
    #[inline]
    pub(super) fn to_bits(self) -> u32 {
        (self.slot << MEANING_BITS) | self.meaning as u32
    }

    /// The target with these bits.
    #[inline]
    pub(super) fn from_bits(bits: u32) -> Self {
        Self { slot: bits >> MEANING_BITS, meaning: NumberMeaning::from_bits(bits) }
    }
}
