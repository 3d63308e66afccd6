//! The messages of OTLP, without fields that tallyd neither writes nor reads. Their JSON is the one
//! that the protocol defines: 64-bit numbers are strings, and enumerations numbers.

use prost::{Message, Oneof};
use serde::{Serialize, Serializer};

/// A request to a server of metrics, and the value of a Kafka record.
#[cfg(any(test, feature = "kafka"))]
#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExportMetricsServiceRequest {
    #[prost(message, repeated, tag = "1")]
    pub(crate) resource_metrics: Vec<ResourceMetrics>,
}

#[cfg(any(test, feature = "kafka"))]
#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ResourceMetrics {
    #[prost(message, optional, tag = "1")]
    pub(crate) resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) scope_metrics: Vec<ScopeMetrics>,
}

#[cfg(any(test, feature = "kafka"))]
#[derive(Clone, PartialEq, Message, Serialize)]
pub(crate) struct Resource {
    #[prost(message, repeated, tag = "1")]
    pub(crate) attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message, Serialize)]
pub(crate) struct ScopeMetrics {
    #[prost(message, optional, tag = "1")]
    pub(crate) scope: Option<InstrumentationScope>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) metrics: Vec<Metric>,
}

#[derive(Clone, PartialEq, Message, Serialize)]
pub(crate) struct InstrumentationScope {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) version: String,
}

#[derive(Clone, PartialEq, Message, Serialize)]
pub(crate) struct Metric {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[serde(flatten)]
    #[prost(oneof = "MetricData", tags = "5, 7, 10")]
    pub(crate) data: Option<MetricData>,
}

#[derive(Clone, PartialEq, Oneof, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum MetricData {
    #[prost(message, tag = "5")]
    Gauge(GaugeData),
    #[prost(message, tag = "7")]
    Sum(SumData),
    #[prost(message, tag = "10")]
    ExponentialHistogram(ExponentialHistogram),
}

#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GaugeData {
    #[prost(message, repeated, tag = "1")]
    pub(crate) data_points: Vec<NumberDataPoint>,
}

#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SumData {
    #[prost(message, repeated, tag = "1")]
    pub(crate) data_points: Vec<NumberDataPoint>,
    #[prost(int32, tag = "2")]
    pub(crate) aggregation_temporality: i32,
    #[prost(bool, tag = "3")]
    pub(crate) is_monotonic: bool,
}

#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExponentialHistogram {
    #[prost(message, repeated, tag = "1")]
    pub(crate) data_points: Vec<ExponentialHistogramDataPoint>,
    #[prost(int32, tag = "2")]
    pub(crate) aggregation_temporality: i32,
}

#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NumberDataPoint {
    #[prost(message, repeated, tag = "7")]
    pub(crate) attributes: Vec<KeyValue>,
    #[serde(serialize_with = "text", skip_serializing_if = "is_zero")]
    #[prost(fixed64, tag = "2")]
    pub(crate) start_time_unix_nano: u64,
    #[serde(serialize_with = "text")]
    #[prost(fixed64, tag = "3")]
    pub(crate) time_unix_nano: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[prost(double, optional, tag = "4")]
    pub(crate) as_double: Option<f64>,
    #[serde(skip_serializing_if = "is_no_flag")]
    #[prost(uint32, tag = "8")]
    pub(crate) flags: u32,
}

#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExponentialHistogramDataPoint {
    #[prost(message, repeated, tag = "1")]
    pub(crate) attributes: Vec<KeyValue>,
    #[serde(serialize_with = "text")]
    #[prost(fixed64, tag = "2")]
    pub(crate) start_time_unix_nano: u64,
    #[serde(serialize_with = "text")]
    #[prost(fixed64, tag = "3")]
    pub(crate) time_unix_nano: u64,
    #[serde(serialize_with = "text")]
    #[prost(fixed64, tag = "4")]
    pub(crate) count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[prost(double, optional, tag = "5")]
    pub(crate) sum: Option<f64>,
    #[prost(sint32, tag = "6")]
    pub(crate) scale: i32,
    #[serde(serialize_with = "text")]
    #[prost(fixed64, tag = "7")]
    pub(crate) zero_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[prost(message, optional, tag = "8")]
    pub(crate) positive: Option<HistogramBuckets>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[prost(message, optional, tag = "9")]
    pub(crate) negative: Option<HistogramBuckets>,
    #[serde(skip_serializing_if = "is_no_flag")]
    #[prost(uint32, tag = "10")]
    pub(crate) flags: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[prost(double, optional, tag = "12")]
    pub(crate) min: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[prost(double, optional, tag = "13")]
    pub(crate) max: Option<f64>,
}

#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HistogramBuckets {
    #[prost(sint32, tag = "1")]
    pub(crate) offset: i32,
    #[serde(serialize_with = "texts")]
    #[prost(uint64, repeated, tag = "2")]
    pub(crate) bucket_counts: Vec<u64>,
}

#[derive(Clone, PartialEq, Message, Serialize)]
pub(crate) struct KeyValue {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message, Serialize)]
pub(crate) struct AnyValue {
    #[serde(flatten)]
    #[prost(oneof = "AttributeValue", tags = "1, 2")]
    pub(crate) value: Option<AttributeValue>,
}

#[derive(Clone, PartialEq, Eq, Oneof, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum AttributeValue {
    #[prost(string, tag = "1")]
    StringValue(String),
    #[prost(bool, tag = "2")]
    BoolValue(bool),
}

fn text<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

fn texts<S: Serializer>(numbers: &[u64], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(numbers.iter().map(u64::to_string))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_no_flag(flags: &u32) -> bool {
    *flags == 0
}
