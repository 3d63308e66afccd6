//! Rejects a line, or some of its values.

use super::Origin;
use super::pending_lines::PendingLine;
use super::recorder_context::RecorderContext;
use super::stats::{ListenerCounts, ListenerStats};
use crate::listener::tap::listener::ListenerTap;
use crate::protocol::Rejection;

/// Counts and logs the rejections of a line.
pub(super) struct RejectedLine<'r, S> {
    pub(super) line: &'r PendingLine<'r, S>,
    pub(super) stats: &'r ListenerStats,
    pub(super) tap: &'r mut ListenerTap,
}

impl<S: Origin> RejectedLine<'_, S> {
    /// Counts and logs a rejection.
    pub(super) fn add(
        &mut self,
        context: &RecorderContext,
        rejection: Rejection,
        counts: &mut ListenerCounts,
    ) {
        let Self { line, stats, tap } = self;
        let rejection = rejection.shifted_by(line.at());
        context.reject(rejection, line.shown, &line.sender, stats, counts, tap);
    }
}
