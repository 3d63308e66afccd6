//! examples/fleet with real servers: a consumer that merges the records of several tallyd, and the way of the
//! fleet job's results to a dashboard.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "fleet/dashboard.rs"]
mod dashboard;
#[path = "fleet/streams.rs"]
mod streams;
#[path = "kafka/topic.rs"]
mod topic;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Daemon, PATIENCE, interval_without_an_edge, root};
use forwarders::testing::{real_client, real_server};
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::json;
use topic::read_back;

const HOSTS: usize = 3;
const SERVICES: [&str; 2] = ["login", "search"];

/// What the hosts sent for one service.
#[derive(Default)]
struct Sent {
    latencies: Vec<f64>,
    callers: BTreeSet<usize>,
}

/// Each host is slower than the one before, so that the fleet's percentile is that of none of them.
fn latency(host: usize, n: usize) -> f64 {
    let share = (n * 7_919 % 10_007) as f64 / 10_007.0;
    ((share * 4.0).exp() * (host + 1) as f64 * 1_000.0).round() / 1_000.0
}

/// Starts a tallyd, sends to it, and stops it, so that it writes its only window.
fn deliver(broker: &str, topic: &str, host: usize, sent: &mut [Sent; SERVICES.len()]) {
    let daemon = Daemon::start(&format!(
        "interval: {}s\n\
         agent: {{ tags: {{ host: h{host} }} }}\n\
         aggregation: {{ set_seed: shared by these hosts }}\n\
         forwarders:\n  kafka: {{ kafka_broker: \"{broker}\", kafka_topic: {topic}, format: json, sketches: true }}\n",
        interval_without_an_edge()
    ));
    let mut messages = Vec::new();
    for n in 0..2_000 {
        let (service, latency, caller) = (n % 2, latency(host, n), host * 1_500 + n);
        sent[service].latencies.push(latency);
        sent[service].callers.insert(caller);
        for (name, kind, value) in [
            ("rpc.time", "timer", json!(latency)),
            ("rpc.callers", "set", json!(format!("user{caller}"))),
        ] {
            let message = json!({
                "metric_name": name, "metric_type": kind, "value": value, "service": SERVICES[service],
            });
            messages.push(message.to_string());
        }
    }
    daemon.send_paced(messages.chunks(10).map(|some| some.join("\n")));
    daemon.wait_received(messages.len() as u64);
    assert!(daemon.stop().status.success());
}

/// The Python with the libraries of the example; `None` if the test must be skipped.
fn python() -> Option<PathBuf> {
    let libraries = real_client("TALLYD_TEST_CLIENTS_SKETCHES")?;
    Some(PathBuf::from(libraries).join("python/bin/python"))
}

/// The lines that the example prints.
fn consume(python: &Path, arguments: &[&str]) -> Vec<String> {
    let mut command = Command::new(python);
    command.env("PYTHONDONTWRITEBYTECODE", "1").arg(root().join("examples/fleet/consumer.py"));
    let output = command.args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{errors}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The number at the end of the line that begins like this.
fn number(lines: &[String], begin: &str) -> f64 {
    let line = lines.iter().find_map(|line| line.strip_prefix(begin));
    line.unwrap_or_else(|| panic!("no {begin} in {lines:#?}")).trim().parse().unwrap()
}

#[test]
fn the_consumer_merges_the_records_of_all_hosts_to_those_of_all_samples() {
    let (Some(broker), Some(python)) = (real_server("TALLYD_TEST_KAFKA"), python()) else {
        return;
    };
    let topic = format!("tallyd-fleet-{}", std::process::id());
    let mut sent = [Sent::default(), Sent::default()];
    for host in 0..HOSTS {
        deliver(&broker, &topic, host, &mut sent);
    }
    read_back(&broker, &topic, |records| records.len() == HOSTS * SERVICES.len() * 2);
    let lines = consume(&python, &[&broker, &topic, "1000", "service"]);
    assert_eq!(lines.len(), 2 * SERVICES.len(), "{lines:#?}");
    for (service, sent) in SERVICES.iter().zip(&mut sent) {
        sent.latencies.sort_by(f64::total_cmp);
        // The nearest rank.
        let exact = sent.latencies[(sent.latencies.len() * 99).div_ceil(100) - 1];
        let p99 = number(&lines, &format!("rpc.time ('service', '{service}') p99"));
        assert!((p99 / exact - 1.0).abs() < 0.01, "{p99} instead of {exact}");
        let callers = number(&lines, &format!("rpc.callers ('service', '{service}')"));
        let exact = sent.callers.len() as f64;
        assert!((callers / exact - 1.0).abs() < 0.02, "{callers} instead of {exact}");
    }
    // Without tags to merge by, each host remains a series of its own.
    let lines = consume(&python, &[&broker, &topic, "1000"]);
    assert_eq!(lines.len(), HOSTS * 2 * SERVICES.len(), "{lines:#?}");
}

/// Writes a record of one set member as a result of the fleet job.
fn write_result(producer: &BaseProducer, topic: &str, interval: u64, sketch: &str) {
    let key = format!("rpc.callers;set;{interval}s;1800000010000");
    let value = json!({
        "name": "rpc.callers", "type": "set", "timestamp": 1_800_000_010_000_u64, "interval": interval,
        "tags": {}, "fields": { "count": 1 }, "sketch": sketch,
    })
    .to_string();
    let headers =
        [("tallyd.instance", "fleet"), ("tallyd.window", "1800000010000"), ("tallyd.kind", "set")];
    let headers = headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(*value) })
    });
    let record = BaseRecord::to(topic).key(&key).payload(&value).headers(headers);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(PATIENCE).unwrap();
}

#[test]
fn the_consumer_replaces_a_result_by_its_correction_and_counts_no_window_twice() {
    let (Some(broker), Some(python)) = (real_server("TALLYD_TEST_KAFKA"), python()) else {
        return;
    };
    // Sketches of one, two and one other member.
    let topic = format!("tallyd-fleet-members-{}", std::process::id());
    let daemon = Daemon::start(&format!(
        "interval: {}s\naggregation: {{ set_seed: s }}\n\
         forwarders:\n  kafka: {{ kafka_broker: \"{broker}\", kafka_topic: {topic}, format: json, sketches: true }}\n",
        interval_without_an_edge()
    ));
    for (name, member) in [("first", "a"), ("corrected", "a"), ("corrected", "b"), ("minute", "c")]
    {
        daemon.send(
            json!({ "metric_name": name, "metric_type": "set", "value": member }).to_string(),
        );
    }
    daemon.wait_received(4);
    assert!(daemon.stop().status.success());
    let records = read_back(&broker, &topic, |records| records.len() == 3);
    let sketch = |name: &str| {
        let (_, record) = records.iter().find(|(_, record)| record["name"] == name).unwrap();
        record["sketch"].as_str().unwrap().to_owned()
    };
    let results = format!("tallyd-fleet-results-{}", std::process::id());
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", &broker).create().unwrap();
    write_result(&producer, &results, 10, &sketch("corrected"));
    write_result(&producer, &results, 10, &sketch("first"));
    write_result(&producer, &results, 60, &sketch("minute"));
    assert_eq!(consume(&python, &[&broker, &results]), ["rpc.callers 1"]);
    write_result(&producer, &results, 10, &sketch("corrected"));
    assert_eq!(consume(&python, &[&broker, &results]), ["rpc.callers 2"]);
}

#[test]
fn the_consumer_accepts_a_topic_without_records() {
    let (Some(broker), Some(python)) = (real_server("TALLYD_TEST_KAFKA"), python()) else {
        return;
    };
    let topic = format!("tallyd-fleet-empty-{}", std::process::id());
    let made = Command::new(root().join("tests/servers/kafka.sh"))
        .args(["topic", &broker, &topic, "3"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    assert_eq!(consume(&python, &[&broker, &topic]), [""; 0]);
}
