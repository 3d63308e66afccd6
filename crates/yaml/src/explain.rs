//! Explains a value that does not fit its type to someone who writes YAML.

use std::ptr;

use crate::error::ConfigError;
use crate::mismatch::{Mismatch, MismatchReason, SECTION_OF_ONE_KEY, Words};
use crate::quote::quoted_path;
use crate::redact::{replacement, shown, without_secrets};
use crate::scalar;
use crate::source::Source;
use crate::suggest::nearest;
use crate::tree::YamlNode;

/// The error that the operator reads.
pub(crate) fn error(source: &Source, root: &YamlNode, mismatch: &Mismatch<'_>) -> ConfigError {
    let node = mismatch.node.unwrap_or(root);
    let is_missing = matches!(mismatch.reason, MismatchReason::MissingKey(_));
    let span = if is_missing { node.owner } else { node.span };
    let error = source.error_at(span, message(&mismatch.reason, node, root));
    help(&mismatch.reason, node).into_iter().fold(error, ConfigError::with_help)
}

fn message(reason: &MismatchReason, node: &YamlNode, root: &YamlNode) -> String {
    let mut path = Vec::new();
    let is_key = find(node, root, &mut path) == Some(true);
    let is_about_value =
        matches!(reason, MismatchReason::Custom(_) | MismatchReason::WrongValue { .. });
    if is_key && !is_about_value {
        path.pop();
    }
    let path = path.concat();
    let subject = if path.is_empty() { "the file".to_owned() } else { quoted_steps(&path) };
    let quoted_key = |key: &str| quoted_steps(&format!("{path}.{key}"));
    match reason {
        MismatchReason::Custom(message) => match without_secrets(message, node) {
            message if path.is_empty() => message,
            message => format!("{subject}: {message}"),
        },
        MismatchReason::UnknownKey(key, _) => format!("unknown key {}", quoted_key(key)),
        MismatchReason::MissingKey(key) => format!("{} is missing", quoted_key(key)),
        MismatchReason::RepeatedKey(key) => format!("{} is given twice", quoted_key(key)),
        MismatchReason::UnknownWord(..) => match shown(node) {
            Some(found) => format!("{subject} cannot be {found}"),
            None => format!("{subject} needs a value"),
        },
        MismatchReason::WrongValue { expected, found } => {
            let found = found.as_ref().filter(|_| node.scalar().is_none());
            match found.map(|found| without_secrets(found, node)).or_else(|| shown(node)) {
                Some(found) => format!("{subject} must be {expected}, not {found}"),
                None if expected == "text" => format!("{subject} needs a value"),
                None => format!("{subject} needs a value: {expected}"),
            }
        }
    }
}

/// Finds a node below another: adds the steps to it, and returns whether it is a key.
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

fn help(reason: &MismatchReason, node: &YamlNode) -> Vec<String> {
    let is_hidden = node.scalar().is_some_and(|scalar| replacement(scalar).is_some());
    match reason {
        MismatchReason::UnknownKey(key, allowed) => choices(key, allowed),
        // How near a secret is to a word says something about the secret.
        MismatchReason::UnknownWord(_, allowed) if is_hidden => choices("", allowed),
        MismatchReason::UnknownWord(word, allowed) => choices(word, allowed),
        MismatchReason::WrongValue { expected, .. } => {
            hint(expected, node, is_hidden).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// The lines that name the allowed words and the one that was probably meant.
fn choices(word: &str, allowed: Words) -> Vec<String> {
    if allowed.is_empty() {
        return Vec::new();
    }
    let suggestion = nearest(word, allowed).map(|meant| format!("did you mean `{meant}`?"));
    std::iter::once(format!("allowed: {}", allowed.join(", "))).chain(suggestion).collect()
}

fn hint(expected: &str, node: &YamlNode, is_hidden: bool) -> Option<String> {
    let text = node.text();
    let words = match expected {
        SECTION_OF_ONE_KEY => "this word needs settings of its own below it",
        "true or false" if scalar::boolean(text).is_some() => "a boolean stands without quotes",
        "true or false" => "allowed: true, false, yes, no, on, off",
        _ if !node.scalar()?.is_ambiguous() || !expected.starts_with("a whole number") => {
            return None;
        }
        _ if is_hidden => "write it without the leading 0",
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
