//! `/api/v1/config`: every key of the configuration with its effective value and its origin.

use serde::{Deserialize, Serialize};

/// The reply of `/api/v1/config`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EffectiveConfig {
    /// The configuration file; `None` with the built-in defaults.
    pub file: Option<String>,
    /// The keys, in the order of the sample file.
    pub keys: Vec<EffectiveKey>,
}

/// A key of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EffectiveKey {
    /// Its path, such as `forwarders.kafka.kafka_topic` or `listeners[0].address`.
    pub key: String,
    /// Its value as text, `***` for a secret; `None` if it is not set and has no default.
    pub value: Option<String>,
    /// Where the value comes from.
    pub origin: ConfigOrigin,
    /// The line of the file; `None` for a default.
    pub line: Option<u64>,
    /// The `${…}` in the value, without their defaults.
    pub references: Option<String>,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigOrigin {
    /// No file sets it.
    #[default]
    Default,
    /// The file has it.
    File,
    /// The environment of the process has it, to which the file refers, or which names a default.
    Environment,
}
