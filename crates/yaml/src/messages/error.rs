//! The error that an operator reads: its position in the file, the problem and the fix.

use std::fmt;

use crate::messages::excerpt::Excerpt;
use crate::read::position::Position;

/// An error in a configuration file, with its position.
///
/// Its `Display` begins with `FILE:LINE:COLUMN: ` and the message, followed by the line of the file
/// with carets and by lines of help. Values of secrets and of `${…}` are masked in all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    // Boxed, because errors are rare and a `Result` should stay small.
    parts: Box<ErrorParts>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct ErrorParts {
    file: String,
    position: Position,
    message: String,
    excerpt: Excerpt,
    help: Vec<String>,
}

impl ConfigError {
    pub(crate) fn new(file: &str, position: Position, excerpt: Excerpt, message: String) -> Self {
        let (file, message) = (file.to_owned(), printable(message));
        let parts = ErrorParts { file, position, message, excerpt, help: Vec::new() };
        Self { parts: Box::new(parts) }
    }

    /// Adds a line of help below the excerpt, such as the allowed values.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.parts.help.push(printable(help.into()));
        self
    }

    /// Returns the name of the file, as given to its `Source`.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.parts.file
    }

    /// Returns the position of the invalid key or value.
    #[must_use]
    pub fn position(&self) -> Position {
        self.parts.position
    }

    /// Returns the message alone: one line, lower case, without a full stop.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.parts.message
    }

    /// Returns the lines of help.
    #[must_use]
    pub fn help(&self) -> &[String] {
        &self.parts.help
    }
}

/// Replaces control characters, which a text from the file could contain and a terminal would obey.
fn printable(text: String) -> String {
    if text.contains(char::is_control) { text.replace(char::is_control, "\u{fffd}") } else { text }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ErrorParts { file, position: Position { line, column }, message, excerpt, help } =
            &*self.parts;
        let margin = " ".repeat(line.to_string().len());
        writeln!(f, "{file}:{line}:{column}: {message}")?;
        writeln!(f, "{margin} |")?;
        writeln!(f, "{}", format!("{line} | {}", excerpt.line).trim_end())?;
        write!(f, "{margin} | {}", excerpt.carets)?;
        for help in help {
            write!(f, "\n{margin} = {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Source, SourceSpan};

    #[test]
    fn the_margin_is_as_wide_as_the_line_number() {
        let source = Source::new("dir/f.yaml", "\n".repeat(99) + "key: abc");
        let start = Position { line: 100, column: 6 };
        let end = Position { line: 100, column: 9 };
        let error = source.error_at(SourceSpan { start, end }, "wrong").with_help("allowed: a, b");
        assert_eq!(
            error.to_string(),
            "dir/f.yaml:100:6: wrong\n    |\n100 | key: abc\n    |      ^^^\n    = allowed: a, b"
        );
        assert_eq!(error.file(), "dir/f.yaml");
        assert_eq!(error.message(), "wrong");
        assert_eq!(error.help(), ["allowed: a, b"]);
    }

    #[test]
    fn a_control_character_of_the_file_reaches_no_terminal() {
        let source = Source::new("f", "a: \u{1b}[2J");
        let error =
            source.error_at(SourceSpan::START, "not `\u{1b}[2J\n`").with_help("or `\u{9b}m`");
        assert_eq!(
            error.to_string(),
            "f:1:1: not `\u{fffd}[2J\u{fffd}`\n  |\n1 | a: \u{fffd}[2J\n  | ^\n  = or `\u{fffd}m`"
        );
    }
}
