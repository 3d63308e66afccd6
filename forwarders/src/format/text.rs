//! One line per point for people: `TIME KIND NAME tag=value … field=value …`.

use basics::escape::is_deceptive;
use basics::time::write_rfc3339;
use model::{MetricKind, Point, Series, Snapshot};

use super::{json, number};

/// Writes the points of one window, whose time it formats once.
#[derive(Debug)]
pub struct TextLines<'a> {
    snapshot: &'a Snapshot,
    /// Time and kind, by kind.
    heads: [Vec<u8>; MetricKind::ALL.len()],
}

impl<'a> TextLines<'a> {
    /// Creates a writer for the points of a window.
    #[must_use]
    pub fn new(snapshot: &'a Snapshot) -> Self {
        let mut time = Vec::new();
        write_rfc3339(&mut time, snapshot.window.end_ms);
        let head = |kind: MetricKind| [&*time, b" ", kind.as_str().as_bytes(), b" "].concat();
        Self { snapshot, heads: MetricKind::ALL.map(head) }
    }

    /// Appends a point without the newline. Words with blanks, quotes, `=` or characters that a
    /// terminal would obey are quoted as in JSON, so that a point is always one line.
    pub fn write_point(&self, out: &mut Vec<u8>, point: &Point) {
        out.extend_from_slice(&self.heads[point.series.kind() as usize]);
        write_series(out, &point.series);
        point.value.for_each_field(self.snapshot, |field, value| {
            out.push(b' ');
            out.extend_from_slice(field.as_bytes());
            out.push(b'=');
            number::write(out, value);
        });
    }
}

/// Appends name and tags.
fn write_series(out: &mut Vec<u8>, series: &Series) {
    if series.is_plain() {
        return series.write_joined(out, b' ', b'=');
    }
    write_word(out, series.name());
    for (key, value) in series.tags() {
        out.push(b' ');
        write_word(out, key);
        out.push(b'=');
        write_word(out, value);
    }
}

fn write_word(out: &mut Vec<u8>, word: &str) {
    if is_plain(word) {
        out.extend_from_slice(word.as_bytes());
    } else {
        // Quoted as in JSON.
        json::write_string(out, word);
    }
}

fn is_plain(word: &str) -> bool {
    if word.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'=') {
        return !word.is_empty();
    }
    // Words of other scripts are plain too; ASCII is decided above without decoding.
    word.chars().all(|c| !c.is_whitespace() && !is_deceptive(c) && c != '"' && c != '=')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::testing::PART;
    use model::testing::{point, snapshot_of};
    use model::{Timer, Value};

    #[test]
    fn a_point_is_one_line_with_any_tags() {
        let mut timer = Timer::default();
        timer.record(1.5, 1.0, 1000);
        let value = Value::timer(timer, &snapshot_of(vec![]).percentiles);
        let snapshot = snapshot_of(vec![point(
            MetricKind::Timer,
            "user.latency",
            &[("note", "two\nlines"), ("stage", "login")],
            value,
        )]);
        let mut out = Vec::new();
        TextLines::new(&snapshot).write_point(&mut out, &snapshot.points[0]);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "2017-03-21T16:34:34.000Z timer user.latency note=\"two\\nlines\" stage=login \
             count=1 rate=0.1 sum=1.5 min=1.5 max=1.5 mean=1.5 stddev=0 p50=1.5 p90=1.5 p95=1.5 \
             p99=1.5"
        );
    }

    #[test]
    fn no_character_reaches_a_terminal_that_it_would_obey() {
        let mut out = Vec::new();
        write_word(&mut out, "a\u{9b}2J\u{7f}\u{1b}[m\u{85}é");
        write_word(&mut out, "\u{202e}a\u{200b}");
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\"a\\u009b2J\\u007f\\u001b[m\\u0085é\"\"\\u202ea\\u200b\""
        );
    }
    proptest! {
        #[test]
        fn a_series_is_written_alike_with_and_without_a_look_at_each_part(
            parts in prop::collection::btree_map(PART, PART, 0..5), name in PART,
        ) {
            let tags: Vec<_> = parts.into_iter().collect();
            let (mut out, mut expected) = (Vec::new(), Vec::new());
            write_series(&mut out, &Series::new(MetricKind::Trace, &name, &tags));
            write_word(&mut expected, &name);
            for (key, value) in &tags {
                expected.push(b' ');
                write_word(&mut expected, key);
                expected.push(b'=');
                write_word(&mut expected, value);
            }
            prop_assert_eq!(String::from_utf8(out).unwrap(), String::from_utf8(expected).unwrap());
        }
    }
}
