//! Levels of gauges in windows that end at different times.

use super::Judge;
use crate::commands::compare::recording::{RecordedOutput, Values};

impl<'a> Judge<'a> {
    /// Whether the last level of one is among the last two of the other, which may have one window
    /// less; or, if the ends are equal and samples moved, whether the levels lie between each other.
    pub(super) fn levels_agree(&self, series: &str, old: &Values, new: &Values) -> bool {
        let last =
            |values: &Values| -> Vec<f64> { values.values().rev().take(2).copied().collect() };
        let (last_old, last_new) = (last(old), last(new));
        let has = |levels: &[f64], level: Option<&f64>| {
            level.is_some_and(|level| levels.iter().any(|one| self.is_equal(*one, *level)))
        };
        has(&last_new, last_old.first())
            || has(&last_old, last_new.first())
            || self.is_aligned && self.lie_between_each_other(series, old, new)
    }

    /// Whether a gauge changes within windows that end at different times, and no level contradicts the
    /// levels of the other daemon around that time.
    pub(super) fn changes_within_windows(&self, series: &str, old: &Values, new: &Values) -> bool {
        !self.is_aligned
            && self.has_enough(old, new)
            && self.lie_between_each_other(series, old, new)
    }

    fn lie_between_each_other(&self, series: &str, old: &Values, new: &Values) -> bool {
        let all = |recording: &'a RecordedOutput| recording.series.get(series);
        all(self.new).is_some_and(|new| self.lies_between(old, new))
            && all(self.old).is_some_and(|old| self.lies_between(new, old))
    }

    /// Whether each value is neither smaller nor larger than all values of the other daemon that are
    /// at most a window away; values before the other's first or after its last one do not count.
    fn lies_between(&self, values: &Values, others: &Values) -> bool {
        let near = self.window_away_ms();
        let mut inner = self.between_edges(values, others).peekable();
        inner.peek().is_some()
            && inner.all(|(at, value)| {
                let around = || others.range(at - near..=at + near).map(|(_, other)| *other);
                around().any(|other| other >= *value) && around().any(|other| other <= *value)
            })
    }

    /// The values between the first and the last of the other daemon.
    pub(super) fn between_edges<'v>(
        &self,
        values: &'v Values,
        others: &Values,
    ) -> impl Iterator<Item = (&'v i64, &'v f64)> {
        let slack_ms = self.slack_ms;
        let edges = others.keys().next().copied().zip(others.keys().next_back().copied());
        values.iter().filter(move |(at, _)| {
            edges.is_some_and(|(first, last)| *at - slack_ms > first && *at + slack_ms < last)
        })
    }
}
