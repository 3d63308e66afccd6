//! The identity of a series: kind, metric name and tags.

use std::fmt;

/// What a metric measures; `a.b` as a counter and `a.b` as a gauge are two series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MetricKind {
    /// Increments, summed over the window.
    Counter,
    /// A level; the last value wins.
    Gauge,
    /// A distribution of measured values.
    Timer,
    /// A number of distinct members.
    Set,
    /// How often an exact combination of tags occurred.
    Trace,
}

impl MetricKind {
    /// Every kind, in the order in which listings show them.
    pub const ALL: [Self; 5] = [Self::Counter, Self::Gauge, Self::Timer, Self::Set, Self::Trace];

    /// The word that outputs use: `counter`, `gauge`, `timer`, `set` or `trace`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Timer => "timer",
            Self::Set => "set",
            Self::Trace => "trace",
        }
    }
}

impl fmt::Display for MetricKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A series: its kind, metric name and tags, sorted by tag key.
///
/// Name, keys and values lie behind each other in one string, because there may be a million
/// series and an allocation for each tag would cost more than the tags.
#[derive(PartialEq, Eq, Hash)]
pub struct Series {
    kind: MetricKind,
    text: Box<str>,
    /// Where each part of `text` ends: the name, then key, value, key, value…
    ends: Box<[u32]>,
}

impl Series {
    /// Makes a series; `tags` are sorted by key and no key occurs twice.
    #[must_use]
    pub fn new<K: AsRef<str>, V: AsRef<str>>(
        kind: MetricKind,
        name: &str,
        tags: &[(K, V)],
    ) -> Self {
        debug_assert!(tags.is_sorted_by(|a, b| a.0.as_ref() < b.0.as_ref()));
        let bytes: usize =
            tags.iter().map(|(key, value)| key.as_ref().len() + value.as_ref().len()).sum();
        let mut text = String::with_capacity(name.len() + bytes);
        let mut ends = Vec::with_capacity(1 + 2 * tags.len());
        let mut add = |part: &str| {
            text.push_str(part);
            // A datagram is shorter than 64 KiB, so the parts of one series are far below 4 GiB.
            ends.push(text.len() as u32);
        };
        add(name);
        for (key, value) in tags {
            add(key.as_ref());
            add(value.as_ref());
        }
        Self { kind, text: text.into_boxed_str(), ends: ends.into_boxed_slice() }
    }

    /// What the series measures.
    #[must_use]
    pub fn kind(&self) -> MetricKind {
        self.kind
    }

    /// The metric name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.part(0)
    }

    /// The tags as (key, value), sorted by key.
    #[must_use]
    pub fn tags(&self) -> impl ExactSizeIterator<Item = (&str, &str)> + Clone {
        (0..self.tag_count()).map(|tag| (self.part(1 + 2 * tag), self.part(2 + 2 * tag)))
    }

    /// How many tags there are.
    #[must_use]
    pub fn tag_count(&self) -> usize {
        self.ends.len() / 2
    }

    /// The value of the tag `key`.
    #[must_use]
    pub fn tag(&self, key: &str) -> Option<&str> {
        self.tags().find(|(candidate, _)| *candidate == key).map(|(_, value)| value)
    }

    /// Length of name, keys and values together, in bytes.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        self.text.len()
    }

    fn part(&self, index: usize) -> &str {
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        &self.text[start..self.ends[index] as usize]
    }
}

impl fmt::Display for Series {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.kind, self.name())?;
        for (key, value) in self.tags() {
            write!(formatter, " {key}={value}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Series {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Series({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_gives_back_its_parts() {
        let series = Series::new(MetricKind::Timer, "user.latency", &[("a", "1"), ("b", "zwei")]);
        assert_eq!(series.name(), "user.latency");
        assert_eq!(series.tags().collect::<Vec<_>>(), [("a", "1"), ("b", "zwei")]);
        assert_eq!(series.tag("b"), Some("zwei"));
        assert_eq!(series.tag("c"), None);
        assert_eq!(series.to_string(), "timer user.latency a=1 b=zwei");
    }

    #[test]
    fn parts_that_run_together_alike_are_still_different_series() {
        let one = Series::new(MetricKind::Trace, "m", &[("a", "bc")]);
        let other = Series::new(MetricKind::Trace, "m", &[("ab", "c")]);
        assert_ne!(one, other);
    }
}
