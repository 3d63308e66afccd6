//! Removal of series at the request of an operator.

use super::Store;
use crate::series_filter::SeriesFilter;

impl Store {
    /// Removes the selected live series, with the levels of gauges, and returns their number. Like
    /// [`Store::expire`], called while all cells are empty: every sample received so far is in a
    /// snapshot. A later sample begins a new series.
    pub fn remove(&mut self, filter: &SeriesFilter) -> usize {
        let removed = self.remove_all(|_, live| filter.selects(&live.series), |_, _| {});
        self.registry.count_removed(removed as u64);
        removed
    }
}

#[cfg(test)]
mod tests {
    use model::MetricKind;

    use super::super::tests::bench;
    use super::*;
    use crate::aggregator::AggregationConfig;
    use crate::protocol::SampleValue;

    fn named(glob: &str) -> SeriesFilter {
        SeriesFilter::new(&[glob.to_owned()], &[], &[]).unwrap()
    }

    #[test]
    fn a_removed_gauge_starts_at_0_and_the_others_stay() {
        let mut bench = bench(1, &AggregationConfig::default());
        for name in ["a.x", "a.y", "b"] {
            bench.record(0, MetricKind::Gauge, name, &SampleValue::GaugeSet(5.0));
        }
        bench.flush();
        assert_eq!(bench.store.remove(&named("a.*")), 2);
        assert_eq!(bench.store.remove(&named("a.*")), 0);
        assert_eq!((bench.registry.series_count(), bench.registry.removed_series()), (1, 2));
        for name in ["a.x", "b"] {
            bench.record(0, MetricKind::Gauge, name, &SampleValue::GaugeAdd(1.0));
        }
        assert_eq!(bench.flush(), ["gauge a.x = 1", "gauge b = 6"]);
    }

    #[test]
    fn samples_that_a_listener_holds_of_a_removed_series_are_counted() {
        let mut bench = bench(2, &AggregationConfig::default());
        bench.count(0, "c", 1.0);
        bench.count(1, "c", 1.0);
        bench.flush();
        bench.count(0, "c", 2.0);
        assert_eq!(bench.store.remove(&named("c")), 1);
        bench.count(1, "c", 4.0);
        assert_eq!(bench.flush(), ["counter c = 6"]);
        assert_eq!(bench.registry.series_count(), 1);
    }
}
