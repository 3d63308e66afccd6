//! What may be looked at while the daemon runs: the parts' own counters, shared.

pub mod configured;
pub mod self_metrics;

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use forwarders::stats::ForwarderStats;

use crate::runtime::configured::Configured;
use engine::aggregator::registry::Registry;
use engine::aggregator::windows::WindowStats;
use engine::listener::rejected::RejectedLog;
use engine::listener::stats::ListenerStats;
use engine::listener::tap::taps::Taps;
use kamailio::stats::PollerStats;

/// All of it. The parts do not know who looks; nothing below reaches up to report.
#[derive(Debug)]
pub struct Observed {
    /// When it started.
    pub started: Instant,
    /// Identifies this run to consumers.
    pub instance: String,
    /// What it runs with, and how reloads went.
    pub configured: Arc<Configured>,
    /// How the windows go.
    pub windows: Arc<WindowStats>,
    /// Every live series.
    pub registry: Arc<Registry>,
    /// The latest rejected messages.
    pub rejected: Arc<RejectedLog>,
    /// Who looks on at what comes.
    pub taps: Arc<Taps>,
    /// Whether every listener is bound and none is stopping.
    pub is_ready: AtomicBool,
    /// What a reload may change.
    pub parts: Parts,
}

/// The parts that come and go with a reload.
#[derive(Debug, Default)]
pub struct Parts(Mutex<Arc<PartsNow>>);

/// Those of one moment.
#[derive(Clone, Debug, Default)]
pub struct PartsNow {
    /// A ledger for each socket and for each Kamailio, and one for all that are gone.
    pub listeners: Vec<Arc<ListenerStats>>,
    /// How the polls of each Kamailio go.
    pub kamailio: Vec<Arc<PollerStats>>,
    /// A ledger for each destination.
    pub forwarders: Vec<ObservedForwarder>,
}

impl Parts {
    /// Those of this moment.
    #[must_use]
    pub fn now(&self) -> Arc<PartsNow> {
        Arc::clone(&self.0.lock())
    }

    /// Puts others in their place, all at once.
    pub fn replace(&self, parts: PartsNow) {
        *self.0.lock() = Arc::new(parts);
    }
}

/// A destination as the status shows it.
#[derive(Clone, Debug)]
pub struct ObservedForwarder {
    /// Its name.
    pub name: String,
    /// Its section's kind.
    pub kind: &'static str,
    /// Its ledger.
    pub stats: Arc<ForwarderStats>,
}
