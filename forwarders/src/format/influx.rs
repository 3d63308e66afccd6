//! InfluxDB line protocol: `measurement,tag=value field=1.5 timestamp`.
//!
//! All fields are floats: a field that is an integer one day and a float the next is a type
//! conflict, the commonest way to lose points in InfluxDB.

use model::{Point, Series, Snapshot};

use super::number;

/// Appends a point without the newline. The timestamp is in nanoseconds, the unit that readers
/// assume by default.
pub fn write_point(out: &mut Vec<u8>, snapshot: &Snapshot, point: &Point) {
    write_key(out, &point.series);
    write_values(out, snapshot, point, snapshot.window.end_ms.saturating_mul(1_000_000));
}

/// Appends the key of a series: measurement and tags.
pub fn write_key(out: &mut Vec<u8>, series: &Series) {
    write_measurement(out, series.name());
    for (key, value) in series.tags() {
        write_tag(out, key, value);
    }
}

/// Appends the rest of a point after its key: fields and `timestamp`, in the unit that the reader
/// expects.
pub fn write_values(out: &mut Vec<u8>, snapshot: &Snapshot, point: &Point, timestamp: u64) {
    let mut separator = b' ';
    point.value.for_each_field(snapshot, |field, value| {
        out.push(separator);
        out.extend_from_slice(field.as_bytes());
        out.push(b'=');
        number::write(out, value);
        separator = b',';
    });
    out.push(b' ');
    out.extend_from_slice(itoa::Buffer::new().format(timestamp).as_bytes());
}

fn write_measurement(out: &mut Vec<u8>, name: &str) {
    // A line that starts with `#` is a comment: the reader would skip the point silently.
    if name.starts_with('#') {
        out.push(b'\\');
    }
    if is_written_as_nothing(name) {
        out.push(b'_');
    } else {
        write_escaped(out, name, b", ");
    }
}

/// Appends `,key=value`; leaves out empty keys and values, which the format does not allow.
fn write_tag(out: &mut Vec<u8>, key: &str, value: &str) {
    if is_written_as_nothing(key) || is_written_as_nothing(value) {
        return;
    }
    out.push(b',');
    // InfluxDB rejects points with a tag called `time`.
    if key.trim_end_matches('\\') == "time" {
        out.push(b'_');
    }
    write_escaped(out, key, b",= ");
    out.push(b'=');
    write_escaped(out, value, b",= ");
}

/// Returns whether a text consists only of backslashes, and so is empty without its trailing ones.
fn is_written_as_nothing(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'\\')
}

/// Appends a text with a backslash in front of each byte in `special`.
///
/// Line protocol has no escape for line breaks; they are written as the two characters `\n`, so
/// that no tag can start another line. Backslashes before a special byte and at the end are left
/// out, because readers interpret them differently: for some, `\\,` would end the tag, so that a
/// sender could forge other tags.
fn write_escaped(out: &mut Vec<u8>, text: &str, special: &[u8]) {
    let mut rest = text.as_bytes();
    loop {
        let plain = rest.iter().position(|byte| IS_NOTICED[usize::from(*byte)]);
        let (before, noticed) = rest.split_at(plain.unwrap_or(rest.len()));
        out.extend_from_slice(before);
        let Some((&byte, after)) = noticed.split_first() else { return };
        rest = after;
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\\' => {
                let run = noticed.iter().take_while(|byte| **byte == b'\\').count();
                let (backslashes, after) = noticed.split_at(run);
                rest = after;
                // Between ordinary characters, every reader takes a backslash literally.
                if after.first().is_some_and(|next| !special.contains(next)) {
                    out.extend_from_slice(backslashes);
                }
            }
            b',' | b' ' | b'=' => {
                if special.contains(&byte) {
                    out.push(b'\\');
                }
                out.push(byte);
            }
            // The other control characters have no escape in line protocol.
            _ => out.push(b'_'),
        }
    }
}

/// Bytes that need more than a copy: separators, backslashes and control characters.
const IS_NOTICED: [bool; 256] = {
    let mut noticed = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        noticed[byte] = true;
        byte += 1;
    }
    noticed[0x7f] = true;
    noticed[b',' as usize] = true;
    noticed[b' ' as usize] = true;
    noticed[b'=' as usize] = true;
    noticed[b'\\' as usize] = true;
    noticed
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use model::testing::{point, snapshot_of};
    use model::{MetricKind, Sum, Value};

    fn line(name: &str, tags: &[(&str, &str)]) -> String {
        let value = Value::Counter(Sum::of(1.0));
        let snapshot = snapshot_of(vec![point(MetricKind::Counter, name, tags, value)]);
        let mut out = Vec::new();
        write_key(&mut out, &snapshot.points[0].series);
        write_values(&mut out, &snapshot, &snapshot.points[0], 1_490_114_074);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn characters_with_a_meaning_are_escaped() {
        let tags = [("h,x", "a=b"), ("k", "x\\"), ("n", "x\ny"), ("time", "1")];
        assert_eq!(
            line("c pu", &tags),
            r"c\ pu,h\,x=a\=b,k=x,n=x\ny,_time=1 count=1,rate=0.1 1490114074"
        );
        assert_eq!(line("#c", &[]), r"\#c count=1,rate=0.1 1490114074");
    }

    #[test]
    fn a_line_without_a_declared_unit_has_nanoseconds() {
        let value = Value::Counter(Sum::of(1.0));
        let snapshot = snapshot_of(vec![point(MetricKind::Counter, "c", &[], value)]);
        let mut out = Vec::new();
        write_point(&mut out, &snapshot, &snapshot.points[0]);
        assert_eq!(out, b"c count=1,rate=0.1 1490114074000000000");
    }

    #[test]
    fn backslashes_stay_where_all_readers_agree_on_them() {
        for (text, written) in [
            (r"C:\dir\x", r"C:\dir\x"),
            (r"\\srv\share", r"\\srv\share"),
            (r"C:\Program Files", r"C:\Program\ Files"),
            (r"x\", "x"),
            (r"x\\\", "x"),
            (r"x\,y", r"x\,y"),
            (r"x\\ y", r"x\ y"),
            (r"x\=y", r"x\=y"),
            ("x\\\ny", r"x\\ny"),
        ] {
            let line = line("m", &[("k", text)]);
            let tag = line.strip_prefix("m,k=").unwrap();
            assert_eq!(tag.strip_suffix(" count=1,rate=0.1 1490114074"), Some(written), "{text}");
        }
        assert!(line(r"m\", &[]).starts_with("m count="));
        assert!(line(r"m\=x", &[]).starts_with(r"m\=x count="));
        assert!(line(r"\\", &[(r"\", "x"), ("k", r"\\")]).starts_with("_ count="));
    }

    /// A point as a reader of line protocol parses it.
    #[derive(Debug, PartialEq)]
    struct Parsed {
        measurement: String,
        tags: Vec<(String, String)>,
        fields: Vec<(String, f64)>,
        timestamp: i64,
    }

    /// Splits at each `separator` without a backslash in front, as InfluxDB does.
    fn split(text: &str, separator: char) -> Vec<&str> {
        let mut parts = Vec::new();
        let (mut start, mut before) = (0, ' ');
        for (at, char) in text.char_indices() {
            if char == separator && before != '\\' {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            before = char;
        }
        parts.push(&text[start..]);
        parts
    }

    fn unescaped(text: &str) -> String {
        text.replace(r"\,", ",").replace(r"\=", "=").replace(r"\ ", " ")
    }

    /// Reads a line by the rules of InfluxDB's documentation.
    fn parse(line: &str) -> Parsed {
        assert!(!line.contains(|char: char| char.is_ascii_control()), "{line:?}");
        assert!(!line.starts_with('#'));
        let parts = split(line, ' ');
        let [key, fields, timestamp] = parts.as_slice() else { panic!("{} parts", parts.len()) };
        let mut key = split(key, ',').into_iter();
        let pair = |text: &str| {
            let parts = split(text, '=');
            let [key, value] = parts.as_slice() else { panic!("`{text}` is no pair") };
            assert!(!key.is_empty() && !value.is_empty(), "`{text}`");
            (unescaped(key), unescaped(value))
        };
        let measurement = key.next().unwrap();
        assert!(!measurement.is_empty());
        Parsed {
            measurement: measurement.replace(r"\,", ",").replace(r"\ ", " "),
            tags: key.map(pair).collect(),
            fields: split(fields, ',')
                .into_iter()
                .map(pair)
                .map(|(key, value)| (key, value.parse().unwrap()))
                .collect(),
            timestamp: timestamp.parse().unwrap(),
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
            write_key(&mut out, &snapshot.points[0].series);
            write_values(&mut out, &snapshot, &snapshot.points[0], 1_490_114_074);
            prop_assert_eq!(parse(std::str::from_utf8(&out).unwrap()), Parsed {
                measurement: name,
                tags: tags.into_iter().collect(),
                fields: vec![("value".into(), value)],
                timestamp: 1_490_114_074,
            });
        }

        #[test]
        fn client_data_changes_no_neighbouring_text(
            name in "([\\\\#, =\n\t\0a])|(.{1,20})",
            key in "[\\\\, =\n\r\0a]{1,6}|.{1,20}",
            value in "[\\\\, =\n\r\0a]{1,6}|.{1,20}",
        ) {
            prop_assume!(!["a0", "~"].contains(&key.as_str()));
            let mut tags = [("a0", "before"), (&key, &value), ("~", "after")];
            tags.sort_unstable();
            let line = line(&name, &tags);
            let parsed = parse(&line);
            prop_assert_eq!(parsed.fields, [("count".into(), 1.0), ("rate".into(), 0.1)]);
            prop_assert_eq!(parsed.timestamp, 1_490_114_074);
            for neighbour in [("a0", "before"), ("~", "after")] {
                prop_assert!(parsed.tags.contains(&(neighbour.0.into(), neighbour.1.into())));
            }
            prop_assert!(parsed.tags.len() <= 3);
            // The same for readers that treat a backslash before a backslash as an escape.
            for special in [r"\\,", r"\\ ", r"\\="] {
                prop_assert!(!line.contains(special), "{}", line);
            }
        }
    }
}
