//! The error that a user reads: where the file is wrong, why, and what would be right.

use std::fmt;

use super::excerpt::Excerpt;
use super::source::Position;

/// What is wrong with a configuration file, and where.
///
/// Its `Display` begins with `FILE:LINE:COLUMN: ` and the message, then shows the line of the file
/// with a caret, then what may help. Values of secrets and of `${…}` are masked in all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    // Boxed, because errors are rare and a `Result` should stay small.
    details: Box<Details>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Details {
    file: String,
    position: Position,
    message: String,
    excerpt: Excerpt,
    help: Vec<String>,
}

impl ConfigError {
    pub(super) fn new(file: &str, position: Position, excerpt: Excerpt, message: String) -> Self {
        let (file, message) = (file.to_owned(), printable(message));
        let details = Details { file, position, message, excerpt, help: Vec::new() };
        Self { details: Box::new(details) }
    }

    /// Adds a line below the excerpt, such as what is allowed.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.details.help.push(printable(help.into()));
        self
    }

    /// The name of the file, as its `Source` was given it.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.details.file
    }

    /// Where the key or value that is wrong begins.
    #[must_use]
    pub fn position(&self) -> Position {
        self.details.position
    }

    /// The message alone: one line, lower case, without a full stop.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.details.message
    }

    /// The lines that may help.
    #[must_use]
    pub fn help(&self) -> &[String] {
        &self.details.help
    }
}

/// What repeats something of the file must not send its control characters to a terminal.
fn printable(text: String) -> String {
    if text.contains(char::is_control) { text.replace(char::is_control, "\u{fffd}") } else { text }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Details { file, position: Position { line, column }, message, excerpt, help } =
            &*self.details;
        let margin = " ".repeat(line.to_string().len());
        writeln!(f, "{file}:{line}:{column}: {message}")?;
        writeln!(f, "{margin} |")?;
        writeln!(f, "{}", format!("{line} | {}", excerpt.line()).trim_end())?;
        write!(f, "{margin} | {}", excerpt.carets())?;
        for help in help {
            write!(f, "\n{margin} = {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::super::{Source, Span};
    use super::*;

    #[test]
    fn the_margin_is_as_wide_as_the_line_number() {
        let source = Source::new("dir/f.yaml", "\n".repeat(99) + "key: abc");
        let start = Position { line: 100, column: 6 };
        let end = Position { line: 100, column: 9 };
        let error = source.error_at(Span { start, end }, "wrong").with_help("allowed: a, b");
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
        let error = source.error_at(Span::START, "not `\u{1b}[2J\n`").with_help("or `\u{9b}m`");
        assert_eq!(
            error.to_string(),
            "f:1:1: not `\u{fffd}[2J\u{fffd}`\n  |\n1 | a: \u{fffd}[2J\n  | ^\n  = or `\u{fffd}m`"
        );
    }
}
