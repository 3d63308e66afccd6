//! The OpenTelemetry protocol (OTLP): the metrics of a window as protobuf or JSON.
//!
//! | kind | point |
//! | --- | --- |
//! | counter, trace | `Sum`; monotonic unless the series has been decremented |
//! | gauge, set | `Gauge` |
//! | timer | `ExponentialHistogram` with sum, min and max |
//!
//! `wire` appends points to a buffer without intermediate messages, because a window has up to a
//! million of them. `messages` has the same messages as types, for JSON, for replies of servers and
//! for tests.

mod form;
mod histogram;
pub(crate) mod messages;
#[cfg(feature = "kafka")]
mod record;
mod request;
#[cfg(test)]
mod tests;
mod window;
mod wire;

use std::collections::BTreeMap;

#[cfg(feature = "otlp")]
use model::MetricKind;
use model::{Series, Snapshot};

#[cfg(feature = "otlp")]
pub(crate) use histogram::SumAndRange;
pub(crate) use histogram::{HistogramPoint, WholeCounts};
#[cfg(feature = "kafka")]
pub(crate) use record::{RecordSyntax, Records, json};
pub(crate) use request::RequestPrefix;
pub(crate) use window::WindowEncoder;
#[cfg(feature = "otlp")]
pub(crate) use {
    form::{MetricForm, Temporality},
    request::{is_increment, metric_of, write_metric, write_request},
    window::by_metric,
    wire::{write_end, write_histogram, write_number},
};

/// The default for the maximum number of buckets of a timer for each sign: a factor of 65,536.
pub(crate) const BUCKETS_DEFAULT: usize = 1_024;
/// The attribute of the resource that is the same on every host.
const SERVICE: (&str, &str) = ("service.name", "tallyd");
/// The name of the metric that shows whether a server accepts data.
#[cfg(feature = "otlp")]
const MARKER: &str = "tallyd.otlp_check";
/// The tag that marks the series for samples beyond the limits on series, and its value.
const OVERFLOW_TAG: (&str, &str) = ("overflow", "true");
/// The attribute with which OpenTelemetry's SDKs mark such a series.
const OVERFLOW_ATTRIBUTE: &str = "otel.metric.overflow";

/// Attributes of a resource, by key.
pub(crate) type Attributes<'a> = BTreeMap<&'a str, &'a str>;

/// The attributes of the resource: tallyd's name, and those of the host.
pub(crate) fn resource(host: &[(String, String)]) -> Attributes<'_> {
    let host = host.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    std::iter::once(SERVICE).chain(host).collect()
}

/// The period that a point covers, in Unix nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PointTimes {
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
}

impl PointTimes {
    /// The period of a snapshot.
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        let end_ns = snapshot.window.end_ms.saturating_mul(1_000_000);
        let length_ns = u64::try_from(snapshot.window.length.as_nanos()).unwrap_or(u64::MAX);
        let measured_ns = end_ns.saturating_sub(length_ns);
        let start_ms = snapshot.start_ms.map(|start_ms| start_ms.saturating_mul(1_000_000));
        Self { start_ns: start_ms.unwrap_or(measured_ns), end_ns }
    }
}

/// The payload of a gauge that never had a value: valid data that no query shows. `run` identifies
/// its sender.
#[cfg(feature = "otlp")]
pub(crate) fn marker(run: u64, at_ns: u64) -> Vec<u8> {
    let run = format!("{run:016x}");
    let series = Series::new(MetricKind::Gauge, MARKER, &[("run", run)]);
    let mut out = Vec::new();
    write_metric(&mut out, MetricForm::Gauge, MARKER);
    write_end(&mut out, &series, PointTimes { start_ns: at_ns, end_ns: at_ns });
    out
}

/// The attributes of a series: its tags, and a mark of a series that overflowed.
fn attributes(series: &Series) -> impl Iterator<Item = (&str, Attribute<'_>)> {
    let (key, value) = OVERFLOW_TAG;
    let is_marked = series.tag(OVERFLOW_ATTRIBUTE).is_some();
    let has_overflowed = !is_marked && series.tag(key) == Some(value);
    let mark = has_overflowed.then_some((OVERFLOW_ATTRIBUTE, Attribute::Bool(true)));
    series.tags().map(|(key, value)| (key, Attribute::Text(value))).chain(mark)
}

/// The value of an attribute.
enum Attribute<'a> {
    Text(&'a str),
    Bool(bool),
}
