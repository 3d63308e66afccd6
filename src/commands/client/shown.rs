//! Prepares text of clients and daemons for a terminal: escapes control characters, and fits the text into
//! the columns.

use basics::escape::escaped;
use ratatui::text::Span;

/// Marks the place of a cut.
const CUT: &str = "…";

/// The text with escapes for all characters that a terminal would obey or that have no width.
pub(crate) fn printable(text: &str) -> String {
    escaped(text.as_bytes())
}

/// The columns of a terminal that a text takes.
pub(crate) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// The text in at most this number of columns, cut in the middle: names often share their beginning
/// and their end.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let Some(room) = columns.checked_sub(1) else { return String::new() };
    let head = beginning(text.chars(), room.div_ceil(2));
    let tail = beginning(text.chars().rev(), room / 2);
    let tail: String = tail.chars().rev().collect();
    format!("{head}{CUT}{tail}")
}

/// The text in at most this number of columns, cut at the end: for sentences.
pub(crate) fn cut_end(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let Some(room) = columns.checked_sub(1) else { return String::new() };
    format!("{}{CUT}", beginning(text.chars(), room))
}

/// The characters that fit.
fn beginning(characters: impl Iterator<Item = char>, columns: usize) -> String {
    let (mut taken, mut used) = (String::new(), 0);
    let mut buffer = [0; 4];
    for c in characters {
        used += width(c.encode_utf8(&mut buffer));
        if used > columns {
            break;
        }
        taken.push(c);
    }
    taken
}

/// The text padded with spaces to this number of columns: before a number, after other text.
pub(crate) fn padded(text: &str, columns: usize, is_number: bool) -> String {
    let spaces = " ".repeat(columns.saturating_sub(width(text)));
    if is_number { format!("{spaces}{text}") } else { format!("{text}{spaces}") }
}

/// The time of day of a time that the daemon writes, in UTC.
pub(crate) fn time_of_day(rfc3339: &str) -> &str {
    rfc3339.get(11..19).unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_text_contains_no_terminal_controls() {
        assert_eq!(printable("a\u{1b}[31mb\n\u{202e}c\u{9b}"), "a\\u{1b}[31mb\\n\\u{202e}c\\u{9b}");
        assert_eq!(printable("größe 度"), "größe 度");
    }

    #[test]
    fn a_name_is_cut_in_the_middle_to_fit_its_column() {
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut("service.requests.count", 11), "servi…count");
        assert_eq!(cut("abcdef", 4), "ab…f");
        // Characters that take two columns.
        for columns in 0..12 {
            assert!(width(&cut("度度度度度度度", columns)) <= columns);
            assert!(width(&cut_end("度度度度度度度", columns)) <= columns);
        }
        assert_eq!(cut_end("a sentence", 6), "a sen…");
    }

    #[test]
    fn columns_are_filled_up() {
        assert_eq!(padded("度", 4, false), "度  ");
        assert_eq!(padded("12", 4, true), "  12");
        assert_eq!(padded("12345", 4, true), "12345");
    }
}
