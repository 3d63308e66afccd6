//! How much comes in by metric: samples, series, new series.
//!
//! The aggregator counts what the tallies hold, once a window and for each series that has samples; a
//! listener has nothing to do with it.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::hash_table::Entry;
use model::Series;

use super::seed::{self, Seeded};
use super::spread::Spread;
use basics::largest::largest;

/// Windows over which new series are counted.
pub const GROWTH_WINDOWS: usize = 6;
/// Metrics that are told of, in each order.
pub const BUSIEST_MAX: usize = 1_000;

/// Number of a metric; free numbers are used again.
pub(super) type MetricId = u32;

/// What one metric brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricActivity {
    /// A series of it, for its name.
    named_by: Arc<Series>,
    /// Samples since it has series.
    pub samples: u64,
    /// Those of the window.
    pub window_samples: u64,
    /// Live series, of all kinds.
    pub series: u64,
    /// Series that are new, in this window or in one of those just before it.
    pub new_series: u64,
}

impl MetricActivity {
    /// The metric's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.named_by.name()
    }
}

/// The metrics that stand out in a window. Each list has at most [`BUSIEST_MAX`] of them.
#[derive(Clone, Debug)]
pub struct Busiest {
    /// The window's end, in Unix milliseconds.
    pub end_ms: u64,
    /// Metrics that have series, altogether.
    pub metrics: u64,
    /// Samples in the window, of all metrics.
    pub window_samples: u64,
    /// Those with the most samples in the window, and behind them those with the most since they have
    /// series.
    pub by_samples: Vec<MetricActivity>,
    /// Those with the most series.
    pub by_series: Vec<MetricActivity>,
    /// Those with the most new series; none without any.
    pub by_new_series: Vec<MetricActivity>,
}

/// Counts by metric. There may be as many metrics as there are series, so each takes little and has
/// its name from one of its series.
#[derive(Debug)]
pub(super) struct Activity {
    index: Spread<MetricId>,
    metrics: Vec<Option<Metric>>,
    free: Vec<MetricId>,
    seed: Seeded,
    /// Metrics with samples in the open window.
    touched: Vec<MetricId>,
    /// A number for each new series of the last windows, that of its metric; the open window last.
    newcomers: VecDeque<Vec<MetricId>>,
}

#[derive(Debug)]
struct Metric {
    named_by: Arc<Series>,
    /// Of closed windows.
    samples: u64,
    /// Of the open window.
    window_samples: u64,
    series: u32,
    /// How often it is in `newcomers`.
    new_series: u32,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            index: Spread::default(),
            metrics: Vec::new(),
            free: Vec::new(),
            seed: seed::draw(),
            touched: Vec::new(),
            newcomers: [Vec::new()].into(),
        }
    }
}

impl Activity {
    /// Counts a series that is new. Returns the number of its metric, for [`Activity::count`].
    pub(super) fn add(&mut self, series: &Arc<Series>) -> MetricId {
        let id = self.find_or_insert(series);
        if let Some(metric) = &mut self.metrics[id as usize] {
            metric.series += 1;
            metric.new_series += 1;
        }
        if let Some(open) = self.newcomers.back_mut() {
            open.push(id);
        }
        id
    }

    /// Counts a series that is no more.
    pub(super) fn remove(&mut self, id: MetricId) {
        if let Some(metric) = &mut self.metrics[id as usize] {
            metric.series -= 1;
        }
        self.forget_if_gone(id);
    }

    /// Counts samples of a metric in the open window.
    #[inline]
    pub(super) fn count(&mut self, id: MetricId, samples: u64) {
        if let Some(metric) = &mut self.metrics[id as usize] {
            if metric.window_samples == 0 {
                self.touched.push(id);
            }
            metric.window_samples += samples;
        }
    }

    /// Closes the window and says who stands out in it.
    pub(super) fn close(&mut self, end_ms: u64) -> Busiest {
        let busiest = self.busiest(end_ms);
        for id in self.touched.drain(..) {
            if let Some(metric) = &mut self.metrics[id as usize] {
                metric.samples += metric.window_samples;
                metric.window_samples = 0;
            }
        }
        self.newcomers.push_back(Vec::new());
        while self.newcomers.len() > GROWTH_WINDOWS {
            for id in self.newcomers.pop_front().unwrap_or_default() {
                if let Some(metric) = &mut self.metrics[id as usize] {
                    metric.new_series -= 1;
                }
                self.forget_if_gone(id);
            }
        }
        busiest
    }

    fn busiest(&self, end_ms: u64) -> Busiest {
        let known = || {
            let numbered = self.metrics.iter().enumerate();
            numbered.filter_map(|(id, metric)| Some((id as MetricId, metric.as_ref()?)))
        };
        let touched = || {
            let ids = self.touched.iter();
            ids.filter_map(|id| Some((*id, self.metrics[*id as usize].as_ref()?)))
        };
        let with_new = known().filter(|(_, metric)| metric.new_series > 0);
        let with_series = known().filter(|(_, metric)| metric.series > 0);
        Busiest {
            end_ms,
            metrics: with_series.clone().count() as u64,
            window_samples: touched().map(|(_, metric)| metric.window_samples).sum(),
            by_samples: self.first(
                with_series.clone().map(|(id, one)| ((one.window_samples, one.samples), id)),
            ),
            by_series: self.first(with_series.map(|(id, metric)| (u64::from(metric.series), id))),
            by_new_series: self
                .first(with_new.map(|(id, metric)| (u64::from(metric.new_series), id))),
        }
    }

    fn first<K: Ord>(&self, metrics: impl Iterator<Item = (K, MetricId)>) -> Vec<MetricActivity> {
        let name = |id: MetricId| {
            let metric = self.metrics[id as usize].as_ref();
            (metric.map_or("", |metric| metric.named_by.name()), id)
        };
        let first = largest(metrics, BUSIEST_MAX, name).into_iter();
        first.filter_map(|(_, (_, id))| self.activity(id)).collect()
    }

    fn activity(&self, id: MetricId) -> Option<MetricActivity> {
        let metric = self.metrics[id as usize].as_ref()?;
        Some(MetricActivity {
            named_by: Arc::clone(&metric.named_by),
            samples: metric.samples + metric.window_samples,
            window_samples: metric.window_samples,
            series: u64::from(metric.series),
            new_series: u64::from(metric.new_series),
        })
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
                // There are no more metrics than series, and their numbers are as large.
                let id = free.pop().unwrap_or(metrics.len() as MetricId);
                entry.insert(id);
                let metric = Some(Metric {
                    named_by: Arc::clone(series),
                    samples: 0,
                    window_samples: 0,
                    series: 0,
                    new_series: 0,
                });
                if let Some(place) = metrics.get_mut(id as usize) {
                    *place = metric;
                } else {
                    metrics.push(metric);
                }
                id
            }
        }
    }

    /// Its number is free as soon as no series has it and it is no newcomer's any more.
    fn forget_if_gone(&mut self, id: MetricId) {
        let is_gone = |metric: &mut Metric| {
            metric.series == 0 && metric.new_series == 0 && metric.window_samples == 0
        };
        if let Some(metric) = self.metrics[id as usize].take_if(is_gone) {
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

    fn shown(list: &[MetricActivity], of: fn(&MetricActivity) -> u64) -> Vec<(&str, u64)> {
        list.iter().map(|metric| (metric.name(), of(metric))).collect()
    }

    #[test]
    fn each_order_tells_of_those_that_stand_out_in_it() {
        let mut activity = Activity::default();
        let loud = activity.add(&series("loud"));
        let wide = activity.add(&series("wide"));
        assert_eq!(activity.add(&series("wide")), wide, "a metric has one number");
        activity.count(loud, 1_000);
        activity.count(wide, 1);
        activity.count(wide, 2);
        let busiest = activity.close(10);
        assert_eq!((busiest.end_ms, busiest.metrics, busiest.window_samples), (10, 2, 1_003));
        let samples = shown(&busiest.by_samples, |metric| metric.window_samples);
        assert_eq!(samples, [("loud", 1_000), ("wide", 3)]);
        assert_eq!(shown(&busiest.by_series, |metric| metric.series), [("wide", 2), ("loud", 1)]);

        activity.count(wide, 5);
        let busiest = activity.close(20);
        let totals = shown(&busiest.by_samples, |metric| metric.samples);
        assert_eq!(totals, [("wide", 8), ("loud", 1_000)], "the last window counts");
        let totals = shown(&busiest.by_series, |metric| metric.samples);
        assert_eq!(totals, [("wide", 8), ("loud", 1_000)], "totals stay without samples");
    }

    #[test]
    fn a_series_is_new_for_some_windows() {
        let mut activity = Activity::default();
        activity.add(&series("m"));
        activity.close(0);
        activity.add(&series("m"));
        for window in 1..GROWTH_WINDOWS as u64 {
            let busiest = activity.close(window);
            assert_eq!(shown(&busiest.by_new_series, |metric| metric.new_series), [("m", 2)]);
        }
        let busiest = activity.close(10);
        assert_eq!(shown(&busiest.by_new_series, |metric| metric.new_series), [("m", 1)]);
        assert_eq!(activity.close(11).by_new_series, []);
    }

    #[test]
    fn a_metric_without_series_is_gone_and_its_number_is_used_again() {
        let mut activity = Activity::default();
        let gone = activity.add(&series("gone"));
        activity.count(gone, 7);
        activity.close(0);
        activity.remove(gone);
        assert_ne!(activity.add(&series("other")), gone, "it is still among the newcomers");
        (0..GROWTH_WINDOWS).for_each(|_| drop(activity.close(0)));
        assert_eq!(activity.add(&series("again")), gone);
        let busiest = activity.close(0);
        assert_eq!(
            shown(&busiest.by_series, |metric| metric.samples),
            [("again", 0), ("other", 0)],
            "it does not have what the one before had"
        );
    }
}
