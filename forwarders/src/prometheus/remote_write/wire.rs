//! The protobuf messages of remote write 1.0, written by hand: there are four of them, and what a
//! series has in common in all its samples is encoded once.
//!
//! ```text
//! WriteRequest { repeated TimeSeries timeseries = 1 }
//! TimeSeries   { repeated Label labels = 1; repeated Sample samples = 2 }
//! Label        { string name = 1; string value = 2 }
//! Sample       { double value = 1; int64 timestamp = 2 }
//! ```
//!
//! A payload is one or more fields `timeseries` of a `WriteRequest`, so payloads one after the
//! other are a `WriteRequest`.

use crate::leb128;
use crate::prometheus::names::{FamilyName, quantile};
use crate::prometheus::page::whole;
use crate::prometheus::state::{Shown, Slot};
use model::Percentile;

/// The value that says that a series ends here, a NaN that no calculation yields.
pub(super) const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// Field 1, length-delimited: `timeseries`, `labels`, `name`.
const FIELD_1: u8 = 1 << 3 | 2;
/// Field 2, length-delimited: `samples`, `value` of a label.
const FIELD_2: u8 = 2 << 3 | 2;
/// Field 1, 64 bits: the value of a sample.
const VALUE: u8 = 1 << 3 | 1;
/// Field 2, varint: the timestamp of a sample.
const TIMESTAMP: u8 = 2 << 3;

/// Encodes series.
pub(super) struct Encoder {
    quantiles: Vec<String>,
    /// The labels of the series at hand, encoded, without those that differ between its samples.
    labels: Vec<u8>,
    /// Where in `labels` the metric's name belongs: labels are sorted.
    name_at: usize,
    /// Where the quantile belongs.
    quantile_at: usize,
    name: Vec<u8>,
    quantile: Vec<u8>,
}

impl Encoder {
    pub(super) fn new(percentiles: &[Percentile]) -> Self {
        Self {
            quantiles: percentiles.iter().map(quantile).collect(),
            labels: Vec::new(),
            name_at: 0,
            quantile_at: 0,
            name: Vec::new(),
            quantile: Vec::new(),
        }
    }

    /// Appends what the series shows, as of a moment in Unix milliseconds.
    pub(super) fn write(&mut self, out: &mut Vec<u8>, name: &FamilyName, slot: &Slot, at_ms: u64) {
        self.each_sample(name, slot, |encoder, value| encoder.time_series(out, value, at_ms));
    }

    /// Appends that the series has ended.
    pub(super) fn write_end(
        &mut self,
        out: &mut Vec<u8>,
        name: &FamilyName,
        slot: &Slot,
        at_ms: u64,
    ) {
        self.each_sample(name, slot, |encoder, _| encoder.time_series(out, STALE, at_ms));
    }

    fn each_sample(
        &mut self,
        name: &FamilyName,
        slot: &Slot,
        mut each: impl FnMut(&mut Self, f64),
    ) {
        self.take_labels(slot);
        self.take_name(&name.sample, "");
        self.quantile.clear();
        match &slot.shown {
            Shown::Total { shown, .. } => each(self, *shown),
            Shown::Last(value) => each(self, *value),
            Shown::Summary { count, sum, percentiles } => {
                for (index, value) in percentiles.iter().enumerate().take(self.quantiles.len()) {
                    self.quantile.clear();
                    label(&mut self.quantile, "quantile", &self.quantiles[index]);
                    each(self, *value);
                }
                self.quantile.clear();
                self.take_name(&name.sample, "_sum");
                each(self, sum.value());
                self.take_name(&name.sample, "_count");
                each(self, whole(count.value()));
            }
        }
    }

    fn take_labels(&mut self, slot: &Slot) {
        self.labels.clear();
        (self.name_at, self.quantile_at) = (0, 0);
        for (name, value) in slot.series.tags() {
            label(&mut self.labels, name, value);
            if name < "__name__" {
                self.name_at = self.labels.len();
            }
            if name < "quantile" {
                self.quantile_at = self.labels.len();
            }
        }
    }

    fn take_name(&mut self, name: &str, suffix: &str) {
        self.name.clear();
        label_of(&mut self.name, "__name__", name, suffix);
    }

    /// One `TimeSeries` with one sample.
    fn time_series(&self, out: &mut Vec<u8>, value: f64, at_ms: u64) {
        let sample_len = 1 + size_of::<f64>() + 1 + varint_len(at_ms);
        let labels_len = self.labels.len() + self.name.len() + self.quantile.len();
        out.push(FIELD_1);
        leb128::write(out, (labels_len + 1 + varint_len(sample_len as u64) + sample_len) as u64);
        // `__name__` sorts before `quantile`, so its place is not behind.
        out.extend_from_slice(&self.labels[..self.name_at]);
        out.extend_from_slice(&self.name);
        out.extend_from_slice(&self.labels[self.name_at..self.quantile_at]);
        out.extend_from_slice(&self.quantile);
        out.extend_from_slice(&self.labels[self.quantile_at..]);
        out.push(FIELD_2);
        leb128::write(out, sample_len as u64);
        out.push(VALUE);
        out.extend_from_slice(&value.to_le_bytes());
        out.push(TIMESTAMP);
        leb128::write(out, at_ms);
    }
}

/// How many `TimeSeries` a payload has, each with one sample.
pub(super) fn samples(mut payload: &[u8]) -> usize {
    let mut count = 0;
    while let [FIELD_1, rest @ ..] = payload {
        let Some((len, used)) = read_varint(rest) else { break };
        payload = rest.get(used + len..).unwrap_or_default();
        count += 1;
    }
    count
}

fn label(out: &mut Vec<u8>, name: &str, value: &str) {
    label_of(out, name, value, "");
}

/// A label whose value is in two parts.
fn label_of(out: &mut Vec<u8>, name: &str, value: &str, suffix: &str) {
    let value_len = value.len() + suffix.len();
    let (name_bytes, value_bytes) = (varint_len(name.len() as u64), varint_len(value_len as u64));
    out.push(FIELD_1);
    leb128::write(out, (1 + name_bytes + name.len() + 1 + value_bytes + value_len) as u64);
    out.push(FIELD_1);
    leb128::write(out, name.len() as u64);
    out.extend_from_slice(name.as_bytes());
    out.push(FIELD_2);
    leb128::write(out, value_len as u64);
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(suffix.as_bytes());
}

fn varint_len(number: u64) -> usize {
    let bits = (u64::BITS - number.leading_zeros()).max(1) as usize;
    bits.div_ceil(7)
}

/// A number and how many bytes it takes.
fn read_varint(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut number = 0;
    for (index, byte) in bytes.iter().enumerate().take(5) {
        number |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((number, index + 1));
        }
    }
    None
}
