//! The text of a configuration file, and places in it.

use super::error::ConfigError;
use super::excerpt::Excerpt;
use super::secrets;

/// A place in a file. Both numbers start at 1; the column counts characters, not bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
}

impl Position {
    /// The first character of a file.
    pub const START: Self = Self { line: 1, column: 1 };
}

/// A stretch of a file, such as one key or one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first character.
    pub start: Position,
    /// The place behind the last character, perhaps on a later line.
    pub end: Position,
}

impl Span {
    /// The beginning of a file; also where things point that no file gave.
    pub const START: Self = Self::at(Position::START);

    /// The single place `position`.
    #[must_use]
    pub const fn at(position: Position) -> Self {
        Self { start: position, end: position }
    }
}

/// A configuration file as the user gave it.
///
/// It has no derived `Debug`, because the text may hold secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Source {
    name: String,
    text: String,
}

impl Source {
    /// Names a text. The name is what errors begin with: the path as the user gave it. A byte
    /// order mark at the beginning is dropped.
    #[must_use]
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let mut text = text.into();
        if text.starts_with('\u{feff}') {
            text.drain(..'\u{feff}'.len_utf8());
        }
        Self { name: name.into(), text }
    }

    /// Names the content of a file.
    ///
    /// # Errors
    ///
    /// When the content is not UTF-8, at the first byte that is not.
    pub fn from_bytes(name: impl Into<String>, bytes: Vec<u8>) -> Result<Self, ConfigError> {
        let name = name.into();
        String::from_utf8(bytes).map(|text| Self::new(name.as_str(), text)).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let bytes = error.as_bytes();
            let before = Self::new(name.as_str(), String::from_utf8_lossy(&bytes[..valid]));
            let place = end_of(&before.text);
            Self::new(name, String::from_utf8_lossy(bytes))
                .error_at(Span::at(place), "the file is not valid UTF-8 from here on")
        })
    }

    /// The path as the user gave it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text, without a byte order mark.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// An error at a place of this file. The message is lower case, without a full stop, and must
    /// not repeat a value that may be secret; the line that is shown is masked here.
    #[must_use]
    pub fn error_at(&self, span: Span, message: impl Into<String>) -> ConfigError {
        let lines = lines(&self.text);
        let span = clamp(span, &lines);
        let line: Vec<char> = lines[span.start.line - 1].chars().collect();
        let columns = columns_of(span, &line);
        let masks = secrets::masked_columns(&self.text, &lines, span.start.line);
        let position = Position { line: span.start.line, column: columns.start };
        ConfigError::new(&self.name, position, Excerpt::new(&line, columns, &masks), message.into())
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source")
            .field("name", &self.name)
            .field("bytes", &self.text.len())
            .finish_non_exhaustive()
    }
}

/// The lines of a text, without their breaks; at least one. Breaks are those of YAML: `\n`, `\r\n`
/// and `\r`, so that the numbers agree with the parser's.
pub(super) fn lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['\n', '\r']) {
        lines.push(&rest[..at]);
        let width = if rest[at..].starts_with("\r\n") { 2 } else { 1 };
        rest = &rest[at + width..];
    }
    lines.push(rest);
    lines
}

/// The place behind the last character.
fn end_of(text: &str) -> Position {
    let lines = lines(text);
    let column = lines.last().map_or(0, |line| line.chars().count()) + 1;
    Position { line: lines.len(), column }
}

/// Where the first key or value of a line begins, in bytes. A `- ` counts as indentation.
pub(super) fn content_indent(line: &str) -> usize {
    let mut content = line.trim_start_matches([' ', '\t']);
    while let Some(item) = content.strip_prefix("- ") {
        content = item.trim_start_matches(' ');
    }
    line.len() - content.len()
}

/// Moves a span into the text. What stands in the blank end of a file, such as "unexpected end",
/// moves to the end of the last line that holds something.
fn clamp(span: Span, lines: &[&str]) -> Span {
    let rest = lines.get(span.start.line.max(1) - 1..).unwrap_or_default();
    if rest.iter().any(|line| !line.trim().is_empty()) {
        return if span.start.line > 0 { span } else { Span::START };
    }
    match lines.iter().rposition(|line| !line.trim().is_empty()) {
        Some(last) => {
            let column = lines[last].trim_end().chars().count() + 1;
            Span::at(Position { line: last + 1, column })
        }
        None => Span::START,
    }
}

/// The columns, from 1 and the end exclusive, that a span covers on its first line.
fn columns_of(span: Span, line: &[char]) -> std::ops::Range<usize> {
    let filled = line.iter().rposition(|c| !c.is_whitespace()).map_or(0, |last| last + 1);
    let first = (span.start.column.max(1) - 1).min(line.len());
    let value = behind_properties(line, first);
    // A span that ends before the value is about the anchor or the tag.
    let is_before = span.end.line == span.start.line && span.end.column <= value + 1;
    let start = if is_before { first } else { value };
    let end = match line.get(start) {
        Some(&quote @ ('"' | '\'')) => behind_quote(line, start, quote).unwrap_or(filled),
        _ if span.end.line == span.start.line => span.end.column.saturating_sub(1),
        _ => filled,
    };
    start + 1..end.clamp(start, line.len().max(start)) + 1
}

/// Skips an anchor or a tag before a value: the value itself is what an error is about.
fn behind_properties(line: &[char], start: usize) -> usize {
    let mut at = start;
    while let Some('&' | '!') = line.get(at) {
        let word = line[at..].iter().take_while(|c| !c.is_whitespace()).count();
        let blank = line[at + word..].iter().take_while(|c| c.is_whitespace()).count();
        at += word + blank;
    }
    if matches!(line.get(at), None | Some('#')) { start } else { at }
}

/// The index behind the closing quote. The parser's own end of a quoted value includes what
/// follows it on the line.
fn behind_quote(line: &[char], start: usize, quote: char) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match (*line.get(at)?, line.get(at + 1)) {
            ('\\', _) if quote == '"' => at += 2,
            ('\'', Some('\'')) if quote == '\'' => at += 2,
            (c, _) if c == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str, start: (usize, usize), end: (usize, usize)) -> String {
        let place = |(line, column)| Position { line, column };
        let span = Span { start: place(start), end: place(end) };
        Source::new("f", text).error_at(span, "wrong").to_string()
    }

    #[test]
    fn lines_break_where_yaml_breaks_them() {
        assert_eq!(lines("a\nb\r\nc\rd"), ["a", "b", "c", "d"]);
        assert_eq!(lines(""), [""]);
        assert_eq!(lines("a\n"), ["a", ""]);
    }

    #[test]
    fn the_caret_covers_a_quoted_value_and_not_the_comment_behind_it() {
        assert_eq!(
            error("a: \"x\\\"y\"  # z", (1, 4), (1, 15)),
            "f:1:4: wrong\n  |\n1 | a: \"x\\\"y\"  # z\n  |    ^^^^^^"
        );
    }

    #[test]
    fn the_caret_stands_below_the_value_and_not_its_anchor() {
        assert_eq!(
            error("a: &x !!str b", (1, 4), (1, 14)),
            "f:1:13: wrong\n  |\n1 | a: &x !!str b\n  |             ^"
        );
    }

    #[test]
    fn a_place_behind_the_end_moves_to_the_last_line_with_content() {
        assert_eq!(error("a: [\n\n", (3, 1), (3, 1)), "f:1:5: wrong\n  |\n1 | a: [\n  |     ^");
        assert_eq!(error("", (9, 9), (9, 9)), "f:1:1: wrong\n  |\n1 |\n  | ^");
    }

    #[test]
    fn bytes_that_are_not_text_are_refused_at_their_place() {
        let error = Source::from_bytes("f", b"a: 1\nb: \xff\n".to_vec()).unwrap_err();
        assert_eq!(error.position(), Position { line: 2, column: 4 });
    }

    #[test]
    fn a_byte_order_mark_counts_for_nothing() {
        let source = Source::from_bytes("f", b"\xef\xbb\xbfa: 1".to_vec()).unwrap();
        assert_eq!(source.text(), "a: 1");
        assert_eq!(format!("{source:?}"), "Source { name: \"f\", bytes: 4, .. }");
    }
}
