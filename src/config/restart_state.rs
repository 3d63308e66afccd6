//! `restart_state`: the state that an orderly stop leaves to the next run.

use basics::units::ByteSize;
use serde::Deserialize;

/// The `restart_state` section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RestartStateConfig {
    /// Whether a stop leaves state in `state_dir`. If not, a restart divides the open window into two,
    /// gauges that are changed start from 0, and the totals of Prometheus destinations are reset.
    /// Defaults to `true`.
    pub enabled: bool,
    /// Maximum size of each file before compression: the open window, the values of gauges, and the
    /// totals of each Prometheus destination. Beyond it, the open window is not continued, the gauges
    /// that were idle longest start from 0, and totals are reset, first those of series that have left
    /// the page. Defaults to `256MiB`.
    pub max_bytes: ByteSize,
}

impl Default for RestartStateConfig {
    fn default() -> Self {
        Self { enabled: true, max_bytes: ByteSize::from_mib(256) }
    }
}

impl RestartStateConfig {
    /// Maximum size of each file, in bytes; 0 if no state is left.
    #[must_use]
    pub fn bound(&self) -> u64 {
        if self.enabled { self.max_bytes.get() } else { 0 }
    }
}
