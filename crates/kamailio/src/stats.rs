//! What is known of an instance while it is polled, for whoever reports.

use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// Shared between an instance's poller and the status.
#[derive(Debug)]
pub struct PollerStats {
    endpoint: String,
    tags: BTreeMap<String, String>,
    state: Mutex<PollerState>,
}

/// How the polls of an instance went.
#[derive(Clone, Debug, Default)]
pub struct PollerState {
    /// Whether the latest poll got answers to the end; before the first, no.
    pub up: bool,
    /// Polls so far.
    pub polls: u64,
    /// Those among them that broke off.
    pub failures: u64,
    /// How long the latest took.
    pub duration: Duration,
    /// The latest failure and its time.
    pub last_error: Option<(SystemTime, String)>,
    /// When a poll last got answers to the end.
    pub last_success: Option<SystemTime>,
    /// Methods that are not answered at the moment, each with Kamailio's reason.
    pub faults: BTreeMap<String, String>,
}

impl PollerStats {
    /// Before the first poll.
    #[must_use]
    pub fn new(endpoint: String, tags: BTreeMap<String, String>) -> Self {
        Self { endpoint, tags, state: Mutex::default() }
    }

    /// Where the instance answers.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The tags of its series.
    #[must_use]
    pub fn tags(&self) -> &BTreeMap<String, String> {
        &self.tags
    }

    /// All of it at one moment.
    #[must_use]
    pub fn state(&self) -> PollerState {
        self.lock().clone()
    }

    /// To change it.
    pub(super) fn lock(&self) -> MutexGuard<'_, PollerState> {
        self.state.lock()
    }
}
