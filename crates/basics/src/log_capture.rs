//! The log of a test.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::Field;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{DefaultGuard, set_default};
use tracing::{Event, Metadata, Subscriber};

/// Captures the lines that this thread logs as long as the value exists.
pub struct LogCapture {
    log: Arc<CapturedLog>,
    _current: DefaultGuard,
}

impl LogCapture {
    /// Begins to capture.
    #[must_use]
    pub fn start() -> Self {
        let log = Arc::new(CapturedLog::default());
        let current = set_default(Arc::clone(&log));
        Self { log, _current: current }
    }

    /// Takes the lines that were logged since the previous call, each with its fields and its message
    /// as `message=TEXT`.
    #[must_use]
    pub fn take_lines(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Returns the lines that this thread logs during `action`.
pub fn lines_logged(action: impl FnOnce()) -> Vec<String> {
    let capture = LogCapture::start();
    action();
    capture.take_lines()
}

#[derive(Default)]
struct CapturedLog {
    lines: Mutex<Vec<String>>,
}

impl Subscriber for CapturedLog {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = format!("{} ", event.metadata().level());
        event.record(&mut |field: &Field, value: &dyn Debug| {
            let _cannot_fail = write!(line, "{field}={value:?} ");
        });
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    // Nothing is recorded of spans.

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_their_level_fields_and_message() {
        let lines = lines_logged(|| tracing::warn!(points = 3, "dropped"));
        assert_eq!(lines, ["WARN message=dropped points=3 "]);
        assert_eq!(lines_logged(|| {}), [""; 0]);
    }
}
