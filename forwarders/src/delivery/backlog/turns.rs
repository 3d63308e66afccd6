//! Whether the oldest or the newest window is delivered next.

use crate::config::SpoolOrder;

/// Old windows that are taken in a row before a fresh one has its turn.
const OLD_IN_A_ROW: u32 = 4;

/// Decides whose turn it is while windows pile up: with `order: fair`, fresh data must be seen
/// although a long backlog is being delivered.
#[derive(Debug, Default)]
pub(super) struct TurnOrder {
    /// Windows with a lower number were flushed by an earlier run, and are not fresh.
    first_seq: u64,
    /// The newest window that was taken before its turn. Windows up to it have become old.
    newest_taken: Option<u64>,
    old_in_a_row: u32,
}

impl TurnOrder {
    /// Whether it is the turn of a fresh window and `newest` is one.
    pub(super) fn is_fresh_turn(&self, order: SpoolOrder, newest: u64) -> bool {
        let is_fresh =
            newest >= self.first_seq && self.newest_taken.is_none_or(|taken| newest > taken);
        order == SpoolOrder::Fair && is_fresh && self.old_in_a_row >= OLD_IN_A_ROW
    }

    /// The fresh window `seq` is taken before its turn.
    pub(super) fn take_fresh(&mut self, seq: u64) {
        self.newest_taken = Some(seq);
        self.old_in_a_row = 0;
    }

    /// The oldest window is taken.
    pub(super) fn take_old(&mut self) {
        self.old_in_a_row = self.old_in_a_row.saturating_add(1);
    }

    /// Windows of this run are numbered from `base` on: those below it were found on disk.
    pub(super) fn renumber(&mut self, base: u64) {
        self.first_seq = base;
        if let Some(taken) = &mut self.newest_taken {
            *taken += base;
        }
    }
}
