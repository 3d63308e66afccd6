//! Parses a page in Prometheus' text format into families, and writes the families in the style of
//! the exporters for Kamailio.

use std::collections::HashMap;

use crate::format::number;

/// The types that a `TYPE` line may name.
const TYPES: [&str; 5] = ["counter", "gauge", "histogram", "summary", "untyped"];

/// All samples of one metric.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ForeignFamily {
    name: String,
    /// The type, as a `TYPE` line states it.
    word: &'static str,
    help: Option<String>,
    /// The samples, each a line with its line feed.
    samples: Vec<u8>,
}

/// The error for a page that cannot be parsed: the line number, from 1, and the problem.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub(super) struct Unreadable {
    line: usize,
    reason: &'static str,
}

/// Parses a page; each family stands at the position of its first line. An error anywhere rejects
/// the whole page, because the error may have changed the meaning of the lines around it.
pub(super) fn parse(page: &str) -> Result<Vec<ForeignFamily>, Unreadable> {
    let mut families = Families::default();
    for (index, line) in page.lines().enumerate() {
        families.line(line.trim()).map_err(|reason| Unreadable { line: index + 1, reason })?;
    }
    let mut all = families.all;
    // Families with only `HELP` or `TYPE` lines are dropped: a name without samples is no reason to
    // report a clash with tallyd's names.
    all.retain(|family| !family.samples.is_empty());
    Ok(all)
}

impl ForeignFamily {
    /// Returns the names that the family's samples can have.
    pub(super) fn names(&self) -> impl Iterator<Item = String> + '_ {
        let ends: &[&str] = match self.word {
            "histogram" => &["", "_bucket", "_sum", "_count"],
            "summary" => &["", "_sum", "_count"],
            _ => &[""],
        };
        ends.iter().map(|end| format!("{}{end}", self.name))
    }

    /// Returns the name of the family.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Appends the family's lines to `out`.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        if let Some(help) = &self.help {
            for part in ["# HELP ", &self.name, " ", help, "\n"] {
                out.extend_from_slice(part.as_bytes());
            }
        }
        for part in ["# TYPE ", &self.name, " ", self.word, "\n"] {
            out.extend_from_slice(part.as_bytes());
        }
        out.extend_from_slice(&self.samples);
    }
}

#[derive(Default)]
struct Families {
    all: Vec<ForeignFamily>,
    /// Indexes into `all`, by name.
    places: HashMap<String, usize>,
}

impl Families {
    fn line(&mut self, line: &str) -> Result<(), &'static str> {
        if line.is_empty() {
            return Ok(());
        }
        match line.strip_prefix('#') {
            Some(comment) => self.comment(comment),
            None => self.sample(line),
        }
    }

    /// Reads the rest of a line after `#`: `HELP name text`, `TYPE name type`, or a comment.
    fn comment(&mut self, comment: &str) -> Result<(), &'static str> {
        let (word, rest) = cut_blank(comment.trim_start());
        if !matches!(word, "HELP" | "TYPE") {
            return Ok(());
        }
        let (name, rest) = cut_blank(rest);
        if !is_name(name) {
            return Err("no name of a metric after HELP or TYPE");
        }
        let place = self.place(name);
        let family = &mut self.all[place];
        if word == "HELP" {
            family.help = Some(rest.to_owned());
            return Ok(());
        }
        // The earlier samples have been assigned to families as if the metric had no type.
        if !family.samples.is_empty() {
            return Err("a TYPE after samples of its metric");
        }
        let known = TYPES.iter().find(|known| rest.eq_ignore_ascii_case(known));
        family.word = known.ok_or("a type that does not exist")?;
        Ok(())
    }

    /// Reads `name{label="value",…} value timestamp`.
    fn sample(&mut self, line: &str) -> Result<(), &'static str> {
        let end = line.find(|c: char| !is_name_char(c)).unwrap_or(line.len());
        let (name, rest) = line.split_at(end);
        if !is_name(name) {
            return Err("no name of a metric");
        }
        let place = self.place_of_sample(name);
        let out = &mut self.all[place].samples;
        let start = out.len();
        out.extend_from_slice(name.as_bytes());
        let rest = rest.trim_start();
        let rest = match rest.strip_prefix('{') {
            Some(labels) => write_labels(out, labels)?,
            None => rest,
        };
        let (value, timestamp) = cut_blank(rest.trim_start());
        let value: f64 = value.parse().map_err(|_| "no number after the name")?;
        out.push(b' ');
        write_number(out, value);
        if !timestamp.is_empty() {
            let timestamp: i64 = timestamp.parse().map_err(|_| "no timestamp after the number")?;
            out.extend_from_slice(format!(" {timestamp}").as_bytes());
        }
        out.push(b'\n');
        debug_assert!(out.len() > start);
        Ok(())
    }

    /// Returns the index of a sample's family. A suffix such as `_sum` belongs to a histogram or
    /// summary only if a `TYPE` line has declared one; otherwise it is part of another metric's
    /// name.
    fn place_of_sample(&mut self, name: &str) -> usize {
        for (end, words) in [
            ("_bucket", &["histogram"][..]),
            ("_sum", &["histogram", "summary"]),
            ("_count", &["histogram", "summary"]),
        ] {
            let Some(base) = name.strip_suffix(end) else { continue };
            if let Some(place) = self.places.get(base)
                && words.contains(&self.all[*place].word)
            {
                return *place;
            }
        }
        self.place(name)
    }

    /// Returns the index of the family with this name, which is added if it is new.
    fn place(&mut self, name: &str) -> usize {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let place = self.all.len();
        self.places.insert(name.to_owned(), place);
        let (name, samples) = (name.to_owned(), Vec::new());
        // The type that the text format assumes for a metric without a `TYPE` line.
        self.all.push(ForeignFamily { name, word: "untyped", help: None, samples });
        place
    }
}

/// Appends the labels with their braces and returns the text after the closing brace. Empty braces
/// are left out.
fn write_labels<'a>(out: &mut Vec<u8>, labels: &'a str) -> Result<&'a str, &'static str> {
    let mut rest = labels.trim_start();
    let mut separator = b'{';
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            // Labels were written: after the opening brace, the separator has become a comma.
            if separator == b',' {
                out.push(b'}');
            }
            return Ok(after);
        }
        let (label, after) = rest.split_once('=').ok_or("a label without a value")?;
        let label = label.trim_end();
        if !is_name(label) || label.contains(':') {
            return Err("a label with an invalid name");
        }
        let value = after.trim_start().strip_prefix('"').ok_or("a label without quotes")?;
        let end =
            end_of_value(value).ok_or("a label value without an end or with an invalid escape")?;
        out.push(separator);
        // Both formats have the same escapes, so the value is copied.
        for part in [label, "=\"", &value[..end], "\""] {
            out.extend_from_slice(part.as_bytes());
        }
        separator = b',';
        rest = value[end + 1..].trim_start();
        if let Some(after) = rest.strip_prefix(',') {
            rest = after.trim_start();
        } else if !rest.starts_with('}') {
            return Err("no comma between labels");
        }
    }
}

/// Returns the position of the closing quote of a label value; `None` if it is missing or if an
/// escape before it is invalid.
fn end_of_value(value: &str) -> Option<usize> {
    let bytes = value.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return Some(at),
            b'\\' if matches!(bytes.get(at + 1), Some(b'\\' | b'"' | b'n')) => at += 2,
            b'\\' => return None,
            _ => at += 1,
        }
    }
    None
}

fn write_number(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    } else {
        number::write_as_go(out, value);
    }
}

/// Returns the first word and the text after the blanks that follow it.
fn cut_blank(text: &str) -> (&str, &str) {
    match text.split_once([' ', '\t']) {
        Some((word, rest)) => (word, rest.trim_start()),
        None => (text, ""),
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.chars().all(is_name_char)
        && !name.starts_with(|first: char| first.is_ascii_digit())
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | ':')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(page: &str) -> Result<String, String> {
        let mut out = Vec::new();
        let families = parse(page).map_err(|error| error.to_string())?;
        families.iter().for_each(|family| family.write(&mut out));
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_parsed_page_is_written_family_by_family() {
        let page = "# User defined metrics\n\
            \n\
            a_total{x=\"1\", y = \"}\\\"\\\\\\n\",} 467000000000 1795232836078\n\
            b -2.500000\r\n\
            # HELP h How long \\\\ it took\n\
            # TYPE h histogram\n\
            h_bucket{le=\"+Inf\"} 3\n\
            a_total{} 7\n\
            h_sum 1e-9\n\
            h_count\t3\n\
            # TYPE never gauge\n\
            h_other NaN\n\
            b_bucket +Inf\n";
        assert_eq!(
            written(page).unwrap(),
            "# TYPE a_total untyped\n\
             a_total{x=\"1\",y=\"}\\\"\\\\\\n\"} 4.67e+11 1795232836078\n\
             a_total 7\n\
             # TYPE b untyped\nb -2.5\n\
             # HELP h How long \\\\ it took\n# TYPE h histogram\n\
             h_bucket{le=\"+Inf\"} 3\nh_sum 1e-09\nh_count 3\n\
             # TYPE h_other untyped\nh_other NaN\n\
             # TYPE b_bucket untyped\nb_bucket +Inf\n"
        );
    }

    #[test]
    fn an_error_in_a_page_has_its_line() {
        for (page, reason) in [
            ("a 1\nb", "line 2: no number after the name"),
            ("<html>", "line 1: no name of a metric"),
            ("a{b} 1", "line 1: a label without a value"),
            ("a{b=c} 1", "line 1: a label without quotes"),
            ("a{b=\"c} 1", "line 1: a label value without an end or with an invalid escape"),
            ("a{b=\"\\c\"} 1", "line 1: a label value without an end or with an invalid escape"),
            ("a{b=\"c\" d=\"e\"} 1", "line 1: no comma between labels"),
            ("a{1=\"c\"} 1", "line 1: a label with an invalid name"),
            ("a 1 now", "line 1: no timestamp after the number"),
            ("a 1\n# TYPE a gauge", "line 2: a TYPE after samples of its metric"),
            ("# TYPE a level", "line 1: a type that does not exist"),
            ("# TYPE 9 gauge", "line 1: no name of a metric after HELP or TYPE"),
        ] {
            assert_eq!(written(page).unwrap_err(), reason, "{page}");
        }
    }

    proptest! {
        #[test]
        fn a_rewritten_page_parses_to_the_same_metrics(page in "([a#{}=\", \\\\1\nTYPEHL_+-]|TYPE a |a\\{b=\"c\"\\} 1){0,40}") {
            if let Ok(once) = written(&page) {
                prop_assert_eq!(written(&once).unwrap(), once);
            }
        }
    }
}
