//! Quotes texts of the file for messages.

use crate::values::secrets::looks_like_a_secret_line;

/// Maximum number of characters of a value in a message.
const QUOTED_CHARS_MAX: usize = 60;
/// The replacement for a secret; its length reveals nothing about the secret.
pub(crate) const MASK: &str = "***";

/// Returns a text in backticks, on one line and shortened.
pub(crate) fn quoted(text: &str) -> String {
    if looks_like_a_secret_line(text) { format!("`{MASK}`") } else { quoted_path(text) }
}

/// Returns a key or path in backticks, on one line but not shortened.
pub(crate) fn quoted_path(text: &str) -> String {
    let mut quoted = String::from("`");
    for (count, character) in text.chars().enumerate() {
        match character {
            _ if count == QUOTED_CHARS_MAX => {
                quoted.push('…');
                break;
            }
            c if c.is_control() => quoted.extend(c.escape_default()),
            c => quoted.push(c),
        }
    }
    quoted + "`"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_text_is_short_and_on_one_line() {
        assert_eq!(quoted("a\nb\u{1b}"), "`a\\nb\\u{1b}`");
        assert_eq!(quoted(&"x".repeat(99)), format!("`{}…`", "x".repeat(QUOTED_CHARS_MAX)));
        assert_eq!(quoted("kafka_apikey:0123"), "`***`");
    }
}
