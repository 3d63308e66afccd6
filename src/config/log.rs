//! `log`: the settings of the daemon's log.

use serde::Deserialize;

/// `log`: level and format of the daemon's log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug` or `trace`; each includes those before it. Defaults to
    /// `info`.
    pub level: LogLevel,
    /// `text` for people, `json` for log collectors. Defaults to `text`.
    pub format: LogFormat,
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
