//! statsd's options for series without samples.

use std::time::Duration;

use super::super::document::{Block, Value};
use super::super::notes::Notes;
use super::super::plan::Plan;
use super::super::setting::{ConvertError, Section};
use super::super::span::span;

const KEYS: [&str; 6] = [
    "deleteIdleStats",
    "deleteCounters",
    "deleteTimers",
    "deleteSets",
    "deleteGauges",
    "gaugesMaxTTL",
];

/// Which types statsd stops writing when they have no samples.
pub(super) struct IdleSettings {
    /// The options that are given.
    given: Vec<&'static str>,
    counters: bool,
    timers: bool,
    sets: bool,
    gauges: bool,
    /// How long a deleted gauge is still written.
    gauges_for: Option<Duration>,
}

/// Takes the options. Each option that is given has precedence over `deleteIdleStats`.
pub(super) fn take(root: &mut Section, interval: Duration) -> Result<IdleSettings, ConvertError> {
    let keys = root.keys();
    let given = KEYS.into_iter().filter(|key| keys.iter().any(|given| given == key)).collect();
    let all = root.flag("deleteIdleStats")?.unwrap_or(false);
    let mut deletes = |key: &str| Ok(root.flag(key)?.unwrap_or(all));
    let (counters, timers) = (deletes("deleteCounters")?, deletes("deleteTimers")?);
    let (sets, gauges) = (deletes("deleteSets")?, deletes("deleteGauges")?);
    let flushes =
        root.number("gaugesMaxTTL")?.filter(|flushes| *flushes > 1.0 && flushes.fract() == 0.0);
    // statsd counts the flush with the sample.
    let gauges_for = flushes.filter(|_| gauges).map(|flushes| interval.mul_f64(flushes - 1.0));
    Ok(IdleSettings { given, counters, timers, sets, gauges, gauges_for })
}

impl IdleSettings {
    /// Notes the options if there is no destination to which they apply.
    pub(super) fn report_unused(&self, notes: &mut Notes) {
        for key in &self.given {
            notes.lost(*key, "set `idle` of the forwarders that you configure");
        }
    }

    /// Sets `idle` and `idle_for` of a destination, and how long series live. With `naming: etsy` tallyd's
    /// default is statsd's; elsewhere it is `none`.
    pub(super) fn apply(&self, forwarder: &mut Block, is_etsy: bool, plan: &mut Plan) {
        let keeps_gauges = !self.gauges || self.gauges_for.is_some();
        let kinds = [
            ("counters", self.counters),
            ("traces", self.counters),
            ("timers", self.timers),
            ("sets", self.sets),
            ("gauges", !keeps_gauges),
        ];
        let is_default = |is_deleted: bool| is_deleted != is_etsy;
        let changed: Vec<_> =
            kinds.iter().filter(|(_, is_deleted)| !is_default(*is_deleted)).collect();
        if changed.len() == kinds.len() {
            forwarder.set("idle", Value::word(if is_etsy { "none" } else { "statsd" }));
        } else if !changed.is_empty() {
            let mut idle = Block::default();
            for (kind, is_deleted) in changed {
                let kept = if *kind == "gauges" { "last" } else { "zero" };
                idle.set(*kind, Value::word(if *is_deleted { "none" } else { kept }));
            }
            forwarder.set("idle", idle);
        }
        if let Some(time) = self.gauges_for {
            let mut idle_for = Block::default();
            idle_for.set("gauges", Value::word(span(time)));
            forwarder.set("idle_for", idle_for);
        }
        if !(self.counters && self.timers && self.sets && self.gauges) {
            plan.aggregation.set_with(
                "statsd writes a series without samples forever. A series takes about 250 bytes until it expires.",
                "expire_after",
                Value::word("7d"),
            );
        }
        if self.gauges {
            plan.notes.differs(
                "deleteGauges",
                "a change (`+4`) of a deleted gauge starts from 0 in statsd, from the last value in tallyd for \
                 `aggregation.gauge_memory` (24h)",
            );
        }
    }
}
