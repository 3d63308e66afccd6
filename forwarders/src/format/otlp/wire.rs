//! Appends data points in the encoding of protobuf, each as a field of its metric.

use prost::encoding::{encode_varint, encoded_len_varint};

use super::histogram::{DenseBuckets, HistogramPoint};
use super::{Attribute, PointTimes, attributes};
use model::{MetricKind, Series};

/// The key of a field: its number and the form of its value.
const fn varint_key(number: u8) -> u8 {
    number << 3
}

const fn fixed64_key(number: u8) -> u8 {
    number << 3 | 1
}

/// The key of a field with a length: a text, a message or packed numbers.
pub(super) const fn bytes_key(number: u8) -> u8 {
    number << 3 | 2
}

/// The field of a metric's data with its points.
const DATA_POINTS: u8 = 1;
/// The flag of a point without a value, which ends a series.
const NO_RECORDED_VALUE: u8 = 1;

/// The fields of `NumberDataPoint`.
mod number {
    pub(super) const START: u8 = 2;
    pub(super) const TIME: u8 = 3;
    pub(super) const AS_DOUBLE: u8 = 4;
    pub(super) const ATTRIBUTES: u8 = 7;
    pub(super) const FLAGS: u8 = 8;
}

/// The fields of `ExponentialHistogramDataPoint`.
mod histogram {
    pub(super) const ATTRIBUTES: u8 = 1;
    pub(super) const START: u8 = 2;
    pub(super) const TIME: u8 = 3;
    pub(super) const COUNT: u8 = 4;
    pub(super) const SUM: u8 = 5;
    pub(super) const SCALE: u8 = 6;
    pub(super) const ZERO_COUNT: u8 = 7;
    pub(super) const POSITIVE: u8 = 8;
    pub(super) const NEGATIVE: u8 = 9;
    pub(super) const FLAGS: u8 = 10;
    pub(super) const MIN: u8 = 12;
    pub(super) const MAX: u8 = 13;
}

/// Appends a point of a gauge or a sum.
pub(crate) fn write_number(out: &mut Vec<u8>, series: &Series, times: PointTimes, value: f64) {
    write_nested(out, DATA_POINTS, |out| {
        write_number_identity(out, series, times);
        write_double(out, number::AS_DOUBLE, value);
    });
}

/// Appends a point of an exponential histogram.
pub(crate) fn write_histogram(
    out: &mut Vec<u8>,
    series: &Series,
    times: PointTimes,
    point: &HistogramPoint,
) {
    write_nested(out, DATA_POINTS, |out| {
        write_histogram_identity(out, series, times);
        write_fixed64(out, histogram::COUNT, point.count);
        if let Some(sum) = point.sum {
            write_double(out, histogram::SUM, sum);
        }
        out.push(varint_key(histogram::SCALE));
        encode_varint(zigzag(point.scale), out);
        write_fixed64(out, histogram::ZERO_COUNT, point.zero);
        write_buckets(out, histogram::POSITIVE, &point.positive);
        write_buckets(out, histogram::NEGATIVE, &point.negative);
        if point.count > 0 {
            write_double(out, histogram::MIN, point.min);
            write_double(out, histogram::MAX, point.max);
        }
    });
}

/// Appends a point that ends a series of sums or histograms.
pub(crate) fn write_end(out: &mut Vec<u8>, series: &Series, times: PointTimes) {
    write_nested(out, DATA_POINTS, |out| {
        let flags = if series.kind() == MetricKind::Timer {
            write_histogram_identity(out, series, times);
            histogram::FLAGS
        } else {
            write_number_identity(out, series, times);
            number::FLAGS
        };
        out.extend_from_slice(&[varint_key(flags), NO_RECORDED_VALUE]);
    });
}

fn write_number_identity(out: &mut Vec<u8>, series: &Series, times: PointTimes) {
    write_attributes(out, number::ATTRIBUTES, series);
    // The value of a gauge is not that of a period.
    if series.kind() != MetricKind::Gauge {
        write_fixed64(out, number::START, times.start_ns);
    }
    write_fixed64(out, number::TIME, times.end_ns);
}

fn write_histogram_identity(out: &mut Vec<u8>, series: &Series, times: PointTimes) {
    write_attributes(out, histogram::ATTRIBUTES, series);
    write_fixed64(out, histogram::START, times.start_ns);
    write_fixed64(out, histogram::TIME, times.end_ns);
}

fn write_attributes(out: &mut Vec<u8>, number: u8, series: &Series) {
    for (key, value) in attributes(series) {
        write_attribute(out, number, key, &value);
    }
}

fn write_attribute(out: &mut Vec<u8>, number: u8, key: &str, value: &Attribute<'_>) {
    let value_length = match value {
        Attribute::Text(text) => text_length(text),
        Attribute::Bool(_) => 2,
    };
    out.push(bytes_key(number));
    encode_varint((text_length(key) + 1 + varint_length(value_length) + value_length) as u64, out);
    write_text(out, 1, key);
    out.push(bytes_key(2));
    encode_varint(value_length as u64, out);
    match value {
        Attribute::Text(text) => write_text(out, 1, text),
        Attribute::Bool(is_true) => out.extend_from_slice(&[varint_key(2), u8::from(*is_true)]),
    }
}

/// Appends an attribute with a text as value.
pub(super) fn write_text_attribute(out: &mut Vec<u8>, number: u8, key: &str, value: &str) {
    write_attribute(out, number, key, &Attribute::Text(value));
}

fn write_buckets(out: &mut Vec<u8>, number: u8, buckets: &DenseBuckets) {
    if buckets.counts.is_empty() {
        return;
    }
    write_nested(out, number, |out| {
        out.push(varint_key(1));
        encode_varint(zigzag(buckets.offset), out);
        write_nested(out, 2, |out| {
            for count in &buckets.counts {
                // Most counts are small.
                if *count < 0x80 { out.push(*count as u8) } else { encode_varint(*count, out) }
            }
        });
    });
}

/// Appends a field with a message.
pub(super) fn write_nested(out: &mut Vec<u8>, number: u8, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(bytes_key(number));
    let start = out.len();
    write(out);
    let length = out.len() - start;
    let digits = varint_length(length);
    // The length comes first and is known last, so the message is moved to make room for it.
    out.resize(start + length + digits, 0);
    out.copy_within(start..start + length, start + digits);
    encode_varint(length as u64, &mut &mut out[start..start + digits]);
}

pub(super) fn write_text(out: &mut Vec<u8>, number: u8, text: &str) {
    out.push(bytes_key(number));
    encode_varint(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

fn write_fixed64(out: &mut Vec<u8>, number: u8, value: u64) {
    out.push(fixed64_key(number));
    out.extend_from_slice(&value.to_le_bytes());
}

fn write_double(out: &mut Vec<u8>, number: u8, value: f64) {
    write_fixed64(out, number, value.to_bits());
}

/// The length of a text field, whose key has one byte.
pub(super) fn text_length(text: &str) -> usize {
    1 + varint_length(text.len()) + text.len()
}

pub(super) fn varint_length(number: usize) -> usize {
    encoded_len_varint(number as u64)
}

fn zigzag(number: i32) -> u64 {
    u64::from(((number << 1) ^ (number >> 31)) as u32)
}
