//! The result of a comparison. Its fields are the members of the JSON output.

use std::collections::{BTreeMap, BTreeSet};

use basics::time::rfc3339_ms;
use serde::Serialize;

use super::judge::Judge;
use super::recording::{RecordedOutput, WindowEnds};
use super::verdict::{Difference, KnownCause, Verdict};

/// The comparison of two recordings.
#[derive(Debug, Serialize)]
pub(super) struct Comparison {
    pub(super) old: SideFacts,
    pub(super) new: SideFacts,
    /// Whether both end their windows at the same times.
    pub(super) aligned: bool,
    /// Number of series with equal values in every window.
    pub(super) equal: usize,
    /// Number of series that differ for a known reason, by the reason.
    pub(super) explained: BTreeMap<&'static str, usize>,
    /// Series that differ, or that only one daemon wrote, without a known reason; and one more if a
    /// daemon lacks windows.
    pub(super) unexplained: usize,
    /// Windows of the old daemon, and of the new one, that the other should have and lacks.
    pub(super) uncovered: (usize, usize),
    /// The explained series.
    pub(super) explained_series: BTreeMap<String, &'static str>,
    pub(super) different: Vec<DifferentSeries>,
    pub(super) only_old: Vec<String>,
    pub(super) only_new: Vec<String>,
    /// What to try.
    pub(super) hints: Vec<String>,
}

/// Figures on the output of one daemon.
#[derive(Debug, Serialize)]
pub(super) struct SideFacts {
    pub(super) series: usize,
    pub(super) values: usize,
    pub(super) windows: usize,
    pub(super) interval_s: f64,
    /// End of its first window; `null` without windows.
    pub(super) first: Option<String>,
    pub(super) last: Option<String>,
    /// Lines without a value.
    pub(super) unreadable: u64,
    pub(super) first_unreadable: Option<String>,
    /// Values with the series and the time of an earlier one.
    pub(super) repeated: u64,
    /// Values beyond the limit.
    pub(super) left_out: u64,
}

/// A series whose values differ.
#[derive(Debug, Serialize)]
pub(super) struct DifferentSeries {
    pub(super) series: String,
    /// Number of windows that differ.
    pub(super) windows: usize,
    /// Number of windows in which at least one daemon has a value.
    pub(super) of_windows: usize,
    /// End of the first window that differs.
    pub(super) first: String,
    /// Its values; `null` if the daemon has none.
    pub(super) old: Option<f64>,
    pub(super) new: Option<f64>,
    /// The sums over all windows.
    pub(super) old_total: f64,
    pub(super) new_total: f64,
}

impl Comparison {
    /// Compares two recordings, without hints.
    pub(super) fn of(old: &RecordedOutput, new: &RecordedOutput, tolerance: f64) -> Self {
        let judge = Judge::new(old, new, tolerance);
        let (old_windows, new_windows) = judge.windows();
        let mut comparison = Self {
            old: SideFacts::of(old, old_windows),
            new: SideFacts::of(new, new_windows),
            aligned: judge.is_aligned(),
            equal: 0,
            explained: BTreeMap::new(),
            unexplained: 0,
            uncovered: judge.uncovered(),
            explained_series: BTreeMap::new(),
            different: Vec::new(),
            only_old: Vec::new(),
            only_new: Vec::new(),
            hints: Vec::new(),
        };
        let names: BTreeSet<&String> = old.series.keys().chain(new.series.keys()).collect();
        for series in names {
            comparison.add(series, judge.verdict(series));
        }
        comparison.unexplained = comparison.different.len()
            + comparison.only_old.len()
            + comparison.only_new.len()
            + usize::from(comparison.uncovered != (0, 0));
        comparison
    }

    fn add(&mut self, series: &str, verdict: Verdict) {
        let series = series.to_owned();
        match verdict {
            Verdict::Equal => self.equal += 1,
            Verdict::Explained(cause) => {
                *self.explained.entry(cause.word()).or_default() += 1;
                self.explained_series.insert(series, cause.word());
            }
            Verdict::Different(difference) => {
                self.different.push(DifferentSeries::of(series, &difference));
            }
            Verdict::OnlyOld => self.only_old.push(series),
            Verdict::OnlyNew => self.only_new.push(series),
        }
    }

    /// Whether both wrote something, and nothing differs without a known reason.
    pub(super) fn is_good(&self) -> bool {
        self.unexplained == 0 && self.old.values > 0 && self.new.values > 0
    }

    /// The series with this reason.
    pub(super) fn explained_by(&self, cause: KnownCause) -> impl Iterator<Item = &String> {
        let all = self.explained_series.iter();
        all.filter(move |(_, word)| **word == cause.word()).map(|(series, _)| series)
    }
}

impl SideFacts {
    fn of(recording: &RecordedOutput, windows: &WindowEnds) -> Self {
        let end = |end: Option<&i64>| Some(rfc3339_ms(u64::try_from(*end?).ok()?));
        Self {
            series: recording.series.len(),
            values: recording.values(),
            windows: windows.ends.len(),
            interval_s: windows.interval_ms as f64 / 1e3,
            first: end(windows.ends.first()),
            last: end(windows.ends.last()),
            unreadable: recording.unreadable,
            first_unreadable: recording.first_unreadable.clone(),
            repeated: recording.repeated,
            left_out: recording.left_out,
        }
    }
}

impl DifferentSeries {
    fn of(series: String, difference: &Difference) -> Self {
        let (at_ms, old, new) = difference.first;
        let (old_total, new_total) = difference.totals;
        let (windows, of_windows) = difference.windows;
        let first = rfc3339_ms(u64::try_from(at_ms).unwrap_or_default());
        Self { series, windows, of_windows, first, old, new, old_total, new_total }
    }
}
