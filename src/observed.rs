//! What may be looked at while the daemon runs: the parts' own counters, shared.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use forwarders::stats::ForwarderStats;

use crate::aggregator::registry::Registry;
use crate::aggregator::windows::WindowStats;
use crate::kamailio::stats::PollerStats;
use crate::listener::rejected::RejectedLog;
use crate::listener::stats::ListenerStats;

/// All of it. The parts do not know who looks; nothing below reaches up to report.
#[derive(Debug)]
pub struct Observed {
    /// When it started.
    pub started: Instant,
    /// Identifies this run to consumers.
    pub instance: String,
    /// A ledger for each socket, and for each Kamailio.
    pub listeners: Vec<Arc<ListenerStats>>,
    /// How the polls of each Kamailio go.
    pub kamailio: Vec<Arc<PollerStats>>,
    /// How the windows go.
    pub windows: Arc<WindowStats>,
    /// Every live series.
    pub registry: Arc<Registry>,
    /// The latest rejected messages.
    pub rejected: Arc<RejectedLog>,
    /// A ledger for each destination.
    pub forwarders: Vec<ObservedForwarder>,
    /// Whether every listener is bound and none is stopping.
    pub is_ready: AtomicBool,
}

/// A destination as the status shows it.
#[derive(Debug)]
pub struct ObservedForwarder {
    /// Its name.
    pub name: String,
    /// Its section's kind.
    pub kind: &'static str,
    /// Its ledger.
    pub stats: Arc<ForwarderStats>,
}
