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
    /// nothing about itself. Empty if the lengths contradict the time between the ends, or all differ from the
    /// interval in the same way: then the rates are wrong.
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
        if !lengths.are_late_ends(windows) {
            lengths.by_end.clear();
        }
        lengths
    }

    /// Whether the lengths of all windows but the first and the last, which may be cut, can be those of
    /// windows that ended late: they add up to the time that passed between the ends of these windows, and
    /// they do not all differ from the interval in the same way.
    fn are_late_ends(&self, windows: &WindowEnds) -> bool {
        let inner: Vec<(f64, f64)> = self.passed(windows).collect();
        let error: f64 = inner.iter().map(|(length, passed)| length - passed).sum();
        let near = NEAR * self.interval_s;
        let are_all =
            |sign: f64| inner.iter().all(|(length, _)| sign * (length - self.interval_s) > near);
        error.abs() <= self.slack_s && !are_all(1.0) && !are_all(-1.0)
    }

    /// The length of each inner window, and the time since the end of the window before, in seconds.
    /// Without that window, nothing shows when this one began.
    fn passed(&self, windows: &WindowEnds) -> impl Iterator<Item = (f64, f64)> {
        let pairs = windows.ends.iter().zip(windows.ends.iter().skip(1));
        pairs.filter_map(|(previous, end)| {
            let passed = end - previous;
            let has_previous = 2 * passed < 3 * windows.interval_ms;
            let length = self.by_end.get(end).filter(|_| has_previous && !windows.is_edge(*end))?;
            Some((*length, passed as f64 / 1e3))
        })
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

/// The name of the series that counts the samples of another one, if the recording has it.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The lengths that are derived from windows of two counters with these ends and lengths, in seconds.
    fn lengths(windows: &[(u32, f64)]) -> Vec<Option<f64>> {
        let mut recording = RecordedOutput::default();
        for (name, count) in [("a", 7.0), ("b", 900.0)] {
            for (end, length) in windows {
                let rate = count / length;
                for line in [
                    format!("stats.counters.{name}.count {count} {end}"),
                    format!("stats.counters.{name}.rate {rate} {end}"),
                ] {
                    recording.add_line(line.as_bytes(), 0);
                }
            }
        }
        let lengths = WindowLengths::of(&recording, &recording.windows(), 1_500);
        windows.iter().map(|(end, _)| lengths.at(i64::from(*end) * 1000)).collect()
    }

    /// Whether lengths of inner windows are evidence.
    fn are_evidence(windows: &[(u32, f64)]) -> bool {
        let lengths = lengths(windows);
        let inner = &lengths[1..windows.len() - 1];
        let found = inner.iter().filter(|length| length.is_some()).count();
        assert!(found == 0 || found == inner.len(), "{lengths:?}");
        found > 0
    }

    #[test]
    fn lengths_agree_with_the_time_that_passed_between_the_ends() {
        // Each end is about a second later than planned: 3 s in all, which the timestamps show too.
        let drifting =
            [(10, 10.0), (20, 10.0), (31, 10.9), (41, 10.1), (52, 10.8), (62, 10.1), (73, 10.9)];
        assert!(are_evidence(&drifting));
        // The same lengths, although the timestamps are an interval apart.
        let even: Vec<_> = (1..).map(|k| 10 * k).zip(drifting.map(|(_, length)| length)).collect();
        assert!(!are_evidence(&even));
        // As many longer as shorter windows, although 4 s more have passed.
        let ends = [10, 20, 31, 42, 53, 64, 74, 84, 94, 104];
        let lengths = [10.0, 10.1, 9.9, 10.0, 10.1, 9.9, 10.0, 10.0, 10.0, 10.0];
        let stalled: Vec<_> = ends.into_iter().zip(lengths).collect();
        assert!(!are_evidence(&stalled));
    }

    #[test]
    fn a_window_after_a_missing_one_has_no_known_begin() {
        let windows = [(10, 10.0), (20, 10.2), (40, 9.9), (50, 10.0), (60, 10.0), (70, 10.0)];
        assert!(are_evidence(&windows));
        let wrong = [(10, 10.0), (20, 10.7), (40, 12.0), (50, 10.7), (60, 10.7), (70, 10.0)];
        assert!(!are_evidence(&wrong));
    }
}
