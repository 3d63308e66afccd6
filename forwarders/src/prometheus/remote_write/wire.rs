//! The protobuf messages of remote write 1.0.
//!
//! A payload is one or more `timeseries` fields of the message `WriteRequest`, so concatenated
//! payloads are a `WriteRequest` again. Each series has one sample.

use prost::{Message, decode_length_delimiter};

use crate::prometheus::names::{FamilyName, quantile};
use crate::prometheus::page::whole;
use crate::prometheus::state::{Shown, Slot};
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

/// A series and its only sample.
#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    /// Sorted by name, as the protocol requires.
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
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
    /// The current message; its memory is reused for the next.
    message: TimeSeries,
}

impl Encoder {
    pub(super) fn new(percentiles: &[Percentile]) -> Self {
        Self {
            quantiles: percentiles.iter().map(quantile).collect(),
            message: TimeSeries { labels: Vec::new(), samples: vec![Sample::default()] },
        }
    }

    /// Appends the samples of a series at a time in Unix milliseconds.
    pub(super) fn write(&mut self, out: &mut Vec<u8>, name: &FamilyName, slot: &Slot, at_ms: u64) {
        self.for_each_sample(name, slot, |message, value| message.write(out, value, at_ms));
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
    }

    /// Calls `each` with the labels and the value of each sample that the series shows.
    fn for_each_sample(
        &mut self,
        name: &FamilyName,
        slot: &Slot,
        mut each: impl FnMut(&mut TimeSeries, f64),
    ) {
        let Self { quantiles, message } = self;
        let labels = || slot.series.tags().chain([(NAME, name.sample.as_str())]);
        match &slot.shown {
            Shown::Total { shown: value, .. } | Shown::Last(value) => {
                message.set_labels(labels());
                each(message, *value);
            }
            Shown::Summary { count, sum, percentiles } => {
                // Sorted once with the label at its place; from percentile to percentile only its
                // value changes.
                message.set_labels(labels().chain([(QUANTILE, "")]));
                for (quantile, value) in quantiles.iter().zip(percentiles) {
                    message.label(QUANTILE).clone_from(quantile);
                    each(message, *value);
                }
                // Removing a label keeps the others sorted.
                message.labels.retain(|label| label.name != QUANTILE);
                for (suffix, value) in [("_sum", sum.value()), ("_count", whole(count.value()))] {
                    *message.label(NAME) = format!("{}{suffix}", name.sample);
                    each(message, value);
                }
            }
        }
    }
}

impl TimeSeries {
    /// Replaces the labels. Reuses the strings, because allocating two per label would double the
    /// time that a window takes.
    fn set_labels<'a>(&mut self, labels: impl Iterator<Item = (&'a str, &'a str)>) {
        let mut count = 0;
        for (name, value) in labels {
            if count == self.labels.len() {
                self.labels.push(Label::default());
            }
            let label = &mut self.labels[count];
            name.clone_into(&mut label.name);
            value.clone_into(&mut label.value);
            count += 1;
        }
        self.labels.truncate(count);
        self.labels.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    }

    /// Returns the value of a label, which must exist.
    fn label(&mut self, name: &str) -> &mut String {
        let place = self.labels.iter().position(|label| label.name == name).unwrap_or_default();
        &mut self.labels[place].value
    }

    /// Appends the series with one sample as a field of a request.
    fn write(&mut self, out: &mut Vec<u8>, value: f64, at_ms: u64) {
        self.samples[0] = Sample { value, timestamp: at_ms as i64 };
        out.push(TIMESERIES);
        let encoded = self.encode_length_delimited(out);
        debug_assert!(encoded.is_ok(), "a vector has room");
    }
}

/// Returns a stale marker, at a time in Unix milliseconds, of a series that has no samples.
pub(super) fn marker(run: u64, at_ms: u64) -> Vec<u8> {
    let mut message = TimeSeries { labels: Vec::new(), samples: vec![Sample::default()] };
    let run = format!("{run:016x}");
    message.set_labels([(NAME, MARKER), ("run", run.as_str())].into_iter());
    let mut out = Vec::new();
    message.write(&mut out, STALE, at_ms);
    out
}

/// Returns the number of series in a payload, each of which has one sample.
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
        let mut message = TimeSeries { labels: Vec::new(), samples: vec![Sample::default()] };
        message.set_labels([("b", "12345"), ("c", "x")].into_iter());
        message.set_labels([("a", "1"), (NAME, "up")].into_iter());
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
