//! Keeps secrets out of messages about values.

use crate::read::scalar::YamlScalar;
use crate::read::tree::{NodeContent, YamlNode};
use crate::values::quote::{MASK, quoted};
use crate::values::secrets::looks_like_a_secret_line;

/// Minimum length of a secret, in characters, to look for within words. Shorter ones occur by
/// chance.
const TELLING_CHARS: usize = 4;

/// Returns the value in the form for messages; `None` for a missing value.
pub(crate) fn shown(node: &YamlNode) -> Option<String> {
    match &node.content {
        NodeContent::Section(_) => Some("a section".to_owned()),
        NodeContent::List(_) => Some("a list".to_owned()),
        NodeContent::Scalar(scalar) if scalar.is_null => None,
        NodeContent::Scalar(scalar) => {
            Some(replacement(scalar).unwrap_or_else(|| quoted(&scalar.text)))
        }
    }
}

/// Returns whether a message must not show the value.
pub(crate) fn is_hidden(node: &YamlNode) -> bool {
    node.scalar().and_then(replacement).is_some()
}

/// Returns the replacement for a value that must not be shown.
fn replacement(scalar: &YamlScalar) -> Option<String> {
    if let Some(references) = &scalar.references {
        return Some(format!("the value of {references}"));
    }
    let is_hidden = scalar.is_secret || looks_like_a_secret_line(&scalar.text);
    is_hidden.then(|| format!("`{MASK}`"))
}

/// Returns a type's message about a value, without the secrets in it.
pub(crate) fn without_secrets(message: &str, node: &YamlNode) -> String {
    let mut hidden = Vec::new();
    collect_hidden(node, &mut hidden);
    // Longer values first, because one may be part of another.
    hidden.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
    let mut message = message.to_owned();
    for (text, replacement) in &hidden {
        for quote in ["`", "\"", "'"] {
            message = message.replace(&format!("{quote}{text}{quote}"), replacement);
        }
        message = replace_words(&message, text, replacement);
    }
    let is_repeated = |(text, replacement): &(&str, String)| {
        repeats_a_part(&message.replace(replacement.as_str(), ""), text)
    };
    match hidden.first() {
        // A message may also contain a part of the value, which only a comparison finds.
        Some(first) if node.scalar().is_some() && is_repeated(first) => {
            format!("{} does not fit", first.1)
        }
        _ => message,
    }
}

fn collect_hidden<'a>(node: &'a YamlNode, hidden: &mut Vec<(&'a str, String)>) {
    let text = node.text().trim();
    if let Some(replacement) = node.scalar().and_then(replacement).filter(|_| !text.is_empty()) {
        hidden.push((text, replacement));
    }
    for (_, _, child) in node.children() {
        collect_hidden(child, hidden);
    }
}

/// Replaces `text` everywhere; a short text only as a whole word.
fn replace_words(message: &str, text: &str, replacement: &str) -> String {
    if text.chars().count() >= TELLING_CHARS {
        return message.replace(text, replacement);
    }
    let is_part = |c: char| c.is_alphanumeric();
    let mut replaced = String::new();
    let mut rest = message;
    while let Some((before, after)) = rest.split_once(text) {
        let is_word = !before.ends_with(is_part) && !after.starts_with(is_part);
        replaced += before;
        replaced += if is_word { replacement } else { text };
        rest = after;
    }
    replaced + rest
}

/// Returns whether a message contains some part of a value.
fn repeats_a_part(message: &str, text: &str) -> bool {
    let (message, text) = (message.to_lowercase(), text.to_lowercase());
    let letters: Vec<char> = text.chars().collect();
    letters.windows(TELLING_CHARS).any(|part| message.contains(&part.iter().collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_value_is_replaced_only_as_a_word() {
        assert_eq!(replace_words("5 of 15 in `5`", "5", "X"), "X of 15 in `X`");
        assert_eq!(replace_words("abcd in xabcdx", "abcd", "X"), "X in xXx");
    }

    #[test]
    fn a_part_of_a_value_is_found_in_any_case() {
        assert!(repeats_a_part("cannot parse HUNT", "hunter2"));
        assert!(!repeats_a_part("must be longer than 8", "hunter2"));
    }
}
