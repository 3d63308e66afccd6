//! One JSON object per point: `{"name","type","timestamp","interval","tags":{},"fields":{}}`.

use basics::escape::visible;
use model::{Point, Snapshot};

use super::number;

/// Appends a point: `timestamp` is the window's end in Unix milliseconds, `interval` its length in
/// seconds.
pub fn write_point(out: &mut Vec<u8>, snapshot: &Snapshot, point: &Point) {
    let series = &point.series;
    out.extend_from_slice(b"{\"name\":");
    write_string(out, series.name());
    out.extend_from_slice(b",\"type\":\"");
    out.extend_from_slice(series.kind().as_str().as_bytes());
    out.extend_from_slice(b"\",\"timestamp\":");
    out.extend_from_slice(itoa::Buffer::new().format(snapshot.window.end_ms).as_bytes());
    out.extend_from_slice(b",\"interval\":");
    number::write(out, snapshot.window.length_s());
    out.extend_from_slice(b",\"tags\":{");
    let mut members = Members::default();
    for (key, value) in series.tags() {
        members.key(out, key);
        write_string(out, value);
    }
    out.extend_from_slice(b"},\"fields\":{");
    let mut members = Members::default();
    point.value.for_each_field(snapshot, |field, value| {
        members.key(out, field);
        number::write(out, value);
    });
    out.extend_from_slice(b"}}");
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
pub struct Members {
    any: bool,
}

impl Members {
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
    use super::*;
    use model::testing::{point, snapshot_of};
    use model::{MetricKind, Sum, Value};

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
}
