//! The path of a series: its name and, depending on the settings, its tags.

use std::collections::BTreeMap;

use super::config::{GraphiteConfig, Naming, TagMode};
use super::name::{Alphabet, finish_path};
use super::template::Template;
use crate::format::tag_keys::{SafeTag, tell_apart};
use model::Series;

/// Makes paths from series.
#[derive(Debug)]
pub(super) struct Shape {
    tags: TagMode,
    template: Template,
    alphabet: Alphabet,
}

impl Shape {
    pub(super) fn new(config: &GraphiteConfig) -> Self {
        Self {
            tags: config.tag_mode(),
            template: config.template.clone().unwrap_or_default(),
            alphabet: match config.naming {
                Naming::Tallyd => Alphabet::Wide,
                Naming::Etsy => Alphabet::Statsd,
            },
        }
    }

    /// Appends the path of a series and then its tags. Returns the position at which the tags
    /// begin.
    pub(super) fn write(&self, out: &mut Vec<u8>, series: &Series) -> usize {
        let start = out.len();
        let (name, own_tags) = match self.alphabet {
            Alphabet::Statsd => split_tags(series.name()),
            Alphabet::Wide => (series.name(), ""),
        };
        match self.tags {
            TagMode::Series | TagMode::Drop => self.alphabet.push_name(out, start, name),
            TagMode::Path => self.template.write(out, start, series, self.alphabet),
        }
        finish_path(out, start);
        let tags_start = out.len();
        if self.tags == TagMode::Series {
            self.write_tags(out, own_tags, series);
        }
        tags_start
    }

    /// Appends `;key=value` for each tag with a value.
    fn write_tags(&self, out: &mut Vec<u8>, own_tags: &str, series: &Series) {
        let tags_start = out.len();
        if !own_tags.is_empty() {
            return self.write_distinct_tags(out, own_tags, series);
        }
        for (key, value) in series.tags() {
            if !self.alphabet.keeps_key(key) {
                // A replaced key can collide with another one and changes the order: starts again
                // with sorting.
                out.truncate(tags_start);
                return self.write_distinct_tags(out, own_tags, series);
            }
            let start = out.len();
            out.push(b';');
            out.extend_from_slice(key.as_bytes());
            out.push(b'=');
            let value_start = out.len();
            self.alphabet.push_value(out, value);
            // Carbon rejects a tag without a value.
            if out.len() == value_start {
                out.truncate(start);
            }
        }
    }

    /// Appends the tags like [`Self::write_tags`] if the name contains tags (`own_tags`) or keys
    /// need replacements. Both can make two keys equal, and of two tags with one key carbon keeps
    /// only the last.
    fn write_distinct_tags(&self, out: &mut Vec<u8>, own_tags: &str, series: &Series) {
        let own = own_tags.split(';').filter_map(|tag| tag.split_once('='));
        // A tag of the series replaces a tag in its name with the same key: carbon keeps the last.
        let tags: BTreeMap<&str, &str> = own.chain(series.tags()).collect();
        let mut tags: Vec<_> =
            tags.into_iter().filter_map(|(key, value)| self.safe_tag(key, value)).collect();
        tell_apart(&mut tags);
        for tag in tags {
            out.push(b';');
            out.extend_from_slice(&tag.key);
            out.push(b'=');
            out.extend_from_slice(&tag.value);
        }
    }

    /// Returns a tag that carbon accepts; `None` if nothing is left of the key or the value.
    fn safe_tag(&self, key: &str, value: &str) -> Option<SafeTag> {
        let (mut safe_key, mut safe_value) = (Vec::new(), Vec::new());
        self.alphabet.push_key(&mut safe_key, key);
        self.alphabet.push_value(&mut safe_value, value);
        let is_changed = safe_key != key.as_bytes();
        let is_whole = !safe_key.is_empty() && !safe_value.is_empty();
        is_whole.then_some(SafeTag { key: safe_key, value: safe_value, is_changed })
    }
}

/// Splits off tags that a statsd client wrote into the name in Graphite's form, `name;key=value`.
/// statsd passes them on unchanged.
fn split_tags(name: &str) -> (&str, &str) {
    let whole =
        |tag: &str| tag.split_once('=').is_some_and(|(k, v)| !k.is_empty() && !v.is_empty());
    match name.split_once(';') {
        // Only if all are valid: otherwise the `;` belongs to the name.
        Some((name, tags)) if tags.split(';').all(whole) => (name, tags),
        _ => (name, ""),
    }
}
