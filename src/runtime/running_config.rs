//! The running configuration, the check before a reload, and the outcomes of reloads.

use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use forwarders::delivery::destination::Destination;
use thiserror::Error;

use crate::config::{self, ConfigFile, LoadError};
use engine::listener::ListenerConfig;

/// Maximum number of changes that a reload lists.
const CHANGES_MAX: usize = 100;

/// The configuration that the daemon runs with, and the outcomes of reloads. The reload writes it;
/// the admin endpoint and the self-metrics read it.
#[derive(Debug)]
pub struct RunningConfig {
    path: Option<PathBuf>,
    instance: String,
    current: Mutex<Arc<ConfigFile>>,
    reloads: Mutex<ReloadStats>,
}

/// The number of reloads by outcome, and the latest one.
#[derive(Clone, Debug, Default)]
pub struct ReloadStats {
    /// Reloads that have begun to read the configuration. They run one after the other.
    pub started: u64,
    /// Applied reloads, including those that changed nothing.
    pub applied: u64,
    /// Refused reloads, which changed nothing.
    pub refused: u64,
    /// The latest reload.
    pub last: Option<ReloadOutcome>,
}

impl ReloadStats {
    fn outcome_after(&self, started: u64) -> Option<ReloadOutcome> {
        (self.applied + self.refused > started).then(|| self.last.clone())?
    }
}

/// The outcome of one reload.
#[derive(Clone, Debug)]
pub struct ReloadOutcome {
    /// When the reload ended.
    pub at: SystemTime,
    /// The applied changes, one line per key.
    pub changes: Vec<String>,
    /// Why the reload was refused; `None` if it was applied.
    pub error: Option<String>,
}

/// A configuration that has passed all checks and may replace the running one.
pub struct ReloadPlan {
    /// The current content of the file.
    pub file: ConfigFile,
    /// Its destinations, not started yet.
    pub destinations: Vec<Destination>,
    /// The differences to the running configuration, one line per key, up to a limit.
    pub changes: Vec<String>,
}

/// Why a configuration cannot replace the running one.
#[derive(Debug, Error)]
pub enum ReloadPlanError {
    /// The daemon would not start with it either.
    #[error(transparent)]
    Invalid(#[from] LoadError),
    /// It changes keys that a running daemon cannot apply.
    #[error(
        "{file}: {} cannot be changed while the daemon runs: restart the daemon (systemctl restart \
         tallyd) or revert the change", keys.join(", ")
    )]
    NeedsRestart {
        /// The name of the file.
        file: String,
        /// The changed keys.
        keys: Vec<String>,
    },
}

impl RunningConfig {
    /// Creates the running configuration of a daemon that was started with `file`, which it read from
    /// `path` or, without a path, from the default place.
    #[must_use]
    pub fn new(path: Option<PathBuf>, instance: String, file: Arc<ConfigFile>) -> Self {
        Self { path, instance, current: Mutex::new(file), reloads: Mutex::default() }
    }

    /// Returns the configuration that the daemon currently runs with.
    #[must_use]
    pub fn current(&self) -> Arc<ConfigFile> {
        Arc::clone(&self.current.lock())
    }

    /// Identifies this run to the consumers of its points.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Returns the number of reloads and the latest outcome.
    #[must_use]
    pub fn reloads(&self) -> ReloadStats {
        self.reloads.lock().clone()
    }

    /// Notes that a reload begins.
    pub fn record_started(&self) {
        self.reloads.lock().started += 1;
    }

    /// The outcome of the latest reload, if one has ended that began when `started` others had.
    #[must_use]
    pub fn outcome_after(&self, started: u64) -> Option<ReloadOutcome> {
        self.reloads.lock().outcome_after(started)
    }

    /// The absolute path of the file that a reload reads; `None` with the built-in defaults.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        let current = self.current();
        current.is_file.then(|| std::path::absolute(current.source.name()).unwrap_or_default())
    }

    /// Reads the configuration again and checks that it can replace the running one. Blocks on the
    /// disk and on name lookups.
    ///
    /// # Errors
    /// When it is invalid, or changes a key that needs a restart.
    pub fn plan_reload(&self) -> Result<ReloadPlan, ReloadPlanError> {
        let (file, destinations) = config::load_and_build(self.path.as_deref(), &self.instance)?;
        let current = self.current();
        let keys = keys_that_need_a_restart(&current, &file);
        if !keys.is_empty() {
            return Err(ReloadPlanError::NeedsRestart {
                file: file.source.name().to_owned(),
                keys,
            });
        }
        let changes = limited(current.leaves.changes(&file.leaves));
        Ok(ReloadPlan { file, destinations, changes })
    }

    /// Replaces the configuration and records an applied reload.
    pub fn record_applied(&self, file: Arc<ConfigFile>, changes: Vec<String>) {
        *self.current.lock() = file;
        let mut reloads = self.reloads.lock();
        reloads.applied += 1;
        reloads.last = Some(ReloadOutcome { at: SystemTime::now(), changes, error: None });
    }

    /// Records a refused reload.
    pub fn record_refused(&self, error: String) {
        let mut reloads = self.reloads.lock();
        reloads.refused += 1;
        let at = SystemTime::now();
        reloads.last = Some(ReloadOutcome { at, changes: Vec::new(), error: Some(error) });
    }
}

/// Replaces the changes beyond [`CHANGES_MAX`] by their number.
fn limited(mut changes: Vec<String>) -> Vec<String> {
    let more = changes.len().saturating_sub(CHANGES_MAX);
    if more > 0 {
        changes.truncate(CHANGES_MAX);
        changes.push(format!("and {more} more"));
    }
    changes
}

/// Whether two listeners, an old and a new one, are the same.
type ListenerMatch = fn(&ListenerConfig, &ListenerConfig) -> bool;

/// Returns for each listener of `new` the index of the listener of `old` at the same address or path.
#[must_use]
pub fn match_listeners(old: &[ListenerConfig], new: &[ListenerConfig]) -> Vec<Option<usize>> {
    let mut found = vec![None; new.len()];
    let mut is_taken = vec![false; old.len()];
    let is_equal: ListenerMatch = |old, new| old == new;
    let is_at_same_place: ListenerMatch = |old, new| old.endpoint.is_same_socket(&new.endpoint);
    // Several listeners may have port 0, so the place alone is ambiguous: equal listeners are paired
    // first, and keep their sockets.
    for is_match in [is_equal, is_at_same_place] {
        for (new_index, new) in new.iter().enumerate() {
            if found[new_index].is_some() {
                continue;
            }
            let mut olds = old.iter().enumerate();
            let same = olds.find(|(index, old)| !is_taken[*index] && is_match(old, new));
            if let Some((index, _)) = same {
                found[new_index] = Some(index);
                is_taken[index] = true;
            }
        }
    }
    found
}

/// The changed keys that cannot be applied to the spool folder, the open window or an open socket.
fn keys_that_need_a_restart(old: &ConfigFile, new: &ConfigFile) -> Vec<String> {
    let mut keys = Vec::new();
    if old.config.state_dir != new.config.state_dir {
        keys.push("state_dir".to_owned());
    }
    // The open window has members that are hashed with the old seed.
    if old.config.aggregation.set_seed != new.config.aggregation.set_seed {
        keys.push("aggregation.set_seed".to_owned());
    }
    let matches = match_listeners(&old.listeners, &new.listeners);
    for (new, index) in new.listeners.iter().zip(matches) {
        let Some(old) = index.map(|index| &old.listeners[index]) else { continue };
        if old.protocol != new.protocol {
            keys.push(format!("protocol of the listener {new}"));
        }
        if let Some(key) = old.endpoint.fixed_key(&new.endpoint) {
            keys.push(format!("{key} of the listener {new}"));
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_gets_the_outcome_of_a_reload_that_began_after_it() {
        let outcome = |words: &str| {
            let error = Some(words.to_owned());
            ReloadOutcome { at: SystemTime::UNIX_EPOCH, changes: Vec::new(), error }
        };
        // One has ended, and another is running.
        let mut reloads = ReloadStats { started: 2, applied: 1, ..ReloadStats::default() };
        let requested = reloads.started;
        (reloads.refused, reloads.last) = (1, Some(outcome("running at the time")));
        assert!(reloads.outcome_after(requested).is_none());
        reloads.started += 1;
        (reloads.refused, reloads.last) = (2, Some(outcome("its own")));
        let own = reloads.outcome_after(requested).unwrap();
        assert_eq!(own.error.as_deref(), Some("its own"));
    }
}
