//! Requests of many points.
//!
//! A payload is one point with its metric in front: the form, the length of the name, the name, and
//! the encoded point. A request writes name and form once for consecutive points of a metric.

use prost::Message;
use prost::encoding::{decode_varint, encode_varint};

use super::form::MetricForm;
use super::messages::{Metric, ScopeMetrics};
use super::wire::{
    bytes_key, text_length, varint_length, write_nested, write_text, write_text_attribute,
};

/// The name of the scope of all metrics.
const SCOPE: &str = "tallyd";

/// The start of each request: the resource and the scope, encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestPrefix {
    /// The field `resource` of `ResourceMetrics`.
    resource: Vec<u8>,
    /// The field `scope` of `ScopeMetrics`.
    scope: Vec<u8>,
}

impl RequestPrefix {
    /// The start of requests about a resource with these attributes.
    pub(crate) fn new<'a>(attributes: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let (mut resource, mut scope) = (Vec::new(), Vec::new());
        write_nested(&mut resource, 1, |out| {
            attributes.for_each(|(key, value)| write_text_attribute(out, 1, key, value));
        });
        write_nested(&mut scope, 1, |out| {
            write_text(out, 1, SCOPE);
            write_text(out, 2, env!("CARGO_PKG_VERSION"));
        });
        Self { resource, scope }
    }
}

/// Appends the metric of a payload; its point follows.
pub(crate) fn write_metric(out: &mut Vec<u8>, form: MetricForm, name: &str) {
    out.push(form.to_byte());
    encode_varint(name.len() as u64, out);
    out.extend_from_slice(name.as_bytes());
}

/// Whether the point of a payload has the increment of its window.
#[cfg(feature = "otlp")]
pub(crate) fn is_increment(payload: &[u8]) -> bool {
    let form = payload.first().and_then(|byte| MetricForm::from_byte(*byte));
    form.is_some_and(MetricForm::is_increment)
}

/// A payload in its parts.
struct Parts<'a> {
    form: MetricForm,
    name: &'a str,
    point: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(payload: &'a [u8]) -> Option<Self> {
        let (byte, mut rest) = payload.split_first()?;
        let length = usize::try_from(decode_varint(&mut rest).ok()?).ok()?;
        let (name, point) = rest.split_at_checked(length)?;
        let name = std::str::from_utf8(name).ok()?;
        Some(Self { form: MetricForm::from_byte(*byte)?, name, point })
    }

    fn is_metric_of(&self, other: &Self) -> bool {
        self.form == other.form && self.name == other.name
    }
}

/// Appends a request with these payloads, in their order. A request without payloads has no resource.
pub(crate) fn write_request(out: &mut Vec<u8>, prefix: &RequestPrefix, payloads: &[&[u8]]) {
    let parts: Vec<Parts<'_>> = payloads.iter().filter_map(|payload| Parts::of(payload)).collect();
    debug_assert_eq!(parts.len(), payloads.len());
    if parts.is_empty() {
        return;
    }
    let metrics: Vec<&[Parts<'_>]> = parts.chunk_by(Parts::is_metric_of).collect();
    let lengths: Vec<MetricLengths> =
        metrics.iter().map(|points| MetricLengths::of(points)).collect();
    let metrics_length: usize = lengths.iter().map(|lengths| field_length(lengths.metric)).sum();
    let scope_length = prefix.scope.len() + metrics_length;
    let resource_length = prefix.resource.len() + field_length(scope_length);
    out.reserve(field_length(resource_length));
    write_start(out, 1, resource_length);
    out.extend_from_slice(&prefix.resource);
    write_start(out, 2, scope_length);
    out.extend_from_slice(&prefix.scope);
    for (points, lengths) in metrics.iter().zip(&lengths) {
        lengths.write(out, points);
    }
}

/// The lengths of the messages of a metric.
struct MetricLengths {
    points: usize,
    data: usize,
    metric: usize,
}

impl MetricLengths {
    fn of(points: &[Parts<'_>]) -> Self {
        let points_length = points.iter().map(|part| part.point.len()).sum();
        let data = points_length + DataShape::of(points[0].form).length();
        Self {
            points: points_length,
            data,
            metric: text_length(points[0].name) + field_length(data),
        }
    }

    fn write(&self, out: &mut Vec<u8>, points: &[Parts<'_>]) {
        let shape = DataShape::of(points[0].form);
        write_start(out, 2, self.metric);
        write_text(out, 1, points[0].name);
        write_start(out, shape.number, self.data);
        let start = out.len();
        points.iter().for_each(|part| out.extend_from_slice(part.point));
        debug_assert_eq!(out.len(), start + self.points);
        shape.write(out);
    }
}

/// The field of a metric with its data, and the fields of the data after the points.
struct DataShape {
    number: u8,
    temporality: Option<u8>,
    is_monotonic: bool,
}

impl DataShape {
    fn of(form: MetricForm) -> Self {
        match form {
            MetricForm::Gauge => Self { number: 5, temporality: None, is_monotonic: false },
            MetricForm::Sum { temporality, is_monotonic } => {
                Self { number: 7, temporality: Some(temporality.number() as u8), is_monotonic }
            }
            MetricForm::Histogram { temporality } => {
                let temporality = Some(temporality.number() as u8);
                Self { number: 10, temporality, is_monotonic: false }
            }
        }
    }

    fn length(&self) -> usize {
        2 * (usize::from(self.temporality.is_some()) + usize::from(self.is_monotonic))
    }

    fn write(&self, out: &mut Vec<u8>) {
        if let Some(temporality) = self.temporality {
            out.extend_from_slice(&[2 << 3, temporality]);
        }
        if self.is_monotonic {
            out.extend_from_slice(&[3 << 3, 1]);
        }
    }
}

/// Appends the key and the length of a field.
fn write_start(out: &mut Vec<u8>, number: u8, length: usize) {
    out.push(bytes_key(number));
    encode_varint(length as u64, out);
}

/// The length of a field with a value of this length.
fn field_length(length: usize) -> usize {
    1 + varint_length(length) + length
}

/// The metric of a payload with its only point; `None` if the bytes are not a payload.
pub(crate) fn metric_of(payload: &[u8]) -> Option<Metric> {
    let parts = [Parts::of(payload)?];
    let mut out = Vec::new();
    MetricLengths::of(&parts).write(&mut out, &parts);
    ScopeMetrics::decode(&*out).ok()?.metrics.pop()
}
