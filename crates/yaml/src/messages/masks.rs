//! Decides which columns of a line an error must mask.
//!
//! A literal value below a key that is named like a secret is masked. If the parser understands the
//! file, exactly these values are masked. Otherwise, the lines are masked by their appearance,
//! rather too much than too little.

use std::ops::Range;

use crate::read::position::{SourceSpan, content_indent};
use crate::read::tree::{self, YamlNode};
use crate::values::interpolate::is_bare_reference;
use crate::values::secrets::{
    credentials, is_password_section, looks_like_a_secret_line, secret_words,
};

/// Returns the columns of line `number` to mask, sorted and without overlap. Columns and lines
/// count from 1.
pub(crate) fn masked_columns(text: &str, lines: &[&str], number: usize) -> Vec<Range<usize>> {
    let Ok(root) = tree::parse(text) else {
        return Vec::from_iter(mask_by_look(lines, number - 1));
    };
    let line: Vec<char> = lines[number - 1].chars().collect();
    let mut masks = Vec::new();
    visit_secrets(&root, text, &mut |span| masks.extend(part_on_line(span, &line, number)));
    masks.sort_by_key(|mask| mask.start);
    // Each use of an alias repeats its secrets.
    masks.dedup();
    masks
}

/// Calls `visit` with the span of each literal secret.
fn visit_secrets(node: &YamlNode, text: &str, visit: &mut impl FnMut(SourceSpan)) {
    let is_secret = node.scalar().is_some_and(|scalar| {
        let is_alias = text[node.bytes.start..].starts_with('*');
        let is_shown = is_alias || scalar.text.is_empty() || is_bare_reference(&scalar.text);
        (scalar.is_secret || looks_like_a_secret_line(&scalar.text)) && !is_shown
    });
    if is_secret {
        visit(node.span);
    }
    for (_, _, child) in node.children() {
        visit_secrets(child, text, visit);
    }
}

/// Returns the part of a span that is on a line, without surrounding blanks.
fn part_on_line(span: SourceSpan, line: &[char], number: usize) -> Option<Range<usize>> {
    let (start, end) = (span.start.line, span.end.line);
    let from = if start == number { span.start.column - 1 } else { 0 };
    let to = if end == number { span.end.column - 1 } else { line.len() };
    let inside = line.get(from..to).filter(|_| (start..=end).contains(&number))?;
    let first = inside.iter().position(|c| !c.is_whitespace())?;
    let last = inside.iter().rposition(|c| !c.is_whitespace())?;
    Some(from + first + 1..from + last + 2)
}

/// Returns the columns to mask in a file that is not valid YAML: those after the name of a secret,
/// or the whole line if it may continue a secret of an earlier line.
fn mask_by_look(lines: &[&str], index: usize) -> Option<Range<usize>> {
    let (above, line) = (&lines[..index], lines[index]);
    let indent = content_indent(line);
    let is_secret = is_below(above, indent, |line| secret_words(line).next().is_some())
        || is_below(above, indent, begins_password_section);
    let start = if is_secret || is_after_a_secret(above) {
        line.len() - line.trim_start().len()
    } else {
        let after_name = secret_words(line).next().and_then(|(_, end)| {
            let is_value = |c| !matches!(c, '"' | '\'' | ':' | '=' | ' ' | '\t');
            line[end..].find(is_value).map(|start| end + start)
        });
        [after_name, credentials(line)].into_iter().flatten().min()?
    };
    Some(line[..start].chars().count() + 1..line.chars().count() + 1)
}

/// Returns whether a line with this indentation belongs to a section whose first line `is_secret`.
fn is_below(above: &[&str], mut indent: usize, is_secret: impl Fn(&str) -> bool) -> bool {
    above.iter().rev().filter(|line| !line.trim().is_empty()).any(|line| {
        let is_around = content_indent(line) < indent;
        indent = indent.min(content_indent(line));
        is_around && is_secret(line)
    })
}

fn begins_password_section(line: &str) -> bool {
    let key = line.trim_start_matches([' ', '\t', '-']).split(':').next().unwrap_or_default();
    is_password_section(key.trim_matches(['"', '\'', ' ']))
}

/// Returns whether the last secret in the lines `above` may continue, because its quotes or
/// brackets are open.
fn is_after_a_secret(above: &[&str]) -> bool {
    let last = above.iter().rposition(|line| secret_words(line).next().is_some());
    let Some(text) = last.map(|last| above[last..].join("\n")) else { return false };
    let value = secret_words(&text).next().map_or("", |(_, end)| &text[end..]);
    let value = value.trim_start_matches(['"', '\'']).trim_start_matches([':', '=', ' ', '\t']);
    let count = |characters: &[char]| text.matches(characters).count();
    let is_quoted = |quote| value.starts_with(quote) && value.matches(quote).count() % 2 == 1;
    is_quoted('"') || is_quoted('\'') || count(&['[', '{']) > count(&[']', '}'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::position::lines;

    /// Returns every line of `text` with masked characters replaced by `#`.
    fn masked(text: &str) -> Vec<String> {
        let lines = lines(text);
        let masked = |(number, line): (usize, &&str)| {
            let masks = masked_columns(text, &lines, number);
            let shown =
                |(column, c)| if masks.iter().any(|m| m.contains(&column)) { '#' } else { c };
            (1..).zip(line.chars()).map(shown).collect()
        };
        (1..).zip(&lines).map(masked).collect()
    }

    #[test]
    fn passwords_of_users_are_masked_and_lists_of_users_are_not() {
        let users = "users:\n  alice: abc\n  bob: |\n    ab\n";
        let masks = ["users:", "  alice: ###", "  bob: |", "    ##", ""];
        assert_eq!(masked(users), masks);
        assert_eq!(masked("users: [abc]\n")[0], "users: [abc]");
        assert_eq!(
            masked("cert: |\n  -----BEGIN PRIVATE KEY-----\n")[1].trim_matches([' ', '#']),
            ""
        );
        let invalid = masked("basic_auth_users:\n  alice: abc\n]\n");
        assert_eq!(invalid[1], "  ##########");
    }

    #[test]
    fn a_valid_file_has_exactly_its_secret_values_masked() {
        assert_eq!(
            masked(
                "token: abc # x\na: {my_token: abc, b: c}\npassword: 'a b'\napikey:\n  - ab\n  - c: de\nx: abc\n"
            ),
            [
                "token: ### # x",
                "a: {my_token: ###, b: c}",
                "password: #####",
                "apikey:",
                "  - ##",
                "  - c: ##",
                "x: abc",
                ""
            ]
        );
    }

    #[test]
    fn a_value_of_several_lines_is_masked_on_each() {
        assert_eq!(
            masked("token: |\n  abc\n  def\nx: y\nsecret: \"a\n  b\"\npassword: ab\n  cd\nz: 1"),
            [
                "token: |",
                "  ###",
                "  ###",
                "x: y",
                "secret: ##",
                "  ##",
                "password: ##",
                "  ##",
                "z: 1"
            ]
        );
    }

    #[test]
    fn a_reference_is_shown_but_its_default_is_not() {
        assert_eq!(masked("token: ${TOKEN}"), ["token: ${TOKEN}"]);
        assert_eq!(masked("token: ${TOKEN:-abc}"), ["token: #############"]);
    }

    #[test]
    fn a_missing_space_or_colon_reveals_no_secret() {
        assert_eq!(masked("kafka:\n  apikey:0123"), ["kafka:", "  ###########"]);
        assert_eq!(masked("kafka:\n  apikey 0123"), ["kafka:", "  ###########"]);
        assert_eq!(masked("note: the token of the day"), ["note: the token of the day"]);
    }

    #[test]
    fn an_invalid_file_masks_too_much_rather_than_too_little() {
        assert_eq!(
            masked("a: {token: abc, b: c}\ntoken: |\n  abc\nx: y\n- token: abc\n  name: x\n}"),
            [
                "a: {token: ##########",
                "token: #",
                "  ###",
                "x: y",
                "- token: ###",
                "  name: x",
                "}"
            ]
        );
    }

    #[test]
    fn an_invalid_file_masks_the_rest_of_a_secret_after_open_quotes_or_brackets() {
        assert_eq!(masked("token: \"ab\nc\" d\n}")[1], "####");
        assert_eq!(masked("token: 'ab\nc' d\n}")[1], "####");
        assert_eq!(
            masked("a: {token: ab\nc, d: e\nf: g}\n}"),
            ["a: {token: ##", "#######", "#####", "}"]
        );
    }
}
