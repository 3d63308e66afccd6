//! Log messages about kernel drops while the daemon runs, and the ledgers at its end.

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use engine::listener::stats::ListenerCounts;
use forwarders::stats::ForwarderStats;
use tracing::{info, warn};

use crate::config::ConfigFile;
use crate::config::descriptors::DescriptorShares;
use crate::runtime::{Components, RuntimeState};

/// How often the sockets are checked for new kernel drops.
const DROPS_CHECK_PERIOD: Duration = Duration::from_secs(1);
/// Minimum time between two messages about kernel drops.
const DROPS_LOG_PAUSE: Duration = Duration::from_secs(60);

/// Logs datagrams that the kernel dropped, with advice, at most once a minute.
pub(super) async fn watch_drops(state: Arc<RuntimeState>) {
    let mut reported = 0;
    let mut period = tokio::time::interval(DROPS_CHECK_PERIOD);
    loop {
        period.tick().await;
        let drops = kernel_drops(&state.components.now());
        if drops > reported {
            warn!(
                dropped = drops - reported,
                total = drops,
                "the kernel dropped datagrams because a receive buffer was full; to enlarge it: \
                 sysctl -w net.core.rmem_max=67108864 and `receive_buffer: 64MiB`"
            );
            reported = drops;
            tokio::time::sleep(DROPS_LOG_PAUSE).await;
        }
    }
}

/// Logs the keys of the configuration file whose values are probably mistakes, or prevent a
/// destination from delivering.
pub(super) fn log_warnings(file: &ConfigFile) {
    for warning in file.warnings.iter().chain(&file.obstacles) {
        let words = iter::once(warning.message()).chain(warning.help().iter().map(String::as_str));
        let words: Vec<&str> = words.collect();
        warn!(file = warning.file(), line = warning.position().line, "{}", words.join("; "));
    }
}

/// Logs how many connections the limit on open files allows.
pub(super) fn log_descriptors(shares: &DescriptorShares) {
    let DescriptorShares { limit, reserved, http, listeners, listeners_wanted, is_lowered } =
        *shares;
    if is_lowered {
        warn!(
            limit,
            reserved,
            connections = listeners,
            max_connections = listeners_wanted,
            http_connections = http,
            "the limit on open files is too low for all `max_connections` together, so they were \
             lowered; raise LimitNOFILE= of the unit or `ulimit -n`"
        );
    } else {
        info!(limit, reserved, connections = listeners, "open files");
    }
}

/// The datagrams that the kernel dropped at all listeners.
pub(super) fn kernel_drops(components: &Components) -> u64 {
    components.listeners.iter().map(|listener| listener.kernel_drops()).sum()
}

/// The messages of all listeners.
pub(super) fn message_counts(components: &Components) -> ListenerCounts {
    let mut counts = ListenerCounts::default();
    components.listeners.iter().for_each(|listener| counts.add(&listener.counts()));
    counts
}

/// Logs the final ledgers of the daemon.
pub(super) fn log_ledger(state: &RuntimeState) {
    let components = state.components.now();
    let counts = message_counts(&components);
    info!(
        received = counts.received(),
        aggregated = counts.aggregated,
        rejected = ?counts.rejected_by_reason(),
        skipped = counts.skipped,
        timestamped = counts.timestamped,
        kernel_drops = kernel_drops(&components),
        "ledger of the listeners"
    );
    for forwarder in &components.forwarders {
        log_forwarder_ledger(&forwarder.name, &forwarder.stats);
    }
}

/// Logs the final ledger of a forwarder.
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
