//! The protobuf messages of remote write 1.0.
//!
//! A payload is one or more `timeseries` fields of the message `WriteRequest`, so concatenated
//! payloads are a `WriteRequest` again. Each series has one sample or one native histogram.

use prost::{Message, decode_length_delimiter};

use super::labels::{EncodedLabels, TIMESERIES, write_label};
use crate::prometheus::messages::{BucketSpan, set_buckets};
use crate::prometheus::names::{FamilyName, le, quantile};
use crate::prometheus::native::NativeHistogram;
use crate::prometheus::state::{Shown, Slot};
use crate::prometheus::timer_total::{TimerTotal, whole};
use crate::prometheus::timers::{TimerFamily, TimerForms};
use model::{Percentile, Series};

/// The value that marks the end of a series: a NaN that Prometheus reserves and no calculation
/// yields.
pub(super) const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// The label with the name of the metric.
const NAME: &str = "__name__";
/// The name of the series that shows whether the server accepts data.
const MARKER: &str = "tallyd_remote_write_check";
/// The label with the quantile of a summary.
const QUANTILE: &str = "quantile";
/// The label with the upper bound of a classic bucket.
const LE: &str = "le";

/// A native histogram with whole counts.
#[derive(Clone, PartialEq, Message)]
struct Histogram {
    /// Written even if it is 0, because its presence says that the counts are whole numbers.
    #[prost(uint64, optional, tag = "1")]
    count: Option<u64>,
    #[prost(double, tag = "3")]
    sum: f64,
    #[prost(sint32, tag = "4")]
    schema: i32,
    #[prost(double, tag = "5")]
    zero_threshold: f64,
    #[prost(uint64, optional, tag = "6")]
    zero_count: Option<u64>,
    #[prost(message, repeated, tag = "8")]
    negative_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "9")]
    negative_deltas: Vec<i64>,
    #[prost(message, repeated, tag = "11")]
    positive_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "12")]
    positive_deltas: Vec<i64>,
    /// Unix milliseconds.
    #[prost(int64, tag = "15")]
    timestamp: i64,
}

impl Histogram {
    fn set(&mut self, native: &NativeHistogram, sum: f64) {
        (self.count, self.zero_count) = (Some(native.count()), Some(native.zero_count()));
        (self.sum, self.schema) = (sum, native.schema());
        set_buckets(&mut self.positive_spans, &mut self.positive_deltas, native.positive());
        set_buckets(&mut self.negative_spans, &mut self.negative_deltas, native.negative());
    }

    /// Turns it into the stale marker that ends a series of histograms.
    fn set_stale(&mut self) {
        *self = Self { count: Some(0), zero_count: Some(0), sum: STALE, ..Self::default() };
    }
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    /// Unix milliseconds.
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

/// Encodes series as fields of a `WriteRequest`. Labels are most of the bytes, so they are encoded once
/// for all samples of a family.
pub(super) struct Encoder {
    at_ms: i64,
    forms: TimerForms,
    /// The encoded label of each quantile.
    quantiles: Vec<Vec<u8>>,
    bounds: EncodedBounds,
    labels: EncodedLabels,
    /// The following keep their memory from series to series.
    native: Histogram,
    name: String,
    label: Vec<u8>,
    value: Vec<u8>,
}

impl Encoder {
    /// An encoder for a window that ends at a time in Unix milliseconds.
    pub(super) fn new(percentiles: &[Percentile], forms: &TimerForms, at_ms: u64) -> Self {
        let quantiles = percentiles.iter().map(|each| encoded(QUANTILE, &quantile(each)));
        Self {
            at_ms: at_ms as i64,
            forms: forms.clone(),
            quantiles: quantiles.collect(),
            bounds: EncodedBounds::default(),
            labels: EncodedLabels::default(),
            native: Histogram::default(),
            name: String::new(),
            label: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Appends the samples of a series.
    pub(super) fn write(&mut self, out: &mut Vec<u8>, name: &FamilyName, slot: &Slot) {
        self.write_series(out, name, slot, false);
    }

    /// Appends stale markers for all samples of a series.
    pub(super) fn write_end(&mut self, out: &mut Vec<u8>, name: &FamilyName, slot: &Slot) {
        self.write_series(out, name, slot, true);
    }

    fn write_series(&mut self, out: &mut Vec<u8>, name: &FamilyName, slot: &Slot, is_end: bool) {
        match &slot.shown {
            Shown::Total { shown: value, .. } | Shown::Last(value) => {
                self.labels.set(slot.series.tags(), NAME);
                self.name.clone_from(&name.sample);
                set_sample(&mut self.value, shown(*value, is_end), self.at_ms);
                self.write_named(out, "");
            }
            Shown::Timer(total) => {
                for (family, suffix) in self.forms.families() {
                    self.name.clear();
                    self.name.push_str(&name.sample);
                    self.name.push_str(suffix);
                    match family {
                        TimerFamily::Summary => self.summary(out, &slot.series, total, is_end),
                        TimerFamily::Histogram => self.histogram(out, &slot.series, total, is_end),
                    }
                }
            }
        }
    }

    fn summary(&mut self, out: &mut Vec<u8>, series: &Series, total: &TimerTotal, is_end: bool) {
        self.labels.set(series.tags().chain([(NAME, self.name.as_str())]), QUANTILE);
        for (label, value) in self.quantiles.iter().zip(&total.percentiles) {
            set_sample(&mut self.value, shown(*value, is_end), self.at_ms);
            self.labels.write(out, label, &self.value);
        }
        self.labels.set(series.tags(), NAME);
        self.sum_and_count(out, total, whole(total.count.value()), is_end);
    }

    /// Appends the classic buckets and the native histogram, as far as the timer has them.
    fn histogram(&mut self, out: &mut Vec<u8>, series: &Series, total: &TimerTotal, is_end: bool) {
        if let Some(classic) = &total.classic {
            self.bounds.set(classic.bounds());
            self.classic(out, series, total, is_end);
        }
        if let Some(native) = &total.native {
            self.labels.set(series.tags(), NAME);
            if is_end {
                self.native.set_stale();
            } else {
                self.native.set(native, total.sum.value());
            }
            self.native.timestamp = self.at_ms;
            self.value.clear();
            prost::encoding::message::encode(4, &self.native, &mut self.value);
            self.write_named(out, "");
        }
    }

    fn classic(&mut self, out: &mut Vec<u8>, series: &Series, total: &TimerTotal, is_end: bool) {
        let count = total.histogram_count();
        let name = self.name.len();
        self.name.push_str("_bucket");
        self.labels.set(series.tags().chain([(NAME, self.name.as_str())]), LE);
        self.name.truncate(name);
        let samples = total.classic_buckets().map(|(_, samples)| samples).chain([count]);
        for (label, samples) in self.bounds.labels.iter().zip(samples) {
            set_sample(&mut self.value, shown(samples, is_end), self.at_ms);
            self.labels.write(out, label, &self.value);
        }
        self.labels.set(series.tags(), NAME);
        self.sum_and_count(out, total, count, is_end);
    }

    fn sum_and_count(&mut self, out: &mut Vec<u8>, total: &TimerTotal, count: f64, is_end: bool) {
        for (suffix, value) in [("_sum", total.sum.value()), ("_count", count)] {
            set_sample(&mut self.value, shown(value, is_end), self.at_ms);
            self.write_named(out, suffix);
        }
    }

    /// Appends the sample or histogram in `value`, for which the labels leave only the name open.
    fn write_named(&mut self, out: &mut Vec<u8>, suffix: &str) {
        self.label.clear();
        let name = self.name.len();
        self.name.push_str(suffix);
        write_label(&mut self.label, NAME, &self.name);
        self.name.truncate(name);
        self.labels.write(out, &self.label, &self.value);
    }
}

/// The labels of the bounds of classic buckets, encoded. Successive series usually have the same
/// bounds, and formatting numbers takes longer than encoding a series.
#[derive(Default)]
struct EncodedBounds {
    bounds: Vec<f64>,
    /// The label of each bound, and that of the bucket +Inf.
    labels: Vec<Vec<u8>>,
}

impl EncodedBounds {
    fn set(&mut self, bounds: &[f64]) {
        if self.labels.is_empty() || self.bounds != bounds {
            self.bounds = bounds.to_vec();
            let labels = self.bounds.iter().map(|bound| encoded(LE, &le(*bound)));
            self.labels = labels.chain([encoded(LE, "+Inf")]).collect();
        }
    }
}

fn encoded(name: &str, value: &str) -> Vec<u8> {
    let mut label = Vec::new();
    write_label(&mut label, name, value);
    label
}

/// The value of a sample, or the marker of its end.
fn shown(value: f64, is_end: bool) -> f64 {
    if is_end { STALE } else { value }
}

/// Replaces `field` with a sample as a field of its series.
fn set_sample(field: &mut Vec<u8>, value: f64, at_ms: i64) {
    field.clear();
    prost::encoding::message::encode(2, &Sample { value, timestamp: at_ms }, field);
}

/// Returns a stale marker, at a time in Unix milliseconds, of a series that has no samples.
pub(super) fn marker(run: u64, at_ms: u64) -> Vec<u8> {
    let (mut labels, mut sample, mut out) = (EncodedLabels::default(), Vec::new(), Vec::new());
    let run = format!("{run:016x}");
    labels.set([("run", run.as_str())].into_iter(), NAME);
    set_sample(&mut sample, STALE, at_ms as i64);
    labels.write(&mut out, &encoded(NAME, MARKER), &sample);
    out
}

/// Returns the number of series in a payload, each of which has one sample or histogram.
pub(super) fn samples(mut payload: &[u8]) -> usize {
    let mut count = 0;
    while let [TIMESERIES, rest @ ..] = payload {
        let mut rest = rest;
        let Ok(bytes) = decode_length_delimiter(&mut rest) else { break };
        payload = rest.get(bytes..).unwrap_or_default();
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_has_the_bytes_that_the_protocol_defines() {
        let mut labels = EncodedLabels::default();
        labels.set([("b", "12345"), ("c", "x")].into_iter(), NAME);
        labels.set([("a", "1")].into_iter(), NAME);
        let (mut out, mut value) = (Vec::new(), Vec::new());
        set_sample(&mut value, -1.5, 1_490_114_074_000);
        labels.write(&mut out, &encoded(NAME, "up"), &value);
        let labels = [b"\x0a\x0e\x0a\x08__name__\x12\x02up", &b"\x0a\x06\x0a\x01a\x12\x011"[..]];
        let sample = b"\x12\x10\x09\0\0\0\0\0\0\xf8\xbf\x10\x90\xab\xe1\x8d\xaf\x2b";
        let series = [labels.concat(), sample.to_vec()].concat();
        assert_eq!(out, [&[0x0a, series.len() as u8], &series[..]].concat());
        out.extend(marker(7, 1));
        assert_eq!(samples(&out), 2);
        assert_eq!(samples(&out[..out.len() - 1]), 2, "a cut payload is no reason to panic");
    }

    #[test]
    fn the_labels_of_bounds_follow_the_list() {
        let mut bounds = EncodedBounds::default();
        for list in [&[][..], &[0.5, 10.0], &[0.5], &[1e6]] {
            bounds.set(list);
            let labels: Vec<_> = list.iter().map(|bound| encoded(LE, &le(*bound))).collect();
            assert_eq!(bounds.labels, [labels, vec![encoded(LE, "+Inf")]].concat());
        }
    }
}
