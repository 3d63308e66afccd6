//! The form of a metric: everything that its points share except the name.

use model::Value;

/// The period to which the value of a point refers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Temporality {
    /// The window.
    Delta,
    /// The time since the start of the series.
    Cumulative,
}

impl Temporality {
    /// The number of the protocol.
    pub(super) fn number(self) -> i32 {
        match self {
            Self::Delta => 1,
            Self::Cumulative => 2,
        }
    }
}

/// The form of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetricForm {
    /// A value at a time.
    Gauge,
    /// A sum of increments, which is monotonic if none of them is negative.
    Sum { temporality: Temporality, is_monotonic: bool },
    /// An exponential histogram.
    Histogram { temporality: Temporality },
}

impl MetricForm {
    /// The form of the increment of one window.
    pub(crate) fn of_window(value: &Value) -> Self {
        let temporality = Temporality::Delta;
        match value {
            // A decrement is no monotonic sum. Its window's point belongs to another stream, which
            // readers add to the first.
            Value::Counter(_) | Value::Total(_) | Value::Trace(_) => {
                Self::Sum { temporality, is_monotonic: value.headline() >= 0.0 }
            }
            Value::Gauge { .. } | Value::Set(_) => Self::Gauge,
            Value::Timer(_) => Self::Histogram { temporality },
        }
    }

    /// Whether a point has the increment of its window.
    #[cfg(feature = "otlp")]
    pub(super) fn is_increment(self) -> bool {
        match self {
            Self::Gauge => false,
            Self::Sum { temporality, .. } | Self::Histogram { temporality } => {
                temporality == Temporality::Delta
            }
        }
    }

    /// The form as a byte.
    pub(super) fn to_byte(self) -> u8 {
        let bits = |temporality| u8::from(temporality == Temporality::Cumulative);
        match self {
            Self::Gauge => 0,
            Self::Sum { temporality, is_monotonic } => {
                2 | bits(temporality) | u8::from(is_monotonic) << 3
            }
            Self::Histogram { temporality } => 4 | bits(temporality),
        }
    }

    /// The form of a byte; `None` if no form has it.
    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        let temporality = if byte & 1 == 0 { Temporality::Delta } else { Temporality::Cumulative };
        let form = match byte & 0b110 {
            0 => Self::Gauge,
            2 => Self::Sum { temporality, is_monotonic: byte & 8 != 0 },
            4 => Self::Histogram { temporality },
            _ => return None,
        };
        (form.to_byte() == byte).then_some(form)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_reads_back_from_its_byte() {
        let forms: Vec<_> = (0..=u8::MAX).filter_map(MetricForm::from_byte).collect();
        assert_eq!(forms.len(), 7);
        for form in forms {
            assert_eq!(MetricForm::from_byte(form.to_byte()), Some(form));
        }
    }
}
