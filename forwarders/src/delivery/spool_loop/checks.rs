//! Work that has time: drops windows that expired or were removed, moves foreign files, finds out
//! whether a disk works again, and retries to remove recorded files.

use tokio::time::Instant;

use super::{PAUSE, SpoolLoop, TIDIED_AT_ONCE, until_end};
use crate::delivery::backlog::Backlog;
use crate::spool::SpoolWriteError;

impl SpoolLoop {
    /// Drops windows that expired or were removed, and retries to remove settled windows.
    pub(super) async fn check(&mut self) {
        self.next_check = Instant::now() + PAUSE;
        let max_age = self.backlog.read(Backlog::spool_limits).max_age.get();
        if let Some(now_ms) = self.clock.expiry_now_ms(self.writer.host().clocks(), max_age) {
            let expired = self.backlog.apply(|backlog| backlog.expire(now_ms));
            self.log_dropped(
                expired,
                "windows were in the spool for longer than max_age and were dropped",
            );
        }
        let backlog = std::sync::Arc::clone(&self.backlog);
        if until_end(&backlog, self.drop_missing()).await.is_none() {
            return;
        }
        // The sync of the windows that the start found shortens the record too.
        let is_disk_busy =
            self.removal.is_some() || self.cleanup.is_some() || self.found_sync.is_some();
        if self.writer.unremoved() > 0 && !is_disk_busy {
            self.cleanup = Some(self.writer.retry_settled(TIDIED_AT_ONCE));
        }
    }

    pub(super) async fn drop_missing(&mut self) {
        // This loop is the only writer, so no file can appear between the list and its use. If the
        // folder cannot be read, no window counts as removed.
        if let Some(present) = self.writer.list().await {
            let removed = self.backlog.apply(|backlog| backlog.files_listed(&present));
            self.log_dropped(removed, "windows were removed from the spool");
        }
    }

    pub(super) fn cleanup_ended(&mut self) {
        self.cleanup = None;
        self.backlog.apply(Backlog::removal_may_help);
        self.publish_unremoved();
    }

    pub(super) async fn tidy(&mut self) {
        // A part at a time: windows can be written in between.
        if until_end(&self.backlog, self.writer.tidy(TIDIED_AT_ONCE)).await == Some(true) {
            self.backlog.apply(Backlog::is_untidy);
        }
    }

    pub(super) async fn probe(&mut self) {
        let min_free = self.backlog.read(Backlog::spool_limits).min_free.get();
        match until_end(&self.backlog, self.writer.probe(min_free)).await {
            None => {}
            Some(Ok(())) => {
                self.backlog.apply(Backlog::probed);
                self.recovered();
            }
            Some(Err(words)) => self.failed(SpoolWriteError { words, left_behind: None }),
        }
    }
}
