//! The daemon's log, written to standard error.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::{Layered, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, reload};

use crate::config::log::{LogConfig, LogFormat, LogLevel};

/// Handles for changing the level and the format of the running log.
#[allow(missing_debug_implementations)]
pub struct LogHandle {
    level: reload::Handle<LevelFilter, Registry>,
    format: reload::Handle<FormatLayer, Layered<reload::Layer<LevelFilter, Registry>, Registry>>,
}

/// A layer that writes text or JSON; boxed, because a reload exchanges one for the other.
type FormatLayer =
    Box<dyn Layer<Layered<reload::Layer<LevelFilter, Registry>, Registry>> + Send + Sync>;

impl LogHandle {
    /// Starts the log. A process can start it only once.
    #[must_use]
    pub fn start(config: &LogConfig) -> Self {
        let (level, level_handle) = reload::Layer::new(level(config));
        let (format, format_handle) = reload::Layer::new(format(config));
        tracing_subscriber::registry().with(level).with(format).init();
        Self { level: level_handle, format: format_handle }
    }

    /// Applies other settings to the running log.
    pub fn reconfigure(&self, config: &LogConfig) {
        // Fails only after the log has ended, and the log lives as long as the process.
        let _is_alive = self.level.reload(level(config));
        let _is_alive = self.format.reload(format(config));
    }
}

fn level(config: &LogConfig) -> LevelFilter {
    match config.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

fn format(config: &LogConfig) -> FormatLayer {
    let colors = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = layer().with_writer(io::stderr).with_ansi(colors).with_target(false);
    match config.format {
        LogFormat::Text => log.boxed(),
        LogFormat::Json => log.json().flatten_event(true).boxed(),
    }
}
