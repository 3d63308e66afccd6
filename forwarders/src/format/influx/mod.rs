//! InfluxDB line protocol: `measurement,tag=value field=1.5 timestamp`.
//!
//! With tallyd's own names, all fields are floats: a field that is an integer one day and a float the
//! next is a type conflict, the commonest way to lose points in InfluxDB.

#[cfg_attr(
    not(any(feature = "influxdb", feature = "kafka")),
    allow(dead_code, reason = "only these destinations encode line by line")
)]
mod lines;
mod naming;
mod safe;
mod telegraf;
#[cfg(test)]
mod tests;

#[cfg(any(feature = "influxdb", feature = "kafka"))]
pub(crate) use lines::encode;
pub(crate) use lines::{may_merge, write_all};
pub use naming::{LineNaming, LineNamingStyle, MetricSeparator, TelegrafConfig};

use model::{Point, Series, Snapshot, Value};

use super::number;
use safe::SafeSeries;

/// Appends a point without the newline. The timestamp is in nanoseconds, the unit that readers
/// assume by default.
pub fn write_point(out: &mut Vec<u8>, snapshot: &Snapshot, point: &Point, naming: &LineNaming) {
    write_key(out, &point.series, naming);
    write_values(out, snapshot, &point.value, nanoseconds(snapshot), naming);
}

/// Appends a point without the newline, with a timestamp in the unit that the reader expects.
/// Appends nothing and returns `false` if another point of the window shares its line.
#[cfg(feature = "influxdb")]
pub(crate) fn write_unshared_point(
    out: &mut Vec<u8>,
    snapshot: &Snapshot,
    point: &Point,
    timestamp: u64,
    naming: &LineNaming,
) -> bool {
    let start = out.len();
    write_key(out, &point.series, naming);
    if may_merge(snapshot, naming) && is_shared(&out[start..], snapshot, point, naming) {
        out.truncate(start);
        return false;
    }
    write_values(out, snapshot, &point.value, timestamp, naming);
    true
}

/// Whether another point of the window has this key, too.
#[cfg(feature = "influxdb")]
fn is_shared(key: &[u8], snapshot: &Snapshot, point: &Point, naming: &LineNaming) -> bool {
    let mut other_key = Vec::new();
    snapshot.points.iter().filter(|other| other.series != point.series).any(|other| {
        other_key.clear();
        write_key(&mut other_key, &other.series, naming);
        other_key == key
    })
}

/// The end of a window in nanoseconds.
fn nanoseconds(snapshot: &Snapshot) -> u64 {
    snapshot.window.end_ms.saturating_mul(1_000_000)
}

/// Appends the key of a series: measurement and tags.
fn write_key(out: &mut Vec<u8>, series: &Series, naming: &LineNaming) {
    if !safe::is_needed(series, naming) {
        return match naming {
            LineNaming::Tallyd => write_plain_key(out, series),
            LineNaming::Telegraf(config) => telegraf::write_plain_key(out, series, config),
        };
    }
    let safe = SafeSeries::of(series, naming);
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
fn write_values(
    out: &mut Vec<u8>,
    snapshot: &Snapshot,
    value: &Value,
    timestamp: u64,
    naming: &LineNaming,
) {
    out.push(b' ');
    match naming {
        LineNaming::Tallyd => write_fields(out, snapshot, value),
        LineNaming::Telegraf(config) => telegraf::write_fields(out, snapshot, value, config),
    }
    out.push(b' ');
    out.extend_from_slice(itoa::Buffer::new().format(timestamp).as_bytes());
}

/// Appends the fields of a value, separated by commas.
fn write_fields(out: &mut Vec<u8>, snapshot: &Snapshot, value: &Value) {
    let mut is_first = true;
    value.for_each_field(snapshot, |field, value| {
        if !std::mem::take(&mut is_first) {
            out.push(b',');
        }
        out.extend_from_slice(field.as_bytes());
        out.push(b'=');
        number::write(out, value);
    });
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
