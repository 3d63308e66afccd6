//! The buckets of the page and of remote write that count the timers of a window, for `tallyd explain`.
//! Text has no native histograms, and a total does not show which bucket a window has changed.

use std::sync::Arc;

use smallvec::SmallVec;

use super::names::le;
use super::native::NativeHistogram;
use super::state::placed::Placed;
use super::state::{Shown, Slot, State};
use super::timer_total::ClassicBuckets;
use super::timers::TimerFamily;
use crate::delivery::explained::{
    ExplainedClassicBucket, ExplainedHistogram, ExplainedNative, ExplainedNativeBucket,
};
use model::{Snapshot, Timer, UNITS_PER_SAMPLE, Value};

/// Timers of one window that the page shows as one series.
type Timers<'a> = SmallVec<[&'a Timer; 1]>;

/// Returns the histograms that count timers of `window`, the latest that was applied to the state.
pub(super) fn histograms(state: &State, window: &Snapshot) -> Vec<ExplainedHistogram> {
    let families = state.timers().forms.families();
    let histogram = families.iter().find(|(family, _)| *family == TimerFamily::Histogram);
    let Some((_, suffix)) = histogram else { return Vec::new() };
    let shown = state.placed().filter_map(|placed| {
        let Placed::Shown { name, slot, points, .. } = placed else { return None };
        let Shown::Timer(total) = &slot.shown else { return None };
        let timers = timers(window, &points);
        Some(ExplainedHistogram {
            series: selector(&format!("{}{suffix}", name.sample), slot),
            native: total.native.as_ref().map(|total| native(total.schema(), &timers)),
            classic: total.classic.as_ref().map(|total| classic(total.bounds(), &timers)),
        })
    });
    shown.collect()
}

fn timers<'a>(window: &'a Snapshot, points: &[usize]) -> Timers<'a> {
    let timer = |point: &usize| match &window.points[*point].value {
        Value::Timer(timer) => Some(&timer.timer),
        _ => None,
    };
    points.iter().filter_map(timer).collect()
}

/// Returns name and labels of a series as a query selects them.
fn selector(name: &str, slot: &Slot) -> String {
    let labels: Vec<String> =
        slot.series.tags().map(|(label, value)| format!("{label}=\"{}\"", quoted(value))).collect();
    if labels.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", labels.join(",")) }
}

fn quoted(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n")
}

fn native(schema: i32, timers: &[&Timer]) -> ExplainedNative {
    let mut window = NativeHistogram::default();
    timers.iter().for_each(|timer| window.add(&timer.buckets()));
    // The total has lost resolution if it had more buckets than its limit.
    window.lower_to(schema);
    let (_, zero, positive, negative) = window.parts();
    let bound = |index: i32| (f64::from(index) * f64::from(-schema).exp2()).exp2().min(f64::MAX);
    let bucket = |index, lower, upper, units: u64| {
        let samples = units as f64 / UNITS_PER_SAMPLE as f64;
        ExplainedNativeBucket { index, lower, upper, samples }
    };
    let below = negative
        .iter()
        .rev()
        .map(|(index, units)| bucket(Some(*index), -bound(*index), -bound(index - 1), *units));
    let zeros = (zero > 0).then(|| bucket(None, 0.0, 0.0, zero));
    let above = positive
        .iter()
        .map(|(index, units)| bucket(Some(*index), bound(index - 1), bound(*index), *units));
    ExplainedNative { schema, buckets: below.chain(zeros).chain(above).collect() }
}

fn classic(bounds: &Arc<[f64]>, timers: &[&Timer]) -> Vec<ExplainedClassicBucket> {
    let mut window = ClassicBuckets::new(Arc::clone(bounds));
    timers.iter().for_each(|timer| window.add(timer));
    let last = bounds.last().copied().unwrap_or(f64::NEG_INFINITY);
    let mut beyond = 0.0;
    let mut count_beyond = |value, weight| beyond += if value > last { weight } else { 0.0 };
    timers.iter().for_each(|timer| timer.for_each_sample(&mut count_beyond));
    let counts = window.counts().map(|(bound, samples)| (le(bound), samples));
    counts
        .chain([("+Inf".to_owned(), beyond)])
        .filter(|(_, samples)| *samples > 0.0)
        .map(|(le, samples)| ExplainedClassicBucket { le, samples })
        .collect()
}
