//! Names and tags as the dialects can carry them: what would end them early becomes `_`.

use super::config::Dialect;
use crate::model::Series;

/// Appends what stands before the values, then what stands behind them; returns where the second
/// begins.
pub(super) fn write(out: &mut Vec<u8>, series: &Series, dialect: Dialect) -> usize {
    let start = out.len();
    write_safe(out, series.name(), |byte| b":|@#,[]".contains(&byte));
    if out[start..].starts_with(b"_e{") {
        // An event of DogStatsD begins so.
        out[start + 2] = b'_';
    }
    let has_tags = series.tag_count() > 0;
    match dialect {
        Dialect::Influx => write_tags(out, series, b",", b'=', b":|,[]"),
        Dialect::Signalfx if has_tags => {
            write_tags(out, series, b"[", b'=', b":|,[]");
            out.push(b']');
        }
        Dialect::Dogstatsd | Dialect::Signalfx | Dialect::Plain => {}
    }
    let behind = out.len();
    if dialect == Dialect::Dogstatsd {
        write_tags(out, series, b"|#", b':', b"|,");
    }
    behind
}

fn write_tags(out: &mut Vec<u8>, series: &Series, open: &[u8], between: u8, unsafe_bytes: &[u8]) {
    for (number, (key, value)) in series.tags().enumerate() {
        out.extend_from_slice(if number == 0 { open } else { b"," });
        write_safe(out, key, |byte| byte == between || unsafe_bytes.contains(&byte));
        out.push(between);
        write_safe(out, value, |byte| unsafe_bytes.contains(&byte));
    }
}

/// Blanks at the ends would be trimmed by who reads the line.
fn write_safe(out: &mut Vec<u8>, text: &str, is_unsafe: impl Fn(u8) -> bool) {
    let start = out.len();
    out.extend_from_slice(text.as_bytes());
    let written = &mut out[start..];
    for byte in written.iter_mut() {
        if byte.is_ascii_control() || is_unsafe(*byte) {
            *byte = b'_';
        }
    }
    if let Some(first) = written.first_mut() {
        blank_to_underscore(first);
    }
    if let Some(last) = written.last_mut() {
        blank_to_underscore(last);
    }
}

fn blank_to_underscore(byte: &mut u8) {
    if *byte == b' ' {
        *byte = b'_';
    }
}
