//! examples/fleet/FleetStreams.java: Kafka Streams combines the records of several tallyd.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::{PATIENCE, root};
use forwarders::testing::{real_client, real_server};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;

use super::topic::read_within;
use super::{HOSTS, SERVICES, Sent, deliver};

/// A running program. Killed when dropped.
struct Streams(Child);

impl Drop for Streams {
    fn drop(&mut self) {
        let _has_ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn start(libraries: &Path, arguments: &[&str]) -> Streams {
    let home = std::env::var_os("JAVA_HOME").map(|home| PathBuf::from(home).join("bin/java"));
    let mut java = Command::new(home.unwrap_or_else(|| "java".into()));
    java.args(["-Xmx256m", "-XX:+UseSerialGC", "-cp"]).arg(libraries.join("*"));
    java.arg(root().join("examples/fleet/FleetStreams.java")).args(arguments);
    Streams(java.stdout(Stdio::null()).spawn().unwrap())
}

/// Writes a copy of each record of the topic, as tallyd does if it cannot know whether the first one arrived.
fn repeat(broker: &str, topic: &str, number: usize) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker)
        .set("group.id", format!("repeat-{topic}"))
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", broker).create().unwrap();
    consumer.subscribe(&[topic]).unwrap();
    for record in consumer.iter().map(Result::unwrap).take(number) {
        let record = record.detach();
        let copy = BaseRecord::to(topic)
            .partition(record.partition())
            .key(record.key().unwrap())
            .payload(record.payload().unwrap())
            .headers(record.headers().unwrap().clone());
        producer.send(copy).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

/// The latest field of each result, by name and service: windows are added.
fn totals(records: &[(String, Value)], name: &str, field: &str) -> BTreeMap<String, f64> {
    let mut latest = BTreeMap::new();
    for (key, result) in records.iter().filter(|(_, result)| result["name"] == name) {
        let service = result["tags"]["service"].as_str().unwrap().to_owned();
        latest.insert((service, key), result["fields"][field].as_f64().unwrap());
    }
    let mut totals = BTreeMap::new();
    for ((service, _), value) in latest {
        *totals.entry(service).or_default() += value;
    }
    totals
}

#[test]
fn kafka_streams_counts_each_sample_of_all_hosts_once() {
    let (Some(broker), Some(libraries)) =
        (real_server("TALLYD_TEST_KAFKA"), real_client("TALLYD_TEST_CLIENTS_SKETCHES"))
    else {
        return;
    };
    let [input, output] =
        ["in", "out"].map(|name| format!("tallyd-fleet-streams-{name}-{}", std::process::id()));
    let mut sent = [Sent::default(), Sent::default()];
    for host in 0..HOSTS {
        deliver(&broker, &input, host, &mut sent);
    }
    repeat(&broker, &input, HOSTS * SERVICES.len() * 2);
    let state = tempfile::tempdir().unwrap();
    let arguments = [&*broker, &*input, &*output, state.path().to_str().unwrap(), "service"];
    let _streams = start(&PathBuf::from(libraries).join("streams"), &arguments);

    let expected: BTreeMap<String, f64> = SERVICES
        .iter()
        .zip(&sent)
        .map(|(service, sent)| ((*service).to_owned(), sent.latencies.len() as f64))
        .collect();
    let is_complete = |records: &[(String, Value)]| {
        totals(records, "rpc.time", "count") == expected
            && totals(records, "rpc.callers", "count").len() == SERVICES.len()
    };
    // The program compiles itself first, and then joins a group.
    let results = read_within(3 * PATIENCE, &broker, &output, is_complete);
    let sums = totals(&results, "rpc.time", "sum");
    for (service, sent) in SERVICES.iter().zip(&sent) {
        let sum: f64 = sent.latencies.iter().sum();
        assert!((sums[*service] / sum - 1.0).abs() < 1e-9, "{service}: {sums:?}, not {sum}");
    }
}
