//! Running totals, such as pystatsd's, against the increments of each window.

use super::{Judge, is_larger_in_both};
use crate::commands::compare::kind::ValueKind;
use crate::commands::compare::recording::Values;

impl Judge<'_> {
    /// Whether the old values are running totals whose increments are the new values.
    pub(super) fn are_running_totals(&self, series: &str, old: &Values, new: &Values) -> bool {
        let Some((increments, rest)) = self.increments_of(series, old, new) else { return false };
        self.unequal(ValueKind::Unknown, &increments, &rest).0.is_empty()
            || self.has_enough(&increments, &rest)
                && (self.may_shift && self.sums_agree(&increments, &rest)
                    || self.begins_with_all(old, &increments, new))
    }

    /// Whether samples of a series of running totals are in other windows, and none is missing.
    pub(super) fn totals_show_shift(&self, series: &str, old: &Values, new: &Values) -> bool {
        let Some((increments, rest)) = self.increments_of(series, old, new) else { return false };
        let total = |values: &Values| values.values().sum::<f64>();
        let is_whole = self.is_equal(total(&increments), total(&rest))
            || is_larger_in_both(&increments, &rest);
        !self.unequal(ValueKind::Unknown, &increments, &rest).0.is_empty()
            && (is_whole && self.sums_agree(&increments, &rest)
                || self.begins_with_all(old, &increments, new))
    }

    /// Whether the totals began at zero in the first window, and samples only moved since then.
    fn begins_with_all(&self, old: &Values, increments: &Values, new: &Values) -> bool {
        let mut all = increments.clone();
        all.extend(old.first_key_value());
        let last = old.values().next_back().copied().unwrap_or_default();
        self.is_equal(last, new.values().sum()) && self.sums_agree(&all, new)
    }

    /// The increments of the old values, and the new values of the same time; `None` if the old values
    /// are no running totals. Only pystatsd wrote these, in a field whose name does not show the kind.
    pub(super) fn increments_of(
        &self,
        series: &str,
        old: &Values,
        new: &Values,
    ) -> Option<(Values, Values)> {
        if ValueKind::of(series) != ValueKind::Unknown || !series.ends_with(" value") {
            return None;
        }
        let increments = increments(old)?;
        let from = increments.keys().next()? - self.slack_ms;
        let rest = new.range(from..).map(|(at, value)| (*at, *value)).collect();
        Some((increments, rest))
    }
}

/// The increments of totals that never decrease and do increase; `None` for other values.
fn increments(values: &Values) -> Option<Values> {
    let pairs = values.iter().zip(values.iter().skip(1));
    let increments: Values = pairs.map(|((_, old), (at, new))| (*at, new - old)).collect();
    let grows = increments.values().any(|increment| *increment > 0.0);
    let never_falls = increments.values().all(|increment| *increment >= 0.0);
    (grows && never_falls).then_some(increments)
}
