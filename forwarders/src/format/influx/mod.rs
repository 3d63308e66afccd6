//! InfluxDB line protocol: `measurement,tag=value field=1.5 timestamp`.
//!
//! All fields are floats: a field that is an integer one day and a float the next is a type
//! conflict, the commonest way to lose points in InfluxDB.

#[cfg_attr(
    not(any(feature = "influxdb", feature = "kafka")),
    allow(dead_code, reason = "only these destinations encode line by line")
)]
mod lines;
mod safe;
#[cfg(test)]
mod tests;

#[cfg(any(feature = "influxdb", feature = "kafka"))]
pub(crate) use lines::encode;
pub(crate) use lines::{may_merge, write_all};

use model::{Point, Series, Snapshot, Value};

use super::number;
use safe::SafeSeries;

/// Appends a point without the newline. The timestamp is in nanoseconds, the unit that readers
/// assume by default.
pub fn write_point(out: &mut Vec<u8>, snapshot: &Snapshot, point: &Point) {
    write_key(out, &point.series);
    write_values(out, snapshot, &point.value, nanoseconds(snapshot));
}

/// Appends a point without the newline, with a timestamp in the unit that the reader expects.
/// Appends nothing and returns `false` if other points may share the line.
#[cfg(feature = "influxdb")]
pub(crate) fn write_unshared_point(
    out: &mut Vec<u8>,
    snapshot: &Snapshot,
    point: &Point,
    timestamp: u64,
) -> bool {
    if safe::may_change(&point.series) {
        return false;
    }
    write_plain_key(out, &point.series);
    write_values(out, snapshot, &point.value, timestamp);
    true
}

/// The end of a window in nanoseconds.
fn nanoseconds(snapshot: &Snapshot) -> u64 {
    snapshot.window.end_ms.saturating_mul(1_000_000)
}

/// Appends the key of a series: measurement and tags.
fn write_key(out: &mut Vec<u8>, series: &Series) {
    if !safe::may_change(series) {
        return write_plain_key(out, series);
    }
    let safe = SafeSeries::of(series);
    write_escaped(out, safe.name.as_bytes(), b", ");
    for tag in &safe.tags {
        write_tag(out, &tag.key, &tag.value);
    }
}

/// Appends the key of a series that needs only escapes.
fn write_plain_key(out: &mut Vec<u8>, series: &Series) {
    if series.is_plain() {
        return series.write_joined(out, b',', b'=');
    }
    write_escaped(out, series.name().as_bytes(), b", ");
    for (key, value) in series.tags() {
        write_tag(out, key.as_bytes(), value.as_bytes());
    }
}

/// Appends the rest of a point after its key: fields and `timestamp`, in the unit that the reader
/// expects.
fn write_values(out: &mut Vec<u8>, snapshot: &Snapshot, value: &Value, timestamp: u64) {
    let mut separator = b' ';
    value.for_each_field(snapshot, |field, value| {
        out.push(separator);
        out.extend_from_slice(field.as_bytes());
        out.push(b'=');
        number::write(out, value);
        separator = b',';
    });
    out.push(b' ');
    out.extend_from_slice(itoa::Buffer::new().format(timestamp).as_bytes());
}

/// Appends `,key=value`.
fn write_tag(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    out.push(b',');
    write_escaped(out, key, b",= ");
    out.push(b'=');
    write_escaped(out, value, b",= ");
}

/// Appends a text with a backslash in front of each byte in `special`.
fn write_escaped(out: &mut Vec<u8>, text: &[u8], special: &[u8]) {
    let mut rest = text;
    while let Some(place) = rest.iter().position(|byte| IS_SEPARATOR[usize::from(*byte)]) {
        let (before, after) = rest.split_at(place);
        out.extend_from_slice(before);
        if special.contains(&after[0]) {
            out.push(b'\\');
        }
        out.push(after[0]);
        rest = &after[1..];
    }
    out.extend_from_slice(rest);
}

/// Bytes that may need an escape.
static IS_SEPARATOR: [bool; 256] = {
    let mut separators = [false; 256];
    separators[b',' as usize] = true;
    separators[b'=' as usize] = true;
    separators[b' ' as usize] = true;
    separators
};
