//! The daemon's log, written to standard error through a bounded queue.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use basics::escape::visible;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::{Layered, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, reload};

use crate::config::log::{LogConfig, LogFormat, LogLevel};

pub use self::output::LogOutput;

mod output;
mod queue;

/// Handles for changing the level and the format of the running log.
#[allow(missing_debug_implementations)]
pub struct LogHandle {
    output: LogOutput,
    level: reload::Handle<LevelFilter, Registry>,
    format: reload::Handle<FormatLayer, Layered<reload::Layer<LevelFilter, Registry>, Registry>>,
}

/// A layer that writes text or JSON; boxed, because a reload exchanges one for the other.
type FormatLayer =
    Box<dyn Layer<Layered<reload::Layer<LevelFilter, Registry>, Registry>> + Send + Sync>;

impl LogHandle {
    /// Starts the log. A process can start it only once.
    #[must_use]
    pub fn start(config: &LogConfig, output: LogOutput) -> Self {
        output.set_max_bytes(config.queue);
        let (level, level_handle) = reload::Layer::new(level(config));
        let (format, format_handle) = reload::Layer::new(format(config, &output));
        tracing_subscriber::registry().with(level).with(format).init();
        Self { output, level: level_handle, format: format_handle }
    }

    /// Returns the counter of lines that were not written.
    #[must_use]
    pub fn dropped(&self) -> Arc<AtomicU64> {
        self.output.dropped()
    }

    /// Applies other settings to the running log.
    pub fn reconfigure(&self, config: &LogConfig) {
        self.output.set_max_bytes(config.queue);
        // Fails only after the log has ended, and it lives as long as the process.
        let _is_alive = self.level.reload(level(config));
        let _is_alive = self.format.reload(format(config, &self.output));
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

fn format(config: &LogConfig, output: &LogOutput) -> FormatLayer {
    let colors = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let output = output.clone();
    // The layer would print its internal errors directly to standard error, where a write can
    // block.
    let log = layer().with_writer(move || VisibleLog(output.clone())).log_internal_errors(false);
    let log = log.with_ansi(colors).with_target(false);
    match config.format {
        LogFormat::Text => log.boxed(),
        LogFormat::Json => log.json().flatten_event(true).boxed(),
    }
}

/// A writer that escapes deceptive characters: the log contains texts of senders and servers. The
/// escapes are valid JSON, for the JSON format.
struct VisibleLog<W>(W);

impl<W: Write> Write for VisibleLog<W> {
    /// Writes whole lines: the formatter calls it once for each event.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(lines);
        self.0.write_all(visible(&text).as_bytes())?;
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_a_sender_cannot_reorder_the_log() {
        let mut log = VisibleLog(Vec::new());
        let line = "\u{1b}[33m WARN\u{1b}[0m metric=a\u{202e}b\u{9b}2J\u{2028}\n".as_bytes();
        assert_eq!(log.write(line).unwrap(), line.len());
        let shown = "\u{1b}[33m WARN\u{1b}[0m metric=a\\u202eb\\u009b2J\\u2028\n";
        assert_eq!(String::from_utf8(log.0).unwrap(), shown);
    }
}
