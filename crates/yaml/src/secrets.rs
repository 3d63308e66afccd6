//! Decides which parts of a file must not be shown.
//!
//! A literal value below a key that is named like a secret is masked. Where the parser
//! understands the file, it says exactly where such values stand. Where it gives up, we mask by
//! the look of the lines, and rather too much.

use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::interpolate::is_bare_reference;
use super::source::{Span, content_indent};
use super::syntax;

/// How the name of a secret's key ends, in any case.
const SECRET_ENDINGS: [&str; 4] = ["apikey", "password", "token", "secret"];

/// Slips of the pen with which a name still counts as one of these: a wrong key is shown in its
/// line, with what was meant to be its secret.
const SLIPS_MAX: usize = 2;

/// Whether the value of this key is a secret, also where its name has a slip.
pub(super) fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let word = key.rsplit(['_', '-', '.']).next().unwrap_or_default();
    SECRET_ENDINGS.iter().any(|ending| {
        // In a short word two slips make another word.
        let slips = SLIPS_MAX.min(ending.len() / 4);
        key.ends_with(ending) || strsim::osa_distance(word, ending) <= slips
    })
}

/// Whether a value looks like `apikey:0123`, where someone forgot the space, or like
/// `apikey 0123`, where someone forgot the colon.
pub(super) fn looks_like_a_secret_line(text: &str) -> bool {
    secret_words(text).any(|(start, end)| {
        let behind = text[end..].trim_start_matches(['"', '\'', ' ', '\t']);
        behind.starts_with([':', '=']) || (text[..start].trim().is_empty() && !behind.is_empty())
    })
}

/// The columns of line `number` to mask, in order and apart. Columns and lines count from 1.
pub(super) fn masked_columns(text: &str, lines: &[&str], number: usize) -> Vec<Range<usize>> {
    let line: Vec<char> = lines[number - 1].chars().collect();
    let mut masks = Vec::new();
    let understood = visit_secrets(text, |span| masks.extend(part_on_line(span, &line, number)));
    if !understood {
        masks.extend(mask_by_look(lines, number - 1));
    }
    masks.sort_by_key(|mask| mask.start);
    masks.dedup_by(|next, mask| {
        let touches = next.start < mask.end;
        if touches {
            mask.end = mask.end.max(next.end);
        }
        touches
    });
    masks
}

/// The part of a span that lies on a line, without blanks around.
fn part_on_line(span: Span, line: &[char], number: usize) -> Option<Range<usize>> {
    if !(span.start.line..=span.end.line).contains(&number) {
        return None;
    }
    let start = if span.start.line == number { span.start.column - 1 } else { 0 };
    let end = if span.end.line == number { span.end.column - 1 } else { line.len() };
    let start = start.min(line.len());
    let inside = &line[start..end.clamp(start, line.len())];
    let first = inside.iter().position(|c| !c.is_whitespace())?;
    let last = inside.iter().rposition(|c| !c.is_whitespace())?;
    Some(start + first + 1..start + last + 2)
}

/// Tells `found` where each literal secret of the file stands. Returns whether the parser
/// understood the whole file.
fn visit_secrets(text: &str, mut found: impl FnMut(Span)) -> bool {
    let mut walk = Walk::default();
    for event in Parser::new_from_str(text) {
        let Ok((event, span)) = event else { return false };
        if walk.take(&event) {
            found(syntax::span(span));
        }
    }
    true
}

/// Follows the events of a file to know which values belong to the key of a secret.
#[derive(Default)]
struct Walk {
    /// The collections that are open, outermost first.
    levels: Vec<Level>,
}

struct Level {
    is_secret: bool,
    next: Next,
}

/// What comes next in a collection.
#[derive(Clone, Copy)]
enum Next {
    Item,
    Key,
    Value { is_secret: bool },
}

impl Walk {
    /// Takes one event. Says whether it is a literal value that must not be shown.
    fn take(&mut self, event: &Event<'_>) -> bool {
        match event {
            Event::Scalar(text, style, ..) => {
                let (is_key, is_secret) = self.step(Some(text));
                let is_empty = *style == ScalarStyle::Plain && text.is_empty();
                let is_secret = is_secret || looks_like_a_secret_line(text);
                return is_secret && !is_key && !is_empty && !is_bare_reference(text);
            }
            Event::Alias(_) => {
                self.step(None);
            }
            Event::SequenceStart(..) => self.enter(Next::Item),
            Event::MappingStart(..) => self.enter(Next::Key),
            Event::SequenceEnd | Event::MappingEnd => {
                self.levels.pop();
            }
            _ => {}
        }
        false
    }

    fn enter(&mut self, next: Next) {
        let (_, is_secret) = self.step(None);
        self.levels.push(Level { is_secret, next });
    }

    /// Moves past a key or a value, which is `text` if it is a scalar. Returns whether it is a
    /// key, and whether it belongs to the key of a secret.
    fn step(&mut self, text: Option<&str>) -> (bool, bool) {
        let Some(level) = self.levels.last_mut() else { return (false, false) };
        match level.next {
            Next::Item => (false, level.is_secret),
            Next::Key => {
                level.next = Next::Value { is_secret: text.is_some_and(is_secret_key) };
                (true, level.is_secret)
            }
            Next::Value { is_secret } => {
                level.next = Next::Key;
                (false, level.is_secret || is_secret)
            }
        }
    }
}

/// What to mask of a line in a file that is not valid YAML: what follows the name of a secret, or
/// the whole line when it may continue a secret from a line above.
fn mask_by_look(lines: &[&str], index: usize) -> Option<Range<usize>> {
    let line = lines[index];
    let columns = |from: usize| {
        let start = line[..from].chars().count() + 1;
        start..line.chars().count() + 1
    };
    let mut indent = content_indent(line);
    for above in lines[..index].iter().rev().filter(|above| !above.trim().is_empty()) {
        if content_indent(above) >= indent {
            continue;
        }
        indent = content_indent(above);
        if secret_words(above).next().is_some() {
            return Some(columns(line.len() - line.trim_start().len()));
        }
    }
    let (_, end) = secret_words(line).next()?;
    let value = line[end..].find(|c| !matches!(c, '"' | '\'' | ':' | '=' | ' ' | '\t'))?;
    Some(columns(end + value))
}

/// Where words stand that are named like a secret's key and do not end the line.
fn secret_words(line: &str) -> impl Iterator<Item = (usize, usize)> {
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    let mut rest = 0;
    std::iter::from_fn(move || {
        let start = rest + line[rest..].find(is_word)?;
        let end = line[start..].find(|c| !is_word(c)).map_or(line.len(), |width| start + width);
        rest = end;
        Some((start, end))
    })
    .filter(|&(start, end)| is_secret_key(&line[start..end]))
}

#[cfg(test)]
mod tests {
    use super::super::source::lines;
    use super::*;

    /// Every line of `text` with what is masked replaced by `#`.
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
    fn keys_are_secret_by_their_ending_in_any_case() {
        for key in [
            "token",
            "kafka_apikey",
            "API_TOKEN",
            "dbPassword",
            "client-secret",
            "pasword",
            "passwd",
            "kafka_apikye",
            "tokn",
        ] {
            assert!(is_secret_key(key), "{key}");
        }
        for key in ["kafka_topic", "", "to", "secret_name", "ütoken_", "select", "address", "key"]
        {
            assert!(!is_secret_key(key), "{key}");
        }
    }

    #[test]
    fn in_a_valid_file_exactly_the_values_are_masked() {
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
    fn a_forgotten_space_or_colon_gives_nothing_away() {
        assert_eq!(masked("kafka:\n  apikey:0123"), ["kafka:", "  ###########"]);
        assert_eq!(masked("kafka:\n  apikey 0123"), ["kafka:", "  ###########"]);
        assert_eq!(masked("note: the token of the day"), ["note: the token of the day"]);
    }

    #[test]
    fn in_a_broken_file_rather_too_much_is_masked() {
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
}
