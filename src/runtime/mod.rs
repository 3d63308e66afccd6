//! The state of a running daemon, for the admin endpoint, the self-metrics and the log.

pub mod current_values;
pub mod output_taps;
pub mod restart;
pub mod running_config;
pub mod self_metrics;
pub mod series_watches;

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Instant, SystemTime};

use forwarders::stats::ForwarderStats;
use httpserver::HttpServerStats;

use crate::runtime::current_values::CurrentValues;
use crate::runtime::output_taps::OutputTaps;
use crate::runtime::restart::RestartStats;
use crate::runtime::running_config::RunningConfig;
use engine::aggregator::registry::Registry;
use engine::aggregator::windows::WindowStats;
use engine::listener::rejected::RejectedLog;
use engine::listener::stats::ListenerStats;
use engine::listener::tap::taps::Taps;
use kamailio::stats::PollerStats;

/// The state that all parts of a running daemon share with its readers.
///
/// Each part updates only its own counters and does not know who reads them, so that no dependency
/// points from the engine or the forwarders up to the daemon.
#[derive(Debug)]
pub struct RuntimeState {
    /// When the daemon started.
    pub started: Instant,
    /// The same on the wall clock of that time, which may have been set since.
    pub started_at: SystemTime,
    /// Identifies this run to the consumers of its points.
    pub instance: String,
    /// The running configuration, and the outcomes of reloads.
    pub config: Arc<RunningConfig>,
    /// The counters of closed windows.
    pub windows: Arc<WindowStats>,
    /// Every live series.
    pub registry: Arc<Registry>,
    /// The latest rejected messages.
    pub rejected: Arc<RejectedLog>,
    /// Failures of the restart state.
    pub restart: Arc<RestartStats>,
    /// The last window and the live series, for requests.
    pub values: Arc<CurrentValues>,
    /// The open taps.
    pub taps: Arc<Taps>,
    /// The clients that watch the output of destinations.
    pub output_taps: OutputTaps,
    /// The connections of the admin endpoint.
    pub admin: Arc<HttpServerStats>,
    /// Lines of the log that were dropped or could not be written.
    pub log_lines_dropped: Arc<AtomicU64>,
    /// Whether every listener is bound and the daemon is not stopping.
    pub is_ready: AtomicBool,
    /// The components that a reload adds and removes.
    pub components: SharedComponents,
}

/// The current [`Components`]; a reload replaces them all at once.
#[derive(Debug, Default)]
pub struct SharedComponents(Mutex<Arc<Components>>);

/// The counters of the components that run between two reloads.
#[derive(Clone, Debug, Default)]
pub struct Components {
    /// The ledger of each socket and of each Kamailio server, and one for all removed listeners.
    pub listeners: Vec<Arc<ListenerStats>>,
    /// The polls of each Kamailio server.
    pub kamailio: Vec<Arc<PollerStats>>,
    /// The ledger of each forwarder.
    pub forwarders: Vec<ForwarderInfo>,
}

impl SharedComponents {
    /// Returns the current components.
    #[must_use]
    pub fn now(&self) -> Arc<Components> {
        Arc::clone(&self.0.lock())
    }

    /// Replaces the components. A reader sees either the old or the new ones, never a mixture.
    pub fn replace(&self, components: Components) {
        *self.0.lock() = Arc::new(components);
    }
}

/// A forwarder, for status and self-metrics.
#[derive(Clone, Debug)]
pub struct ForwarderInfo {
    /// The name of the forwarder in log, status and metrics.
    pub name: String,
    /// The key of its section: `kafka`, `file`…
    pub kind: &'static str,
    /// Its ledger.
    pub stats: Arc<ForwarderStats>,
}
