//! The page in Prometheus' protobuf format: a sequence of messages `MetricFamily`, each preceded by
//! its length. Only this format of the page has native histograms.

use prost::Message;
use prost::encoding::encode_varint;
use smallvec::smallvec;

use super::messages::{
    ClassicBucket, Counter, Gauge, Histogram, Metric, MetricFamily, MetricType, Quantile, Summary,
    Timestamp, set_labels,
};
use super::names::quantile;
use super::state::{Shown, Slot, State};
use super::timer_total::TimerTotal;
use super::timers::TimerFamily;
use model::{MetricKind, Percentile};

/// The protobuf key of `MetricFamily.metric`: number 4, length-delimited.
const METRIC: u8 = 4 << 3 | 2;

/// Renders the state in protobuf.
pub(super) fn page(state: &State, percentiles: &[Percentile]) -> Vec<u8> {
    let quantiles: Vec<f64> =
        percentiles.iter().filter_map(|percentile| quantile(percentile).parse().ok()).collect();
    let mut writer = ProtobufWriter::new(&quantiles);
    for (name, kind, origin, slots) in state.families() {
        let is_timer = kind == MetricKind::Timer;
        // The other kinds have one family, whose form is not used.
        let families = if is_timer {
            state.timers().forms.families()
        } else {
            smallvec![(TimerFamily::Summary, "")]
        };
        for (form, suffix) in families {
            let help = match name.is_renamed {
                true => origin.to_owned(),
                false => format!("tallyd {kind} {origin}"),
            };
            let name = format!("{}{suffix}", name.sample);
            writer.family(FamilyHeader { name: &name, kind, form, help }, slots.clone());
        }
    }
    writer.finish()
}

/// Writes families; its buffers are shared by all series.
struct ProtobufWriter<'a> {
    out: Vec<u8>,
    /// The value of `quantile` for each percentile.
    quantiles: &'a [f64],
    /// The encoded metrics of the current family.
    metrics: Vec<u8>,
    metric: Metric,
}

/// The name, type and description of a family.
struct FamilyHeader<'a> {
    name: &'a str,
    kind: MetricKind,
    /// The form of a timer's family; unused for other kinds.
    form: TimerFamily,
    help: String,
}

impl<'a> ProtobufWriter<'a> {
    /// Creates a writer; `quantiles` has the label `quantile` of each percentile as a number.
    fn new(quantiles: &'a [f64]) -> Self {
        Self { out: Vec::new(), quantiles, metrics: Vec::new(), metric: Metric::default() }
    }

    /// Appends a family with its series.
    fn family<'s>(&mut self, header: FamilyHeader<'_>, slots: impl Iterator<Item = &'s Slot>) {
        self.metrics.clear();
        for slot in slots {
            set_labels(&mut self.metric.label, slot.series.tags());
            self.set_value(slot, header.kind, header.form);
            self.metrics.push(METRIC);
            let encoded = self.metric.encode_length_delimited(&mut self.metrics);
            debug_assert!(encoded.is_ok(), "a vector has room");
        }
        let family = MetricFamily {
            name: header.name.to_owned(),
            help: header.help,
            r#type: metric_type(header.kind, header.form).into(),
            metric: Vec::new(),
        };
        // The metrics are a field of the same message, so their bytes follow the other fields.
        encode_varint((family.encoded_len() + self.metrics.len()) as u64, &mut self.out);
        let encoded = family.encode(&mut self.out);
        debug_assert!(encoded.is_ok(), "a vector has room");
        self.out.extend_from_slice(&self.metrics);
    }

    /// Returns the page.
    fn finish(self) -> Vec<u8> {
        self.out
    }

    fn set_value(&mut self, slot: &Slot, kind: MetricKind, form: TimerFamily) {
        // The histogram of the previous series stays for now: its buckets' memory is used again.
        let Metric { gauge, counter, summary, histogram, .. } = &mut self.metric;
        (*gauge, *counter, *summary) = (None, None, None);
        let created_timestamp = Timestamp::of(slot.created_ms);
        match (&slot.shown, form) {
            (Shown::Timer(total), TimerFamily::Histogram) => {
                let histogram = histogram.get_or_insert_default();
                set_histogram(histogram, total);
                histogram.created_timestamp = created_timestamp;
                return;
            }
            (Shown::Timer(total), TimerFamily::Summary) => {
                let message = Summary { created_timestamp, ..summary_of(total, self.quantiles) };
                *summary = Some(message);
            }
            (Shown::Total { shown: value, .. } | Shown::Last(value), _) => {
                let value = *value;
                match metric_type(kind, form) {
                    MetricType::Counter => *counter = Some(Counter { value, created_timestamp }),
                    _ => *gauge = Some(Gauge { value }),
                }
            }
        }
        *histogram = None;
    }
}

fn metric_type(kind: MetricKind, form: TimerFamily) -> MetricType {
    match (kind, form) {
        (MetricKind::Counter | MetricKind::Trace, _) => MetricType::Counter,
        (MetricKind::Gauge | MetricKind::Set, _) => MetricType::Gauge,
        (MetricKind::Timer, TimerFamily::Summary) => MetricType::Summary,
        (MetricKind::Timer, TimerFamily::Histogram) => MetricType::Histogram,
    }
}

fn summary_of(total: &TimerTotal, quantiles: &[f64]) -> Summary {
    let quantiles = quantiles.iter().zip(&total.percentiles);
    Summary {
        sample_count: total.count.value().round() as u64,
        sample_sum: total.sum.value(),
        quantile: quantiles
            .map(|(quantile, value)| Quantile { quantile: *quantile, value: *value })
            .collect(),
        created_timestamp: None,
    }
}

fn set_histogram(histogram: &mut Histogram, total: &TimerTotal) {
    histogram.sample_count = total.histogram_count() as u64;
    histogram.sample_sum = total.sum.value();
    histogram.bucket.clear();
    // Without the bucket +Inf, whose count is `sample_count`.
    histogram.bucket.extend(total.classic_buckets().map(|(upper_bound, count)| {
        let cumulative_count = count as u64;
        ClassicBucket { cumulative_count, upper_bound }
    }));
    if let Some(native) = &total.native {
        histogram.set_native(native);
    }
}
