//! Environment variables in Telegraf's files: `$VAR`, `${VAR}` and `${VAR:-default}`.

use super::super::plan::Secret;

/// The text with tallyd's references, and everything else as itself.
pub(super) fn expanded(text: &str) -> String {
    let (mut converted, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('$') {
        converted += before;
        if let Some(after) = after.strip_prefix('$') {
            // Telegraf's escape. tallyd needs one only before a brace.
            converted += if after.starts_with('{') { "$$" } else { "$" };
            rest = after;
            continue;
        }
        match reference(after) {
            Some((reference, after)) => {
                converted += &reference;
                rest = after;
            }
            None => {
                converted += if after.starts_with('{') { "$$" } else { "$" };
                rest = after;
            }
        }
    }
    converted + rest
}

/// A reference at the start of a text, which follows a `$`, and the rest.
fn reference(text: &str) -> Option<(String, &str)> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(is_word)
    };
    if let Some(inner) = text.strip_prefix('{') {
        let (inner, rest) = inner.split_once('}')?;
        let end = inner.find(|c| !is_word(c)).unwrap_or(inner.len());
        let (name, rule) = inner.split_at(end);
        let default = rule.strip_prefix(":-").or_else(|| rule.strip_prefix('-'));
        // `:?message` and `?message` make an unset variable an error, which it always is here.
        let is_required = rule.is_empty() || rule.starts_with(":?") || rule.starts_with('?');
        return match default {
            _ if !is_name(name) => None,
            Some(default) => Some((format!("${{{name}:-{default}}}"), rest)),
            None if is_required => Some((format!("${{{name}}}"), rest)),
            None => None,
        };
    }
    let end = text.find(|c| !is_word(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    is_name(name).then(|| (format!("${{{name}}}"), rest))
}

/// Whether a text has a reference.
pub(super) fn has_references(text: &str) -> bool {
    let parts = text.replace("$$", "");
    parts.split('$').skip(1).any(|after| reference(after).is_some())
}

/// A secret of the file: itself, or a reference to a variable.
pub(super) fn secret(text: &str) -> Secret {
    if has_references(text) {
        Secret::Reference(expanded(text))
    } else {
        Secret::Literal(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_become_references() {
        for (text, expected) in [
            ("$A_1.x", "${A_1}.x"),
            ("${A}b", "${A}b"),
            ("${A:-d}", "${A:-d}"),
            ("${A-d}", "${A:-d}"),
            ("${A:?must be set}", "${A}"),
            ("5$ and $$A", "5$ and $A"),
            ("$${A}", "$${A}"),
            ("${a b}", "$${a b}"),
            ("plain", "plain"),
        ] {
            assert_eq!(expanded(text), expected, "{text}");
        }
        assert!(has_references("x$A") && !has_references("$$A 5$"));
    }
}
