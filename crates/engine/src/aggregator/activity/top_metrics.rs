//! The top metrics of a window: their selection at its end, and their order when a client requests
//! them.

use std::cmp::Reverse;
use std::sync::Arc;

use basics::largest::Largest;
use model::Series;

use super::{ActivityEntry, MetricId, TOP_METRICS_MAX};

/// The activity of one metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricActivity {
    /// One of its series, which has its name.
    named_by: Arc<Series>,
    /// Samples since the metric appeared.
    pub samples: u64,
    /// Samples in the window.
    pub window_samples: u64,
    /// Live series of all kinds.
    pub series: u64,
    /// Series that appeared in the last [`GROWTH_WINDOWS`](super::GROWTH_WINDOWS) windows.
    pub new_series: u64,
}

impl MetricActivity {
    /// The metric's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.named_by.name()
    }
}

/// The top metrics of a window in three orders, of which each has at most [`TOP_METRICS_MAX`]
/// metrics.
///
/// The metrics are sorted when a client requests an order, which is rare. The aggregator only selects
/// them, and does not compare names: among metrics with equal numbers, it selects the ones that it has
/// known longest.
#[derive(Clone, Debug)]
pub struct WindowTopMetrics {
    /// The window's end, in Unix milliseconds.
    pub end_ms: u64,
    /// Number of metrics that have series.
    pub metrics: u64,
    /// Samples in the window, of all metrics.
    pub window_samples: u64,
    /// The first metrics of each order, once each, in no particular order.
    pub(super) selected: Vec<MetricActivity>,
}

impl WindowTopMetrics {
    /// Ordered by samples in the window, then by samples since the metric appeared.
    #[must_use]
    pub fn by_samples(&self) -> Vec<&MetricActivity> {
        let with_series = self.selected.iter().filter(|metric| metric.series > 0);
        ranked(with_series, |metric| (metric.window_samples, metric.samples))
    }

    /// Ordered by series.
    #[must_use]
    pub fn by_series(&self) -> Vec<&MetricActivity> {
        let with_series = self.selected.iter().filter(|metric| metric.series > 0);
        ranked(with_series, |metric| metric.series)
    }

    /// Ordered by new series; metrics without new series are left out.
    #[must_use]
    pub fn by_new_series(&self) -> Vec<&MetricActivity> {
        let with_new = self.selected.iter().filter(|metric| metric.new_series > 0);
        ranked(with_new, |metric| metric.new_series)
    }
}

/// The metrics with the largest numbers, then by name.
fn ranked<'a, K: Ord>(
    metrics: impl Iterator<Item = &'a MetricActivity>,
    number: impl Fn(&MetricActivity) -> K,
) -> Vec<&'a MetricActivity> {
    let mut ranked: Vec<_> = metrics.collect();
    ranked.sort_unstable_by_key(|metric| (Reverse(number(metric)), metric.name()));
    ranked.truncate(TOP_METRICS_MAX);
    ranked
}

/// Selects the metrics that are among the first in any order.
pub(super) struct TopSelection {
    /// Number of metrics that have series.
    pub(super) with_series: u64,
    by_samples: Largest<(u64, u64), SelectedMetric>,
    by_series: Largest<u32, SelectedMetric>,
    by_new_series: Largest<u32, SelectedMetric>,
}

/// The number of a metric, and its samples in the window.
type SelectedMetric = (MetricId, u64);

impl Default for TopSelection {
    fn default() -> Self {
        Self {
            with_series: 0,
            by_samples: Largest::new(TOP_METRICS_MAX),
            by_series: Largest::new(TOP_METRICS_MAX),
            by_new_series: Largest::new(TOP_METRICS_MAX),
        }
    }
}

impl TopSelection {
    /// Adds a metric with this number of samples in the window. Its total includes them.
    #[inline]
    pub(super) fn offer(&mut self, id: MetricId, metric: &ActivityEntry, window_samples: u64) {
        if metric.series > 0 {
            self.with_series += 1;
            self.by_samples.offer((window_samples, metric.samples), (id, window_samples));
            self.by_series.offer(metric.series, (id, window_samples));
        }
        if metric.new_series > 0 {
            self.by_new_series.offer(metric.new_series, (id, window_samples));
        }
    }

    /// The selected metrics, once each; `metrics` are all metrics by number.
    pub(super) fn into_activities(self, metrics: &[Option<ActivityEntry>]) -> Vec<MetricActivity> {
        let mut is_selected = vec![false; metrics.len()];
        let activity = |(id, window_samples): SelectedMetric| {
            let metric = metrics[id as usize].as_ref()?;
            if std::mem::replace(&mut is_selected[id as usize], true) {
                return None;
            }
            Some(MetricActivity {
                named_by: Arc::clone(&metric.named_by),
                samples: metric.samples,
                window_samples,
                series: u64::from(metric.series),
                new_series: u64::from(metric.new_series),
            })
        };
        let lists = self.by_samples.into_items().chain(self.by_series.into_items());
        lists.chain(self.by_new_series.into_items()).filter_map(activity).collect()
    }
}
