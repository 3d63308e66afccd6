//! InfluxDB line protocol: `measurement,tag=value field=1.5 timestamp`.
//!
//! All fields are floats: a field that is an integer one day and a float the next is a type
//! conflict, the commonest way to lose points in InfluxDB.

use crate::model::{Point, Snapshot};

use super::number;

/// Unit of the timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// What a reader assumes when nothing is said.
    Nanoseconds,
    /// What `precision=s` announces.
    Seconds,
}

/// Appends a point, without the newline.
pub fn write_point(out: &mut Vec<u8>, snapshot: &Snapshot, point: &Point, precision: Precision) {
    write_measurement(out, point.series.name());
    for (key, value) in point.series.tags() {
        write_tag(out, key, value);
    }
    let mut separator = b' ';
    point.value.for_each_field(snapshot, |field, value| {
        out.push(separator);
        out.extend_from_slice(field.as_bytes());
        out.push(b'=');
        number::write(out, value);
        separator = b',';
    });
    out.push(b' ');
    let end_ms = snapshot.window.end_ms;
    let mut digits = itoa::Buffer::new();
    out.extend_from_slice(match precision {
        Precision::Nanoseconds => digits.format(u128::from(end_ms) * 1_000_000).as_bytes(),
        Precision::Seconds => digits.format(end_ms / 1000).as_bytes(),
    });
}

fn write_measurement(out: &mut Vec<u8>, name: &str) {
    // A line that starts with `#` is a comment and would be skipped without a word.
    if name.starts_with('#') {
        out.push(b'\\');
    }
    write_escaped(out, name, b", ");
}

/// Appends `,key=value`; the parser knows no empty values.
fn write_tag(out: &mut Vec<u8>, key: &str, value: &str) {
    // A backslash at the end would escape the separator that follows.
    let (trimmed, value) = (key.trim_end_matches('\\'), value.trim_end_matches('\\'));
    if trimmed.is_empty() || value.is_empty() {
        return;
    }
    out.push(b',');
    // InfluxDB refuses a tag called `time`.
    if trimmed == "time" {
        out.push(b'_');
    }
    write_escaped(out, trimmed, b",= ");
    out.push(b'=');
    write_escaped(out, value, b",= ");
}

/// Line breaks cannot be escaped in line protocol; they are written as the two characters `\n`, so
/// that no tag can start a line of its own.
fn write_escaped(out: &mut Vec<u8>, text: &str, special: &[u8]) {
    for byte in text.bytes() {
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..=0x1f | 0x7f => out.push(b'_'),
            _ => {
                if special.contains(&byte) {
                    out.push(b'\\');
                }
                out.push(byte);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{MetricKind, Sum, Value};
    use crate::testing::{point, snapshot_of};

    fn line(name: &str, tags: &[(&str, &str)], precision: Precision) -> String {
        let value = Value::Counter(Sum::of(1.0));
        let snapshot = snapshot_of(vec![point(MetricKind::Counter, name, tags, value)]);
        let mut out = Vec::new();
        write_point(&mut out, &snapshot, &snapshot.points[0], precision);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_has_a_meaning_is_escaped() {
        let tags = [("h,x", "a=b"), ("k", "x\\"), ("n", "x\ny"), ("time", "1")];
        assert_eq!(
            line("c pu", &tags, Precision::Seconds),
            r"c\ pu,h\,x=a\=b,k=x,n=x\ny,_time=1 count=1,rate=0.1 1490114074"
        );
        assert_eq!(
            line("#c", &[], Precision::Nanoseconds),
            r"\#c count=1,rate=0.1 1490114074000000000"
        );
    }

    proptest! {
        #[test]
        fn nothing_that_a_client_sends_starts_a_second_line(name in ".+", key in ".+", value in ".+") {
            let line = line(&name, &[(&key, &value)], Precision::Seconds);
            prop_assert!(!line.contains('\n') && !line.contains('\r'));
            prop_assert!(line.ends_with(" count=1,rate=0.1 1490114074"));
        }
    }
}
