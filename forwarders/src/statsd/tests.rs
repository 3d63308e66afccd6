//! Tests the lines that statsd receives, also over sockets that fail.

use std::collections::HashMap;

use proptest::prelude::*;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, UdpSocket, UnixDatagram, UnixListener};

use super::*;
use crate::testing::{encoded, section, text_of};
use model::testing::{counter, point, snapshot_of, snapshot_of_counters, timer};
use model::{DistinctSet, MetricKind, Point, SetSeed, Sum, Value};

/// Creates a destination from the members of its section, and adds an address if they have none.
fn statsd(members: &str) -> Statsd {
    Statsd::new(&section(members)).unwrap()
}

fn encode(members: &str, points: Vec<Point>) -> Batch {
    encoded(&mut statsd(members), points)
}

fn lines(members: &str, points: Vec<Point>) -> String {
    text_of(&encode(members, points))
}

fn gauge(name: &str, tags: &[(&str, &str)], value: f64, arrival_ns: u64) -> Point {
    point(MetricKind::Gauge, name, tags, Value::Gauge { value, arrival_ns })
}

fn set(name: &str, tags: &[(&str, &str)], members: usize) -> Point {
    let mut set = DistinctSet::default();
    (0..members)
        .for_each(|member| set.insert(member.to_string().as_bytes(), &SetSeed::from_text("")));
    point(MetricKind::Set, name, tags, Value::set(set))
}

/// Returns one series of each kind.
fn one_of_each() -> Vec<Point> {
    let tags = [("host", "web1"), ("stage", "log in")];
    vec![
        counter("user.logins", &tags, 5.5),
        gauge("depth", &tags, -1.5, 0),
        timer("latency", &tags, &[(4.0, 1.0), (1.0, 1.0)]),
        timer("sampled", &tags, &[(2.0, 10.0)]),
        set("callers", &tags, 1),
        point(MetricKind::Trace, "signups", &tags, Value::Trace(Sum::of(3.0))),
    ]
}

#[test]
fn every_dialect_has_every_kind() {
    let dogstatsd = "user.logins:5.5|c|#T\n\
                     depth:0|g|#T\n\
                     depth:-1.5|g|#T\n\
                     latency:1|ms|#T\n\
                     latency:4|ms|#T\n\
                     sampled:2|ms|@0.1|#T\n\
                     callers:715078f398a9aa7c|s|#T\n\
                     signups:3|c|#T\n";
    let tagged = |open: &str, between: char, close: &str| {
        format!("{open}host{between}web1,stage{between}log in{close}")
    };
    let expected = dogstatsd.replace("|#T", &tagged("|#", ':', ""));
    assert_eq!(lines("", one_of_each()), expected);
    let plain = dogstatsd.replace("|#T", "");
    assert_eq!(lines(r#""dialect": "plain""#, one_of_each()), plain);
    let influx = plain.replace(':', &format!("{}:", tagged(",", '=', "")));
    assert_eq!(lines(r#""dialect": "influx""#, one_of_each()), influx);
    let signalfx = plain.replace(':', &format!("{}:", tagged("[", '=', "]")));
    assert_eq!(lines(r#""dialect": "signalfx""#, one_of_each()), signalfx);
}

#[test]
fn names_and_tags_are_made_safe_for_the_dialect() {
    let tags = [("a:b=c|d,e", " x:y=z|,[1]@#\n ")];
    for (dialect, line) in [
        ("dogstatsd", "_n_o_:1|c|#a_b=c_d_e:_x:y=z__[1]@#__\n"),
        ("influx", "_n_o_,a_b_c_d_e=_x_y=z___1_@#__:1|c\n"),
        ("signalfx", "_n_o_[a_b_c_d_e=_x_y=z___1_@#__]:1|c\n"),
        ("plain", "_n_o_:1|c\n"),
    ] {
        let members = format!(r#""dialect": "{dialect}""#);
        assert_eq!(lines(&members, vec![counter(" n|o:", &tags, 1.0)]), line);
    }
    assert_eq!(lines("", vec![counter("_e{1}", &[], 1.0)]), "_e_1}:1|c\n", "no event");
}

#[test]
fn tags_whose_keys_become_equal_are_told_apart() {
    let tags = [("a:b", "1"), ("a_b", "2")];
    for (dialect, line) in [
        ("dogstatsd", "c:3|c|#a_b:2,a_b_2:1\n"),
        ("influx", "c,a_b=2,a_b_2=1:3|c\n"),
        ("signalfx", "c[a_b=2,a_b_2=1]:3|c\n"),
    ] {
        let members = format!(r#""dialect": "{dialect}""#);
        let alike = counter("c", &[("a_b", "2"), ("a_b_2", "1")], 2.0);
        assert_eq!(lines(&members, vec![counter("c", &tags, 1.0), alike]), line);
    }
}

#[test]
fn series_that_look_the_same_are_merged() {
    let (a, b) = ([("host", "a")], [("host", "b")]);
    let batch = encode(
        r#""dialect": "plain""#,
        vec![
            gauge("g", &a, 7.0, 2),
            gauge("g", &b, 5.0, 1),
            counter("c", &a, 1.0),
            counter("c", &b, 2.0),
            timer("t", &a, &[(5.0, 1.0)]),
            timer("t", &b, &[(3.0, 1.0)]),
            gauge("c", &a, 1.0, 0),
        ],
    );
    assert_eq!(text_of(&batch), "g:7|g\nc:3|c\nt:3|ms\nt:5|ms\nc:1|g\n");
    assert_eq!(batch.points_pending(), 7);
}

#[test]
fn a_set_has_its_members_as_long_as_they_are_known() {
    let members = lines("", vec![set("s", &[], 4096)]);
    let distinct: std::collections::HashSet<&str> = members.lines().collect();
    assert_eq!(distinct.len(), 4096);
    for (dialect, before, behind) in [
        ("dogstatsd", "s.count:", "|g|#k:v\n"),
        ("influx", "s.count,k=v:", "|g\n"),
        ("signalfx", "s.count[k=v]:", "|g\n"),
    ] {
        let line =
            lines(&format!(r#""dialect": "{dialect}""#), vec![set("s", &[("k", "v")], 20_000)]);
        let count = line.strip_prefix(before).unwrap().strip_suffix(behind).unwrap();
        assert!((count.parse::<f64>().unwrap() - 20_000.0).abs() < 400.0, "{line}");
    }
}

#[test]
fn a_timer_of_many_values_has_as_many_lines_as_allowed_and_a_rate() {
    let values: Vec<_> = (1..=2_000).map(|value| (f64::from(value), 1.0)).collect();
    let lines = lines(r#""timer_samples": 200"#, vec![timer("t", &[], &values)]);
    assert_eq!(lines.lines().count(), 200);
    let mut sum = 0.0;
    for line in lines.lines() {
        let value = line.strip_prefix("t:").unwrap().strip_suffix("|ms|@0.1").unwrap();
        sum += value.parse::<f64>().unwrap() * 10.0;
    }
    assert!((sum - 2_001_000.0).abs() < 1e-3, "{sum}");
}

/// Short texts with characters that have a meaning in the protocol.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "b.c",
        ":",
        "|",
        "@",
        "#",
        ",",
        "=",
        "[",
        "]",
        "\n",
        "\r",
        "\0",
        " ",
        "_e{",
        "é",
        "|#",
        "\u{1f600}",
        "|c|@0.1",
    ]);
    prop::collection::vec(piece, 1..6).prop_map(|pieces| pieces.concat())
}

/// Parses a line of counters like the receivers of a dialect. Returns the text of the series and
/// the number.
fn as_statsd_reads(line: &str, dialect: &str) -> Result<(String, f64), String> {
    let bad = || format!("{line:?} in {dialect}");
    let (line, behind) = match line.split_once("|#") {
        Some((line, tags)) if dialect == "dogstatsd" => (line, tags),
        Some(_) => return Err(bad()),
        None => (line, ""),
    };
    if line.starts_with("_e{") || line.chars().any(char::is_control) || behind.contains('|') {
        return Err(bad());
    }
    let (before, rest) = line.split_once(':').ok_or_else(bad)?;
    let value = rest.strip_suffix("|c").ok_or_else(bad)?.parse().map_err(|_| bad())?;
    let tags = match dialect {
        "influx" => before.split_once(',').map_or("", |(_, tags)| tags),
        "signalfx" if before.contains('[') => {
            before.split_once('[').and_then(|(_, tags)| tags.strip_suffix(']')).ok_or_else(bad)?
        }
        _ => behind,
    };
    let between = if dialect == "dogstatsd" { ':' } else { '=' };
    if tags.contains(['[', ']']) && dialect != "dogstatsd" {
        return Err(bad());
    }
    if !tags.is_empty() && tags.split(',').any(|tag| !tag.contains(between)) {
        return Err(bad());
    }
    Ok((format!("{before}|{behind}"), value))
}

proptest! {
    #[test]
    fn nothing_that_a_client_sends_breaks_a_line_or_gets_lost_uncounted(
        series in prop::collection::vec(
            (hostile(), prop::collection::btree_map(hostile(), hostile(), 0..4)), 1..8,
        ),
        long in 0..3_000_usize,
        dialect in prop::sample::select(vec!["dogstatsd", "influx", "signalfx", "plain"]),
    ) {
        let mut points: Vec<Point> = series
            .iter()
            .map(|(name, tags)| {
                let tags: Vec<_> = tags.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
                counter(name, &tags, 1.0)
            })
            .collect();
        // A snapshot has no two points with the same name and tags.
        let mut names = HashMap::new();
        points.retain(|point| names.insert(point.series.to_string(), ()).is_none());
        points.push(counter(&"l".repeat(long + 1), &[], 1.0));
        points.push(counter("good.neighbour", &[], 7.0));
        let all = points.len() as u64;
        let mut batch = encode(&format!(r#""dialect": "{dialect}""#), points);
        let text = text_of(&batch);
        let mut seen = HashMap::new();
        let mut whole = 0.0;
        for line in text.lines() {
            prop_assert!(line.len() <= 1432);
            let (series, value) = as_statsd_reads(line, dialect).map_err(TestCaseError::fail)?;
            prop_assert!(seen.insert(series.clone(), ()).is_none(), "{} twice", series);
            whole += value;
        }
        let sent = batch.points_pending();
        let refused = batch.take_settled().refused.values().sum::<u64>();
        prop_assert_eq!(sent + refused, all);
        prop_assert_eq!(refused, u64::from(long + 1 + "1:|c".len() > 1432));
        prop_assert_eq!(whole, (sent + 6) as f64);
        prop_assert!(text.ends_with("good.neighbour:7|c\n"));
    }
}

// ---- Over sockets ----------------------------------------------------------------------------

async fn receive(socket: &UdpSocket, lines: usize) -> Vec<String> {
    let mut received = Vec::new();
    while received.len() < lines {
        let mut bytes = [0; 65536];
        let count = socket.recv(&mut bytes).await.unwrap();
        assert!(count <= 512, "{count}");
        let text = std::str::from_utf8(&bytes[..count]).unwrap();
        assert!(!text.ends_with('\n'));
        received.extend(text.lines().map(str::to_owned));
    }
    received
}

#[tokio::test]
async fn datagrams_hold_whole_lines_up_to_their_size() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let mut statsd = statsd(&format!(r#""address": "{address}", "max_packet": "512B""#));
    statsd.probe().await.unwrap();
    socket.recv(&mut [0; 1]).await.unwrap();
    let mut batch = Batch::default();
    let mut points = snapshot_of_counters(100).points.to_vec();
    points.push(timer("t", &[], &(1..=500).map(|n| (f64::from(n), 1.0)).collect::<Vec<_>>()));
    points.push(counter("last", &[], 1.0));
    statsd.encode(&snapshot_of(points), &mut batch);
    let expected = text_of(&batch);
    statsd.send(&mut batch).await.unwrap();
    assert!(batch.is_settled());
    assert_eq!(batch.take_settled().delivered, 102);
    assert_eq!(receive(&socket, 601).await, expected.lines().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_refused_datagram_is_lost_and_what_has_not_left_waits() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let mut statsd = statsd(&format!(r#""address": "{address}", "max_packet": "512B""#));
    drop(socket);
    let mut batch = Batch::default();
    statsd.encode(&snapshot_of_counters(100), &mut batch);
    let error = statsd.send(&mut batch).await.unwrap_err().to_string();
    assert!(error.contains("no program listens there"), "{error}");
    let settled = batch.take_settled();
    let lost = settled.refused[reason::LOST];
    assert!(lost > 0 && settled.delivered == 0, "{settled:?}");
    assert_eq!(batch.points_pending(), 100 - lost);
    // From now on, it checks for a receiver before it sends.
    statsd.send(&mut batch).await.unwrap_err();
    assert_eq!(batch.points_pending(), 100 - lost);
    assert!(statsd.probe().await.is_err());

    let socket = UdpSocket::bind(address).await.unwrap();
    statsd.send(&mut batch).await.unwrap();
    assert_eq!(batch.take_settled().delivered, 100 - lost);
    assert_eq!(receive(&socket, 100 - lost as usize).await.len() as u64, 100 - lost);
}

#[tokio::test]
async fn a_socket_of_datagrams_gets_packets() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let socket = UnixDatagram::bind(&path).unwrap();
    let path = path.to_str().unwrap();
    let mut statsd = statsd(&format!(r#""address": "{path}", "transport": "unix""#));
    statsd.probe().await.unwrap();
    let mut batch = Batch::default();
    statsd.encode(&snapshot_of_counters(3), &mut batch);
    statsd.send(&mut batch).await.unwrap();
    let mut bytes = [0; 2048];
    let count = socket.recv(&mut bytes).await.unwrap();
    assert_eq!(bytes[..count], *b"c:1|c|#n:0\nc:1|c|#n:1\nc:1|c|#n:2");
    assert_eq!(batch.take_settled().delivered, 3);
}

#[tokio::test]
async fn a_socket_of_streams_is_taken_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let path = path.to_str().unwrap();
    let mut statsd = statsd(&format!(r#""address": "{path}", "transport": "unix""#));
    let mut batch = Batch::default();
    statsd.encode(&snapshot_of_counters(2), &mut batch);
    let expected = "c:1|c|#n:0\nc:1|c|#n:1\n";
    let read = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut read = vec![0; expected.len()];
        stream.read_exact(&mut read).await.unwrap();
        read
    };
    let (sent, read) = tokio::join!(statsd.send(&mut batch), read);
    sent.unwrap();
    assert_eq!(read, expected.as_bytes());
    assert_eq!(batch.take_settled().delivered, 2);
}

#[tokio::test]
async fn bytes_in_the_buffer_of_a_unix_stream_are_not_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let path = path.to_str().unwrap();
    let timeout = r#""delivery": {"timeout": "100ms"}"#;
    let mut statsd = statsd(&format!(r#""address": "{path}", "transport": "unix", {timeout}"#));
    let mut batch = Batch::default();
    statsd.encode(&snapshot_of_counters(2), &mut batch);
    for _ in 0..2 {
        let error = statsd.send(&mut batch).await.unwrap_err().to_string();
        assert!(error.contains("not confirmed within"), "{error}");
        assert_eq!(batch.points_pending(), 2);
    }
    // The program ends without having read them.
    drop(listener);
    statsd.send(&mut batch).await.unwrap_err();
    let settled = batch.take_settled();
    assert_eq!((settled.delivered, settled.refused[reason::LOST]), (0, 2));
}

#[tokio::test]
async fn a_replaced_forwarder_leaves_only_what_has_not_left() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let timeout = r#""delivery": {"timeout": "200ms"}"#;
    let mut statsd = statsd(&format!(r#""address": "{address}", "transport": "tcp", {timeout}"#));
    let mut batch = Batch::default();
    statsd.encode(&snapshot_of_counters(300_000), &mut batch);
    statsd.send(&mut batch).await.unwrap_err();
    statsd.stop(&mut batch).await;
    let settled = batch.take_settled();
    let lost = settled.refused.get(reason::LOST).copied().unwrap_or_default();
    let left = batch.points_pending();
    assert_eq!(settled.delivered + lost + left, 300_000);
    assert!(left > 0, "the kernel does not take all of it");
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut read = Vec::new();
    // The forwarder resets the connection, unless the stream is read before.
    if let Err(error) = stream.read_to_end(&mut read).await {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    let begun = String::from_utf8(read).unwrap().lines().count() as u64;
    assert!(settled.delivered <= begun && begun <= settled.delivered + lost, "{begun} {settled:?}");
}

#[tokio::test]
async fn a_connection_is_kept_and_made_anew_when_the_other_side_has_closed_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut statsd = statsd(&format!(r#""address": "{address}", "transport": "tcp""#));
    let mut batch = Batch::default();
    let mut send = async |name: &str| {
        batch.clear();
        statsd.encode(&snapshot_of(vec![counter(name, &[], 1.0)]), &mut batch);
        statsd.send(&mut batch).await.unwrap();
        assert_eq!(batch.take_settled().delivered, 1);
    };
    send("a").await;
    send("b").await;
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut bytes = [0; 12];
    stream.read_exact(&mut bytes).await.unwrap();
    assert_eq!(bytes, *b"a:1|c\nb:1|c\n");
    drop(stream);
    send("c").await;
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.read_exact(&mut bytes[..6]).await.unwrap();
    assert_eq!(bytes[..6], *b"c:1|c\n");
}

#[tokio::test]
async fn what_a_stream_took_is_never_sent_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut statsd = statsd(&format!(
        r#""address": "{address}", "transport": "tcp", "delivery": {{"timeout": "1s"}}"#
    ));
    // More than the kernel's buffers on both sides hold.
    let mut batch = Batch::default();
    statsd.encode(&snapshot_of_counters(300_000), &mut batch);
    let error = statsd.send(&mut batch).await.unwrap_err().to_string();
    assert!(error.contains("accepts no more data"), "{error}");
    // The receiver is only slow: it gets the rest over the same connection.
    let (mut stream, _) = listener.accept().await.unwrap();
    let (read, ()) = tokio::join!(
        async {
            let mut read = String::new();
            stream.read_to_string(&mut read).await.unwrap();
            read
        },
        async {
            while statsd.send(&mut batch).await.is_err() {}
            drop(statsd);
        },
    );
    let settled = batch.take_settled();
    assert_eq!((settled.delivered, settled.refused.len()), (300_000, 0));
    let distinct: std::collections::HashSet<&str> = read.lines().collect();
    assert_eq!((read.lines().count(), distinct.len()), (300_000, 300_000));
}

#[tokio::test]
async fn data_that_a_broken_connection_may_have_taken_is_lost_and_not_sent_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let timeout = r#""delivery": {"timeout": "200ms"}"#;
    let mut statsd = statsd(&format!(r#""address": "{address}", "transport": "tcp", {timeout}"#));
    let mut batch = Batch::default();
    statsd.encode(&snapshot_of_counters(300_000), &mut batch);
    statsd.send(&mut batch).await.unwrap_err();
    // Closing it unread resets the connection.
    drop(listener.accept().await.unwrap());
    statsd.send(&mut batch).await.unwrap_err();
    let settled = batch.take_settled();
    let lost = settled.refused[reason::LOST];
    assert!(lost > 0 && lost + settled.delivered < 300_000, "{settled:?}");
    let ((mut stream, _), sent) = tokio::join!(async { listener.accept().await.unwrap() }, async {
        // Until the receiver takes it, there is no end.
        statsd.send(&mut batch).await
    });
    assert!(sent.is_err(), "nothing was read yet");
    let (rest, ()) = tokio::join!(
        async {
            let mut read = String::new();
            stream.read_to_string(&mut read).await.unwrap();
            read
        },
        async {
            while statsd.send(&mut batch).await.is_err() {}
            drop(statsd);
        },
    );
    let again = batch.take_settled();
    assert_eq!(again.refused.len(), 0);
    assert_eq!(settled.delivered + lost + again.delivered, 300_000);
    assert_eq!(rest.lines().count() as u64, again.delivered);
}

#[tokio::test]
async fn what_cannot_be_reached_keeps_its_points_and_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut statsd = statsd(&format!(r#""address": "{address}", "transport": "tcp""#));
    let mut batch = Batch::default();
    statsd.encode(&snapshot_of_counters(2), &mut batch);
    let error = statsd.send(&mut batch).await.unwrap_err().to_string();
    assert_eq!(
        error,
        format!("{address}: no program listens there (Connection refused (os error 111))")
    );
    assert_eq!(batch.points_pending(), 2);
}
