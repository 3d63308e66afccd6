//! `etc/tallyd.yaml` shows every key, with the defaults of the code.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use common::keys;
use std::process::Command;

use tallyd::config::Config;

use common::keys::{Line, meaning};

fn read(text: &str) -> Config {
    keys::read(text).unwrap_or_else(|error| panic!("{error}"))
}

fn tallyd_check(path: &std::path::Path) -> (Option<i32>, String, String) {
    let output = Command::new(common::tallyd_path())
        .args(["check", "--config"])
        .arg(path)
        .env("TALLYD_KAFKA_PASSWORD", "example")
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_unchanged_sample_equals_the_defaults() {
    assert_eq!(meaning(&read(keys::SAMPLE)), meaning(&Config::default()));
}

#[test]
fn the_sample_shows_the_real_defaults() {
    // The defaults are compared alone, for sections that need no example, and together with the examples.
    let with = |lines: &[Line]| {
        let text = keys::uncommented(lines);
        // With `listeners`, these keys would add the first listener, whose address is in that list.
        let kept = text.lines().filter(|line| !line.starts_with("bind_"));
        read(&kept.collect::<Vec<_>>().join("\n"))
    };
    assert_eq!(meaning(&with(&[Line::Default, Line::Example])), meaning(&with(&[Line::Example])));

    let first_listener = "bind_address: 127.0.0.1\nbind_port: 5090\n";
    assert!(keys::uncommented(&[Line::Default]).starts_with(first_listener));
    assert_eq!(meaning(&read(first_listener)), meaning(&Config::default()));
}

#[test]
fn the_sample_shows_every_accepted_key() {
    let shown: Vec<String> = keys::shown().keys().map(|path| keys::documented_as(path)).collect();
    let accepted = keys::accepted();
    assert!(accepted.contains("forwarders.file.delivery.queue.max_points"), "{accepted:?}");
    assert!(accepted.contains("listeners[].address"), "{accepted:?}");
    for path in accepted {
        let path = keys::documented_as(&path);
        assert!(shown.contains(&path), "etc/tallyd.yaml does not show `{path}`");
    }
}

#[test]
fn the_sample_is_at_most_100_columns_wide() {
    for line in keys::SAMPLE.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

#[test]
fn tallyd_check_accepts_the_sample() {
    let path = common::root().join("etc/tallyd.yaml");
    let (status, stdout, stderr) = tallyd_check(&path);
    assert_eq!((status, stderr.as_str()), (Some(0), ""));
    assert!(stdout.contains("json/udp 127.0.0.1:5090"), "{stdout}");
}

#[test]
fn an_existing_pystatsd_conf_is_accepted_unchanged() {
    let path = common::root().join("tests/fixtures/pystatsd.conf");
    let (status, stdout, stderr) = tallyd_check(&path);
    assert_eq!((status, stderr.as_str()), (Some(0), ""));
    assert!(stdout.contains("every 10s to kafka"), "{stdout}");
    let config = read(include_str!("fixtures/pystatsd.conf"));
    assert!(!config.debug_mode);
    assert_eq!(config.agent.tags["environment"], "stage");
    assert_eq!(config.agent.tags["role"], "cfbroker");
    let kafka = &config.forwarders.kafka.0[0];
    assert_eq!(kafka.kafka_broker.as_str(), "broker.example.net:9092");
    assert_eq!(kafka.kafka_topic.as_str(), "metrics");
    assert_eq!(*kafka.kafka_apikey.reveal(), "74440000000000000000000000000000");
    assert_eq!(kafka.kafka_tenant_id, "0123e4", "digits stay as they are written");
}
