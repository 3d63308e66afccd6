//! A comparison as text, with escapes for control characters.

use std::fmt::Write;

use basics::escape::escaped;

use super::report::{Comparison, DifferentSeries, SideFacts};
use super::verdict::KnownCause;

/// Writes the comparison with at most `limit` series in each list.
pub(super) fn write(comparison: &Comparison, limit: usize) -> String {
    let mut text = CompareText { text: String::new(), limit };
    text.side("old", &comparison.old);
    text.side("new", &comparison.new);
    text.line(&format!("equal: {}", series(comparison.equal)));
    for cause in KnownCause::ALL {
        let names: Vec<&String> = comparison.explained_by(cause).collect();
        if !names.is_empty() {
            text.line(&format!("explained: {}: {}", series(names.len()), cause.sentence()));
            text.list(names.into_iter().map(|name| shown(name)));
        }
    }
    if !comparison.different.is_empty() {
        text.line(&format!("different: {}", series(comparison.different.len())));
        text.list(comparison.different.iter().map(difference));
    }
    for (word, names) in [("old", &comparison.only_old), ("new", &comparison.only_new)] {
        if !names.is_empty() {
            text.line(&format!("only in {word}: {}", series(names.len())));
            text.list(names.iter().map(|name| shown(name)));
        }
    }
    for hint in &comparison.hints {
        text.line(&format!("hint: {}", shown(hint)));
    }
    text.line(&verdict(comparison));
    text.text
}

fn verdict(comparison: &Comparison) -> String {
    match comparison.unexplained {
        _ if comparison.old.values == 0 || comparison.new.values == 0 => {
            "NOTHING TO COMPARE".to_owned()
        }
        0 => "no unexplained difference".to_owned(),
        1 => "1 UNEXPLAINED DIFFERENCE".to_owned(),
        many => format!("{many} UNEXPLAINED DIFFERENCES"),
    }
}

fn difference(one: &DifferentSeries) -> String {
    let value = |value: Option<f64>| value.map_or("none".to_owned(), |value| value.to_string());
    format!(
        "{}: {} of {} windows; first {}: old {}, new {}; totals: old {}, new {}",
        shown(&one.series),
        one.windows,
        one.of_windows,
        one.first,
        value(one.old),
        value(one.new),
        one.old_total,
        one.new_total
    )
}

fn series(count: usize) -> String {
    if count == 1 { "1 series".to_owned() } else { format!("{count} series") }
}

fn shown(name: &str) -> String {
    escaped(name.as_bytes()).to_string()
}

struct CompareText {
    text: String,
    limit: usize,
}

impl CompareText {
    fn line(&mut self, line: &str) {
        // Writing into a string cannot fail.
        let _infallible = writeln!(self.text, "{line}");
    }

    fn side(&mut self, word: &str, side: &SideFacts) {
        let SideFacts { series: count, values, windows, interval_s, first, last, .. } = side;
        let times = match (first, last) {
            (Some(first), Some(last)) => format!(" from {first} to {last}, every {interval_s} s"),
            _ => String::new(),
        };
        let plural = if *windows == 1 { "" } else { "s" };
        self.line(&format!(
            "{word}: {}, {values} values, {windows} window{plural}{times}",
            series(*count)
        ));
    }

    fn list(&mut self, lines: impl ExactSizeIterator<Item = String>) {
        let more = lines.len().saturating_sub(self.limit);
        lines.take(self.limit).for_each(|line| self.line(&format!("  {line}")));
        if more > 0 {
            self.line(&format!("  and {more} more, see --limit"));
        }
    }
}
