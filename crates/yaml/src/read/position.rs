//! Positions in a text, and the lines of a text.

/// A position in a file. Both numbers start at 1; the column counts characters, not bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The column, in characters, from 1.
    pub column: usize,
}

impl Position {
    /// The first character of a file.
    pub const START: Self = Self { line: 1, column: 1 };

    /// Returns the position after `text`, if `text` begins here.
    pub(crate) fn after(self, text: &str) -> Self {
        let lines = lines(text);
        let width = lines.last().map_or(0, |line| line.chars().count());
        match lines.len() {
            0 | 1 => Self { column: self.column + width, ..self },
            count => Self { line: self.line + count - 1, column: width + 1 },
        }
    }
}

/// A range of a file, such as one key or one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceSpan {
    /// The position of the first character.
    pub start: Position,
    /// The position after the last character, possibly on a later line.
    pub end: Position,
}

impl SourceSpan {
    /// The beginning of a file; also the span of values that come from no file.
    pub const START: Self = Self::at(Position::START);

    /// Returns the empty range at `position`.
    #[must_use]
    pub const fn at(position: Position) -> Self {
        Self { start: position, end: position }
    }
}

/// Returns the lines of a text without their breaks, at least one. Breaks are those of YAML, `\n`,
/// `\r\n` and `\r`, so that line numbers agree with the parser's.
pub(crate) fn lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some((line, after)) = rest.split_once(['\n', '\r']) {
        lines.push(line);
        let is_pair = rest[line.len()..].starts_with("\r\n");
        rest = if is_pair { &after[1..] } else { after };
    }
    lines.push(rest);
    lines
}

/// Returns the position in a line, in bytes, of its first key or value. A `- ` counts as
/// indentation.
pub(crate) fn content_indent(line: &str) -> usize {
    let mut content = line.trim_start_matches([' ', '\t']);
    while let Some(item) = content.strip_prefix("- ") {
        content = item.trim_start_matches(' ');
    }
    line.len() - content.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_where_yaml_breaks_them() {
        assert_eq!(lines("a\nb\r\nc\rd"), ["a", "b", "c", "d"]);
        assert_eq!(lines(""), [""]);
        assert_eq!(lines("a\n"), ["a", ""]);
    }

    #[test]
    fn a_position_moves_over_a_text_of_several_lines() {
        let start = Position { line: 2, column: 3 };
        assert_eq!(start.after(""), start);
        assert_eq!(start.after("äb"), Position { line: 2, column: 5 });
        assert_eq!(start.after("a\r\nbc"), Position { line: 3, column: 3 });
    }
}
