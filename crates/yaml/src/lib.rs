//! Loads one YAML file into serde types, and reports errors at their exact position.
//!
//! serde-saphyr parses the file. We keep its result as a tree in which every key and value knows
//! its position, expand `${…}` in the values, and deserialize from that tree. We do not deserialize
//! with serde-saphyr itself, because it lacks five things:
//!
//! 1. Every error, also of later checks, names file, line and column of the invalid key or value
//!    with its path, shows the line, lists the allowed values and suggests the nearest.
//!    serde-saphyr's errors have a position but neither the path nor the value, and its excerpts
//!    show the neighbouring lines with their secrets.
//! 2. A section whose content is commented out is an empty section; serde-saphyr 2 rejects it.
//! 3. `${VAR}` is expanded after parsing, so that the content of a secret can neither change the
//!    structure of the file nor appear in an error. serde-saphyr's properties do so too, but either
//!    not within quotes, or with a meaning for every other `$`; they have no `${file:…}`; and an
//!    optional value that expands to nothing is not absent.
//! 4. Existing files were written for PyYAML (YAML 1.1): for a boolean, `yes`, `no`, `on`, `off`,
//!    `True` and the like work without quotes; and `0755` is rejected rather than read as another
//!    number than before.
//! 5. Two versions of a file are compared value by value ([`Leaves`]).
//!
//! | folder or file | task |
//! |---|---|
//! | `read` | text → tree (`parsed`, `tree`) → the caller's types (`de`, `scalar`), in which [`Spanned`] fields keep their position for later checks |
//! | `values` | expands `${…}`; recognises secrets |
//! | `messages` | errors: `syntax` for the parser's, `explain` for values that do not fit their types |
//! | `document`, `collect`, `leaves` | combine them: a file with its values expanded, all of its errors, the differences of two files |
//!
//! # Limitations
//!
//! Types that serde buffers (`flatten`, `untagged`, internally tagged enums) work, but an error in
//! them points at their section, and their scalars are typed before a field can ask for its text.
//! Do not use them in configuration types.

mod collect;
mod document;
mod leaves;
mod messages;
mod read;
mod values;

#[cfg(test)]
mod tests;

use serde::de::DeserializeOwned;

pub use self::leaves::{FileValue, Leaves};
pub use self::messages::error::ConfigError;
pub use self::messages::errors::ConfigErrors;
pub use self::messages::source::Source;
pub use self::messages::suggest::nearest;
pub use self::read::position::{Position, SourceSpan};
pub use self::read::spanned::Spanned;
use self::read::tree::{NodeContent, YamlNode};

/// Reads `source` into a `T`. `env` looks up environment variables; the program passes the real
/// environment, and tests pass their own.
///
/// A file without content is an empty section, so that a `T` with a default for every field can be
/// read from it.
///
/// # Errors
///
/// The errors in the file, each with its position: a `${…}` that cannot be expanded, an unknown or
/// missing key, or a value that does not fit. Invalid YAML or an exceeded limit is the only error,
/// because the rest of the file cannot be read.
pub fn parse<T: DeserializeOwned>(
    source: &Source,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<T, ConfigErrors> {
    let mut errors = Vec::new();
    let root = document::read(source, env, &mut errors)?;
    collect::read(source, &root, errors)
}

/// Returns the span of the section at the end of a path of keys. Where a key leads to a list, the
/// path continues in its item `index`. For errors that are found when the types no longer have their positions.
#[must_use]
pub fn section_span(source: &Source, keys: &[&str], index: usize) -> Option<SourceSpan> {
    section(&document::parse(source).ok()?, keys, index).map(|section| section.owner)
}

/// Returns the span of a key in such a section, or of the section itself if `key` is `None`.
#[must_use]
pub fn key_span(
    source: &Source,
    keys: &[&str],
    index: usize,
    key: Option<&str>,
) -> Option<SourceSpan> {
    let Some(key) = key else { return section_span(source, keys, index) };
    // Most files lack most keys, and parsing a file takes far longer than a search.
    if !source.text().contains(key) {
        return None;
    }
    section(&document::parse(source).ok()?, keys, index)?.entry(key).map(|(key, _)| key.span)
}

fn section<'a>(root: &'a YamlNode, keys: &[&str], index: usize) -> Option<&'a YamlNode> {
    keys.iter().try_fold(root, |section, key| {
        let found = &section.entry(key)?.1;
        match &found.content {
            NodeContent::List(items) => items.get(index),
            NodeContent::Section(_) | NodeContent::Scalar(_) => Some(found),
        }
    })
}
