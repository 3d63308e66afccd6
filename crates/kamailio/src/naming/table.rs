//! The form of a naming table: a metric of an exporter, and the metrics of the pipeline that it shows.

use std::borrow::Cow;

use model::{AssignedName, MetricKind, OwnTags};

/// A metric of an exporter.
pub(super) struct ExporterMetric {
    pub(super) name: &'static str,
    /// The declared type, counter or gauge, independent of the kind of the sources.
    kind: MetricKind,
    help: &'static str,
    sources: &'static [MetricSource],
}

/// Metrics of the pipeline that an exporter shows as one metric.
pub(super) enum MetricSource {
    /// One metric, with the labels of its own tags.
    One { name: &'static str, own_tags: OwnTags },
    /// Several metrics, which a label distinguishes. Its value replaces `*` in their names.
    Each { label: &'static str, names: &'static str, values: &'static [&'static str] },
}

/// A gauge of the exporter.
pub(super) const fn gauge(
    name: &'static str,
    help: &'static str,
    sources: &'static [MetricSource],
) -> ExporterMetric {
    ExporterMetric { name, kind: MetricKind::Gauge, help, sources }
}

/// A counter of the exporter.
pub(super) const fn counter(
    name: &'static str,
    help: &'static str,
    sources: &'static [MetricSource],
) -> ExporterMetric {
    ExporterMetric { name, kind: MetricKind::Counter, help, sources }
}

/// A metric without labels.
pub(super) const fn one(name: &'static str) -> MetricSource {
    with(name, &[])
}

/// A metric that keeps these labels.
pub(super) const fn with(name: &'static str, kept: &'static [&'static str]) -> MetricSource {
    MetricSource::One { name, own_tags: OwnTags { kept, renamed: &[], dropped: &[] } }
}

/// A metric with a label of the exporter for each of these tags.
pub(super) const fn renaming(
    name: &'static str,
    renamed: &'static [(&'static str, &'static str)],
) -> MetricSource {
    MetricSource::One { name, own_tags: OwnTags { kept: &[], renamed, dropped: &[] } }
}

/// A metric for each gateway of the dispatcher, which the exporters identified by set and URI only.
pub(super) const fn of_gateway(
    name: &'static str,
    kept: &'static [&'static str],
    renamed: &'static [(&'static str, &'static str)],
    dropped: &'static [&'static str],
) -> MetricSource {
    MetricSource::One { name, own_tags: OwnTags { kept, renamed, dropped } }
}

/// A metric for each process, which the exporter identified only by its number.
pub(super) const fn of_process(name: &'static str) -> MetricSource {
    MetricSource::One {
        name,
        own_tags: OwnTags { kept: &["entry"], renamed: &[], dropped: &["process"] },
    }
}

/// A metric for each value of a label, which replaces `*` in `names`; without `*`, a single metric
/// that stands for a single value.
pub(super) const fn each(
    label: &'static str,
    names: &'static str,
    values: &'static [&'static str],
) -> MetricSource {
    MetricSource::Each { label, names, values }
}

impl ExporterMetric {
    /// The metrics of the pipeline that it shows, each with its name in the exporter.
    pub(super) fn assigned_names(&self) -> impl Iterator<Item = (String, AssignedName)> + '_ {
        self.sources.iter().flat_map(move |source| match source {
            MetricSource::One { name, own_tags } => {
                vec![((*name).to_owned(), self.assigned(vec![], *own_tags))]
            }
            MetricSource::Each { label, names, values } => {
                let each = |value: &&str| {
                    let added = vec![(*label, (*value).to_owned())];
                    (names.replace('*', value), self.assigned(added, OwnTags::default()))
                };
                values.iter().map(each).collect()
            }
        })
    }

    fn assigned(
        &self,
        added_labels: Vec<(&'static str, String)>,
        own_tags: OwnTags,
    ) -> AssignedName {
        AssignedName {
            name: Cow::Borrowed(self.name),
            kind: self.kind,
            help: Cow::Borrowed(self.help),
            added_labels,
            own_tags,
        }
    }
}
