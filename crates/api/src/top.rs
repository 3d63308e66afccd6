//! `/api/v1/top`: the metrics, tag keys and senders with the most samples, values and messages.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Maximum number of rows of a list that a query may request.
pub const ROWS_MAX: usize = 1_000;
/// Rows of a list unless a query says otherwise.
pub const ROWS_DEFAULT: usize = 100;

/// The parameters of `/api/v1/top`. Formats as the query of a URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TopQuery {
    /// Rows of each list, 1 to [`ROWS_MAX`].
    pub limit: usize,
    /// The order of metrics.
    pub sort: TopSort,
    /// The parts of the reply: words of [`TopPart`], separated by commas.
    pub parts: String,
}

/// The order of metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TopSort {
    /// By samples in the latest window; then by all samples.
    #[default]
    Samples,
    /// By series.
    Series,
    /// By new series; only metrics that have some.
    NewSeries,
}

/// A part of the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopPart {
    /// [`Top::metrics`].
    Metrics,
    /// [`Top::tag_keys`].
    TagKeys,
    /// [`Top::senders`].
    Senders,
}

/// The reply of `/api/v1/top`, with the requested parts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Top {
    /// Identifies this run of the process.
    #[serde(default)]
    pub instance: String,
    /// Time since the start, in seconds.
    #[serde(default)]
    pub uptime_s: f64,
    /// Metrics, as of the latest window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<MetricRanking>,
    /// Tag keys, as of the latest scan of all series.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag_keys: Option<TagKeyRanking>,
    /// Senders, counted while clients request them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub senders: Option<SenderRanking>,
}

/// Metrics, as of the latest window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MetricRanking {
    /// When the window ended; `None` before the first.
    pub window_end: Option<String>,
    /// Length of that window, in seconds.
    pub interval_s: f64,
    /// The age, in seconds, up to which a series counts as new.
    pub new_within_s: f64,
    /// Metrics, including those without a row.
    pub total: u64,
    /// Samples of all metrics in the window.
    #[serde(default)]
    pub window_samples: u64,
    /// The order of `top`: a word of [`TopSort`].
    #[serde(default)]
    pub sort: String,
    /// The metrics, in that order.
    pub top: Vec<TopMetric>,
}

/// A metric: all types of its name together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopMetric {
    /// Its name.
    pub name: String,
    /// Samples since the metric got its first series.
    pub samples: u64,
    /// Samples in the latest window.
    pub window_samples: u64,
    /// Series in memory.
    pub series: u64,
    /// New series among them.
    pub new_series: u64,
    /// Samples that overflowed.
    pub overflowed: u64,
}

/// Tag keys, as of the latest scan of all series.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TagKeyRanking {
    /// Time since the scan, in seconds.
    pub age_s: f64,
    /// How long the scan took, in seconds.
    #[serde(default)]
    pub took_s: f64,
    /// Series scanned.
    pub series: u64,
    /// Whether the scan covered all series.
    pub is_complete: bool,
    /// Tag keys beyond `admin.top.max_tag_keys`, whose values are not counted.
    pub other_keys: u64,
    /// The keys with the most values.
    pub top: Vec<TopTagKey>,
}

/// A tag key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopTagKey {
    /// The key.
    pub key: String,
    /// Distinct values; an estimate where there are thousands.
    pub values: u64,
    /// Series that have the key.
    pub series: u64,
}

/// Senders, counted while clients request them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SenderRanking {
    /// How long the listeners have been counting by sender, in seconds.
    pub counted_for_s: f64,
    /// The senders with the most messages.
    pub top: Vec<TopSender>,
    /// All other senders together.
    pub others: SentCounts,
}

/// A sender.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopSender {
    /// The listener that it sends to, as the status names it.
    pub listener: String,
    /// Its host; on this host, its port or process.
    pub sender: String,
    /// How much it sent.
    #[serde(flatten)]
    pub sent: SentCounts,
}

/// How much a sender sent since counting by sender began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentCounts {
    /// Datagrams.
    #[serde(default)]
    pub datagrams: u64,
    /// Bytes.
    pub bytes: u64,
    /// Messages, including rejected ones.
    pub messages: u64,
    /// Messages rejected.
    pub rejected: u64,
}

impl Default for TopQuery {
    fn default() -> Self {
        let parts = TopPart::ALL.map(TopPart::as_str).join(",");
        Self { limit: ROWS_DEFAULT, sort: TopSort::default(), parts }
    }
}

impl fmt::Display for TopQuery {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, sort, parts } = self;
        write!(formatter, "parts={parts}&sort={}&limit={limit}", sort.as_str())
    }
}

impl TopSort {
    /// The word that a query and a reply use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Samples => "samples",
            Self::Series => "series",
            Self::NewSeries => "new_series",
        }
    }
}

impl TopPart {
    /// Every part, in the order of the reply.
    pub const ALL: [Self; 3] = [Self::Metrics, Self::TagKeys, Self::Senders];

    /// The word that a query uses, and the member of the reply.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::TagKeys => "tag_keys",
            Self::Senders => "senders",
        }
    }

    /// The part with this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_the_same_in_a_query_and_in_json() {
        for sort in [TopSort::Samples, TopSort::Series, TopSort::NewSeries] {
            assert_eq!(serde_json::to_value(sort).unwrap(), sort.as_str());
        }
        for part in TopPart::ALL {
            assert_eq!(TopPart::from_word(part.as_str()), Some(part));
        }
        assert_eq!(TopPart::from_word("tags"), None);
        let query = TopQuery::default().to_string();
        assert_eq!(query, "parts=metrics,tag_keys,senders&sort=samples&limit=100");
    }
}
