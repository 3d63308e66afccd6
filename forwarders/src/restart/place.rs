//! The place of the restart state during a run: it may become usable only later.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::folder::{RestartFolder, RestartFolderError};

/// The folder of the restart state, whether or not it can be used at the moment.
///
/// State that an earlier run left is removed as soon as the disk allows it: a later run would take it
/// for the state of the run before.
#[derive(Debug)]
pub struct RestartPlace {
    root: PathBuf,
    state: Mutex<PlaceState>,
    has_begun: AtomicBool,
}

#[derive(Debug)]
enum PlaceState {
    /// The folder could not be opened, or was not yet.
    Unusable,
    /// Another daemon works with the folder, so that its state is not of an earlier run of this one.
    Foreign(String),
    Opened {
        folder: Arc<RestartFolder>,
        /// Whether levels and totals of an earlier run may be there.
        is_stale: bool,
    },
}

impl RestartPlace {
    /// A place that is not opened yet.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        let state = Mutex::new(PlaceState::Unusable);
        Self { root: root.to_owned(), state, has_begun: AtomicBool::new(false) }
    }

    /// Records that the start of this run has succeeded. Until then the state belongs to the next start.
    pub fn begin(&self) {
        self.has_begun.store(true, Ordering::Release);
    }

    /// Whether this run may replace the state.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Acquire)
    }

    /// Whether another daemon worked with the folder when this one wanted to open it: then this one
    /// leaves it alone. Does not block.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.state.try_lock().is_some_and(|state| matches!(*state, PlaceState::Foreign(_)))
    }

    /// Opens the folder unless it is open. Blocks.
    ///
    /// # Errors
    /// When another daemon works with the folder or the system refuses access: the reason.
    pub fn open(&self) -> Result<Arc<RestartFolder>, String> {
        self.state.lock().open(&self.root)
    }

    /// Opens the folder, and removes the levels and totals of an earlier run unless that was done before.
    /// Blocks.
    ///
    /// # Errors
    /// When the folder cannot be used, or still has state of an earlier run: the reason.
    pub fn clear(&self) -> Result<(), String> {
        let mut state = self.state.lock();
        let folder = state.open(&self.root)?;
        if let PlaceState::Opened { is_stale: is_stale @ true, .. } = &mut *state {
            folder.remove_all_but_windows().map_err(|error| error.to_string())?;
            *is_stale = false;
        }
        Ok(())
    }

    /// The folder, for the state of this run. Blocks.
    ///
    /// # Errors
    /// When it cannot be used: the reason.
    pub fn for_saving(&self) -> Result<Arc<RestartFolder>, String> {
        let mut state = self.state.lock();
        state.close_if_moved();
        let folder = state.open(&self.root)?;
        if let PlaceState::Opened { is_stale: is_stale @ true, .. } = &mut *state {
            // If this fails, each part replaces the stale one; later it would remove new parts.
            let _replaced_instead = folder.remove_all_but_windows();
            *is_stale = false;
        }
        Ok(folder)
    }
}

impl PlaceState {
    fn open(&mut self, root: &Path) -> Result<Arc<RestartFolder>, String> {
        match self {
            Self::Opened { folder, .. } => return Ok(Arc::clone(folder)),
            Self::Foreign(reason) => return Err(reason.clone()),
            Self::Unusable => {}
        }
        let error = match RestartFolder::open(root) {
            Ok(folder) => {
                let folder = Arc::new(folder);
                *self = Self::Opened { folder: Arc::clone(&folder), is_stale: true };
                return Ok(folder);
            }
            Err(error) => error,
        };
        let reason = error.to_string();
        *self = match error {
            RestartFolderError::Held { .. } => Self::Foreign(reason.clone()),
            RestartFolderError::System { .. } => Self::Unusable,
        };
        Err(reason)
    }

    /// Another daemon may have locked a folder that has replaced the locked one.
    fn close_if_moved(&mut self) {
        if let Self::Opened { folder, .. } = self
            && !folder.is_in_place().unwrap_or(true)
        {
            *self = Self::Unusable;
        }
    }
}
