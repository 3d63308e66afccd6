//! Loads one YAML file into serde types, and says exactly where it is wrong.
//!
//! We parse YAML events into a tree that remembers where every key and value stands, expand `${…}`
//! in the values, and deserialize from that tree. We do this instead of using a ready-made crate
//! because of four things that the crates do not give together:
//!
//! 1. Every error, and every later validation of ours, names file, line and column of exactly the
//!    key or value that is wrong, shows the line, lists what is allowed and suggests the nearest.
//! 2. A text field gets the scalar's own text: `version: 1.10` is `1.10`, and an all-digit key
//!    such as `0123e4` stays as it is written.
//! 3. `${VAR}` is expanded after parsing, so that the content of a secret can neither change the
//!    structure of the file nor show up in an error.
//! 4. The deployed files were read by PyYAML (YAML 1.1): where a boolean is asked for, `yes`, `no`,
//!    `on`, `off`, `True` and the like work.
//!
//! The way of a file: [`Source`] → `tree` (with `interpolate` and, for errors, `syntax`) → `de`
//! (with `scalar`) → the caller's types, in which [`Spanned`] fields keep their place for later
//! checks. On any error: `failure` → [`ConfigError`] (with `secrets`, `excerpt` and `suggest`).
//!
//! # Missing
//!
//! Types that serde buffers (`flatten`, `untagged`, internally tagged enums) work, but an error in
//! them points at their section, and their scalars are typed before a field can ask for its text.
//! Do not use them in configuration types.

mod de;
mod error;
mod excerpt;
mod failure;
mod interpolate;
mod leaves;
mod scalar;
mod secrets;
mod source;
mod spanned;
pub mod suggest;
mod syntax;
mod tree;

#[cfg(test)]
mod tests;

use std::rc::Rc;

use serde::de::DeserializeOwned;

pub use self::error::ConfigError;
pub use self::leaves::Leaves;
pub use self::source::{Position, Source, Span};
pub use self::spanned::Spanned;
pub use self::suggest::nearest;

/// Reads `source` into a `T`. `env` answers what an environment variable holds; the program passes
/// one that reads the real environment, and tests pass their own.
///
/// A file without content is an empty section, so that a `T` whose every field has a default can
/// be read from it.
///
/// # Errors
///
/// The first thing that is wrong with the file, with its place: broken YAML, a limit exceeded, a
/// `${…}` that cannot be expanded, an unknown key, a missing one, or a value that does not fit.
pub fn parse<T: DeserializeOwned>(
    source: &Source,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<T, ConfigError> {
    let root = tree::build(source, env)?;
    de::read(&root).map_err(|failure| failure.into_error(source))
}

/// Where a section stands that is reached by these keys; where a list stands there, its item number
/// `index`. For errors that are found when the types have forgotten their places.
pub fn section_span(
    source: &Source,
    env: &dyn Fn(&str) -> Option<String>,
    keys: &[&str],
    index: usize,
) -> Option<Span> {
    key_span(source, env, keys, index, None)
}

/// Where a key of such a section stands, or the section itself without a key.
pub fn key_span(
    source: &Source,
    env: &dyn Fn(&str) -> Option<String>,
    keys: &[&str],
    index: usize,
    key: Option<&str>,
) -> Option<Span> {
    let mut section = tree::build(source, env).ok()?;
    for key in keys {
        section = entry(&section, key)?.1;
    }
    if let tree::Kind::Sequence(items) = &section.kind {
        section = Rc::clone(items.get(index)?);
    }
    match key {
        Some(key) => entry(&section, key).map(|(name, _)| name.span),
        None => Some(section.owner),
    }
}

/// A key of a section and what stands below it.
fn entry(section: &tree::Node, key: &str) -> Option<(Rc<tree::Node>, Rc<tree::Node>)> {
    let tree::Kind::Mapping(entries) = &section.kind else { return None };
    let (name, below) = entries.iter().find(|(name, _)| name.text() == key)?;
    Some((Rc::clone(name), Rc::clone(below)))
}
