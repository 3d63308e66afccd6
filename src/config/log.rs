//! `log`: the settings of the daemon's log.

use std::ops::RangeInclusive;

use basics::bounds::between;
use basics::units::ByteSize;
use serde::Deserialize;
use serde::de::Deserializer;

/// Bounds of `queue`.
const QUEUE_RANGE: RangeInclusive<ByteSize> =
    ByteSize::from_bytes(64 << 10)..=ByteSize::from_mib(256);

/// `log`: level, format and queue of the daemon's log.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug` or `trace`; each includes those before it. Defaults to
    /// `info`.
    pub level: LogLevel,
    /// `text` for people, `json` for log collectors. Defaults to `text`.
    pub format: LogFormat,
    /// Memory for lines that wait until standard error is read. Beyond it, lines are dropped and
    /// counted: the log never delays the daemon. A larger queue bridges longer bursts. 64KiB to
    /// 256MiB. Defaults to `4MiB`.
    #[serde(deserialize_with = "queue")]
    pub queue: ByteSize,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            level: LogLevel::default(),
            format: LogFormat::default(),
            queue: ByteSize::from_mib(4),
        }
    }
}

fn queue<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
    between(deserializer, QUEUE_RANGE)
}

/// The least severe messages that are logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Data was lost, or an operator has to act.
    Error,
    /// An operator may have to act.
    Warn,
    /// Events of interest to an operator.
    #[default]
    Info,
    /// Events of interest to a developer.
    Debug,
    /// All events.
    Trace,
}

/// The format of a log message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line of text.
    #[default]
    Text,
    /// A JSON object on one line.
    Json,
}
