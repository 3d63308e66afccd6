//! Explains to the author of a file why a value does not fit its type.

use std::ptr;

use crate::messages::error::ConfigError;
use crate::messages::places::{self, LazySections};
use crate::messages::redact::{is_hidden, shown, without_secrets};
use crate::messages::source::Source;
use crate::messages::suggest::nearest;
use crate::read::mismatch::{Mismatch, MismatchReason, SECTION_OF_ONE_KEY, Words};
use crate::read::scalar;
use crate::read::tree::YamlNode;
use crate::values::quote::quoted_path;

/// Returns the error for the operator.
pub(crate) fn error(
    source: &Source,
    root: &YamlNode,
    mismatch: &Mismatch<'_>,
    sections: &LazySections,
) -> ConfigError {
    let node = mismatch.node.unwrap_or(root);
    let is_missing = matches!(mismatch.reason, MismatchReason::MissingKey(_));
    let span = if is_missing { node.owner } else { node.span };
    let (message, help) = explanation(&mismatch.reason, node, root, sections);
    // It may be the password of a user of this name, or a secret whose key is misspelt.
    let hidden = match &mismatch.reason {
        MismatchReason::UnknownKey(..) => value_of(node, root),
        _ => None,
    };
    let error = source.error_hiding(hidden, span, message);
    help.into_iter().fold(error, ConfigError::with_help)
}

/// Searches for the value of a key below `from`.
fn value_of<'a>(key: &YamlNode, from: &'a YamlNode) -> Option<&'a YamlNode> {
    from.children().into_iter().find_map(|(_, other, value)| {
        let is_found = other.is_some_and(|other| ptr::eq(other, key));
        if is_found { Some(value) } else { value_of(key, value) }
    })
}

/// Returns the message and the lines of help.
fn explanation(
    reason: &MismatchReason,
    node: &YamlNode,
    root: &YamlNode,
    sections: &LazySections,
) -> (String, Vec<String>) {
    let path = path_of(reason, node, root);
    let subject = if path.is_empty() { "the file".to_owned() } else { quoted_steps(&path) };
    let quoted_key = |key: &str| quoted_steps(&format!("{path}.{key}"));
    let message = match reason {
        MismatchReason::Custom(message) => match without_secrets(message, node) {
            message if path.is_empty() => message,
            message => format!("{subject}: {message}"),
        },
        MismatchReason::UnknownKey(key, allowed) => {
            let mut help = choices(key, allowed);
            // A key that is spelled almost like an allowed one is a typing mistake.
            if nearest(key, allowed).is_none() {
                help.extend(places::hint(sections, &path, key));
            }
            return (format!("unknown key {}", quoted_key(key)), help);
        }
        MismatchReason::MissingKey(key) => format!("{} is missing", quoted_key(key)),
        MismatchReason::RepeatedKey(key) => format!("{} is given twice", quoted_key(key)),
        MismatchReason::UnknownWord(word, allowed) => {
            // A suggestion for a secret would reveal that the secret resembles it.
            let help = choices(if is_hidden(node) { "" } else { word }, allowed);
            let found = shown(node).map(|found| format!("{subject} cannot be {found}"));
            return (found.unwrap_or_else(|| format!("{subject} needs a value")), help);
        }
        MismatchReason::WrongValue { expected, found } => {
            let found = found.as_ref().filter(|_| node.scalar().is_none());
            let found = found.map(|found| without_secrets(found, node)).or_else(|| shown(node));
            let message = match found {
                Some(found) => format!("{subject} must be {expected}, not {found}"),
                None if expected == "text" => format!("{subject} needs a value"),
                None => format!("{subject} needs a value: {expected}"),
            };
            return (message, Vec::from_iter(hint(expected, node)));
        }
    };
    (message, Vec::new())
}

/// Returns the path of the value in the message, or of its section if the message names a key.
fn path_of(reason: &MismatchReason, node: &YamlNode, root: &YamlNode) -> String {
    let mut steps = Vec::new();
    let is_key = find(node, root, &mut steps) == Some(true);
    let is_about_value =
        matches!(reason, MismatchReason::Custom(_) | MismatchReason::WrongValue { .. });
    if is_key && !is_about_value {
        steps.pop();
    }
    steps.concat()
}

/// Searches for a node below `from`: appends the steps to it, and returns whether it is a key.
fn find(target: &YamlNode, from: &YamlNode, steps: &mut Vec<String>) -> Option<bool> {
    if ptr::eq(from, target) {
        return Some(false);
    }
    from.children().into_iter().find_map(|(step, key, value)| {
        steps.push(step);
        let is_key = key.is_some_and(|key| ptr::eq(key, target));
        let found = if is_key { Some(true) } else { find(target, value, steps) };
        if found.is_none() {
            steps.pop();
        }
        found
    })
}

fn quoted_steps(path: &str) -> String {
    quoted_path(path.strip_prefix('.').unwrap_or(path))
}

/// Returns lines of help with the allowed words and the most similar of them.
fn choices(word: &str, allowed: Words) -> Vec<String> {
    if allowed.is_empty() {
        return Vec::new();
    }
    let suggestion = nearest(word, allowed).map(|meant| format!("did you mean `{meant}`?"));
    std::iter::once(format!("allowed: {}", allowed.join(", "))).chain(suggestion).collect()
}

fn hint(expected: &str, node: &YamlNode) -> Option<String> {
    let text = node.text();
    let words = match expected {
        SECTION_OF_ONE_KEY => "this key needs settings below it",
        "true or false" if scalar::boolean(text).is_some() => "a boolean stands without quotes",
        "true or false" => "allowed: true, false, yes, no, on, off",
        _ if !node.scalar()?.is_ambiguous() || !expected.starts_with("a whole number") => {
            return None;
        }
        _ if is_hidden(node) => "write it without the leading 0",
        _ => {
            let digits = text.trim_start_matches(['+', '-', '0']);
            let number = scalar::whole_number(text)?;
            return Some(format!(
                "a leading 0 used to mean base eight: write {number} or 0o{digits} to be clear"
            ));
        }
    };
    Some(words.to_owned())
}
