//! The check of the output formats: for any names, tags and numbers that clients send, a reader gets
//! one line per point, which contains exactly the point.

use std::collections::BTreeMap;
use std::sync::Arc;

use forwarders::format::influx::{self, LineNaming};
use forwarders::format::pystatsd::Envelope;
use forwarders::format::{LineFormat, json};
use model::{Point, Snapshot};
use serde_json::value::RawValue;

use engine::aggregator::AggregationConfig;
use engine::testing::recorder::{decoded, protocol_of};

/// Records a datagram and writes its points in each format. The first byte of the input selects the
/// protocol, the others are the datagram.
pub fn check(input: &[u8]) {
    let Some((protocol, datagram)) = input.split_first() else { return };
    let config = AggregationConfig::default();
    let (snapshots, ..) =
        decoded(protocol_of(*protocol), &[vec![datagram]], &config, &Arc::default());
    for snapshot in &snapshots {
        for point in &snapshot.points {
            check_text(snapshot, point);
            check_json(snapshot, point);
            check_pystatsd(snapshot, point);
            check_influx(snapshot, point);
        }
    }
}

/// Returns the output of `write`, which must be UTF-8.
fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap_or_else(|error| panic!("{error}"))
}

fn tags(point: &Point) -> BTreeMap<String, String> {
    point.series.tags().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Returns the fields of a point, which must be finite.
fn fields(snapshot: &Snapshot, point: &Point) -> BTreeMap<String, f64> {
    let mut fields = BTreeMap::new();
    point.value.for_each_field(snapshot, |field, number| {
        assert!(number.is_finite(), "{field} is {number}");
        // The formats write negative zero as zero.
        fields.insert(field.to_owned(), number + 0.0);
    });
    fields
}

/// Text: one line without control characters, which a terminal might interpret.
fn check_text(snapshot: &Snapshot, point: &Point) {
    let line = written(|out| LineFormat::Text.write_line(out, snapshot, point));
    let line = line.strip_suffix('\n').unwrap_or_else(|| panic!("no end: {line:?}"));
    assert!(!line.contains(char::is_control), "{line:?}");
}

/// JSON: the object contains exactly the point's name, tags and fields.
fn check_json(snapshot: &Snapshot, point: &Point) {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Written<'a> {
        name: String,
        r#type: String,
        timestamp: u64,
        interval: f64,
        tags: BTreeMap<String, String>,
        #[serde(borrow)]
        fields: BTreeMap<String, &'a RawValue>,
    }
    let line = written(|out| json::write_point(out, snapshot, point));
    assert!(!line.contains(['\n', '\r']), "{line:?}");
    let read: Written<'_> =
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert_eq!((read.name.as_str(), &read.tags), (point.series.name(), &tags(point)));
    assert_eq!(read.r#type, point.series.kind().as_str());
    assert_eq!((read.timestamp, read.interval), (snapshot.window.end_ms, 10.0));
    // `serde_json` itself may round the last digit differently.
    let number = |(field, text): (String, &RawValue)| {
        (field, text.get().parse().unwrap_or_else(|_| panic!("{line}")))
    };
    let read: BTreeMap<String, f64> = read.fields.into_iter().map(number).collect();
    assert_eq!(read, fields(snapshot, point));
}

/// pystatsd's JSON: the envelope is complete, and each tag is a separate member next to it.
fn check_pystatsd(snapshot: &Snapshot, point: &Point) {
    let envelope = Envelope::new(&"key".into(), &"tenant".into());
    let line = written(|out| envelope.write_point(out, snapshot, point));
    assert!(!line.contains(['\n', '\r']), "{line:?}");
    let read: BTreeMap<String, &RawValue> =
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let text = |key: &str| -> String {
        read.get(key)
            .and_then(|value| serde_json::from_str(value.get()).ok())
            .unwrap_or_else(|| panic!("{key}: {line}"))
    };
    assert_eq!(text("name"), point.series.name());
    assert_eq!((text("apikey"), text("tenant_id")), ("key".to_owned(), "tenant".to_owned()));
    assert_eq!(text("@version"), "1");
    assert_eq!(text("@timestamp"), "2017-03-21T16:34:34.000Z");
    assert_eq!(read["value"].get().parse().ok(), Some(point.value.headline() + 0.0));
    let envelope_members = if read.contains_key("stats") { 7 } else { 6 };
    assert_eq!(read.len(), envelope_members + point.series.tag_count(), "{line}");
}

/// Line protocol: the line has a measurement, non-empty tags and all fields. Its special characters are
/// escaped, so that splitting at them finds exactly these.
fn check_influx(snapshot: &Snapshot, point: &Point) {
    let line = written(|out| influx::write_point(out, snapshot, point, &LineNaming::Tallyd));
    assert!(!line.contains(|c: char| c.is_ascii_control()), "{line:?}");
    assert!(!line.starts_with('#'), "{line:?} is a comment");
    let parts = split_unescaped(&line, ' ');
    let [series, written_fields, timestamp] = parts[..] else { panic!("{parts:?}") };
    assert_eq!(timestamp, "1490114074000000000");
    let series = split_unescaped(series, ',');
    assert!(!series[0].is_empty(), "{line:?}");
    for tag in &series[1..] {
        let tag = split_unescaped(tag, '=');
        assert!(tag.len() == 2 && tag.iter().all(|part| !part.is_empty()), "{line:?}");
        assert_ne!(tag[0], "time", "InfluxDB refuses it: {line:?}");
    }
    let is_kept = |(key, value): &(&str, &str)| {
        [key, value].iter().all(|part| !part.trim_end_matches('\\').is_empty())
    };
    assert_eq!(series.len() - 1, point.series.tags().filter(is_kept).count(), "{line:?}");
    let field = |field: &str| {
        let (key, number) = field.split_once('=').unwrap_or_else(|| panic!("{line:?}"));
        (key.to_owned(), number.parse().unwrap_or_else(|_| panic!("{line:?}")))
    };
    let read: BTreeMap<String, f64> = written_fields.split(',').map(field).collect();
    assert_eq!(read, fields(snapshot, point));
}

/// Splits at each separator without a preceding backslash, as InfluxDB's parser does.
fn split_unescaped(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    for (place, _) in text.match_indices(separator) {
        if !text[..place].ends_with('\\') {
            parts.push(&text[start..place]);
            start = place + 1;
        }
    }
    parts.push(&text[start..]);
    parts
}
