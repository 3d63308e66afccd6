//! The log of a test.

use std::fmt::{Debug, Write as _};
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::field::Field;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber, subscriber};

/// Returns the lines that this thread logs during `action`, each with its fields and its message as
/// `message=TEXT`.
pub(crate) fn lines_logged(action: impl FnOnce()) -> Vec<String> {
    let log = Arc::new(CapturedLog::default());
    subscriber::with_default(Arc::clone(&log), action);
    std::mem::take(&mut log.lines.lock())
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
        let mut line = String::new();
        event.record(&mut |field: &Field, value: &dyn Debug| {
            let _cannot_fail = write!(line, "{field}={value:?} ");
        });
        self.lines.lock().push(line);
    }

    // The engine has no spans.

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}
