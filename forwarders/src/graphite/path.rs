//! The path of a series: its name and, depending on the settings, its tags.

use std::collections::BTreeMap;

use super::config::{GraphiteConfig, Naming, TagMode};
use super::name::{Alphabet, finish_path};
use super::template::Template;
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
            return self.write_unlike_tags(out, own_tags, series);
        }
        for (key, value) in series.tags() {
            if !self.alphabet.keeps_key(key) {
                // A replaced key can collide with another one and changes the order: starts again
                // with sorting.
                out.truncate(tags_start);
                return self.write_unlike_tags(out, own_tags, series);
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

    /// The same for keys that need replacements. If two keys become equal, the last tag wins, as it
    /// would in carbon.
    fn write_unlike_tags(&self, out: &mut Vec<u8>, own_tags: &str, series: &Series) {
        let own = own_tags.split(';').filter_map(|tag| tag.split_once('='));
        let mut tags = BTreeMap::new();
        for (key, value) in own.chain(series.tags()) {
            let (mut safe_key, mut safe_value) = (Vec::new(), Vec::new());
            self.alphabet.push_key(&mut safe_key, key);
            self.alphabet.push_value(&mut safe_value, value);
            if !safe_key.is_empty() && !safe_value.is_empty() {
                tags.insert(safe_key, safe_value);
            }
        }
        for (key, value) in tags {
            out.push(b';');
            out.extend_from_slice(&key);
            out.push(b'=');
            out.extend_from_slice(&value);
        }
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
