//! Logs the delivery to one destination.

use std::collections::BTreeMap;
use std::io;

use tracing::{error, info, warn};

use crate::advice::advice;
use crate::delivery::backlog::ReplayedPoints;
use crate::delivery::failure_reasons::FailureReasons;
use crate::delivery::payload::Settled;
use crate::delivery::reason;
use crate::delivery::replay::{ReplayMessage, ReplayProgress};
use crate::spool::{FileName, SpoolReadError};
use basics::log_throttle::LogThrottle;

/// Logs the delivery to one destination. The ledger counts every event, so repeated events are not
/// logged each time.
pub(super) struct DeliveryLog {
    /// The destination's name.
    forwarder: String,
    /// One throttle per reason, so that a frequent reason does not hide a rare one.
    drops: BTreeMap<&'static str, LogThrottle>,
    /// Refused payloads without points.
    without_points: LogThrottle,
    replay: ReplayProgress,
    reasons: FailureReasons,
    /// Whether the system returned an error for the latest attempt to read a spool file.
    is_read_failing: bool,
}

impl DeliveryLog {
    pub(super) fn new(forwarder: String) -> Self {
        Self {
            forwarder,
            drops: BTreeMap::new(),
            without_points: LogThrottle::default(),
            replay: ReplayProgress::default(),
            reasons: FailureReasons::default(),
            is_read_failing: false,
        }
    }

    /// The destination's name.
    pub(super) fn name(&self) -> &str {
        &self.forwarder
    }

    /// Logs the progress of a spool when a window was settled and `spooled` points are on disk.
    pub(super) fn window_settled(&mut self, spooled: u64, replayed: ReplayedPoints) {
        let (forwarder, ReplayedPoints { delivered, refused }) = (&self.forwarder, replayed);
        match self.replay.delivered(spooled) {
            Some(ReplayMessage::Left(left)) => {
                let message = "draining the spool";
                info!(forwarder, left, "{message}: {delivered} delivered, {refused} refused");
            }
            Some(ReplayMessage::Done) => {
                let message = "drained the spool";
                info!(forwarder, "{message}: {delivered} delivered, {refused} refused");
            }
            None => {}
        }
    }

    /// Logs dropped points when points were settled.
    pub(super) fn settled(&mut self, settled: &Settled) {
        // By the words: points that are set aside on purpose (`debug_mode`) have none.
        for (reason, words) in &settled.words {
            let points = settled.refused.get(reason).copied().unwrap_or_default();
            if points == 0 {
                self.refused_without_points(reason, words);
                continue;
            }
            if let Some(points) = self.drops.entry(reason).or_default().count(points) {
                let message = drop_message(reason);
                error!(forwarder = self.forwarder, points, reason, words, "{message}");
            }
        }
    }

    /// Logs refused payloads without points, such as the totals of series without a new sample.
    fn refused_without_points(&mut self, reason: &str, words: &str) {
        if self.without_points.count(1).is_some() {
            let message = "series without new points were refused";
            warn!(forwarder = self.forwarder, reason, words, "{message}");
        }
    }

    /// Logs the first of several failures in a row, and later ones with another reason.
    pub(super) fn attempt_failed(&mut self, words: &str, is_first: bool) {
        if is_first {
            self.reasons.clear();
        }
        if !self.reasons.add(words) {
            return;
        }
        let (forwarder, advice) = (&self.forwarder, advice(words));
        if is_first {
            warn!(forwarder, error = %words, advice, "delivery failed, will retry (data kept)");
        } else {
            warn!(forwarder, error = %words, advice, "delivery still fails, for another reason");
        }
    }

    /// Logs the first success after failures.
    pub(super) fn recovered(&self) {
        info!(forwarder = self.forwarder, "delivery recovered");
    }

    /// Logs that a reload replaced the forwarder.
    pub(super) fn reconfigured(&self) {
        info!(forwarder = self.forwarder, "applied new settings");
    }

    /// Logs points that were dropped because a reload replaced the forwarder.
    pub(super) fn lost_in_reload(&self, points: u64) {
        error!(
            forwarder = self.forwarder,
            points, "dropped points that could not be delivered before the destination changed"
        );
    }

    /// Logs a spool file that is missing or unusable; the first one for each reason, then the
    /// number of points once a minute.
    pub(super) fn unreadable(
        &mut self,
        file: FileName,
        error: &SpoolReadError,
        reason: &'static str,
    ) {
        if let Some(points) = self.drops.entry(reason).or_default().count(file.points) {
            let message = "dropped unreadable spool files; the latest is";
            warn!(forwarder = self.forwarder, points, reason, %error, "{message} {file}");
        }
    }

    /// Logs the first of several errors of the system in a row when a spool file is read.
    pub(super) fn read_failed(&mut self, file: FileName, error: &io::Error) {
        if !std::mem::replace(&mut self.is_read_failing, true) {
            let message = "cannot read the spool, will retry (data kept)";
            warn!(forwarder = self.forwarder, %file, %error, "{message}");
        }
    }

    /// Logs the first successful read after errors of the system.
    pub(super) fn read_recovered(&mut self) {
        if std::mem::take(&mut self.is_read_failing) {
            info!(forwarder = self.forwarder, "the spool can be read again");
        }
    }
}

fn drop_message(reason: &str) -> &'static str {
    match reason {
        reason::REFUSED => "points were permanently refused",
        reason::TOO_LARGE => "dropped points that were too large",
        reason::PAGE_FULL => "dropped points of new series that had no room",
        reason::TOTALS_FULL => "dropped points of series whose totals had no room",
        reason::LOST => "points may be lost and are not sent again",
        _ => "dropped points",
    }
}

#[cfg(test)]
mod tests;
