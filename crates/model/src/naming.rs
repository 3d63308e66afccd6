//! Other names for series, for a destination that replaces another program.

use std::borrow::Cow;
use std::fmt;

use crate::{MetricKind, Series};

/// Decides under which names a destination shows series.
pub trait SeriesNaming: fmt::Debug + Send + Sync {
    /// Decides how a series is shown.
    fn place(&self, series: &Series) -> SeriesPlacement<'_>;

    /// Whether a series marks a poll of its source: it has a sample in every poll. The destination
    /// removes a renamed series at the first poll of its source without it, before it expires.
    fn marks_poll(&self, series: &Series) -> bool;

    /// Converts a value to the form that the other program showed.
    fn shown_value(&self, value: f64) -> f64;
}

/// How a series is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SeriesPlacement<'a> {
    /// Under another name.
    Renamed(Cow<'a, AssignedName>),
    /// Not at all, because the other program did not show it.
    Hidden,
    /// Under its own name, because it is not among the series of the other program.
    Unchanged,
}

/// The name, type and labels of a renamed series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignedName {
    /// The metric name.
    pub name: Cow<'static, str>,
    /// The type to declare, independent of the kind of the series.
    pub kind: MetricKind,
    /// The description of the metric.
    pub help: Cow<'static, str>,
    /// Labels in addition to the tags of the series.
    pub added_labels: Vec<(&'static str, String)>,
    /// The tags that distinguish series of one source.
    pub own_tags: OwnTags,
}

/// The keys of the tags that distinguish series of one source. All other tags identify the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnTags {
    /// Tags that become labels of the same name.
    pub kept: &'static [&'static str],
    /// Tags that become labels of another name: the tags, each with its label.
    pub renamed: &'static [(&'static str, &'static str)],
    /// Tags that are not shown.
    pub dropped: &'static [&'static str],
}

impl OwnTags {
    /// Whether a key is among them.
    #[must_use]
    pub fn contains(self, key: &str) -> bool {
        let is_renamed = || self.renamed.iter().any(|(tag, _)| *tag == key);
        self.kept.contains(&key) || self.dropped.contains(&key) || is_renamed()
    }

    /// Whether two series are of the same source: whether they agree in all other tags.
    #[must_use]
    pub fn is_same_source(self, one: &Series, other: &Series) -> bool {
        let of_source = |(key, _): &(&str, &str)| !self.contains(key);
        one.tags().filter(of_source).eq(other.tags().filter(of_source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_one_source_agree_in_all_tags_but_their_own() {
        let renamed = &[("uri", "destination")];
        let own = OwnTags { kept: &["flags"], renamed, dropped: &["process"] };
        let series = |tags: &[(&str, &str)]| Series::new(MetricKind::Gauge, "m", tags);
        let poll = series(&[("node", "a")]);
        let one = series(&[("flags", "AP"), ("node", "a"), ("process", "timer"), ("uri", "sip:a")]);
        assert!(own.is_same_source(&one, &poll));
        assert!(!own.is_same_source(&one, &series(&[("node", "b")])));
        assert!(!own.is_same_source(&one, &series(&[])));
        assert!(!OwnTags::default().is_same_source(&one, &poll));
    }
}
