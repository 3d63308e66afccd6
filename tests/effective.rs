//! `tallyd check --effective` and `/api/v1/config`: every key with its value and its origin.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use common::keys::{self, Line, documented_as};
use common::pki::with_certificates;
use common::{Daemon, tallyd};
use serde_json::Value;

/// The listed keys: value, origin and line.
fn listed(daemon: &Daemon) -> BTreeMap<String, Value> {
    let (status, body) = daemon.get("/api/v1/config");
    assert_eq!(status, 200, "{body}");
    let config: Value = serde_json::from_str(&body).unwrap();
    let keys = config["keys"].as_array().unwrap().iter();
    let named: Vec<_> =
        keys.map(|key| (key["key"].as_str().unwrap().to_owned(), key.clone())).collect();
    let by_name: BTreeMap<_, _> = named.iter().cloned().collect();
    assert_eq!(by_name.len(), named.len(), "each key once");
    by_name
}

/// The output of `tallyd check --effective` for a configuration, as key, value and origin.
fn checked(config: &str) -> Vec<(String, String, String)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tallyd.yaml");
    std::fs::write(&path, config).unwrap();
    let mut command = tallyd();
    command.args(["check", "--effective", "--config"]).arg(&path);
    for name in [
        "KAFKA_PASSWORD",
        "INFLUXDB_PASSWORD",
        "INFLUXDB_TOKEN",
        "OTLP_TOKEN",
        "REMOTE_WRITE_TOKEN",
        "REMOTE_WRITE_PASSWORD",
    ] {
        command.env(format!("TALLYD_{name}"), "example");
    }
    command.env("EXAMPLE_INTERVAL", "7s");
    command.env("EXAMPLE_URL", "https://127.0.0.1:1/w/CANARY-5");
    command.env("EXAMPLE_TOKEN", "CANARY-4").env_remove("STATE_DIRECTORY");
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (_, list) = text
        .split_once("\n\n")
        .unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    let lines = list.lines().map(|line| {
        let mut parts = line.split("  ").filter(|part| !part.is_empty()).map(str::trim);
        let mut next = || parts.next().unwrap_or_default().to_owned();
        (next(), next(), next())
    });
    lines.collect()
}

/// A listed path as the documents have it.
fn documented(path: &str) -> String {
    let mut path = path.to_owned();
    for index in 0..10 {
        path = path.replace(&format!("[{index}]"), "[]");
    }
    documented_as(&path)
}

#[test]
fn every_documented_key_is_listed() {
    // With `listeners`, these keys would add the first listener, whose address is in that list.
    let text = keys::uncommented(&[Line::Default, Line::Example]);
    let kept: Vec<&str> = text.lines().filter(|line| !line.starts_with("bind_")).collect();
    let (_files, text) = with_certificates(&kept.join("\n"));
    let listed: Vec<String> = checked(&text).iter().map(|(key, ..)| documented(key)).collect();
    let mut missing = Vec::new();
    for key in keys::accepted() {
        let key = documented_as(&key);
        let section = format!("{key}.");
        let list = format!("{key}[");
        let is_listed =
            |one: &String| *one == key || one.starts_with(&section) || one.starts_with(&list);
        if !listed.iter().any(is_listed) {
            missing.push(key);
        }
    }
    assert_eq!(missing, [""; 0]);
}

#[test]
fn defaults_are_listed_without_a_file_entry_and_nothing_unknown_is() {
    let accepted: Vec<String> = keys::accepted().iter().map(|key| documented_as(key)).collect();
    for config in [
        "",
        "listeners: [{ address: \"127.0.0.1:0\" }]\nforwarders: { kafka: { kafka_broker: a, kafka_topic: b } }\n",
    ] {
        let listed = checked(config);
        assert!(listed.len() > 50, "{listed:?}");
        for (key, ..) in &listed {
            assert!(accepted.contains(&documented(key)), "{key}");
        }
    }
    let of = |key: &str| {
        let listed = checked("");
        let (_, value, origin) = listed.iter().find(|(one, ..)| one == key).unwrap().clone();
        (value, origin)
    };
    assert_eq!(of("interval"), ("10s".to_owned(), "default".to_owned()));
    assert_eq!(of("admin.tap.max_clients"), ("4".to_owned(), "default".to_owned()));
    assert_eq!(of("admin.socket"), ("(not set)".to_owned(), "default".to_owned()));
}

#[test]
fn values_have_their_line_and_their_variable_and_secrets_are_masked() {
    let config = "---\ninterval: ${EXAMPLE_INTERVAL}\n\
        agent: { tags: { environment: stage } }\naggregation:\n  percentiles: [50, 99.9]\n\
        forwarders:\n  influxdb:\n    - url: http://me:CANARY-1@127.0.0.1:1\n      database: d\n\
        \x20     password: CANARY-2\n      username: u\n    - url: http://127.0.0.1:2\n\
        \x20     database: ${EXAMPLE_TOKEN}\n      name: second\n";
    let config = config.replace("http://me:CANARY-1@127.0.0.1:1", "http://127.0.0.1:1");
    let listed = checked(&config);
    let of = |key: &str| {
        let found = listed.iter().find(|(one, ..)| one == key);
        let (_, value, origin) = found.unwrap_or_else(|| panic!("{key}: {listed:#?}")).clone();
        (value, origin.rsplit('/').next().unwrap().to_owned())
    };
    let is = |key: &str, value: &str, origin: &str| {
        assert_eq!(of(key), (value.to_owned(), origin.to_owned()), "{key}");
    };
    is("interval", "7s", "tallyd.yaml:2 ${EXAMPLE_INTERVAL}");
    is("agent.tags.environment", "stage", "tallyd.yaml:3");
    is("aggregation.percentiles", "[50, 99.9]", "tallyd.yaml:5");
    is("forwarders.influxdb[0].url", "http://127.0.0.1:1", "tallyd.yaml:8");
    is("forwarders.influxdb[0].password", "***", "tallyd.yaml:10");
    is("forwarders.influxdb[1].database", "***", "tallyd.yaml:13 ${EXAMPLE_TOKEN}");
    is("forwarders.influxdb[1].delivery.timeout", "10s", "default");
    assert!(!format!("{listed:?}").contains("CANARY"), "{listed:?}");
}

#[test]
fn secrets_in_urls_and_variables_are_masked_whatever_their_names() {
    let write =
        "forwarders:\n  prometheus:\n    listen: 127.0.0.1:0\n    remote_write: { url: URL }\n";
    for (url, shown) in [
        (
            "\"https://127.0.0.1:1/v1/write?X-License-Key=CANARY\"",
            "https://127.0.0.1:1/v1/write***",
        ),
        ("\"https://127.0.0.1:1/w?api_key=CANARY\"", "https://127.0.0.1:1/w***"),
        ("\"https://127.0.0.1:1/w?key=CANARY&sig=CANARY\"", "https://127.0.0.1:1/w***"),
        ("\"${EXAMPLE_URL}\"", "${EXAMPLE_URL}"),
    ] {
        let listed = checked(&write.replace("URL }", &format!("{url} }}")));
        assert!(!format!("{listed:?}").contains("CANARY"), "{listed:?}");
        let found = listed.iter().find(|(key, ..)| key.ends_with("remote_write.url"));
        assert_eq!(found.unwrap().1, shown, "{url}");
    }
}

#[test]
fn requests_for_a_long_configuration_leave_the_endpoint_responsive() {
    use std::fmt::Write;
    let mut config = "forwarders: { file: { path: DIR/points } }\nrules:\n".to_owned();
    for number in 0..5_000 {
        writeln!(config, "  - {{ match: \"m{number}.*\", name: n{number} }}").unwrap();
    }
    let daemon = Daemon::start(&config);
    let started = std::time::Instant::now();
    let keys = listed(&daemon);
    assert!(started.elapsed() < std::time::Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!(keys["rules[4999].name"]["value"], "n4999");
}

#[test]
fn the_endpoint_lists_the_running_configuration() {
    let config = "interval: 2s\nforwarders: { file: { path: DIR/points } }\n";
    let daemon = Daemon::start(config);
    let before = listed(&daemon);
    assert_eq!(
        (&before["interval"]["value"], &before["interval"]["origin"]),
        (&"2s".into(), &"file".into())
    );
    assert!(before["interval"]["line"].as_u64() > Some(0));
    assert_eq!(before["self_metrics"]["value"], "false");
    assert_eq!(before["self_metrics"]["origin"], "default");
    assert_eq!(before["self_metrics"]["line"], Value::Null);
    daemon.reload(&config.replace("2s", "3s"));
    assert_eq!(listed(&daemon)["interval"]["value"], "3s");
}
