//! Compares lines with the readers of line protocol, which disagree in places.

// The shared encoder is that of the destination.
#[cfg(feature = "influxdb")]
mod merging;
mod readers;
mod telegraf;

use proptest::prelude::*;

use super::*;
use model::testing::{point, snapshot_of};
use model::{MetricKind, Sum, Value};
use readers::{Parsed, READERS};

fn line(name: &str, tags: &[(&str, &str)]) -> String {
    let value = Value::Counter(Sum::of(1.0));
    let snapshot = snapshot_of(vec![point(MetricKind::Counter, name, tags, value)]);
    let mut out = Vec::new();
    write_point(&mut out, &snapshot, &snapshot.points[0], &LineNaming::Tallyd);
    String::from_utf8(out).unwrap()
}

/// Reads a line, which must mean the same to every reader.
fn parse(line: &str) -> Parsed {
    let [first, others @ ..] = READERS.map(|reader| readers::parse(line, reader));
    others.iter().for_each(|other| assert_eq!(*other, first, "{line:?}"));
    first
}

/// Returns a series as every reader stores it.
fn stored(name: &str, tags: &[(&str, &str)]) -> (String, Vec<(String, String)>) {
    let Parsed { measurement, tags, .. } = parse(&line(name, tags));
    (measurement, tags)
}

fn pairs(tags: &[(&str, &str)]) -> Vec<(String, String)> {
    tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn characters_with_a_meaning_are_escaped() {
    let tags = [("h,x", "a=b"), ("k", "x\\"), ("n", "x\ny"), ("time", "1")];
    assert_eq!(
        line("c pu", &tags),
        r"c\ pu,_time=1,h\,x=a\=b,k=x,n=x\ny count=1,rate=0.1 1490114074000000000"
    );
}

#[test]
fn a_line_without_a_declared_unit_has_nanoseconds() {
    let value = Value::Counter(Sum::of(1.0));
    let snapshot = snapshot_of(vec![point(MetricKind::Counter, "c", &[], value)]);
    let mut out = Vec::new();
    write_point(&mut out, &snapshot, &snapshot.points[0], &LineNaming::Tallyd);
    assert_eq!(out, b"c count=1,rate=0.1 1490114074000000000");
}

#[test]
fn a_name_that_would_begin_a_comment_gets_an_underscore_in_front() {
    // The format has no escape for it: readers keep a backslash before `#`.
    assert_eq!(stored("#calls", &[]).0, "_#calls");
    assert_eq!(stored("calls#", &[]).0, "calls#");
}

#[test]
fn a_control_character_becomes_an_underscore_and_a_line_break_the_characters_of_its_escape() {
    assert_eq!(stored("a\tb\rc\u{7f}d\0e", &[]).0, "a_b_c_d_e");
    assert_eq!(stored("a\nb", &[]).0, r"a\nb");
}

#[test]
fn backslashes_stay_where_all_readers_agree_on_them() {
    for (text, read) in [
        (r"C:\dir\x", r"C:\dir\x"),
        (r"\\srv\share", r"\srv\share"),
        (r"C:\Program Files", r"C:\Program Files"),
        (r"x\", "x"),
        (r"x\\\", "x"),
        (r"x\,y", "x,y"),
        (r"x\\ y", "x y"),
        (r"q\=b", "q=b"),
        ("x\\\ny", r"x\ny"),
    ] {
        assert_eq!(
            stored(text, &[("k", text)]),
            (read.to_owned(), pairs(&[("k", read)])),
            "{text}"
        );
    }
    assert_eq!(stored(r"\\", &[(r"\", "x"), ("k", r"\\")]), ("_".to_owned(), vec![]));
}

#[test]
fn keys_that_become_equal_are_told_apart() {
    for (tags, read) in [
        ([("_time", "2"), ("time", "1")], [("_time", "2"), ("_time_2", "1")]),
        ([("a", "1"), ("a\\", "2")], [("a", "1"), ("a_2", "2")]),
        ([("a\tb", "1"), ("a\rb", "2")], [("a_b", "1"), ("a_b_2", "2")]),
    ] {
        assert_eq!(stored("m", &tags).1, pairs(&read));
    }
}

proptest! {
    #[test]
    fn written_lines_parse_to_the_same_points(
        name in r#"[a-z ,=."'ä日-]{1,20}"#,
        tags in prop::collection::btree_map(r#"[a-z ,=."'ä日-]{1,20}"#, r#"[a-z ,=."'ä日#-]{1,20}"#, 0..4),
        value in prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO,
    ) {
        prop_assume!(!tags.contains_key("time"));
        let pairs: Vec<_> = tags.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let gauge = Value::Gauge { value, arrival_ns: 0 };
        let snapshot = snapshot_of(vec![point(MetricKind::Gauge, &name, &pairs, gauge)]);
        let mut out = Vec::new();
        write_point(&mut out, &snapshot, &snapshot.points[0], &LineNaming::Tallyd);
        prop_assert_eq!(parse(std::str::from_utf8(&out).unwrap()), Parsed {
            measurement: name,
            tags: tags.into_iter().collect(),
            fields: vec![("value".into(), value)],
            timestamp: 1_490_114_074_000_000_000,
        });
    }

    #[test]
    fn client_data_changes_no_neighbouring_text(
        name in "([\\\\#, =\n\t\0a]{1,6})|(.{1,20})",
        key in "[\\\\, =\n\r\0a]{1,6}|.{1,20}",
        value in "[\\\\, =\n\r\0a]{1,6}|.{1,20}",
    ) {
        prop_assume!(!["a0", "~"].contains(&key.as_str()));
        let mut tags = [("a0", "before"), (&key, &value), ("~", "after")];
        tags.sort_unstable();
        let parsed = parse(&line(&name, &tags));
        prop_assert_eq!(parsed.fields, [("count".into(), 1.0), ("rate".into(), 0.1)]);
        prop_assert_eq!(parsed.timestamp, 1_490_114_074_000_000_000);
        for neighbour in [("a0", "before"), ("~", "after")] {
            prop_assert!(parsed.tags.contains(&(neighbour.0.into(), neighbour.1.into())));
        }
        prop_assert!(parsed.tags.len() <= 3);
    }
}
