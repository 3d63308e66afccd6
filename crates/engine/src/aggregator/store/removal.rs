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

    #[test]
    fn samples_of_a_removed_series_overflow_and_are_counted_until_there_is_room_again() {
        let config = AggregationConfig { max_series: 1, ..AggregationConfig::default() };
        let mut bench = bench(1, &config);
        bench.count(0, "a", 1.0);
        bench.flush();
        assert_eq!(bench.store.remove(&named("a")), 1);
        bench.count(0, "b", 1.0);
        for _ in 0..3 {
            bench.record(
                0,
                MetricKind::Counter,
                "a",
                &SampleValue::Total { added: 2.0, total: 9.0 },
            );
        }
        let (snapshot, _) = bench.flush_with_idle(&model::IdleLimits::default());
        let overflow = snapshot.points.iter().find(|point| point.series.tag("overflow").is_some());
        let value = &overflow.unwrap().value;
        assert!(matches!(value, model::Value::Counter(_)), "no total: {value:?}");
        assert_eq!((value.headline(), bench.registry.overflowed_samples()), (6.0, 3));
        // The listener removes the slot, and counts each sample itself.
        bench.flush();
        bench.count(0, "a", 1.0);
        bench.count(0, "a", 1.0);
        assert_eq!(bench.registry.overflowed_samples(), 5);
        assert_eq!(bench.flush(), ["counter a overflow=true = 2"]);
        assert_eq!(bench.store.remove(&named("b")), 1);
        bench.count(0, "a", 4.0);
        assert_eq!(bench.flush(), ["counter a = 4"]);
    }

    #[test]
    fn a_removed_overflow_series_that_goes_on_stays_one_and_counts_no_sample_twice() {
        let config = AggregationConfig { max_series: 1, ..AggregationConfig::default() };
        let mut bench = bench(1, &config);
        bench.count(0, "a", 1.0);
        bench.count(0, "b", 1.0);
        bench.flush();
        bench.count(0, "b", 1.0);
        bench.count(0, "b", 1.0);
        assert_eq!(bench.store.remove(&named("*")), 2);
        assert_eq!(bench.flush(), ["counter b overflow=true = 2"]);
        assert_eq!(bench.registry.overflowed_samples(), 3);
        bench.count(0, "c", 1.0);
        assert_eq!(bench.flush(), ["counter c = 1"], "the place of a is free");
    }
}
