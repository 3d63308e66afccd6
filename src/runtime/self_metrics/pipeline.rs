//! `self_metrics: true`: the self-metrics as samples in each window, alongside those of senders.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::{REASON, SelfMetricFamily, SelfMetricKind, SelfMetricSample, collect};
use crate::runtime::RuntimeState;
use engine::aggregator::cell::CellSettings;
use engine::aggregator::identity::Identifier;
use engine::aggregator::registry::Registry;
use engine::aggregator::table::SeriesTable;
use engine::aggregator::tally::Tally;
use engine::protocol::{SampleValue, Tags};
use model::SetSeed;

/// The prefix of the names on the Prometheus page; the pipeline has [`PIPELINE_PREFIX`].
const PAGE_PREFIX: &str = "tallyd_";
const PIPELINE_PREFIX: &str = "tallyd.";
const TOTAL: &str = "_total";

/// Records the self-metrics once per window. It has a table like a listener, but no ledger: these
/// samples were not received, so they must not count as `received`.
#[derive(Debug)]
pub struct SelfMetricsRecorder {
    state: Arc<RuntimeState>,
    identifier: Arc<Identifier>,
    registry: Arc<Registry>,
    table: SeriesTable,
    /// The counters' values at the previous recording, by name and label values.
    recorded: HashMap<(&'static str, String), f64>,
}

impl SelfMetricsRecorder {
    /// Creates a recorder of the state's self-metrics; counters count from the start of the process.
    #[must_use]
    pub fn new(state: Arc<RuntimeState>, identifier: Arc<Identifier>) -> Self {
        let registry = Arc::clone(&state.registry);
        // Self-metrics are not lines, so there is no line cache; none of them is a timer, so the number
        // of exact values does not matter.
        // It records counters and gauges only.
        let cells = CellSettings { exact_samples: 1, set_seed: SetSeed::random() };
        let table = SeriesTable::new(cells, 0);
        Self { state, identifier, registry, table, recorded: HashMap::new() }
    }

    /// Makes counters count from now on instead of from the start of the process.
    #[must_use]
    pub fn starting_now(mut self) -> Self {
        for family in collect(&self.state) {
            for sample in &family.samples {
                let _recorded = self.value(&family, sample);
            }
        }
        self
    }

    /// Returns the value to record for a sample: a gauge's value, or a counter's increase since the
    /// previous recording. `None` for a reason that never occurred, which would only add a series.
    fn value(
        &mut self,
        family: &SelfMetricFamily,
        sample: &SelfMetricSample,
    ) -> Option<SampleValue<'static>> {
        if family.kind == SelfMetricKind::Gauge {
            return Some(SampleValue::GaugeSet(sample.value));
        }
        let has_reason = sample.labels.iter().any(|(name, _)| *name == REASON);
        if has_reason && sample.value == 0.0 {
            return None;
        }
        let values: Vec<&str> = sample.labels.iter().map(|(_, value)| value.as_str()).collect();
        let previous = self.recorded.entry((family.name, values.join("\n"))).or_default();
        let before = std::mem::replace(previous, sample.value);
        // A count begins again when a listener, a mirror or a secret is replaced by another one of its name.
        let is_reset = sample.value < before;
        let increase = if is_reset { sample.value } else { sample.value - before };
        Some(SampleValue::Counter(increase))
    }

    fn add(&mut self, name: &str, sample: &SelfMetricSample, value: &SampleValue<'_>) {
        let labels = sample.labels.iter();
        let mut tags: Tags<'_> =
            labels.map(|(label, value)| (Cow::Borrowed(*label), (&**value).into())).collect();
        tags.sort_by(|a, b| a.0.cmp(&b.0));
        self.identifier.add_agent_tags(&mut tags);
        let identity = self.identifier.identify(value.kind(), name, &tags);
        // Beyond the limit on series, self-metrics overflow like any other sample.
        let _place = self.table.record(&identity, value, 1.0, 0, &self.registry);
    }
}

impl engine::aggregator::thread::SelfMetricsSource for SelfMetricsRecorder {
    fn set_identifier(&mut self, identifier: Arc<Identifier>) {
        self.identifier = identifier;
    }

    fn record(&mut self, empty: Box<Tally>) -> Box<Tally> {
        let families = collect(&self.state);
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

/// Converts `tallyd_points_flushed_total` to `tallyd.points_flushed`, which the forwarder `prometheus`
/// converts back to the original name.
fn pipeline_name(name: &str) -> String {
    let base = name.strip_suffix(TOTAL).unwrap_or(name);
    format!("{PIPELINE_PREFIX}{}", base.strip_prefix(PAGE_PREFIX).unwrap_or(base))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipeline_names_have_a_dot_and_no_total() {
        assert_eq!(pipeline_name("tallyd_points_flushed_total"), "tallyd.points_flushed");
        assert_eq!(pipeline_name("tallyd_points_queued"), "tallyd.points_queued");
    }
}
