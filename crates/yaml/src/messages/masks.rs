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
    credentials, looks_like_a_secret_line, names_of_secrets, private_key,
};

/// Returns the spans of the literal secrets; `None` if the text is not valid YAML.
pub(crate) fn secret_spans(text: &str) -> Option<Vec<SourceSpan>> {
    let mut spans = Vec::new();
    visit_secrets(&tree::parse(text).ok()?, text, &mut |span| spans.push(span));
    Some(spans)
}

/// Returns the columns of line `number` to mask, sorted and without overlap. Columns and lines
/// count from 1.
pub(crate) fn masked_columns(
    secrets: Option<&[SourceSpan]>,
    lines: &[&str],
    number: usize,
) -> Vec<Range<usize>> {
    let Some(secrets) = secrets else {
        return Vec::from_iter(mask_by_look(lines, number - 1));
    };
    let line: Vec<char> = lines[number - 1].chars().collect();
    let parts = secrets.iter().filter_map(|&span| part_on_line(span, &line, number));
    let mut masks: Vec<_> = parts.collect();
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

/// Returns the part of a value that is on a line, for a value that may be a secret under a wrong key.
pub(crate) fn value_columns(value: &YamlNode, line: &str, number: usize) -> Option<Range<usize>> {
    let line: Vec<char> = line.chars().collect();
    // A value that is missing, or a block below its key, has the span of the key.
    part_on_line(value.span, &line, number).filter(|_| !value.bytes.is_empty())
}

/// Returns the columns to mask in a file that is not valid YAML, whose values belong to no key for certain:
/// those after the name of a secret, or the whole line if it may continue the secret of an earlier line.
fn mask_by_look(lines: &[&str], index: usize) -> Option<Range<usize>> {
    let (above, line) = (&lines[..index], lines[index]);
    let start = if may_continue_a_secret(above, line) {
        line.len() - line.trim_start().len()
    } else {
        let after_name = names_of_secrets(line).next().and_then(|(_, end)| {
            let is_value = |c| !matches!(c, '"' | '\'' | ':' | '=' | ' ' | '\t');
            line[end..].find(is_value).map(|start| end + start)
        });
        [after_name, credentials(line), private_key(line)].into_iter().flatten().min()?
    };
    Some(line[..start].chars().count() + 1..line.chars().count() + 1)
}

/// Returns whether a line may be a part of a secret in the lines `above`. Its indentation proves little: a
/// wrong one may be the error.
fn may_continue_a_secret(above: &[&str], line: &str) -> bool {
    // Lines above such a line do not belong to its section, even if the indentation is wrong.
    let section = above.iter().rposition(|line| begins_top_section(line)).unwrap_or(0);
    let is_named = |line: &&str| names_of_secrets(line).next().is_some();
    above[section..].iter().any(|line| is_open_secret(line))
        || is_below(above, content_indent(line), |line| is_named(&line))
        || (!has_key(line) && above[section..].iter().any(is_named))
}

/// Returns whether a line is a key without a value at the top of the file.
fn begins_top_section(line: &str) -> bool {
    let is_key = !line.starts_with([' ', '\t', '-', '#']);
    is_key && without_comment(line).ends_with(':')
}

fn has_key(line: &str) -> bool {
    let line = without_comment(line);
    line.contains(": ") || line.ends_with(':')
}

fn without_comment(line: &str) -> &str {
    let end = if line.starts_with('#') { Some(0) } else { line.find(" #") };
    line[..end.unwrap_or(line.len())].trim_end()
}

/// Returns whether a secret that is named on this line has its value, or a part of it, in later lines.
fn is_open_secret(line: &str) -> bool {
    if private_key(line).is_some() {
        return true;
    }
    let count = |characters: &[char]| line.matches(characters).count();
    names_of_secrets(line).any(|(_, end)| {
        let value = line[end..].trim_start_matches(['"', '\'']).trim_start_matches([':', '=']);
        let value = value.trim();
        let is_elsewhere = value.is_empty() || value.starts_with(['#', '|', '>', '&', '!']);
        let is_quoted = |quote| value.starts_with(quote) && value.matches(quote).count() % 2 == 1;
        is_elsewhere || is_quoted('"') || is_quoted('\'') || count(&['[', '{']) > count(&[']', '}'])
    })
}

/// Returns whether a line with this indentation belongs to a section whose first line `is_secret`.
fn is_below(above: &[&str], mut indent: usize, is_secret: impl Fn(&str) -> bool) -> bool {
    above.iter().rev().filter(|line| !line.trim().is_empty()).any(|line| {
        let is_around = content_indent(line) < indent;
        indent = indent.min(content_indent(line));
        is_around && is_secret(line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::position::lines;

    /// Returns every line of `text` with masked characters replaced by `#`.
    fn masked(text: &str) -> Vec<String> {
        let lines = lines(text);
        let secrets = secret_spans(text);
        let masked = |(number, line): (usize, &&str)| {
            let masks = masked_columns(secrets.as_deref(), &lines, number);
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
                "####",
                "############",
                "  #######",
                "#"
            ]
        );
    }

    #[test]
    fn a_secret_within_open_brackets_or_quotes_is_masked_in_an_invalid_file() {
        for (text, line) in [
            ("admin: {users: {alice: hunter2}\nx: y", 0),
            ("users: {alice: hunter2, bob: \"\n", 0),
            ("users: {\nalice: hunter2\n", 1),
            ("headers: {X-Key: hunter2\n", 0),
            ("tokens: [hunter2\nhunter3, x\n", 1),
            ("password: 'hunter2\nhunter3\n", 1),
            ("a: |\n-----BEGIN PRIVATE KEY-----\nhunter2\n", 1),
            ("a: |\n-----BEGIN PRIVATE KEY-----\nhunter2\n", 2),
        ] {
            let line = &masked(text)[line];
            assert!(line.ends_with('#') && !line.contains("hunter"), "{text}: {line}");
        }
    }

    #[test]
    fn a_secret_with_a_wrong_indentation_is_masked_in_an_invalid_file() {
        for (text, line) in [
            ("a:\n  users:\n alice: hunter2\n", 2),
            ("a:\n  users:\n    alice: x\n bob: hunter2\n", 3),
            ("a:\n  users:\n    alice: x\n  bob: hunter2: y\n", 3),
            ("a:\n  users: # x\nbob: hunter2: y\n", 2),
            ("a:\n  password:\n  hunter2\n  b: c\n", 2),
            ("a:\n  password: hun\n  ter2\n  b: c\n", 2),
            ("a:\n  - tokens:\n  - hunter2: x: y\n", 2),
        ] {
            let line = &masked(text)[line];
            assert!(line.trim().bytes().all(|byte| byte == b'#'), "{text}: {line}");
        }
        // The next section at the top of the file has nothing of this one.
        let text = "a:\n  users:\n    alice: x\nb:\n  c: d: e\n";
        assert_eq!(masked(text)[4], "  c: d: e");
    }

    #[test]
    fn an_invalid_file_masks_the_rest_of_a_secret_after_open_quotes_or_brackets() {
        assert_eq!(masked("token: \"ab\nc\" d\n}")[1], "####");
        assert_eq!(masked("token: 'ab\nc' d\n}")[1], "####");
        assert_eq!(
            masked("a: {token: ab\nc, d: e\nf: g}\n}"),
            ["a: {token: ##", "#######", "#####", "#"]
        );
    }
}
