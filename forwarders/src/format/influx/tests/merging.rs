//! Series that are written alike share a line.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::*;
use super::parse;
use crate::delivery::payload::Batch;
use crate::format::{LineEncoding, LineFormat};
use model::MetricKind;
use model::testing::{counter, point, snapshot_of, snapshot_of_counters};

/// Encodes a window with a payload for each line.
fn encoded(snapshot: &Snapshot, naming: &LineNaming) -> (String, Batch) {
    let mut batch = Batch::default();
    encode(snapshot, naming, &mut batch, |batch, line| {
        let write = |out: &mut Vec<u8>| {
            line.write(out, snapshot);
            out.push(b'\n');
        };
        batch.push(line.points, |_| (), write);
    });
    let text = batch.pending().flat_map(|payload| payload.bytes.to_vec()).collect();
    (String::from_utf8(text).unwrap(), batch)
}

/// Returns the sum of the counts that an InfluxDB stores: of two lines with one key, the last.
fn stored(points: Vec<Point>, naming: &LineNaming) -> f64 {
    let snapshot = snapshot_of(points);
    let (text, batch) = encoded(&snapshot, naming);
    assert_eq!(batch.points(), snapshot.points.len() as u64);
    let mut at_once = Batch::default();
    LineEncoding::new(LineFormat::Influx, naming.clone()).encode_lines(&snapshot, &mut at_once);
    assert_eq!(at_once.first_pending().unwrap().bytes, text.as_bytes());
    let parsed = text.lines().map(parse);
    let counts: BTreeMap<_, _> =
        parsed.map(|line| ((line.measurement, line.tags), line.fields[0].1)).collect();
    assert_eq!(counts.len(), text.lines().count(), "a series has two lines: {text}");
    counts.values().sum()
}

#[test]
fn values_of_series_that_are_written_alike_add_up() {
    for points in [
        vec![counter("a", &[], 1.0), counter("a\\", &[], 2.0)],
        vec![counter("u", &[("user", "a\nb")], 1.0), counter("u", &[("user", r"a\nb")], 2.0)],
        vec![
            counter("u", &[("a", "1"), ("time", "2")], 1.0),
            counter("u", &[("_time", "2"), ("a", "1")], 2.0),
        ],
        vec![counter("#a", &[], 1.0), counter("_#a", &[], 2.0)],
        vec![counter("a", &[("k", r"\")], 1.0), counter("a", &[], 2.0)],
    ] {
        assert_eq!(stored(points, &LineNaming::Tallyd), 3.0);
    }
}

#[test]
fn points_of_different_kinds_keep_their_lines() {
    let gauge = point(MetricKind::Gauge, "a\\", &[], Value::Gauge { value: 7.0, arrival_ns: 0 });
    let (text, _) = encoded(&snapshot_of(vec![counter("a", &[], 1.0), gauge]), &LineNaming::Tallyd);
    assert_eq!(text.lines().count(), 2);
}

#[test]
fn a_merged_line_stands_for_all_its_points() {
    let points = vec![counter("a", &[], 1.0), counter("b", &[], 2.0), counter("a\\", &[], 4.0)];
    let (text, mut batch) = encoded(&snapshot_of(points), &LineNaming::Tallyd);
    assert!(text.starts_with("a count=5,"), "{text}");
    batch.delivered(0);
    assert_eq!(batch.take_settled().delivered, 2);
    assert_eq!(batch.points_left().of(&["a", "b", "a\\"]).collect::<Vec<_>>(), [&"b"]);
}

#[test]
fn a_window_without_backslashes_may_be_encoded_in_parts() {
    assert!(!may_merge(&snapshot_of_counters(100), &LineNaming::Tallyd));
    assert!(may_merge(
        &snapshot_of(vec![counter("a", &[("k", "x\ty")], 1.0)]),
        &LineNaming::Tallyd
    ));
}

fn telegraf(separator: &str) -> LineNaming {
    let config = serde_json::json!({ "metric_separator": separator });
    LineNaming::Telegraf(serde_json::from_value(config).unwrap())
}

#[test]
fn series_with_telegrafs_names_that_become_equal_add_up() {
    for points in [
        vec![counter("a.b", &[], 1.0), counter("a_b", &[], 2.0)],
        vec![counter("a.b_c", &[], 1.0), counter("a_b.c", &[], 2.0)],
        vec![
            counter("a", &[("metric_type", "x")], 1.0),
            counter("a", &[("metric_type_2", "x")], 2.0),
        ],
    ] {
        assert_eq!(stored(points, &telegraf("_")), 3.0);
    }
    let two = vec![counter("a.b", &[], 1.0), counter("a_b", &[], 2.0)];
    assert!(!may_merge(&snapshot_of(two.clone()), &telegraf(".")));
    assert!(!may_merge(&snapshot_of(two), &telegraf("-")));
    let without_dots = vec![counter("a_b", &[], 1.0), counter("c_d", &[], 2.0)];
    assert!(!may_merge(&snapshot_of(without_dots), &telegraf("_")));
}

#[cfg(feature = "influxdb")]
#[test]
fn a_point_whose_line_another_point_shares_is_not_written_alone() {
    let points = vec![counter("a.b", &[], 1.0), counter("a_b", &[], 2.0), counter("c.d", &[], 4.0)];
    let snapshot = snapshot_of(points);
    let written = snapshot.points.iter().map(|point| {
        let mut out = Vec::new();
        let is_written = write_unshared_point(&mut out, &snapshot, point, 7, &telegraf("_"));
        (is_written, String::from_utf8(out).unwrap())
    });
    let alone = "c_d,metric_type=counter value=4i 7".to_owned();
    let shared = (false, String::new());
    assert_eq!(written.collect::<Vec<_>>(), [shared.clone(), shared, (true, alone)]);
}

proptest! {
    #[test]
    fn every_count_is_stored(
        series in prop::collection::btree_map(
            ("[a_.#\\\\\n\t, =]{1,3}", prop::collection::btree_map("[a_2\\\\\n\t=]{1,3}|_?time|metric_type(_2)?", "[a\\\\\n, ]{1,3}", 0..4)),
            1_u8..9,
            1..12,
        ),
    ) {
        let points = series.iter().map(|((name, tags), count)| {
            let tags: Vec<_> = tags.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            counter(name, &tags, f64::from(*count))
        });
        let all: f64 = series.values().map(|count| f64::from(*count)).sum();
        let points: Vec<_> = points.collect();
        for naming in [LineNaming::Tallyd, telegraf("_"), telegraf("a_")] {
            prop_assert_eq!(stored(points.clone(), &naming), all);
        }
    }
}
