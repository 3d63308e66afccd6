//! The answer of one thread to the calls that ask it for a sign of life.

use std::sync::atomic::Ordering;

use crate::sync::AtomicU64;

/// The answer of one thread: the number of the latest call that it has seen.
#[derive(Debug, Default)]
pub(super) struct PulseReply(AtomicU64);

impl PulseReply {
    /// Answers the call with this number.
    pub(super) fn give(&self, call: u64) {
        self.0.store(call, Ordering::Release);
    }

    /// Answers all future calls, because a thread that has ended cannot hang.
    pub(super) fn end(&self) {
        self.give(u64::MAX);
    }

    /// Whether this call or a later one was answered.
    pub(super) fn is_given(&self, call: u64) -> bool {
        self.0.load(Ordering::Acquire) >= call
    }
}
