//! The keys `timers` and `buckets`: the forms in which timers are shown.

use std::fmt;
use std::sync::Arc;

use basics::globs::Globs;
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer, StrDeserializer};
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use smallvec::{SmallVec, smallvec};

/// Maximum number of bounds in a list.
const BOUNDS_MAX: usize = 200;

/// Default bounds of classic histograms. Most timers are in milliseconds; the client libraries
/// of Prometheus have the same bounds in seconds.
const BOUNDS: [f64; 11] =
    [5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0];

/// A form in which a timer is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimerForm {
    /// Percentiles of the latest window, with a total count and sum.
    Summary,
    /// A native histogram, of all windows.
    Native,
    /// A histogram with configured bounds, of all windows.
    Histogram,
}

/// `timers`: a form or a list of forms, without duplicates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimerForms(Vec<TimerForm>);

impl Default for TimerForms {
    fn default() -> Self {
        Self(vec![TimerForm::Summary])
    }
}

/// A metric family of a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimerFamily {
    Summary,
    /// Has the classic and the native buckets.
    Histogram,
}

impl TimerFamily {
    /// Returns the suffixes of the samples.
    pub(super) const fn sample_suffixes(self) -> &'static [&'static str] {
        match self {
            Self::Summary => &["", "_sum", "_count"],
            Self::Histogram => &["", "_bucket", "_sum", "_count"],
        }
    }

    /// Returns the type in text format.
    pub(super) const fn type_word(self) -> &'static str {
        match self {
            Self::Summary => "summary",
            Self::Histogram => "histogram",
        }
    }
}

impl TimerForms {
    pub(super) fn has(&self, form: TimerForm) -> bool {
        self.0.contains(&form)
    }

    pub(super) fn has_histogram(&self) -> bool {
        self.0.iter().any(|form| *form != TimerForm::Summary)
    }

    /// Returns the families of a timer, each with the suffix of its name. A family has one type, so a
    /// summary and a histogram are two; the first in the list keeps the name of the timer.
    pub(super) fn families(&self) -> SmallVec<[(TimerFamily, &'static str); 2]> {
        let is_summary_first = self.0.first() == Some(&TimerForm::Summary);
        match (self.has(TimerForm::Summary), self.has_histogram()) {
            (true, true) if is_summary_first => {
                smallvec![(TimerFamily::Summary, ""), (TimerFamily::Histogram, "_distribution")]
            }
            (true, true) => {
                smallvec![(TimerFamily::Histogram, ""), (TimerFamily::Summary, "_quantiles")]
            }
            (false, true) => smallvec![(TimerFamily::Histogram, "")],
            _ => smallvec![(TimerFamily::Summary, "")],
        }
    }
}

impl<'de> Deserialize<'de> for TimerForms {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FormsVisitor)
    }
}

struct FormsVisitor;

impl<'de> Visitor<'de> for FormsVisitor {
    type Value = TimerForms;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("`summary`, `native`, `histogram`, or a list of these")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<TimerForms, E> {
        TimerForm::deserialize(StrDeserializer::new(word)).map(|form| TimerForms(vec![form]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<TimerForms, A::Error> {
        let forms: Vec<TimerForm> = Vec::deserialize(SeqAccessDeserializer::new(list))?;
        let is_repeated = |at: usize| forms[..at].contains(&forms[at]);
        if forms.is_empty() || (0..forms.len()).any(is_repeated) {
            return Err(A::Error::custom("a list names at least one form, and each only once"));
        }
        Ok(TimerForms(forms))
    }
}

/// Upper bounds of a classic histogram's buckets: 1 to 200 finite, ascending numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct BucketBounds(Arc<[f64]>);

impl BucketBounds {
    fn new(bounds: Vec<f64>) -> Result<Self, String> {
        if bounds.is_empty() || bounds.len() > BOUNDS_MAX {
            return Err(format!("a list has 1 to {BOUNDS_MAX} bounds, not {}", bounds.len()));
        }
        if bounds.iter().any(|bound| !bound.is_finite()) {
            return Err("a bound is a finite number; the bucket +Inf is always there".to_owned());
        }
        if let Some(pair) = bounds.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(format!("bounds must ascend, but {} follows {}", pair[1], pair[0]));
        }
        // Turns -0 into 0: as labels, they would be two texts for the same bucket.
        Ok(Self(bounds.into_iter().map(|bound| bound + 0.0).collect()))
    }
}

impl<'de> Deserialize<'de> for BucketBounds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Vec::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// An item of `buckets` with the bounds for some metrics.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatchedBounds {
    /// Glob on the metric name (`*` matches dots too). Required.
    #[serde(rename = "match", deserialize_with = "glob")]
    pub pattern: Globs,
    /// Upper bounds of the buckets, ascending. Required.
    pub le: BucketBounds,
}

fn glob<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Globs, D::Error> {
    Globs::parse(&[String::deserialize(deserializer)?]).map_err(D::Error::custom)
}

/// `buckets`: bounds for all metrics, or for the metrics that match a glob.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BucketsConfig {
    matched: Vec<MatchedBounds>,
    /// For all other metrics.
    others: BucketBounds,
}

impl Default for BucketBounds {
    fn default() -> Self {
        Self(BOUNDS.into())
    }
}

impl BucketsConfig {
    /// Returns the bounds for a metric: those of the first item that matches it, or else the common
    /// ones.
    fn bounds(&self, metric: &str) -> &BucketBounds {
        let matches = |item: &&MatchedBounds| item.pattern.matches(metric) == Some(true);
        self.matched.iter().find(matches).map_or(&self.others, |item| &item.le)
    }
}

impl<'de> Deserialize<'de> for BucketsConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let items: Vec<BucketItem> = Vec::deserialize(deserializer)?;
        let (mut matched, mut bounds) = (Vec::new(), Vec::new());
        for item in items {
            match item {
                BucketItem::Bound(bound) => bounds.push(bound),
                BucketItem::Matched(item) => matched.push(item),
            }
        }
        match (matched.is_empty(), bounds.is_empty()) {
            (false, false) => Err(D::Error::custom(
                "the items are either bounds or {match: …, le: […]}; for other bounds of all \
                 remaining metrics, end the list with {match: \"*\", le: […]}",
            )),
            (false, true) => Ok(Self { matched, others: BucketBounds::default() }),
            (true, _) => {
                let others = BucketBounds::new(bounds).map_err(D::Error::custom)?;
                Ok(Self { matched, others })
            }
        }
    }
}

/// An item of `buckets`.
enum BucketItem {
    Bound(f64),
    Matched(MatchedBounds),
}

impl<'de> Deserialize<'de> for BucketItem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ItemVisitor)
    }
}

struct ItemVisitor;

impl<'de> Visitor<'de> for ItemVisitor {
    type Value = BucketItem;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a bound or {match: …, le: […]}")
    }

    fn visit_f64<E: Error>(self, bound: f64) -> Result<BucketItem, E> {
        Ok(BucketItem::Bound(bound))
    }

    fn visit_u64<E: Error>(self, bound: u64) -> Result<BucketItem, E> {
        Ok(BucketItem::Bound(bound as f64))
    }

    fn visit_i64<E: Error>(self, bound: i64) -> Result<BucketItem, E> {
        Ok(BucketItem::Bound(bound as f64))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<BucketItem, A::Error> {
        MatchedBounds::deserialize(MapAccessDeserializer::new(map)).map(BucketItem::Matched)
    }
}

/// The settings from which the totals of timers are built.
#[derive(Clone, Debug, Default)]
pub(super) struct TimerSettings {
    pub(super) forms: TimerForms,
    pub(super) buckets: BucketsConfig,
    /// Maximum number of buckets of a native histogram.
    pub(super) native_buckets_max: usize,
}

impl TimerSettings {
    /// Returns the bounds of a metric's classic buckets; `None` if it has none.
    pub(super) fn bounds(&self, metric: &str) -> Option<Arc<[f64]>> {
        let bounds = || Arc::clone(&self.buckets.bounds(metric).0);
        self.forms.has(TimerForm::Histogram).then(bounds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forms(json: &str) -> Result<TimerForms, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    fn buckets(json: &str) -> Result<BucketsConfig, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn the_first_of_a_summary_and_a_histogram_keeps_the_name() {
        use TimerFamily::{Histogram, Summary};
        for (json, families) in [
            (r#""summary""#, vec![(Summary, "")]),
            (r#""native""#, vec![(Histogram, "")]),
            (r#"["histogram", "native"]"#, vec![(Histogram, "")]),
            (r#"["summary", "native"]"#, vec![(Summary, ""), (Histogram, "_distribution")]),
            (r#"["histogram", "summary"]"#, vec![(Histogram, ""), (Summary, "_quantiles")]),
        ] {
            assert_eq!(forms(json).unwrap().families().to_vec(), families, "{json}");
        }
    }

    #[test]
    fn forms_that_do_not_exist_or_repeat_are_refused() {
        for json in [r#""classic""#, "[]", r#"["native", "native"]"#, "7"] {
            assert!(forms(json).is_err(), "{json}");
        }
    }

    #[test]
    fn the_first_item_that_matches_a_metric_has_its_bounds() {
        let config = r#"[{"match": "rpc.*", "le": [1, 2.5]}, {"match": "*.slow", "le": [-60]}]"#;
        let config = buckets(config).unwrap();
        let bounds = |metric: &str| config.bounds(metric).0.to_vec();
        assert_eq!(bounds("rpc.a.slow"), [1.0, 2.5]);
        assert_eq!(bounds("disk.slow"), [-60.0]);
        assert_eq!(bounds("disk"), BOUNDS);
        assert_eq!(
            buckets("[1, 20, 300.5]").unwrap().bounds("rpc.a").0.to_vec(),
            [1.0, 20.0, 300.5]
        );
    }

    #[test]
    fn bounds_that_do_not_ascend_are_refused() {
        let long = format!("[{}0]", "1,".repeat(BOUNDS_MAX));
        for (json, words) in [
            ("[]", "1 to 200"),
            ("[1, 1]", "1 follows 1"),
            ("[2, 1]", "ascend"),
            (r#"[1, {"match": "a", "le": [1]}]"#, "either"),
            (r#"[{"match": "a"}]"#, "le"),
            (r#"[{"match": "[", "le": [1]}]"#, "glob"),
            (r#"[{"match": "a", "le": []}]"#, "1 to 200"),
            (r#"["5"]"#, "a bound"),
            (&long, "1 to 200"),
        ] {
            let error = buckets(json).unwrap_err();
            assert!(error.contains(words), "{json}: {error}");
        }
    }
}
