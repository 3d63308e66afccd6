//! Escapes text of senders, so that it is safe to print to a log or a terminal.

use std::borrow::Cow;

/// Maximum number of bytes of a message in an excerpt. Escapes make the text longer.
pub const EXCERPT_BYTES: usize = 200;

/// Returns up to [`EXCERPT_BYTES`] of a message around the offset, as escaped text.
#[must_use]
pub fn excerpt(datagram: &[u8], offset: usize) -> String {
    let end = (offset + EXCERPT_BYTES / 2).max(EXCERPT_BYTES).min(datagram.len());
    let start = end.saturating_sub(EXCERPT_BYTES).min(offset);
    escaped(&datagram[start..end])
}

/// Whether a terminal or an editor could obey a character instead of showing it: control characters,
/// directional marks, line separators, joiners and other characters without a width, and whitespace
/// other than the space. They can reorder, hide or imitate the text around them.
#[must_use]
pub fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{a0}' | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{1680}'
            | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{2000}'..='\u{200f}'
            | '\u{2028}'..='\u{202f}' | '\u{205f}'..='\u{206f}' | '\u{2800}' | '\u{3000}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{13430}'..='\u{1343f}' | '\u{16fe4}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d159}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// Replaces deceptive characters by JSON escapes (`\u202e`). ASCII control characters below 0x20
/// stay, because `text` may have several lines: it is part of a log or a whole JSON document.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    let is_hidden = |c: char| c >= '\u{7f}' && is_deceptive(c);
    // Nearly all texts are ASCII, or need no escape.
    if text.bytes().all(|byte| byte < 0x7f) || !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hidden(c) {
            // JSON writes a character above U+FFFF as two escapes, a surrogate pair.
            for unit in c.encode_utf16(&mut [0; 2]) {
                shown.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// Converts bytes to text. Deceptive characters and invalid UTF-8 are escaped, so that a sender
/// cannot control a terminal or forge log lines.
#[must_use]
pub fn escaped(bytes: &[u8]) -> String {
    let mut shown = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if is_deceptive(c) {
                shown.extend(c.escape_default());
            } else {
                shown.push(c);
            }
        }
        for byte in chunk.invalid() {
            shown.push_str(&format!("\\x{byte:02x}"));
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_around_the_offset_and_has_no_control_characters() {
        assert_eq!(excerpt(b"{\"a\": \x1b[31m\xff\n", 6), "{\"a\": \\u{1b}[31m\\xff\\n");
        let long = [b'x'; 70_000];
        for offset in [0, 50, 35_000, 69_999, 70_000] {
            assert_eq!(excerpt(&long, offset).len(), EXCERPT_BYTES);
        }
        assert_eq!(excerpt(b"", 0), "");
    }

    #[test]
    fn characters_that_reorder_or_hide_text_are_escaped() {
        let text = "a\u{202e}b\u{2028}c\u{200b}d\u{9b}e\u{feff}\u{2066}";
        let shown = "a\\u{202e}b\\u{2028}c\\u{200b}d\\u{9b}e\\u{feff}\\u{2066}";
        assert_eq!(escaped(text.as_bytes()), shown);
        assert_eq!(escaped("Zürich 日本 😀 עברית".as_bytes()), "Zürich 日本 😀 עברית");
    }

    #[test]
    fn blanks_other_than_the_space_are_escaped() {
        let blanks =
            "\u{a0}\u{1680}\u{2000}\u{200a}\u{202f}\u{205f}\u{2800}\u{3000}\u{3164}\u{1d159}";
        assert!(blanks.chars().all(is_deceptive));
        let white = ('\u{80}'..=char::MAX).filter(|c| c.is_whitespace());
        assert_eq!(white.filter(|c| !is_deceptive(*c)).count(), 0);
        assert_eq!(escaped("a b\u{2800}".as_bytes()), "a b\\u{2800}");
    }

    #[test]
    fn a_json_document_stays_one_with_the_same_text() {
        let text = "a\u{9b}\u{202e}\u{e0041}\u{7f}ü\n";
        let json = serde_json::to_string_pretty(&[text]).unwrap();
        let shown = visible(&json);
        assert_eq!(shown, "[\n  \"a\\u009b\\u202e\\udb40\\udc41\\u007fü\\n\"\n]");
        assert_eq!(serde_json::from_str::<[String; 1]>(&shown).unwrap(), [text]);
        assert!(matches!(visible("Zürich\n"), Cow::Borrowed(_)));
    }
}
