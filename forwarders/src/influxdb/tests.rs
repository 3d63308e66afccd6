//! Tests the forwarder with a scripted server, for every kind of reply.

mod real;

use std::collections::BTreeMap;
use std::io::Read;
use std::time::Duration;

use flate2::read::GzDecoder;
use proptest::prelude::*;

use super::*;
use crate::delivery::forwarder::ErrorClass;
use crate::delivery::payload::Settled;
use crate::http::scripted::{RecordedRequest, ScriptedAnswer, ScriptedServer};
use model::testing::{insert, point, snapshot_of, snapshot_of_counters};
use model::{DistinctSet, MetricKind, Point, SetSeed, Sum, Timer, Value};

/// Creates a forwarder for a server, with additional settings.
fn influxdb(url: &str, settings: &str) -> InfluxDb {
    let json = format!(r#"{{"url": "{url}"{settings}}}"#);
    InfluxDb::new(&serde_json::from_str(&json).unwrap()).unwrap()
}

fn influxdb_at(server: &ScriptedServer, settings: &str) -> InfluxDb {
    let url = format!("http://{}", server.address);
    influxdb(&url, &format!(r#", "database": "m", "gzip": false{settings}"#))
}

/// Encodes a snapshot and sends it once.
async fn deliver(
    forwarder: &mut InfluxDb,
    snapshot: &Snapshot,
) -> (Result<(), SendError>, Settled) {
    let mut batch = Batch::default();
    forwarder.encode(snapshot, &mut batch);
    let sent = forwarder.send(&mut batch).await;
    assert_eq!(sent.is_ok(), batch.is_settled());
    (sent, batch.take_settled())
}

fn lines_of(asked: &RecordedRequest) -> Vec<String> {
    String::from_utf8(asked.body.clone()).unwrap().lines().map(str::to_owned).collect()
}

fn refused(reason: &'static str, points: u64) -> BTreeMap<&'static str, u64> {
    BTreeMap::from([(reason, points)])
}

fn gauge(name: &str, value: f64) -> Point {
    point(MetricKind::Gauge, name, &[], Value::Gauge { value, arrival_ns: 0 })
}

/// Returns a snapshot with a point of each kind.
fn all_kinds() -> Snapshot {
    let mut timer = Timer::default();
    [1.5, 2.5].iter().for_each(|value| timer.record(*value, 1.0, 1000));
    let timer = Value::timer(timer, &snapshot_of(vec![]).percentiles);
    let mut set = DistinctSet::default();
    ["a", "b", "c", "a"]
        .iter()
        .for_each(|member| set.insert(member.as_bytes(), &SetSeed::from_text("")));
    let tags = [("stage", "login"), ("user", "a b")];
    let value = Value::Gauge { value: -0.25, arrival_ns: 0 };
    snapshot_of(vec![
        point(MetricKind::Counter, "user.logins", &tags, Value::Counter(Sum::of(43.0))),
        point(MetricKind::Gauge, "depth", &tags[..1], value),
        point(MetricKind::Timer, "user.latency", &[("host", "a")], timer),
        point(MetricKind::Set, "visitors", &[], Value::set(set)),
        point(MetricKind::Trace, "seen", &[("k", "v")], Value::Trace(Sum::of(7.0))),
        gauge("big", 1e300),
    ])
}

#[tokio::test]
async fn every_kind_is_written_as_the_golden_file_has_it() {
    let server = ScriptedServer::start(|_, _| ScriptedAnswer::status(204, ""));
    let (sent, settled) = deliver(&mut influxdb_at(&server, ""), &all_kinds()).await;
    sent.unwrap();
    assert_eq!(settled.delivered, 6);
    let asked = server.asked();
    assert_eq!(asked[0].line, "POST /write?db=m&precision=s HTTP/1.1");
    assert_eq!(asked[0].header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(
        String::from_utf8(asked[0].body.clone()).unwrap(),
        include_str!("tests/all_kinds.lp")
    );
}

#[tokio::test]
async fn telegrafs_names_and_types_are_written_if_they_are_configured() {
    let server = ScriptedServer::start(|_, _| ScriptedAnswer::status(204, ""));
    let settings = r#", "naming": "telegraf", "telegraf": {"float_sets": true}"#;
    let (sent, settled) = deliver(&mut influxdb_at(&server, settings), &all_kinds()).await;
    sent.unwrap();
    assert_eq!(settled.delivered, 6);
    assert_eq!(
        String::from_utf8(server.asked()[0].body.clone()).unwrap(),
        include_str!("tests/all_kinds_of_telegraf.lp")
    );
}

#[tokio::test]
async fn a_compressed_request_holds_the_same() {
    let server = ScriptedServer::start(|_, _| ScriptedAnswer::status(204, ""));
    let mut forwarder = influxdb_at(&server, "");
    forwarder.protocol.gzip = true;
    let (sent, settled) = deliver(&mut forwarder, &all_kinds()).await;
    sent.unwrap();
    assert_eq!(settled.delivered, 6);
    let asked = server.asked();
    assert_eq!(asked[0].header("content-encoding"), Some("gzip"));
    let mut body = String::new();
    GzDecoder::new(asked[0].body.as_slice()).read_to_string(&mut body).unwrap();
    assert_eq!(body, include_str!("tests/all_kinds.lp"));
}

#[tokio::test]
async fn an_empty_window_costs_no_request() {
    let server = ScriptedServer::start(|_, _| ScriptedAnswer::status(204, ""));
    deliver(&mut influxdb_at(&server, ""), &snapshot_of(vec![])).await.0.unwrap();
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn requests_have_at_most_the_configured_lines_and_bytes() {
    let server = ScriptedServer::start(|_, _| ScriptedAnswer::status(204, ""));
    let mut by_lines = influxdb_at(&server, r#", "max_lines": 400"#);
    assert_eq!(deliver(&mut by_lines, &snapshot_of_counters(1_000)).await.1.delivered, 1_000);
    let sizes: Vec<usize> = server.asked().iter().map(|asked| lines_of(asked).len()).collect();
    assert_eq!(sizes, [400, 400, 200]);

    let server = ScriptedServer::start(|_, _| ScriptedAnswer::status(204, ""));
    let mut by_bytes = influxdb_at(&server, r#", "max_bytes": "4KiB""#);
    assert_eq!(deliver(&mut by_bytes, &snapshot_of_counters(1_000)).await.1.delivered, 1_000);
    let asked = server.asked();
    assert!(asked.iter().all(|asked| asked.body.len() <= 4096));
    assert!(asked[..asked.len() - 1].iter().all(|asked| asked.body.len() > 4000));
    let all: Vec<String> = asked.iter().flat_map(lines_of).collect();
    let numbers = |line: &String| line.split([',', '=', ' ']).nth(2).unwrap().parse().unwrap();
    assert_eq!(all.iter().map(numbers).collect::<Vec<usize>>(), (0..1_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_line_that_the_server_names_is_dropped_alone() {
    // Refuses the whole request because of two lines and names them, as InfluxDB 2 does.
    let server = ScriptedServer::start(|_, asked| {
        let lines = lines_of(asked);
        let bad: Vec<String> = lines
            .iter()
            .filter(|line| line.starts_with("c,n=7 ") || line.starts_with("c,n=300 "))
            .map(|line| format!("unable to parse '{line}': bad"))
            .collect();
        if bad.is_empty() {
            return ScriptedAnswer::status(204, "");
        }
        let body = serde_json::json!({"code": "invalid", "message": bad.join("\n")});
        ScriptedAnswer::status(400, &body.to_string())
    });
    let (sent, settled) = deliver(&mut influxdb_at(&server, ""), &snapshot_of_counters(500)).await;
    sent.unwrap();
    assert_eq!((settled.delivered, settled.refused.clone()), (498, refused("refused", 2)));
    assert!(settled.last_refusal().unwrap().contains("unable to parse 'c,n=7 count=1"));
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn a_partial_write_is_done_and_its_losses_are_counted_whatever_its_status() {
    for status in [201, 400, 422, 500, 503] {
        let server = ScriptedServer::start(move |_, _| {
            let error = "partial write: field type conflict: input field \"count\" dropped=3";
            ScriptedAnswer::status(status, &serde_json::json!({ "error": error }).to_string())
        });
        let mut forwarder = influxdb_at(&server, "");
        let (sent, settled) = deliver(&mut forwarder, &snapshot_of_counters(10)).await;
        sent.unwrap();
        let expected = (7, refused("refused", 3));
        assert_eq!((settled.delivered, settled.refused.clone()), expected, "{status}");
        assert!(settled.last_refusal().unwrap().contains("field type conflict"));
        assert_eq!(server.asked().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_line_that_a_failure_is_about_is_found_and_dropped_alone() {
    let server = ScriptedServer::start(|_, asked| {
        if lines_of(asked).iter().any(|line| line.starts_with("c,n=7 ")) {
            ScriptedAnswer::status(500, r#"{"error":"write failed: field type conflict"}"#)
        } else {
            ScriptedAnswer::status(204, "")
        }
    });
    let (sent, settled) = deliver(&mut influxdb_at(&server, ""), &snapshot_of_counters(100)).await;
    sent.unwrap();
    assert_eq!((settled.delivered, settled.refused.clone()), (99, refused("refused", 1)));
}

#[tokio::test]
async fn a_strict_server_is_asked_at_most_eight_times_more_and_gets_the_good_lines() {
    let is_bad =
        |asked: &RecordedRequest| lines_of(asked).iter().any(|line| line.starts_with("c,n=1234 "));
    let server = ScriptedServer::start(move |_, asked| {
        if is_bad(asked) {
            ScriptedAnswer::status(400, "no")
        } else {
            ScriptedAnswer::status(204, "")
        }
    });
    let (sent, settled) =
        deliver(&mut influxdb_at(&server, ""), &snapshot_of_counters(5_000)).await;
    sent.unwrap();
    assert!(server.asked().len() <= 9, "{}", server.asked().len());
    let lost = settled.refused["refused"];
    assert!((1..=40).contains(&lost), "{lost}");
    assert_eq!(settled.delivered, 5_000 - lost);
    // It received each of the accepted lines once.
    let asked = server.asked();
    let taken = asked.iter().filter(|asked| !is_bad(asked)).flat_map(lines_of);
    let taken: Vec<String> = taken.collect();
    let different: std::collections::BTreeSet<&String> = taken.iter().collect();
    assert_eq!(
        (taken.len() as u64, different.len() as u64),
        (settled.delivered, settled.delivered)
    );
}

#[tokio::test]
async fn a_server_that_refuses_everything_is_not_asked_about_every_line() {
    let server = ScriptedServer::start(|_, _| ScriptedAnswer::status(400, ""));
    let mut forwarder = influxdb_at(&server, r#", "max_lines": 1000"#);
    let (sent, settled) = deliver(&mut forwarder, &snapshot_of_counters(10_000)).await;
    sent.unwrap();
    assert_eq!((settled.delivered, settled.refused), (0, refused("refused", 10_000)));
    assert!(server.asked().len() <= 64 + 10 + 8, "{}", server.asked().len());
}

#[tokio::test]
async fn requests_are_halved_until_they_pass_and_the_size_is_remembered() {
    let server = ScriptedServer::start(|_, asked| {
        if asked.body.len() > 5_000 {
            ScriptedAnswer::status(413, "")
        } else {
            ScriptedAnswer::status(204, "")
        }
    });
    let mut forwarder = influxdb_at(&server, "");
    let (sent, settled) = deliver(&mut forwarder, &snapshot_of_counters(1_000)).await;
    sent.unwrap();
    assert_eq!((settled.delivered, settled.refused), (1_000, BTreeMap::new()));
    let before = server.asked().len();
    deliver(&mut forwarder, &snapshot_of_counters(1_000)).await.0.unwrap();
    assert!(server.asked()[before..].iter().all(|asked| asked.body.len() <= 5_000));
}

#[tokio::test]
async fn a_server_to_which_everything_is_too_large_waits_for_its_operator() {
    let server = ScriptedServer::start(|_, _| ScriptedAnswer::status(413, ""));
    let mut forwarder = influxdb_at(&server, "");
    for _ in 0..2 {
        let (sent, settled) = deliver(&mut forwarder, &snapshot_of_counters(10_000)).await;
        assert_eq!(sent.unwrap_err().class(), ErrorClass::Operator);
        assert_eq!(settled, Settled::default());
    }
    assert!(server.asked().len() < 24, "{}", server.asked().len());
}

#[tokio::test]
async fn a_line_that_is_too_large_alone_is_dropped_alone() {
    let server = ScriptedServer::start(|_, asked| {
        if asked.body.len() > 5_000 {
            ScriptedAnswer::status(413, "")
        } else {
            ScriptedAnswer::status(204, "")
        }
    });
    let mut snapshot = snapshot_of_counters(100);
    let value = Value::Counter(Sum::of(1.0));
    let long = "x".repeat(6_000);
    insert(&mut snapshot, 50, point(MetricKind::Counter, "long", &[("t", &long)], value));
    let (sent, settled) = deliver(&mut influxdb_at(&server, ""), &snapshot).await;
    sent.unwrap();
    assert_eq!((settled.delivered, settled.refused.clone()), (100, refused("too_large", 1)));
}

#[tokio::test]
async fn a_line_beyond_the_limits_is_dropped_without_a_request() {
    let server = ScriptedServer::start(|_, _| ScriptedAnswer::status(204, ""));
    let mut snapshot = snapshot_of_counters(2);
    insert(&mut snapshot, 1, gauge(&"k".repeat(65_536), 1.0));
    insert(&mut snapshot, 3, gauge(&"l".repeat(65_535), 1.0));
    let (sent, settled) = deliver(&mut influxdb_at(&server, ""), &snapshot).await;
    sent.unwrap();
    assert_eq!((settled.delivered, settled.refused.clone()), (3, refused("too_large", 1)));
    let words = settled.last_refusal().unwrap();
    assert_eq!(words, "name and tags of a series are 65536 bytes long, and InfluxDB takes 65535");
    let mut short = influxdb_at(&server, r#", "max_bytes": "1KiB""#);
    let (sent, settled) = deliver(&mut short, &snapshot).await;
    sent.unwrap();
    assert_eq!((settled.delivered, settled.refused.clone()), (2, refused("too_large", 2)));
}

#[tokio::test]
async fn a_window_that_was_delivered_by_half_is_not_sent_twice() {
    let server = ScriptedServer::start(|count, _| match count {
        1 => ScriptedAnswer::status(503, "busy"),
        _ => ScriptedAnswer::status(204, ""),
    });
    let mut forwarder = influxdb_at(&server, r#", "max_lines": 10"#);
    let mut batch = Batch::default();
    forwarder.encode(&snapshot_of_counters(30), &mut batch);
    let error = forwarder.send(&mut batch).await.unwrap_err();
    assert!(error.to_string().ends_with("/write: busy"), "{error}");
    assert_eq!(batch.take_settled().delivered, 10);
    forwarder.send(&mut batch).await.unwrap();
    assert_eq!(batch.take_settled().delivered, 20);
    let asked = server.asked();
    assert_eq!(asked.len(), 4);
    assert_eq!(lines_of(&asked[1]), lines_of(&asked[2]));
}

#[tokio::test]
async fn every_other_reply_keeps_the_data_and_has_an_error_class() {
    let transient = ErrorClass::Transient { after: None };
    let operator = ErrorClass::Operator;
    for (status, body, class) in [
        (301, "", operator),
        (307, "", operator),
        (401, r#"{"error":"authorization failed"}"#, operator),
        (403, r#"{"error":"\"ro\" user is not authorized to write to database \"m\""}"#, operator),
        (404, r#"{"error":"database not found: \"nope\""}"#, operator),
        (404, "404 page not found", operator),
        (405, "", operator),
        (408, "", transient),
        (415, "", operator),
        (425, "", transient),
        (429, "", transient),
        (500, r#"{"error":"retention policy not found: zz"}"#, operator),
        (500, r#"{"error":"timeout"}"#, transient),
        (501, "", operator),
        (502, "", transient),
        (503, "", transient),
        (504, "", transient),
        (505, "", operator),
        (400, "<html>plain HTTP request was sent to HTTPS port</html>", operator),
        (200, "<!DOCTYPE html><title>Please log in</title>", operator),
        (200, r#"{"error":"no such database"}"#, operator),
        (202, r#"{"code":"unauthorized","message":"unauthorized access"}"#, operator),
    ] {
        let server = ScriptedServer::start(move |_, _| ScriptedAnswer::status(status, body));
        let mut forwarder = influxdb_at(&server, "");
        let (sent, settled) = deliver(&mut forwarder, &snapshot_of_counters(3)).await;
        let error = sent.unwrap_err();
        assert_eq!(error.class(), class, "{status} {body}");
        assert!(error.to_string().contains(&status.to_string()), "{error}");
        assert_eq!((settled, server.asked().len()), (Settled::default(), 1), "{status} {body}");
        let probed = forwarder.probe().await.unwrap_err();
        assert_eq!(probed.class(), class, "{status} {body}");
    }
}

#[tokio::test]
async fn the_pause_that_a_server_asks_for_is_passed_on() {
    let server = ScriptedServer::start(|_, _| {
        ScriptedAnswer::Reply(503, vec![("retry-after", "2".into())], Vec::new())
    });
    let error =
        deliver(&mut influxdb_at(&server, ""), &snapshot_of_counters(1)).await.0.unwrap_err();
    let ErrorClass::Transient { after: Some(after) } = error.class() else { panic!("{error}") };
    assert!((2.0..=2.5).contains(&after.as_secs_f64()), "{after:?}");
}

#[tokio::test]
async fn a_reply_that_never_comes_or_breaks_off_keeps_the_data() {
    for answer in [
        ScriptedAnswer::Hang,
        ScriptedAnswer::Bytes(Vec::new()),
        ScriptedAnswer::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n1".to_vec()),
    ] {
        let server = ScriptedServer::start(move |_, _| answer.clone());
        let mut forwarder = influxdb_at(&server, r#", "delivery": {"timeout": "300ms"}"#);
        let (sent, settled) = deliver(&mut forwarder, &snapshot_of_counters(3)).await;
        assert_eq!(sent.unwrap_err().class(), ErrorClass::Transient { after: None });
        assert_eq!(settled, Settled::default());
    }
}

/// Sends a snapshot until it is settled, at most `attempts` times. Returns the number of failed
/// attempts.
async fn deliver_in(
    forwarder: &mut InfluxDb,
    snapshot: &Snapshot,
    attempts: usize,
) -> (usize, Settled) {
    let mut batch = Batch::default();
    forwarder.encode(snapshot, &mut batch);
    let mut failed = 0;
    while failed < attempts && forwarder.send(&mut batch).await.is_err() {
        failed += 1;
    }
    (failed, batch.take_settled())
}

fn has_poison(asked: &RecordedRequest) -> bool {
    lines_of(asked).iter().any(|line| line.starts_with("c,n=7 "))
}

/// Settings with which a search begins after three failures.
const THREE: &str = r#", "delivery": {"retry": {"search_after": 3}}"#;

#[tokio::test]
async fn a_line_that_makes_a_server_fail_in_any_way_is_dropped_alone() {
    let answers = [
        ScriptedAnswer::status(500, "oops"),
        ScriptedAnswer::status(502, "<html>Bad Gateway</html>"),
        ScriptedAnswer::status(403, "<html>Request blocked</html>"),
        ScriptedAnswer::status(404, ""),
        ScriptedAnswer::status(200, "<html>Please log in</html>"),
        ScriptedAnswer::Reply(302, vec![("location", "/login".into())], Vec::new()),
        ScriptedAnswer::Bytes(Vec::new()),
        ScriptedAnswer::Bytes(b"HTTP/1.1 2".to_vec()),
    ];
    for bad in answers {
        let answer = bad.clone();
        let server = ScriptedServer::start(move |_, asked| {
            if has_poison(asked) { answer.clone() } else { ScriptedAnswer::status(204, "") }
        });
        let mut forwarder = influxdb_at(&server, THREE);
        let snapshot = snapshot_of_counters(100);
        let (failed, settled) = deliver_in(&mut forwarder, &snapshot, 9).await;
        let expected = (99, refused("refused", 1));
        assert_eq!((settled.delivered, settled.refused.clone()), expected, "{bad:?}");
        assert_eq!(failed, 2, "{bad:?}");
        let words = settled.last_refusal().unwrap();
        assert!(words.ends_with("(the server accepts other data)"), "{words}");
        assert!(server.asked().len() < 50, "{}", server.asked().len());
        // The problem is known now, so the next window with this line is not held up.
        let (failed, settled) = deliver_in(&mut forwarder, &snapshot, 9).await;
        assert_eq!((failed, settled.delivered), (0, 99), "{bad:?}");
    }
}

#[tokio::test]
async fn a_server_that_fails_for_everything_or_asks_for_patience_costs_no_data() {
    for (status, headers) in
        [(500, vec![]), (403, vec![]), (503, vec![]), (500, vec![("retry-after", "1".to_owned())])]
    {
        let server = ScriptedServer::start(move |count, _| {
            if count < 60 {
                ScriptedAnswer::Reply(status, headers.clone(), Vec::new())
            } else {
                ScriptedAnswer::status(204, "")
            }
        });
        let mut forwarder = influxdb_at(&server, THREE);
        let (failed, settled) = deliver_in(&mut forwarder, &snapshot_of_counters(100), 99).await;
        assert!(failed > 10, "{failed}");
        assert_eq!((settled.delivered, settled.refused), (100, BTreeMap::new()), "{status}");
    }
}

#[tokio::test]
async fn a_line_for_which_a_server_is_busy_is_sent_until_it_is_accepted() {
    let server = ScriptedServer::start(|count, asked| match has_poison(asked) && count < 40 {
        true => ScriptedAnswer::status(503, "busy"),
        false => ScriptedAnswer::status(204, ""),
    });
    let mut forwarder = influxdb_at(&server, THREE);
    let (failed, settled) = deliver_in(&mut forwarder, &snapshot_of_counters(100), 99).await;
    assert_eq!((failed, settled.delivered, server.asked().len()), (40, 100, 41));
}

#[tokio::test]
async fn a_conflict_costs_its_line_alone_although_the_status_asks_for_patience() {
    let conflict = r#"{"error":"field type conflict: input field \"v\" on measurement \"c\""}"#;
    let server = ScriptedServer::start(move |_, asked| match has_poison(asked) {
        true => ScriptedAnswer::status(503, conflict),
        false => ScriptedAnswer::status(204, ""),
    });
    let mut forwarder = influxdb_at(&server, THREE);
    let (failed, settled) = deliver_in(&mut forwarder, &snapshot_of_counters(100), 9).await;
    assert_eq!((failed, settled.delivered), (2, 99));
    assert_eq!(settled.refused, refused("refused", 1));
}

#[tokio::test]
async fn temporary_trouble_of_a_server_costs_no_data_whatever_its_status_is() {
    let full = r#"{"error":"engine: cache-max-memory-size exceeded: (104/100)"}"#;
    let partial = r#"{"error":"partial write: engine: cache-max-memory-size exceeded dropped=9"}"#;
    let conflict = r#"{"error":"field type conflict: input field \"v\" on measurement \"c\""}"#;
    for (status, body) in [(400, full), (422, full), (500, full), (400, partial), (503, conflict)] {
        let server = ScriptedServer::start(move |count, _| match count < 60 {
            true => ScriptedAnswer::status(status, body),
            false => ScriptedAnswer::status(204, ""),
        });
        let mut forwarder = influxdb_at(&server, THREE);
        let (_failed, settled) = deliver_in(&mut forwarder, &snapshot_of_counters(100), 99).await;
        assert_eq!((settled.delivered, settled.refused), (100, BTreeMap::new()), "{status} {body}");
    }
}

#[tokio::test]
async fn a_window_that_is_refused_whole_is_dropped_once_the_server_takes_a_newer_one() {
    let server = ScriptedServer::start(|_, asked| {
        let is_bad = lines_of(asked).iter().any(|line| line.starts_with("poison "));
        ScriptedAnswer::status(if is_bad { 500 } else { 204 }, "")
    });
    let mut forwarder = influxdb_at(&server, THREE);
    let poison = snapshot_of(vec![gauge("poison", 1.0)]);
    let mut batch = Batch::default();
    forwarder.encode(&poison, &mut batch);
    for _ in 0..20 {
        forwarder.send(&mut batch).await.unwrap_err();
    }
    assert!(server.asked().len() < 30, "{}", server.asked().len());
    assert!(forwarder.wants_newer_window() && batch.points_pending() == 1);
    // The timestamps of the newer window are in milliseconds, those of the first window in seconds.
    let mut newer = snapshot_of_counters(100);
    newer.window.end_ms += 1;
    newer.window.length = Duration::from_millis(100);
    forwarder.show_newer_window(&newer);
    while forwarder.send(&mut batch).await.is_err() {}
    let settled = batch.take_settled();
    assert_eq!((settled.delivered, settled.refused.clone()), (0, refused("refused", 1)));
    let asked = server.asked();
    let good = asked.iter().find(|asked| lines_of(asked)[0].starts_with("c,")).unwrap();
    assert_eq!(lines_of(good), ["c,n=0 count=1,rate=10 1490114074001"]);
    assert!(good.line.contains("precision=ms"), "{}", good.line);
    // The next one is dropped at once: the server still accepts the line of the newer window.
    let (failed, settled) = deliver_in(&mut forwarder, &poison, 9).await;
    assert_eq!((failed, settled.refused), (0, refused("refused", 1)));
}

#[tokio::test]
async fn requests_on_which_a_server_breaks_off_are_halved_and_the_size_is_remembered() {
    let server = ScriptedServer::start(|_, asked| match asked.body.len() > 5_000 {
        true => ScriptedAnswer::Bytes(Vec::new()),
        false => ScriptedAnswer::status(204, ""),
    });
    let mut forwarder = influxdb_at(&server, "");
    let snapshot = snapshot_of_counters(1_000);
    let (failed, settled) = deliver_in(&mut forwarder, &snapshot, 9).await;
    assert_eq!((failed, settled.delivered, settled.refused), (2, 1_000, BTreeMap::new()));
    assert!((2_500..=5_000).contains(&forwarder.sender.bytes_max()));
    let before = server.asked().len();
    let (failed, settled) = deliver_in(&mut forwarder, &snapshot, 9).await;
    assert_eq!((failed, settled.delivered), (0, 1_000));
    assert!(server.asked()[before..].iter().all(|asked| asked.body.len() <= 5_000));
}

#[tokio::test]
async fn a_list_of_bad_lines_that_is_too_long_to_read_costs_no_good_line() {
    // Accepts the valid lines and names the others, as InfluxDB 3 does, in so long a reply that it
    // is truncated. The valid lines are sent again, which does no harm.
    let server = ScriptedServer::start(|_, asked| {
        let errors: Vec<_> = (1..)
            .zip(lines_of(asked))
            .filter(|(_, line)| line.contains("bad"))
            .map(|(number, line)| {
                serde_json::json!({
                    "original_line": format!("{line}{}", "x".repeat(2_000)),
                    "line_number": number,
                    "error_message": "invalid column type",
                })
            })
            .collect();
        let error = "partial write of line protocol occurred";
        let body = serde_json::json!({ "error": error, "data": errors });
        if errors.is_empty() {
            ScriptedAnswer::status(204, "")
        } else {
            ScriptedAnswer::status(400, &body.to_string())
        }
    });
    let points = (0..200).map(|number| {
        gauge(&format!("{}{number}", if number % 2 == 0 { "good" } else { "bad" }), 1.0)
    });
    let url = format!("http://{}", server.address);
    let mut forwarder = influxdb(&url, r#", "version": "3", "database": "m", "gzip": false"#);
    let (sent, settled) = deliver(&mut forwarder, &snapshot_of(points.collect())).await;
    sent.unwrap();
    assert_eq!((settled.delivered, settled.refused.clone()), (100, refused("refused", 100)));
    assert!(server.asked().len() <= 6, "{}", server.asked().len());
}

#[tokio::test]
async fn a_probe_is_a_request_without_lines() {
    for (status, body) in [
        (204, ""),
        (400, r#"{"code":"invalid","message":"writing requires points"}"#),
        (400, "incoming write was empty"),
    ] {
        let server = ScriptedServer::start(move |_, _| ScriptedAnswer::status(status, body));
        influxdb_at(&server, "").probe().await.unwrap();
        assert!(server.asked()[0].body.is_empty());
    }
    let server = ScriptedServer::start(|_, _| ScriptedAnswer::status(400, "database is required"));
    let error = influxdb_at(&server, "").probe().await.unwrap_err();
    assert!(error.to_string().contains("database is required"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_point_is_lost_and_no_line_is_too_long(
        names in prop::collection::vec("[a-z ,=\\\\#\n\u{0}]{1,8}|.{1,400}", 1..20),
        lengths in prop::collection::vec(0_usize..70_000, 1..20),
    ) {
        let points: Vec<Point> = names
            .iter()
            .zip(lengths)
            .map(|(name, length)| gauge(&format!("{name}{}", "x".repeat(length / 100 * 100)), 1.0))
            .collect();
        let total = points.len();
        let mut forwarder = influxdb("http://127.0.0.1:1", r#", "database": "m", "max_bytes": "60KiB""#);
        let mut batch = Batch::default();
        forwarder.encode(&snapshot_of(points), &mut batch);
        let lost: u64 = batch.take_settled().refused.values().sum();
        let pending: Vec<Vec<u8>> = batch.pending().map(|payload| payload.bytes.to_vec()).collect();
        prop_assert_eq!(pending.len() as u64 + lost, total as u64);
        for line in pending {
            prop_assert!(line.len() <= 60 << 10);
            prop_assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            prop_assert!(line.ends_with(b" value=1 1490114074\n"));
        }
    }
}

/// Prints the cost of a window of 100,000 points; a measurement if built in release mode.
#[tokio::test]
async fn a_window_of_100000_points_goes_through() {
    let server = ScriptedServer::start(|_, _| ScriptedAnswer::status(204, ""));
    let mut forwarder = influxdb_at(&server, r#", "delivery": {"timeout": "60s"}"#);
    let snapshot = {
        let counter = |number: usize| {
            let number = number.to_string();
            let tags = [
                ("environment", "stage"),
                ("host", "edge-1.example.net"),
                ("n", number.as_str()),
                ("role", "cfbroker"),
            ];
            point(MetricKind::Counter, "user.logins", &tags, Value::Counter(Sum::of(1.0)))
        };
        snapshot_of((0..100_000).map(counter).collect())
    };
    let mut batch = Batch::default();
    let mut encoded = Duration::MAX;
    for _ in 0..5 {
        batch.clear();
        let start = std::time::Instant::now();
        forwarder.encode(&snapshot, &mut batch);
        encoded = encoded.min(start.elapsed());
    }
    let bytes: usize = batch.pending().map(|payload| payload.bytes.len()).sum();
    for gzip in [true, false] {
        forwarder.protocol.gzip = gzip;
        batch.clear();
        forwarder.encode(&snapshot, &mut batch);
        let start = std::time::Instant::now();
        forwarder.send(&mut batch).await.unwrap();
        println!(
            "100,000 points, {bytes} bytes: encoded in {encoded:?}, sent in {:?} (gzip: {gzip})",
            start.elapsed()
        );
        assert_eq!(batch.take_settled().delivered, 100_000);
    }
}
