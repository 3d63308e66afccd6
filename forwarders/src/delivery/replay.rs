//! Decides when the progress of delivering a spool is logged.

use std::time::{Duration, Instant};

/// Time between two log lines.
const PAUSE: Duration = Duration::from_secs(10);

/// Decides when the log reports the progress of delivering the windows in a spool. A spool that is
/// empty again before the first report is due is not reported at all.
#[derive(Debug, Default)]
pub(super) struct ReplayProgress {
    /// The time of the latest report, or of the first window.
    since: Option<Instant>,
    is_reported: bool,
}

/// A report to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplayMessage {
    /// This many points are left on disk.
    Left(u64),
    /// The spool is empty.
    Done,
}

impl ReplayProgress {
    /// Returns the report to log after a window was delivered and `left` points are still on disk.
    pub(super) fn delivered(&mut self, left: u64) -> Option<ReplayMessage> {
        self.delivered_at(Instant::now(), left)
    }

    /// Makes the next report due.
    #[cfg(test)]
    pub(super) fn be_due(&mut self) {
        self.since = self.since.and_then(|since| since.checked_sub(PAUSE));
    }

    fn delivered_at(&mut self, now: Instant, left: u64) -> Option<ReplayMessage> {
        if left == 0 {
            // Taking the state resets it: the next backlog waits for its first report again.
            return std::mem::take(self).is_reported.then_some(ReplayMessage::Done);
        }
        let since = *self.since.get_or_insert(now);
        if now.duration_since(since) < PAUSE {
            return None;
        }
        *self = Self { since: Some(now), is_reported: true };
        Some(ReplayMessage::Left(left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reports while a window of ten points is delivered each second.
    fn reports(points: u64) -> Vec<ReplayMessage> {
        let (mut progress, start) = (ReplayProgress::default(), Instant::now());
        let windows = (0..=points / 10).map(|window| {
            let now = start + Duration::from_secs(window);
            progress.delivered_at(now, points - window * 10)
        });
        windows.flatten().collect()
    }

    #[test]
    fn a_long_replay_is_reported_every_ten_seconds_and_at_its_end() {
        let expected = [ReplayMessage::Left(150), ReplayMessage::Left(50), ReplayMessage::Done];
        assert_eq!(reports(250), expected);
    }

    #[test]
    fn a_short_replay_is_not_reported() {
        assert_eq!(reports(50), []);
        assert_eq!(reports(0), []);
    }
}
