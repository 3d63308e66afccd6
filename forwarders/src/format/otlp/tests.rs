//! Compares encoded points with the messages that they stand for.

use proptest::prelude::*;
use prost::Message;

use super::messages::*;
use super::request::{metric_of, write_request};
use super::window::WindowEncoder;
use super::*;
use crate::delivery::payload::Batch;
use crate::spool::codec::tests::snapshot;
use model::testing::{counter, point, snapshot_of, timer};
use model::{MetricKind, Point, Snapshot, Value};

/// 2017-03-21 16:34:24 and :34 UTC.
const START: u64 = 1_490_114_064_000_000_000;
const END: u64 = 1_490_114_074_000_000_000;

fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AttributeValue::StringValue(value.to_owned()));
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value }) }
}

/// The request with all points of a window.
fn request(snapshot: &Snapshot) -> ExportMetricsServiceRequest {
    let (mut batch, mut out) = (Batch::default(), Vec::new());
    WindowEncoder::new(1_000).encode(snapshot, &mut batch);
    let payloads: Vec<_> = batch.pending().map(|payload| payload.bytes).collect();
    write_request(&mut out, &RequestPrefix::new([("host.name", "web-1")].into_iter()), &payloads);
    ExportMetricsServiceRequest::decode(&*out).unwrap()
}

fn metrics(snapshot: &Snapshot) -> Vec<Metric> {
    let mut request = request(snapshot);
    let mut resource = request.resource_metrics.pop().unwrap();
    assert_eq!(resource.resource.unwrap().attributes, [text("host.name", "web-1")]);
    let scope = resource.scope_metrics.pop().unwrap();
    assert_eq!(scope.scope.unwrap().name, "tallyd");
    scope.metrics
}

fn number(series: Vec<KeyValue>, value: f64) -> NumberDataPoint {
    NumberDataPoint {
        attributes: series,
        start_time_unix_nano: START,
        time_unix_nano: END,
        as_double: Some(value),
        flags: 0,
    }
}

fn sum(points: Vec<NumberDataPoint>, is_monotonic: bool) -> Option<MetricData> {
    Some(MetricData::Sum(SumData { data_points: points, aggregation_temporality: 1, is_monotonic }))
}

#[test]
fn points_of_a_metric_are_together_and_a_decrement_is_another_stream() {
    let gauge = Value::Gauge { value: -0.5, arrival_ns: 7 };
    let snapshot = snapshot_of(vec![
        counter("a", &[("k", "v")], 3.0),
        point(MetricKind::Gauge, "g", &[], gauge),
        counter("a", &[], 0.0),
        counter("a", &[("k", "w")], -2.0),
    ]);
    let gauge = NumberDataPoint { start_time_unix_nano: 0, ..number(vec![], -0.5) };
    let expected = [
        ("a", sum(vec![number(vec![text("k", "v")], 3.0), number(vec![], 0.0)], true)),
        ("a", sum(vec![number(vec![text("k", "w")], -2.0)], false)),
        ("g", Some(MetricData::Gauge(GaugeData { data_points: vec![gauge] }))),
    ]
    .map(|(name, data)| Metric { name: name.to_owned(), data });
    assert_eq!(metrics(&snapshot), expected);
}

#[test]
fn a_timer_is_an_exponential_histogram() {
    let snapshot = snapshot_of(vec![timer("t", &[], &[(2.0, 1.0), (0.0, 2.0), (-4.0, 1.0)])]);
    let buckets = |offset| Some(HistogramBuckets { offset, bucket_counts: vec![1] });
    let expected = ExponentialHistogramDataPoint {
        attributes: vec![],
        start_time_unix_nano: START,
        time_unix_nano: END,
        count: 4,
        sum: None,
        scale: 6,
        zero_count: 2,
        positive: buckets(63),
        negative: buckets(127),
        flags: 0,
        min: Some(-4.0),
        max: Some(2.0),
    };
    let data_points = vec![expected];
    let data = ExponentialHistogram { data_points, aggregation_temporality: 1 };
    let metric = Metric { name: "t".into(), data: Some(MetricData::ExponentialHistogram(data)) };
    assert_eq!(metrics(&snapshot), [metric]);
}

#[test]
fn a_series_that_overflowed_has_the_attribute_of_the_sdks() {
    let mark = KeyValue {
        key: "otel.metric.overflow".to_owned(),
        value: Some(AnyValue { value: Some(AttributeValue::BoolValue(true)) }),
    };
    let attributes = |tags: &[(&str, &str)]| {
        let Some(MetricData::Sum(mut sum)) =
            metrics(&snapshot_of(vec![counter("a", tags, 1.0)]))[0].data.clone()
        else {
            unreachable!()
        };
        sum.data_points.remove(0).attributes
    };
    let overflow = text("overflow", "true");
    assert_eq!(attributes(&[("overflow", "true")]), [overflow.clone(), mark]);
    assert_eq!(attributes(&[("overflow", "false")]), [text("overflow", "false")]);
    let own = text("otel.metric.overflow", "x");
    assert_eq!(attributes(&[("otel.metric.overflow", "x"), ("overflow", "true")]), [own, overflow]);
}

#[test]
fn a_request_without_points_is_empty() {
    let mut out = Vec::new();
    write_request(&mut out, &RequestPrefix::new([("a", "b")].into_iter()), &[]);
    assert_eq!(out, b"");
}

#[test]
#[cfg(feature = "kafka")]
fn a_record_in_json_has_the_names_and_texts_of_the_protocol() {
    let snapshot = snapshot_of(vec![timer("t", &[("k", "v")], &[(1.5, 1.0), (1.6, 300.0)])]);
    let records = Records::new(resource(&[]));
    let (mut json, mut proto) = (Vec::new(), Vec::new());
    records.write(&mut json, RecordSyntax::Json, &snapshot, &snapshot.points[0]);
    records.write(&mut proto, RecordSyntax::Proto, &snapshot, &snapshot.points[0]);
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let expected = serde_json::json!({"resourceMetrics": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "tallyd"}}]},
        "scopeMetrics": [{
            "scope": {"name": "tallyd", "version": version},
            "metrics": [{"name": "t", "exponentialHistogram": {
                "aggregationTemporality": 1,
                "dataPoints": [{
                    "attributes": [{"key": "k", "value": {"stringValue": "v"}}],
                    "startTimeUnixNano": "1490114064000000000",
                    "timeUnixNano": "1490114074000000000",
                    "count": "301", "sum": 481.5, "scale": 6, "zeroCount": "0",
                    "positive": {"offset": 37, "bucketCounts": ["1", "0", "0", "0", "0", "0", "300"]},
                    "min": 1.5, "max": 1.6,
                }],
            }}],
        }],
    }]});
    assert_eq!(json, expected);
    let of_proto: serde_json::Value =
        serde_json::from_str(&super::record::json(&proto).unwrap()).unwrap();
    assert_eq!(of_proto, expected);
}

#[test]
fn a_point_starts_at_the_end_of_the_window_before_if_it_is_known() {
    let mut snapshot = snapshot_of(vec![counter("a", &[], 1.0)]);
    let (end_ms, length_ms) = (snapshot.window.end_ms, 10_000);
    for (start_ms, expected_ms) in
        [(None, end_ms - length_ms), (Some(end_ms - 10_150), end_ms - 10_150)]
    {
        snapshot.start_ms = start_ms;
        let times = PointTimes { start_ns: expected_ms * 1_000_000, end_ns: end_ms * 1_000_000 };
        assert_eq!(PointTimes::of(&snapshot), times);
    }
}

/// The point that the encoder should write, as a message.
fn expected(snapshot: &Snapshot, point: &Point) -> Metric {
    let times = PointTimes::of(snapshot);
    let attributes: Vec<_> = attributes(&point.series)
        .map(|(key, value)| match value {
            Attribute::Text(value) => text(key, value),
            Attribute::Bool(value) => KeyValue {
                key: key.to_owned(),
                value: Some(AnyValue { value: Some(AttributeValue::BoolValue(value)) }),
            },
        })
        .collect();
    let is_gauge = point.series.kind() == MetricKind::Gauge;
    let number = NumberDataPoint {
        attributes: attributes.clone(),
        start_time_unix_nano: if is_gauge { 0 } else { times.start_ns },
        time_unix_nano: times.end_ns,
        as_double: Some(point.value.headline()),
        flags: 0,
    };
    let data = match &point.value {
        Value::Gauge { .. } | Value::Set(_) => {
            MetricData::Gauge(GaugeData { data_points: vec![number] })
        }
        Value::Timer(timer) => {
            let counts = WholeCounts::nearest();
            let (buckets, values) = (timer.timer.buckets(), (&timer.summary).into());
            let point = HistogramPoint::new(&buckets, values, counts, 1_000);
            let buckets = |buckets: histogram::DenseBuckets| {
                let histogram::DenseBuckets { offset, counts } = buckets;
                (!counts.is_empty()).then_some(HistogramBuckets { offset, bucket_counts: counts })
            };
            let point = ExponentialHistogramDataPoint {
                attributes,
                start_time_unix_nano: times.start_ns,
                time_unix_nano: times.end_ns,
                count: point.count,
                sum: point.sum,
                scale: point.scale,
                zero_count: point.zero,
                positive: buckets(point.positive),
                negative: buckets(point.negative),
                flags: 0,
                min: (point.count > 0).then_some(point.min),
                max: (point.count > 0).then_some(point.max),
            };
            let data_points = vec![point];
            MetricData::ExponentialHistogram(ExponentialHistogram {
                data_points,
                aggregation_temporality: 1,
            })
        }
        value => {
            let is_monotonic = value.headline() >= 0.0;
            MetricData::Sum(SumData {
                data_points: vec![number],
                aggregation_temporality: 1,
                is_monotonic,
            })
        }
    };
    Metric { name: point.series.name().to_owned(), data: Some(data) }
}

proptest! {
    #[test]
    fn any_window_decodes_to_its_points(snapshot in snapshot()) {
        let mut batch = Batch::default();
        WindowEncoder::new(1_000).encode(&snapshot, &mut batch);
        let order = window::by_metric(snapshot.points.iter().map(|point| &*point.series));
        prop_assert_eq!(batch.pending().count(), snapshot.points.len());
        for (payload, place) in batch.pending().zip(order) {
            prop_assert_eq!(metric_of(payload.bytes).unwrap(), expected(&snapshot, &snapshot.points[place]));
        }
    }

    #[test]
    fn no_bytes_make_the_reader_of_payloads_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let _read = metric_of(&bytes);
    }
}
