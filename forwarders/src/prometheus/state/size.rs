//! Upper bounds of the sizes of series and families on the page, and the room that native histograms get.

use std::sync::atomic::Ordering;

use super::{Shown, SlotId, State};
use crate::prometheus::native;
use crate::prometheus::timers::TimerForm;
use model::Series;

/// Maximum size of a line without name and labels, in bytes: braces, quotes, the label of the
/// quantile or bucket, the longest number, and the suffix of the name. A metric in protobuf takes
/// less, and so does a classic bucket there.
const LINE_BYTES: usize = 80;

impl State {
    /// Returns the upper bound of a series' size on the page, in bytes, without native buckets.
    pub(super) fn size_at_most(&self, series: &Series, shown: &Shown, percentiles: usize) -> u64 {
        let forms = &self.timers.forms;
        // In protobuf, a timer is a metric of each of its families. Percentiles and classic buckets
        // are parts of it without labels.
        let (lines, metrics, parts) = match shown {
            Shown::Timer(_) => {
                // Each family has a sum and a count, a histogram also the bucket +Inf. Lines of a
                // summary count even if there is none: this is only an upper bound.
                let histogram = if forms.has_histogram() { 3 + shown.bounds() } else { 0 };
                let lines = percentiles + 2 + histogram;
                (lines, forms.families().len(), percentiles + shown.bounds())
            }
            Shown::Total { .. } | Shown::Last(_) => (1, 1, 0),
        };
        let labels: usize = series
            .tags()
            .map(|(key, value)| {
                let is_escaped = |byte: &u8| matches!(byte, b'"' | b'\\' | b'\n');
                let escapes = value.bytes().filter(is_escaped).count();
                key.len() + value.len() + escapes + "=\"\",".len()
            })
            .sum();
        let line = series.name().len() + labels + LINE_BYTES;
        // A page with native histograms exists as text and in protobuf.
        let protobuf = if forms.has(TimerForm::Native) {
            metrics * LINE_BYTES.max(line) + parts * LINE_BYTES
        } else {
            0
        };
        (lines * line + protobuf) as u64
    }

    /// Returns the upper bound of a family's headers, in bytes: its name in both lines, and its origin
    /// with every byte escaped.
    pub(super) fn header_at_most(&self, origin: &str) -> u64 {
        let families = self.timers.forms.families().len();
        (families * (2 * LINE_BYTES + 4 * origin.len())) as u64
    }

    /// Merges buckets of a native histogram until it has no more than the limit, and no more than the
    /// page has room for.
    pub(super) fn fit_native(&mut self, id: SlotId) {
        let Some(slot) = &mut self.slots[id as usize] else { return };
        let Shown::Timer(total) = &mut slot.shown else { return };
        let Some(native) = &mut total.native else { return };
        let others = self.bytes - slot.native_bytes;
        let room = self.limits.bytes_max.saturating_sub(others).max(slot.native_bytes);
        let most = self.timers.native_buckets_max.min(native::buckets_within(room));
        if native.shrink(most) {
            self.reduced.fetch_add(1, Ordering::Relaxed);
        }
        let bytes = native::bytes_at_most(native.bucket_count());
        self.bytes = others + bytes;
        slot.bytes = slot.bytes - slot.native_bytes + bytes;
        slot.native_bytes = bytes;
    }
}
