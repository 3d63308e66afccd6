//! Tests of templates in `kafka_topic`.

use super::*;

use RDKafkaRespErr::*;

/// A destination with a template.
fn kafka_with(cluster: &Cluster, settings: &str) -> Kafka {
    let mut config = config(&cluster.bootstrap_servers(), settings);
    config.kafka_topic = TopicTemplate::parse("m.{tag.e}").unwrap();
    Kafka::new(config, "run-1").unwrap()
}

/// A window with a point for each value of the tag, and one without the tag.
fn window(values: &[&str]) -> Snapshot {
    let tagged = |value: &&str| {
        point(MetricKind::Counter, "x", &[("e", value)], Value::Counter(Sum::of(1.0)))
    };
    let mut points = vec![point(MetricKind::Counter, "x", &[], Value::Counter(Sum::of(1.0)))];
    points.extend(values.iter().map(tagged));
    snapshot_of(points)
}

/// The keys of the records in a topic, sorted.
fn keys(cluster: &Cluster, topic: &str) -> Vec<String> {
    let records = read_topic(&cluster.bootstrap_servers(), topic);
    let mut keys: Vec<_> = records.into_iter().map(|record| record.key.unwrap()).collect();
    keys.sort_unstable();
    keys
}

fn fallback_records(kafka: &Kafka) -> u64 {
    kafka.fallback_records().unwrap().load(Ordering::Relaxed)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_record_goes_to_the_topic_that_its_series_names() {
    let cluster = cluster(1);
    let mut kafka = kafka_with(&cluster, "");
    for _ in 0..2 {
        assert_eq!(deliver(&mut kafka, &window(&["a", "b/c"])).await.delivered, 3);
    }
    assert_eq!(keys(&cluster, "m.a"), ["x,e=a", "x,e=a"]);
    assert_eq!(keys(&cluster, "m.b_c"), ["x,e=b/c", "x,e=b/c"]);
    assert_eq!(keys(&cluster, "m.none"), ["x", "x"]);
    assert_eq!(fallback_records(&kafka), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_above_the_limit_of_topics_go_to_the_fallback_and_are_counted() {
    let cluster = cluster(1);
    cluster.create_topic("rest", 1, 1).unwrap();
    let mut kafka = kafka_with(&cluster, r#""max_topics": 3, "fallback_topic": "rest""#);
    assert_eq!(deliver(&mut kafka, &window(&["a", "b", "c"])).await.delivered, 4);
    assert_eq!(keys(&cluster, "m.a"), ["x,e=a"]);
    assert_eq!(keys(&cluster, "rest"), ["x,e=b", "x,e=c"]);
    assert_eq!(fallback_records(&kafka), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_the_brokers_reject_holds_up_no_other_one() {
    let cluster = cluster(1);
    cluster.create_topic("m.other", 1, 1).unwrap();
    cluster.create_topic("m.b", 1, 1).unwrap();
    cluster.topic_error("m.b", RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED).unwrap();
    let mut kafka = kafka_with(&cluster, "");
    assert_eq!(deliver(&mut kafka, &window(&["a", "b"])).await.delivered, 3);
    assert_eq!(keys(&cluster, "m.a"), ["x,e=a"]);
    assert_eq!(keys(&cluster, "m.other"), ["x,e=b"]);
    assert_eq!(fallback_records(&kafka), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_the_brokers_reject_for_their_topic_go_to_the_fallback() {
    let cluster = cluster(1);
    cluster.create_topic("m.other", 1, 1).unwrap();
    let mut kafka = kafka_with(&cluster, "");
    assert_eq!(deliver(&mut kafka, &window(&["a"])).await.delivered, 2);
    let only_a = snapshot_of(window(&["a"]).points[1..].to_vec());
    let denied = RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::Produce, &[denied]);
    assert_eq!(deliver(&mut kafka, &only_a).await.delivered, 1);
    assert_eq!(keys(&cluster, "m.a"), ["x,e=a"]);
    assert_eq!(keys(&cluster, "m.other"), ["x,e=a"]);
    assert_eq!(fallback_records(&kafka), 1);
}

/// Sends until a batch is settled, as the delivery loop does: it drops attempts after a second. Returns
/// the number of attempts.
async fn attempts(kafka: &mut Kafka, batch: &mut Batch, most: usize) -> usize {
    for attempt in 1..=most {
        let sent = tokio::time::timeout(Duration::from_secs(1), kafka.send(batch)).await;
        if matches!(sent, Ok(Ok(()))) && batch.is_settled() {
            return attempt;
        }
    }
    panic!("{} payloads are left", batch.pending().count());
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_about_many_topics_that_take_longer_than_an_attempt_stop_nothing() {
    let cluster = cluster(1);
    cluster.broker_round_trip_time(1, Duration::from_millis(100)).unwrap();
    let mut kafka = kafka_with(&cluster, r#""delivery": { "timeout": "1s" }, "max_topics": 1000"#);
    let values: Vec<String> = (0..200).map(|number| format!("t{number}")).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let mut batch = Batch::default();
    kafka.encode(&window(&values), &mut batch);
    // 200 questions take 20 s one by one.
    let made = attempts(&mut kafka, &mut batch, 10).await;
    assert!(made <= 10 && batch.take_settled().delivered == 201, "{made}");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_topics_hold_up_no_records_of_known_ones() {
    let cluster = cluster(1);
    let settings = r#""delivery": { "timeout": "8s" }, "max_topics": 1000"#;
    let mut kafka = kafka_with(&cluster, settings);
    assert_eq!(deliver(&mut kafka, &window(&[])).await.delivered, 1);
    cluster.broker_round_trip_time(1, Duration::from_millis(50)).unwrap();
    let values: Vec<String> = (0..300).map(|number| format!("t{number}")).collect();
    let mut batch = Batch::default();
    kafka.encode(&window(&values.iter().map(String::as_str).collect::<Vec<_>>()), &mut batch);
    // The questions take 15 s.
    let _dropped = tokio::time::timeout(Duration::from_millis(1_200), kafka.send(&mut batch)).await;
    assert!(batch.pending().all(|payload| payload.id != 0), "the known topic's record is left");
    assert!(batch.pending().count() >= 200, "the others wait for their answers");
    let left = kafka.topics.to_ask(tokio::time::Instant::now()).len();
    assert!(left < 300, "answers are kept");
}
