use super::*;
use crate::delivery::payload::Batch;
use model::testing::{point, snapshot_of};
use model::{MetricKind, TotalValue};

const MINUTE: Duration = Duration::from_mins(1);

fn totals(series_max: usize) -> RunningTotals {
    RunningTotals::new(RunningTotalLimits { expire_after: MINUTE, series_max })
}

fn counter(name: &str, value: f64) -> model::Point {
    point(MetricKind::Counter, name, &[], Value::Counter(Sum::of(value)))
}

/// A batch with one payload for each point, of which the first ones are delivered.
fn batch(points: usize, delivered: usize) -> Batch {
    let mut batch = Batch::default();
    (0..points).for_each(|_| batch.push(1, |_| (), |_| ()));
    (0..delivered).for_each(|id| batch.delivered(id));
    batch
}

#[test]
fn counters_and_traces_add_up_and_other_values_have_no_total() {
    let mut totals = totals(10);
    let gauge = || point(MetricKind::Gauge, "g", &[], Value::Gauge { value: 7.0, arrival_ns: 0 });
    let trace = || point(MetricKind::Trace, "m", &[("e", "x")], Value::Trace(Sum::of(2.0)));
    let polled = TotalValue { added: Sum::of(5.0), total: 1e6 };
    let total = || point(MetricKind::Counter, "k", &[], Value::Total(Box::new(polled)));
    let window = || snapshot_of(vec![counter("m", 1.5), gauge(), trace(), total()]);
    assert_eq!(totals.add(&window()), [Ok(Some(1.5)), Ok(None), Ok(Some(2.0)), Ok(Some(5.0))]);
    assert_eq!(totals.add(&window()), [Ok(Some(3.0)), Ok(None), Ok(Some(4.0)), Ok(Some(10.0))]);
}

#[test]
fn a_series_above_the_limit_has_no_room_until_another_one_has_expired() {
    let mut totals = totals(1);
    let window = |name| snapshot_of(vec![counter(name, 1.0)]);
    assert_eq!(totals.add(&window("a")), [Ok(Some(1.0))]);
    // The windows are ten seconds long: `a` expires with the seventh window.
    for _ in 0..5 {
        assert_eq!(totals.add(&window("b")), [Err(NoRoom)]);
    }
    assert_eq!(totals.add(&window("b")), [Ok(Some(1.0))]);
    assert_eq!(totals.add(&window("a")), [Err(NoRoom)]);
}

#[test]
fn saved_totals_are_without_pending_points_and_continue_if_their_series_has_not_expired() {
    let mut before = totals(10);
    let both = || snapshot_of(vec![counter("a", 1.0), counter("b", 10.0)]);
    before.add(&both());
    before.add(&snapshot_of(vec![counter("c", 100.0)]));
    before.add(&both());
    // `a` is delivered, and `b` is encoded again by the next run.
    let saved = before.save(&batch(2, 1), u64::MAX);
    assert_eq!(saved.left_out, 0);
    // `c` had no point in the latest window, so it expires ten seconds earlier.
    for (away, c) in [(0, 101.0), (45, 1.0)] {
        let mut after = totals(10);
        after.restore(&saved.bytes, Duration::from_secs(away)).unwrap();
        let next = snapshot_of(vec![counter("a", 0.0), counter("b", 10.0), counter("c", 1.0)]);
        let expected = [Ok(Some(2.0)), Ok(Some(20.0)), Ok(Some(c))];
        assert_eq!(after.add(&next), expected, "{away} s");
    }
}

#[test]
fn totals_without_room_in_the_file_are_counted_and_damaged_bytes_refused() {
    let mut before = totals(10);
    before.add(&snapshot_of(vec![counter("a", 1.0), counter("b", 10.0)]));
    let all = before.save(&batch(2, 2), u64::MAX).bytes;
    let half = before.save(&batch(2, 2), all.len() as u64 / 2);
    assert_eq!(half.left_out, 1);
    let mut after = totals(10);
    assert!(after.restore(&all[..all.len() - 1], Duration::ZERO).is_err());
    assert_eq!(after.add(&snapshot_of(vec![counter("a", 1.0)])), [Ok(Some(1.0))]);
}
