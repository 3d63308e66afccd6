//! Hostile input from the network is counted, bounded and survived.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use common::{Daemon, total};

const GOOD: &str = r#"{"metric_name":"good","metric_type":"counter"}"#;

/// Datagrams that a sane client would never send.
fn hostile() -> Vec<Vec<u8>> {
    let object =
        |members: &str| format!(r#"{{"metric_name":"m","metric_type":"trace",{members}}}"#);
    let many_keys: Vec<String> = (0..8_000).map(|key| format!("\"k{key}\":1")).collect();
    let mut all: Vec<Vec<u8>> = [
        "{".to_owned(),
        GOOD[..GOOD.len() - 1].to_owned(),
        "[".repeat(65_507),
        format!("{{\"a\":{}", "{\"a\":".repeat(10_000)),
        object(&format!("\"a\":{}{}", "[".repeat(10_000), "]".repeat(10_000))),
        object(&format!("\"timestamp\":{}", "[".repeat(30_000))),
        object(&many_keys.join(",")[..60_000]),
        format!("{}}}", &object(&many_keys.join(","))[..60_000]),
        object("\"value\":NaN"),
        r#"{"metric_name":"m","metric_type":"gauge","value":1e400}"#.to_owned(),
        format!(r#"{{"metric_name":"m","metric_type":"gauge","value":{}}}"#, "9".repeat(60_000)),
        format!(
            r#"{{"metric_name":"m","metric_type":"gauge","value":"1e{}"}}"#,
            "9".repeat(60_000)
        ),
        format!("\"{}", "\\".repeat(60_000)),
        "\n".repeat(60_000),
        "\u{feff}{}".to_owned(),
        object("\"a\":\"\\ud800\""),
        object("\"a\":\"\\u0000\\n\\u001b[31m\""),
        format!("[{}]", "1,".repeat(30_000).trim_end_matches(',')),
    ]
    .into_iter()
    .map(String::into_bytes)
    .collect();
    all.push(b"\xff\xfe\x00\x80".repeat(16_000));
    all.push(vec![0; 65_507]);
    all.push((0..=255).collect());
    let mut torn = object("\"a\":\"x\"").into_bytes();
    torn.insert(20, 0xc3);
    all.push(torn);
    all
}

#[test]
fn invalid_input_never_stops_the_daemon_and_valid_samples_stay_exact() {
    let daemon = Daemon::start(
        "interval: 1s\nforwarders: { file: { path: DIR/out, format: json, select: { include: [good] } } }\n",
    );
    let bad = hostile();
    for round in 0..20_u64 {
        for datagram in &bad {
            daemon.send(datagram);
            daemon.send(GOOD);
        }
        let sent = (round + 1) * 2 * bad.len() as u64;
        daemon.wait_for("the round", |status| status["ledger"]["datagrams"] == sent);
    }
    let status = daemon.status();
    assert_eq!(status["ledger"]["kernel_drops"], 0);
    let stopped = daemon.stop();
    assert!(stopped.status.success());
    assert_eq!(total(&stopped.points("out"), "good", "count"), (20 * bad.len()) as f64);

    let mut lines: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in &stopped.log {
        assert!(entry.to_string().len() < 2_000, "a line of the log is bounded: {entry}");
        if let Some(reason) = entry["reason"].as_str() {
            *lines.entry(reason).or_default() += 1;
        }
    }
    assert!(lines.len() >= 5, "{lines:?}");
    assert!(lines.values().all(|count| *count == 1), "one line a minute a reason: {lines:?}");
}

#[test]
fn a_flood_of_new_series_stays_within_the_memory_limit() {
    let daemon = Daemon::start(
        "interval: 1s\nbind_port: 0\naggregation: { max_series: 1000 }\nforwarders: { file: { path: DIR/out, format: json } }\n",
    );
    daemon.send_paced((0..2_000).map(|_| GOOD.to_owned()));
    let before = resident_kib(daemon.pid());
    daemon.send_paced((0..200_000).map(|number| {
        format!(r#"{{"metric_name":"flood.{number}","metric_type":"counter","id":"{number}"}}"#)
    }));
    daemon.send_paced((0..2_000).map(|_| GOOD.to_owned()));
    let status = daemon.wait_received(204_000);
    assert_eq!(status["ledger"]["aggregated"], 204_000);
    assert!(status["series"]["total"].as_u64().unwrap() <= 1_000 + 100 + 1);
    assert_eq!(status["series"]["overflowed"], 200_000 - 999);
    let grown = resident_kib(daemon.pid()).saturating_sub(before);
    assert!(grown < 20_000, "grew by {grown} KiB");
    let points = daemon.stop().points("out");
    assert_eq!(total(&points, "good", "count"), 4_000.0);
    let all: f64 = points.iter().map(|point| point["fields"]["count"].as_f64().unwrap()).sum();
    assert_eq!(all, 204_000.0);
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
