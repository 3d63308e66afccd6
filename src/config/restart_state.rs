//! `restart_state`: what an orderly stop leaves to the next run.

use basics::units::ByteSize;
use serde::Deserialize;

/// The `restart_state` section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RestartStateConfig {
    /// Maximum size of each of its files before compression: the open window, the values of gauges, and
    /// the totals of each Prometheus destination. Beyond it, an open window is not continued, gauges
    /// that were idle longest start from 0, and totals of series that left first are reset. 0 keeps no
    /// state. Defaults to `256MiB`.
    pub max_bytes: ByteSize,
}

impl Default for RestartStateConfig {
    fn default() -> Self {
        Self { max_bytes: ByteSize::from_mib(256) }
    }
}
