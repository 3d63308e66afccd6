//! One JSON object per point: `{"name","type","timestamp","interval","tags":{},"fields":{}}`, and for
//! timers and sets `"sketch"`, if requested.

use basics::escape::visible;
use model::{MetricKind, Point, Series, Snapshot};

use super::{number, sketch};

/// Appends a point: `timestamp` is the window's end in Unix milliseconds, `interval` its length in
/// seconds.
pub fn write_point(out: &mut Vec<u8>, snapshot: &Snapshot, point: &Point) {
    let write_middle = |out: &mut Vec<u8>| write_middle(out, snapshot, point.series.kind());
    write_object(out, snapshot, point, write_middle);
}

/// Appends a point like [`write_point`], with the [`sketch`] of a timer or set.
pub fn write_point_with_sketch(out: &mut Vec<u8>, snapshot: &Snapshot, point: &Point) {
    write_point(out, snapshot, point);
    if let Some(sketch) = sketch::encoded(&point.value) {
        // Instead of the brace that ends the object.
        out.pop();
        out.extend_from_slice(b",\"sketch\":\"");
        // Base64 needs no escapes.
        out.extend_from_slice(sketch.as_bytes());
        out.extend_from_slice(b"\"}");
    }
}

/// Writes the points of one window, whose common members it encodes once.
#[derive(Debug)]
pub struct JsonLines<'a> {
    snapshot: &'a Snapshot,
    /// The members between name and tags, by kind.
    middles: [Vec<u8>; MetricKind::ALL.len()],
}

impl<'a> JsonLines<'a> {
    /// Creates a writer for the points of a window.
    #[must_use]
    pub fn new(snapshot: &'a Snapshot) -> Self {
        let middle = |kind| {
            let mut middle = Vec::new();
            write_middle(&mut middle, snapshot, kind);
            middle
        };
        Self { snapshot, middles: MetricKind::ALL.map(middle) }
    }

    /// Appends a point like [`write_point`].
    pub fn write_point(&self, out: &mut Vec<u8>, point: &Point) {
        let middle = &self.middles[point.series.kind() as usize];
        write_object(out, self.snapshot, point, |out| out.extend_from_slice(middle));
    }
}

fn write_object(
    out: &mut Vec<u8>,
    snapshot: &Snapshot,
    point: &Point,
    write_middle: impl FnOnce(&mut Vec<u8>),
) {
    let series = &*point.series;
    if series.is_plain() {
        out.extend_from_slice(b"{\"name\":\"");
        out.extend_from_slice(series.name().as_bytes());
        out.push(b'"');
        write_middle(out);
        write_plain_tags(out, series);
    } else {
        out.extend_from_slice(b"{\"name\":");
        write_string(out, series.name());
        write_middle(out);
        write_tags(out, series);
    }
    out.extend_from_slice(b",\"fields\":{\"");
    point.value.for_each_field(snapshot, |field, value| {
        // The names of fields need no escapes.
        out.extend_from_slice(field.as_bytes());
        out.extend_from_slice(b"\":");
        number::write(out, value);
        out.extend_from_slice(b",\"");
    });
    // Each point has a field, and nothing follows the last one.
    out.truncate(out.len() - 2);
    out.extend_from_slice(b"}}");
}

/// Appends the members between name and tags, and the key of the tags.
fn write_middle(out: &mut Vec<u8>, snapshot: &Snapshot, kind: MetricKind) {
    out.extend_from_slice(b",\"type\":\"");
    out.extend_from_slice(kind.as_str().as_bytes());
    out.extend_from_slice(b"\",\"timestamp\":");
    out.extend_from_slice(itoa::Buffer::new().format(snapshot.window.end_ms).as_bytes());
    out.extend_from_slice(b",\"interval\":");
    number::write(out, snapshot.window.length_s());
    out.extend_from_slice(b",\"tags\"");
}

/// Appends the colon and the tags as an object.
fn write_tags(out: &mut Vec<u8>, series: &Series) {
    out.extend_from_slice(b":{");
    let mut members = JsonMembers::default();
    for (key, value) in series.tags() {
        members.key(out, key);
        write_string(out, value);
    }
    out.push(b'}');
}

/// Appends the same for a series that needs no escapes.
fn write_plain_tags(out: &mut Vec<u8>, series: &Series) {
    if series.tag_count() == 0 {
        return out.extend_from_slice(b":{}");
    }
    series.write_tags(out, b":{\"", b"\",\"", b"\":\"");
    out.extend_from_slice(b"\"}");
}

/// Whether a byte needs no escape. A table, because each byte of each name and tag is looked up.
const IS_PLAIN: [bool; 256] = {
    let mut is_plain = [false; 256];
    let mut byte = b' ';
    while byte < 0x7f {
        is_plain[byte as usize] = byte != b'"' && byte != b'\\';
        byte += 1;
    }
    is_plain
};

/// Appends a JSON string, with escapes also for characters that a terminal would obey.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    // Fast path: nearly all texts need no escape.
    if text.bytes().all(|byte| IS_PLAIN[usize::from(byte)]) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        return out.push(b'"');
    }
    // Serialising a string cannot fail.
    let written = serde_json::to_string(text);
    debug_assert!(written.is_ok());
    out.extend_from_slice(visible(&written.unwrap_or_default()).as_bytes());
}

/// Separates the members of an object with commas.
#[derive(Default)]
pub struct JsonMembers {
    any: bool,
}

impl JsonMembers {
    /// Appends the separator, the key and the colon.
    pub fn key(&mut self, out: &mut Vec<u8>, key: &str) {
        if std::mem::replace(&mut self.any, true) {
            out.push(b',');
        }
        write_string(out, key);
        out.push(b':');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::testing::PART;
    use model::testing::{counter, point, snapshot_of, timer};
    use model::{Sum, Value};

    #[test]
    fn a_point_is_one_object() {
        let tags = [("a\"b", "x\ny"), ("stage", "Zürich")];
        let snapshot = snapshot_of(vec![point(
            MetricKind::Counter,
            "user.logins",
            &tags,
            Value::Counter(Sum::of(5.0)),
        )]);
        let mut out = Vec::new();
        write_point(&mut out, &snapshot, &snapshot.points[0]);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"name":"user.logins","type":"counter","timestamp":1490114074000,"interval":10,"#
                .to_owned()
                + r#""tags":{"a\"b":"x\ny","stage":"Zürich"},"fields":{"count":5,"rate":0.5}}"#
        );
    }

    #[test]
    fn timers_and_sets_have_a_sketch_on_request() {
        let mut set = model::DistinctSet::default();
        set.insert(b"a", &model::SetSeed::from_text("seed"));
        let snapshot = snapshot_of(vec![
            counter("c", &[], 1.0),
            timer("t", &[], &[(3.0, 1.0)]),
            point(MetricKind::Set, "s", &[], Value::set(set)),
        ]);
        let line = |write: fn(&mut Vec<u8>, &Snapshot, &Point), point| {
            let mut out = Vec::new();
            write(&mut out, &snapshot, point);
            String::from_utf8(out).unwrap()
        };
        let sketches = snapshot.points.iter().map(|point| {
            let (without, with) = (line(write_point, point), line(write_point_with_sketch, point));
            let rest = with.strip_prefix(&without[..without.len() - 1]).unwrap().to_owned();
            assert!(serde_json::from_str::<serde_json::Value>(&with).is_ok(), "{with}");
            rest
        });
        assert_eq!(
            sketches.collect::<Vec<_>>(),
            [
                "}",
                r#","sketch":"oAKIAAAAAAAACECMAAAAAAAACECEAAAAAAAACEACYYB3Ppos8D8AAAAAAAAAAAUBygEC"}"#,
                r#","sketch":"AgEHEAMIAQhA7jwF"}"#,
            ]
        );
    }

    proptest! {
        #[test]
        fn a_series_is_written_alike_with_and_without_a_look_at_each_part(
            parts in prop::collection::btree_map(PART, PART, 0..5), name in PART,
        ) {
            let tags: Vec<_> = parts.into_iter().collect();
            let series = Series::new(MetricKind::Trace, &name, &tags);
            let mut expected = Vec::new();
            write_tags(&mut expected, &series);
            let value = Value::Trace(Sum::of(1.0));
            let snapshot = snapshot_of(vec![Point { series: series.into(), value }]);
            let (mut line, mut alone) = (Vec::new(), Vec::new());
            JsonLines::new(&snapshot).write_point(&mut line, &snapshot.points[0]);
            write_point(&mut alone, &snapshot, &snapshot.points[0]);
            let mut quoted = Vec::new();
            write_string(&mut quoted, &name);
            let text = String::from_utf8(line).unwrap();
            prop_assert_eq!(&text, &String::from_utf8(alone).unwrap());
            let expected = format!(
                "{{\"name\":{},\"type\":\"trace\",\"timestamp\":1490114074000,\"interval\":10,\
                 \"tags\"{},\"fields\":{{\"count\":1}}}}",
                String::from_utf8(quoted).unwrap(),
                String::from_utf8(expected).unwrap(),
            );
            prop_assert_eq!(text, expected);
        }
    }
}
