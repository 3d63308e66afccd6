//! The total of a series.

use super::histogram::HistogramTotal;
use crate::format::otlp::{
    MetricForm, PointTimes, Temporality, WindowEncoder, write_histogram, write_metric, write_number,
};
use model::{MetricKind, Series, Sum, Value};

/// The total of a series.
#[derive(Clone)]
pub(super) enum Total {
    Sum { sum: Sum, is_monotonic: bool },
    Timer(HistogramTotal),
}

impl Total {
    /// A total with the value of another window; `None` for a value without a total.
    pub(super) fn with(before: Option<&Self>, value: &Value) -> Option<Self> {
        let added = match value {
            Value::Counter(sum) | Value::Trace(sum) => *sum,
            Value::Total(total) => total.added,
            Value::Timer(timer) => {
                let window = HistogramTotal::of(timer);
                return Some(Self::Timer(match before {
                    Some(Self::Timer(total)) => total.with(&window),
                    _ => window,
                }));
            }
            Value::Gauge { .. } | Value::Set(_) => return None,
        };
        let (mut sum, was_monotonic) = match before {
            Some(Self::Sum { sum, is_monotonic }) => (*sum, *is_monotonic),
            _ => (Sum::default(), true),
        };
        sum.merge(added);
        Some(Self::Sum { sum, is_monotonic: was_monotonic && added.value() >= 0.0 })
    }

    /// The form of the series' metric.
    pub(super) fn form(&self) -> MetricForm {
        let temporality = Temporality::Cumulative;
        match self {
            Self::Sum { is_monotonic, .. } => {
                MetricForm::Sum { temporality, is_monotonic: *is_monotonic }
            }
            Self::Timer(_) => MetricForm::Histogram { temporality },
        }
    }

    /// Appends the payload of a series.
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        series: &Series,
        start_ns: u64,
        times: PointTimes,
        encoder: &WindowEncoder,
    ) {
        write_metric(out, self.form(), series.name());
        let times = PointTimes { start_ns, ..times };
        match self {
            Self::Sum { sum, .. } => write_number(out, series, times, sum.value()),
            Self::Timer(total) => {
                write_histogram(out, series, times, &total.point(encoder.buckets_max));
            }
        }
    }

    /// The total as a value of the spool's encoding; `None` if its counts are too large for that.
    pub(super) fn to_value(&self, kind: MetricKind) -> Option<Value> {
        match self {
            Self::Sum { sum, .. } if kind == MetricKind::Trace => Some(Value::Trace(*sum)),
            Self::Sum { sum, .. } => Some(Value::Counter(*sum)),
            Self::Timer(total) => Some(Value::timer(total.to_timer()?, &[])),
        }
    }

    /// An estimate of the memory on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Sum { .. } => 0,
            Self::Timer(total) => total.heap_bytes(),
        }
    }
}
