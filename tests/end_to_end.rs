//! Datagrams in, points out, through the real binary.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use common::rates::full_windows;
use common::{Daemon, PATIENCE, points, shown, total};
use serde_json::json;

/// One-second windows, written to a file as JSON.
const TO_FILE: &str = "interval: 1s\nforwarders: { file: { path: DIR/out, format: json } }\n";

#[test]
fn the_messages_of_the_original_client() {
    let daemon = Daemon::start(&format!(
        "agent: {{ tags: {{ environment: stage, role: cfbroker }} }}\n{TO_FILE}"
    ));
    for message in [
        json!({"metric_name": "user.logins", "metric_type": "counter", "count": 1, "username": "x"}),
        json!({"metric_name": "user.signup", "metric_type": "trace", "stage": "a"}),
        json!({"metric_name": "user.signup", "metric_type": "trace", "stage": "a"}),
        json!({"metric_name": "user.signup", "metric_type": "trace", "stage": "b"}),
        json!({"metric_name": "queue.depth", "metric_type": "guage", "value": "43"}),
    ] {
        daemon.send(message.to_string());
    }
    daemon.wait_received(5);
    let stopped = daemon.stop();
    assert!(stopped.status.success());
    let points = stopped.points("out");
    assert_eq!(total(&points, "user.logins", "count"), 1.0, "one message with count 1 is 1");
    assert_eq!(total(&points, "user.signup", "count"), 3.0);
    assert_eq!(
        shown(&points),
        [
            "counter user.logins {environment:stage,role:cfbroker,username:x} {count:1}",
            "gauge queue.depth {environment:stage,role:cfbroker} {value:43}",
            "trace user.signup {environment:stage,role:cfbroker,stage:a} {count:2}",
            "trace user.signup {environment:stage,role:cfbroker,stage:b} {count:1}",
        ]
    );
    assert_eq!(stopped.warnings(), [""; 0]);
}

#[test]
fn the_order_of_tags_never_matters() {
    let daemon = Daemon::start(TO_FILE);
    daemon.send(r#"{"metric_name":"m","metric_type":"counter","a":"1","b":"2","tags":{"c":"3"}}"#);
    daemon.send(r#"{"c":"3","metric_type":"counter","b":"2","a":"1","metric_name":"m"}"#);
    daemon.send(r#"{"a":"1","a":"9","b":"2","c":"3","metric_type":"counter","metric_name":"m"}"#);
    daemon.wait_received(3);
    assert_eq!(
        shown(&daemon.stop().points("out")),
        ["counter m {a:1,b:2,c:3} {count:2}", "counter m {a:9,b:2,c:3} {count:1}",]
    );
}

#[test]
fn lines_and_arrays_are_equivalent_to_single_messages() {
    let daemon = Daemon::start(TO_FILE);
    let message = r#"{"metric_name":"m","metric_type":"counter"}"#;
    daemon.send(message);
    daemon.send(format!("{message}\r\n\n{message}\nnonsense\n{message}\n"));
    daemon.send(format!("[{message},{message},5]"));
    daemon.send(format!("[{message},{message}"));
    daemon.send("");
    let status = daemon.wait_received(9);
    assert_eq!(status["ledger"]["aggregated"], 6);
    assert_eq!(status["ledger"]["rejected"], json!({"bad_json": 2, "not_an_object": 1}));
    assert_eq!(total(&daemon.stop().points("out"), "m", "count"), 6.0);
}

#[test]
fn all_five_types_have_their_fields() {
    let daemon = Daemon::start(&format!("aggregation: {{ percentiles: [50, 99.9] }}\n{TO_FILE}"));
    let mut messages = String::new();
    for value in 1..=10 {
        messages +=
            &format!("{{\"metric_name\":\"t\",\"metric_type\":\"timer\",\"value\":{value}}}\n");
    }
    for rest in [
        r#"{"metric_name":"c","metric_type":"counter","sample_rate":0.1}"#,
        r#"{"metric_name":"c","metric_type":"counter","count":-0.5}"#,
        r#"{"metric_name":"g","metric_type":"gauge","value":10}"#,
        r#"{"metric_name":"g","metric_type":"gauge","value":"-4"}"#,
        r#"{"metric_name":"s","metric_type":"set","value":"a"}"#,
        r#"{"metric_name":"s","metric_type":"set","value":"b"}"#,
        r#"{"metric_name":"s","metric_type":"set","value":"a"}"#,
        r#"{"metric_name":"x","metric_type":"trace"}"#,
    ] {
        messages = messages + rest + "\n";
    }
    daemon.send(messages);
    daemon.wait_received(18);
    assert_eq!(
        shown(&daemon.stop().points("out")),
        [
            "counter c {} {count:9.5}",
            "gauge g {} {value:6}",
            "set s {} {count:2}",
            "timer t {} {count:10,max:10,mean:5.5,min:1,p50:5,p99_9:10,stddev:2.8722813232690143,sum:55}",
            "trace x {} {count:1}",
        ]
    );
}

#[test]
fn windows_are_aligned_to_the_wall_clock_and_carry_their_end() {
    let daemon = Daemon::start(TO_FILE);
    let path = daemon.path("out");
    for window in 1..=2 {
        daemon.send(r#"{"metric_name":"m","metric_type":"counter"}"#);
        daemon.wait_for("the window", |_| path.exists() && points(&path).len() == window);
    }
    let points = points(&path);
    assert!(points.iter().all(|point| point["timestamp"].as_u64().unwrap() % 1000 == 0));
    // The first window began at the start. A busy machine may end the second one late.
    let lengths = [0, 1].map(|window: usize| points[window]["interval"].as_f64().unwrap());
    assert!(0.0 < lengths[0] && lengths[0] < 2.0 && 0.5 < lengths[1], "{lengths:?}");
    assert_eq!(points[1]["fields"]["rate"].as_f64().unwrap(), 1.0 / lengths[1]);
}

#[test]
fn every_rejection_reason_is_counted() {
    let daemon = Daemon::start(&format!("limits: {{ max_tags: 2 }}\n{TO_FILE}"));
    let cases = [
        ("bad_json", r#"{"metric_name":"m","metric_type":"#),
        ("too_deep", &format!("[{}", "[".repeat(10_000))),
        ("not_an_object", "5"),
        ("missing_name", r#"{"metric_type":"trace"}"#),
        ("bad_name", r#"{"metric_name":"","metric_type":"trace"}"#),
        ("missing_type", r#"{"metric_name":"m"}"#),
        ("unknown_type", r#"{"metric_name":"m","metric_type":"meter"}"#),
        ("missing_value", r#"{"metric_name":"m","metric_type":"gauge"}"#),
        ("bad_value", r#"{"metric_name":"m","metric_type":"gauge","value":"NaN"}"#),
        ("bad_sample_rate", r#"{"metric_name":"m","metric_type":"counter","sample_rate":0}"#),
        ("nested_tag", r#"{"metric_name":"m","metric_type":"trace","a":{}}"#),
        ("bad_tag", r#"{"metric_name":"m","metric_type":"trace","":"x"}"#),
        ("too_many_tags", r#"{"metric_name":"m","metric_type":"trace","a":1,"b":2,"c":3}"#),
    ];
    for (_, datagram) in &cases {
        daemon.send(datagram);
    }
    let status = daemon.wait_received(cases.len() as u64);
    for (reason, datagram) in &cases {
        assert_eq!(status["ledger"]["rejected"][reason], 1, "{reason}: {datagram:.60}");
    }
    assert_eq!(status["ledger"]["aggregated"], 0);
    let (code, body) = daemon.get("/api/v1/rejected");
    let listed: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(code, 200);
    assert_eq!(listed["rejected"].as_array().unwrap().len(), cases.len());
    let latest = &listed["rejected"][0];
    assert_eq!(latest["reason"], "too_many_tags");
    assert_eq!(latest["offset"], 53);
    assert!(latest["excerpt"].as_str().unwrap().contains("\"c\":3"));
    assert!(latest["sender"].as_str().unwrap().starts_with("127.0.0.1:"));
}

#[test]
fn beyond_the_limit_samples_overflow_into_one_series_and_none_is_lost() {
    let daemon = Daemon::start(&format!(
        "agent: {{ tags: {{ env: stage }} }}\naggregation: {{ max_series_per_metric: 3 }}\n{TO_FILE}"
    ));
    for host in 0..50 {
        daemon.send(format!(r#"{{"metric_name":"m","metric_type":"counter","host":{host}}}"#));
    }
    let status = daemon.wait_received(50);
    assert_eq!(status["series"]["total"], 4);
    assert_eq!(status["series"]["overflowed"], 47);
    assert_eq!(status["series"]["by_metric"]["m"], 4);
    daemon.wait_for("the word in the log", |_| true);
    let stopped = daemon.stop();
    let points = stopped.points("out");
    assert_eq!(total(&points, "m", "count"), 50.0);
    let overflow = json!({"env": "stage", "overflow": "true"});
    let folded: f64 = points
        .iter()
        .filter(|point| point["tags"] == overflow)
        .map(|point| point["fields"]["count"].as_f64().unwrap())
        .sum();
    assert_eq!(folded, 47.0);
}

#[test]
fn deltas_change_a_gauge_across_windows() {
    let daemon = Daemon::start(&TO_FILE.replace("1s", "200ms"));
    let gauge =
        |value: &str| format!(r#"{{"metric_name":"g","metric_type":"gauge","value":{value}}}"#);
    let path = daemon.path("out");
    daemon.send(gauge("10"));
    daemon.wait_for("the first window", |_| points(&path).len() == 1);
    daemon.send(gauge("\"+5\""));
    daemon.wait_for("the second window", |_| points(&path).len() == 2);
    let values: Vec<_> =
        points(&path).iter().map(|point| point["fields"]["value"].clone()).collect();
    assert_eq!(values, [10, 15]);
}

#[test]
fn the_console_is_the_default_destination() {
    let daemon = Daemon::start("");
    daemon.send(r#"{"metric_name":"m","metric_type":"counter","note":"two words"}"#);
    daemon.wait_received(1);
    let stopped = daemon.stop();
    let stdout = full_windows(&stopped.stdout, 10.0);
    let line = stdout.trim_end();
    assert!(line.ends_with(r#"Z counter m note="two words" count=1 rate=0.1"#), "{line}");
}

#[test]
fn debug_mode_logs_points_with_values_and_tags_and_sends_nothing() {
    let daemon = Daemon::start(&format!("debug_mode: True\n{TO_FILE}"));
    daemon.send(r#"{"metric_name":"m","metric_type":"counter","count":7,"stage":"login"}"#);
    let status =
        daemon.wait_for("the window", |status| status["forwarders"]["file"]["flushed"] == 1);
    let stopped = daemon.stop();
    assert!(stopped.log.iter().any(|entry| {
        let message = full_windows(entry["message"].as_str().unwrap(), 1.0);
        message.contains("counter m stage=login count=7 rate=7")
    }));
    assert_eq!(stopped.read("out"), "", "{status}");
}

#[test]
fn a_hangup_reopens_a_rotated_file() {
    let daemon = Daemon::start(&TO_FILE.replace("1s", "200ms"));
    let (path, moved) = (daemon.path("out"), daemon.path("out.1"));
    let counter = r#"{"metric_name":"m","metric_type":"counter"}"#;
    daemon.send(counter);
    daemon.wait_for("the first window", |_| points(&path).len() == 1);
    std::fs::rename(&path, &moved).unwrap();
    daemon.signal("HUP");
    daemon.send(counter);
    daemon.wait_for("the second window", |_| path.exists() && points(&path).len() == 1);
    assert_eq!(points(&moved).len(), 1);
    assert!(daemon.stop().status.success());
}

#[test]
fn the_admin_endpoint_reports_health_and_status() {
    let daemon = Daemon::start(TO_FILE);
    assert_eq!(daemon.get("/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(daemon.get("/readyz").0, 200);
    assert_eq!(daemon.get("/nothing").0, 404);
    let status = daemon.status();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["ledger"]["kernel_drops"], 0);
    assert!(status["listeners"][0]["receive_buffer"].as_u64().unwrap() > 0);
    assert_eq!(status["forwarders"]["file"]["kind"], "file");
}

#[test]
fn two_threads_share_an_address_and_their_samples_are_one_series() {
    let config = "listeners: [{ address: \"127.0.0.1:0\", threads: 2 }]\n";
    let daemon = Daemon::start(
        &format!("bind_port_is_not_named: 0\n{config}{TO_FILE}")
            .replace("bind_port_is_not_named: 0\n", "# no bind_port: here\n"),
    );
    for _ in 0..64 {
        // A separate sender for each datagram, so that the kernel distributes them to both sockets.
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(br#"{"metric_name":"m","metric_type":"counter"}"#, daemon.udp).unwrap();
    }
    let status = daemon.wait_received(64);
    let listeners = status["listeners"].as_array().unwrap();
    assert_eq!(listeners.len(), 2);
    assert!(listeners.iter().all(|listener| listener["received"].as_u64().unwrap() > 0));
    assert_eq!(status["series"]["total"], 1);
    assert_eq!(total(&daemon.stop().points("out"), "m", "count"), 64.0);
    let _ = PATIENCE;
}

#[test]
fn a_message_of_another_protocol_is_rejected_with_the_listener_that_accepts_it() {
    let daemon = Daemon::start("listeners: [{ protocol: statsd, address: \"127.0.0.1:0\" }]\n");
    daemon.send("page.views:1|c");
    daemon.wait_received(1);
    let statsd = daemon.status()["listeners"][1]["listener"].as_str().unwrap().to_owned();
    assert!(statsd.starts_with("statsd/udp 127.0.0.1:"), "{statsd}");
    let listed: serde_json::Value =
        serde_json::from_str(&daemon.get("/api/v1/rejected").1).unwrap();
    let advice = format!("this is a statsd line: send it to the listener {statsd}");
    assert_eq!(listed["rejected"][0]["advice"], advice, "{listed}");
    let stopped = daemon.stop();
    let warnings = stopped.warnings().concat();
    assert!(warnings.contains(&advice), "{warnings}");
}
