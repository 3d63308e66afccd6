//! A list of the live series, for clients of the admin endpoint.

use super::{LiveSeries, Store};
use crate::aggregator::latest_window::ListedSeries;

impl Store {
    /// Lists the live series. Called between a flush and the next merge. A series of which only
    /// listeners know yet is not contained.
    #[must_use]
    pub fn list(&self) -> Vec<ListedSeries> {
        let last = self.window - 1;
        let windows_since = |window: u32| last.saturating_sub(u64::from(window)) as u32;
        let listed = |live: &LiveSeries| ListedSeries {
            series: live.series.clone(),
            level: live.gauge,
            idle_windows: windows_since(live.last_window),
            age_windows: windows_since(live.first_window),
        };
        self.live.iter().flatten().map(listed).collect()
    }
}

#[cfg(test)]
mod tests {
    use model::MetricKind;

    use super::super::tests::{Bench, bench};
    use crate::aggregator::AggregationConfig;
    use crate::protocol::SampleValue;

    fn listed(bench: &Bench) -> Vec<(String, f64, u32, u32)> {
        let mut listed: Vec<_> = bench
            .store
            .list()
            .into_iter()
            .map(|one| (one.series.to_string(), one.level, one.idle_windows, one.age_windows))
            .collect();
        listed.sort_by(|one, other| one.0.cmp(&other.0));
        listed
    }

    #[test]
    fn live_series_have_the_windows_since_their_first_and_last_samples() {
        let mut bench = bench(1, &AggregationConfig::default());
        assert_eq!(listed(&bench), []);
        bench.record(0, MetricKind::Gauge, "g", &SampleValue::GaugeSet(5.0));
        bench.flush();
        assert_eq!(listed(&bench), [("gauge g".to_owned(), 5.0, 0, 0)]);
        bench.count(0, "c", 1.0);
        bench.flush();
        bench.count(0, "c", 1.0);
        bench.flush();
        let expected = [("counter c".to_owned(), 0.0, 0, 1), ("gauge g".to_owned(), 5.0, 2, 2)];
        assert_eq!(listed(&bench), expected);
    }
}
