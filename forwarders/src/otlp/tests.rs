//! Tests of the destination against scripted servers, and of totals.

use std::io::Read;
use std::time::Duration;

use flate2::read::GzDecoder;
use prost::Message;

use super::rpc::{ExportMetricsServiceResponse, PartialSuccess};
use super::*;
use crate::delivery::forwarder::ErrorClass;
use crate::format::otlp::messages::{ExportMetricsServiceRequest, Metric, MetricData};
use crate::http::scripted::{RecordedRequest, ScriptedAnswer, ScriptedServer};
use crate::testing::encoded;
use model::testing::{counter, point, snapshot_of, snapshot_of_counters, timer};
use model::{MetricKind, Point, Value, Window};

const EXPIRE_AFTER: Duration = Duration::from_secs(60);

fn config(members: &str) -> OtlpConfig {
    let endpoint = r#""endpoint": "http://127.0.0.1:1""#;
    let all = if members.contains("endpoint") {
        members.to_owned()
    } else {
        format!("{endpoint}, {members}")
    };
    serde_json::from_str(&format!("{{{}}}", all.trim_end_matches(", "))).unwrap()
}

fn otlp(members: &str) -> Otlp {
    let host = [("host.name".to_owned(), "web-1".to_owned())];
    Otlp::new(&config(members), &host, EXPIRE_AFTER).unwrap()
}

fn to(server: &ScriptedServer, members: &str) -> Otlp {
    otlp(&format!(r#""endpoint": "http://{}"{members}"#, server.address))
}

fn response(rejected_data_points: i64, error_message: &str) -> ScriptedAnswer {
    let error_message = error_message.to_owned();
    let partial_success = Some(PartialSuccess { rejected_data_points, error_message });
    let body = ExportMetricsServiceResponse { partial_success }.encode_to_vec();
    let content_type = "application/x-protobuf".to_owned();
    ScriptedAnswer::Reply(200, vec![("content-type", content_type)], body)
}

fn request_of(asked: &RecordedRequest) -> ExportMetricsServiceRequest {
    let mut body = Vec::new();
    if asked.header("content-encoding") == Some("gzip") {
        GzDecoder::new(&*asked.body).read_to_end(&mut body).unwrap();
    } else {
        body.clone_from(&asked.body);
    }
    ExportMetricsServiceRequest::decode(&*body).unwrap()
}

/// The number of points in a request.
fn points_of(asked: &RecordedRequest) -> usize {
    let resources = request_of(asked).resource_metrics.into_iter();
    let metrics = resources.flat_map(|mut resource| resource.scope_metrics.remove(0).metrics);
    metrics
        .map(|metric| match metric.data.unwrap() {
            MetricData::Gauge(gauge) => gauge.data_points.len(),
            MetricData::Sum(sum) => sum.data_points.len(),
            MetricData::ExponentialHistogram(histogram) => histogram.data_points.len(),
        })
        .sum()
}

#[tokio::test]
async fn requests_arrive_with_their_resource_headers_and_limits() {
    let server = ScriptedServer::start(|_, _| response(0, ""));
    let members = r#", "max_points": 3, "headers": {"authorization": "Bearer canary", "x-tenant": "a"},
        "resource": {"service.name": "shop", "host.name": "", "zone": 7}"#;
    let mut otlp = to(&server, members);
    let mut batch = encoded(&mut otlp, snapshot_of_counters(7).points.to_vec());
    otlp.send(&mut batch).await.unwrap();
    assert!(batch.is_settled());
    let asked = server.asked();
    assert_eq!(asked.iter().map(points_of).collect::<Vec<_>>(), [3, 3, 1]);
    assert_eq!(asked[0].line, "POST /v1/metrics HTTP/1.1");
    for (name, value) in [
        ("content-type", "application/x-protobuf"),
        ("content-encoding", "gzip"),
        ("authorization", "Bearer canary"),
        ("x-tenant", "a"),
    ] {
        assert_eq!(asked[0].header(name), Some(value));
    }
    let resource = request_of(&asked[0]).resource_metrics.remove(0).resource.unwrap();
    let shown = format!("{:?}", resource.attributes);
    assert!(shown.contains("shop") && shown.contains('7') && !shown.contains("web-1"), "{shown}");
}

#[tokio::test]
async fn rejected_points_are_refused_and_the_others_delivered() {
    let server = ScriptedServer::start(|_, _| response(2, "two points are too old"));
    let mut otlp = to(&server, r#", "compression": "none""#);
    let mut batch = encoded(&mut otlp, snapshot_of_counters(7).points.to_vec());
    otlp.send(&mut batch).await.unwrap();
    let settled = batch.take_settled();
    assert_eq!((settled.delivered, settled.refused["refused"]), (5, 2));
    let words = settled.last_refusal().unwrap();
    assert!(words.starts_with("partial success from http://127.0.0.1:"), "{words}");
    assert!(words.ends_with("two points are too old"), "{words}");
}

#[tokio::test]
async fn a_bad_point_is_found_and_a_large_request_divided() {
    let server = ScriptedServer::start(|_, asked| match points_of(asked) {
        5.. => ScriptedAnswer::status(413, ""),
        points => {
            let is_bad = String::from_utf8_lossy(&asked.body).contains("bad");
            let status = if is_bad { 400 } else { 200 };
            ScriptedAnswer::status(status, if points == 0 { "none" } else { "" })
        }
    });
    let mut otlp = to(&server, r#", "compression": "none""#);
    let mut points = snapshot_of_counters(12).points.to_vec();
    // Long tags, because small requests are not divided.
    let filler = "f".repeat(2_000);
    for (index, point) in points.iter_mut().enumerate() {
        let tag = if index == 7 { "bad".to_owned() } else { index.to_string() };
        *point = counter("c", &[("filler", &filler), ("k", &tag)], 1.0);
    }
    let mut batch = encoded(&mut otlp, points);
    otlp.send(&mut batch).await.unwrap();
    let settled = batch.take_settled();
    assert_eq!((settled.delivered, settled.refused["refused"]), (11, 1));
}

#[tokio::test]
async fn errors_that_pass_and_errors_of_an_operator_keep_the_points() {
    for (status, class) in [
        (429, ErrorClass::Transient { after: None }),
        (502, ErrorClass::Transient { after: None }),
        (503, ErrorClass::Transient { after: None }),
        (504, ErrorClass::Transient { after: None }),
        (401, ErrorClass::Operator),
        (403, ErrorClass::Operator),
        (404, ErrorClass::Operator),
    ] {
        let server = ScriptedServer::start(move |_, _| ScriptedAnswer::status(status, "canary"));
        let mut otlp = to(&server, r#", "headers": {"authorization": "canary"}"#);
        let mut batch = encoded(&mut otlp, vec![counter("a", &[], 1.0)]);
        let error = otlp.send(&mut batch).await.unwrap_err();
        assert_eq!((error.class(), batch.points_pending()), (class, 1), "{status}");
        assert!(!error.to_string().contains("canary"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_fails_only_for_a_point_loses_no_other() {
    let server = ScriptedServer::start(|_, asked| {
        let is_bad = String::from_utf8_lossy(&asked.body).contains("bad");
        ScriptedAnswer::status(if is_bad { 500 } else { 200 }, "")
    });
    let members = r#", "compression": "none", "delivery": {"retry": {"search_after": 2}}"#;
    let mut otlp = to(&server, members);
    let mut batch = encoded(
        &mut otlp,
        vec![counter("a", &[], 1.0), counter("bad", &[], 1.0), counter("c", &[], 1.0)],
    );
    assert!(otlp.send(&mut batch).await.is_err());
    otlp.send(&mut batch).await.unwrap();
    let settled = batch.take_settled();
    assert_eq!((settled.delivered, settled.refused["refused"]), (2, 1));
    let is_marker = |asked: &RecordedRequest| {
        String::from_utf8_lossy(&asked.body).contains("tallyd.otlp_check")
    };
    assert_eq!(server.asked().iter().filter(|asked| is_marker(asked)).count(), 1);
}

#[tokio::test]
async fn a_probe_asks_without_points() {
    let server =
        ScriptedServer::start(|number, _| ScriptedAnswer::status([200, 400, 401][number], ""));
    let mut otlp = to(&server, r#", "compression": "none""#);
    assert!(otlp.probe().await.is_ok() && otlp.probe().await.is_ok());
    assert!(otlp.probe().await.unwrap_err().to_string().contains("401 Unauthorized"));
    assert!(server.asked().iter().all(|asked| asked.body.is_empty()));
}

#[test]
fn a_point_beyond_the_size_of_a_request_is_refused() {
    let mut otlp = otlp(r#""max_bytes": "1KiB""#);
    let long = "x".repeat(2_000);
    let mut batch =
        encoded(&mut otlp, vec![counter("a", &[("k", &long)], 1.0), counter("b", &[], 1.0)]);
    assert_eq!(batch.take_settled().refused["too_large"], 1);
    assert_eq!(batch.points_pending(), 1);
}

#[test]
fn headers_that_tallyd_sets_are_refused_at_their_key() {
    use crate::delivery::section::ForwarderSection;
    for (header, words) in [
        ("Content-Type", "`headers` has `Content-Type`, which tallyd sets itself"),
        ("te", "`headers` has `te`, which tallyd sets itself"),
        ("a b", "`headers` has `a b`, which is not a header name"),
    ] {
        let config = config(&format!(r#""headers": {{"{header}": "x"}}"#));
        let error = ForwarderSection::check(&config).unwrap_err().to_string();
        assert!(error.starts_with(words), "{error}");
    }
}

#[test]
fn a_payload_is_readable_as_a_metric() {
    let mut otlp = otlp("");
    let batch = encoded(&mut otlp, vec![counter("a", &[], 1.0)]);
    let readable = otlp.readable(batch.first_pending().unwrap().bytes).unwrap();
    assert!(readable.contains(r#""name": "a""#) && readable.contains("asDouble"), "{readable}");
    assert_eq!(otlp.readable(b"x"), None);
}

/// Windows of 10 s for a destination with totals.
struct Windows {
    otlp: Otlp,
    number: u64,
}

/// The end of the first window, in Unix seconds.
const FIRST_END: u64 = 1_490_114_070;

impl Windows {
    fn new(members: &str) -> Self {
        Self { otlp: otlp(&format!(r#""temporality": "cumulative"{members}"#)), number: 0 }
    }

    fn encode(&mut self, points: Vec<Point>) -> Batch {
        let end_ms = (FIRST_END + 10 * self.number) * 1_000;
        self.number += 1;
        let window = Window { end_ms, length: Duration::from_secs(10) };
        let snapshot = Snapshot { window, ..snapshot_of(points) };
        let mut batch = Batch::default();
        self.otlp.encode(&snapshot, &mut batch);
        batch
    }

    /// Encodes a window and shows it.
    fn shown(&mut self, points: Vec<Point>) -> Vec<String> {
        shown(&self.encode(points))
    }
}

/// The payloads of a batch: name, value, start in seconds after that of the first window, points.
fn shown(batch: &Batch) -> Vec<String> {
    let since = |start_ns: u64| start_ns / 1_000_000_000 + 10 - FIRST_END;
    let show = |payload: crate::delivery::payload::Payload<'_>| {
        let Metric { name, data } = otlp::metric_of(payload.bytes).unwrap();
        let (value, start_ns) = match data.unwrap() {
            MetricData::Gauge(mut gauge) => (
                format!("gauge {:?}", gauge.data_points.remove(0).as_double.unwrap()),
                (FIRST_END - 10) * 1_000_000_000,
            ),
            MetricData::Sum(mut sum) => {
                assert_eq!(sum.aggregation_temporality, 2);
                let point = sum.data_points.remove(0);
                let kind = if sum.is_monotonic { "total" } else { "sum" };
                let value = point.as_double.map_or("end".to_owned(), |value| value.to_string());
                (format!("{kind} {value}"), point.start_time_unix_nano)
            }
            MetricData::ExponentialHistogram(mut histogram) => {
                assert_eq!(histogram.aggregation_temporality, 2);
                let point = histogram.data_points.remove(0);
                let counted: u64 =
                    point.positive.iter().flat_map(|buckets| &buckets.bucket_counts).sum();
                let words =
                    format!("{} {:?} {:?} {:?}", point.count, point.sum, point.min, point.max);
                assert_eq!(counted, point.count);
                (
                    if point.flags == 1 { "end".to_owned() } else { words },
                    point.start_time_unix_nano,
                )
            }
        };
        format!("{name} {value} since {} ({})", since(start_ns), payload.points)
    };
    batch.pending().map(show).collect()
}

#[test]
fn totals_add_up_from_the_start_of_their_series() {
    let mut windows = Windows::new("");
    let gauge = point(MetricKind::Gauge, "g", &[], Value::Gauge { value: 4.0, arrival_ns: 1 });
    assert_eq!(
        windows.shown(vec![counter("a", &[], 2.0), gauge, timer("t", &[], &[(8.0, 1.0)])]),
        [
            "a total 2 since 0 (1)",
            "g gauge 4.0 since 0 (1)",
            "t 1 Some(8.0) Some(8.0) Some(8.0) since 0 (1)",
        ]
    );
    assert_eq!(
        windows.shown(vec![counter("b", &[], 1.0), counter("a", &[], 3.0)]),
        [
            "b total 1 since 10 (1)",
            "a total 5 since 0 (1)",
            "t 1 Some(8.0) Some(8.0) Some(8.0) since 0 (0)",
        ]
    );
    assert_eq!(
        windows.shown(vec![timer("t", &[], &[(2.0, 2.0)])]),
        [
            "t 3 Some(12.0) Some(2.0) Some(8.0) since 0 (1)",
            "a total 5 since 0 (0)",
            "b total 1 since 10 (0)",
        ]
    );
}

#[test]
fn a_total_that_was_decremented_is_a_sum_that_is_not_monotonic_from_then_on() {
    let mut windows = Windows::new("");
    let mut shown = |count: f64| windows.shown(vec![counter("a", &[], count)]).remove(0);
    assert_eq!(shown(5.0), "a total 5 since 0 (1)");
    assert_eq!(shown(-2.0), "a sum 3 since 0 (1)");
    assert_eq!(shown(1.0), "a sum 4 since 0 (1)");
}

#[test]
fn a_series_that_expires_ends_and_starts_anew() {
    let mut windows = Windows::new("");
    windows.encode(vec![counter("a", &[], 1.0), timer("t", &[], &[(1.0, 1.0)])]);
    for _ in 0..5 {
        assert_eq!(windows.shown(vec![]).len(), 2);
    }
    assert_eq!(windows.shown(vec![]), ["a total end since 0 (0)", "t end since 0 (0)"]);
    assert_eq!(windows.shown(vec![]), [] as [&str; 0]);
    assert_eq!(windows.shown(vec![counter("a", &[], 1.0)]), ["a total 1 since 80 (1)"]);
}

#[test]
fn a_series_without_room_starts_anew_with_each_window() {
    let mut windows = Windows::new(r#", "max_series": 1"#);
    let points =
        || vec![counter("a", &[], 1.0), counter("b", &[], 1.0), timer("t", &[], &[(1.0, 1.0)])];
    windows.encode(points());
    assert_eq!(
        windows.shown(points()),
        [
            "a total 2 since 0 (1)",
            "b total 1 since 10 (1)",
            "t 1 Some(1.0) Some(1.0) Some(1.0) since 10 (1)",
        ]
    );
}

#[test]
fn a_successor_continues_totals_without_the_points_that_it_encodes_again() {
    let points =
        || vec![counter("a", &[], 1.0), timer("t", &[], &[(1.0, 1.0)]), counter("c", &[], -1.0)];
    let mut first = Windows::new("");
    first.encode(points());
    let mut batch = first.encode(points());
    // `a` and `c` are delivered, `t` is not.
    batch.delivered(0);
    batch.delivered(2);
    let saved = first.otlp.save_state(&batch, u64::MAX).unwrap();
    assert_eq!(saved.left_out, 0);
    let mut next = Windows { number: 1, ..Windows::new("") };
    next.otlp.restore_state(&saved.bytes, Duration::from_secs(5)).unwrap();
    let again = vec![timer("t", &[], &[(1.0, 1.0)])];
    assert_eq!(
        next.shown(again),
        [
            "t 2 Some(2.0) Some(1.0) Some(1.0) since 0 (1)",
            "a total 2 since 0 (0)",
            "c sum -2 since 0 (0)",
        ]
    );
    let none = first.otlp.save_state(&batch, 0).unwrap();
    assert_eq!((none.bytes.len(), none.left_out), (0, 3));
    let mut late = Windows::new("");
    late.otlp.restore_state(&saved.bytes, EXPIRE_AFTER).unwrap();
    assert_eq!(late.shown(vec![]), [] as [&str; 0]);
    assert_eq!(late.otlp.restore_state(b"damaged", EXPIRE_AFTER), Err(InvalidState));
    assert_eq!(otlp("").restore_state(&[], EXPIRE_AFTER), Err(InvalidState));
}
