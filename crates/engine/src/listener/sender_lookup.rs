//! Decides when to ask the kernel for senders.

use crate::sys::BATCH;

/// Number of batches after a rejection for which senders are looked up.
const LOOKUP_BATCHES: u32 = 1_000;

/// Decides whether to ask the kernel for the senders of a batch.
///
/// Senders matter only to `allow`, to `secret` and in rejected messages, and asking for them takes time.
/// So a listener under full load does not ask, except for a while after it has rejected a message: then
/// the operator needs to know who sends such messages.
pub(super) struct SenderLookup {
    /// Whether the listener needs every sender.
    pub(super) always: bool,
    /// Whether the last batch was full, which means that the listener is under load.
    was_full: bool,
    /// Remaining batches after a rejection.
    left: u32,
}

impl SenderLookup {
    pub(super) fn new(always: bool) -> Self {
        Self { always, was_full: false, left: 0 }
    }

    pub(super) fn is_needed(&self) -> bool {
        self.always || !self.was_full || self.left > 0
    }

    pub(super) fn update(&mut self, received: usize, rejected: bool) {
        self.was_full = received == BATCH;
        self.left = if rejected { LOOKUP_BATCHES } else { self.left.saturating_sub(1) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_are_looked_up_unless_the_listener_is_under_load_and_rejects_nothing() {
        let mut lookup = SenderLookup::new(false);
        assert!(lookup.is_needed());
        lookup.update(BATCH, false);
        assert!(!lookup.is_needed());
        lookup.update(BATCH, true);
        assert!(lookup.is_needed());
        for _ in 0..LOOKUP_BATCHES {
            lookup.update(BATCH, false);
        }
        assert!(!lookup.is_needed());
        lookup.update(BATCH - 1, false);
        assert!(lookup.is_needed());
        let mut always = SenderLookup::new(true);
        always.update(BATCH, false);
        assert!(always.is_needed());
    }
}
