//! statsd lines in, points out, through the real binary.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;

use common::{Daemon, shown, total};
use serde_json::json;

/// A statsd listener in addition to the one for JSON, and one-second windows, written to a file.
const STATSD: &str = "listeners: [{ protocol: statsd, address: \"127.0.0.1:0\" }]\n\
    interval: 1s\nforwarders: { file: { path: DIR/out, format: json } }\n";

/// A socket that sends datagrams to the statsd listener.
struct Client(UdpSocket);

impl Client {
    fn of(daemon: &Daemon) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(daemon.address("statsd/udp ")).unwrap();
        Self(socket)
    }

    fn send(&self, datagram: impl AsRef<[u8]>) {
        self.0.send(datagram.as_ref()).unwrap();
    }
}

#[test]
fn every_type_has_its_fields() {
    let daemon = Daemon::start(&format!("agent: {{ tags: {{ env: stage }} }}\n{STATSD}"));
    let client = Client::of(&daemon);
    // In one datagram, so that no window ends in between.
    client.send(
        "c:1|c\nc:1|c|@0.1\nc:-0.5|c\n\
         g:333|g\ng:-10|g\ng:+4|g\n\
         t:1:2:3:4:5|ms\nt:6:7:8:9:10|h\r\n\
         d:100|d|@0.1\n\
         s:+4930123|s\ns:+4930123|s\ns:2001:db8::1|s",
    );
    daemon.wait_received(20);
    let stopped = daemon.stop();
    assert_eq!(
        shown(&stopped.points("out")),
        [
            "counter c {env:stage} {count:10.5}",
            "gauge g {env:stage} {value:327}",
            "set s {env:stage} {count:2}",
            "timer d {env:stage} {count:10,max:100,mean:100,min:100,p50:100,p90:100,p95:100,\
                p99:100,stddev:0,sum:1000}",
            "timer t {env:stage} {count:10,max:10,mean:5.5,min:1,p50:5,p90:9,p95:10,p99:10,\
                stddev:2.8722813232690143,sum:55}",
        ]
    );
    assert_eq!(stopped.warnings(), [""; 0]);
}

#[test]
fn all_dialects_and_json_feed_one_series() {
    let daemon = Daemon::start(STATSD);
    let client = Client::of(&daemon);
    client.send("m:1|c|#a:x,b:y");
    client.send("m,b=y,a=x:1|c");
    client.send("m[b=y,a=x]:1|c");
    client.send("m;b=y;a=x:1|c");
    client.send("m#b=y,a=x:1|c");
    client.send("m[a=z],b=y:1|c|c:ci-0123|#a:x|T1656581400");
    let json = UdpSocket::bind("127.0.0.1:0").unwrap();
    let message = br#"{"metric_name":"m","metric_type":"counter","b":"y","a":"x"}"#;
    json.send_to(message, daemon.address("json/udp ")).unwrap();
    let status = daemon.wait_received(7);
    assert_eq!(status["series"]["total"], 1);
    let points = daemon.stop().points("out");
    assert_eq!(total(&points, "m", "count"), 7.0);
    assert!(points.iter().all(|point| point["tags"] == json!({"a": "x", "b": "y"})));
}

#[test]
fn recorded_datagrams_of_a_real_kamailio_are_aggregated() {
    let daemon = Daemon::start(STATSD);
    let client = Client::of(&daemon);
    let folder = common::root().join("tests/fixtures/statsd");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    for capture in files.filter(|path| path.extension().is_some_and(|end| end == "bin")) {
        client.send(std::fs::read(capture).unwrap());
    }
    let status = daemon.wait_received(11);
    assert_eq!(status["ledger"]["aggregated"], 10);
    assert_eq!(status["ledger"]["rejected"], json!({"bad_value": 1}));
    let rejected: serde_json::Value =
        serde_json::from_str(&daemon.get("/api/v1/rejected").1).unwrap();
    assert_eq!(rejected["rejected"][0]["offset"], 11);
    assert_eq!(rejected["rejected"][0]["excerpt"], "method.$rm:$ml|g\\n");
    let points = daemon.stop().points("out");
    assert_eq!(total(&points, "testbed.requests", "count"), 1.0);
    assert_eq!(total(&points, "testbed.credit", "count"), -1.0);
    assert_eq!(total(&points, "testbed.size", "sum"), 250.0);
}

#[test]
fn events_and_service_checks_are_counted_as_skipped() {
    let daemon = Daemon::start(STATSD);
    let client = Client::of(&daemon);
    client.send("_e{5,4}:title|text|t:error\nm:1|c\n_sc|db|2|m:down\nbad\n");
    client.send("_sc|db|0");
    let status =
        daemon.wait_for("three skipped", |status| status["ledger"]["skipped"].as_u64() == Some(3));
    assert_eq!(status["ledger"]["received"], 2);
    assert_eq!(status["ledger"]["aggregated"], 1);
    assert_eq!(status["ledger"]["rejected"], json!({"bad_line": 1}));
    assert_eq!(total(&daemon.stop().points("out"), "m", "count"), 1.0);
}

/// The sequences and levels with which statsd and DogStatsD differ.
#[test]
fn a_sign_before_a_gauge_has_the_meaning_that_its_listener_configures() {
    let config = |of_second: &str| {
        format!(
            "listeners:
  - {{ protocol: statsd, address: \"127.0.0.1:0\" }}
  - {{ protocol: statsd, transport: unix_datagram, path: DIR/second, gauges: {of_second} }}
interval: 1h\nforwarders: {{ file: {{ path: DIR/out, format: json }} }}\n"
        )
    };
    let daemon = Daemon::start(&config("level"));
    let client = Client::of(&daemon);
    let second = UnixDatagram::unbound().unwrap();
    second.connect(daemon.path("second")).unwrap();
    // The second time, the line cache knows the lines that it can know.
    let lines = |prefix: &str| {
        format!("{prefix}.a:-5|g\n{prefix}.b:20|g\n{prefix}.b:-5|g\n{prefix}.c:10:+3:-2|g|#k:v\n")
    };
    for _ in 0..2 {
        client.send(lines("change"));
        second.send(lines("level").as_bytes()).unwrap();
    }
    daemon.wait_received(2 * 2 * 6);
    // A reload changes the meaning for the lines that follow.
    daemon.reload(&config("change"));
    second.send(b"reloaded:20|g\nreloaded:-5|g").unwrap();
    daemon.wait_received(2 * 2 * 6 + 2);
    assert_eq!(
        shown(&daemon.stop().points("out")),
        [
            "gauge change.a {} {value:-10}",
            "gauge change.b {} {value:15}",
            "gauge change.c {k:v} {value:11}",
            "gauge level.a {} {value:-5}",
            "gauge level.b {} {value:-5}",
            "gauge level.c {k:v} {value:-2}",
            "gauge reloaded {} {value:15}",
        ]
    );
}

#[test]
fn samples_with_a_time_are_counted_whether_their_lines_are_known_or_not() {
    let daemon = Daemon::start(STATSD);
    let client = Client::of(&daemon);
    for _ in 0..3 {
        client.send("m:1|c|T1656581400\nm:2:x:3|ms|#k:v|T1\nm:a|s|T2\nm:1|c|Tx\nm:1|c\nm:-1|g|T3");
    }
    let status = daemon.wait_received(3 * 8);
    let ledger = &status["ledger"];
    assert_eq!((&ledger["aggregated"], &ledger["timestamped"]), (&json!(21), &json!(15)));
    let (_, page) = daemon.get("/metrics");
    let metric = "tallyd_samples_timestamped_total{listener=\"statsd/udp ";
    let line = page.lines().find(|line| line.starts_with(metric));
    assert!(line.is_some_and(|line| line.ends_with(" 15")), "{page}");
}

#[test]
fn every_rejection_reason_is_counted() {
    let daemon = Daemon::start(&format!("limits: {{ max_tags: 2, max_values: 3 }}\n{STATSD}"));
    let client = Client::of(&daemon);
    let cases = [
        ("bad_line", "nonsense"),
        ("bad_name", ":1|c"),
        ("missing_type", "m:1|"),
        ("unknown_type", "m:1|x"),
        ("missing_value", "m:|c"),
        ("bad_value", "m:0x10|c"),
        ("bad_sample_rate", "m:1|c|@0"),
        ("bad_tag", "m:1|c|#:x"),
        ("too_many_tags", "m,a=1,b=2:1|c|#c:3"),
        ("too_many_values", "m:1:2:3:4|ms"),
    ];
    for (_, line) in cases {
        client.send(line);
    }
    let status = daemon.wait_received(cases.len() as u64);
    for (reason, line) in cases {
        assert_eq!(status["ledger"]["rejected"][reason], 1, "{reason}: {line}");
    }
    assert_eq!(status["ledger"]["aggregated"], 0);
}
