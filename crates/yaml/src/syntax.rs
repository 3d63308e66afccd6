//! Says what the parser's complaints mean to someone who writes a configuration file.

use saphyr_parser::{Marker, ScanError};

use super::error::ConfigError;
use super::source::{Position, Source, Span, content_indent, lines};

/// For a part of the parser's message: what we say instead, and what may help. The first that
/// fits counts.
const MEANINGS: [(&str, &str, &str); 28] = [
    ("unprintable", "a NUL character is not allowed", ""),
    (TAB, "a tab cannot be used for indentation", "use spaces"),
    (MISPLACED_COLON, "a `:` is not allowed here", "put a value that contains `: ` in quotes"),
    (NO_COLON, "expected a `:` behind the key before this place", "write `key: value`"),
    (NO_KEY, "expected `key: value` before this place", ""),
    ("did not find expected key", OUTSIDE, "keys of one section are indented alike"),
    ("expected <document start>", OUTSIDE, "keys of one section are indented alike"),
    (
        "did not find expected '-'",
        "expected another item of the list",
        "items of one list begin with `- ` and are indented alike, and so are the keys of an item",
    ),
    ("expected ',' or '}'", "expected `,` or `}`", QUOTE_BRACKETS),
    ("expected ',' or ']'", "expected `,` or `]`", QUOTE_BRACKETS),
    ("illegal placement of ':'", "a `:` is not allowed here", UNCLOSED_BRACKET),
    ("indentation in flow", OUTSIDE, UNCLOSED_BRACKET),
    ("expected node content", "expected a value", UNCLOSED_BRACKET),
    ("unexpected end of plain scalar", "expected a value", UNCLOSED_BRACKET),
    ("recursion limit", "brackets stand too deep inside each other", ""),
    ("misplaced bracket", "this bracket was never opened", ""),
    ("end of stream", UNCLOSED_QUOTES, ""),
    ("document indicator", UNCLOSED_QUOTES, ""),
    ("indentation in quoted", UNCLOSED_QUOTES, "lines that continue a value are indented deeper"),
    ("unknown escape", "there is no such escape in double quotes", r"write `\\` for one `\`"),
    (
        "trailing content",
        "nothing may follow the closing quotes",
        r#"write `''` for one `'` in single quotes, `\"` for one `"` in double quotes"#,
    ),
    ("found unknown anchor", "there is no `&` anchor of this name before", ""),
    ("unexpected character", "a value cannot begin with this character", "put it in quotes"),
    ("block sequence entries are not allowed", "a list item cannot begin here", ""),
    ("comment intercepting", "a comment cannot interrupt a value of several lines", ""),
    ("':' must be followed by", "a space must follow the `:`", "use a space, not a tab"),
    ("'-' must be followed by", "a space must follow the `-`", "use a space, not a tab"),
    ("indentation", "this line is indented too little", "indent it deeper than its key"),
];

const TAB: &str = "tab";
const MISPLACED_COLON: &str = "mapping values are not allowed";
const NO_COLON: &str = "simple key expect ':'";
const NO_KEY: &str = "simple key expected";
const OUTSIDE: &str = "this line does not belong to the section above it";
const UNCLOSED_QUOTES: &str = "these quotes are never closed";
const UNCLOSED_BRACKET: &str = "perhaps a `[` or `{` before is never closed";
const QUOTE_BRACKETS: &str =
    "inside of brackets, a value with `{`, `}`, `[`, `]` or `,` needs quotes";

/// Turns an error of the parser into ours.
pub(super) fn error(source: &Source, error: &ScanError) -> ConfigError {
    let lines = lines(source.text());
    let at = position(*error.marker());
    let meaning = MEANINGS.iter().find(|(part, ..)| error.info().contains(part));
    if let Some((NO_COLON | NO_KEY | MISPLACED_COLON, ..)) = meaning
        && let Some((span, message)) = key_without_colon(&lines, at)
    {
        return source.error_at(span, message).with_help("write `key: value`");
    }
    match meaning {
        Some((TAB, message, help)) => {
            let at = first_tab(&lines, at).unwrap_or(at);
            source.error_at(Span::at(at), *message).with_help(*help)
        }
        Some((_, message, "")) => source.error_at(Span::at(at), *message),
        Some((_, message, help)) => source.error_at(Span::at(at), *message).with_help(*help),
        None => source.error_at(Span::at(at), format!("not valid YAML: {}", error.info())),
    }
}

/// The parser counts columns from 0.
pub(super) fn position(marker: Marker) -> Position {
    Position { line: marker.line(), column: marker.col() + 1 }
}

/// The parser's span as ours.
pub(super) fn span(span: saphyr_parser::Span) -> Span {
    Span { start: position(span.start), end: position(span.end) }
}

/// The line before, when it looks like a key whose `:`, or the space behind it, was forgotten. The
/// parser takes such a line for the beginning of a longer value, and complains about the next.
fn key_without_colon(lines: &[&str], at: Position) -> Option<(Span, &'static str)> {
    let has_content = |line: &&str| !matches!(line.trim_start().chars().next(), None | Some('#'));
    let mut above = (1..at.line.min(lines.len() + 1))
        .rev()
        .map(|number| (number, lines[number - 1]))
        .filter(|(_, line)| has_content(line));
    let (number, line) = above.next()?;
    let indent = content_indent(line);
    let is_beside = lines.get(at.line - 1).is_none_or(|next| content_indent(next) <= indent);
    // A line that is deeper than the one above continues the value there.
    let begins_entry = above.next().is_none_or(|(_, before)| {
        let is_item = before.get(indent..).is_some_and(|rest| rest.starts_with("- "));
        (content_indent(before) >= indent && !is_item) || before.trim_end().ends_with(':')
    });
    let content = line[indent..].trim_end();
    let is_entry = content.contains(": ") || content.ends_with(':');
    if !is_beside || !begins_entry || is_entry || content.starts_with(['"', '\'', '[', '{']) {
        return None;
    }
    let start = line[..indent].chars().count() + 1;
    let place = |column| Position { line: number, column };
    let span = Span { start: place(start), end: place(start + content.chars().count()) };
    let has_colon = content.contains(':');
    Some((
        span,
        if has_colon { "a space must follow the `:`" } else { "expected a `:` behind the key" },
    ))
}

/// The first tab that indents a line. The parser notices some only where it stopped before them.
fn first_tab(lines: &[&str], at: Position) -> Option<Position> {
    (at.line..=lines.len()).find_map(|line| {
        let text = lines[line - 1];
        let blank = text.chars().take_while(|c| c.is_whitespace()).collect::<Vec<_>>();
        let tab = blank.iter().position(|c| *c == '\t')?;
        (!text.trim().is_empty()).then_some(Position { line, column: tab + 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The place and the message for a broken text.
    fn complaint(text: &str) -> (usize, usize, String) {
        let source = Source::new("f", text);
        let wrong = saphyr_parser::Parser::new_from_str(text).find_map(Result::err).unwrap();
        let error = error(&source, &wrong);
        (error.position().line, error.position().column, error.message().to_owned())
    }

    #[test]
    fn each_complaint_points_at_what_the_user_must_change() {
        for (text, line, column, message) in [
            ("a: 1\n\tb: 2", 2, 1, "a tab cannot be used for indentation"),
            ("a:\n  b: c\n\td: e\n", 3, 1, "a tab cannot be used for indentation"),
            ("a: |\n\tb\n", 2, 1, "a tab cannot be used for indentation"),
            ("a:\tb", 1, 4, "a space must follow the `:`"),
            ("a: b\nport 5\nc: d\n", 2, 1, "expected a `:` behind the key"),
            ("a: b\n\n# x\nport 5\n# y\n\nc: d\n", 4, 1, "expected a `:` behind the key"),
            ("port 5\nc: d\n", 1, 1, "expected a `:` behind the key"),
            ("port:5\nc: d\n", 1, 1, "a space must follow the `:`"),
            ("a:\n  port:5\n  c: d\n", 2, 3, "a space must follow the `:`"),
            ("a: b\nport 5", 2, 1, "expected a `:` behind the key"),
            ("a:\n  - b\n  c", 3, 4, "expected `key: value` before this place"),
            ("a: b: c", 1, 5, "a `:` is not allowed here"),
            ("a: b\n  c: d", 2, 4, "a `:` is not allowed here"),
            ("a: b\n  c\n  d: e", 3, 4, "a `:` is not allowed here"),
            ("a:\n    b:\n  c: d", 3, 3, OUTSIDE),
            (" a: b\nc: d", 2, 1, OUTSIDE),
            ("a: \"b\nc: d", 1, 4, UNCLOSED_QUOTES),
            ("a: 'b", 1, 4, UNCLOSED_QUOTES),
            ("a: 'it's'", 1, 8, "nothing may follow the closing quotes"),
            ("a: \"\\q\"", 1, 4, "there is no such escape in double quotes"),
            ("a: [b, c\n\n", 1, 9, "expected `,` or `]`"),
            ("a: {b: c\n", 1, 9, "expected `,` or `}`"),
            ("a: [b, c\nd: e\n", 2, 2, "a `:` is not allowed here"),
            ("{a: ${B}}", 1, 6, "expected `,` or `}`"),
            (&"[".repeat(300), 1, 256, "brackets stand too deep inside each other"),
            ("a: ]", 1, 4, "this bracket was never opened"),
            ("a: [", 1, 5, "expected a value"),
            ("a: *b", 1, 4, "there is no `&` anchor of this name before"),
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
