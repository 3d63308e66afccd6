//! From samples to snapshots.
//!
//! Each listener thread owns a [`SeriesTable`](table::SeriesTable) of the series that it knows and
//! records into its [`Tally`](tally::Tally) without a lock. At the end of the window it hands over
//! the tally and continues with a spare one; the aggregator thread merges the tallies into the
//! [`Store`](store::Store) and takes a snapshot of it. A listener asks the
//! [`Registry`](registry::Registry) only about series that are not in its table: the registry knows
//! every live series and enforces the limits.

use std::time::Duration;

use basics::bounds::at_least;
use basics::text::Secret;
use basics::units::{ByteSize, Span};
use model::{EXACT_SAMPLES_DEFAULT, Percentile, SetSeed};
use serde::Deserialize;
use serde::de::{Deserializer, Error};

use self::cell::CellSettings;

pub mod activity;
pub mod carry;
pub mod cell;
pub mod clock;
mod clock_log;
mod expiry;
mod flagged_hash;
mod gauge_memory;
pub mod handover;
pub mod identity;
mod incremental_map;
pub mod latest_window;
pub mod listener_series;
mod mapped_names;
pub mod multiples;
pub mod pulse;
mod pulse_reply;
mod redirects;
pub mod registry;
pub mod restart;
pub mod seed;
pub mod shapes;
pub mod store;
pub mod table;
pub mod tags;
pub mod tally;
pub mod thread;
mod usage;
mod used_ends;
pub mod windows;

/// The memory of the line cache for a series by default. A series can have more than one line, such as
/// messages with the same tags in another order.
const LINE_CACHE_FOR_SERIES: usize = 64;
/// The least memory of the line cache by default, in bytes.
const LINE_CACHE_MIN: usize = 32 << 20;

/// The `aggregation` section: how samples become points.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AggregationConfig {
    /// Percentiles of timers, each greater than 0 and at most 100. Each adds a field to every
    /// output. Defaults to `[50, 90, 95, 99]`.
    #[serde(deserialize_with = "percentiles")]
    pub percentiles: Vec<Percentile>,
    /// Maximum number of live series. Samples of further series go to the overflow series of their
    /// metric, which has the tag `overflow=true`, so that totals stay correct. A series takes about
    /// 250 bytes. Defaults to `100000`.
    #[serde(deserialize_with = "at_least_one")]
    pub max_series: usize,
    /// Maximum number of series per metric name and type; samples of further series overflow as
    /// well. Protects other metrics from one whose cardinality explodes. Defaults to `10000`.
    #[serde(deserialize_with = "at_least_one")]
    pub max_series_per_metric: usize,
    /// Maximum memory for the names and tags of all series, whose lengths senders choose; samples
    /// of further series overflow as well. Defaults to `256MiB`.
    pub max_series_bytes: ByteSize,
    /// Maximum memory for the line cache of each listening socket: a line that differs from a
    /// cached one only in its numbers is not decoded again, which is about twice as fast. A line
    /// takes 21 to 32 bytes. Less than `16KiB` disables the cache. Defaults to 64 bytes for each of
    /// `max_series`, and at least `32MiB`, which is enough for 1.5 million lines.
    pub line_cache: Option<ByteSize>,
    /// Maximum memory, for each listening socket, for names that rules change. Beyond it the oldest name
    /// is forgotten, which is counted, and the rules apply to it again when it comes. A name takes
    /// about 80 bytes plus its text. Defaults to `32MiB`.
    pub rule_cache: ByteSize,
    /// Time without samples after which a series expires. Defaults to `10m`.
    pub expire_after: Span,
    /// Time without samples after which the level of a gauge is forgotten, from which changes start.
    /// No effect if it is shorter than `expire_after`. Defaults to `24h`.
    pub gauge_memory: Span,
    /// Values of a timer that are kept individually in a window, at least 1000. Up to this number
    /// percentiles are exact, beyond it they are within 0.55 %. A value takes 8 bytes. Defaults to
    /// `1000`.
    #[serde(deserialize_with = "at_least_exact")]
    pub exact_samples: usize,
    /// A secret from which the hash of the members of sets is derived: a sender that knows it can send
    /// members that all count as one, or as many. Hosts whose sets are merged downstream need the same
    /// one, from a file (`${file:…}`) and of at least 16 random characters. Without it, each run draws
    /// its own.
    #[serde(deserialize_with = "set_seed")]
    pub set_seed: Option<Secret>,
}

impl Default for AggregationConfig {
    fn default() -> Self {
        let percentiles = ["50", "90", "95", "99"]
            .iter()
            .filter_map(|text| Percentile::parse(text).ok())
            .collect();
        Self {
            percentiles,
            max_series: 100_000,
            max_series_per_metric: 10_000,
            max_series_bytes: ByteSize::from_mib(256),
            line_cache: None,
            rule_cache: ByteSize::from_mib(32),
            expire_after: Span::from_secs(600),
            gauge_memory: Span::from_secs(86_400),
            exact_samples: EXACT_SAMPLES_DEFAULT,
            set_seed: None,
        }
    }
}

fn percentiles<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Percentile>, D::Error> {
    let listed = Vec::<ListedPercentile>::deserialize(deserializer)?;
    let mut percentiles: Vec<Percentile> = Vec::with_capacity(listed.len());
    for ListedPercentile(percentile) in listed {
        if percentiles.iter().any(|other| other.label() == percentile.label()) {
            return Err(D::Error::custom(format!(
                "the percentile {} is listed twice",
                percentile.rank()
            )));
        }
        percentiles.push(percentile);
    }
    Ok(percentiles)
}

/// A percentile that is read from its decimal text, which also names its field: `99.9`.
struct ListedPercentile(Percentile);

impl<'de> Deserialize<'de> for ListedPercentile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Percentile::parse(&text).map(Self).map_err(D::Error::custom)
    }
}

impl AggregationConfig {
    /// The maximum memory for the line cache of each listening socket, in bytes.
    #[must_use]
    pub fn line_cache_bytes(&self) -> usize {
        let enough = self.max_series.saturating_mul(LINE_CACHE_FOR_SERIES).max(LINE_CACHE_MIN);
        self.line_cache.map_or(enough, |configured| configured.get() as usize)
    }

    /// Returns the settings of cells. Without a configured seed for sets, takes that of an earlier run
    /// whose window this one continues, if there is one.
    #[must_use]
    pub fn cells(&self, earlier: Option<SetSeed>) -> CellSettings {
        let configured = self.set_seed.as_ref().map(|secret| SetSeed::from_text(secret.reveal()));
        let set_seed = configured.or(earlier).unwrap_or_else(SetSeed::random);
        CellSettings { exact_samples: self.exact_samples, set_seed }
    }
}

fn set_seed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    let secret = Option::<Secret>::deserialize(deserializer)?;
    // An empty file, for example: everybody would know this secret.
    if secret.as_ref().is_some_and(|secret| secret.reveal().is_empty()) {
        return Err(D::Error::custom("must not be empty; omit the key for a random seed"));
    }
    Ok(secret)
}

fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    at_least(deserializer, 1)
}

fn at_least_exact<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    at_least(deserializer, EXACT_SAMPLES_DEFAULT)
}

/// The number of windows of this length in a span, rounded up, at least one.
fn windows_in(span: Duration, interval: Duration) -> u64 {
    (span.as_nanos().div_ceil(interval.as_nanos().max(1)) as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<AggregationConfig, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn each_percentile_is_listed_once() {
        let labels = |json| {
            let config = read(json)?;
            Ok(config.percentiles.iter().map(|one| one.label().to_owned()).collect::<Vec<_>>())
        };
        let (two, none) = (r#"{"percentiles":["50","99.9"]}"#, r#"{"percentiles":[]}"#);
        assert_eq!(labels(two).map(|labels| labels.len()), Ok(2));
        assert_eq!(labels(none), Ok(vec![]));
        let twice: Result<_, String> = labels(r#"{"percentiles":["50","99","50"]}"#);
        assert!(twice.unwrap_err().starts_with("the percentile 50 is listed twice"));
    }

    #[test]
    fn a_seed_for_sets_is_not_empty() {
        let seed = |json| read(json).map(|config| config.set_seed);
        assert_eq!(seed("{}"), Ok(None));
        assert_eq!(seed(r#"{"set_seed":null}"#), Ok(None));
        let secret = seed(r#"{"set_seed":"sixteen letters."}"#).unwrap().unwrap();
        assert_eq!(secret.reveal(), "sixteen letters.");
        assert!(seed(r#"{"set_seed":""}"#).unwrap_err().starts_with("must not be empty"));
    }

    #[test]
    fn numbers_have_a_minimum() {
        for (key, least) in
            [("max_series", 1), ("max_series_per_metric", 1), ("exact_samples", 1_000)]
        {
            let with = |number: usize| read(&format!(r#"{{"{key}":{number}}}"#));
            assert!(with(least - 1).is_err(), "{key}");
            let AggregationConfig { max_series, max_series_per_metric, exact_samples, .. } =
                with(least + 1).unwrap();
            let read = [max_series, max_series_per_metric, exact_samples];
            assert!(with(least).is_ok() && read.contains(&(least + 1)), "{key}: {read:?}");
        }
    }

    #[test]
    fn the_line_cache_has_room_for_two_lines_of_each_series() {
        let cache_of = |max_series, line_cache| {
            let config = AggregationConfig { max_series, line_cache, ..Default::default() };
            config.line_cache_bytes()
        };
        assert_eq!(cache_of(100_000, None), 32 << 20);
        assert_eq!(cache_of(5_000_000, None), 320_000_000);
        assert_eq!(cache_of(usize::MAX, None), usize::MAX);
        assert_eq!(cache_of(5_000_000, Some(ByteSize::from_bytes(20_000))), 20_000);
    }
}
