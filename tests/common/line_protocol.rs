//! Reads InfluxDB's line protocol, with the types of fields, and compares two writers of it.

use std::collections::{BTreeMap, BTreeSet};

/// The value of a field, with its type.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldValue {
    /// With the suffix `i`.
    Integer(i64),
    /// Without a suffix.
    Float(f64),
}

impl FieldValue {
    fn read(text: &str) -> Self {
        match text.strip_suffix('i') {
            Some(integer) => Self::Integer(integer.parse().unwrap()),
            None => Self::Float(text.parse().unwrap()),
        }
    }

    /// The same type, and the same number up to the rounding of a standard deviation.
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Integer(this), Self::Integer(other)) => this == other,
            (Self::Float(this), Self::Float(other)) => {
                (this - other).abs() <= 1e-9 * this.abs().max(other.abs()).max(1.0)
            }
            _ => false,
        }
    }
}

/// Fields by name.
pub type Fields = BTreeMap<String, FieldValue>;

/// The fields of each series, a measurement with its sorted tags.
pub type Written = BTreeMap<String, Fields>;

/// Splits at a separator that has no backslash before it.
fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut start, mut is_escaped) = (Vec::new(), 0, false);
    for (place, character) in text.char_indices() {
        if character == separator && !is_escaped {
            parts.push(&text[start..place]);
            start = place + 1;
        }
        is_escaped = character == '\\' && !is_escaped;
    }
    parts.push(&text[start..]);
    parts
}

/// The series of a prefix, which is removed. A series that has several lines counts once: its last one.
///
/// # Panics
/// When a line is no line of line protocol.
#[must_use]
pub fn written(lines: &[String], prefix: &str) -> Written {
    let mut written = Written::new();
    for line in lines {
        let Some(line) = line.strip_prefix(prefix) else { continue };
        let parts = split(line, ' ');
        let [series, fields, _] = parts[..] else { panic!("{line}") };
        let mut tags = split(series, ',');
        tags[1..].sort_unstable();
        let field = |field: &&str| {
            let (key, value) = field.split_once('=').unwrap();
            (key.to_owned(), FieldValue::read(value))
        };
        let fields = split(fields, ',').iter().map(field).collect();
        written.insert(tags.join(","), fields);
    }
    written
}

/// The differences between what Telegraf and tallyd wrote, a line each.
#[must_use]
pub fn differences(theirs: &Written, ours: &Written) -> Vec<String> {
    let none = Fields::new();
    let mut differences = Vec::new();
    let series: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
    for series in series {
        let (theirs, ours) = (theirs.get(series), ours.get(series));
        if theirs.is_none() || ours.is_none() {
            differences.push(format!("{series}: Telegraf {theirs:?}, tallyd {ours:?}"));
            continue;
        }
        let (theirs, ours) = (theirs.unwrap_or(&none), ours.unwrap_or(&none));
        let is_like = theirs.len() == ours.len()
            && theirs
                .iter()
                .all(|(key, value)| ours.get(key).is_some_and(|own| own.is_like(value)));
        if !is_like {
            differences.push(format!("{series}: Telegraf {theirs:?}, tallyd {ours:?}"));
        }
    }
    differences
}
