//! What the looks at the daemon tell together: rates.

use std::collections::VecDeque;
use std::time::Duration;

use super::replies::{Metrics, Reply, Totals};

/// Looks that are remembered for the line of rates.
const KEPT: usize = 512;

/// The latest look, and those before it.
#[derive(Debug)]
pub(super) struct Looks {
    /// Over less than this, in seconds, a rate would be noise.
    apart_s: f64,
    latest: Option<Reply>,
    before: Option<Reply>,
    totals: VecDeque<Totals>,
}

impl Looks {
    /// None yet; they are going to be so far apart.
    pub(super) fn new(interval: Duration) -> Self {
        let apart_s = interval.as_secs_f64() / 2.0;
        Self { apart_s, latest: None, before: None, totals: VecDeque::new() }
    }

    /// Takes a look. With another run of the daemon all begins anew.
    pub(super) fn add(&mut self, reply: Reply) {
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
            // The last one is of this moment, and would be in it twice.
            self.totals.pop_back();
        }
        // One that was asked for out of turn, by a key, takes the latest one's place.
        let since = |before: &Reply| reply.status.uptime_s - before.status.uptime_s;
        if self.latest.as_ref().is_some_and(|latest| since(latest) >= self.apart_s) {
            self.before = self.latest.take();
        }
        self.remember(reply.status.totals());
        self.latest = Some(reply);
    }

    /// Adds to the latest look what it lacks, and changes nothing else.
    pub(super) fn complete(&mut self, reply: Reply) {
        let Some(latest) = &mut self.latest else { return self.add(reply) };
        let (own, other) = (&mut latest.top, reply.top);
        own.metrics = own.metrics.take().or(other.metrics);
        own.tag_keys = own.tag_keys.take().or(other.tag_keys);
        own.senders = own.senders.take().or(other.senders);
        latest.rejected = latest.rejected.take().or(reply.rejected);
    }

    /// The latest one.
    pub(super) fn latest(&self) -> Option<&Reply> {
        self.latest.as_ref()
    }

    /// Has the latest look show these metrics: another order of the same.
    pub(super) fn replace_metrics(&mut self, metrics: Option<Metrics>) {
        if let Some(latest) = &mut self.latest {
            latest.top.metrics = metrics;
        }
    }

    /// By how much a count grows a second; `None` before there are two looks that have it.
    pub(super) fn rate(&self, of: impl Fn(&Reply) -> Option<u64>) -> Option<f64> {
        let (latest, before) = (self.latest.as_ref()?, self.before.as_ref()?);
        let seconds = latest.status.uptime_s - before.status.uptime_s;
        let grown = of(latest)?.checked_sub(of(before)?)?;
        Some(grown as f64 / seconds)
    }

    /// The share of a core that the daemon takes.
    pub(super) fn cpu(&self) -> Option<f64> {
        let (latest, before) = (&self.latest.as_ref()?.status, &self.before.as_ref()?.status);
        let seconds = latest.uptime_s - before.uptime_s;
        Some((latest.process.cpu_s - before.process.cpu_s) / seconds)
    }

    /// Samples received a second, from each look to the next, the oldest first.
    pub(super) fn received(&self) -> Vec<f64> {
        let pairs = self.totals.iter().zip(self.totals.iter().skip(1));
        pairs
            .map(|(before, now)| {
                let seconds = now.uptime_s - before.uptime_s;
                now.received.saturating_sub(before.received) as f64 / seconds
            })
            .collect()
    }

    /// Points delivered a second. They come once a window, all at a time: it is over a window's length,
    /// and the middle one of the last three, because a window that ends just when we look is in one of
    /// them twice or not at all.
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
        let is_a_window_ago = |then: &&Totals| then.uptime_s <= now.uptime_s - interval_s;
        let then = self.totals.iter().take(to).rev().find(is_a_window_ago);
        let then = then.or_else(|| self.totals.front().filter(|_| to > 0))?;
        let seconds = (now.uptime_s - then.uptime_s).max(interval_s);
        Some(now.delivered.saturating_sub(then.delivered) as f64 / seconds)
    }

    fn remember(&mut self, now: Totals) {
        while self.totals.back().is_some_and(|last| now.uptime_s - last.uptime_s < self.apart_s) {
            self.totals.pop_back();
        }
        if self.totals.len() == KEPT {
            self.totals.pop_front();
        }
        self.totals.push_back(now);
    }
}
