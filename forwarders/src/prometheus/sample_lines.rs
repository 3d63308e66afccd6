//! The lines of samples, the same in both text formats.

use std::sync::Arc;

use super::names::{FamilyName, le, quantile};
use super::state::{Shown, Slot};
use super::timer_total::{TimerTotal, whole};
use super::timers::TimerFamily;
use crate::format::number;
use model::Percentile;

/// Writes the lines of samples; its buffers are shared by all series.
pub(super) struct SampleWriter {
    /// `quantile="0.9"} ` for each percentile, the same for all summaries.
    quantiles: Vec<String>,
    /// The labels of the current series, with braces and the trailing blank.
    labels: Vec<u8>,
    /// The start of the lines of the current timer that have an additional label (`quantile` or
    /// `le`): the name and the labels of the series, up to the additional label.
    before_label: Vec<u8>,
    /// The bounds of the latest classic histogram, and `le="10.0"} ` for each of them. Most
    /// histograms have the same ones.
    bounds: Arc<[f64]>,
    les: Vec<String>,
    /// Whether a timer has a negative value or sum, which OpenMetrics forbids.
    pub(super) has_negative_timer: bool,
}

impl SampleWriter {
    /// Creates a writer.
    pub(super) fn new(percentiles: &[Percentile]) -> Self {
        let label = |percentile| format!("quantile=\"{}\"}} ", quantile(percentile));
        Self {
            quantiles: percentiles.iter().map(label).collect(),
            labels: Vec::new(),
            before_label: Vec::new(),
            bounds: Arc::default(),
            les: Vec::new(),
            has_negative_timer: false,
        }
    }

    /// Writes the sample of a series that is not a timer.
    pub(super) fn write(&mut self, out: &mut Vec<u8>, name: &FamilyName, slot: &Slot) {
        let (name, is_renamed) = (name.sample.as_bytes(), name.is_renamed);
        self.take_labels(slot);
        match &slot.shown {
            Shown::Total { shown: value, .. } | Shown::Last(value) if is_renamed => {
                // The format of Go, in which the exporters print their values.
                line_of(out, &[name, &self.labels], |out| number::write_as_go(out, *value));
            }
            Shown::Total { shown, .. } => line(out, &[name, &self.labels], *shown),
            Shown::Last(value) => line(out, &[name, &self.labels], *value),
            Shown::Timer(_) => {}
        }
    }

    /// Writes the samples of a timer in one of its families.
    pub(super) fn write_timer(
        &mut self,
        out: &mut Vec<u8>,
        name: &[u8],
        slot: &Slot,
        family: TimerFamily,
    ) {
        let Shown::Timer(total) = &slot.shown else { return };
        self.take_labels(slot);
        // OpenMetrics forbids negative values and negative sums in summaries, and negative sums in
        // histograms.
        let least = total.percentiles.iter().copied().fold(total.sum.value(), f64::min);
        self.has_negative_timer |= least < 0.0;
        let count = match family {
            TimerFamily::Summary => {
                self.take_before_label(&[name]);
                for (quantile, value) in self.quantiles.iter().zip(&total.percentiles) {
                    line(out, &[&self.before_label, quantile.as_bytes()], *value);
                }
                whole(total.count.value())
            }
            TimerFamily::Histogram => {
                self.write_buckets(out, name, total);
                total.histogram_count()
            }
        };
        line(out, &[name, b"_sum", &self.labels], total.sum.value());
        line(out, &[name, b"_count", &self.labels], count);
    }

    /// Writes the classic buckets. A native histogram without them has the bucket +Inf, which a
    /// histogram needs in these formats.
    fn write_buckets(&mut self, out: &mut Vec<u8>, name: &[u8], total: &TimerTotal) {
        self.take_before_label(&[name, b"_bucket"]);
        if let Some(classic) = &total.classic
            && !Arc::ptr_eq(classic.bounds(), &self.bounds)
        {
            self.bounds = Arc::clone(classic.bounds());
            self.les =
                self.bounds.iter().map(|bound| format!("le=\"{}\"}} ", le(*bound))).collect();
        }
        for (le, (_, samples)) in self.les.iter().zip(total.classic_buckets()) {
            line(out, &[&self.before_label, le.as_bytes()], samples);
        }
        line(out, &[&self.before_label, b"le=\"+Inf\"} "], total.histogram_count());
    }

    fn take_labels(&mut self, slot: &Slot) {
        self.labels.clear();
        for (label, value) in slot.series.tags() {
            self.labels.push(if self.labels.is_empty() { b'{' } else { b',' });
            self.labels.extend_from_slice(label.as_bytes());
            self.labels.extend_from_slice(b"=\"");
            write_escaped(&mut self.labels, value);
            self.labels.push(b'"');
        }
        let end: &[u8] = if self.labels.is_empty() { b" " } else { b"} " };
        self.labels.extend_from_slice(end);
    }

    fn take_before_label(&mut self, name: &[&[u8]]) {
        self.before_label.clear();
        name.iter().for_each(|part| self.before_label.extend_from_slice(part));
        match self.labels.strip_suffix(b"} ") {
            Some(labels) => {
                self.before_label.extend_from_slice(labels);
                self.before_label.push(b',');
            }
            None => self.before_label.push(b'{'),
        }
    }
}

fn line(out: &mut Vec<u8>, before: &[&[u8]], value: f64) {
    line_of(out, before, |out| number::write(out, value));
}

fn line_of(out: &mut Vec<u8>, before: &[&[u8]], number: impl FnOnce(&mut Vec<u8>)) {
    before.iter().for_each(|piece| out.extend_from_slice(piece));
    number(out);
    out.push(b'\n');
}

fn write_escaped(out: &mut Vec<u8>, value: &str) {
    let mut rest = value.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\\' | b'"' | b'\n')) {
        out.extend_from_slice(&rest[..at]);
        let escape: &[u8] = match rest[at] {
            b'\n' => b"\\n",
            b'"' => b"\\\"",
            _ => b"\\\\",
        };
        out.extend_from_slice(escape);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}
