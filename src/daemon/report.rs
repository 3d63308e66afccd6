//! What the log says about drops while the daemon runs, and the ledgers at the end.

use std::sync::Arc;
use std::time::Duration;

use engine::listener::stats::ListenerCounts;
use forwarders::stats::ForwarderStats;
use tracing::{info, warn};

use crate::runtime::Observed;

/// How often the log looks for new kernel drops.
const DROPS_LOOK: Duration = Duration::from_secs(1);
/// How often it tells of them at most.
const DROPS_LOG_PAUSE: Duration = Duration::from_secs(60);

/// Tells of datagrams that the kernel dropped, with the cure, at most once a minute.
pub(super) async fn watch_drops(observed: Arc<Observed>) {
    let mut told = 0;
    let mut look = tokio::time::interval(DROPS_LOOK);
    loop {
        look.tick().await;
        let parts = observed.parts.now();
        let drops: u64 = parts.listeners.iter().map(|listener| listener.kernel_drops()).sum();
        if drops > told {
            warn!(
                dropped = drops - told,
                total = drops,
                "the kernel dropped datagrams because a receive buffer was full; a larger one: \
                 sysctl -w net.core.rmem_max=67108864 and `receive_buffer: 64MiB`"
            );
            told = drops;
            tokio::time::sleep(DROPS_LOG_PAUSE).await;
        }
    }
}

/// The last word: where everything went.
pub(super) fn log_ledger(observed: &Observed) {
    let parts = observed.parts.now();
    let mut counts = ListenerCounts::default();
    parts.listeners.iter().for_each(|listener| counts.add(&listener.counts()));
    let kernel_drops: u64 = parts.listeners.iter().map(|listener| listener.kernel_drops()).sum();
    info!(
        received = counts.received(),
        aggregated = counts.aggregated,
        rejected = ?counts.rejected_by_reason(),
        skipped = counts.skipped,
        kernel_drops,
        "ledger of the listeners"
    );
    for forwarder in &parts.forwarders {
        log_forwarder_ledger(&forwarder.name, &forwarder.stats);
    }
}

/// The last word on what was flushed to a destination.
pub(super) fn log_forwarder_ledger(name: &str, stats: &ForwarderStats) {
    let counts = stats.counts();
    info!(
        forwarder = name,
        flushed = counts.flushed,
        recovered = counts.recovered,
        delivered = counts.delivered,
        queued = counts.queued,
        spooled = counts.spooled,
        dropped = ?counts.dropped,
        "ledger of a forwarder"
    );
}
