//! Compares the values that two daemons wrote for a series.

use std::cell::OnceCell;
use std::collections::BTreeSet;

use self::lengths::{ROUNDING, WindowLengths, counting, counts_of_rate};
use self::partial_window::PartialWindow;
use super::interleave::interleave;
use super::kind::{ValueKind, legacy_count, sibling};
use super::recording::{RecordedOutput, Values, WindowEnds};
use super::verdict::{Difference, KnownCause, Verdict};

mod lengths;
mod levels;
mod members;
mod partial;
mod partial_window;
mod totals;

/// How far a timestamp in whole seconds may be from the end of its window, and a sample from the
/// moment at which both daemons have received it.
const SLACK_MS: i64 = 1_500;
/// Least number of windows with different ends from which anything can be concluded.
const WINDOWS_MIN: usize = 4;
/// Windows that only one daemon may have at the start or at the end.
const EDGE_WINDOWS_MAX: usize = 2;

/// Compares the series of two recordings.
pub(super) struct Judge<'a> {
    pub(super) old: &'a RecordedOutput,
    pub(super) new: &'a RecordedOutput,
    old_windows: WindowEnds,
    new_windows: WindowEnds,
    /// The times for which both have windows, in Unix milliseconds.
    range: (i64, i64),
    /// How far the times of a window and its end may be apart, in milliseconds.
    slack_ms: i64,
    /// Whether both daemons end their windows at the same times.
    is_aligned: bool,
    /// Whether a sample may be in a window of another time with the other daemon.
    may_shift: bool,
    tolerance: f64,
    /// The windows of which one daemon received only a part.
    partial: Vec<PartialWindow>,
    /// Compares the windows between them; `None` without any.
    rest: Option<Box<Self>>,
    /// The lengths of the windows of both, once a rate differs.
    lengths: OnceCell<(WindowLengths, WindowLengths)>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(old: &'a RecordedOutput, new: &'a RecordedOutput, tolerance: f64) -> Self {
        let (old_windows, new_windows) = (old.windows(), new.windows());
        let edges = |windows: &WindowEnds| Some((*windows.ends.first()?, *windows.ends.last()?));
        let (first, last) = edges(&old_windows).unwrap_or_default();
        let (new_first, new_last) = edges(&new_windows).unwrap_or_default();
        let range = (first.max(new_first), last.min(new_last));
        let windows = (old_windows.clone(), new_windows.clone());
        let mut judge = Self::of_range(old, new, windows, range, tolerance);
        judge.partial = judge.partial_windows();
        let rest = judge.range_without_partial();
        judge.rest = rest.map(|range| {
            Box::new(Self::of_range(old, new, (old_windows, new_windows), range, tolerance))
        });
        judge
    }

    /// Compares the windows that end at these times only.
    fn of_range(
        old: &'a RecordedOutput,
        new: &'a RecordedOutput,
        (old_windows, new_windows): (WindowEnds, WindowEnds),
        range: (i64, i64),
        tolerance: f64,
    ) -> Self {
        let shortest = [old_windows.interval_ms, new_windows.interval_ms].into_iter().min();
        let slack_ms = SLACK_MS.min(shortest.unwrap_or(0) / 2);
        let is_aligned = are_aligned(&old_windows, &new_windows, range);
        let mut judge = Self {
            old,
            new,
            old_windows,
            new_windows,
            range,
            slack_ms,
            is_aligned,
            may_shift: !is_aligned,
            tolerance,
            partial: Vec::new(),
            rest: None,
            lengths: OnceCell::new(),
        };
        judge.may_shift |= judge.finds_shift();
        judge
    }

    pub(super) fn windows(&self) -> (&WindowEnds, &WindowEnds) {
        (&self.old_windows, &self.new_windows)
    }

    /// Whether both daemons end their windows at the same times.
    pub(super) fn is_aligned(&self) -> bool {
        self.is_aligned
    }

    /// The numbers of windows of the old and of the new daemon that the other should have too.
    pub(super) fn uncovered(&self) -> (usize, usize) {
        let (from, to) = (self.range.0 - self.slack_ms, self.range.1 + self.slack_ms);
        let outside = |windows: &WindowEnds| {
            let before = windows.ends.iter().filter(|end| **end < from).count();
            let after = windows.ends.iter().filter(|end| **end > to).count();
            before.saturating_sub(EDGE_WINDOWS_MAX) + after.saturating_sub(EDGE_WINDOWS_MAX)
        };
        let has_common = self.range.0 <= self.range.1 + self.slack_ms;
        let all =
            |windows: &WindowEnds| if has_common { outside(windows) } else { windows.ends.len() };
        (all(&self.old_windows), all(&self.new_windows))
    }

    /// The verdict for a series that at least one of them has.
    pub(super) fn verdict(&self, series: &str) -> Verdict {
        match (self.old.series.get(series), self.new.series.get(series)) {
            (Some(old), Some(new)) => self.both(series, old, new),
            (Some(only), None) => self.single(series, only).unwrap_or(Verdict::OnlyOld),
            (None, Some(only)) => self.single(series, only).unwrap_or(Verdict::OnlyNew),
            // No caller asks for a series that neither has.
            (None, None) => Verdict::Equal,
        }
    }

    /// Explains a series that only one daemon wrote.
    fn single(&self, series: &str, values: &Values) -> Option<Verdict> {
        let inside = self.inside(values);
        let mut all = inside.values();
        let cause = if is_self_metric(series) {
            KnownCause::SelfMetrics
        } else if inside.is_empty() {
            KnownCause::Edge
        } else if all.all(|value| *value == 0.0) {
            KnownCause::Idle
        } else {
            return None;
        };
        Some(Verdict::Explained(cause))
    }

    /// The values for windows that both daemons have.
    fn inside(&self, values: &Values) -> Values {
        let (from, to) = (self.range.0 - self.slack_ms, self.range.1 + self.slack_ms);
        if from > to {
            return Values::new();
        }
        values.range(from..=to).map(|(at, value)| (*at, *value)).collect()
    }

    fn both(&self, series: &str, old: &Values, new: &Values) -> Verdict {
        let (old, new) = (self.inside(old), self.inside(new));
        if old.is_empty() && new.is_empty() {
            return Verdict::Explained(KnownCause::Edge);
        }
        let (unequal, idle) = self.unequal(ValueKind::of(series), &old, &new);
        let Some(first) = unequal.first() else {
            return if idle > 0 { Verdict::Explained(KnownCause::Idle) } else { Verdict::Equal };
        };
        if let Some(cause) = self.cause(series, &old, &new, &unequal) {
            return Verdict::Explained(cause);
        }
        if let Some(cause) = self.partial_cause(series, &old, &new, &unequal) {
            return Verdict::Explained(cause);
        }
        let sum = |values: &Values| values.values().sum();
        let ends: BTreeSet<&i64> = old.keys().chain(new.keys()).collect();
        Verdict::Different(Difference {
            windows: (unequal.len(), ends.len()),
            first: (*first, old.get(first).copied(), new.get(first).copied()),
            totals: (sum(&old), sum(&new)),
        })
    }

    /// The times at which values differ, and the number of values that only one daemon has because
    /// the series had no samples.
    fn unequal(&self, kind: ValueKind, old: &Values, new: &Values) -> (Vec<i64>, usize) {
        let (mut unequal, mut idle) = (Vec::new(), 0);
        let ends: BTreeSet<i64> = old.keys().chain(new.keys()).copied().collect();
        for end in ends {
            match (old.get(&end), new.get(&end)) {
                (Some(old), Some(new)) if self.is_equal(*old, *new) => {}
                (Some(_), None) if is_idle(kind, old, end) => idle += 1,
                (None, Some(_)) if is_idle(kind, new, end) => idle += 1,
                _ => unequal.push(end),
            }
        }
        (unequal, idle)
    }

    fn is_equal(&self, old: f64, new: f64) -> bool {
        old == new
            || (old - new).abs() <= self.tolerance * old.abs().max(new.abs())
            || old.is_nan() && new.is_nan()
    }

    /// The reason why the values of these windows differ, if it is a known one.
    fn cause(
        &self,
        series: &str,
        old: &Values,
        new: &Values,
        unequal: &[i64],
    ) -> Option<KnownCause> {
        let kind = self.kind(series);
        if self.may_shift && self.agrees(kind, series, old, new)
            || self.totals_agree(series, old, new)
        {
            return Some(KnownCause::OtherEnds);
        }
        if kind == ValueKind::Level && self.changes_within_windows(series, old, new) {
            return Some(KnownCause::SeveralLevels);
        }
        if kind == ValueKind::Rate
            && let Some(cause) = self.rate_cause(series, old, new, unequal)
        {
            return Some(cause);
        }
        self.are_running_totals(series, old, new).then_some(KnownCause::RunningTotals)
    }

    /// Whether samples of a sum are in another window, and none is missing. The other window may be the
    /// last one of a daemon, which only that daemon has.
    fn totals_agree(&self, series: &str, old: &Values, new: &Values) -> bool {
        let total = |values: &Values| values.values().sum::<f64>();
        let all = |recording: &RecordedOutput| recording.series.get(series).map_or(0.0, total);
        let is_whole =
            self.is_equal(total(old), total(new)) || self.is_equal(all(self.old), all(self.new));
        is_whole
            && ValueKind::of(series) == ValueKind::Sum
            && interleave(old, new, self.slack_ms, self.tolerance)
    }

    /// Whether the first or the last window of a daemon ends at this time.
    fn is_edge(&self, end: i64) -> bool {
        self.old_windows.is_edge(end) || self.new_windows.is_edge(end)
    }

    /// The kind of a series. With statsd's legacy names, only the series of counts shows that another
    /// one has rates.
    fn kind(&self, series: &str) -> ValueKind {
        let both = [self.old, self.new];
        let counts = legacy_count(series);
        match counts.is_some_and(|name| both.iter().all(|one| one.series.contains_key(&name))) {
            true => ValueKind::Rate,
            false => ValueKind::of(series),
        }
    }

    /// Whether there are enough windows to conclude anything: of few with different ends, almost any
    /// values would agree.
    fn has_enough(&self, old: &Values, new: &Values) -> bool {
        self.is_aligned || old.len().min(new.len()) >= WINDOWS_MIN
    }

    /// Whether the values of windows with different ends agree.
    fn agrees(&self, kind: ValueKind, series: &str, old: &Values, new: &Values) -> bool {
        if !self.has_enough(old, new) {
            return false;
        }
        match kind {
            ValueKind::Sum => self.sums_agree(old, new),
            ValueKind::Rate => {
                self.counts_agree(series).unwrap_or_else(|| self.rates_agree(old, new))
            }
            ValueKind::Level => self.levels_agree(series, old, new),
            ValueKind::Statistic if is_set(series) => self.members_agree(old, new),
            ValueKind::Statistic => self.samples_moved(series),
            ValueKind::Unknown => {
                self.sums_agree(old, new)
                    || self.rates_agree(old, new)
                    || self.follows(old, new) && self.follows(new, old)
            }
        }
    }

    fn sums_agree(&self, old: &Values, new: &Values) -> bool {
        interleave(old, new, self.slack_ms, self.tolerance)
            && (!self.is_aligned || self.stays_close(old, new))
    }

    /// Whether the running sums never differ by more than the samples of a moment at the end of a
    /// window.
    fn stays_close(&self, old: &Values, new: &Values) -> bool {
        let largest = old.values().chain(new.values()).copied().fold(0.0, f64::max);
        let share = self.slack_ms as f64 / self.old_windows.interval_ms.max(1) as f64;
        let ends: BTreeSet<&i64> = old.keys().chain(new.keys()).collect();
        let mut difference = 0.0;
        ends.into_iter().all(|end| {
            let value = |values: &Values| values.get(end).copied().unwrap_or(0.0);
            difference += value(old) - value(new);
            difference.abs() <= share * largest
        })
    }

    /// The largest distance of the ends of two windows that are neighbours, in milliseconds.
    fn window_away_ms(&self) -> i64 {
        self.old_windows.interval_ms.max(self.new_windows.interval_ms) + self.slack_ms
    }

    /// Whether each value has an equal one in a window of the other that is at most one away.
    fn follows(&self, values: &Values, others: &Values) -> bool {
        let near = self.window_away_ms();
        values.iter().all(|(at, value)| {
            let mut window = others.range(at - near..=at + near);
            window.any(|(_, other)| self.is_equal(*value, *other))
        })
    }

    /// Whether samples of the same timer are in other windows, and none is missing.
    fn samples_moved(&self, series: &str) -> bool {
        let count = sibling(series, "count");
        let (old, new) = (self.old.series.get(&count), self.new.series.get(&count));
        let (Some(old), Some(new)) = (old, new) else { return false };
        let (old, new) = (self.inside(old), self.inside(new));
        (!self.is_aligned || self.has_moved(&count, &old, &new))
            && self.counts_agree(series) == Some(true)
    }

    fn has_moved(&self, series: &str, old: &Values, new: &Values) -> bool {
        !self.unequal(ValueKind::of(series), old, new).0.is_empty()
    }

    fn rates_agree(&self, old: &Values, new: &Values) -> bool {
        let sums = |values: &Values, windows: &WindowEnds| -> Values {
            let seconds = windows.interval_ms as f64 / 1e3;
            values.iter().map(|(at, rate)| (*at, rate * seconds)).collect()
        };
        self.sums_agree(&sums(old, &self.old_windows), &sums(new, &self.new_windows))
    }

    /// Whether the counts of the same counter or timer agree; `None` without another series that
    /// counts.
    fn counts_agree(&self, series: &str) -> Option<bool> {
        let count = counting(self.old, series)?;
        let (old, new) = (self.old.series.get(&count)?, self.new.series.get(&count)?);
        let (old, new) = (self.inside(old), self.inside(new));
        Some(self.totals_agree(&count, &old, &new) || self.sums_agree(&old, &new))
    }

    /// Whether samples near the end of a window are in the window after it with one of the daemons:
    /// the sum of a series is sometimes larger with one daemon, sometimes with the other, and stays
    /// close in total.
    fn finds_shift(&self) -> bool {
        self.old.series.iter().any(|(series, old)| {
            let Some(new) = self.new.series.get(series) else { return false };
            let (old, new) = (self.inside(old), self.inside(new));
            self.has_moved(series, &old, &new)
                && (self.totals_agree(series, &old, &new)
                    || self.goes_both_ways(series, &old, &new))
                || self.totals_show_shift(series, &old, &new)
        })
    }

    fn goes_both_ways(&self, series: &str, old: &Values, new: &Values) -> bool {
        ValueKind::of(series) == ValueKind::Sum
            && is_larger_in_both(old, new)
            && self.sums_agree(old, new)
    }

    /// The cause if only the lengths of windows make the rates of a series differ.
    fn rate_cause(
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

/// Whether some values of both are larger than the other's of the same time.
fn is_larger_in_both(old: &Values, new: &Values) -> bool {
    let differences = || old.iter().filter_map(|(end, old)| Some(old - new.get(end)?));
    differences().any(|difference| difference > 0.0)
        && differences().any(|difference| difference < 0.0)
}

/// Whether all windows in this range end at multiples of one interval, counted from the same time. One
/// of the daemons may lack some.
fn are_aligned(old: &WindowEnds, new: &WindowEnds, (from, to): (i64, i64)) -> bool {
    let interval = old.interval_ms.max(new.interval_ms);
    let ends = old.ends.iter().chain(&new.ends).filter(|end| (from..=to).contains(end));
    let is_multiple =
        |end: &i64| (end - from).checked_rem(interval).map_or(*end == from, |rest| rest == 0);
    old.interval_ms.min(new.interval_ms) * 2 > interval && ends.clone().all(is_multiple)
        || ends.clone().all(|end| *end == from)
}

/// Whether a statistic is the number of members of a set: no other series counts them.
fn is_set(series: &str) -> bool {
    sibling(series, "count") == series
}

/// Whether a value stands for no samples: a zero, or the level of the window before.
fn is_idle(kind: ValueKind, values: &Values, end: i64) -> bool {
    let value = values[&end];
    let before = values.range(..end).next_back();
    let is_repeated = before.is_some_and(|(_, before)| *before == value);
    value == 0.0 || kind == ValueKind::Level && is_repeated
}

/// Whether a series is about the daemon that wrote it.
fn is_self_metric(series: &str) -> bool {
    const OF_STATSD: [&str; 9] = [
        "bad_lines_seen",
        "packets_received",
        "metrics_received",
        "timestamp_lag",
        "numStats",
        "processing_time",
        "graphiteStats",
        "flush_length",
        "flush_time",
    ];
    let name = series.split([';', '{', ' ']).next().unwrap_or_default();
    let parts: Vec<&str> = name.split('.').collect();
    let follows = parts.windows(2).any(|pair| pair[0] == "statsd" && OF_STATSD.contains(&pair[1]));
    follows || parts.contains(&"tallyd")
}

#[cfg(test)]
mod tests;
