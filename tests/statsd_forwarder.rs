//! Forwarding to statsd from end to end: to a real statsd, and from tallyd to tallyd.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use common::markdown;
use std::collections::BTreeMap;
use std::fmt::Write;

use common::carbon::{Catcher, Statsd};
use common::{Daemon, tallyd};

/// Values of a timer with a long tail, the same in every run.
fn latencies(count: usize) -> Vec<f64> {
    let share = |index: usize| ((index * 7919) % count) as f64 / count as f64 + 0.5 / count as f64;
    (0..count).map(|index| (-1200.0 * (1.0 - share(index)).ln()).round() / 100.0).collect()
}

fn percentile(values: &[f64], rank: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(rank / 100.0 * sorted.len() as f64 - 1e-9).ceil() as usize - 1]
}

fn assert_close(what: &str, found: f64, expected: f64, part: f64) {
    assert!((found - expected).abs() <= part * expected.abs(), "{what}: {found}, not {expected}");
}

/// Datagrams with many values of a timer each.
fn timers(name: &str, values: &[f64]) -> Vec<String> {
    let datagram = |values: &[f64]| {
        let mut text = String::new();
        for value in values {
            writeln!(
                text,
                r#"{{"metric_name":"{name}","metric_type":"timer","value":{value},"stage":"x"}}"#
            )
            .unwrap();
        }
        text
    };
    values.chunks(100).map(datagram).collect()
}

#[test]
fn a_real_statsd_computes_the_same_statistics() {
    let catcher = Catcher::start();
    let (_, port) = catcher.address.split_once(':').unwrap();
    let config = format!(
        "{{ flushInterval: 1000, graphiteHost: '127.0.0.1', graphitePort: {port}, \
         deleteIdleStats: true, percentThreshold: [50, 90, 95, 99], \
         graphite: {{ legacyNamespace: false }} }}"
    );
    let Some(statsd) = Statsd::start(&config) else { return };
    // One window for all samples, which the stop ends.
    let daemon = Daemon::start(&format!(
        "interval: 1h\nforwarders: {{ statsd: {{ address: \"{}\", dialect: plain }} }}\n",
        statsd.address
    ));
    let (few, many) = (latencies(900), latencies(20_000));
    daemon.send(
        r#"[{"metric_name":"logins","metric_type":"counter","count":5.25,"host":"a"},
            {"metric_name":"logins","metric_type":"counter","count":3,"host":"b"},
            {"metric_name":"hits","metric_type":"counter","count":1000000007},
            {"metric_name":"signups","metric_type":"trace"},
            {"metric_name":"depth","metric_type":"gauge","value":-1.5},
            {"metric_name":"level","metric_type":"gauge","value":7},
            {"metric_name":"callers","metric_type":"set","value":"+4930123"},
            {"metric_name":"callers","metric_type":"set","value":"-x"},
            {"metric_name":"callers","metric_type":"set","value":"-x"},
            {"metric_name":"weighed","metric_type":"timer","value":3,"sample_rate":0.1}]"#,
    );
    daemon.send_paced(timers("few", &few).into_iter().chain(timers("many", &many)));
    daemon.wait_received(10 + 900 + 20_000);
    let stopped = daemon.stop();
    assert_eq!(stopped.warnings(), [""; 0]);

    catcher.wait_for("stats.timers.weighed.count ");
    catcher.wait_for("stats.timers.many.count ");
    let mut found: BTreeMap<String, f64> = BTreeMap::new();
    for text in catcher.connections() {
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let path = words[0].strip_prefix("stats.").unwrap_or_default();
            let value: f64 = words[1].parse().unwrap();
            // The samples may be divided over two flushes, so counts and sums are added.
            let adds = path.ends_with(".count") || path.ends_with(".sum");
            let known = found.entry(path.to_owned()).or_default();
            *known = if adds { *known + value } else { value };
        }
    }
    for (path, expected) in [
        ("counters.logins.count", 8.25),
        ("counters.hits.count", 1_000_000_007.0),
        ("counters.signups.count", 1.0),
        ("gauges.depth", -1.5),
        ("gauges.level", 7.0),
        ("sets.callers.count", 2.0),
        ("timers.weighed.count", 10.0),
    ] {
        assert_eq!(found.get(path), Some(&expected), "{path} of {found:?}");
    }
    assert_eq!(found["timers.few.count"], 900.0);
    assert_close("few", found["timers.few.sum"], few.iter().sum(), 1e-9);
    assert_close("many", found["timers.many.count"], 20_000.0, 1e-9);
    // statsd sums values without their sample rates: a thousand values stand for twenty thousand.
    assert_close("many", found["timers.many.sum"] * 20.0, many.iter().sum(), 1e-9);
    assert_close("many", found["timers.many.mean"], many.iter().sum::<f64>() / 20_000.0, 0.01);
    for rank in ["50", "90", "95", "99"] {
        for (name, values, part) in [("few", &few, 0.0), ("many", &many, 0.01)] {
            let path = format!("timers.{name}.upper_{rank}");
            assert_close(&path, found[&path], percentile(values, rank.parse().unwrap()), part);
        }
    }
}

#[test]
fn another_tallyd_aggregates_the_same_in_every_dialect_over_every_transport() {
    for (dialect, transport) in
        [("dogstatsd", "udp"), ("influx", "tcp"), ("signalfx", "unix"), ("plain", "unix_datagram")]
    {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s").display().to_string();
        let place = match transport {
            "udp" | "tcp" => "address: \"127.0.0.1:0\"".to_owned(),
            _ => format!("path: \"{path}\""),
        };
        let second = Daemon::start(&format!(
            "interval: 1h\nlisteners: [{{ protocol: statsd, transport: {transport}, {place} }}]\n\
             forwarders: {{ file: {{ path: \"DIR/out\", format: json }} }}\n"
        ));
        let address = match transport {
            "udp" | "tcp" => second.address(&format!("statsd/{transport} ")).to_string(),
            _ => path,
        };
        let way = transport.split('_').next().unwrap();
        let first = Daemon::start(&format!(
            "interval: 1h\nforwarders:\n  file: {{ path: \"DIR/out\", format: json }}\n  \
             statsd: {{ address: \"{address}\", transport: {way}, dialect: {dialect} }}\n"
        ));
        let values = latencies(5_000);
        let tags = r#""stage":"log in","host":"é""#;
        first.send(format!(
            r#"[{{"metric_name":"c","metric_type":"counter","count":5.25,{tags}}},
                {{"metric_name":"c","metric_type":"counter","count":1e15}},
                {{"metric_name":"g","metric_type":"gauge","value":-1e-7,{tags}}},
                {{"metric_name":"s","metric_type":"set","value":"a",{tags}}},
                {{"metric_name":"s","metric_type":"set","value":"b",{tags}}},
                {{"metric_name":"w","metric_type":"timer","value":3,"sample_rate":0.3,{tags}}},
                {{"metric_name":"w","metric_type":"timer","value":9,{tags}}}]"#
        ));
        first.send_paced(timers("t", &values).into_iter());
        first.wait_received(7 + 5_000);
        let first = first.stop();
        assert_eq!(first.warnings(), [""; 0]);
        // The counters, 2 lines of the gauge, 2 members, 4 slices of `w` and 1,000 of `t`.
        let counters = if dialect == "plain" { 1 } else { 2 };
        second.wait_received(counters + 2 + 2 + 4 + 1_000);
        let second = second.stop();
        assert_eq!(second.warnings(), [""; 0]);

        let (sent, found) = (first.points("out"), second.points("out"));
        let total =
            |name, field| (common::total(&sent, name, field), common::total(&found, name, field));
        for (name, field, part) in [
            ("c", "count", 0.0),
            ("g", "value", 0.0),
            ("s", "count", 0.0),
            ("w", "count", 1e-9),
            ("w", "sum", 1e-9),
            ("t", "count", 1e-9),
            ("t", "sum", 1e-9),
            ("t", "p50", 0.01),
            ("t", "p90", 0.01),
            ("t", "p95", 0.01),
            ("t", "p99", 0.01),
        ] {
            let (expected, found) = total(name, field);
            assert_close(&format!("{dialect}: {name}.{field}"), found, expected, part);
        }
        if dialect != "plain" {
            let series = |points: &[serde_json::Value]| {
                let text =
                    |p: &serde_json::Value| format!("{} {} {}", p["type"], p["name"], p["tags"]);
                points.iter().map(text).collect::<std::collections::BTreeSet<_>>()
            };
            assert_eq!(series(&sent), series(&found), "{dialect}");
        }
    }
}

#[test]
fn the_statsd_document_shows_the_lines_that_are_sent() {
    let mut sent = String::new();
    let mut shown = 0;
    for block in markdown::document("docs/forwarders/statsd.md").blocks() {
        if block.is("json", "statsd") {
            sent.clone_from(&block.text);
        }
        if !block.is("text", "statsd") {
            continue;
        }
        let catcher = Catcher::start();
        let daemon = Daemon::start(&format!(
            "interval: 1h\nforwarders: {{ statsd: {{ address: \"{}\", transport: tcp, dialect: {} }} }}\n",
            catcher.address,
            block.option("dialect").unwrap()
        ));
        daemon.send(&sent);
        daemon.wait_received(sent.lines().count() as u64);
        assert!(daemon.stop().status.success());
        catcher.wait_for("user.logins");
        let text = catcher.connections().concat();
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, block.text.lines().collect::<Vec<_>>(), "{block}");
        shown += 1;
    }
    assert_eq!(shown, 4);
}

#[test]
fn check_reports_whether_statsd_listens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tallyd.yaml");
    let check = |section: &str| {
        std::fs::write(&path, format!("forwarders: {{ statsd: {{ {section} }} }}\n")).unwrap();
        let args = ["check", "--connect", "--config", path.to_str().unwrap()];
        let output = tallyd().args(args).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let (status, said) = check(&format!("address: \"{address}\""));
    assert!(status == Some(0) && said.contains("statsd: answers"), "{said}");
    drop(socket);
    let (status, said) = check(&format!("address: \"{address}\""));
    assert_eq!(status, Some(1));
    assert!(said.contains(&format!("statsd: {address}: no program listens there")), "{said}");
}
