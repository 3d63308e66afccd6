//! Finds every error of a file that does not follow from another one.
//!
//! A serde visitor fails at its first error. So a value with an error is skipped, as if its key were
//! not in the file, and the file is read again.

use serde::de::DeserializeOwned;

use crate::messages::error::ConfigError;
use crate::messages::errors::{ConfigErrors, ERRORS_MAX};
use crate::messages::explain;
use crate::messages::places::{self, LazySections};
use crate::messages::source::Source;
use crate::read::mismatch::{Mismatch, MismatchReason};
use crate::read::tree::YamlNode;

/// Maximum number of reads. Each skips a value; a section that lacks a skipped value takes another.
const READS_MAX: usize = 100;

/// Reads a `T` from the tree. `errors` are those of the values that are already skipped.
pub(crate) fn read<T: DeserializeOwned>(
    source: &Source,
    root: &YamlNode,
    mut errors: Vec<ConfigError>,
) -> Result<T, ConfigErrors> {
    let mut reads = 0;
    let sections = LazySections::new(places::sections::<T>);
    loop {
        reads += 1;
        let mismatch = match T::deserialize(root) {
            Ok(value) => return ConfigErrors::check(errors).map(|()| value),
            Err(mismatch) => mismatch,
        };
        let node = mismatch.node.unwrap_or(root);
        if !follows_from_another(&mismatch, node) {
            errors.push(explain::error(source, root, &mismatch, &sections));
        }
        if errors.len() > ERRORS_MAX || reads == READS_MAX || !skip(root, node) {
            // Not empty: an error that follows from another has that one before it.
            ConfigErrors::check(errors)?;
            return Err(explain::error(source, root, &mismatch, &sections).into());
        }
    }
}

/// Whether the error may exist only because a part of the value was skipped: a missing key, or a
/// check of the whole section.
fn follows_from_another(mismatch: &Mismatch<'_>, node: &YamlNode) -> bool {
    let is_about_key =
        matches!(mismatch.reason, MismatchReason::UnknownKey(..) | MismatchReason::RepeatedKey(_));
    !is_about_key && has_skipped(node)
}

fn has_skipped(node: &YamlNode) -> bool {
    node.is_skipped.get() || node.children().iter().any(|(_, _, child)| has_skipped(child))
}

/// Skips the value that is `target` or has it as its key. Returns whether there is one.
fn skip(from: &YamlNode, target: &YamlNode) -> bool {
    from.children().into_iter().any(|(_, key, value)| {
        let is_target = [key, Some(value)].into_iter().flatten().any(|n| std::ptr::eq(n, target));
        if is_target && !value.is_skipped.replace(true) {
            return true;
        }
        !is_target && skip(value, target)
    })
}
