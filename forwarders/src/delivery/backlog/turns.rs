//! Decides whether the oldest or the newest window is delivered next.

use crate::config::SpoolOrder;

/// Old windows that are delivered in a row before a fresh one has its turn.
const OLD_IN_A_ROW: u32 = 4;

/// Decides whether an old or a fresh window is next. With `order: fair`, fresh data arrives
/// although a long backlog is being delivered.
#[derive(Debug, Default)]
pub(super) struct TurnOrder {
    /// Windows with a lower number were flushed by an earlier run, and are not fresh.
    first_seq: u64,
    /// The newest window that was taken before its turn. Windows up to this number have become old.
    newest_taken: Option<u64>,
    /// Old windows that were taken since the latest fresh one.
    old_in_a_row: u32,
}

impl TurnOrder {
    /// Whether a fresh window is next. `newest` is the number of the newest waiting window.
    pub(super) fn is_fresh_turn(&self, order: SpoolOrder, newest: u64) -> bool {
        order == SpoolOrder::Fair && self.is_fresh(newest) && self.old_in_a_row >= OLD_IN_A_ROW
    }

    /// Whether the window `newest` may be delivered before older ones. It is the newest one.
    pub(super) fn is_fresh(&self, newest: u64) -> bool {
        // A window is not fresh only because a newer one was taken before it. Otherwise the backlog
        // would be delivered from both ends. The first window of this run has its turn after those of
        // the earlier one: it may complete the last of them, under the same timestamp, and must not be
        // overwritten by its first part.
        newest > self.first_seq && self.newest_taken.is_none_or(|taken| newest > taken)
    }

    /// Records that the fresh window `seq` was taken before its turn.
    pub(super) fn take_fresh(&mut self, seq: u64) {
        self.newest_taken = Some(seq);
        self.old_in_a_row = 0;
    }

    /// Records that the oldest window was taken.
    pub(super) fn take_old(&mut self) {
        self.old_in_a_row = self.old_in_a_row.saturating_add(1);
    }

    /// Adds `base` to the numbers of this run's windows. Windows with lower numbers were found on
    /// disk.
    pub(super) fn renumber(&mut self, base: u64) {
        self.first_seq = base;
        if let Some(taken) = &mut self.newest_taken {
            *taken += base;
        }
    }
}
