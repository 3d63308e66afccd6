//! Replaces the parts of names and tags that line protocol cannot represent.
//!
//! The format has no escape for control characters, and its readers disagree about backslashes:
//! InfluxDB 1 and 2 keep one in front of any byte that needs no escape, InfluxDB 3 takes two for
//! one, and one in front of `=` in a measurement stays in some and not in others. So a backslash is
//! written only where all of them read the same: alone, and in front of an ordinary character.

use model::Series;

use super::naming::LineNaming;
use super::telegraf;
use crate::format::tag_keys::{SafeTag, tell_apart};

/// A name and tags that need only escapes, the tags sorted by key.
pub(super) struct SafeSeries {
    pub(super) name: String,
    pub(super) tags: Vec<SafeTag>,
}

/// Returns whether [`SafeSeries::of`] may differ from the series. If it does not differ for two
/// series, their keys differ too.
pub(super) fn may_change(series: &Series) -> bool {
    !series.is_ordinary()
}

/// Returns whether the key of a series must be written by way of [`SafeSeries`].
pub(super) fn is_needed(series: &Series, naming: &LineNaming) -> bool {
    match naming {
        LineNaming::Tallyd => may_change(series),
        // The name and the tag of the type change most lines, so that only plain series have a faster way.
        LineNaming::Telegraf(_) => {
            !series.is_plain() || series.tag(telegraf::METRIC_TYPE).is_some()
        }
    }
}

impl SafeSeries {
    pub(super) fn of(series: &Series, naming: &LineNaming) -> Self {
        let mut tags: Vec<_> =
            series.tags().filter_map(|(key, value)| safe_tag(key, value)).collect();
        let name = match naming {
            LineNaming::Tallyd => safe_name(series.name()),
            LineNaming::Telegraf(config) => {
                add_type(&mut tags, series);
                safe_name(&telegraf::measurement(series.name(), config))
            }
        };
        tell_apart(&mut tags);
        Self { name, tags }
    }
}

/// Adds the tag of the type. A client's own tag of this key gets another key: `metric_type_2`.
fn add_type(tags: &mut Vec<SafeTag>, series: &Series) {
    let (key, value) = (telegraf::METRIC_TYPE, telegraf::metric_type(series));
    for tag in tags.iter_mut().filter(|tag| tag.key == key.as_bytes()) {
        tag.is_changed = true;
    }
    tags.insert(0, SafeTag { key: key.into(), value: value.into(), is_changed: false });
}

fn safe_name(name: &str) -> String {
    let mut safe = safe_text(name);
    // A line that starts with `#` is a comment: the reader would skip the point silently.
    if safe.is_empty() || safe.starts_with('#') {
        safe.insert(0, '_');
    }
    safe
}

/// Returns `None` if the key or the value is empty, which the format does not allow.
fn safe_tag(key: &str, value: &str) -> Option<SafeTag> {
    let (mut safe_key, value) = (safe_text(key), safe_text(value));
    if safe_key.is_empty() || value.is_empty() {
        return None;
    }
    // InfluxDB rejects points with a tag called `time`.
    if safe_key == "time" {
        safe_key.insert(0, '_');
    }
    let is_changed = safe_key != key;
    Some(SafeTag { key: safe_key.into(), value: value.into(), is_changed })
}

fn safe_text(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '\n' => safe.push_str("\\n"),
            '\\' => {
                let is_ordinary = |next: &char| !matches!(next, '\\' | ',' | '=' | ' ' | '\n');
                if rest.peek().is_some_and(is_ordinary) {
                    safe.push('\\');
                }
            }
            // Line protocol cannot contain them. Others than ASCII's mean nothing to it.
            control if control.is_ascii_control() => safe.push('_'),
            other => safe.push(other),
        }
    }
    safe
}
