//! Tests with brokers that are unavailable, slow, or refuse records.

use super::*;
use crate::delivery::stats::reason;

use RDKafkaRespErr::*;

fn down(counts: &Counts) -> bool {
    counts.down
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_come_later_get_everything_once() {
    let cluster = cluster(2);
    cluster.broker_down(-1).unwrap();
    let running = start(kafka(&cluster, SHORT), SECOND);
    for _ in 0..3 {
        running.push(snapshot_of_counters(100));
    }
    running.until(down).await;
    assert_eq!(running.counts().queued, 300);
    cluster.broker_up(-1).unwrap();
    let counts = running.finish().await;
    assert_eq!((counts.flushed, counts.delivered, counts.queued), (300, 300, 0));
    assert_eq!(read(&cluster).len(), 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_the_library_gave_up_are_handed_over_again() {
    let cluster = cluster(2);
    cluster.broker_down(-1).unwrap();
    let hasty = r#""librdkafka": {"message.timeout.ms": "100", "reconnect.backoff.max.ms": "100"}"#;
    let running = start(kafka(&cluster, hasty), SECOND * 10);
    running.push(snapshot_of_counters(100));
    running.until(|counts| counts.failures >= 3).await;
    let (_, words) = running.counts().last_error.unwrap();
    let late = "records are not acknowledged after 100ms";
    assert!(words.contains(late) && words.contains("Connection refused"), "{words}");
    cluster.broker_up(-1).unwrap();
    let counts = running.finish().await;
    assert_eq!((counts.delivered, counts.queued), (100, 0));
    assert_each_key_once(&read(&cluster), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_is_dropped_half_way_neither_repeats_nor_miscounts() {
    let cluster = cluster(2);
    cluster.broker_round_trip_time(-1, Duration::from_millis(100)).unwrap();
    // The delivery loop drops each attempt long before a report can arrive.
    let running = start(kafka(&cluster, ""), Duration::from_millis(15));
    for _ in 0..3 {
        running.push(snapshot_of_counters(2_000));
    }
    let counts = running.finish().await;
    assert!(counts.failures > 5, "{counts:?}");
    assert_eq!((counts.flushed, counts.delivered, counts.queued), (6_000, 6_000, 0));
    let records = read(&cluster);
    assert_eq!(records.len(), 6_000);
    let mut seen = BTreeMap::<String, u32>::new();
    records.into_iter().for_each(|record| *seen.entry(record.key.unwrap()).or_default() += 1);
    assert!(seen.len() == 2_000 && seen.values().all(|times| *times == 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_acknowledged_in_time_says_why() {
    for (broker, cause) in
        [("127.0.0.1:1", "Connection refused"), ("no-such-host.invalid:9092", "resolve")]
    {
        let mut kafka = Kafka::new(config(broker, SHORT), "run-1").unwrap();
        let mut batch = Batch::default();
        kafka.encode(&snapshot_of_counters(2), &mut batch);
        let error = kafka.send(&mut batch).await.unwrap_err();
        assert!(matches!(error.class(), ErrorClass::Transient { .. }));
        let words = error.to_string();
        assert!(words.contains("2 records are not acknowledged after 450ms"), "{words}");
        assert!(words.contains(cause), "{words}");
        assert_eq!(batch.points_pending(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_away_does_not_hold_up_the_shutdown() {
    let mut kafka = Kafka::new(config("127.0.0.1:1", SHORT), "run-1").unwrap();
    let mut batch = Batch::default();
    kafka.encode(&snapshot_of_counters(10_000), &mut batch);
    assert!(kafka.send(&mut batch).await.is_err());
    let start = Instant::now();
    drop(kafka);
    let took = start.elapsed();
    println!("ended in {took:?}");
    assert!(took < FAREWELL + SECOND, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_too_large_for_the_library_is_the_only_one_lost() {
    let cluster = cluster(1);
    let mut snapshot = snapshot_of_counters(50);
    let text = "x".repeat(1_100_000);
    let value = Value::Counter(Sum::of(1.0));
    let large = point(MetricKind::Counter, "large", &[("t", &text)], value);
    insert(&mut snapshot, 25, large);
    let settled = deliver(&mut kafka(&cluster, ""), &snapshot).await;
    assert_eq!(settled.delivered, 50);
    assert_eq!(settled.refused, BTreeMap::from([(reason::TOO_LARGE, 1)]));
    assert!(settled.last_refusal().unwrap().contains("message.max.bytes"));
    assert_each_key_once(&read(&cluster), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_too_large_for_the_brokers_is_the_only_one_lost() {
    let cluster = cluster(1);
    let mut kafka = kafka(&cluster, "");
    // The batch of 8, then groups of 4, 2 and 1, each with the invalid record.
    let too_large = RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    cluster.request_errors(RDKafkaApiKey::Produce, &[too_large; 4]);
    let settled = deliver(&mut kafka, &snapshot_of_counters(8)).await;
    assert_eq!(settled.delivered, 7);
    assert_eq!(settled.refused, BTreeMap::from([(reason::TOO_LARGE, 1)]));
    assert_each_key_once(&read(&cluster), 7);
    let settled = deliver(&mut kafka, &snapshot_of_counters(8)).await;
    assert_eq!(settled.delivered, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_refused_once_loses_nothing() {
    let cluster = cluster(1);
    let mut kafka = kafka(&cluster, "");
    let invalid = RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP;
    cluster.request_errors(RDKafkaApiKey::Produce, &[invalid]);
    let settled = deliver(&mut kafka, &snapshot_of_counters(100)).await;
    assert_eq!(settled.delivered, 100);
    assert_each_key_once(&read(&cluster), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_that_pass_are_tried_again() {
    for error in [
        RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        RD_KAFKA_RESP_ERR__TRANSPORT,
        RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID,
    ] {
        let cluster = cluster(1);
        cluster.request_errors(RDKafkaApiKey::Produce, &[error, error]);
        let settled = deliver(&mut kafka(&cluster, ""), &snapshot_of_counters(100)).await;
        assert_eq!(settled.delivered, 100, "{error:?}");
        assert_each_key_once(&read(&cluster), 100);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_failed_for_good_is_made_anew() {
    let cluster = cluster(1);
    let mut kafka = kafka(&cluster, "");
    let mut batch = Batch::default();
    assert_eq!(deliver(&mut kafka, &snapshot_of_counters(10)).await.delivered, 10);
    let out_of_order = RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    cluster.request_errors(RDKafkaApiKey::Produce, &[out_of_order]);
    let mut snapshot = snapshot_of_counters(500);
    snapshot.window.end_ms += 10_000;
    kafka.encode(&snapshot, &mut batch);
    let error = kafka.send(&mut batch).await.unwrap_err();
    assert!(matches!(error.class(), ErrorClass::Transient { .. }));
    assert!(error.to_string().contains("is replaced"), "{error}");
    kafka.send(&mut batch).await.unwrap();
    assert_eq!((batch.take_settled().delivered, kafka.rebuilds), (500, 1));
    let mut records = read(&cluster);
    records.retain(|record| record.headers[WINDOW_HEADER] == "1490114084000");
    assert_each_key_once(&records, 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_may_not_be_written_is_the_operators_and_its_data_is_kept() {
    let cluster = cluster(1);
    let denied = RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::Produce, &[denied]);
    let mut kafka = kafka(&cluster, "");
    let mut batch = Batch::default();
    kafka.encode(&snapshot_of_counters(20), &mut batch);
    let error = kafka.send(&mut batch).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Operator);
    assert!(error.to_string().contains("authorization failed"), "{error}");
    assert_eq!(batch.points_pending(), 20);
    kafka.send(&mut batch).await.unwrap();
    assert_eq!(batch.take_settled().delivered, 20);
    assert_each_key_once(&read(&cluster), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_denied_for_a_while_gets_everything_once_in_the_end() {
    let cluster = cluster(2);
    let denied = RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.topic_error(TOPIC, denied).unwrap();
    let running = start(kafka(&cluster, ""), SECOND * 5);
    running.push(snapshot_of_counters(50));
    running.until(down).await;
    let (_, words) = running.counts().last_error.unwrap();
    assert!(words.contains("authorization failed"), "{words}");
    cluster.topic_error(TOPIC, RD_KAFKA_RESP_ERR_NO_ERROR).unwrap();
    let counts = running.finish().await;
    assert_eq!((counts.delivered, counts.queued), (50, 0));
    assert_each_key_once(&read(&cluster), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_named_from_the_first_failure_on_and_gets_everything_once_it_exists() {
    let cluster = cluster(2);
    cluster.topic_error(TOPIC, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART).unwrap();
    let settings = r#""delivery": {"timeout": "2s"}, "librdkafka": {"message.timeout.ms": "2500"}"#;
    let running = start(kafka(&cluster, settings), SECOND * 2);
    running.push(snapshot_of_counters(50));
    // Not acknowledged in time, then given up by the library, then both again.
    for failures in 1..5 {
        running.until(|counts| counts.failures >= failures).await;
        let (_, words) = running.counts().last_error.unwrap();
        assert!(words.contains("the topic `metrics` does not exist"), "{failures}: {words}");
    }
    assert_eq!(running.counts().queued, 50);
    cluster.topic_error(TOPIC, RD_KAFKA_RESP_ERR_NO_ERROR).unwrap();
    let counts = running.finish().await;
    assert_eq!((counts.delivered, counts.queued), (50, 0));
    assert_each_key_once(&read(&cluster), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_arrived_after_the_last_look_is_known_at_a_stop_and_the_rest_comes_back() {
    let cluster = cluster(2);
    cluster.broker_round_trip_time(-1, Duration::from_millis(200)).unwrap();
    let mut kafka = kafka(&cluster, "");
    let mut batch = Batch::default();
    kafka.encode(&snapshot_of_counters(100), &mut batch);
    // Dropped while the records are in flight.
    let sent = tokio::time::timeout(Duration::from_millis(1_500), kafka.send(&mut batch)).await;
    kafka.stop(&mut batch).await;
    let delivered = batch.take_settled().delivered;
    assert_eq!(delivered + batch.points_pending(), 100, "{sent:?}");
    assert_eq!(read(&cluster).len() as u64, delivered, "what is kept is not there already");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_brokers_that_are_away() {
    let mut kafka = Kafka::new(config("127.0.0.1:1", ""), "run-1").unwrap();
    let mut batch = Batch::default();
    kafka.encode(&snapshot_of_counters(100), &mut batch);
    let sent = tokio::time::timeout(Duration::from_millis(100), kafka.send(&mut batch)).await;
    assert!(sent.is_err(), "it waits for reports");
    tokio::time::timeout(SECOND, kafka.stop(&mut batch)).await.unwrap();
    assert_eq!(batch.points_pending(), 100);
}
