//! Escapes bytes of senders, so that they are safe to print to a log or a terminal.

/// The maximum number of bytes that an excerpt shows.
pub const EXCERPT_BYTES: usize = 200;

/// Up to [`EXCERPT_BYTES`] of a message around the offset, escaped.
#[must_use]
pub fn excerpt(datagram: &[u8], offset: usize) -> String {
    let end = (offset + EXCERPT_BYTES / 2).max(EXCERPT_BYTES).min(datagram.len());
    let start = end.saturating_sub(EXCERPT_BYTES).min(offset);
    escaped(&datagram[start..end])
}

/// The bytes as text. Control characters and invalid UTF-8 are escaped, so that a sender cannot
/// control a terminal or forge log lines.
#[must_use]
pub fn escaped(bytes: &[u8]) -> String {
    let mut shown = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() {
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
}
