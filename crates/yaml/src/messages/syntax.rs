//! Translates the parser's errors for the author of a configuration file.

use serde_yaml::budget::BudgetBreach;
use serde_yaml::granit_parser::ErrorKind;
use serde_yaml::{Error, ExternalMessageSource, MessageFormatter, UserMessageFormatter};

use crate::messages::error::ConfigError;
use crate::messages::source::Source;
use crate::read::parsed::{DEPTH_MAX, NODES_MAX, span};
use crate::read::position::{Position, SourceSpan, content_indent, lines};

/// The messages of errors that the parser reports at a position other than that of the mistake.
const NO_COLON: &str = "expected a `:` after the key";
const TAB: &str = "a tab cannot be used for indentation";

const UNCLOSED_BRACKET: &str = "perhaps an earlier `[` or `{` is never closed";
const QUOTE_BRACKETS: &str = "inside brackets, a value with `{`, `}`, `[`, `]` or `,` needs quotes";
const QUOTE_QUOTES: &str =
    r#"write `''` for one `'` in single quotes, `\"` for one `"` in double quotes"#;
const ITEMS: &str =
    "items of one list begin with `- ` and are indented alike, and so are the keys of an item";

/// Converts an error of the parser.
pub(crate) fn error(source: &Source, mut error: &Error) -> ConfigError {
    while let Error::AliasError { error: inner, .. } = error {
        error = inner;
    }
    let span = error.location().map_or(SourceSpan::START, |at| span(source.text(), at));
    let at = |span, message: &str| source.error_at(span, message);
    match error {
        Error::ExternalMessage { source: cause, .. }
            if let ExternalMessageSource::Parser(error) = &**cause =>
        {
            syntax_error(source, error.kind(), span.start)
        }
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => {
            at(span, &format!("sections and lists are nested more than {DEPTH_MAX} levels deep"))
        }
        Error::Budget { breach: BudgetBreach::Nodes { .. }, .. } => {
            at(span, &format!("the file holds more than {NODES_MAX} keys and values"))
        }
        Error::Budget { .. } => at(span, "aliases and merge keys make the file too large"),
        Error::MultipleDocuments { .. } => {
            let message = "a second document begins here, but the file must hold only one";
            at(last_before(source, "---", span), message)
        }
        Error::UnsupportedTag { tag, .. } => {
            // Without the tag, which may be a password.
            let message = "a tag is not supported here: put a value that begins with `!` in quotes";
            at(last_before(source, tag, span), message)
        }
        // A key is read as text; values may be anything.
        Error::Unexpected { .. } => at(span, "a key must be a word, not a section or a list"),
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            at(span, "this alias refers to the value that contains it")
        }
        Error::MergeValueNotMapOrSeqOfMaps { .. } => {
            at(span, "`<<` must be a section or a list of sections")
        }
        Error::UnknownAnchor { .. } => at(span, "no earlier `&` anchor has this name"),
        Error::InvalidScalar { .. }
        | Error::InvalidBinaryBase64 { .. }
        | Error::TaggedScalarCannotDeserializeIntoString { .. } => {
            at(span, "this value does not fit its tag")
        }
        _ => at(span, &format!("not valid YAML: {}", UserMessageFormatter.format_message(error))),
    }
}

/// Returns the last `word` before `span`, on its line or above. The parser reports errors about a
/// tag or a document at the value after it.
fn last_before(source: &Source, word: &str, span: SourceSpan) -> SourceSpan {
    let text = source.text();
    let lines = lines(text);
    let place = |number: usize| {
        let line = lines.get(number - 1)?;
        let column = line[..line.rfind(word)?].chars().count() + 1;
        let start = Position { line: number, column };
        (start < span.start).then_some(SourceSpan { start, end: start.after(word) })
    };
    (1..=span.start.line).rev().find_map(place).unwrap_or(span)
}

fn syntax_error(source: &Source, kind: &ErrorKind, at: Position) -> ConfigError {
    let lines = lines(source.text());
    let swallowed = match kind {
        ErrorKind::SimpleKeyExpected => Some(at),
        ErrorKind::MappingValueNotAllowed => swallowed_key(&lines, at),
        _ => None,
    };
    if let Some(key) = swallowed {
        let line = lines.get(key.line - 1).unwrap_or(&"").trim_end();
        let content: String = line.chars().skip(key.column - 1).collect();
        let span = SourceSpan { start: key, end: key.after(&content) };
        let message = if content.contains(':') { "a space must follow the `:`" } else { NO_COLON };
        return source.error_at(span, message).with_help("write `key: value`");
    }
    let Some((message, help)) = meaning(kind) else {
        return source.error_at(SourceSpan::at(at), format!("not valid YAML: {kind}"));
    };
    let at = first_tab(&lines, at).filter(|_| message == TAB).unwrap_or(at);
    let error = source.error_at(SourceSpan::at(at), message);
    if help.is_empty() { error } else { error.with_help(help) }
}

/// Returns the message for an error of the parser, and a line of help.
fn meaning(kind: &ErrorKind) -> Option<(&'static str, &'static str)> {
    use ErrorKind as E;

    Some(match kind {
        E::TabNotAllowed
        | E::TabInBlockIndentation
        | E::TabAtBlockScalarStart
        | E::TabInIndentation
        | E::TabInPlainScalar => (TAB, "use spaces"),
        E::UnexpectedCharacter { character: '\0' } => ("a NUL character is not allowed", ""),
        E::UnexpectedCharacter { .. } => {
            ("a value cannot begin with this character", "put it in quotes")
        }
        E::MappingValueNotAllowed => (
            "a `:` is not allowed here",
            "indent this key like the others of its section, or put a value that contains `: ` in quotes",
        ),
        E::InvalidColonPlacement => ("a `:` is not allowed here", UNCLOSED_BRACKET),
        E::ExpectedBlockMappingKey | E::ExpectedDocumentStart => (
            "this line does not belong to the section above it",
            "keys of one section are indented alike",
        ),
        E::InvalidIndentation | E::InvalidBlockScalarIndent => {
            ("this line is indented too little", "indent it deeper than its key")
        }
        E::ExpectedBlockSequenceEntry => ("expected another item of the list", ITEMS),
        E::BlockSequenceEntryNotAllowed => ("a list item cannot begin here", ""),
        E::ExpectedFlowMappingSeparator => ("expected `,` or `}`", QUOTE_BRACKETS),
        E::ExpectedFlowSequenceSeparator => ("expected `,` or `]`", QUOTE_BRACKETS),
        E::ExpectedNodeContent | E::UnexpectedEofImplicitFlowMapping => {
            ("expected a value", UNCLOSED_BRACKET)
        }
        E::UnclosedFlowCollection { .. } => ("this bracket is never closed", ""),
        E::MisplacedFlowCollectionEnd => ("this bracket was never opened", ""),
        E::MismatchedFlowCollectionEnd { .. } => {
            ("this bracket is closed by one of another kind", "")
        }
        E::RecursionLimitExceeded => ("brackets are nested too deeply", ""),
        E::UnclosedQuotedScalar | E::DocumentIndicatorInQuotedScalar => {
            ("these quotes are never closed", "")
        }
        E::InvalidTrailingSingleQuotedScalar | E::InvalidTrailingDoubleQuotedScalar => {
            ("nothing may follow the closing quotes", QUOTE_QUOTES)
        }
        E::UnknownQuotedScalarEscape => {
            ("double quotes do not allow this escape", r"write `\\` for one `\`")
        }
        E::CommentInterceptedScalar => ("a comment cannot interrupt a value of several lines", ""),
        E::InvalidMappingValueWhitespace => {
            ("a space must follow the `:`", "use a space, not a tab")
        }
        E::InvalidBlockEntryWhitespace => ("a space must follow the `-`", "use a space, not a tab"),
        _ => return None,
    })
}

/// Returns the key in the line above if its `:` or the space after it is missing. The parser takes
/// such a line for the beginning of a longer value, and reports an error in the next line.
fn swallowed_key(lines: &[&str], at: Position) -> Option<Position> {
    let has_content = |line: &&str| !matches!(line.trim_start().chars().next(), None | Some('#'));
    let mut above = (1..at.line).rev().map(|number| (number, lines[number - 1]));
    let (number, line) = above.find(|(_, line)| has_content(line))?;
    let indent = content_indent(line);
    // A line with deeper indentation than the line above continues the value there.
    let begins_entry = above.find(|(_, line)| has_content(line)).is_none_or(|(_, before)| {
        content_indent(before) >= indent || before.trim_end().ends_with(':')
    });
    let content = line[indent..].trim_end();
    let is_entry = content.contains(": ") || content.ends_with(':');
    let is_beside = content_indent(lines.get(at.line - 1)?) <= indent;
    let column = line[..indent].chars().count() + 1;
    (begins_entry && is_beside && !is_entry).then_some(Position { line: number, column })
}

/// Returns the first tab in an indentation. The parser reports some tabs at the value before them.
fn first_tab(lines: &[&str], at: Position) -> Option<Position> {
    (at.line..=lines.len()).find_map(|line| {
        let text = lines[line - 1];
        let tab = text.chars().take_while(|c| c.is_whitespace()).position(|c| c == '\t')?;
        (!text.trim().is_empty()).then_some(Position { line, column: tab + 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the position and the message of the error in an invalid text.
    fn complaint(text: &str) -> (usize, usize, String) {
        let source = Source::new("f", text);
        let error = crate::document::parse(&source).err().unwrap();
        (error.position().line, error.position().column, error.message().to_owned())
    }

    #[test]
    fn each_complaint_points_at_what_the_user_must_change() {
        for (text, line, column, message) in [
            ("a: 1\n\tb: 2", 2, 1, "a tab cannot be used for indentation"),
            ("a:\n  b: c\n\td: e\n", 3, 1, "a tab cannot be used for indentation"),
            ("a: |\n\tb\n", 2, 1, "a tab cannot be used for indentation"),
            ("a: b\nport 5\nc: d\n", 2, 1, "expected a `:` after the key"),
            ("a: b\n\n# x\nport 5\n# y\n\nc: d\n", 4, 1, "expected a `:` after the key"),
            ("port 5\nc: d\n", 1, 1, "expected a `:` after the key"),
            ("port:5\nc: d\n", 1, 1, "a space must follow the `:`"),
            ("a:\n  port:5\n  c: d\n", 2, 3, "a space must follow the `:`"),
            ("a: b\nport 5", 2, 1, "expected a `:` after the key"),
            ("a:\n  - b\n  c", 3, 3, "expected a `:` after the key"),
            ("a: b: c", 1, 5, "a `:` is not allowed here"),
            ("a: b\n  c: d", 2, 4, "a `:` is not allowed here"),
            ("a: b\n  c\n  d: e", 3, 4, "a `:` is not allowed here"),
            ("a:\n    b:\n  c: d", 3, 3, "this line does not belong to the section above it"),
            (" a: b\nc: d", 2, 1, "this line does not belong to the section above it"),
            ("a: \"b\nc: d", 1, 4, "these quotes are never closed"),
            ("a: 'b", 1, 4, "these quotes are never closed"),
            ("a: 'it's'", 1, 8, "nothing may follow the closing quotes"),
            ("a: \"\\q\"", 1, 4, "double quotes do not allow this escape"),
            ("a: [b, c\n\n", 1, 4, "this bracket is never closed"),
            ("a: {b: c\n", 1, 4, "this bracket is never closed"),
            ("a: [b, {c: d]\n", 1, 8, "this bracket is closed by one of another kind"),
            ("a: [b, c\nd: e\n", 2, 2, "a `:` is not allowed here"),
            ("{a: ${B}}", 1, 6, "expected `,` or `}`"),
            (&"[".repeat(300), 1, 256, "brackets are nested too deeply"),
            ("a: ]", 1, 4, "this bracket was never opened"),
            ("a: [", 1, 4, "this bracket is never closed"),
            ("a: [,]", 1, 5, "expected a value"),
            ("a: *b", 1, 4, "no earlier `&` anchor has this name"),
            ("a: @b", 1, 4, "a value cannot begin with this character"),
            ("a: - b", 1, 4, "a list item cannot begin here"),
            ("- a\nb: c", 2, 1, "expected another item of the list"),
            ("a: b # c\n  d", 1, 6, "a comment cannot interrupt a value of several lines"),
            ("a: \0", 1, 4, "a NUL character is not allowed"),
        ] {
            assert_eq!(complaint(text), (line, column, message.to_owned()), "{text:?}");
        }
    }
}
