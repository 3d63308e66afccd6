//! The protobuf messages of remote write 1.0.
//!
//! A payload is one or more `timeseries` fields of the message `WriteRequest`, so concatenated
//! payloads are a `WriteRequest` again. Each series has one sample or one native histogram.

use prost::{Message, decode_length_delimiter};

use crate::prometheus::messages::{BucketSpan, Label, set_buckets, set_labels};
use crate::prometheus::names::{FamilyName, le, quantile};
use crate::prometheus::native::NativeHistogram;
use crate::prometheus::state::{Shown, Slot};
use crate::prometheus::timer_total::{TimerTotal, whole};
use crate::prometheus::timers::{TimerFamily, TimerForms};
use model::Percentile;

/// The value that marks the end of a series: a NaN that Prometheus reserves and no calculation
/// yields.
pub(super) const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// The protobuf key of the only field of `WriteRequest`: number 1, length-delimited.
const TIMESERIES: u8 = 1 << 3 | 2;

/// The label with the name of the metric.
const NAME: &str = "__name__";
/// The name of the series that shows whether the server accepts data.
const MARKER: &str = "tallyd_remote_write_check";
/// The label with the quantile of a summary.
const QUANTILE: &str = "quantile";
/// The label with the upper bound of a classic bucket.
const LE: &str = "le";

/// A series and its only sample or histogram.
#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    /// Sorted by name, as the protocol requires.
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    histograms: Vec<Histogram>,
}

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

/// Encodes series as fields of a `WriteRequest`.
pub(super) struct Encoder {
    quantiles: Vec<String>,
    forms: TimerForms,
    /// The current message; its memory is reused for the next.
    message: TimeSeries,
    /// The current message with a native histogram instead of a sample; its memory is reused too.
    native: TimeSeries,
}

impl Encoder {
    pub(super) fn new(percentiles: &[Percentile], forms: &TimerForms) -> Self {
        let native = TimeSeries { histograms: vec![Histogram::default()], ..TimeSeries::default() };
        Self {
            quantiles: percentiles.iter().map(quantile).collect(),
            forms: forms.clone(),
            message: TimeSeries { samples: vec![Sample::default()], ..TimeSeries::default() },
            native,
        }
    }

    /// Appends the samples of a series at a time in Unix milliseconds.
    pub(super) fn write(&mut self, out: &mut Vec<u8>, name: &FamilyName, slot: &Slot, at_ms: u64) {
        self.for_each_sample(name, slot, |message, value| message.write(out, value, at_ms));
        self.write_native(out, name, slot, at_ms, |histogram, native, sum| {
            histogram.set(native, sum);
        });
    }

    /// Appends stale markers for all samples of a series.
    pub(super) fn write_end(
        &mut self,
        out: &mut Vec<u8>,
        name: &FamilyName,
        slot: &Slot,
        at_ms: u64,
    ) {
        self.for_each_sample(name, slot, |message, _| message.write(out, STALE, at_ms));
        self.write_native(out, name, slot, at_ms, |histogram, _, _| histogram.set_stale());
    }

    /// Appends the native histogram of a series, if it has one.
    fn write_native(
        &mut self,
        out: &mut Vec<u8>,
        name: &FamilyName,
        slot: &Slot,
        at_ms: u64,
        set: impl FnOnce(&mut Histogram, &NativeHistogram, f64),
    ) {
        let Shown::Timer(total) = &slot.shown else { return };
        let Some(native) = &total.native else { return };
        let families = self.forms.families();
        let family = families.iter().find(|(family, _)| *family == TimerFamily::Histogram);
        let Some((_, suffix)) = family else { return };
        let name = format!("{}{suffix}", name.sample);
        let labels = slot.series.tags().chain([(NAME, name.as_str())]);
        set_labels(&mut self.native.labels, labels);
        let histogram = &mut self.native.histograms[0];
        set(histogram, native, total.sum.value());
        histogram.timestamp = at_ms as i64;
        self.native.append(out);
    }

    /// Calls `each` with the labels and the value of each sample that the series shows.
    fn for_each_sample(
        &mut self,
        name: &FamilyName,
        slot: &Slot,
        mut each: impl FnMut(&mut TimeSeries, f64),
    ) {
        let Self { quantiles, message, forms, .. } = self;
        match &slot.shown {
            Shown::Total { shown: value, .. } | Shown::Last(value) => {
                let labels = slot.series.tags().chain([(NAME, name.sample.as_str())]);
                set_labels(&mut message.labels, labels);
                each(message, *value);
            }
            Shown::Timer(total) => {
                for (family, suffix) in forms.families() {
                    let name = format!("{}{suffix}", name.sample);
                    let mut timer =
                        TimerSamples { message: &mut *message, name: &name, slot, total };
                    match family {
                        TimerFamily::Summary => timer.summary(quantiles, &mut each),
                        TimerFamily::Histogram => timer.histogram(&mut each),
                    }
                }
            }
        }
    }
}

/// The samples of one family of a timer.
struct TimerSamples<'a> {
    message: &'a mut TimeSeries,
    name: &'a str,
    slot: &'a Slot,
    total: &'a TimerTotal,
}

impl TimerSamples<'_> {
    fn summary(&mut self, quantiles: &[String], each: &mut impl FnMut(&mut TimeSeries, f64)) {
        self.labels(self.name, QUANTILE);
        for (quantile, value) in quantiles.iter().zip(&self.total.percentiles) {
            self.message.label(QUANTILE).clone_from(quantile);
            each(self.message, *value);
        }
        self.sum_and_count(QUANTILE, whole(self.total.count.value()), each);
    }

    /// The classic buckets; a native histogram alone has no samples.
    fn histogram(&mut self, each: &mut impl FnMut(&mut TimeSeries, f64)) {
        if self.total.classic.is_none() {
            return;
        }
        self.labels(&format!("{}_bucket", self.name), LE);
        for (bound, samples) in self.total.classic_buckets() {
            *self.message.label(LE) = le(bound);
            each(self.message, samples);
        }
        "+Inf".clone_into(self.message.label(LE));
        let count = self.total.histogram_count();
        each(self.message, count);
        self.sum_and_count(LE, count, each);
    }

    /// Sets the name, the labels of the series, and a label `other` whose value is still empty. The
    /// labels are sorted only once: from sample to sample, only the value of `other` changes.
    fn labels(&mut self, name: &str, other: &str) {
        let labels = self.slot.series.tags().chain([(NAME, name), (other, "")]);
        set_labels(&mut self.message.labels, labels);
    }

    fn sum_and_count(
        &mut self,
        other: &str,
        count: f64,
        each: &mut impl FnMut(&mut TimeSeries, f64),
    ) {
        // Removing a label keeps the others sorted.
        self.message.labels.retain(|label| label.name != other);
        for (suffix, value) in [("_sum", self.total.sum.value()), ("_count", count)] {
            *self.message.label(NAME) = format!("{}{suffix}", self.name);
            each(self.message, value);
        }
    }
}

impl TimeSeries {
    /// Returns the value of a label, which must exist.
    fn label(&mut self, name: &str) -> &mut String {
        let place = self.labels.iter().position(|label| label.name == name).unwrap_or_default();
        &mut self.labels[place].value
    }

    /// Appends the series with one sample as a field of a request.
    fn write(&mut self, out: &mut Vec<u8>, value: f64, at_ms: u64) {
        self.samples[0] = Sample { value, timestamp: at_ms as i64 };
        self.append(out);
    }

    /// Appends the series as a field of a request.
    fn append(&self, out: &mut Vec<u8>) {
        out.push(TIMESERIES);
        let encoded = self.encode_length_delimited(out);
        debug_assert!(encoded.is_ok(), "a vector has room");
    }
}

/// Returns a stale marker, at a time in Unix milliseconds, of a series that has no samples.
pub(super) fn marker(run: u64, at_ms: u64) -> Vec<u8> {
    let mut message = TimeSeries { samples: vec![Sample::default()], ..TimeSeries::default() };
    let run = format!("{run:016x}");
    set_labels(&mut message.labels, [(NAME, MARKER), ("run", run.as_str())].into_iter());
    let mut out = Vec::new();
    message.write(&mut out, STALE, at_ms);
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
        let mut message = TimeSeries { samples: vec![Sample::default()], ..TimeSeries::default() };
        set_labels(&mut message.labels, [("b", "12345"), ("c", "x")].into_iter());
        set_labels(&mut message.labels, [("a", "1"), (NAME, "up")].into_iter());
        let mut out = Vec::new();
        message.write(&mut out, -1.5, 1_490_114_074_000);
        let labels = [b"\x0a\x0e\x0a\x08__name__\x12\x02up", &b"\x0a\x06\x0a\x01a\x12\x011"[..]];
        let sample = b"\x12\x10\x09\0\0\0\0\0\0\xf8\xbf\x10\x90\xab\xe1\x8d\xaf\x2b";
        let series = [labels.concat(), sample.to_vec()].concat();
        assert_eq!(out, [&[0x0a, series.len() as u8], &series[..]].concat());
        message.write(&mut out, STALE, 1);
        assert_eq!(samples(&out), 2);
        assert_eq!(samples(&out[..out.len() - 1]), 2, "a cut payload is no reason to panic");
    }
}
