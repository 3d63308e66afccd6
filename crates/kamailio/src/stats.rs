//! The state of the polls of a server, for the status and the self-metrics.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, MutexGuard};

/// The state of the polls of one server, shared between its poller and its readers.
#[derive(Debug)]
pub struct PollerStats {
    endpoint: String,
    tags: BTreeMap<String, String>,
    state: Mutex<PollerState>,
}

/// The outcomes of the polls of a server.
#[derive(Clone, Debug, Default)]
pub struct PollerState {
    /// Whether the latest poll succeeded; false before the first.
    pub up: bool,
    /// Number of polls.
    pub polls: u64,
    /// Number of polls that failed.
    pub failures: u64,
    /// Duration of the latest poll.
    pub duration: Duration,
    /// Time and reason of the latest failure.
    pub last_error: Option<(SystemTime, String)>,
    /// Time of the latest successful poll.
    pub last_success: Option<SystemTime>,
    /// Methods that Kamailio currently refuses, each with its reason.
    pub faults: BTreeMap<String, String>,
}

impl PollerStats {
    /// The state before the first poll.
    #[must_use]
    pub fn new(endpoint: String, tags: BTreeMap<String, String>) -> Self {
        Self { endpoint, tags, state: Mutex::default() }
    }

    /// The address of the server.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The tags of the server's series.
    #[must_use]
    pub fn tags(&self) -> &BTreeMap<String, String> {
        &self.tags
    }

    /// A consistent copy of the state.
    #[must_use]
    pub fn state(&self) -> PollerState {
        self.lock().clone()
    }

    /// Locks the state to change it.
    pub(crate) fn lock(&self) -> MutexGuard<'_, PollerState> {
        self.state.lock()
    }
}
