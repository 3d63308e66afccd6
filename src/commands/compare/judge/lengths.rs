//! Rates of windows that were longer or shorter than the interval.
//!
//! A daemon whose window ends late divides its counts by the true length. Timestamps have whole seconds, so
//! the length is derived from the counts and rates of all series in that window.

use std::collections::BTreeMap;

use crate::commands::compare::kind::{ValueKind, legacy_count, sibling};
use crate::commands::compare::recording::{RecordedOutput, Values, WindowEnds};

/// Largest relative error of a length that is computed from a count and its rate.
pub(super) const ROUNDING: f64 = 1e-9;
/// Largest relative difference of the lengths that the series of a window give: the daemons round rates.
const SAME: f64 = 1e-3;
/// The share of its interval by which a window may differ and still count as one interval long.
const NEAR: f64 = 0.005;

/// The lengths by which a daemon divided the counts of its windows, in seconds.
#[derive(Debug)]
pub(super) struct WindowLengths {
    /// By the end of the window, if most of at least two series have the same length: a single rate proves
    /// nothing about itself. Empty if longer and shorter windows do not cancel out, as they do when ends
    /// are late: then the rates are wrong.
    by_end: BTreeMap<i64, f64>,
    interval_s: f64,
    /// How much longer or shorter than the interval a window may be.
    slack_s: f64,
}

impl WindowLengths {
    pub(super) fn of(recording: &RecordedOutput, windows: &WindowEnds, slack_ms: i64) -> Self {
        let mut all: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
        for (series, rates) in &recording.series {
            let Some(counts) = counts_of_rate(recording, series) else { continue };
            for (end, rate) in rates {
                let length = counts.get(end).map(|count| count / rate);
                if let Some(length) = length.filter(|length| length.is_normal()) {
                    all.entry(*end).or_default().push(length);
                }
            }
        }
        let interval_s = windows.interval_ms as f64 / 1e3;
        let by_end = all.into_iter().filter_map(|(end, lengths)| Some((end, agreed(lengths)?)));
        let by_end = by_end.collect();
        let mut lengths = Self { by_end, interval_s, slack_s: slack_ms as f64 / 1e3 };
        if !lengths.cancel_out(windows) {
            lengths.by_end.clear();
        }
        lengths
    }

    /// Whether the lengths of all windows but the first and the last, which may be cut, can be those of
    /// windows that ended late: they add up to the time that they cover, and they do not all differ from the
    /// interval in the same way.
    fn cancel_out(&self, windows: &WindowEnds) -> bool {
        let inner = self.by_end.iter().filter(|(end, _)| !windows.is_edge(**end));
        let late: Vec<f64> = inner.map(|(_, length)| length - self.interval_s).collect();
        let near = NEAR * self.interval_s;
        let is_constant =
            late.iter().all(|late| *late > near) || late.iter().all(|late| *late < -near);
        late.iter().sum::<f64>().abs() <= self.slack_s && !is_constant
    }

    /// The length of a window, unless it is not credible.
    pub(super) fn at(&self, end: i64) -> Option<f64> {
        let length = *self.by_end.get(&end)?;
        ((length - self.interval_s).abs() <= self.slack_s).then_some(length)
    }
}

/// The length that most of at least two series have.
fn agreed(mut lengths: Vec<f64>) -> Option<f64> {
    let middle = lengths.len() / 2;
    let length = *lengths.select_nth_unstable_by(middle, f64::total_cmp).1;
    let same = lengths.iter().filter(|other| (*other - length).abs() <= SAME * length).count();
    (lengths.len() >= 2 && 2 * same > lengths.len()).then_some(length)
}

/// The name of the series that counts the samples of another one; `None` if there is none.
pub(super) fn counting(recording: &RecordedOutput, series: &str) -> Option<String> {
    let names = [Some(sibling(series, "count")), legacy_count(series)];
    let mut names = names.into_iter().flatten();
    names.find(|name| name.as_str() != series && recording.series.contains_key(name))
}

/// The counts of a series of rates; `None` for other series.
pub(super) fn counts_of_rate<'r>(
    recording: &'r RecordedOutput,
    series: &str,
) -> Option<&'r Values> {
    let name = match ValueKind::of(series) {
        ValueKind::Rate => counting(recording, series)?,
        _ => legacy_count(series)?,
    };
    recording.series.get(&name)
}
