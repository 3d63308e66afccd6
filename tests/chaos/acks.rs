//! Which windows a destination acknowledged to one run of the daemon and got again from a later one.

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::{Evidence, Key, Span};

/// The acknowledged windows.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    /// The latest run that each was acknowledged to.
    acked: BTreeMap<Key, (Span, u64)>,
    /// By run: the ends of windows that it sent although an earlier one had them acknowledged.
    repeated: BTreeMap<u64, BTreeSet<u64>>,
}

impl Acks {
    /// A run has sent windows.
    pub(crate) fn sent(&mut self, run: u64, windows: &Evidence) {
        for (key, span) in windows.last_spans() {
            if self.acked.get(&key).is_some_and(|(acked, of)| *acked == span && *of < run) {
                self.repeated.entry(run).or_default().insert(key.1);
            }
        }
    }

    /// They were acknowledged to it.
    pub(crate) fn acknowledged(&mut self, run: u64, windows: &Evidence) {
        self.acked.extend(windows.last_spans().map(|(key, span)| (key, (span, run))));
    }

    /// The ends of the windows up to `until_ms` that a run has repeated.
    pub(crate) fn repeated(&self, run: u64, until_ms: u64) -> Vec<u64> {
        let ends = self.repeated.get(&run).into_iter().flatten();
        ends.copied().filter(|end_ms| *end_ms <= until_ms).collect()
    }
}
