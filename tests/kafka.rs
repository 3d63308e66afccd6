//! Kafka from end to end, with a real broker if there is one, and with a broker that is down.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "kafka/consumers.rs"]
mod consumers;
#[path = "kafka/schemas.rs"]
mod schemas;
#[path = "kafka/topic.rs"]
mod topic;

use std::collections::{BTreeMap, HashMap};

use common::Daemon;
use forwarders::testing::real_server;
use rdkafka::mocking::MockCluster;
use rdkafka::types::RDKafkaRespErr;
use serde_json::Value;
use topic::read_back;

/// A deployed pystatsd configuration with another broker and topic.
fn pystatsd_conf(broker: &str, topic: &str, more: &str) -> String {
    format!(
        r#"---
bind_address: "127.0.0.1"
bind_port: 0
debug_mode: False
agent:
    tags:
        environment: "stage"
        role: "cfbroker"
forwarders:
    kafka:
      kafka_broker: {broker}
      kafka_topic: {topic}
      kafka_apikey: 74440123
      kafka_tenant_id: 69bc
{more}"#
    )
}

/// The broker to test against; `None` if the test must be skipped.
fn broker() -> Option<String> {
    real_server("TALLYD_TEST_KAFKA")
}

#[test]
fn a_million_datagrams_arrive_exactly_in_kafka() {
    const SENT: u64 = 1_000_000;
    let Some(broker) = broker() else { return };
    let topic = format!("tallyd-million-{}", std::process::id());
    let daemon = Daemon::start(&pystatsd_conf(&broker, &topic, "interval: 1s\n"));
    let increment = |number: u64| number * 7919 % 1000;
    daemon.send_paced((0..SENT).map(|number| {
        format!(
            r#"{{"metric_name":"million.{}","metric_type":"counter","count":{},"user":"u{}"}}"#,
            number % 10,
            increment(number),
            number % 1000
        )
    }));
    let status = daemon.wait_received(SENT);
    assert_eq!(status["ledger"]["aggregated"], SENT);
    assert_eq!(status["ledger"]["kernel_drops"], 0);
    let expected: u64 = (0..SENT).map(increment).sum();
    let stopped = daemon.stop();
    assert!(stopped.status.success());
    assert!(stopped.log.iter().all(|entry| entry["level"] != "ERROR"), "{:?}", stopped.warnings());

    let sum = |records: &[(String, Value)]| -> u64 {
        records.iter().map(|(_, record)| record["value"].as_u64().unwrap()).sum()
    };
    let mut read = 0;
    let mut so_far = 0;
    let records = read_back(&broker, &topic, |records| {
        so_far += sum(&records[read..]);
        read = records.len();
        so_far >= expected
    });
    assert_eq!(sum(&records), expected);
    let mut per_window: HashMap<(String, String), u32> = HashMap::new();
    for (key, record) in &records {
        *per_window.entry((key.clone(), record["@timestamp"].to_string())).or_default() += 1;
    }
    assert!(per_window.values().all(|times| *times == 1), "no series twice in a window");
    let ledger =
        stopped.log.iter().find(|entry| entry["message"] == "ledger of a forwarder").unwrap();
    assert_eq!(ledger["delivered"], records.len());
}

#[test]
fn a_pystatsd_configuration_produces_the_records_that_consumers_expect() {
    let Some(broker) = broker() else { return };
    let topic = format!("tallyd-deployed-{}", std::process::id());
    let daemon = Daemon::start(&pystatsd_conf(&broker, &topic, "interval: 1s\n"));
    daemon
        .send(r#"{"metric_name":"user.login","metric_type":"counter","count":2,"stage":"login"}"#);
    daemon.send(r#"{"metric_name":"depth","metric_type":"guage","value":"43","name":"mine"}"#);
    daemon.send(r#"{"metric_name":"user.latency","metric_type":"timer","value":12.5}"#);
    daemon.wait_received(3);
    assert!(daemon.stop().status.success());
    let records = read_back(&broker, &topic, |records| records.len() == 3);
    let by_name: BTreeMap<String, Value> = records
        .into_iter()
        .map(|(_, mut record)| {
            let time = record["@timestamp"].take();
            assert!(time.as_str().unwrap().ends_with('Z'));
            (record["name"].as_str().unwrap().to_owned(), record)
        })
        .collect();
    let envelope = |name: &str, value: Value, more: Value| {
        let mut record = serde_json::json!({
            "apikey": 74440123, "tenant_id": "69bc", "name": name, "value": value,
            "@version": "1", "@timestamp": null, "environment": "stage", "role": "cfbroker",
        });
        record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        record
    };
    assert_eq!(
        by_name["user.login"],
        envelope("user.login", 2.into(), serde_json::json!({"stage": "login"}))
    );
    assert_eq!(
        by_name["depth"],
        envelope("depth", 43.into(), serde_json::json!({"tag.name": "mine"}))
    );
    let stats = serde_json::json!({
        "count": 1, "sum": 12.5, "min": 12.5, "max": 12.5, "stddev": 0,
        "p50": 12.5, "p90": 12.5, "p95": 12.5, "p99": 12.5,
    });
    assert_eq!(
        by_name["user.latency"],
        envelope("user.latency", 12.5.into(), serde_json::json!({"stats": stats}))
    );
}

#[test]
fn the_daemon_starts_and_aggregates_while_kafka_is_down() {
    // Nothing listens on port 1.
    let more = "interval: 200ms\nshutdown_timeout: 1s\n";
    let daemon = Daemon::start(&pystatsd_conf("127.0.0.1:1", "metrics", more));
    assert_eq!(daemon.get("/readyz").0, 200);
    daemon.send_paced((0..5_000).map(|number| {
        format!(r#"{{"metric_name":"m","metric_type":"counter","host":"{}"}}"#, number % 10)
    }));
    let status = daemon.wait_for("the reason that it cannot deliver", |status| {
        let kafka = &status["forwarders"]["kafka"];
        kafka["last_error"].is_string() && kafka["queued"] == 0
    });
    assert_eq!(status["ledger"]["aggregated"], 5_000);
    let kafka = &status["forwarders"]["kafka"];
    assert_eq!(kafka["up"], false);
    assert_eq!(kafka["delivered"], 0);
    assert_eq!(kafka["spooled"], kafka["flushed"]);
    assert!(kafka["last_error"].as_str().unwrap().contains("refused"), "{}", kafka["last_error"]);
    let stopped = daemon.stop();
    assert!(stopped.status.success());
    let ledger =
        stopped.log.iter().find(|entry| entry["message"] == "ledger of a forwarder").unwrap();
    assert_eq!((&ledger["queued"], &ledger["dropped"]), (&0.into(), &"{}".into()));
    assert_eq!(ledger["spooled"], ledger["flushed"], "it is on disk for the next start");
}

#[test]
fn a_missing_topic_is_in_the_log_soon_and_also_after_another_failure() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("metrics", 1, 1).unwrap();
    let missing = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    cluster.topic_error("metrics", missing).unwrap();
    // First, the brokers are down: the reason that the log shows is another one.
    cluster.broker_down(-1).unwrap();
    let more = "      delivery: { timeout: 2s, retry: { initial: 10ms, max: 20ms } }\n      \
                librdkafka: { message.timeout.ms: 2500 }\ninterval: 200ms\nshutdown_timeout: 1s\n";
    let daemon = Daemon::start(&pystatsd_conf(&cluster.bootstrap_servers(), "metrics", more));
    daemon.send(r#"{"metric_name":"m","metric_type":"counter"}"#);
    daemon.wait_for("a failure", |status| status["forwarders"]["kafka"]["up"] == false);
    cluster.broker_up(-1).unwrap();
    let missing = "the topic `metrics` does not exist on the brokers";
    let names_it = |status: &Value| {
        let words = status["forwarders"]["kafka"]["last_error"].as_str().unwrap();
        words.contains(missing)
    };
    let status = daemon.wait_for("the reason", names_it);
    let failures = status["forwarders"]["kafka"]["failures"].as_u64().unwrap();
    // It stays the reason, also when the library gives the records up.
    let status = daemon.wait_for("more failures", |status| {
        status["forwarders"]["kafka"]["failures"].as_u64() > Some(failures + 2)
    });
    assert!(names_it(&status), "{status}");
    let warnings = daemon.stop().warnings();
    let about = |words: &str| warnings.iter().filter(|line| line.contains(words)).count();
    assert_eq!(about("delivery failed, will retry"), 1, "{warnings:?}");
    assert!(about("delivery still fails, for another reason") >= 1, "{warnings:?}");
    assert_eq!(about(&format!("librdkafka: {missing}")), 1, "{warnings:?}");
    assert_eq!(about("brokers are down"), 0, "{warnings:?}");
}

#[test]
fn numbers_and_booleans_keep_their_json_type_through_a_spool_and_a_restart() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("metrics", 1, 1).unwrap();
    cluster.broker_down(-1).unwrap();
    let more = "      delivery: { timeout: 2s, retry: { initial: 10ms, max: 20ms }, spool: { min_free: 1MiB } }\n      \
                select: { tags: { zone: 4 } }\n      \
                librdkafka: { reconnect.backoff.max.ms: 100 }\ninterval: 200ms\nshutdown_timeout: 1s\n";
    let config = pystatsd_conf(&cluster.bootstrap_servers(), "metrics", more)
        .replace("role: \"cfbroker\"", "rack: 7");
    let daemon = Daemon::start(&config);
    daemon.send(r#"{"metric_name":"m","metric_type":"trace","port":5060,"ok":true,"ratio":1.50}"#);
    // The series has the types of its first message.
    daemon.send(
        r#"{"metric_name":"m","metric_type":"trace","port":"5060","ok":"true","ratio":"1.50"}"#,
    );
    daemon.send(r#"{"metric_name":"g","metric_type":"gauge","value":5,"line":2}"#);
    daemon.wait_received(3);
    let folder = daemon.stop().folder;

    cluster.broker_up(-1).unwrap();
    let daemon = Daemon::start_in(folder, &config);
    // The level of the gauge is from the earlier run, and its series too.
    daemon.send(r#"{"metric_name":"g","metric_type":"gauge","value":"+1","line":"2"}"#);
    let of_second_run = |record: &Value| record["name"] == "g" && record["value"] == 6;
    let total = |records: &[(String, Value)]| -> u64 {
        let traces = records.iter().filter(|(_, record)| record["name"] == "m");
        traces.map(|(_, record)| record["value"].as_u64().unwrap()).sum()
    };
    let records = read_back(&cluster.bootstrap_servers(), "metrics", |records| {
        total(records) == 2 && records.iter().any(|(_, record)| of_second_run(record))
    });
    assert!(daemon.stop().status.success());
    for (_, record) in &records {
        let record = record.to_string();
        let shared = [
            r#""apikey":74440123,"#,
            r#""tenant_id":"69bc""#,
            r#""environment":"stage""#,
            r#""rack":7,"#,
            r#""zone":4"#,
        ];
        let own: &[&str] = if record.contains(r#""name":"g""#) {
            &[r#""line":2,"#]
        } else {
            &[r#""port":5060,"#, r#""ok":true,"#, r#""ratio":1.5,"#]
        };
        for member in shared.iter().chain(own) {
            assert!(record.contains(member), "{member}: {record}");
        }
    }
}
