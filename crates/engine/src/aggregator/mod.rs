//! From samples to snapshots.
//!
//! Each listener thread owns a [`Table`](table::Table) of the series that it knows and records into
//! its [`Tally`](tally::Tally) without a lock. At the window's edge it hands the tally over and goes
//! on with a spare one; the aggregator thread merges the tallies into the [`Store`](store::Store)
//! and makes a snapshot of it. The
//! [`Registry`](registry::Registry) is asked only when a listener sees a series for the first time:
//! it knows every live series and keeps their number within the limits.

use std::time::Duration;

use basics::units::{ByteSize, Span};
use model::{EXACT_SAMPLES_DEFAULT, Percentile};
use serde::Deserialize;
use serde::de::{Deserializer, Error};

pub mod activity;
pub mod cell;
pub mod clock;
pub mod handover;
pub mod identity;
mod metrics;
pub mod places;
pub mod pulse;
pub mod registry;
pub mod seed;
pub mod shapes;
mod spread;
pub mod store;
pub mod table;
pub mod tags;
pub mod tally;
pub mod thread;
pub mod windows;

/// `aggregation`: how samples become points.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AggregationConfig {
    /// Percentiles of timers, each above 0 and up to 100. More of them cost a field each in every
    /// output. Defaults to `[50, 90, 95, 99]`.
    #[serde(deserialize_with = "percentiles")]
    pub percentiles: Vec<Percentile>,
    /// Most series that are remembered. Samples of further series are folded into one series of
    /// their metric with the tag `overflow=true`, so that totals stay right. A series costs some
    /// 250 bytes. Defaults to `100000`.
    #[serde(deserialize_with = "at_least_one")]
    pub max_series: usize,
    /// Most series of one metric name and type; beyond, the same happens. Protects the others from
    /// a metric that explodes. Defaults to `10000`.
    #[serde(deserialize_with = "at_least_one")]
    pub max_series_per_metric: usize,
    /// Most memory for the names and tags of all series: senders choose how long they are. Beyond,
    /// the same happens. Defaults to `256MiB`.
    pub max_series_bytes: ByteSize,
    /// Most memory, for each listening socket, for lines seen before: a line that differs from one of
    /// them in its number alone is not decoded again, which is three times as fast. A line takes its
    /// length and some 50 bytes. `1KiB` is as good as none. Defaults to `32MiB`.
    pub line_cache: ByteSize,
    /// A series without samples for this long is forgotten, and a gauge's value with it. Longer
    /// keeps the base of gauge deltas longer at the cost of memory. Defaults to `10m`.
    pub expire_after: Span,
    /// Values of a timer that are kept one by one in a window, at least 1000; up to here
    /// percentiles are exact, beyond they are within 1 %. Costs 8 bytes each. Defaults to `1000`.
    #[serde(deserialize_with = "at_least_exact")]
    pub exact_samples: usize,
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
            line_cache: ByteSize::from_mib(32),
            expire_after: Span::from_secs(600),
            exact_samples: EXACT_SAMPLES_DEFAULT,
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

/// A percentile by its decimal text, so that `99.9` names its field.
struct ListedPercentile(Percentile);

impl<'de> Deserialize<'de> for ListedPercentile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Percentile::parse(&text).map(Self).map_err(D::Error::custom)
    }
}

fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    at_least(deserializer, 1)
}

fn at_least_exact<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    at_least(deserializer, EXACT_SAMPLES_DEFAULT)
}

fn at_least<'de, D: Deserializer<'de>>(deserializer: D, least: usize) -> Result<usize, D::Error> {
    match usize::deserialize(deserializer)? {
        number if number >= least => Ok(number),
        number => Err(D::Error::custom(format!("must be at least {least}, not {number}"))),
    }
}

/// How many windows of a length make up a span, at least one.
fn windows_in(span: Duration, interval: Duration) -> u64 {
    (span.as_nanos().div_ceil(interval.as_nanos().max(1)) as u64).max(1)
}
