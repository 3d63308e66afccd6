//! The totals of the last minutes, a set of them each second: so that the status page has charts as
//! soon as it is opened.

use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use forwarders::stats::reason;
use serde::Serialize;

use crate::runtime::RuntimeState;

/// How often totals are taken.
const STEP: Duration = Duration::from_secs(1);
/// How many of them are kept: five minutes, in some 20 KB.
const KEPT: usize = 301;
/// Points that are dropped because somebody wants it so.
const INTENDED: [&str; 2] = [reason::DEBUG_MODE, reason::REMOVED];

/// The totals of all listeners and of all forwarders at one moment.
#[derive(Clone, Copy, Debug, Serialize)]
struct Totals {
    uptime_s: f64,
    received: u64,
    rejected: u64,
    kernel_drops: u64,
    delivered: u64,
    /// Without those that were meant to be dropped.
    dropped: u64,
    /// Queued or spooled.
    waiting: u64,
}

/// Those of the last minutes.
#[derive(Debug, Default)]
pub(super) struct History(Mutex<VecDeque<Totals>>);

/// What `/api/v1/history` says: the oldest first, that of this moment last.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    totals: Vec<Totals>,
}

impl History {
    /// Takes the totals until it is dropped.
    pub(super) async fn keep(self: Arc<Self>, observed: Arc<RuntimeState>) {
        let mut step = tokio::time::interval(STEP);
        step.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            step.tick().await;
            let now = Totals::of(&observed);
            let mut kept = self.lock();
            if kept.len() == KEPT {
                kept.pop_front();
            }
            kept.push_back(now);
        }
    }

    pub(super) fn show(&self, observed: &RuntimeState) -> Shown {
        let mut totals: Vec<Totals> = self.lock().iter().copied().collect();
        totals.push(Totals::of(observed));
        Shown { totals }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Totals>> {
        self.0.lock()
    }
}

impl Totals {
    fn of(observed: &RuntimeState) -> Self {
        let mut totals = Self {
            uptime_s: observed.started.elapsed().as_secs_f64(),
            received: 0,
            rejected: 0,
            kernel_drops: 0,
            delivered: 0,
            dropped: 0,
            waiting: 0,
        };
        let parts = observed.components.now();
        for listener in &parts.listeners {
            let counts = listener.counts();
            totals.received += counts.received();
            totals.rejected += counts.rejected.iter().sum::<u64>();
            totals.kernel_drops += listener.kernel_drops();
        }
        for forwarder in &parts.forwarders {
            let counts = forwarder.stats.counts();
            totals.delivered += counts.delivered;
            totals.waiting += counts.queued + counts.spooled;
            let lost = counts.dropped.iter().filter(|(reason, _)| !INTENDED.contains(reason));
            totals.dropped += lost.map(|(_, points)| points).sum::<u64>();
        }
        totals
    }
}
