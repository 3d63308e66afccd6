//! The text of a configuration file, and errors at positions in it.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

use basics::bounded_read::read_bounded;

use crate::messages::error::ConfigError;
use crate::messages::excerpt::Excerpt;
use crate::messages::masks::{masked_columns, secret_spans, value_columns};
use crate::read::position::{Position, SourceSpan, lines};
use crate::read::tree::YamlNode;

/// Maximum size of one file, in bytes.
pub(crate) const TEXT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A configuration file and its name.
///
/// It has no derived `Debug`, because the text may contain secrets.
#[derive(Clone)]
pub struct Source {
    name: String,
    text: String,
    /// The section whose values are not expanded.
    literal_section: Option<&'static str>,
    /// Whether no value is expanded.
    is_all_literal: bool,
    /// The literal secrets; `None` inside if the file is not valid YAML. The first error finds them:
    /// a file may have many errors, and each has an excerpt.
    secrets: OnceLock<Option<Vec<SourceSpan>>>,
}

impl Source {
    /// Creates a source from a text. Errors begin with the name: the path as given by the user.
    /// Drops a byte order mark at the beginning.
    #[must_use]
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let mut text = text.into();
        if text.starts_with('\u{feff}') {
            text.drain(..'\u{feff}'.len_utf8());
        }
        let (literal_section, is_all_literal) = (None, false);
        Self { name: name.into(), text, literal_section, is_all_literal, secrets: OnceLock::new() }
    }

    /// Keeps every `${…}` in the file as it is, for the format of another program.
    #[must_use]
    pub fn all_literal(self) -> Self {
        Self { is_all_literal: true, ..self }
    }

    /// Keeps every `${…}` in the values of this top-level key as it is, for a section in which it has
    /// another meaning.
    #[must_use]
    pub fn with_literal_section(self, key: &'static str) -> Self {
        Self { literal_section: Some(key), ..self }
    }

    /// Whether `${…}` in the values of this top-level key stays as it is.
    pub(crate) fn is_literal(&self, key: &str) -> bool {
        self.is_all_literal || self.literal_section == Some(key)
    }

    /// Creates a source from the content of a file.
    ///
    /// # Errors
    ///
    /// If the content is not UTF-8, at the first invalid byte.
    pub fn from_bytes(name: impl Into<String>, bytes: Vec<u8>) -> Result<Self, ConfigError> {
        let name = name.into();
        String::from_utf8(bytes).map(|text| Self::new(name.as_str(), text)).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes());
            let before = Self::new(name.as_str(), &text[..valid]);
            let position = Position::START.after(&before.text);
            Self::new(name, text)
                .error_at(SourceSpan::at(position), "the file is not valid UTF-8 from here on")
        })
    }

    /// Reads a file of at most 4 MiB, which may be a pipe that has a writer.
    ///
    /// # Errors
    ///
    /// If the file cannot be read within some seconds, is larger, or is not UTF-8.
    pub fn read(path: &Path) -> io::Result<Self> {
        let bytes = read_bounded(path, TEXT_BYTES_MAX)?;
        let text = String::from_utf8(bytes).map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, error.utf8_error().to_string())
        })?;
        Ok(Self::new(path.display().to_string(), text))
    }

    /// Returns the path as given by the user.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the whole text, without a byte order mark.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Creates an error at a span of this file. The message is lower case, without a full stop, and
    /// must not contain a value that may be secret. The excerpt is masked here.
    #[must_use]
    pub fn error_at(&self, span: SourceSpan, message: impl Into<String>) -> ConfigError {
        self.error_hiding(None, span, message.into())
    }

    /// The same, with a mask over `hidden`, which may be a secret.
    pub(crate) fn error_hiding(
        &self,
        hidden: Option<&YamlNode>,
        span: SourceSpan,
        message: String,
    ) -> ConfigError {
        let lines = lines(&self.text);
        let span = clamp(span, &lines);
        let number = span.start.line;
        let line: Vec<char> = lines[number - 1].chars().collect();
        let columns = columns_of(span, &line);
        let hidden = hidden.and_then(|value| value_columns(value, lines[number - 1], number));
        let masks = match hidden {
            // It contains every secret that begins within it.
            Some(hidden) => {
                let masks = masked_columns(self.secrets(), &lines, number).into_iter();
                let mut masks: Vec<_> = masks
                    .filter(|mask| mask.end <= hidden.start || hidden.end <= mask.start)
                    .collect();
                masks.push(hidden);
                masks.sort_by_key(|mask| mask.start);
                masks
            }
            None => masked_columns(self.secrets(), &lines, number),
        };
        let position = Position { line: span.start.line, column: columns.start };
        ConfigError::new(&self.name, position, Excerpt::new(&line, columns, &masks), message)
    }

    fn secrets(&self) -> Option<&[SourceSpan]> {
        self.secrets.get_or_init(|| secret_spans(&self.text)).as_deref()
    }
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        let parts = |source: &Self| (source.literal_section, source.is_all_literal);
        self.name == other.name && self.text == other.text && parts(self) == parts(other)
    }
}

impl Eq for Source {}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source")
            .field("name", &self.name)
            .field("bytes", &self.text.len())
            .finish_non_exhaustive()
    }
}

/// Moves a span into the text. An error in the blank end of a file, such as "unexpected end", moves
/// to the end of the last line with content.
fn clamp(span: SourceSpan, lines: &[&str]) -> SourceSpan {
    let has_content = |line: &&str| !line.trim().is_empty();
    let rest = lines.get(span.start.line.max(1) - 1..).unwrap_or_default();
    if rest.iter().any(has_content) {
        return if span.start.line > 0 { span } else { SourceSpan::START };
    }
    lines.iter().rposition(has_content).map_or(SourceSpan::START, |last| {
        let column = lines[last].trim_end().chars().count() + 1;
        SourceSpan::at(Position { line: last + 1, column })
    })
}

/// Returns the columns that a span covers on its first line, from 1, with an exclusive end.
fn columns_of(span: SourceSpan, line: &[char]) -> Range<usize> {
    let start = (span.start.column.max(1) - 1).min(line.len());
    let end = if span.end.line == span.start.line {
        span.end.column.saturating_sub(1)
    } else {
        line.iter().rposition(|c| !c.is_whitespace()).map_or(0, |last| last + 1)
    };
    start + 1..end.clamp(start, line.len()) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str, start: (usize, usize), end: (usize, usize)) -> String {
        let position = |(line, column)| Position { line, column };
        let span = SourceSpan { start: position(start), end: position(end) };
        Source::new("f", text).error_at(span, "wrong").to_string()
    }

    #[test]
    fn a_position_after_the_end_moves_to_the_last_line_with_content() {
        assert_eq!(error("a: [\n\n", (3, 1), (3, 1)), "f:1:5: wrong\n  |\n1 | a: [\n  |     ^");
        assert_eq!(error("", (9, 9), (9, 9)), "f:1:1: wrong\n  |\n1 |\n  | ^");
    }

    #[test]
    fn bytes_that_are_not_text_are_refused_at_their_position() {
        let error = Source::from_bytes("f", b"a: 1\nb: \xff\n".to_vec()).unwrap_err();
        assert_eq!(error.position(), Position { line: 2, column: 4 });
    }

    #[test]
    fn a_byte_order_mark_is_dropped() {
        let source = Source::from_bytes("f", b"\xef\xbb\xbfa: 1".to_vec()).unwrap();
        assert_eq!(source.text(), "a: 1");
        assert_eq!(format!("{source:?}"), "Source { name: \"f\", bytes: 4, .. }");
    }
}
