//! What a reload would change, and how reloads went.

use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use forwarders::delivery::driver::Destination;
use thiserror::Error;

use crate::config::{self, LoadError, Loaded};
use engine::listener::ListenerConfig;

/// Most changes that are told.
const CHANGES_MAX: usize = 100;

/// What the daemon runs with, and how reloads went. Shared between the one who reloads and those who
/// report.
#[derive(Debug)]
pub struct Configured {
    path: Option<PathBuf>,
    instance: String,
    running: Mutex<Arc<Loaded>>,
    reloads: Mutex<Reloads>,
}

/// How reloads went.
#[derive(Clone, Debug, Default)]
pub struct Reloads {
    /// Those that were applied, also if nothing had changed.
    pub applied: u64,
    /// Those that changed nothing because something was wrong.
    pub refused: u64,
    /// The latest.
    pub last: Option<LastReload>,
}

/// One reload.
#[derive(Clone, Debug)]
pub struct LastReload {
    /// When it ended.
    pub at: SystemTime,
    /// What it changed, a line for each key.
    pub changes: Vec<String>,
    /// Why it was refused.
    pub error: Option<String>,
}

/// A configuration that may take the place of the one that runs.
pub struct Candidate {
    /// What the file says now.
    pub loaded: Loaded,
    /// Its destinations, not started.
    pub destinations: Vec<Destination>,
    /// What is different, a line for each key; at most so many are told.
    pub changes: Vec<String>,
}

/// Why a configuration cannot take the place of the one that runs.
#[derive(Debug, Error)]
pub enum Unfit {
    /// It would not start either.
    #[error(transparent)]
    Wrong(#[from] LoadError),
    /// A running daemon cannot follow.
    #[error(
        "{file}: {} cannot be changed while the daemon runs, so nothing was changed: restart it \
         (systemctl restart tallyd), or take the change back", keys.join(", ")
    )]
    NeedsRestart {
        /// The file.
        file: String,
        /// Which keys.
        keys: Vec<String>,
    },
}

impl Configured {
    /// A daemon that runs with the file at `path`, or the default one.
    #[must_use]
    pub fn new(path: Option<PathBuf>, instance: String, loaded: Arc<Loaded>) -> Self {
        Self { path, instance, running: Mutex::new(loaded), reloads: Mutex::default() }
    }

    /// What it runs with.
    #[must_use]
    pub fn running(&self) -> Arc<Loaded> {
        Arc::clone(&self.running.lock())
    }

    /// Identifies this run to consumers.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// How reloads went.
    #[must_use]
    pub fn reloads(&self) -> Reloads {
        self.reloads.lock().clone()
    }

    /// The file that a reload reads; `None` with the built-in defaults.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        let running = self.running();
        running.is_file.then(|| std::path::absolute(running.source.name()).unwrap_or_default())
    }

    /// Reads the configuration anew. Waits for the disk, and for names to be looked up.
    ///
    /// # Errors
    /// When it could not take the place of the one that runs.
    pub fn candidate(&self) -> Result<Candidate, Unfit> {
        let (loaded, destinations) = config::prepare(self.path.as_deref(), &self.instance)?;
        let running = self.running();
        let keys = keys_that_need_a_restart(&running, &loaded);
        if !keys.is_empty() {
            return Err(Unfit::NeedsRestart { file: loaded.source.name().to_owned(), keys });
        }
        let changes = few(running.leaves.changes(&loaded.leaves));
        Ok(Candidate { loaded, destinations, changes })
    }

    /// A reload is done: this is what the daemon runs with now.
    pub fn applied(&self, loaded: Arc<Loaded>, changes: Vec<String>) {
        *self.running.lock() = loaded;
        let mut reloads = self.reloads.lock();
        reloads.applied += 1;
        reloads.last = Some(LastReload { at: SystemTime::now(), changes, error: None });
    }

    /// A reload was refused.
    pub fn refused(&self, error: String) {
        let mut reloads = self.reloads.lock();
        reloads.refused += 1;
        let last = LastReload { at: SystemTime::now(), changes: Vec::new(), error: Some(error) };
        reloads.last = Some(last);
    }
}

fn few(mut changes: Vec<String>) -> Vec<String> {
    let more = changes.len().saturating_sub(CHANGES_MAX);
    if more > 0 {
        changes.truncate(CHANGES_MAX);
        changes.push(format!("and {more} more"));
    }
    changes
}

type Pair = fn(&ListenerConfig, &ListenerConfig) -> bool;

/// For each of `new` the one of `old` at the same place, by its number. Several may be at port 0;
/// those that are the same in everything belong together first.
#[must_use]
pub fn same_places(old: &[ListenerConfig], new: &[ListenerConfig]) -> Vec<Option<usize>> {
    let mut found = vec![None; new.len()];
    let mut is_taken = vec![false; old.len()];
    let is_equal: Pair = |old, new| old == new;
    let is_at: Pair = |old, new| old.endpoint.is_same_socket(&new.endpoint);
    for belong_together in [is_equal, is_at] {
        for (number, new) in new.iter().enumerate() {
            if found[number].is_some() {
                continue;
            }
            let mut olds = old.iter().enumerate();
            let same = olds.find(|(index, old)| !is_taken[*index] && belong_together(old, new));
            if let Some((index, _)) = same {
                found[number] = Some(index);
                is_taken[index] = true;
            }
        }
    }
    found
}

fn keys_that_need_a_restart(old: &Loaded, new: &Loaded) -> Vec<String> {
    let mut keys = Vec::new();
    if old.config.state_dir != new.config.state_dir {
        keys.push("state_dir".to_owned());
    }
    let places = same_places(&old.listeners, &new.listeners);
    for (new, place) in new.listeners.iter().zip(places) {
        let Some(old) = place.map(|place| &old.listeners[place]) else { continue };
        if old.protocol != new.protocol {
            keys.push(format!("protocol of the listener {new}"));
        }
        if let Some(key) = old.endpoint.fixed_key(&new.endpoint) {
            keys.push(format!("{key} of the listener {new}"));
        }
    }
    keys
}
