//! Activity by metric: samples, series and new series.
//!
//! The aggregator counts while it merges tallies, once per window for each series that has samples.
//! Listeners do no work for it.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::hash_table::Entry;
use model::Series;

use super::incremental_map::IncrementalMap;
use super::seed::{self, Seeded};
use top_metrics::TopSelection;
pub use top_metrics::{MetricActivity, WindowTopMetrics};

mod top_metrics;

/// Windows over which new series are counted.
pub const GROWTH_WINDOWS: usize = 6;
/// Maximum length of each list in [`WindowTopMetrics`].
pub const TOP_METRICS_MAX: usize = 1_000;

/// The number of a metric; free numbers are reused.
pub(super) type MetricId = u32;

/// Counts by metric. There may be as many metrics as series, so an entry is small: it shares its
/// name with one of its series.
#[derive(Debug)]
pub(super) struct Activity {
    index: IncrementalMap<MetricId>,
    metrics: Vec<Option<ActivityEntry>>,
    free: Vec<MetricId>,
    seed: Seeded,
    /// Samples of the open window, of all metrics.
    window_samples: u64,
    /// For each of the last windows, the metric of each series that appeared in it. The open window
    /// comes last.
    recent_series: VecDeque<Vec<MetricId>>,
}

#[derive(Debug)]
struct ActivityEntry {
    named_by: Arc<Series>,
    /// Samples of closed windows.
    samples: u64,
    /// Samples of the open window.
    window_samples: u64,
    series: u32,
    /// Number of times it occurs in `recent_series`.
    new_series: u32,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            index: IncrementalMap::default(),
            metrics: Vec::new(),
            free: Vec::new(),
            seed: seed::draw(),
            window_samples: 0,
            recent_series: [Vec::new()].into(),
        }
    }
}

impl Activity {
    /// Counts a new series. Returns the number of its metric, for [`Activity::count`].
    pub(super) fn add(&mut self, series: &Arc<Series>) -> MetricId {
        let id = self.find_or_insert(series);
        if let Some(metric) = &mut self.metrics[id as usize] {
            metric.series += 1;
            metric.new_series += 1;
        }
        if let Some(open) = self.recent_series.back_mut() {
            open.push(id);
        }
        id
    }

    /// Counts the removal of a series.
    pub(super) fn remove(&mut self, id: MetricId) {
        if let Some(metric) = &mut self.metrics[id as usize] {
            metric.series -= 1;
        }
        self.remove_if_unused(id);
    }

    /// Counts samples of a metric in the open window.
    #[inline]
    pub(super) fn count(&mut self, id: MetricId, samples: u64) {
        if let Some(metric) = &mut self.metrics[id as usize] {
            metric.window_samples += samples;
            self.window_samples += samples;
        }
    }

    /// Closes the window and returns its top metrics.
    pub(super) fn close(&mut self, end_ms: u64) -> WindowTopMetrics {
        let top_metrics = self.end_window(end_ms);
        self.recent_series.push_back(Vec::new());
        while self.recent_series.len() > GROWTH_WINDOWS {
            // The series of the oldest window no longer count as new.
            for id in self.recent_series.pop_front().unwrap_or_default() {
                if let Some(metric) = &mut self.metrics[id as usize] {
                    metric.new_series -= 1;
                }
                self.remove_if_unused(id);
            }
        }
        top_metrics
    }

    /// Selects the top metrics of the window, and adds its samples to the totals: one pass over the
    /// metrics, in the order in which they are in memory.
    fn end_window(&mut self, end_ms: u64) -> WindowTopMetrics {
        let mut selection = TopSelection::default();
        for (metric, id) in self.metrics.iter_mut().zip(0..) {
            let Some(metric) = metric else { continue };
            let window_samples = std::mem::take(&mut metric.window_samples);
            metric.samples += window_samples;
            selection.offer(id, metric, window_samples);
        }
        WindowTopMetrics {
            end_ms,
            metrics: selection.with_series,
            window_samples: std::mem::take(&mut self.window_samples),
            selected: selection.into_activities(&self.metrics),
        }
    }

    fn find_or_insert(&mut self, series: &Arc<Series>) -> MetricId {
        let Self { index, metrics, free, seed, .. } = self;
        let name_of = |id: MetricId| {
            metrics[id as usize].as_ref().map_or("", |metric| metric.named_by.name())
        };
        let is_it = |id: &MetricId| name_of(*id) == series.name();
        let hash = |id: &MetricId| seed.hash_one(name_of(*id));
        match index.entry(seed.hash_one(series.name()), is_it, hash) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                // There are at most as many metrics as series, whose numbers are as wide.
                let id = free.pop().unwrap_or(metrics.len() as MetricId);
                entry.insert(id);
                let metric = Some(ActivityEntry {
                    named_by: Arc::clone(series),
                    samples: 0,
                    window_samples: 0,
                    series: 0,
                    new_series: 0,
                });
                if let Some(entry) = metrics.get_mut(id as usize) {
                    *entry = metric;
                } else {
                    metrics.push(metric);
                }
                id
            }
        }
    }

    /// Removes a metric without series, and frees its number.
    fn remove_if_unused(&mut self, id: MetricId) {
        // While `recent_series` contains the number, no other metric may get it: the count of that
        // metric would be wrong.
        let is_unused = |metric: &mut ActivityEntry| {
            metric.series == 0 && metric.new_series == 0 && metric.window_samples == 0
        };
        if let Some(metric) = self.metrics[id as usize].take_if(is_unused) {
            self.index.remove(self.seed.hash_one(metric.named_by.name()), |other| *other == id);
            self.free.push(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use model::MetricKind;

    use super::*;

    fn series(name: &str) -> Arc<Series> {
        Arc::new(Series::new::<&str, &str>(MetricKind::Gauge, name, &[]))
    }

    fn shown<'a>(
        list: &[&'a MetricActivity],
        of: fn(&MetricActivity) -> u64,
    ) -> Vec<(&'a str, u64)> {
        list.iter().map(|metric| (metric.name(), of(metric))).collect()
    }

    #[test]
    fn each_list_has_its_own_order() {
        let mut activity = Activity::default();
        let loud = activity.add(&series("loud"));
        let wide = activity.add(&series("wide"));
        assert_eq!(activity.add(&series("wide")), wide, "a metric has one number");
        activity.count(loud, 1_000);
        activity.count(wide, 1);
        activity.count(wide, 2);
        let top_metrics = activity.close(10);
        assert_eq!(
            (top_metrics.end_ms, top_metrics.metrics, top_metrics.window_samples),
            (10, 2, 1_003)
        );
        let samples = shown(&top_metrics.by_samples(), |metric| metric.window_samples);
        assert_eq!(samples, [("loud", 1_000), ("wide", 3)]);
        assert_eq!(
            shown(&top_metrics.by_series(), |metric| metric.series),
            [("wide", 2), ("loud", 1)]
        );

        activity.count(wide, 5);
        let top_metrics = activity.close(20);
        let totals = shown(&top_metrics.by_samples(), |metric| metric.samples);
        assert_eq!(totals, [("wide", 8), ("loud", 1_000)], "the window comes before the total");
        let totals = shown(&top_metrics.by_series(), |metric| metric.samples);
        assert_eq!(totals, [("wide", 8), ("loud", 1_000)], "totals outlive the window");
    }

    #[test]
    fn each_list_is_cut_and_of_equal_metrics_those_known_longest_are_listed() {
        let mut activity = Activity::default();
        // Their names are in the opposite order of their arrival.
        for number in (0..3 * TOP_METRICS_MAX).rev() {
            activity.add(&series(&format!("m{number:04}")));
        }
        let late = activity.add(&series("late"));
        activity.add(&series("late"));
        activity.count(late, 1);
        let top_metrics = activity.close(0);
        assert_eq!(top_metrics.metrics, 3 * TOP_METRICS_MAX as u64 + 1);
        for list in [top_metrics.by_samples(), top_metrics.by_series(), top_metrics.by_new_series()]
        {
            let names: Vec<_> = list.iter().map(|metric| metric.name()).collect();
            assert_eq!(names.len(), TOP_METRICS_MAX);
            assert_eq!((names[0], names[1], names[999]), ("late", "m2001", "m2999"));
        }
    }

    #[test]
    fn a_series_is_new_for_some_windows() {
        let mut activity = Activity::default();
        activity.add(&series("m"));
        activity.close(0);
        activity.add(&series("m"));
        for window in 1..GROWTH_WINDOWS as u64 {
            let top_metrics = activity.close(window);
            assert_eq!(shown(&top_metrics.by_new_series(), |metric| metric.new_series), [("m", 2)]);
        }
        let top_metrics = activity.close(10);
        assert_eq!(shown(&top_metrics.by_new_series(), |metric| metric.new_series), [("m", 1)]);
        assert_eq!(activity.close(11).by_new_series(), Vec::<&MetricActivity>::new());
    }

    #[test]
    fn a_metric_whose_series_have_gone_is_listed_only_for_its_new_series() {
        let mut activity = Activity::default();
        let brief = activity.add(&series("brief"));
        activity.add(&series("kept"));
        activity.count(brief, 3);
        activity.remove(brief);
        let top_metrics = activity.close(0);
        assert_eq!((top_metrics.metrics, top_metrics.window_samples), (1, 3));
        let of = |metric: &MetricActivity| metric.series;
        assert_eq!(shown(&top_metrics.by_samples(), of), [("kept", 1)]);
        assert_eq!(shown(&top_metrics.by_series(), of), [("kept", 1)]);
        assert_eq!(shown(&top_metrics.by_new_series(), of), [("brief", 0), ("kept", 1)]);
    }

    #[test]
    fn a_metric_without_new_series_is_not_selected_for_them() {
        let mut activity = Activity::default();
        activity.add(&series("z known longest"));
        activity.add(&series("a"));
        let wide: Vec<_> = (1..TOP_METRICS_MAX)
            .map(|number| {
                activity.add(&series(&number.to_string()));
                activity.add(&series(&number.to_string()))
            })
            .collect();
        (0..GROWTH_WINDOWS).for_each(|_| drop(activity.close(0)));
        wide.iter().for_each(|id| activity.count(*id, 1));
        let top_metrics = activity.close(0);
        // With the other one selected too, the names would decide.
        assert_eq!(top_metrics.by_samples()[TOP_METRICS_MAX - 1].name(), "z known longest");
    }

    #[test]
    fn a_metric_without_series_is_removed_and_its_number_is_reused() {
        let mut activity = Activity::default();
        let gone = activity.add(&series("gone"));
        activity.count(gone, 7);
        activity.close(0);
        activity.remove(gone);
        assert_ne!(activity.add(&series("other")), gone, "its series still counts as new");
        (0..GROWTH_WINDOWS).for_each(|_| drop(activity.close(0)));
        assert_eq!(activity.index.iter().count(), 1);
        assert_eq!(activity.add(&series("again")), gone);
        let top_metrics = activity.close(0);
        assert_eq!(
            shown(&top_metrics.by_series(), |metric| metric.samples),
            [("again", 0), ("other", 0)],
            "it does not inherit the counts of the removed metric"
        );
    }
}
