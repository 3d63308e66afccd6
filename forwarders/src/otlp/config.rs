//! `forwarders.otlp`: the configuration of the OTLP destination.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::Deserialize;
use serde::de::Deserializer;

use super::endpoint::OtlpEndpoint;
use crate::config::DeliveryConfig;
use crate::format::otlp::BUCKETS_DEFAULT;
use crate::http::TlsConfig;
use crate::idle::{IdleConfig, IdleFor};
use crate::select::SelectConfig;
use basics::bounds::{at_least, between};
use basics::scalar_text::ScalarText;
use basics::text::Secret;
use basics::units::ByteSize;

/// Range of `max_bytes`.
const BYTES_RANGE: RangeInclusive<ByteSize> =
    ByteSize::from_bytes(1 << 10)..=ByteSize::from_mib(64);
/// Upper limit of `max_points`.
const POINTS_MAX: usize = 1_000_000;
/// Range of `max_buckets`. Three buckets are enough for all doubles at the lowest scale.
const BUCKETS_RANGE: RangeInclusive<usize> = 16..=16_384;

/// `forwarders.otlp`: one server.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtlpConfig {
    /// The destination's name in the ledger and the log, unique among all destinations. Defaults to
    /// `otlp`.
    #[serde(default)]
    pub name: Option<String>,
    /// The server's address and protocol: `http://host:4318` or `https://…` for HTTP with protobuf,
    /// `grpc://host:4317` or `grpcs://…` for gRPC. Over HTTP it may have a path, to which
    /// `/v1/metrics` is appended unless it ends so. Required.
    pub endpoint: OtlpEndpoint,
    /// Additional headers of each request, for gRPC its metadata, such as `authorization`. None by
    /// default.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Compression of requests: `gzip` or `none`. Defaults to `gzip`.
    #[serde(default)]
    pub compression: Compression,
    /// How the certificate of an `https://` or `grpcs://` server is verified.
    #[serde(default)]
    pub tls: TlsConfig,
    /// `delta`: each point has the increment of its window. `cumulative`: each point has the total
    /// since the start of its series, as Prometheus needs it; each live counter, trace and timer is
    /// in each window. Defaults to `delta`.
    #[serde(default)]
    pub temporality: OtlpTemporality,
    /// Attributes of the resource, in addition to the agent's tags, `host.name` and
    /// `service.name: tallyd`, which they replace. An empty value removes one. None by default.
    #[serde(default)]
    pub resource: BTreeMap<String, ScalarText>,
    /// Maximum number of buckets of a timer for each sign, 16 to 16384, with empty ones between
    /// them. Beyond it, pairs of buckets are merged, which lowers the scale. 64 buckets cover a
    /// factor of two at the highest scale. Defaults to `1024`, a factor of 65,536.
    #[serde(default = "default_max_buckets", deserialize_with = "max_buckets")]
    pub max_buckets: usize,
    /// `temporality: cumulative`: maximum number of series whose totals are kept, at least 1. Points
    /// of further series are dropped and counted as `totals_full`. Defaults to `200000`.
    #[serde(default = "default_max_series", deserialize_with = "max_series")]
    pub max_series: u64,
    /// `temporality: cumulative`: maximum memory of all totals, at least 1MiB. A point whose total
    /// would need more is dropped and counted as `totals_full`. A series takes about 400 bytes, a
    /// timer 32 more for each bucket with a sample. Defaults to `512MiB`.
    #[serde(default = "default_max_totals", deserialize_with = "max_totals")]
    pub max_totals: ByteSize,
    /// Maximum number of points in a request, 1 to 1000000. A larger number makes fewer requests but
    /// repeats more points when one fails. Defaults to `5000`.
    #[serde(default = "default_max_points", deserialize_with = "max_points")]
    pub max_points: usize,
    /// Maximum size of a request before compression, 1KiB to 64MiB; a point that alone exceeds it is
    /// dropped and counted as `too_large`. Keep it below the limits of the server, for gRPC usually
    /// 4MiB. Defaults to `1MiB`.
    #[serde(default = "default_max_bytes", deserialize_with = "max_bytes")]
    pub max_bytes: ByteSize,
    /// Which series are sent.
    #[serde(default)]
    pub select: SelectConfig,
    /// Points for live series without samples. Defaults to `none`.
    #[serde(default)]
    pub idle: Option<IdleConfig>,
    /// The time for which an idle series has points. Unlimited by default: as long as it is live.
    #[serde(default)]
    pub idle_for: Option<IdleFor>,
    /// Timeouts, retries, queue and spool. `timeout` limits each request; a window may take
    /// several.
    #[serde(default)]
    pub delivery: DeliveryConfig,
}

/// The compression of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// gzip: about a tenth of the traffic.
    #[default]
    Gzip,
    /// No compression.
    None,
}

/// The period to which the values of sums and histograms refer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OtlpTemporality {
    /// The window.
    #[default]
    Delta,
    /// The time since the start of the series.
    Cumulative,
}

const fn default_max_buckets() -> usize {
    BUCKETS_DEFAULT
}

const fn default_max_series() -> u64 {
    200_000
}

const fn default_max_totals() -> ByteSize {
    ByteSize::from_mib(512)
}

const fn default_max_points() -> usize {
    5_000
}

const fn default_max_bytes() -> ByteSize {
    ByteSize::from_mib(1)
}

fn max_buckets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    between(deserializer, BUCKETS_RANGE)
}

fn max_series<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    at_least(deserializer, 1)
}

fn max_totals<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
    at_least(deserializer, ByteSize::from_mib(1))
}

fn max_points<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    between(deserializer, 1..=POINTS_MAX)
}

fn max_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
    between(deserializer, BYTES_RANGE)
}
