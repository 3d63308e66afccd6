//! Telling how far a destination that came back is with what waited for it on disk.

use std::time::{Duration, Instant};

/// At most one line in the log for each of these.
const PAUSE: Duration = Duration::from_secs(10);

/// Looks on while windows of the spool are delivered, and says when to tell of it. A backlog that is
/// worked off sooner than it could be told of is none that anybody waits for.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    /// Since when, or when it was told last.
    since: Option<Instant>,
    is_told: bool,
}

/// What there is to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// So many points are still on disk.
    Left(u64),
    /// None is any more.
    Done,
}

impl Replay {
    /// After a window was delivered: so many points are left on disk.
    pub(crate) fn delivered(&mut self, left: u64) -> Option<Said> {
        self.delivered_at(Instant::now(), left)
    }

    fn delivered_at(&mut self, now: Instant, left: u64) -> Option<Said> {
        if left == 0 {
            return std::mem::take(self).is_told.then_some(Said::Done);
        }
        let since = *self.since.get_or_insert(now);
        if now.duration_since(since) < PAUSE {
            return None;
        }
        *self = Self { since: Some(now), is_told: true };
        Some(Said::Left(left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told when a window of ten points is delivered each second.
    fn told(points: u64) -> Vec<Said> {
        let (mut replay, start) = (Replay::default(), Instant::now());
        let windows = (0..=points / 10).map(|window| {
            let now = start + Duration::from_secs(window);
            replay.delivered_at(now, points - window * 10)
        });
        windows.flatten().collect()
    }

    #[test]
    fn a_long_backlog_is_told_of_now_and_then_and_at_its_end() {
        assert_eq!(told(250), [Said::Left(150), Said::Left(50), Said::Done]);
    }

    #[test]
    fn a_short_one_is_not() {
        assert_eq!(told(50), []);
        assert_eq!(told(0), []);
    }
}
