//! Counts of failures of the restart state.

use std::sync::atomic::{AtomicU64, Ordering};

use forwarders::restart::RestartPart;

/// Counts the parts of the restart state that could not be read or written, or not as a whole.
#[derive(Debug, Default)]
pub struct RestartStats {
    windows: AtomicU64,
    levels: AtomicU64,
    totals: AtomicU64,
    signatures: AtomicU64,
}

impl RestartStats {
    /// Counts a failure.
    pub fn failed(&self, part: &RestartPart) {
        let count = match part {
            RestartPart::Windows => &self.windows,
            RestartPart::Levels => &self.levels,
            RestartPart::Totals(_) => &self.totals,
            RestartPart::Signatures => &self.signatures,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// The failures by part.
    #[must_use]
    pub fn failures(&self) -> [(&'static str, u64); 4] {
        let Self { windows, levels, totals, signatures } = self;
        [("windows", windows), ("levels", levels), ("totals", totals), ("signatures", signatures)]
            .map(|(part, count)| (part, count.load(Ordering::Relaxed)))
    }
}
