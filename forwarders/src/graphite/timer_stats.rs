//! `etsy.timer_stats`: the fields of timers that statsd's `calculatedTimerMetrics` selects.

use basics::text::TextVisitor;
use serde::Deserialize;
use serde::de::Deserializer;

/// Names without a percentage.
const PLAIN: [&str; 10] = [
    "std",
    "upper",
    "lower",
    "count",
    "count_ps",
    "sum",
    "sum_squares",
    "mean",
    "median",
    "histogram",
];

/// Names with a percentage, which `percent` stands for.
const OF_PERCENT: [&str; 6] = ["count", "mean", "upper", "lower", "sum", "sum_squares"];

/// A name of `calculatedTimerMetrics`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimerStat(String);

impl TimerStat {
    /// Parses a name that selects fields in statsd.
    ///
    /// # Errors
    /// A sentence that describes the allowed names.
    pub fn parse(text: &str) -> Result<Self, String> {
        if PLAIN.contains(&text) || is_of_percent(text) {
            return Ok(Self(text.to_owned()));
        }
        let general = generalized(text);
        if general != text && is_of_percent(&general) {
            return Err(format!("write `{general}`, which selects `{text}`"));
        }
        Err(format!(
            "a field of a timer is {}; or {} followed by `_percent`, not `{text}`",
            PLAIN.join(", "),
            OF_PERCENT.join(", ")
        ))
    }
}

impl<'de> Deserialize<'de> for TimerStat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor::new("a field of a timer", Self::parse))
    }
}

/// The selected fields; all if none is listed.
#[derive(Debug)]
pub(super) struct TimerStats<'a>(&'a [TimerStat]);

impl<'a> TimerStats<'a> {
    pub(super) fn new(listed: &'a [TimerStat]) -> Self {
        Self(listed)
    }

    pub(super) fn has(&self, field: &str) -> bool {
        let general = generalized(field);
        self.0.is_empty() || self.0.iter().any(|stat| stat.0 == general)
    }
}

/// Replaces the digits at the end of a name by `percent`, like statsd. These are not all digits of
/// a fraction: `upper_99_9` becomes `upper_99_percent`.
fn generalized(field: &str) -> String {
    let front = field.trim_end_matches(|last: char| last.is_ascii_digit());
    let name = front.strip_suffix("_top").or_else(|| front.strip_suffix('_'));
    match name {
        Some(name) if front.len() < field.len() => format!("{name}_percent"),
        _ => field.to_owned(),
    }
}

/// Returns whether a name selects fields with a percentage: `upper_percent`, or `upper_99_percent` for
/// fractions.
fn is_of_percent(text: &str) -> bool {
    let Some(front) = text.strip_suffix("_percent") else { return false };
    let whole = generalized(front);
    OF_PERCENT.contains(&whole.strip_suffix("_percent").unwrap_or(front))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(listed: &[&str], field: &str) -> bool {
        let listed: Vec<_> = listed.iter().map(|text| TimerStat::parse(text).unwrap()).collect();
        TimerStats::new(&listed).has(field)
    }

    #[test]
    fn no_list_selects_every_field() {
        assert!(selects(&[], "median") && selects(&[], "upper_99_9") && selects(&[], "histogram"));
    }

    #[test]
    fn a_percentage_is_replaced_by_a_word() {
        let listed = ["count", "upper_percent", "sum_squares_percent", "histogram"];
        for field in ["count", "upper_90", "upper_5", "sum_squares_top10", "histogram"] {
            assert!(selects(&listed, field), "{field}");
        }
        for field in ["count_90", "upper", "count_ps", "sum_90", "lower_top10", "mean"] {
            assert!(!selects(&listed, field), "{field}");
        }
    }

    #[test]
    fn a_fraction_of_a_percent_has_another_word() {
        assert!(!selects(&["upper_percent"], "upper_99_9"));
        assert!(selects(&["upper_99_percent"], "upper_99_9"));
        assert!(!selects(&["upper_99_percent"], "upper_99"));
        assert!(selects(&["lower_top0_percent"], "lower_top0_5"));
    }

    #[test]
    fn names_that_select_nothing_are_refused() {
        for wrong in ["", "p99", "counts", "_percent", "std_percent", "median_9_percent", "Count"] {
            assert!(TimerStat::parse(wrong).is_err(), "{wrong}");
        }
        for (wrong, right) in [
            ("upper_90", "upper_percent"),
            ("lower_top10", "lower_percent"),
            ("upper_99_9", "upper_99_percent"),
        ] {
            let error = TimerStat::parse(wrong).unwrap_err();
            assert!(error.contains(&format!("write `{right}`")), "{error}");
        }
    }
}
