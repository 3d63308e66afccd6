//! Tests of the destination against scripted servers, and of totals.

mod grpc;
mod totals;

use std::io::Read;
use std::time::Duration;

use flate2::read::GzDecoder;
use prost::Message;

use super::rpc::{ExportMetricsServiceResponse, PartialSuccess};
use super::*;
use crate::delivery::forwarder::ErrorClass;
use crate::format::otlp::messages::{ExportMetricsServiceRequest, MetricData};
use crate::http::scripted::{RecordedRequest, ScriptedAnswer, ScriptedServer};
use crate::testing::encoded;
use model::testing::{counter, snapshot_of_counters};

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
async fn a_secret_in_a_response_is_masked_and_the_response_still_read() {
    let server = ScriptedServer::start(|_, _| response(2, "Bearer canary17 sends old points"));
    let members = r#", "compression": "none", "headers": {"authorization": "Bearer canary17"}"#;
    let mut otlp = to(&server, members);
    let mut batch = encoded(&mut otlp, snapshot_of_counters(7).points.to_vec());
    otlp.send(&mut batch).await.unwrap();
    let settled = batch.take_settled();
    assert_eq!((settled.delivered, settled.refused["refused"]), (5, 2));
    let words = settled.last_refusal().unwrap();
    assert!(words.ends_with("sends old points") && !words.contains("canary"), "{words}");
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
async fn a_search_repeats_no_increment_that_the_server_has_accepted() {
    // It takes no point without a value, so only other points show that it accepts any.
    let script = |_: usize, asked: &RecordedRequest| {
        let text = String::from_utf8_lossy(&asked.body).into_owned();
        let fails = text.contains("bad") || text.contains("tallyd.otlp_check");
        ScriptedAnswer::status(if fails { 500 } else { 200 }, "")
    };
    for (temporality, is_found) in [("delta", false), ("cumulative", true)] {
        let server = ScriptedServer::start(script);
        let members = format!(
            r#", "compression": "none", "temporality": "{temporality}", "delivery": {{"retry": {{"search_after": 2}}}}"#
        );
        let mut otlp = to(&server, &members);
        let points = ["a", "bad", "c"].map(|name| counter(name, &[], 1.0)).to_vec();
        let mut batch = encoded(&mut otlp, points);
        for _ in 0..6 {
            let _error = otlp.send(&mut batch).await;
        }
        let repeats = |name: &str| {
            let has = |asked: &RecordedRequest| {
                let text = String::from_utf8_lossy(&asked.body);
                text.contains(&format!("\u{1}{name}")) && !text.contains("bad")
            };
            server.asked().iter().filter(|asked| has(asked)).count().saturating_sub(1)
        };
        let repeats = repeats("a") + repeats("c");
        assert_eq!((repeats > 0, batch.is_settled()), (is_found, is_found), "{temporality}");
    }
}

#[tokio::test]
async fn a_response_with_more_words_than_are_read_settles_the_points() {
    let words = "too old. ".repeat(20_000);
    let server = ScriptedServer::start(move |_, _| response(2, &words));
    let mut otlp = to(&server, "");
    let mut batch = encoded(&mut otlp, snapshot_of_counters(7).points.to_vec());
    otlp.send(&mut batch).await.unwrap();
    let settled = batch.take_settled();
    assert_eq!((settled.delivered, settled.refused["refused"]), (5, 2));
    assert!(settled.last_refusal().unwrap().contains("too old."));
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_server_of_pages_gets_no_point_delivered() {
    let server = ScriptedServer::start(|_, _| ScriptedAnswer::status(200, "ok"));
    let mut otlp = to(&server, "");
    let mut batch = encoded(&mut otlp, vec![counter("a", &[], 1.0)]);
    let error = otlp.send(&mut batch).await.unwrap_err();
    assert_eq!((error.class(), batch.points_pending()), (ErrorClass::Operator, 1));
    assert!(error.to_string().ends_with("the reply is not that of an OTLP server: ok"), "{error}");
}

#[test]
fn a_request_may_have_more_points_than_a_part_of_a_window() {
    let window = snapshot_of_counters(1);
    assert!(!otlp("").wants_whole_window(&window));
    assert!(!otlp(r#""max_points": 8192"#).wants_whole_window(&window));
    assert!(otlp(r#""max_points": 8193"#).wants_whole_window(&window));
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
