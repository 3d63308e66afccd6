//! Tests of `temporality: cumulative`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{EXPIRE_AFTER, otlp};
use crate::delivery::forwarder::{Forwarder, InvalidState};
use crate::delivery::payload::{Batch, Payload};
use crate::format::otlp::messages::{Metric, MetricData};
use crate::format::otlp::metric_of;
use crate::otlp::Otlp;
use model::testing::{counter, point, snapshot_of, timer};
use model::{MetricKind, Point, Snapshot, Value, Window};

#[test]
fn a_clock_that_is_set_back_moves_the_start_of_a_total_once() {
    let mut windows = Windows::new("");
    let start = |windows: &mut Windows, number: u64| {
        windows.number = number;
        let batch = windows.encode(vec![counter("c", &[], 1.0)]);
        let metric = metric_of(batch.pending().next().unwrap().bytes).unwrap();
        let Some(MetricData::Sum(mut sum)) = metric.data else { panic!("a sum") };
        let point = sum.data_points.remove(0);
        (point.start_time_unix_nano / 1_000_000_000 + 10 - FIRST_END, point.as_double)
    };
    assert_eq!(start(&mut windows, 20), (200, Some(1.0)));
    assert_eq!(start(&mut windows, 5), (50, Some(2.0)));
    assert_eq!(start(&mut windows, 6), (50, Some(3.0)));
}

#[test]
fn a_change_from_cumulative_to_delta_needs_no_totals() {
    let mut before = Windows::new("");
    let batch = before.encode(vec![counter("c", &[], 1.0)]);
    let saved = before.otlp.save_state(&batch, 1 << 20).unwrap();
    assert!(otlp("").restore_state(&saved.bytes, Duration::ZERO).is_ok());
}

/// Windows of 10 s for a destination with totals.
struct Windows {
    otlp: Otlp,
    number: u64,
}

/// The end of the first window, in Unix seconds.
const FIRST_END: u64 = 1_490_114_070;

impl Windows {
    fn new(members: &str) -> Self {
        Self { otlp: otlp(&format!(r#""temporality": "cumulative"{members}"#)), number: 0 }
    }

    fn encode(&mut self, points: Vec<Point>) -> Batch {
        let end_ms = (FIRST_END + 10 * self.number) * 1_000;
        self.number += 1;
        let window = Window { end_ms, length: Duration::from_secs(10) };
        let snapshot = Snapshot { window, ..snapshot_of(points) };
        let mut batch = Batch::default();
        self.otlp.encode(&snapshot, &mut batch);
        batch
    }

    /// Encodes a window and shows it.
    fn shown(&mut self, points: Vec<Point>) -> Vec<String> {
        shown(&self.encode(points))
    }
}

/// The payloads of a batch: name, value, start in seconds after that of the first window, points.
fn shown(batch: &Batch) -> Vec<String> {
    let since = |start_ns: u64| start_ns / 1_000_000_000 + 10 - FIRST_END;
    let show = |payload: Payload<'_>| {
        let Metric { name, data } = metric_of(payload.bytes).unwrap();
        let (value, start_ns) = match data.unwrap() {
            MetricData::Gauge(mut gauge) => (
                format!("gauge {:?}", gauge.data_points.remove(0).as_double.unwrap()),
                (FIRST_END - 10) * 1_000_000_000,
            ),
            MetricData::Sum(mut sum) => {
                assert_eq!(sum.aggregation_temporality, 2);
                let point = sum.data_points.remove(0);
                let kind = if sum.is_monotonic { "total" } else { "sum" };
                let value = point.as_double.map_or("end".to_owned(), |value| value.to_string());
                (format!("{kind} {value}"), point.start_time_unix_nano)
            }
            MetricData::ExponentialHistogram(mut histogram) => {
                assert_eq!(histogram.aggregation_temporality, 2);
                let point = histogram.data_points.remove(0);
                let counted: u64 =
                    point.positive.iter().flat_map(|buckets| &buckets.bucket_counts).sum();
                let words =
                    format!("{} {:?} {:?} {:?}", point.count, point.sum, point.min, point.max);
                assert_eq!(counted, point.count);
                (
                    if point.flags == 1 { "end".to_owned() } else { words },
                    point.start_time_unix_nano,
                )
            }
        };
        format!("{name} {value} since {} ({})", since(start_ns), payload.points)
    };
    batch.pending().map(show).collect()
}

#[test]
fn totals_add_up_from_the_start_of_their_series() {
    let mut windows = Windows::new("");
    let gauge = point(MetricKind::Gauge, "g", &[], Value::Gauge { value: 4.0, arrival_ns: 1 });
    assert_eq!(
        windows.shown(vec![counter("a", &[], 2.0), gauge, timer("t", &[], &[(8.0, 1.0)])]),
        [
            "a total 2 since 0 (1)",
            "g gauge 4.0 since 0 (1)",
            "t 1 Some(8.0) Some(8.0) Some(8.0) since 0 (1)",
        ]
    );
    assert_eq!(
        windows.shown(vec![counter("b", &[], 1.0), counter("a", &[], 3.0)]),
        [
            "b total 1 since 10 (1)",
            "a total 5 since 0 (1)",
            "t 1 Some(8.0) Some(8.0) Some(8.0) since 0 (0)",
        ]
    );
    assert_eq!(
        windows.shown(vec![timer("t", &[], &[(2.0, 2.0)])]),
        [
            "t 3 Some(12.0) Some(2.0) Some(8.0) since 0 (1)",
            "a total 5 since 0 (0)",
            "b total 1 since 10 (0)",
        ]
    );
}

#[test]
fn a_total_that_was_decremented_is_a_sum_that_is_not_monotonic_from_then_on() {
    let mut windows = Windows::new("");
    let mut shown = |count: f64| windows.shown(vec![counter("a", &[], count)]).remove(0);
    assert_eq!(shown(5.0), "a total 5 since 0 (1)");
    assert_eq!(shown(-2.0), "a sum 3 since 0 (1)");
    assert_eq!(shown(1.0), "a sum 4 since 0 (1)");
}

#[test]
fn a_series_that_expires_ends_and_starts_anew() {
    let mut windows = Windows::new("");
    windows.encode(vec![counter("a", &[], 1.0), timer("t", &[], &[(1.0, 1.0)])]);
    for _ in 0..5 {
        assert_eq!(windows.shown(vec![]).len(), 2);
    }
    assert_eq!(windows.shown(vec![]), ["a total end since 0 (0)", "t end since 0 (0)"]);
    assert_eq!(windows.shown(vec![]), [] as [&str; 0]);
    assert_eq!(windows.shown(vec![counter("a", &[], 1.0)]), ["a total 1 since 80 (1)"]);
}

#[test]
fn points_of_a_series_without_room_are_dropped_and_counted() {
    let mut windows = Windows::new(r#", "max_series": 1"#);
    let points =
        || vec![counter("a", &[], 1.0), counter("b", &[], 1.0), timer("t", &[], &[(1.0, 1.0)])];
    for total in ["a total 1 since 0 (1)", "a total 2 since 0 (1)"] {
        let mut batch = windows.encode(points());
        assert_eq!(shown(&batch), [total]);
        assert_eq!(batch.take_settled().refused, BTreeMap::from([("totals_full", 2)]));
    }
    // A gauge needs no total.
    let gauge = point(MetricKind::Gauge, "g", &[], Value::Gauge { value: 4.0, arrival_ns: 1 });
    assert_eq!(windows.shown(vec![gauge])[0], "g gauge 4.0 since 0 (1)");
    // `a` expires, which leaves room for a new total.
    (0..7).for_each(|_| drop(windows.encode(vec![])));
    assert_eq!(windows.shown(points())[0], "a total 1 since 100 (1)");
}

/// A timer whose total takes about 33 KB: values in 1,000 buckets.
fn wide(name: &str) -> Point {
    let middle = |bucket: i32| ((f64::from(bucket) + 0.5) / 64.0).exp2();
    let values: Vec<_> = (0..1_000).map(|bucket| (middle(bucket), 1.0)).collect();
    timer(name, &[], &values)
}

#[test]
fn totals_of_timers_are_limited_by_their_memory() {
    let mut windows = Windows::new(r#", "max_totals": "1MiB""#);
    let mut points = vec![timer("narrow", &[], &[(1.0, 1.0)])];
    points.extend((0..60).map(|n| wide(&format!("wide{n}"))));
    let mut batch = windows.encode(points);
    let refused = batch.take_settled().refused["totals_full"];
    assert_eq!(batch.pending().count() as u64, 61 - refused);
    assert!((28..=32).contains(&refused), "{refused}");

    // The total cannot grow. It stays as it was, and is sent like that of an idle series.
    let mut batch = windows.encode(vec![wide("narrow")]);
    assert_eq!(batch.take_settled().refused["totals_full"], 1);
    assert_eq!(shown(&batch)[0], "narrow 1 Some(1.0) Some(1.0) Some(1.0) since 0 (0)");
    let saved = windows.otlp.save_state(&batch, u64::MAX).unwrap();

    // A value in a bucket that the total has needs no memory.
    let again = windows.shown(vec![timer("narrow", &[], &[(1.0, 1.0)])]);
    assert_eq!(again[0], "narrow 2 Some(2.0) Some(1.0) Some(1.0) since 0 (1)");
    (0..7).for_each(|_| drop(windows.encode(vec![])));
    assert!(windows.encode(vec![wide("narrow")]).take_settled().refused.is_empty());

    // A successor with less room keeps the totals for which it has room.
    let mut next = Windows { number: 2, ..Windows::new(r#", "max_series": 2"#) };
    next.otlp.restore_state(&saved.bytes, Duration::ZERO).unwrap();
    assert_eq!(next.shown(vec![]).len(), 2);
}

#[test]
fn a_successor_continues_totals_without_the_points_that_it_encodes_again() {
    let points =
        || vec![counter("a", &[], 1.0), timer("t", &[], &[(1.0, 1.0)]), counter("c", &[], -1.0)];
    let mut first = Windows::new("");
    first.encode(points());
    let mut batch = first.encode(points());
    // `a` and `c` are delivered, `t` is not.
    batch.delivered(0);
    batch.delivered(2);
    let saved = first.otlp.save_state(&batch, u64::MAX).unwrap();
    assert_eq!(saved.left_out, 0);
    let mut next = Windows { number: 1, ..Windows::new("") };
    next.otlp.restore_state(&saved.bytes, Duration::from_secs(5)).unwrap();
    let again = vec![timer("t", &[], &[(1.0, 1.0)])];
    assert_eq!(
        next.shown(again),
        [
            "t 2 Some(2.0) Some(1.0) Some(1.0) since 0 (1)",
            "a total 2 since 0 (0)",
            "c sum -2 since 0 (0)",
        ]
    );
    let none = first.otlp.save_state(&batch, 0).unwrap();
    assert_eq!((none.bytes.len(), none.left_out), (0, 3));
    let mut late = Windows::new("");
    late.otlp.restore_state(&saved.bytes, EXPIRE_AFTER).unwrap();
    assert_eq!(late.shown(vec![]), [] as [&str; 0]);
    assert_eq!(late.otlp.restore_state(b"damaged", EXPIRE_AFTER), Err(InvalidState));
}
