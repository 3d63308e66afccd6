//! `/api/v1/series`: the current values of live series, and the removal of series.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Maximum number of series in a reply.
pub const LIMIT_MAX: usize = 10_000;
/// Series in a reply unless a query says otherwise.
pub const LIMIT_DEFAULT: usize = 100;

/// The names of parameters. `match`, `tag` and `type` may be given several times.
pub mod parameter {
    /// A glob for the metric name; one of several has to match.
    pub const MATCH: &str = "match";
    /// `KEY` or `KEY=GLOB`: a tag that a series must have.
    pub const TAG: &str = "tag";
    /// A metric type.
    pub const TYPE: &str = "type";
    /// The order: a word of [`SeriesSort`](super::SeriesSort), with a `-` in front for the reverse.
    pub const SORT: &str = "sort";
    /// Most series in the reply, 1 to [`LIMIT_MAX`](super::LIMIT_MAX).
    pub const LIMIT: &str = "limit";
    /// Series to skip, in the order of the reply.
    pub const OFFSET: &str = "offset";
}

/// The order of series. Series that are equal in it are sorted by name and tags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SeriesSort {
    /// By name and tags.
    #[default]
    Name,
    /// By value, the largest first; series without a value come last.
    Value,
    /// By time without samples, the shortest first.
    Idle,
    /// By age, the newest first.
    Age,
}

/// The reply of `/api/v1/series`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SeriesList {
    /// Identifies this run of the process.
    #[serde(default)]
    pub instance: String,
    /// When the last window ended; `None` before the first, and if that window was not kept because it
    /// was larger than `admin.series.max_window`.
    pub window_end: Option<String>,
    /// Length of a window, in seconds.
    pub interval_s: f64,
    /// Live series, matching or not.
    pub live: u64,
    /// Live series that match.
    pub matched: u64,
    /// Matching series before the first one of `series`.
    #[serde(default)]
    pub offset: u64,
    /// The `offset` of the next part; `None` if this is the last one.
    pub next_offset: Option<u64>,
    /// The series of this part.
    pub series: Vec<SeriesValue>,
}

/// A live series.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SeriesValue {
    /// The name of the metric.
    pub name: String,
    /// The type of the metric.
    #[serde(rename = "type")]
    pub kind: String,
    /// The tags, the agent's included.
    pub tags: BTreeMap<String, String>,
    /// The level of a gauge; of other types, the count or the mean in the last window, and `None`
    /// without samples in it.
    pub value: Option<f64>,
    /// The fields of the point in the last window; empty without samples in it.
    pub fields: BTreeMap<String, f64>,
    /// The running total of a counter that its source reports as one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<f64>,
    /// Time from the end of the latest window with samples to the end of the last window, in seconds;
    /// 0 if that is the last window.
    pub idle_s: f64,
    /// Time from the end of the first window with samples to the end of the last window, in seconds. A
    /// gauge that a restart kept is as old as its last change before.
    pub age_s: f64,
}

/// The values of a series in the latest windows, recorded while a chart of it is watched.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SeriesChart {
    /// Length of a window, in seconds.
    pub interval_s: f64,
    /// The values, the oldest first; from at most the last 5 minutes.
    pub points: Vec<ChartPoint>,
}

/// The value of a series in a window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChartPoint {
    /// The end of the window.
    pub end: String,
    /// The count, level or mean; `None` without samples.
    pub value: Option<f64>,
}

/// The reply to the removal of series.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeriesRemoved {
    /// Series removed.
    pub removed: u64,
}

impl SeriesSort {
    /// Every order.
    pub const ALL: [Self; 4] = [Self::Name, Self::Value, Self::Idle, Self::Age];

    /// The word that a query uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Value => "value",
            Self::Idle => "idle",
            Self::Age => "age",
        }
    }

    /// The order of this word, and whether it is reversed.
    #[must_use]
    pub fn from_word(word: &str) -> Option<(Self, bool)> {
        let (word, is_reversed) = match word.strip_prefix('-') {
            Some(word) => (word, true),
            None => (word, false),
        };
        let sort = Self::ALL.into_iter().find(|sort| sort.as_str() == word)?;
        Some((sort, is_reversed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_has_a_word_and_a_reverse() {
        for sort in SeriesSort::ALL {
            assert_eq!(SeriesSort::from_word(sort.as_str()), Some((sort, false)));
            let reverse = format!("-{}", sort.as_str());
            assert_eq!(SeriesSort::from_word(&reverse), Some((sort, true)));
        }
        assert_eq!(SeriesSort::from_word("--name"), None);
    }
}
