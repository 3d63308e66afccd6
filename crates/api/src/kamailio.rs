//! The state of the Kamailio servers that are polled.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A Kamailio server that is polled.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct KamailioStatus {
    /// Its address, as configured.
    pub endpoint: String,
    /// The tags of its samples, as configured.
    pub tags: BTreeMap<String, String>,
    /// Whether the latest poll got all replies.
    pub up: bool,
    /// Polls so far.
    pub polls: u64,
    /// Polls that broke off.
    pub failures: u64,
    /// How long the latest poll took, in seconds.
    pub duration_s: f64,
    /// The latest failure; `None` if there was none.
    pub last_error: Option<String>,
    /// When that was.
    pub last_error_at: Option<String>,
    /// When a poll last got all replies; `None` if never.
    pub last_success: Option<String>,
    /// The methods that the server does not answer, each with the reason.
    pub faults: BTreeMap<String, String>,
}
