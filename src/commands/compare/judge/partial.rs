//! Windows of which one daemon received only a part, because it began later or ended earlier.

use std::cmp::Ordering;

use super::partial_window::PartialWindow;
use super::{Judge, WINDOWS_MIN, is_set};
use crate::commands::compare::kind::{ValueKind, sibling};
use crate::commands::compare::recording::{RecordedOutput, Values};
use crate::commands::compare::verdict::{KnownCause, Verdict};

impl Judge<'_> {
    /// The windows that may be partial: at the start and at the end of what both have, and the first
    /// or the last window of that daemon. If it is that of both, the daemon in which more series are
    /// smaller there received the part.
    pub(super) fn partial_windows(&self) -> Vec<PartialWindow> {
        let (old, new) = (&self.old_windows.ends, &self.new_windows.ends);
        let (first, last) = self.range;
        let common = |ends: &[i64]| ends.iter().filter(|end| (first..=last).contains(end)).count();
        if !self.is_aligned || common(old).min(common(new)) < WINDOWS_MIN {
            return Vec::new();
        }
        let found = |end: i64, edges: (Option<&i64>, Option<&i64>)| {
            let is_old = match (edges.0 == Some(&end), edges.1 == Some(&end)) {
                (true, true) => match self.smaller(end) {
                    Ordering::Equal => return None,
                    more => more == Ordering::Greater,
                },
                (is_old, is_new) if is_old || is_new => is_old,
                _ => return None,
            };
            Some(PartialWindow { end, is_old })
        };
        let start = found(first, (old.first(), new.first()));
        start.into_iter().chain(found(last, (old.last(), new.last()))).collect()
    }

    /// Whether more series have a smaller value in this window with the old daemon than with the new
    /// one.
    fn smaller(&self, end: i64) -> Ordering {
        let (mut old_smaller, mut new_smaller) = (0, 0);
        for (series, old) in &self.old.series {
            let Some(new) = self.new.series.get(series) else { continue };
            let is_sum = match ValueKind::of(series) {
                ValueKind::Sum => true,
                ValueKind::Unknown => self.increments_of(series, old, new).is_none(),
                _ => false,
            };
            if is_sum {
                let value = |values: &Values| values.get(&end).copied().unwrap_or(0.0);
                old_smaller += usize::from(value(old) < value(new));
                new_smaller += usize::from(value(new) < value(old));
            }
        }
        old_smaller.cmp(&new_smaller)
    }

    /// The times between the partial windows; `None` without any.
    pub(super) fn range_without_partial(&self) -> Option<(i64, i64)> {
        let interval_ms = self.old_windows.interval_ms.max(self.new_windows.interval_ms);
        let (mut first, mut last) = self.range;
        for window in &self.partial {
            if window.end == self.range.0 { first += interval_ms } else { last -= interval_ms }
        }
        (!self.partial.is_empty()).then_some((first, last))
    }

    /// The cause if the values of partial windows may differ so, and the others agree.
    pub(super) fn partial_cause(
        &self,
        series: &str,
        old: &Values,
        new: &Values,
        unequal: &[i64],
    ) -> Option<KnownCause> {
        let rest = self.rest.as_ref()?;
        let mut cut = self.partial.iter().filter(|one| unequal.contains(&one.end)).peekable();
        cut.peek()?;
        if !cut.all(|window| self.is_part(series, window, old, new)) {
            return None;
        }
        match rest.verdict(series) {
            Verdict::Explained(KnownCause::OtherEnds) => Some(KnownCause::OtherEnds),
            // A running total is no whole to compare the part with.
            Verdict::Explained(KnownCause::RunningTotals) => None,
            Verdict::Equal | Verdict::Explained(_) => Some(KnownCause::Partial),
            Verdict::Different(_) | Verdict::OnlyOld | Verdict::OnlyNew => None,
        }
    }

    /// Whether the value of a daemon can be that of a part of a window.
    fn is_part(&self, series: &str, window: &PartialWindow, old: &Values, new: &Values) -> bool {
        let value = |values: &Values| values.get(&window.end).copied();
        let (part, whole) =
            if window.is_old { (value(old), value(new)) } else { (value(new), value(old)) };
        // Its series had no samples in the part.
        let (Some(part), Some(whole)) = (part, whole) else { return part.is_none() };
        let is_less = (0.0..=whole).contains(&part);
        match ValueKind::of(series) {
            ValueKind::Sum => is_less,
            ValueKind::Statistic if is_set(series) => is_less,
            ValueKind::Statistic => self.has_fewer_samples(series, window),
            ValueKind::Rate | ValueKind::Unknown => {
                is_less || self.has_fewer_samples(series, window)
            }
            // A part at the start has the last level too. One at the end has an earlier one.
            ValueKind::Level => {
                let complete = if window.is_old { new } else { old };
                let before = complete.range(..window.end).next_back();
                window.end == self.range.1
                    && before.is_some_and(|(_, before)| {
                        (before.min(whole)..=before.max(whole)).contains(&part)
                    })
            }
        }
    }

    /// Whether the count of the same counter or timer is smaller in the part.
    fn has_fewer_samples(&self, series: &str, window: &PartialWindow) -> bool {
        let count = sibling(series, "count");
        let of = |recording: &RecordedOutput| {
            recording.series.get(&count).and_then(|counts| counts.get(&window.end)).copied()
        };
        let (part, whole) = match window.is_old {
            true => (of(self.old), of(self.new)),
            false => (of(self.new), of(self.old)),
        };
        part.unwrap_or(0.0) < whole.unwrap_or(0.0)
    }
}
