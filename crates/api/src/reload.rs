//! Reloads: their outcome, in the status, and `/api/v1/reload`.

use serde::{Deserialize, Serialize};

/// Which file a reload reads, and the outcome of reloads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReloadStatus {
    /// The absolute path of the configuration file; `None` with the built-in defaults.
    pub file: Option<String>,
    /// Reloads applied, those without changes included.
    pub applied: u64,
    /// Reloads refused, which changed nothing.
    pub refused: u64,
    /// The latest reload; `None` before the first.
    pub last: Option<LastReload>,
}

/// The latest reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastReload {
    /// When it ended.
    #[serde(default)]
    pub at: String,
    /// The changes, a line for each key.
    pub changes: Vec<String>,
    /// Why it was refused; `None` if it was applied.
    pub error: Option<String>,
}

/// The reply of `/api/v1/reload`: the changes that a reload would make at this moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadForecast {
    /// The absolute path of the configuration file; `None` with the built-in defaults.
    pub file: Option<String>,
    /// The changes, a line for each key.
    pub changes: Vec<String>,
    /// Why it would be refused; `None` if it would be applied.
    pub error: Option<String>,
}
