//! Tests of `running_totals`.

use super::*;
use crate::delivery::stats::reason;

/// A destination with room for two totals, which end after a minute.
fn kafka_with_totals() -> Kafka {
    let kafka = Kafka::new(config("localhost:1", ""), "run-1").unwrap();
    let limits = RunningTotalLimits { expire_after: Duration::from_mins(1), series_max: 2 };
    kafka.with_running_totals(limits)
}

/// The names and values of the records of a window, which are then delivered.
fn values(kafka: &mut Kafka, snapshot: &Snapshot) -> Vec<String> {
    let mut batch = Batch::default();
    kafka.encode(snapshot, &mut batch);
    let value = |bytes: &[u8]| {
        let record: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        format!("{}={}", record["name"].as_str().unwrap(), record["value"])
    };
    batch.pending().map(|payload| value(payload.bytes)).collect()
}

#[test]
fn counters_and_traces_have_totals_and_a_point_without_room_is_refused() {
    let mut kafka = kafka_with_totals();
    let value = |count| Value::Counter(Sum::of(count));
    let window = snapshot_of(vec![
        point(MetricKind::Counter, "c", &[], value(2.0)),
        point(MetricKind::Gauge, "g", &[], Value::Gauge { value: 7.0, arrival_ns: 0 }),
        point(MetricKind::Trace, "t", &[], Value::Trace(Sum::of(1.0))),
        point(MetricKind::Counter, "z", &[], value(5.0)),
    ]);
    assert_eq!(values(&mut kafka, &window), ["c=2", "g=7", "t=1"]);
    assert_eq!(values(&mut kafka, &window), ["c=4", "g=7", "t=2"]);
    let mut batch = Batch::default();
    kafka.encode(&window, &mut batch);
    assert_eq!(batch.take_settled().refused, BTreeMap::from([(reason::TOTALS_FULL, 1)]));
    assert_eq!(kafka.in_flight.open(), 3, "the refused one is not waited for");
}

#[test]
fn totals_continue_after_a_restart() {
    let mut before = kafka_with_totals();
    let window = snapshot_of_counters(1);
    values(&mut before, &window);
    let mut batch = Batch::default();
    before.encode(&window, &mut batch);
    batch.delivered(0);
    let saved = before.save_state(&batch, u64::MAX).unwrap();
    let mut after = kafka_with_totals();
    after.restore_state(&saved.bytes, Duration::from_secs(1)).unwrap();
    let expected = values(&mut before, &window);
    assert_eq!(values(&mut after, &window), expected);
}
