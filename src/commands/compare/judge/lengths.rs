//! Rates of windows that were longer or shorter than the interval.
//!
//! A daemon whose window ends late divides its counts by the true length. Timestamps have whole seconds, so
//! the length is derived from the counts and rates of all series in that window.

use std::collections::BTreeMap;

use super::{Judge, counts_of_rate};
use crate::commands::compare::recording::{RecordedOutput, Values, WindowEnds};
use crate::commands::compare::verdict::KnownCause;

/// Largest relative error of a length that is computed from a count and its rate.
const ROUNDING: f64 = 1e-9;
/// The share of its interval by which a window may differ and still count as one interval long.
const UNCOUNTED: f64 = 0.01;

/// The lengths by which a daemon divided the counts of its windows, in seconds.
#[derive(Debug)]
pub(super) struct WindowLengths {
    /// By the end of the window; the median of all series. Empty if longer and shorter windows do not
    /// cancel out, as they do when ends are late: then the rates are wrong.
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
        let by_end = all.into_iter().map(|(end, lengths)| (end, median(lengths))).collect();
        let mut lengths = Self { by_end, interval_s, slack_s: slack_ms as f64 / 1e3 };
        if !lengths.cancel_out(windows) {
            lengths.by_end.clear();
        }
        lengths
    }

    /// Whether the lengths of all windows but the first and the last, which may be cut, add up to the
    /// time that they cover.
    fn cancel_out(&self, windows: &WindowEnds) -> bool {
        let inner = self.by_end.iter().filter(|(end, _)| !windows.is_edge(**end));
        let late: Vec<f64> = inner.map(|(_, length)| length - self.interval_s).collect();
        let uncounted = UNCOUNTED * self.interval_s * late.len() as f64;
        late.iter().sum::<f64>().abs() <= self.slack_s + uncounted
    }

    /// The length of a window, unless it is not credible.
    fn at(&self, end: i64) -> Option<f64> {
        let length = *self.by_end.get(&end)?;
        ((length - self.interval_s).abs() <= self.slack_s).then_some(length)
    }
}

impl Judge<'_> {
    /// The cause if only the lengths of windows make the rates of a series differ.
    pub(super) fn rate_cause(
        &self,
        series: &str,
        old: &Values,
        new: &Values,
        unequal: &[i64],
    ) -> Option<KnownCause> {
        if old.len().min(new.len()) <= 2 || self.counts_agree(series) != Some(true) {
            return None;
        }
        // The first and the last window may be much shorter than the interval, of one daemon only.
        let mut inner = unequal.iter().filter(|end| !self.is_edge(**end)).peekable();
        if inner.peek().is_none() {
            return Some(KnownCause::Edge);
        }
        inner.all(|end| self.only_lengths_differ(series, *end)).then_some(KnownCause::WindowLength)
    }

    /// Whether both count the same in this window, and each rate is that count divided by the length
    /// of its daemon's window.
    fn only_lengths_differ(&self, series: &str, end: i64) -> bool {
        let (of_old, of_new) = self.lengths();
        let old = self.divided_count(self.old, of_old, series, end);
        let new = self.divided_count(self.new, of_new, series, end);
        old.zip(new).is_some_and(|(old, new)| self.is_equal(old, new))
    }

    /// The count of a window if the rate is that count divided by the window's length.
    fn divided_count(
        &self,
        recording: &RecordedOutput,
        lengths: &WindowLengths,
        series: &str,
        end: i64,
    ) -> Option<f64> {
        let count = *counts_of_rate(recording, series)?.get(&end)?;
        let rate = *recording.series.get(series)?.get(&end)?;
        let error = (rate * lengths.at(end)? - count).abs();
        (error <= self.tolerance.max(ROUNDING) * count.abs()).then_some(count)
    }

    fn lengths(&self) -> &(WindowLengths, WindowLengths) {
        self.lengths.get_or_init(|| {
            let of = |recording, windows| WindowLengths::of(recording, windows, self.slack_ms);
            (of(self.old, &self.old_windows), of(self.new, &self.new_windows))
        })
    }
}

/// The middle one of some numbers.
fn median(mut numbers: Vec<f64>) -> f64 {
    let middle = numbers.len() / 2;
    *numbers.select_nth_unstable_by(middle, f64::total_cmp).1
}
