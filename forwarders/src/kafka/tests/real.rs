//! Tests with a real broker, which also checks sequence numbers and sizes.
//!
//! `TALLYD_TEST_KAFKA=host:port` is its address, as `tests/servers/kafka.sh start DIR` prints it.
//! With `TALLYD_REQUIRE_SERVERS=1`, a missing broker is a failure.

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use super::*;
use crate::delivery::stats::reason;
use crate::testing::real_server;

/// Returns the address of the broker; `None` if the test must be skipped.
fn broker() -> Option<String> {
    real_server("TALLYD_TEST_KAFKA")
}

/// Creates a topic for one test and returns its name.
async fn create_topic(broker: &str, test: &str, settings: &[(&str, &str)]) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let name = format!("tallyd-{test}-{}", now.as_nanos());
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker);
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let mut topic = NewTopic::new(&name, 3, TopicReplication::Fixed(1));
    for (key, value) in settings {
        topic = topic.set(key, value);
    }
    let created = admin.create_topics([&topic], &AdminOptions::new()).await.unwrap();
    created.into_iter().for_each(|outcome| assert!(outcome.is_ok(), "{outcome:?}"));
    name
}

fn kafka_for(broker: &str, topic: &str, settings: &str) -> Kafka {
    let mut config = config(broker, settings);
    config.kafka_topic = TopicTemplate::parse(topic).unwrap();
    Kafka::new(config, "run-1").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_broker_gets_20000_points_once() {
    let Some(broker) = broker() else { return };
    let topic = create_topic(&broker, "points", &[]).await;
    let mut kafka = kafka_for(&broker, &topic, "");
    kafka.probe().await.unwrap();
    let running = start(kafka, SECOND * 10);
    let mut points = snapshot_of_counters(20_000).points.to_vec();
    for (number, point) in points.iter_mut().enumerate() {
        point.value = Value::Counter(Sum::of(number as f64));
    }
    let snapshot = snapshot_of(points);
    let start = Instant::now();
    running.push(snapshot);
    let counts = running.finish().await;
    println!("20,000 points acknowledged after {:?}", start.elapsed());
    assert_eq!((counts.flushed, counts.delivered, counts.failures), (20_000, 20_000, 0));

    let records = read_topic(&broker, &topic);
    assert_each_key_once(&records, 20_000);
    let value = |record: &Read| {
        let body: serde_json::Value = serde_json::from_str(&record.body).unwrap();
        body["value"].as_u64().unwrap()
    };
    assert_eq!(records.iter().map(value).sum::<u64>(), 19_999 * 20_000 / 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_topic_of_small_batches_loses_only_what_is_too_large_alone() {
    let Some(broker) = broker() else { return };
    let topic = create_topic(&broker, "small", &[("max.message.bytes", "20000")]).await;
    // Compressed batches would be small enough.
    let plain = r#""librdkafka": {"compression.type": "none"}"#;
    let mut kafka = kafka_for(&broker, &topic, plain);
    let mut snapshot = snapshot_of_counters(5_000);
    let text = "x".repeat(30_000);
    let value = Value::Counter(Sum::of(1.0));
    let large = point(MetricKind::Counter, "large", &[("t", &text)], value);
    insert(&mut snapshot, 25, large);
    for end_ms in [1_490_114_084_000, 1_490_114_094_000, 1_490_114_104_000, 1_490_114_114_000] {
        snapshot.window.end_ms = end_ms;
        let start = Instant::now();
        let settled = deliver(&mut kafka, &snapshot).await;
        println!("5,001 points settled after {:?}", start.elapsed());
        assert_eq!(settled.delivered, snapshot.points.len() as u64 - settled.refused.len() as u64);
        let mut records = read_topic(&broker, &topic);
        records.retain(|record| record.headers[WINDOW_HEADER] == end_ms.to_string());
        assert_each_key_once(&records, 5_000);
        if !settled.refused.is_empty() {
            assert_eq!(settled.refused, BTreeMap::from([(reason::TOO_LARGE, 1)]));
            snapshot.points = snapshot_of_counters(5_000).points;
        }
    }
    // A group passed with at most this size in each of three partitions.
    let learned: usize = kafka.client.get("batch.size").unwrap().parse().unwrap();
    assert!(learned <= 60_000, "{learned}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_broker_creates_the_topics_of_a_template_and_the_invalid_one_falls_back() {
    let Some(broker) = broker() else { return };
    let fallback = create_topic(&broker, "rest", &[]).await;
    let settings = format!(r#""fallback_topic": "{fallback}", "max_topics": 3"#);
    let mut kafka = kafka_for(&broker, &format!("{fallback}.{{tag.e}}"), &settings);
    let tagged = |value: &str| {
        point(MetricKind::Counter, "m", &[("e", value)], Value::Counter(Sum::of(1.0)))
    };
    // The last topic would collide with the first: brokers do not distinguish `.` and `_`.
    let snapshot = snapshot_of(vec![tagged("a.b"), tagged("a_b"), tagged("z")]);
    for _ in 0..2 {
        assert_eq!(deliver(&mut kafka, &snapshot).await.delivered, 3);
    }
    assert_eq!(read_topic(&broker, &format!("{fallback}.a.b")).len(), 2);
    assert_eq!(
        read_topic(&broker, &fallback).len(),
        4,
        "`a_b` is rejected, `z` is above the limit"
    );
    assert_eq!(kafka.fallback_records().unwrap().load(Ordering::Relaxed), 4);
}
