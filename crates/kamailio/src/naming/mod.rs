//! The names that older exporters gave Kamailio's statistics, for pages that replace theirs.
//!
//! A naming has a table, which lists each metric of the exporter with the tallyd metrics that it
//! shows, and a rule for metrics that no table can list, such as the statistics of scripts. Series
//! that do not come from Kamailio keep their names.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use model::{AssignedName, MetricKind, Series, SeriesNaming, SeriesPlacement};

use self::table::ExporterMetric;
use crate::methods;
use crate::poll_metrics;

mod callr;
mod pascom;
mod table;
#[cfg(test)]
mod tests;
mod voiplens;

/// The names of the exporter that calls methods (`florentchauveau/kamailio_exporter`).
#[must_use]
pub fn callr() -> Arc<dyn SeriesNaming> {
    Arc::new(ExporterNaming::new(&[callr::TABLE], callr::statistic))
}

/// The names of the exporter that reads statistics (`pascomnet/kamailio_exporter`).
#[must_use]
pub fn pascom() -> Arc<dyn SeriesNaming> {
    Arc::new(ExporterNaming::new(&[pascom::TABLE], pascom::scripted))
}

/// The names of the exporter that reads statistics and calls methods (`voiplens/kamailio_exporter`).
#[must_use]
pub fn voiplens() -> Arc<dyn SeriesNaming> {
    // It continues the exporter that reads statistics, and has all of its metrics.
    Arc::new(ExporterNaming::new(&[pascom::TABLE, voiplens::TABLE], pascom::scripted))
}

/// Names a series that is in no table.
type NamingRule = fn(&Series) -> Option<AssignedName>;

/// The names of one exporter.
struct ExporterNaming {
    /// By the name of the tallyd metric.
    table: HashMap<String, AssignedName>,
    rule: NamingRule,
}

impl ExporterNaming {
    fn new(tables: &[&[ExporterMetric]], rule: NamingRule) -> Self {
        let metrics = tables.iter().flat_map(|table| table.iter());
        Self { table: metrics.flat_map(ExporterMetric::assigned_names).collect(), rule }
    }

    /// The name according to the rule. A script can give a statistic any name, even one that the table
    /// assigns; the table then takes precedence, and the result is `None`.
    fn by_rule(&self, series: &Series) -> Option<AssignedName> {
        let is_free = |name: &str| self.table.values().all(|assigned| assigned.name != name);
        (self.rule)(series).filter(|assigned| is_free(&assigned.name))
    }
}

impl SeriesNaming for ExporterNaming {
    /// Hides a series that a poll with the default methods yields but the exporter did not show: a page
    /// that replaces the exporter's shows no other series of Kamailio.
    fn place(&self, series: &Series) -> SeriesPlacement<'_> {
        if !matches!(series.kind(), MetricKind::Counter | MetricKind::Gauge) {
            return SeriesPlacement::Unchanged;
        }
        if let Some(assigned) = self.table.get(series.name()) {
            return SeriesPlacement::Renamed(Cow::Borrowed(assigned));
        }
        match self.by_rule(series) {
            Some(assigned) => SeriesPlacement::Renamed(Cow::Owned(assigned)),
            None if is_polled_by_default(series.name()) => SeriesPlacement::Hidden,
            None => SeriesPlacement::Unchanged,
        }
    }

    fn marks_poll(&self, series: &Series) -> bool {
        series.name() == poll_metrics::COUNT
    }

    /// The exporters read numbers as unsigned 64-bit numbers, so negative numbers are near 2^64 there.
    fn shown_value(&self, value: f64) -> f64 {
        const BITS_64: f64 = 18_446_744_073_709_551_616.0;
        if value < 0.0 { value + BITS_64 } else { value }
    }
}

impl fmt::Debug for ExporterNaming {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ExporterNaming({} metrics)", self.table.len())
    }
}

/// Whether a series comes from a poll with the default methods.
fn is_polled_by_default(name: &str) -> bool {
    poll_metrics::ALL.contains(&name) || methods::defaults().any(|method| method.yields(name))
}
