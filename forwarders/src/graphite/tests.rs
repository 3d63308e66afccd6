//! Tests the bytes that carbon receives, also over sockets that fail.

use std::collections::HashMap;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::limits::{LINE_BYTES_MAX, PART_BYTES_MAX};
use super::pickle::tests::unpickle;
use super::*;
use crate::delivery::stats::reason;
use crate::testing::{encoded, section, text_of};
use model::PointRanges;
use model::testing::{counter, point, snapshot_of, snapshot_of_counters};
use model::{DistinctSet, MetricKind, Point, SetSeed, Sum, Value};

/// Creates a destination from the members of its section, and adds an address if they have none.
fn graphite(members: &str) -> Graphite {
    Graphite::new(&section(members)).unwrap()
}

fn encode(members: &str, points: Vec<Point>) -> Batch {
    encoded(&mut graphite(members), points)
}

fn lines(members: &str, points: Vec<Point>) -> String {
    text_of(&encode(members, points))
}

fn timer(name: &str, tags: &[(&str, &str)], values: &[f64]) -> Point {
    let samples: Vec<_> = values.iter().map(|value| (*value, 1.0)).collect();
    model::testing::timer(name, tags, &samples)
}

/// Returns one series of each kind.
fn one_of_each() -> Vec<Point> {
    let tags = [("host", "web1.example.net"), ("stage", "log in")];
    let mut set = DistinctSet::default();
    ["a", "b"].iter().for_each(|member| set.insert(member.as_bytes(), &SetSeed::from_text("")));
    vec![
        counter("user.logins", &tags, 5.0),
        point(MetricKind::Gauge, "depth", &tags, Value::Gauge { value: -1.5, arrival_ns: 0 }),
        timer("latency", &tags, &[1.0, 2.0, 3.0, 4.0]),
        point(MetricKind::Set, "callers", &tags, Value::set(set)),
        point(MetricKind::Trace, "signups", &tags, Value::Trace(Sum::of(3.0))),
    ]
}

#[test]
fn every_kind_has_its_lines() {
    assert_eq!(
        lines("", one_of_each()).replace(";host=web1.example.net;stage=log_in", ";T"),
        "user.logins;T 5 1490114074\n\
         user.logins.rate;T 0.5 1490114074\n\
         depth;T -1.5 1490114074\n\
         latency.count;T 4 1490114074\n\
         latency.rate;T 0.4 1490114074\n\
         latency.sum;T 10 1490114074\n\
         latency.min;T 1 1490114074\n\
         latency.max;T 4 1490114074\n\
         latency.mean;T 2.5 1490114074\n\
         latency.stddev;T 1.118033988749895 1490114074\n\
         latency.p50;T 2 1490114074\n\
         latency.p90;T 4 1490114074\n\
         latency.p95;T 4 1490114074\n\
         latency.p99;T 4 1490114074\n\
         callers;T 2 1490114074\n\
         signups;T 3 1490114074\n"
    );
}

#[test]
fn etsy_has_the_lines_of_statsd() {
    let members = r#""naming": "etsy", "tags": "drop", "etsy": {"global_suffix": "h1"}"#;
    assert_eq!(
        lines(members, one_of_each()),
        "stats.counters.user.logins.rate.h1 0.5 1490114074\n\
         stats.counters.user.logins.count.h1 5 1490114074\n\
         stats.gauges.depth.h1 -1.5 1490114074\n\
         stats.timers.latency.count_90.h1 4 1490114074\n\
         stats.timers.latency.mean_90.h1 2.5 1490114074\n\
         stats.timers.latency.upper_90.h1 4 1490114074\n\
         stats.timers.latency.sum_90.h1 10 1490114074\n\
         stats.timers.latency.sum_squares_90.h1 30 1490114074\n\
         stats.timers.latency.std.h1 1.118033988749895 1490114074\n\
         stats.timers.latency.upper.h1 4 1490114074\n\
         stats.timers.latency.lower.h1 1 1490114074\n\
         stats.timers.latency.count.h1 4 1490114074\n\
         stats.timers.latency.count_ps.h1 0.4 1490114074\n\
         stats.timers.latency.sum.h1 10 1490114074\n\
         stats.timers.latency.sum_squares.h1 30 1490114074\n\
         stats.timers.latency.mean.h1 2.5 1490114074\n\
         stats.timers.latency.median.h1 2.5 1490114074\n\
         stats.sets.callers.count.h1 2 1490114074\n\
         stats.counters.signups.rate.h1 0.3 1490114074\n\
         stats.counters.signups.count.h1 3 1490114074\n"
    );
}

#[test]
fn etsy_names_are_followed_by_their_tags() {
    let gauge = |name: &str, tags: &[(&str, &str)]| {
        point(MetricKind::Gauge, name, tags, Value::Gauge { value: 1.0, arrival_ns: 0 })
    };
    let members = r#""naming": "etsy", "etsy": {"global_suffix": "h1"}"#;
    for (name, tags, path) in [
        ("a b", vec![("k", "x/y:z")], "a_b.h1;k=x-yz"),
        ("a;own=1", vec![("k", "v")], "a.h1;k=v;own=1"),
        ("a;k=1", vec![("k", "v")], "a.h1;k=v"),
        ("a;own", vec![], "aown.h1"),
        ("a", vec![("k", "+"), ("na+me", "x")], "a.h1;_name=x"),
    ] {
        let line = lines(members, vec![gauge(name, &tags)]);
        assert_eq!(line, format!("stats.gauges.{path} 1 1490114074\n"));
    }
}

#[test]
fn tags_become_parts_of_the_path_or_are_left_out() {
    let gauge = || one_of_each().swap_remove(1);
    for (members, path) in [
        (r#""template": "{host}.{env}.{name}""#, "web1_example_net.none.depth"),
        (r#""tags": "path""#, "web1_example_net.log_in.depth"),
        (r#""tags": "drop""#, "depth"),
        (r#""template": "{host}.{name}", "naming": "etsy""#, "stats.gauges.web1_example_net.depth"),
    ] {
        assert_eq!(lines(members, vec![gauge()]), format!("{path} -1.5 1490114074\n"));
    }
}

#[test]
fn series_with_the_same_path_are_merged() {
    let points = || {
        vec![
            counter("a", &[("host", "x")], 1.0),
            counter("b", &[], 8.0),
            counter("a", &[("host", "y")], 2.0),
            timer("t", &[("host", "x")], &[1.0, 2.0]),
            timer("t", &[("host", "y")], &[6.0]),
        ]
    };
    let batch = encode(r#""tags": "drop", "naming": "etsy""#, points());
    let counts: Vec<u64> = batch.pending().map(|payload| payload.points).collect();
    assert_eq!(counts, [2, 1, 2]);
    let text = text_of(&batch);
    for line in ["counters.a.count 3 ", "counters.b.count 8 ", "timers.t.mean 3 "] {
        assert!(text.contains(&format!("stats.{line}")), "{line}: {text}");
    }
    assert_eq!(encode("", points()).pending().count(), 5);
    let same_when_safe = vec![counter("a b", &[], 1.0), counter("a_b", &[], 2.0)];
    assert!(lines("", same_when_safe).starts_with("a_b 3 "));
}

#[test]
fn tags_whose_keys_become_equal_are_told_apart() {
    let tags = [("a b", "1"), ("a_b", "2"), ("ä_b", "3")];
    let text = lines("", vec![counter("c", &tags, 1.0)]);
    assert!(text.starts_with("c;__b=3;a_b=2;a_b_2=1 1 "), "{text}");
}

#[test]
fn exactly_the_too_long_series_are_dropped_with_their_reason() {
    let long = "x".repeat(PART_BYTES_MAX + 1);
    let just = "x".repeat(PART_BYTES_MAX);
    let deep = [just.as_str(); 20].join(".");
    let points = vec![
        counter(&long, &[], 1.0),
        counter("t", &[("k", &long)], 1.0),
        counter("t", &[(&long, "v")], 1.0),
        counter(&deep, &[], 1.0),
        counter(&just, &[(&just, &just)], 1.0),
    ];
    let mut batch = encode("", points);
    assert_eq!(batch.pending().count(), 1);
    let settled = batch.take_settled();
    assert_eq!(settled.refused[reason::TOO_LARGE], 4);
    let words = settled.last_refusal().unwrap();
    assert!(words.starts_with("the path with its tags is longer than 3000 bytes: xxx"), "{words}");

    let mut udp = encode(
        r#""transport": "udp", "max_packet": "512B""#,
        vec![counter(&[just.as_str(); 3].join("."), &[], 1.0), counter("a", &[], 1.0)],
    );
    assert_eq!(udp.pending().count(), 1);
    assert_eq!(udp.take_settled().refused[reason::TOO_LARGE], 1);
}

#[test]
fn dropped_and_pending_points_are_known_after_merging() {
    let long = "x".repeat(PART_BYTES_MAX + 1);
    let points = || {
        vec![
            counter("a", &[("k", "1")], 1.0),
            counter(&long, &[("k", "1")], 1.0),
            counter("a", &[("k", "2")], 1.0),
            counter("b", &[], 1.0),
        ]
    };
    for members in ["", r#""tags": "drop""#] {
        let mut batch = encode(members, points());
        let places =
            |ranges: &PointRanges| -> Vec<usize> { ranges.of(&[0, 1, 2, 3]).copied().collect() };
        assert_eq!(places(&batch.points_left()), [0, 2, 3], "{members}");
        assert_eq!(places(&batch.take_settled().places[reason::TOO_LARGE]), [1], "{members}");
        let b = batch.pending().find(|payload| payload.bytes.starts_with(b"b")).unwrap().id;
        batch.delivered(b);
        assert_eq!(places(&batch.points_left()), [0, 2], "{members}");
    }
}

#[test]
fn pickle_and_plaintext_send_the_same_points() {
    for naming in ["tallyd", "etsy"] {
        let members = format!(r#""naming": "{naming}""#);
        let plain = lines(&members, one_of_each());
        let mut pickled = graphite(&format!(r#"{members}, "protocol": "pickle""#));
        let mut batch = Batch::default();
        pickled.encode(&snapshot_of(one_of_each()), &mut batch);
        assert!(pickled.gather(&batch));
        assert!(!pickled.gather(&batch), "the same batch is known again");
        let said: String = unpickle(&pickled.outgoing)
            .into_iter()
            .map(|(path, timestamp, value)| format!("{path} {value} {timestamp}\n"))
            .collect();
        assert_eq!(said, plain);
        let readable = |payload| pickled.readable(payload).unwrap();
        let shown: String = batch.pending().map(|payload| readable(payload.bytes)).collect();
        let expected: String = unpickle(&pickled.outgoing)
            .into_iter()
            .map(|(path, timestamp, value)| format!("(\"{path}\", ({timestamp}, {value}))\n"))
            .collect();
        assert_eq!(shown, expected);
    }
}

#[test]
fn bytes_that_are_no_pickled_items_are_not_readable() {
    let pickled = graphite(r#""protocol": "pickle""#);
    for length in 0..40 {
        for byte in [0, b'X', b'J', 0x8a, 0xff] {
            let _no_panic = pickled.readable(&vec![byte; length]);
        }
    }
    assert_eq!(pickled.readable(b"a.b 1 2\n"), None);
}

/// Names that senders may use: every text except the empty one.
fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => ".{1,20}",
        3 => prop::collection::vec(
            prop::sample::select(vec![
                "a", ".", "..", ";", "=", "~", "!", "^", " ", "\n", "\r", "\t", "\0", "/", "../",
                "{", "}", "\"", "name", "_", "é", "\u{85}", "\u{2028}", "\u{a0}", "\u{1c}", "*", ",",
            ]),
            1..12,
        ).prop_map(|parts| parts.concat()),
        1 => (1_usize..70_000).prop_map(|length| "x".repeat(length)),
    ]
}

/// Parses a line as carbon 1.1.7 does (`protocols.py`, `util.py`), which splits it at every
/// character that Python calls whitespace. Returns the path and the value, or the reason why carbon
/// rejects it.
fn as_carbon_reads(line: &str) -> Result<(String, f64), String> {
    let is_blank = |c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c);
    let words: Vec<&str> = line.split(is_blank).filter(|word| !word.is_empty()).collect();
    let [path, value, timestamp] = words[..] else { return Err(format!("{} words", words.len())) };
    if line.len() > LINE_BYTES_MAX || timestamp != "1490114074" {
        return Err("length or time".to_owned());
    }
    let value: f64 = value.parse().map_err(|_| "a number".to_owned())?;
    if !value.is_finite() || path.chars().any(char::is_control) {
        return Err("a number or a control character".to_owned());
    }
    if path.ends_with("\"}") {
        return Err("OpenMetrics".to_owned());
    }
    let mut tags = path.split(';');
    let name = tags.next().unwrap_or_default();
    if name.split('.').any(|part| part.is_empty() || part.len() > PART_BYTES_MAX)
        || name.contains('/')
    {
        return Err(format!("the parts of {name}"));
    }
    let mut keys = Vec::new();
    for tag in tags {
        let (key, value) = tag.split_once('=').ok_or("a tag without `=`")?;
        let bad_key =
            key.is_empty() || key == "name" || key.contains(['!', '^']) || !key.is_ascii();
        if bad_key || value.is_empty() || value.starts_with('~') || keys.contains(&key) {
            return Err(format!("the tag {tag}"));
        }
        keys.push(key);
    }
    Ok((path.to_owned(), value))
}

proptest! {
    #[test]
    fn client_data_breaks_no_line_and_every_loss_is_counted(
        series in prop::collection::vec(
            (hostile(), prop::collection::btree_map(hostile(), hostile(), 0..4)), 1..8,
        ),
        members in prop::sample::select(vec![
            "",
            r#""naming": "etsy""#,
            r#""tags": "drop""#,
            r#""template": "{a}.{name}.{tags}""#,
            r#""template": "{a}.{name}.{tags}", "naming": "etsy""#,
            r#""transport": "udp", "max_packet": "512B""#,
        ]),
    ) {
        let mut points: Vec<Point> = series
            .iter()
            .map(|(name, tags)| {
                let tags: Vec<_> = tags.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
                counter(name, &tags, 1.0)
            })
            .collect();
        // A snapshot has no two points with the same name and tags.
        points.dedup_by(|a, b| a.series == b.series);
        let mut names = HashMap::new();
        points.retain(|point| names.insert(point.series.to_string(), ()).is_none());
        points.push(counter("good.neighbour", &[], 7.0));
        let all = points.len() as u64;
        let mut batch = encode(members, points);
        let text = text_of(&batch);
        prop_assert_eq!(text.is_empty(), batch.points_pending() == 0);
        let mut sums: HashMap<String, f64> = HashMap::new();
        for line in text.lines() {
            let read = as_carbon_reads(line);
            let (path, value) = read.unwrap_or_else(|error| panic!("{error} in {line:?}"));
            prop_assert!(sums.insert(path.clone(), value).is_none(), "{} twice", path);
        }
        let mut whole = 0.0;
        for (path, value) in &sums {
            let name = path.split(';').next().unwrap();
            if !name.ends_with(".rate") {
                whole += value;
            }
        }
        let sent = batch.points_pending();
        let refused = batch.take_settled().refused.values().sum::<u64>();
        prop_assert_eq!(sent + refused, all);
        // The neighbour counts 7 and each other point 1, except points whose name ends with
        // `.rate`.
        prop_assert!(whole <= (sent + 6) as f64 + 1e-9);
        prop_assert!(text.contains("good.neighbour"));
    }
}

#[test]
fn no_number_that_carbon_cannot_store_is_sent() {
    let huge = timer("t", &[], &[f64::MAX, f64::MAX, -f64::MAX, 1.0]);
    for naming in ["tallyd", "etsy"] {
        let members =
            format!(r#""naming": "{naming}", "etsy": {{"percent_threshold": ["90", "-50"]}}"#);
        for line in lines(&members, vec![huge.clone(), counter("c", &[], f64::MAX)]).lines() {
            as_carbon_reads(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        }
    }
}

// ---- Over sockets ----------------------------------------------------------------------------

/// A carbon that reads only when a test says so.
struct Catcher {
    listener: TcpListener,
    graphite: Graphite,
}

async fn catcher(members: &str) -> Catcher {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let graphite = graphite(&format!(r#""address": "{address}"{members}"#));
    Catcher { listener, graphite }
}

impl Catcher {
    fn window(&mut self, points: Vec<Point>) -> Batch {
        let mut batch = Batch::default();
        self.graphite.encode(&snapshot_of(points), &mut batch);
        batch
    }

    async fn send(&mut self, name: &str) {
        let mut batch = self.window(vec![counter(name, &[], 1.0)]);
        self.graphite.send(&mut batch).await.unwrap();
        assert!(batch.is_settled());
    }

    async fn accept(&self) -> TcpStream {
        self.listener.accept().await.unwrap().0
    }
}

/// Reads up to the name `last` and returns all names, without their rates.
async fn names(stream: &mut TcpStream, last: &str) -> Vec<String> {
    let mut text = String::new();
    while !text.contains(&format!("{last}.rate 0.1 1490114074\n")) {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).await.unwrap();
        assert!(count > 0, "the connection ended after {text:?}");
        text += std::str::from_utf8(&bytes[..count]).unwrap();
    }
    let name = |line: &str| line.split(' ').next().unwrap().to_owned();
    text.lines().map(name).filter(|name| !name.ends_with(".rate")).collect()
}

#[tokio::test]
async fn a_connection_is_kept_from_window_to_window() {
    let mut carbon = catcher("").await;
    carbon.send("a").await;
    let mut stream = carbon.accept().await;
    carbon.send("b").await;
    carbon.send("c").await;
    assert_eq!(names(&mut stream, "c").await, ["a", "b", "c"]);
}

#[tokio::test]
async fn after_a_broken_connection_the_last_window_is_sent_again() {
    let mut carbon = catcher("").await;
    carbon.send("a").await;
    carbon.send("b").await;
    // The connection is reset before the last window was read.
    let stream = carbon.accept().await;
    stream.set_zero_linger().unwrap();
    drop(stream);
    carbon.send("c").await;
    let mut stream = carbon.accept().await;
    assert_eq!(names(&mut stream, "c").await, ["b", "c"]);
    // Only once.
    carbon.send("d").await;
    assert_eq!(names(&mut stream, "d").await, ["d"]);
}

#[tokio::test]
async fn an_orderly_end_of_the_other_side_is_noticed_before_anything_is_written() {
    let mut carbon = catcher("").await;
    carbon.send("a").await;
    let mut stream = carbon.accept().await;
    assert_eq!(names(&mut stream, "a").await, ["a"]);
    stream.shutdown().await.unwrap();
    carbon.send("b").await;
    assert_eq!(names(&mut carbon.accept().await, "b").await, ["a", "b"]);
    let mut nothing = Vec::new();
    drop(carbon);
    stream.read_to_end(&mut nothing).await.unwrap();
    assert_eq!(nothing, b"", "nothing went into the connection that had ended");
}

/// Returns a carbon that has read nothing of a batch larger than the kernel's buffers on both
/// sides, after the first attempt was given up.
///
/// The paused clock jumps to the end of the attempt as soon as nothing else is left to do, so the
/// test does not depend on real time. Later attempts may take an hour, and the kernel aborts the
/// connection only after three.
async fn stuck(points: usize) -> (Catcher, Batch) {
    let mut carbon = catcher(r#", "delivery": {"timeout": "1h"}"#).await;
    let mut batch = Batch::default();
    carbon.graphite.encode(&snapshot_of_counters(points), &mut batch);
    tokio::time::pause();
    let error = carbon.graphite.send(&mut batch).await.unwrap_err().to_string();
    tokio::time::resume();
    assert!(error.contains("carbon reads no more: "), "{error}");
    assert_eq!(batch.points_pending(), points as u64, "nothing counts as delivered");
    (carbon, batch)
}

#[tokio::test]
async fn a_carbon_that_does_not_read_gets_the_rest_when_it_does_and_nothing_twice() {
    let (mut carbon, mut batch) = stuck(200_000).await;
    let bytes: usize = batch.pending().map(|payload| payload.bytes.len()).sum();
    let mut stream = carbon.accept().await;
    let reader = tokio::spawn(async move {
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.unwrap();
        read
    });
    carbon.graphite.send(&mut batch).await.unwrap();
    assert!(batch.is_settled());
    assert_eq!(batch.take_settled().delivered, 200_000);
    drop(carbon);
    let read = reader.await.unwrap();
    assert_eq!(read.len(), bytes);
    assert_eq!(read.iter().filter(|byte| **byte == b'\n').count(), 400_000);
}

#[tokio::test]
async fn a_batch_that_was_given_up_leaves_no_half_line_before_the_next() {
    let (mut carbon, _) = stuck(200_000).await;
    let connection = carbon.accept().await;
    carbon.send("b").await;
    assert_eq!(names(&mut carbon.accept().await, "b").await, ["b"]);
    drop(connection);
}

#[tokio::test]
async fn an_error_names_the_address() {
    let mut carbon = catcher("").await;
    let mut batch = carbon.window(vec![counter("a", &[], 1.0)]);
    let address = carbon.listener.local_addr().unwrap();
    drop(carbon.listener);
    let error = carbon.graphite.send(&mut batch).await.unwrap_err().to_string();
    assert_eq!(error, format!("{address}: Connection refused (os error 111)"));
    assert_eq!(carbon.graphite.probe().await.unwrap_err().to_string(), error);
}

#[tokio::test]
async fn datagrams_hold_whole_lines_and_an_absent_listener_is_noticed() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let mut graphite =
        graphite(&format!(r#""address": "{address}", "transport": "udp", "max_packet": "512B""#));
    graphite.probe().await.unwrap();
    let mut batch = Batch::default();
    graphite.encode(&snapshot_of_counters(100), &mut batch);
    let expected = text_of(&batch);
    graphite.send(&mut batch).await.unwrap();
    let mut text = String::new();
    while text.len() < expected.len() {
        let mut bytes = [0; 2048];
        let count = socket.recv(&mut bytes).await.unwrap();
        assert!(count <= 512 && (count == 0 || bytes[count - 1] == b'\n'));
        text += std::str::from_utf8(&bytes[..count]).unwrap();
    }
    assert_eq!(text, expected);

    drop(socket);
    graphite.encode(&snapshot_of_counters(100), &mut batch);
    batch.clear();
    graphite.encode(&snapshot_of_counters(100), &mut batch);
    let error = graphite.send(&mut batch).await.unwrap_err().to_string();
    assert!(error.contains("no program receives datagrams there"), "{error}");
    assert_eq!(batch.points_pending(), 100);
    assert!(graphite.probe().await.is_err());
}
