//! Tests remote write with an independent decoder and a scripted server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;

use super::*;
use crate::delivery::forwarder::ErrorClass;
use crate::http::scripted::{RecordedRequest, ScriptedAnswer, ScriptedServer};
use crate::prometheus::tests::naming::StubNaming;
use crate::prometheus::{PrometheusConfig, StateSettings};
use model::testing::{point, snapshot_of, snapshot_of_counters};
use model::{MetricKind, Point, Sum, Timer, Value};

#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    histograms: Vec<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(uint64, optional, tag = "1")]
    count_int: Option<u64>,
    #[prost(double, tag = "3")]
    sum: f64,
    #[prost(sint32, tag = "4")]
    schema: i32,
    #[prost(sint64, repeated, tag = "9")]
    negative_deltas: Vec<i64>,
    #[prost(sint64, repeated, tag = "12")]
    positive_deltas: Vec<i64>,
    #[prost(int64, tag = "15")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

fn remote_write(url: &str, more: &str) -> RemoteWrite {
    remote_write_as(None, url, more)
}

fn remote_write_as(naming: Option<Arc<dyn SeriesNaming>>, url: &str, more: &str) -> RemoteWrite {
    let text = format!(r#"{{"url": "{url}"{more}}}"#);
    let config: RemoteWriteConfig = serde_json::from_str(&text).unwrap();
    let expire_after = Duration::from_secs(20);
    let limits = StateSettings::new(&PrometheusConfig::default(), expire_after);
    RemoteWrite::new(&config, "test", &DeliveryConfig::default(), limits, naming).unwrap()
}

fn decode(body: &[u8]) -> Vec<TimeSeries> {
    let series = WriteRequest::decode(body).unwrap().timeseries;
    for one in &series {
        assert!(one.labels.is_sorted_by(|a, b| a.name < b.name), "{:?}", one.labels);
        assert_eq!((one.samples.len(), one.samples[0].timestamp), (1, 1_490_114_074_000));
    }
    series
}

#[test]
fn a_native_histogram_is_one_series_and_ends_with_a_stale_marker() {
    let config = r#"{"timers": ["summary", "native"]}"#;
    let config: PrometheusConfig = serde_json::from_str(config).unwrap();
    let settings = StateSettings::new(&config, Duration::from_secs(20));
    let write = serde_json::from_str(r#"{"url": "http://127.0.0.1:1/"}"#).unwrap();
    let delivery = DeliveryConfig::default();
    let mut forwarder = RemoteWrite::new(&write, "test", &delivery, settings, None).unwrap();
    let mut window = |points| {
        let mut batch = Batch::default();
        forwarder.encode(&snapshot_of(points), &mut batch);
        let payloads: Vec<_> = batch.pending().collect();
        let body: Vec<u8> = payloads.iter().flat_map(|payload| payload.bytes.to_vec()).collect();
        let mut series = WriteRequest::decode(&body[..]).unwrap().timeseries;
        let samples: usize = payloads.iter().map(|payload| wire::samples(payload.bytes)).sum();
        assert_eq!(samples, series.len());
        series.retain(|series| !series.histograms.is_empty());
        series
    };
    let samples = [(1.0, 1.0), (1.5, 1.0), (-2.0, 10.0)];
    let point = model::testing::timer("t", &[("Zone", "z")], &samples);
    for count in [12, 24] {
        let series = window(vec![point.clone()]);
        assert_eq!(series.len(), 1);
        let labels = series[0].labels.iter().map(|label| (&label.name[..], &label.value[..]));
        let labels: Vec<_> = labels.collect();
        assert_eq!(labels, [("Zone", "z"), ("__name__", "t_distribution")]);
        let histogram = &series[0].histograms[0];
        assert_eq!((series[0].samples.len(), histogram.schema), (0, 6));
        assert_eq!((histogram.count_int, histogram.timestamp), (Some(count), 1_490_114_074_000));
        assert_eq!(histogram.negative_deltas, [count as i64 * 10 / 12]);
        assert_eq!(histogram.positive_deltas, [count as i64 / 12, 0]);
        assert_eq!(histogram.sum, -17.5 * count as f64 / 12.0);
    }
    window(vec![]);
    let end = &window(vec![])[0].histograms[0];
    assert_eq!((end.count_int, end.sum.to_bits()), (Some(0), wire::STALE.to_bits()));
}

fn asked(asked: &RecordedRequest) -> Vec<TimeSeries> {
    decode(&snap::raw::Decoder::new().decompress_vec(&asked.body).unwrap())
}

fn shown(series: &[TimeSeries]) -> Vec<String> {
    let label = |label: &Label| format!("{}={}", label.name, label.value);
    series
        .iter()
        .map(|one| {
            let labels: Vec<String> = one.labels.iter().map(label).collect();
            let value = one.samples[0].value;
            let is_stale = value.to_bits() == wire::STALE.to_bits();
            let value = if is_stale { "stale".to_owned() } else { value.to_string() };
            format!("{} {value}", labels.join(" "))
        })
        .collect()
}

fn encoded(forwarder: &mut RemoteWrite, points: Vec<Point>) -> (Vec<String>, u64) {
    let mut batch = Batch::default();
    forwarder.encode(&snapshot_of(points), &mut batch);
    let payloads: Vec<_> = batch.pending().collect();
    let body: Vec<u8> = payloads.iter().flat_map(|payload| payload.bytes.to_vec()).collect();
    let samples: usize = payloads.iter().map(|payload| wire::samples(payload.bytes)).sum();
    let decoded = decode(&body);
    assert_eq!(samples, decoded.len());
    (shown(&decoded), batch.points_pending())
}

fn counter(name: &str, tags: &[(&str, &str)], count: f64) -> Point {
    point(MetricKind::Counter, name, tags, Value::Counter(Sum::of(count)))
}

#[test]
fn every_live_series_is_in_every_window_and_ends_with_a_stale_marker() {
    let mut forwarder = remote_write("http://127.0.0.1:1/", "");
    let mut timer = Timer::default();
    [1.0, 2.0].iter().for_each(|value| timer.record(*value, 1.0, 1000));
    let timer = Value::timer(timer, &snapshot_of(vec![]).percentiles);
    let window = vec![
        counter("c.d", &[("Zone", "z"), ("_a", "é\n"), ("host", "h")], 5.0),
        point(MetricKind::Timer, "t", &[("a", "1"), ("r", "2")], timer),
    ];
    let expected = [
        "Zone=z __name__=c_d_total _a=é\n host=h 5",
        "__name__=t a=1 quantile=0.5 r=2 1",
        "__name__=t a=1 quantile=0.9 r=2 2",
        "__name__=t a=1 quantile=0.95 r=2 2",
        "__name__=t a=1 quantile=0.99 r=2 2",
        "__name__=t_sum a=1 r=2 3",
        "__name__=t_count a=1 r=2 2",
    ];
    let both = encoded(&mut forwarder, window);
    assert_eq!(both, (expected.map(String::from).to_vec(), 2));
    let idle = encoded(&mut forwarder, vec![counter("x", &[], 1.0)]);
    assert_eq!((idle.0.len(), idle.1), (8, 1), "the idle ones count no points");
    let (end, points) = encoded(&mut forwarder, vec![counter("x", &[], 1.0)]);
    assert_eq!(points, 1);
    assert_eq!(end.iter().filter(|line| line.ends_with(" stale")).count(), 7);
    assert_eq!(end.last().unwrap(), "__name__=x_total 2");
    assert_eq!(encoded(&mut forwarder, vec![]).0, ["__name__=x_total 2"]);
}

#[tokio::test]
async fn series_have_the_names_of_the_page_and_hidden_series_are_not_sent() {
    let server = ScriptedServer::start(|_, _| ScriptedAnswer::status(200, ""));
    let mut forwarder = remote_write_as(Some(Arc::new(StubNaming)), &url(&server), "");
    let gauge = |name: &str, tags: &[(&str, &str)], value| {
        point(MetricKind::Gauge, name, tags, Value::Gauge { value, arrival_ns: 0 })
    };
    let flags = |flags| gauge("source.target", &[("flags", flags), ("uri", "sip:x")], 1.0);
    let hidden = || gauge("source.other", &[], 0.5);
    let poll = || counter("source.poll", &[("uri", "sip:x")], 1.0);
    let mut batch = Batch::default();
    forwarder.encode(&snapshot_of(vec![hidden(), flags("AP"), poll()]), &mut batch);
    send(&mut forwarder, &mut batch).await.unwrap();
    assert_eq!((batch.points(), batch.points_pending()), (3, 0));
    let target = "__name__=other_target flags=AP uri=sip:x";
    let polls = "__name__=other_polls uri=sip:x";
    assert_eq!(shown(&asked(&server.asked()[0])), [format!("{target} 1"), format!("{polls} 1")]);
    let (lines, points) = encoded(&mut forwarder, vec![flags("IP"), poll(), hidden()]);
    let inactive = target.replace("AP", "IP");
    let expected = [format!("{target} stale"), format!("{inactive} 1"), format!("{polls} 2")];
    assert_eq!((lines, points), (expected.to_vec(), 3));
}

#[tokio::test]
async fn pending_payloads_name_the_remaining_points() {
    let server = ScriptedServer::start(|number, _| match number {
        0 => ScriptedAnswer::status(200, ""),
        _ => ScriptedAnswer::status(503, ""),
    });
    let mut forwarder = remote_write(&url(&server), r#", "max_samples": 1"#);
    encoded(&mut forwarder, vec![counter("idle", &[], 1.0)]);
    let mut batch = Batch::default();
    let points = vec![
        counter("b", &[], 1.0),
        counter("a.a", &[], 1.0),
        counter("a-a", &[], 1.0),
        counter("c", &[], 1.0),
    ];
    forwarder.encode(&snapshot_of(points), &mut batch);
    assert_eq!((batch.points(), batch.pending().count()), (4, 4));
    send(&mut forwarder, &mut batch).await.unwrap_err();
    let left: Vec<_> = batch.points_left().of(&["b", "a.a", "a-a", "c"]).copied().collect();
    assert_eq!(left, ["a.a", "a-a", "c"], "the points of a series stay together");
}

#[tokio::test]
async fn a_successor_continues_the_totals_as_of_the_points_that_are_delivered() {
    let server = ScriptedServer::start(|number, _| match number {
        0 => ScriptedAnswer::status(200, ""),
        _ => ScriptedAnswer::status(503, ""),
    });
    let more = r#", "max_samples": 1"#;
    let mut forwarder = remote_write(&url(&server), more);
    let names = ["b", "a.a", "a-a", "c"];
    let points = || names.map(|name| counter(name, &[], 1.0)).to_vec();
    encoded(&mut forwarder, points());
    let snapshot = snapshot_of(points());
    let mut batch = Batch::default();
    forwarder.encode(&snapshot, &mut batch);
    send(&mut forwarder, &mut batch).await.unwrap_err();

    let saved = forwarder.save_state(&batch, u64::MAX).unwrap();
    let mut successor = remote_write(&url(&server), more);
    successor.restore_state(&saved.bytes, Duration::ZERO).unwrap();
    // The points that are left come again, from the spool.
    let (lines, _) = encoded(&mut successor, snapshot.only(&batch.points_left()).points.to_vec());
    let mut lines = lines;
    lines.sort();
    assert_eq!(
        lines,
        ["__name__=a_a_total 4", "__name__=b_total 2", "__name__=c_total 2"],
        "each point of both windows counts once"
    );
    assert_eq!(successor.restore_state(b"x", Duration::ZERO), Err(InvalidState));
}

async fn send(forwarder: &mut RemoteWrite, batch: &mut Batch) -> Result<(), SendError> {
    forwarder.send(batch).await
}

fn url(server: &ScriptedServer) -> String {
    format!("http://{}/api/v1/write", server.address)
}

#[tokio::test]
async fn requests_have_the_headers_and_keep_to_the_limits() {
    let server = ScriptedServer::start(|_, _| ScriptedAnswer::status(204, ""));
    let more = r#", "max_samples": 30, "max_bytes": "1KiB", "token": "t0p", "headers": {"X-Scope-OrgID": "7"}"#;
    let mut forwarder = remote_write(&url(&server), more);
    let mut batch = Batch::default();
    forwarder.encode(&snapshot_of_counters(100), &mut batch);
    send(&mut forwarder, &mut batch).await.unwrap();
    assert_eq!(batch.take_settled().delivered, 100);
    let requests = server.asked();
    let mut values = BTreeMap::new();
    for request in &requests {
        assert_eq!(request.line, "POST /api/v1/write HTTP/1.1");
        for (header, value) in [
            ("content-type", "application/x-protobuf"),
            ("content-encoding", "snappy"),
            ("x-prometheus-remote-write-version", "0.1.0"),
            ("authorization", "Bearer t0p"),
            ("x-scope-orgid", "7"),
        ] {
            assert_eq!(request.header(header), Some(value));
        }
        let body = snap::raw::Decoder::new().decompress_vec(&request.body).unwrap();
        let series = decode(&body);
        assert!(body.len() <= 1024 && series.len() <= 30, "{} {}", body.len(), series.len());
        values.extend(shown(&series).into_iter().map(|line| (line, ())));
    }
    assert_eq!(values.len(), 100, "each series once");
}

#[tokio::test]
async fn a_series_that_the_server_refuses_is_found_and_the_others_arrive() {
    let is_bad = |request: &RecordedRequest| {
        shown(&asked(request)).iter().any(|line| line.contains("n=37 "))
    };
    let server = ScriptedServer::start(move |_, request| match is_bad(request) {
        true => ScriptedAnswer::status(400, "out of order sample"),
        false => ScriptedAnswer::status(200, ""),
    });
    let mut forwarder = remote_write(&url(&server), "");
    let mut batch = Batch::default();
    forwarder.encode(&snapshot_of_counters(100), &mut batch);
    send(&mut forwarder, &mut batch).await.unwrap();
    let settled = batch.take_settled();
    assert_eq!((settled.delivered, settled.refused[reason::REFUSED]), (99, 1));
    assert!(settled.last_refusal().unwrap().contains("out of order sample"));
}

#[tokio::test]
async fn the_search_ends_if_the_server_refuses_everything() {
    let server = ScriptedServer::start(|_, _| ScriptedAnswer::status(400, "no"));
    let mut forwarder = remote_write(&url(&server), "");
    let mut batch = Batch::default();
    forwarder.encode(&snapshot_of_counters(5000), &mut batch);
    send(&mut forwarder, &mut batch).await.unwrap();
    assert_eq!(batch.take_settled().refused[reason::REFUSED], 5000);
    assert!(server.asked().len() < 300, "{}", server.asked().len());
}

#[tokio::test]
async fn a_request_that_is_too_large_is_halved_and_the_limit_is_remembered() {
    let server = ScriptedServer::start(|_, request| match asked(request).len() {
        0..=250 => ScriptedAnswer::status(200, ""),
        _ => ScriptedAnswer::status(413, ""),
    });
    let mut forwarder = remote_write(&url(&server), "");
    for _ in 0..2 {
        let mut batch = Batch::default();
        forwarder.encode(&snapshot_of_counters(1000), &mut batch);
        send(&mut forwarder, &mut batch).await.unwrap();
        assert_eq!(batch.take_settled().delivered, 1000);
    }
    let large = server.asked().iter().filter(|request| asked(request).len() > 250).count();
    assert!(large <= 3, "{large} requests were too large");
}

#[tokio::test]
async fn a_server_to_which_every_request_is_too_large_costs_no_data() {
    let server = ScriptedServer::start(|number, _| match number {
        0..20 => ScriptedAnswer::status(413, ""),
        _ => ScriptedAnswer::status(200, ""),
    });
    let mut forwarder = remote_write(&url(&server), "");
    let mut batch = Batch::default();
    forwarder.encode(&snapshot_of_counters(1000), &mut batch);
    let mut attempts = 0;
    while let Err(error) = send(&mut forwarder, &mut batch).await {
        assert_eq!(error.class(), ErrorClass::Operator);
        attempts += 1;
    }
    assert!(attempts > 1, "{attempts}");
    assert_eq!(batch.take_settled().delivered, 1000);
}

#[tokio::test]
async fn accepted_samples_are_not_sent_again_after_a_failure() {
    let server = ScriptedServer::start(|number, _| match number {
        1 => ScriptedAnswer::Reply(429, vec![("Retry-After", "7".to_owned())], Vec::new()),
        2 => ScriptedAnswer::status(500, "oops"),
        3 => ScriptedAnswer::status(401, "who are you"),
        _ => ScriptedAnswer::status(200, ""),
    });
    let mut forwarder = remote_write(&url(&server), r#", "max_samples": 50"#);
    let mut batch = Batch::default();
    forwarder.encode(&snapshot_of_counters(100), &mut batch);
    let error = send(&mut forwarder, &mut batch).await.unwrap_err();
    match error.class() {
        ErrorClass::Transient { after: Some(after) } => assert!(after >= Duration::from_secs(7)),
        other => panic!("{other:?}"),
    }
    assert_eq!(batch.points_pending(), 50);
    let error = send(&mut forwarder, &mut batch).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Transient { after: None });
    let error = send(&mut forwarder, &mut batch).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Operator);
    send(&mut forwarder, &mut batch).await.unwrap();
    assert_eq!(batch.take_settled().delivered, 100);
    assert_eq!(server.asked().len(), 5);
}

#[tokio::test]
async fn a_series_larger_than_a_request_is_dropped_and_its_neighbours_are_not() {
    let server = ScriptedServer::start(|_, _| ScriptedAnswer::status(200, ""));
    let mut forwarder = remote_write(&url(&server), r#", "max_bytes": "1KiB""#);
    let long = "x".repeat(2000);
    let points =
        vec![counter("a", &[], 1.0), counter("b", &[("long", &long)], 1.0), counter("c", &[], 1.0)];
    let mut batch = Batch::default();
    forwarder.encode(&snapshot_of(points), &mut batch);
    send(&mut forwarder, &mut batch).await.unwrap();
    let settled = batch.take_settled();
    assert_eq!((settled.delivered, settled.refused[reason::TOO_LARGE]), (2, 1));
}

#[test]
fn credentials_and_headers_that_do_not_go_together_are_refused() {
    for (more, word) in [
        (r#", "username": "u""#, "password"),
        (r#", "username": "u", "password": "p", "token": "t""#, "token"),
        (r#", "headers": {"a b": "c"}"#, "a b"),
        (r#", "headers": {"Content-Type": "c"}"#, "itself"),
        (r#", "headers": {"Content-Length": "1"}"#, "itself"),
        (r#", "headers": {"host": "c"}"#, "itself"),
        (r#", "headers": {"Transfer-Encoding": "chunked"}"#, "itself"),
        (r#", "headers": {"CONNECTION": "close"}"#, "itself"),
        (r#", "headers": {"Authorization": "Bearer t"}"#, "itself"),
        (r#", "headers": {"X": "a\nb"}"#, "X"),
    ] {
        let text = format!(r#"{{"url": "http://127.0.0.1:1/"{more}}}"#);
        let config: RemoteWriteConfig = serde_json::from_str(&text).unwrap();
        let limits = StateSettings::new(&PrometheusConfig::default(), Duration::from_secs(1));
        let error = RemoteWrite::new(&config, "test", &DeliveryConfig::default(), limits, None);
        let error = error.err().unwrap();
        assert!(error.contains(word) && !error.contains("\"p\""), "{error}");
    }
}

#[tokio::test]
async fn a_probe_distinguishes_a_wrong_path_from_a_working_server() {
    let server = ScriptedServer::start(|number, _| match number {
        0 => ScriptedAnswer::status(404, "not here"),
        _ => ScriptedAnswer::status(204, ""),
    });
    let mut forwarder = remote_write(&url(&server), "");
    assert!(forwarder.probe().await.unwrap_err().to_string().contains("404"));
    forwarder.probe().await.unwrap();
    let _shared = Arc::new(server);
}

#[tokio::test]
async fn a_series_that_makes_a_server_fail_is_dropped_although_no_other_was_ever_accepted() {
    let server = ScriptedServer::start(|_, request| {
        let body = snap::raw::Decoder::new().decompress_vec(&request.body).unwrap();
        let body = String::from_utf8_lossy(&body).into_owned();
        ScriptedAnswer::status(if body.contains("poison") { 500 } else { 200 }, "")
    });
    let mut forwarder = remote_write(&format!("http://{}/push", server.address), "");
    let mut batch = Batch::default();
    forwarder.encode(&snapshot_of(vec![counter("poison", &[], 1.0)]), &mut batch);
    let mut failed = 0;
    while forwarder.send(&mut batch).await.is_err() {
        failed += 1;
    }
    let settled = batch.take_settled();
    assert_eq!((failed, settled.delivered, settled.refused["refused"]), (7, 0, 1));
    let body = |request: &RecordedRequest| {
        WriteRequest::decode(&*snap::raw::Decoder::new().decompress_vec(&request.body).unwrap())
    };
    let sent: Vec<TimeSeries> =
        server.asked().iter().flat_map(|request| body(request).unwrap().timeseries).collect();
    let name = |series: &TimeSeries| series.labels[0].value.clone();
    let marker = sent.iter().find(|series| name(series) == "tallyd_remote_write_check").unwrap();
    assert_eq!(marker.samples[0].value.to_bits(), wire::STALE.to_bits());
    // Later windows contain the series too, as it is live, and lose only it.
    let good = vec![counter("poison", &[], 1.0), counter("good", &[], 1.0)];
    batch.clear();
    forwarder.encode(&snapshot_of(good), &mut batch);
    forwarder.send(&mut batch).await.unwrap();
    let settled = batch.take_settled();
    assert_eq!((settled.delivered, settled.refused["refused"]), (1, 1));
}

#[tokio::test]
async fn a_remote_write_server_that_fails_for_everything_costs_no_data() {
    let server = ScriptedServer::start(|count, _| match count < 50 {
        true => ScriptedAnswer::status(500, "at least 2 live replicas required"),
        false => ScriptedAnswer::status(200, ""),
    });
    let mut forwarder = remote_write(&format!("http://{}/push", server.address), "");
    let mut batch = Batch::default();
    forwarder.encode(&snapshot_of_counters(20), &mut batch);
    while forwarder.send(&mut batch).await.is_err() {}
    let settled = batch.take_settled();
    assert_eq!((settled.delivered, settled.refused), (20, BTreeMap::new()));
}
