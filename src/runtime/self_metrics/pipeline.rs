//! `self_metrics`: the daemon's own metrics as samples of each window, beside those of clients.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::{Family, Kind, OwnSample, REASON, gather};
use crate::runtime::Observed;
use engine::aggregator::identity::Identifier;
use engine::aggregator::registry::Registry;
use engine::aggregator::table::SeriesTable;
use engine::aggregator::tally::Tally;
use engine::protocol::{SampleValue, Tags};

/// What they are called on a page of Prometheus, and in the pipeline.
const PAGE_PREFIX: &str = "tallyd_";
const PIPELINE_PREFIX: &str = "tallyd.";
const TOTAL: &str = "_total";

/// Records the daemon's own metrics once a window. It has a table like a listener, but no place in
/// the ledger: nobody sent these.
#[derive(Debug)]
pub struct SelfMetrics {
    observed: Arc<Observed>,
    identifier: Arc<Identifier>,
    registry: Arc<Registry>,
    table: SeriesTable,
    /// What counters were when they were last recorded.
    recorded: HashMap<(&'static str, String), f64>,
}

impl SelfMetrics {
    /// Of all this.
    #[must_use]
    pub fn new(observed: Arc<Observed>, identifier: Arc<Identifier>) -> Self {
        let registry = Arc::clone(&observed.registry);
        // They are not lines, so none is recognised; and there are no timers.
        let table = SeriesTable::new(1, 0);
        Self { observed, identifier, registry, table, recorded: HashMap::new() }
    }

    /// Counts from now on, and not from the start of the process.
    #[must_use]
    pub fn from_now_on(mut self) -> Self {
        for family in gather(&self.observed) {
            for sample in &family.samples {
                let _before = self.value(&family, sample);
            }
        }
        self
    }

    /// What a sample adds to the window. A reason that never occurred is no series.
    fn value(&mut self, family: &Family, sample: &OwnSample) -> Option<SampleValue<'static>> {
        if family.kind == Kind::Gauge {
            return Some(SampleValue::GaugeSet(sample.value));
        }
        let has_reason = sample.labels.iter().any(|(name, _)| *name == REASON);
        if has_reason && sample.value == 0.0 {
            return None;
        }
        let values: Vec<&str> = sample.labels.iter().map(|(_, value)| value.as_str()).collect();
        let before = self.recorded.entry((family.name, values.join("\n"))).or_default();
        let added = sample.value - std::mem::replace(before, sample.value);
        Some(SampleValue::Counter(added))
    }

    fn add(&mut self, name: &str, sample: &OwnSample, value: &SampleValue<'_>) {
        let labels = sample.labels.iter();
        let mut tags: Tags<'_> =
            labels.map(|(label, value)| (Cow::Borrowed(*label), Cow::Borrowed(&**value))).collect();
        tags.sort();
        self.identifier.add_agent_tags(&mut tags);
        let identity = self.identifier.identify(value.kind(), name, &tags);
        // Over the limit on series it is folded like any other.
        let _place = self.table.record(&identity, value, 1.0, 0, &self.registry);
    }
}

impl engine::aggregator::thread::SelfMetricsSource for SelfMetrics {
    fn set_identifier(&mut self, identifier: Arc<Identifier>) {
        self.identifier = identifier;
    }

    fn record(&mut self, empty: Box<Tally>) -> Box<Tally> {
        let families = gather(&self.observed);
        for family in &families {
            let name = pipeline_name(family.name);
            for sample in &family.samples {
                if let Some(value) = self.value(family, sample) {
                    self.add(&name, sample, &value);
                }
            }
        }
        self.table.replace_tally(empty)
    }
}

/// `tallyd.points_flushed` for `tallyd_points_flushed_total`: what a page of Prometheus makes the
/// same name of again.
fn pipeline_name(name: &str) -> String {
    let base = name.strip_suffix(TOTAL).unwrap_or(name);
    format!("{PIPELINE_PREFIX}{}", base.strip_prefix(PAGE_PREFIX).unwrap_or(base))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_the_pipeline_become_those_of_the_page_again() {
        assert_eq!(pipeline_name("tallyd_points_flushed_total"), "tallyd.points_flushed");
        assert_eq!(pipeline_name("tallyd_points_queued"), "tallyd.points_queued");
    }
}
