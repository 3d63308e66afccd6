//! The polls of one run of a daemon, and the rates between them.

use std::collections::VecDeque;
use std::time::Duration;

use api::history::HistoryTotals;
use api::top::MetricRanking;

use super::reply::TopReply;

/// Totals that are kept for the sparkline.
const KEPT: usize = 512;

/// The latest polls.
#[derive(Debug)]
pub(super) struct Polls {
    /// The least time between two polls, in seconds: over less a rate would be noise.
    apart_s: f64,
    latest: Option<TopReply>,
    before: Option<TopReply>,
    totals: VecDeque<HistoryTotals>,
}

impl Polls {
    /// No polls yet; they will be an interval apart.
    pub(super) fn new(interval: Duration) -> Self {
        let apart_s = interval.as_secs_f64() / 2.0;
        Self { apart_s, latest: None, before: None, totals: VecDeque::new() }
    }

    /// Adds a poll. Another run of the daemon replaces all earlier polls.
    pub(super) fn add(&mut self, reply: TopReply) {
        let is_new = match &self.latest {
            Some(latest) => latest.status.instance != reply.status.instance,
            None => true,
        };
        if is_new {
            (self.latest, self.before) = (None, None);
            self.totals.clear();
        }
        if let Some(history) = &reply.history {
            self.totals = history.iter().copied().collect();
            // The last totals are of this moment, which `remember` adds.
            self.totals.pop_back();
        }
        // A poll out of turn, after a key, replaces the latest one.
        let since = |before: &TopReply| reply.status.uptime_s - before.status.uptime_s;
        if self.latest.as_ref().is_some_and(|latest| since(latest) >= self.apart_s) {
            self.before = self.latest.take();
        }
        self.remember(reply.totals());
        self.latest = Some(reply);
    }

    /// Adds to the latest poll the parts that it lacks, and changes nothing else.
    pub(super) fn complete(&mut self, reply: TopReply) {
        let Some(latest) = &mut self.latest else { return self.add(reply) };
        let (own, other) = (&mut latest.top, reply.top);
        own.metrics = own.metrics.take().or(other.metrics);
        own.tag_keys = own.tag_keys.take().or(other.tag_keys);
        own.senders = own.senders.take().or(other.senders);
        latest.rejected = latest.rejected.take().or(reply.rejected);
    }

    /// The latest poll.
    pub(super) fn latest(&self) -> Option<&TopReply> {
        self.latest.as_ref()
    }

    /// Replaces the metrics of the latest poll: another order of the same.
    pub(super) fn replace_metrics(&mut self, metrics: Option<MetricRanking>) {
        if let Some(latest) = &mut self.latest {
            latest.top.metrics = metrics;
        }
    }

    /// The increase of a count a second; `None` before two polls have it.
    pub(super) fn rate(&self, of: impl Fn(&TopReply) -> Option<u64>) -> Option<f64> {
        let (latest, before) = (self.latest.as_ref()?, self.before.as_ref()?);
        let seconds = latest.status.uptime_s - before.status.uptime_s;
        let grown = of(latest)?.checked_sub(of(before)?)?;
        Some(grown as f64 / seconds)
    }

    /// The CPU time of the daemon, as a share of one core.
    pub(super) fn cpu(&self) -> Option<f64> {
        let (latest, before) = (&self.latest.as_ref()?.status, &self.before.as_ref()?.status);
        let seconds = latest.uptime_s - before.uptime_s;
        Some((latest.process.cpu_s - before.process.cpu_s) / seconds)
    }

    /// Samples received a second between each two totals, the oldest first.
    pub(super) fn received(&self) -> Vec<f64> {
        let pairs = self.totals.iter().zip(self.totals.iter().skip(1));
        pairs
            .map(|(before, now)| {
                let seconds = now.uptime_s - before.uptime_s;
                now.received.saturating_sub(before.received) as f64 / seconds
            })
            .collect()
    }

    /// Points delivered a second. The points of a window are delivered together, so the rate is over the
    /// length of a window. It is the median of the last three: a window that ends during a poll is in
    /// one of them twice or not at all.
    pub(super) fn delivered(&self) -> Option<f64> {
        let interval_s = self.latest.as_ref()?.status.windows.interval_s;
        let last = self.totals.len();
        let mut rates: Vec<f64> = (last.saturating_sub(3)..last)
            .filter_map(|to| self.delivered_until(to, interval_s))
            .collect();
        rates.sort_by(f64::total_cmp);
        rates.get(rates.len().checked_sub(1)? / 2).copied()
    }

    fn delivered_until(&self, to: usize, interval_s: f64) -> Option<f64> {
        let now = self.totals.get(to)?;
        let is_a_window_ago = |then: &&HistoryTotals| then.uptime_s <= now.uptime_s - interval_s;
        let then = self.totals.iter().take(to).rev().find(is_a_window_ago);
        let then = then.or_else(|| self.totals.front().filter(|_| to > 0))?;
        let seconds = (now.uptime_s - then.uptime_s).max(interval_s);
        Some(now.delivered.saturating_sub(then.delivered) as f64 / seconds)
    }

    fn remember(&mut self, now: HistoryTotals) {
        while self.totals.back().is_some_and(|last| now.uptime_s - last.uptime_s < self.apart_s) {
            self.totals.pop_back();
        }
        if self.totals.len() == KEPT {
            self.totals.pop_front();
        }
        self.totals.push_back(now);
    }
}
