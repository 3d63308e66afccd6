//! Tests the forwarder with librdkafka's mock cluster and reads the records back with a consumer.

mod bench;
mod faults;
mod real;
mod running_totals;
mod topics;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use bench::*;

use super::*;
use model::testing::{insert, point, snapshot_of, snapshot_of_counters};
use model::{MetricKind, Sum, Timer, Value};

/// Returns one point each of three kinds, two with the same name and tags.
fn small_snapshot() -> Snapshot {
    let mut timer = Timer::default();
    [1.5, 2.5].iter().for_each(|value| timer.record(*value, 1.0, 1000));
    let timer = Value::timer(timer, &snapshot_of(vec![]).percentiles);
    let tags = [("stage", "login"), ("user", "a=b")];
    snapshot_of(vec![
        point(MetricKind::Counter, "user.logins", &tags, Value::Counter(Sum::of(43.0))),
        point(MetricKind::Gauge, "user.logins", &tags, Value::Gauge { value: 0.25, arrival_ns: 0 }),
        point(MetricKind::Timer, "user.latency", &[], timer),
    ])
}

/// Returns the keys and bodies of the small snapshot in a format.
fn encoded(settings: &str) -> Vec<(String, String)> {
    let mut kafka = Kafka::new(config("localhost:1", settings), "run-1").unwrap();
    let mut batch = Batch::default();
    kafka.encode(&small_snapshot(), &mut batch);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    batch.pending().map(|payload| (text(payload.key), text(payload.bytes))).collect()
}

#[test]
fn pystatsd_records_are_flat_objects_keyed_by_series() {
    let head = r#"{"apikey":"k","tenant_id":"t","name":"#;
    let time = r#""@version":"1","@timestamp":"2017-03-21T16:34:34.000Z""#;
    let tags = r#""stage":"login","user":"a=b""#;
    let stats = r#""stats":{"count":2,"sum":4,"min":1.5,"max":2.5,"stddev":0.5,"p50":1.5,"p90":2.5,"p95":2.5,"p99":2.5}"#;
    let key = r"user.logins,stage=login,user=a\=b";
    assert_eq!(
        encoded(r#""kafka_apikey": "k", "kafka_tenant_id": "t""#),
        [
            (key.into(), format!(r#"{head}"user.logins","value":43,{time},{tags}}}"#)),
            (key.into(), format!(r#"{head}"user.logins","value":0.25,{time},{tags}}}"#)),
            ("user.latency".into(), format!(r#"{head}"user.latency","value":2,{time},{stats}}}"#)),
        ]
    );
}

#[test]
fn json_records_hold_tags_and_fields() {
    let records = encoded(r#""format": "json", "key": "name""#);
    assert_eq!(records[0].0, "user.logins");
    assert_eq!(
        records[0].1,
        r#"{"name":"user.logins","type":"counter","timestamp":1490114074000,"interval":10,"#
            .to_owned()
            + r#""tags":{"stage":"login","user":"a=b"},"fields":{"count":43,"rate":4.3}}"#
    );
}

#[test]
fn json_records_have_sketches_on_request() {
    let records = encoded(r#""format": "json", "sketches": true"#);
    let has_sketch = |record: &(String, String)| record.1.contains(r#","sketch":"oA"#);
    assert_eq!(records.iter().map(has_sketch).collect::<Vec<_>>(), [false, false, true]);
}

#[test]
fn influx_records_are_lines_with_nanoseconds() {
    let records = encoded(r#""format": "influx", "key": "none", "naming": "telegraf""#);
    assert!(
        records.iter().any(|(_, record)| record.contains(",metric_type=counter")),
        "{records:?}"
    );
    let records = encoded(r#""format": "influx", "key": "none""#);
    assert_eq!(records[0].0, "");
    assert_eq!(
        records[0].1,
        r"user.logins,stage=login,user=a\=b count=43,rate=4.3 1490114074000000000"
    );
}

#[test]
fn settings_that_exclude_each_other_are_refused_in_librdkafkas_words() {
    for (settings, word) in [
        (r#"{"acks": "1", "enable.idempotence": "true"}"#, "acks"),
        (r#"{"security.protocol": "ssl", "ssl.ca.location": "/no/such.pem"}"#, "ssl.ca.location"),
    ] {
        let config = config("localhost:1", &format!(r#""librdkafka": {settings}"#));
        let error = Kafka::new(config, "run-1").err().unwrap().to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_arrives_with_key_body_and_headers() {
    let cluster = cluster(4);
    let mut kafka = kafka(&cluster, "");
    let mut batch = Batch::default();
    kafka.encode(&small_snapshot(), &mut batch);
    kafka.send(&mut batch).await.unwrap();
    assert!(batch.is_settled());
    assert_eq!(batch.take_settled().delivered, 3);

    let mut records = read(&cluster);
    records.sort_by(|a, b| (&a.key, &a.headers).cmp(&(&b.key, &b.headers)));
    let shown: Vec<_> = records
        .iter()
        .map(|record| (record.key.as_deref().unwrap(), record.headers[KIND_HEADER].as_str()))
        .collect();
    let series = r"user.logins,stage=login,user=a\=b";
    assert_eq!(shown, [("user.latency", "timer"), (series, "counter"), (series, "gauge")]);
    for record in &records {
        assert_eq!(record.headers[INSTANCE_HEADER], "run-1");
        assert_eq!(record.headers[WINDOW_HEADER], "1490114074000");
        assert_eq!(record.timestamp, Some(1_490_114_074_000));
        let body: serde_json::Value = serde_json::from_str(&record.body).unwrap();
        assert_eq!(body["@version"], "1");
    }
    assert_eq!(records[1].partition, records[2].partition, "one key, one partition");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_of_every_part_has_the_headers_of_its_window_and_kind() {
    let cluster = cluster(1);
    let mut kafka = kafka(&cluster, "");
    let mut snapshot = small_snapshot();
    let reversed = snapshot_of(snapshot.points.iter().rev().cloned().collect());
    for part in [&snapshot, &reversed] {
        assert_eq!(deliver(&mut kafka, part).await.delivered, 3);
    }
    snapshot.window.end_ms += 10_000;
    assert_eq!(deliver(&mut kafka, &snapshot).await.delivered, 3);
    let mut seen = BTreeMap::new();
    for mut record in read(&cluster) {
        let header = |name: &str| record.headers.remove(name).unwrap();
        let [window, kind] = [WINDOW_HEADER, KIND_HEADER].map(header);
        let body: serde_json::Value = serde_json::from_str(&record.body).unwrap();
        *seen.entry((window, kind, body["value"].to_string())).or_default() += 1;
    }
    let mut expected = BTreeMap::new();
    for (window, times) in [("1490114074000", 2), ("1490114084000", 1)] {
        for (kind, value) in [("counter", "43"), ("gauge", "0.25"), ("timer", "2")] {
            expected.insert((window.to_owned(), kind.to_owned(), value.to_owned()), times);
        }
    }
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_without_a_key_have_none() {
    let cluster = cluster(1);
    let mut kafka = kafka(&cluster, r#""key": "none""#);
    assert_eq!(deliver(&mut kafka, &snapshot_of_counters(2)).await.delivered, 2);
    assert!(read(&cluster).iter().all(|record| record.key.is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_arrive_one_after_the_other_and_an_empty_one_sends_no_record() {
    let cluster = cluster(1);
    let running = start(kafka(&cluster, ""), 30 * SECOND);
    for (window, points) in [1, 0, 2].into_iter().enumerate() {
        let mut snapshot = snapshot_of_counters(points);
        snapshot.window.end_ms += 10_000 * window as u64;
        running.push(snapshot);
    }
    let counts = running.finish().await;
    assert_eq!((counts.flushed, counts.delivered, counts.failures), (3, 3, 0));
    let windows: Vec<_> =
        read(&cluster).into_iter().map(|record| record.headers[WINDOW_HEADER].clone()).collect();
    assert_eq!(windows, ["1490114074000", "1490114094000", "1490114094000"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_forwarder_waits_for_room_in_a_full_library_queue() {
    let cluster = cluster(2);
    let few = r#""librdkafka": {"queue.buffering.max.messages": "100"}"#;
    let mut kafka = kafka(&cluster, few);
    let settled = deliver(&mut kafka, &snapshot_of_counters(5_000)).await;
    assert_eq!(settled.delivered, 5_000);
    assert_each_key_once(&read(&cluster), 5_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_of_100000_points_goes_through_in_one_send() {
    let cluster = cluster(4);
    let mut kafka = kafka(&cluster, r#""delivery": {"timeout": "60s"}"#);
    let snapshot = snapshot_of_counters(100_000);
    let mut batch = Batch::default();
    let start = Instant::now();
    kafka.encode(&snapshot, &mut batch);
    let encoded = start.elapsed();
    kafka.send(&mut batch).await.unwrap();
    let all = start.elapsed();
    assert_eq!(batch.take_settled().delivered, 100_000);
    let rate = 100_000.0 / all.as_secs_f64();
    println!(
        "100,000 points: encoded in {encoded:?}, acknowledged after {all:?}: {rate:.0} points/s"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_probe_reports_the_cause_of_a_failure() {
    let cluster = cluster(1);
    let mut kafka = kafka(&cluster, "");
    kafka.probe().await.unwrap();

    let unknown = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    cluster.topic_error(TOPIC, unknown).unwrap();
    let error = kafka.probe().await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Operator);
    assert!(error.to_string().contains("the topic `metrics` does not exist"), "{error}");

    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.topic_error(TOPIC, denied).unwrap();
    let error = kafka.probe().await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Operator);
    assert!(error.to_string().contains("may not write to the topic `metrics`"), "{error}");

    let mut nowhere = Kafka::new(config("127.0.0.1:1", SHORT), "run-1").unwrap();
    let error = nowhere.probe().await.unwrap_err();
    assert!(matches!(error.class(), ErrorClass::Transient { .. }));
    let words = error.to_string();
    assert!(words.contains("127.0.0.1:1 cannot be reached"), "{words}");
    assert!(words.contains("Connection refused"), "{words}");
}
