//! Sanitises names and tags for the dialects: bytes that would end them early become `_`.

use super::config::Dialect;
use crate::format::tag_keys::{SafeTag, tell_apart};
use model::Series;

/// Appends the text before and after the values of a series. Returns the position of the second
/// part.
pub(super) fn write(out: &mut Vec<u8>, series: &Series, dialect: Dialect) -> usize {
    let start = out.len();
    write_safe(out, series.name(), &UNSAFE_IN_NAME);
    if out[start..].starts_with(b"_e{") {
        // DogStatsD events begin with this text.
        out[start + 2] = b'_';
    }
    let has_tags = series.tag_count() > 0;
    match dialect {
        Dialect::Influx => write_tags(out, series, b",", b'=', &UNSAFE_IN_PAIRS),
        Dialect::Signalfx if has_tags => {
            write_tags(out, series, b"[", b'=', &UNSAFE_IN_PAIRS);
            out.push(b']');
        }
        Dialect::Dogstatsd | Dialect::Signalfx | Dialect::Plain => {}
    }
    let behind = out.len();
    if dialect == Dialect::Dogstatsd {
        write_tags(out, series, b"|#", b':', &UNSAFE_IN_DOGSTATSD);
    }
    behind
}

/// The bytes that become `_`.
type Unsafe = [bool; 256];

static UNSAFE_IN_NAME: Unsafe = control_characters_and(b":|@#,[]");
static UNSAFE_IN_PAIRS: Unsafe = control_characters_and(b":|,[]");
static UNSAFE_IN_DOGSTATSD: Unsafe = control_characters_and(b"|,");

const fn control_characters_and(separators: &[u8]) -> Unsafe {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = (byte as u8).is_ascii_control();
        byte += 1;
    }
    let mut index = 0;
    while index < separators.len() {
        table[separators[index] as usize] = true;
        index += 1;
    }
    table
}

fn write_tags(out: &mut Vec<u8>, series: &Series, open: &[u8], between: u8, is_unsafe: &Unsafe) {
    let tags_start = out.len();
    for (number, (key, value)) in series.tags().enumerate() {
        out.extend_from_slice(if number == 0 { open } else { b"," });
        let start = out.len();
        write_safe_key(out, key, between, is_unsafe);
        if out[start..] != *key.as_bytes() {
            // It can collide with another key, and changes the order: starts again.
            out.truncate(tags_start);
            return write_changed_tags(out, series, open, between, is_unsafe);
        }
        out.push(between);
        write_safe(out, value, is_unsafe);
    }
}

/// The same for keys that need replacements.
fn write_changed_tags(
    out: &mut Vec<u8>,
    series: &Series,
    open: &[u8],
    between: u8,
    is_unsafe: &Unsafe,
) {
    let safe_tag = |(key, value): (&str, &str)| {
        let (mut safe_key, mut safe_value) = (Vec::new(), Vec::new());
        write_safe_key(&mut safe_key, key, between, is_unsafe);
        write_safe(&mut safe_value, value, is_unsafe);
        let is_changed = safe_key != key.as_bytes();
        SafeTag { key: safe_key, value: safe_value, is_changed }
    };
    let mut tags: Vec<_> = series.tags().map(safe_tag).collect();
    tell_apart(&mut tags);
    for (number, tag) in tags.iter().enumerate() {
        out.extend_from_slice(if number == 0 { open } else { b"," });
        out.extend_from_slice(&tag.key);
        out.push(between);
        out.extend_from_slice(&tag.value);
    }
}

fn write_safe_key(out: &mut Vec<u8>, key: &str, between: u8, is_unsafe: &Unsafe) {
    let start = out.len();
    write_safe(out, key, is_unsafe);
    replace(&mut out[start..], |byte| byte == between);
}

/// Appends a text with unsafe bytes replaced, and blanks at its ends, which receivers would trim.
fn write_safe(out: &mut Vec<u8>, text: &str, is_unsafe: &Unsafe) {
    let start = out.len();
    out.extend_from_slice(text.as_bytes());
    let written = &mut out[start..];
    replace(written, |byte| is_unsafe[usize::from(byte)]);
    if let Some(first) = written.first_mut() {
        blank_to_underscore(first);
    }
    if let Some(last) = written.last_mut() {
        blank_to_underscore(last);
    }
}

fn replace(written: &mut [u8], is_unsafe: impl Fn(u8) -> bool) {
    for byte in written.iter_mut().filter(|byte| is_unsafe(**byte)) {
        *byte = b'_';
    }
}

fn blank_to_underscore(byte: &mut u8) {
    if *byte == b' ' {
        *byte = b'_';
    }
}
