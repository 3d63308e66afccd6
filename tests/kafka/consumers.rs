//! What consumers of pystatsd's records need: topics by tag, and running totals.

use common::Daemon;
use rdkafka::mocking::MockCluster;
use serde_json::Value;

use super::topic::read_back;
use super::{broker, pystatsd_conf};

#[test]
fn the_agents_tag_names_the_topic_and_a_tag_with_too_many_values_does_not_name_more() {
    let Some(broker) = broker() else { return };
    let topic = format!("tallyd-tag-{}", std::process::id());
    let template = format!("\"{topic}.{{tag.environment}}.{{tag.tenant:-all}}\"");
    let config = pystatsd_conf(&broker, &template, "      max_topics: 3\ninterval: 1s\n");
    let daemon = Daemon::start(&config);
    daemon.send(r#"{"metric_name":"a","metric_type":"trace"}"#);
    let tenant =
        |number| format!(r#"{{"metric_name":"b","metric_type":"trace","tenant":"t{number}"}}"#);
    daemon.wait_for("the first record", |status| status["forwarders"]["kafka"]["delivered"] == 1);
    (0..20).for_each(|number| daemon.send(tenant(number)));
    let status =
        daemon.wait_for("all records", |status| status["forwarders"]["kafka"]["delivered"] == 21);
    assert_eq!(status["forwarders"]["kafka"]["fallback_records"], 19);
    let stopped = daemon.stop();
    assert!(stopped.status.success());
    let warnings = stopped.warnings();
    assert_eq!(warnings.iter().filter(|words| words.contains("max_topics: 3")).count(), 1);
    let read = |name: String, count: usize| {
        read_back(&broker, &name, |records| records.len() >= count).len()
    };
    assert_eq!(read(format!("{topic}.stage.all"), 1), 1);
    assert_eq!(read(format!("{topic}.other.other"), 19), 19);
}

/// The values of the records in a topic, in their order.
fn values(records: &[(String, Value)]) -> Vec<i64> {
    records.iter().map(|(_, record)| record["value"].as_i64().unwrap()).collect()
}

#[test]
fn differences_of_running_totals_are_the_counts_also_over_a_restart() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("metrics", 1, 1).unwrap();
    let more = "      running_totals: true\n      type: true\ninterval: 1s\n";
    let config = pystatsd_conf(&cluster.bootstrap_servers(), "metrics", more);
    let trace = r#"{"metric_name":"user.signup","metric_type":"trace","stage":"form"}"#;
    let delivered = |daemon: &Daemon, records: u64| {
        daemon.wait_for("the records", |status| {
            status["forwarders"]["kafka"]["delivered"].as_u64() >= Some(records)
        });
    };
    let daemon = Daemon::start(&config);
    daemon.send(trace);
    delivered(&daemon, 1);
    daemon.send(trace);
    daemon.send(trace);
    let stopped = daemon.stop();
    assert!(stopped.status.success());
    let daemon = Daemon::start_in(stopped.folder, &config);
    daemon.send(trace);
    delivered(&daemon, 1);
    assert!(daemon.stop().status.success());
    let records = read_back(&cluster.bootstrap_servers(), "metrics", |records| {
        values(records).last() == Some(&4)
    });
    let values = values(&records);
    assert_eq!(values[0], 1);
    assert!(values.is_sorted_by(|a, b| a < b), "each record adds: {values:?}");
    assert!(records.iter().all(|(_, record)| record["type"] == "trace"));
}
