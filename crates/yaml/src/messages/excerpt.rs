//! The line of a file that an error shows: masked, cut to a readable length, with carets below.

use std::iter;
use std::ops::Range;

use crate::values::quote::MASK;

/// Maximum number of characters of a line in an error.
const LINE_CHARS_MAX: usize = 120;
/// Number of characters in front of the carets that a cut keeps.
const CHARS_BEFORE_CARET: usize = 40;
/// The replacement for a tab, so that the carets below have the same width.
const TAB: &str = "    ";

/// A printable line and the carets below its invalid part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Excerpt {
    /// The line, without its line break.
    pub(crate) line: String,
    /// The carets, indented to the invalid part.
    pub(crate) carets: String,
}

impl Excerpt {
    /// Creates the excerpt of `line` with carets below `columns`. Columns count from 1, with an
    /// exclusive end; the `masks` are sorted and do not overlap.
    pub(crate) fn new(line: &[char], columns: Range<usize>, masks: &[Range<usize>]) -> Self {
        let mut shown = Vec::with_capacity(line.len());
        // The position in `shown` of each column.
        let mut offsets = Vec::with_capacity(line.len() + 1);
        let end = line.len() + 1..line.len() + 1;
        for mask in masks.iter().chain(iter::once(&end)) {
            for character in &line[offsets.len()..mask.start - 1] {
                offsets.push(shown.len());
                push_printable(&mut shown, *character);
            }
            offsets.extend(iter::repeat_n(shown.len(), mask.len()));
            shown.extend(MASK.chars().filter(|_| !mask.is_empty()));
        }
        offsets.push(shown.len());
        let start = offsets[(columns.start - 1).min(line.len())];
        let inside = masks.iter().find(|m| m.start < columns.end && columns.end < m.end);
        let end = offsets[(inside.map_or(columns.end, |mask| mask.end) - 1).min(line.len())];
        cut(&shown, start..end.max(start + 1))
    }
}

/// Appends a character, replaced if a terminal would obey it.
fn push_printable(shown: &mut Vec<char>, character: char) {
    match character {
        '\t' => shown.extend(TAB.chars()),
        c if c.is_control() => shown.push('\u{fffd}'),
        c => shown.push(c),
    }
}

/// Cuts a long line around the carets.
fn cut(shown: &[char], carets: Range<usize>) -> Excerpt {
    let last_start = shown.len().saturating_sub(LINE_CHARS_MAX);
    let start = carets.start.saturating_sub(CHARS_BEFORE_CARET).min(last_start);
    let end = shown.len().min(start + LINE_CHARS_MAX);
    let before = if start > 0 { "…" } else { "" };
    let after = if end < shown.len() { "…" } else { "" };
    let line: String = shown[start..end].iter().collect();
    let width = carets.end.min(end.max(carets.start + 1)) - carets.start;
    let margin = carets.start - start + before.chars().count();
    Excerpt {
        line: format!("{before}{line}{after}"),
        carets: " ".repeat(margin) + &"^".repeat(width),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt(line: &str, columns: Range<usize>, masks: &[Range<usize>]) -> (String, String) {
        let line: Vec<char> = line.chars().collect();
        let excerpt = Excerpt::new(&line, columns, masks);
        (excerpt.line, excerpt.carets)
    }

    #[test]
    fn a_mask_hides_the_length_and_shifts_the_carets_after_it() {
        let whole = "{token: secret, a: b}";
        let (line, carets) = excerpt(whole, 20..21, std::slice::from_ref(&(9..15)));
        assert_eq!(line, "{token: ***, a: b}");
        assert_eq!(carets, "                ^");
        let (_, carets) = excerpt(whole, 11..12, std::slice::from_ref(&(9..15)));
        assert_eq!(carets, "        ^^^");
    }

    #[test]
    fn a_tab_is_as_wide_above_as_below_and_control_characters_are_replaced() {
        let (line, carets) = excerpt("\ta\u{1b}[2J: b", 8..9, &[]);
        assert_eq!(line, "    a\u{fffd}[2J: b");
        assert_eq!(carets, " ".repeat(10) + "^");
    }

    #[test]
    fn a_long_line_is_cut_around_the_carets() {
        let long = format!("{}X{}", "a".repeat(300), "b".repeat(300));
        let (line, carets) = excerpt(&long, 301..302, &[]);
        assert_eq!(line.chars().count(), LINE_CHARS_MAX + 2);
        assert_eq!(line.chars().nth(carets.len() - 1), Some('X'));
        let (line, carets) = excerpt(&long, 1..602, &[]);
        assert!(line.starts_with("aaa") && line.ends_with('…'));
        assert_eq!(carets.len(), LINE_CHARS_MAX);
        let (line, carets) = excerpt(&long, 602..602, &[]);
        assert!(line.starts_with('…') && line.ends_with('b'));
        assert_eq!(carets.len(), LINE_CHARS_MAX + 2);
    }
}
