//! `naming: telegraf`: names, types and statistics. `tests/telegraf.rs` compares them with Telegraf.

use super::super::*;
use model::testing::{point, snapshot_of, timer};
use model::{MetricKind, Percentile, SetSeed, Sum, Value};

fn line_with(members: &str, point: model::Point, percentiles: &[&str]) -> String {
    let naming = LineNaming::Telegraf(serde_json::from_str(members).unwrap());
    let mut snapshot = snapshot_of(vec![point]);
    snapshot.percentiles =
        percentiles.iter().map(|text| Percentile::parse(text).unwrap()).collect();
    let mut out = Vec::new();
    write_point(&mut out, &snapshot, &snapshot.points[0], &naming);
    let line = String::from_utf8(out).unwrap();
    line.strip_suffix(" 1490114074000000000").unwrap().to_owned()
}

fn line(point: model::Point) -> String {
    line_with("{}", point, &[])
}

fn count(kind: MetricKind, name: &str, tags: &[(&str, &str)], count: f64) -> model::Point {
    let value = match kind {
        MetricKind::Trace => Value::Trace(Sum::of(count)),
        _ => Value::Counter(Sum::of(count)),
    };
    point(kind, name, tags, value)
}

#[test]
fn each_kind_has_telegrafs_fields_and_types() {
    let tags = [("a", "1"), ("z", "2")];
    let counter = count(MetricKind::Counter, "web.page.views", &tags, 43.0);
    assert_eq!(line(counter), "web_page_views,a=1,metric_type=counter,z=2 value=43i");
    let gauge = Value::Gauge { value: -0.25, arrival_ns: 0 };
    assert_eq!(
        line(point(MetricKind::Gauge, "depth", &[], gauge)),
        "depth,metric_type=gauge value=-0.25"
    );
    let mut set = model::DistinctSet::default();
    ["x", "y"].iter().for_each(|member| set.insert(member.as_bytes(), &SetSeed::from_text("")));
    assert_eq!(
        line(point(MetricKind::Set, "users", &[], Value::set(set))),
        "users,metric_type=set value=2i"
    );
    let trace = count(MetricKind::Trace, "call", &[], 3.0);
    assert_eq!(line(trace), "call,metric_type=trace value=3i");
    assert_eq!(
        line_with("{}", timer("t.x", &[], &[(200.0, 10.0), (310.0, 1.0)]), &["50", "99.9"]),
        "t_x,metric_type=timing count=11i,lower=200,mean=210,median=200,stddev=31.622776601683793,\
         sum=2310,upper=310,50_percentile=200,99.9_percentile=310"
    );
    assert_eq!(line(timer("t", &[], &[])), "t,metric_type=timing count=0i");
}

#[test]
fn counts_are_rounded_to_integers_unless_they_are_floats() {
    for (number, text) in [
        (1.5, "2i"),
        (-1.5, "-2i"),
        (10.0 / 3.0, "3i"),
        (0.4, "0i"),
        (1e300, "9223372036854775807i"),
    ] {
        let counter = count(MetricKind::Counter, "c", &[], number);
        assert_eq!(line(counter), format!("c,metric_type=counter value={text}"));
    }
    let counter = count(MetricKind::Counter, "c", &[], 1.5);
    let floats = r#"{"float_counters": true}"#;
    assert_eq!(line_with(floats, counter, &[]), "c,metric_type=counter value=1.5");
    let floats = r#"{"float_timings": true}"#;
    let line = line_with(floats, timer("t", &[], &[(1.0, 2.5)]), &[]);
    assert!(line.contains(" count=2.5,"), "{line}");
}

#[test]
fn percentiles_and_the_median_follow_telegrafs_positions() {
    let samples = |values: &[f64]| values.iter().map(|value| (*value, 1.0)).collect::<Vec<_>>();
    let one_to_ten: Vec<f64> = (1..=10).map(f64::from).collect();
    let statistics = |samples: &[(f64, f64)]| {
        let line = line_with("{}", timer("t", &[], samples), &["10", "50", "90", "100"]);
        let field = |name: &str| -> f64 {
            let fields = line.split_once(' ').unwrap().1.split(',');
            let mut pairs = fields.filter_map(|field| field.split_once('='));
            pairs.find(|(key, _)| *key == name).unwrap().1.parse().unwrap()
        };
        ["median", "10_percentile", "50_percentile", "90_percentile", "100_percentile"].map(field)
    };
    assert_eq!(statistics(&samples(&one_to_ten)), [5.5, 2.0, 6.0, 10.0, 10.0]);
    assert_eq!(statistics(&samples(&[7.0])), [7.0; 5]);
    assert_eq!(statistics(&samples(&[1.0, 2.0, 9.0])), [2.0, 1.0, 2.0, 9.0, 9.0]);
    // Each sample occurs as often as its weight says.
    assert_eq!(statistics(&[(1.0, 1.0), (2.0, 9.0)]), [2.0, 2.0, 2.0, 2.0, 2.0]);
    assert_eq!(statistics(&[(1.0, 5.0), (2.0, 5.0)]), [1.5, 1.0, 2.0, 2.0, 2.0]);
    // A weight need not be whole.
    assert_eq!(statistics(&[(1.0, 10.0 / 3.0)]), [1.0; 5]);
}

#[test]
fn names_and_tags_are_escaped_and_a_tag_of_the_type_makes_room() {
    let tags = [("a b", "é"), ("metric_type", "mine"), ("time", "1")];
    let counter = count(MetricKind::Counter, "c pu.load", &tags, 1.0);
    assert_eq!(
        line(counter),
        r"c\ pu_load,_time=1,a\ b=é,metric_type=counter,metric_type_2=mine value=1i"
    );
    let counter = count(MetricKind::Counter, "a..b.", &[], 1.0);
    assert_eq!(
        line_with(r#"{"metric_separator": "::"}"#, counter, &[]),
        "a::::b::,metric_type=counter value=1i"
    );
}
