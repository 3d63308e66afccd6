//! The totals of the last minutes, one set per second, so that the status page has charts as soon as
//! it is opened.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use api::forwarders::lost;
use api::history::{History, HistoryTotals};

use crate::runtime::RuntimeState;

/// Pause between two sets.
const STEP: Duration = Duration::from_secs(1);
/// Sets that are kept: five minutes, in some 20 KB.
const KEPT: usize = 301;

/// The totals of the last minutes, the oldest first.
#[derive(Debug, Default)]
pub(super) struct TotalsRing(Mutex<VecDeque<HistoryTotals>>);

impl TotalsRing {
    /// Adds a set a second until the future is dropped.
    pub(super) async fn keep(self: Arc<Self>, runtime: Arc<RuntimeState>) {
        let mut step = tokio::time::interval(STEP);
        step.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            step.tick().await;
            let now = totals(&runtime);
            let mut kept = self.0.lock();
            if kept.len() == KEPT {
                kept.pop_front();
            }
            kept.push_back(now);
        }
    }

    /// The reply of `/api/v1/history`.
    pub(super) fn show(&self, runtime: &RuntimeState) -> History {
        let mut kept: Vec<HistoryTotals> = self.0.lock().iter().copied().collect();
        kept.push(totals(runtime));
        History { totals: kept }
    }
}

fn totals(runtime: &RuntimeState) -> HistoryTotals {
    let mut totals = HistoryTotals {
        uptime_s: runtime.started.elapsed().as_secs_f64(),
        ..HistoryTotals::default()
    };
    let components = runtime.components.now();
    for listener in &components.listeners {
        let counts = listener.counts();
        totals.received += counts.received();
        totals.rejected += counts.rejected.iter().sum::<u64>();
        totals.kernel_drops += listener.kernel_drops();
    }
    for forwarder in &components.forwarders {
        let counts = forwarder.stats.counts();
        totals.delivered += counts.delivered;
        totals.waiting += counts.queued + counts.spooled;
        totals.dropped += lost(counts.dropped.iter().map(|(reason, points)| (*reason, *points)));
    }
    totals
}

#[cfg(test)]
mod tests {
    use api::forwarders::INTENDED_DROPS;
    use forwarders::stats::reason;

    #[test]
    fn intended_drops_are_reasons_of_the_ledger() {
        assert_eq!(INTENDED_DROPS, [reason::DEBUG_MODE, reason::REMOVED]);
    }
}
