//! The daemon's log, on standard error.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::{Layered, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, reload};

use crate::config::log::{LogConfig, LogFormat, LogLevel};

/// The log that was started, to change it.
#[allow(missing_debug_implementations)]
pub struct Log {
    level: reload::Handle<LevelFilter, Registry>,
    format: reload::Handle<Boxed, Layered<reload::Layer<LevelFilter, Registry>, Registry>>,
}

type Boxed = Box<dyn Layer<Layered<reload::Layer<LevelFilter, Registry>, Registry>> + Send + Sync>;

impl Log {
    /// Starts the log; to be called once.
    #[must_use]
    pub fn start(config: &LogConfig) -> Self {
        let (level, level_handle) = reload::Layer::new(level(config));
        let (format, format_handle) = reload::Layer::new(format(config));
        tracing_subscriber::registry().with(level).with(format).init();
        Self { level: level_handle, format: format_handle }
    }

    /// Goes on with other settings.
    pub fn change(&self, config: &LogConfig) {
        // The log lives as long as the process.
        let _never_gone = self.level.reload(level(config));
        let _never_gone = self.format.reload(format(config));
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

fn format(config: &LogConfig) -> Boxed {
    let colors = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = layer().with_writer(io::stderr).with_ansi(colors).with_target(false);
    match config.format {
        LogFormat::Text => log.boxed(),
        LogFormat::Json => log.json().flatten_event(true).boxed(),
    }
}
