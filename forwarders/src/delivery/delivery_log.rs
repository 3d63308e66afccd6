//! The log lines of one destination's delivery.

use std::collections::BTreeMap;

use tracing::{error, info, warn};

use crate::advice::advice;
use crate::delivery::payload::Settled;
use crate::delivery::reason;
use crate::delivery::replay::{ReplayMessage, ReplayProgress};
use crate::spool::{FileName, SpoolReadError};
use basics::log_throttle::LogThrottle;

/// Logs the delivery of one destination. Everything is counted elsewhere, so a repeated event is not
/// logged each time.
pub(super) struct DeliveryLog {
    /// The destination's name.
    forwarder: String,
    drops: BTreeMap<&'static str, LogThrottle>,
    replay: ReplayProgress,
}

impl DeliveryLog {
    pub(super) fn new(forwarder: String) -> Self {
        Self { forwarder, drops: BTreeMap::new(), replay: ReplayProgress::default() }
    }

    /// A window was delivered, and `spooled` points are left on disk.
    pub(super) fn window_delivered(&mut self, spooled: u64) {
        let forwarder = &self.forwarder;
        match self.replay.delivered(spooled) {
            Some(ReplayMessage::Left(points)) => {
                info!(forwarder, points, "delivering the spool; these points are left");
            }
            Some(ReplayMessage::Done) => {
                info!(forwarder, "delivered the spool; no points are left in it");
            }
            None => {}
        }
    }

    /// Points were settled: logs those that were dropped.
    pub(super) fn settled(&mut self, settled: &Settled) {
        for (reason, words) in &settled.words {
            let points = settled.refused.get(reason).copied().unwrap_or_default();
            if let Some(points) = self.drops.entry(reason).or_default().count(points) {
                let message = drop_message(reason);
                error!(forwarder = self.forwarder, points, reason, words, "{message}");
            }
        }
    }

    /// The first of several attempts in a row failed.
    pub(super) fn attempt_failed(&self, words: &str) {
        warn!(
            forwarder = self.forwarder,
            error = %words,
            advice = advice(words),
            "delivery failed, will retry (data kept)"
        );
    }

    /// The first attempt after failures succeeded.
    pub(super) fn recovered(&self) {
        info!(forwarder = self.forwarder, "delivery recovered");
    }

    /// A reload replaced the forwarder.
    pub(super) fn reconfigured(&self) {
        info!(forwarder = self.forwarder, "applied new settings");
    }

    /// Points were lost to a reload.
    pub(super) fn lost_in_reload(&self, points: u64) {
        error!(
            forwarder = self.forwarder,
            points, "dropped points that could not be delivered before the destination changed"
        );
    }

    /// A file of the spool cannot be used.
    pub(super) fn unreadable(&self, file: FileName, error: &SpoolReadError) {
        let points = file.points;
        warn!(forwarder = self.forwarder, %file, points, %error, "dropped unreadable spool file");
    }
}

fn drop_message(reason: &str) -> &'static str {
    match reason {
        reason::REFUSED => "points were refused for good",
        reason::TOO_LARGE => "dropped points that were too large",
        reason::PAGE_FULL => "dropped points of new series that had no room",
        reason::LOST => "points may be lost and are not sent again",
        _ => "dropped points",
    }
}
