//! Numbers of members of a set, of which samples are in other windows.

use std::collections::BTreeSet;

use super::Judge;
use crate::commands::compare::recording::{Values, WindowEnds};

impl Judge<'_> {
    /// Whether the numbers of members are possible for the same samples.
    pub(super) fn members_agree(&self, old: &Values, new: &Values) -> bool {
        if self.is_aligned {
            self.members_moved(old, new)
        } else {
            self.are_covered(old, new)
                && self.are_covered(new, old)
                && self.members_are_as_many(old, new)
        }
    }

    /// For windows with equal ends: whether the members that a window lacks can be in the windows next
    /// to it. These have not more than their share of a moment, and moves in both directions cancel out,
    /// except for chance: `1 + 2 √n` of `n`.
    fn members_moved(&self, old: &Values, new: &Values) -> bool {
        let share = self.slack_ms as f64 / self.old_windows.interval_ms.max(1) as f64;
        let near = self.window_away_ms();
        let next_to = |values: &Values, end: i64| -> f64 {
            let around = values.range(end - near..=end + near);
            around.filter(|(at, _)| **at != end).map(|(_, value)| value).sum()
        };
        let ends: BTreeSet<i64> = old.keys().chain(new.keys()).copied().collect();
        let (mut net, mut moved) = (0.0_f64, 0.0_f64);
        for end in ends {
            let value = |values: &Values| values.get(&end).copied().unwrap_or(0.0);
            let difference = value(old) - value(new);
            let available = next_to(if difference > 0.0 { new } else { old }, end);
            if difference.abs() > (available * share).max(available.min(1.0)) {
                return false;
            }
            net += difference;
            moved += difference.abs();
        }
        net.abs() <= 1.0 + 2.0 * moved.sqrt()
    }

    /// For windows with different ends: whether the other daemon's windows around each value have at
    /// least as many members.
    fn are_covered(&self, values: &Values, others: &Values) -> bool {
        let near = self.window_away_ms();
        self.between_edges(values, others)
            .all(|(at, value)| *value <= others.range(at - near..=at + near).map(|(_, n)| n).sum())
    }

    /// For windows of the same length with different ends: whether the windows of both have as many
    /// members on average, except for one window and for chance (three standard deviations of
    /// independent members), so that a steady loss is found in a comparison that is long enough.
    fn members_are_as_many(&self, old: &Values, new: &Values) -> bool {
        let intervals = (self.old_windows.interval_ms, self.new_windows.interval_ms);
        if (intervals.0 - intervals.1).abs() > self.slack_ms {
            return true;
        }
        let (from, to) = (self.range.0 - self.slack_ms, self.range.1 + self.slack_ms);
        let count = |windows: &WindowEnds| {
            windows.ends.iter().filter(|end| (from..=to).contains(end)).count().max(1) as f64
        };
        let (old_count, new_count) = (count(&self.old_windows), count(&self.new_windows));
        let (old_sum, new_sum) = (old.values().sum::<f64>(), new.values().sum::<f64>());
        let largest = old.values().chain(new.values()).copied().fold(0.0, f64::max);
        let difference = (old_sum / old_count - new_sum / new_count).abs();
        difference * old_count.min(new_count) <= largest + 3.0 * (old_sum + new_sum).sqrt()
    }
}
