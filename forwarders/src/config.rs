//! The keys that every destination's section has: `name`, `select` and `delivery`. For `idle` and
//! `idle_for` see [`crate::idle`].

use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU32;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use crate::select::SelectConfig;
use basics::bounds::between;
use basics::units::{ByteSize, Span};
use model::IdleLimits;

/// Upper limit of `delivery.retry.search_after`.
const SEARCH_AFTER_MAX: u32 = 1_000;
/// Default of `delivery.spool.max_files`.
const FILES_MAX: NonZeroU32 = NonZeroU32::new(50_000).expect("above zero");

/// The keys that all destinations' sections share.
#[derive(Clone, Debug)]
pub struct Common {
    /// Name of the destination in the ledger and the log.
    pub name: String,
    /// Which series the destination receives.
    pub select: SelectConfig,
    /// The idle series of which the destination receives points.
    pub idle: IdleLimits,
    /// Timeouts, retries, queue and spool.
    pub delivery: DeliveryConfig,
}

impl Common {
    /// Moves the common keys out of a section. `kind` names a destination that has no `name` key.
    ///
    /// The rest of the section configures the forwarder, and a reload compares it.
    /// `delivery.timeout`, `resolve_every` and `retry.search_after` stay in the section, because some
    /// forwarders apply them themselves.
    pub(crate) fn take(
        kind: &str,
        name: Option<&str>,
        select: &mut SelectConfig,
        delivery: &mut DeliveryConfig,
    ) -> Self {
        let DeliveryConfig { timeout, resolve_every, .. } = *delivery;
        let retry =
            RetryConfig { search_after: delivery.retry.search_after, ..RetryConfig::default() };
        let rest = DeliveryConfig { timeout, resolve_every, retry, ..DeliveryConfig::default() };
        Self {
            name: name.unwrap_or(kind).to_owned(),
            select: std::mem::take(select),
            idle: IdleLimits::default(),
            delivery: std::mem::replace(delivery, rest),
        }
    }
}

/// `delivery`: how snapshots are delivered to a destination.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeliveryConfig {
    /// Timeout of one attempt; after it, the attempt counts as failed and is retried. A longer
    /// timeout suits a slow destination but detects a hanging one later. Defaults to `10s`.
    pub timeout: Span,
    /// Age from which the addresses of the destination's name are looked up again. A connection to
    /// an address that the name no longer has is then replaced. If a look-up fails, the known
    /// addresses stay in use. Has no effect on kafka, whose library looks names up for each
    /// connection, nor on console, file and the page for Prometheus. Defaults to `60s`.
    pub resolve_every: Span,
    /// Pauses between attempts.
    pub retry: RetryConfig,
    /// Limits of the queue in memory.
    pub queue: QueueConfig,
    /// Limits of the spool on disk.
    pub spool: SpoolConfig,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self {
            timeout: Span::from_secs(10),
            resolve_every: Span::from_secs(60),
            retry: RetryConfig::default(),
            queue: QueueConfig::default(),
            spool: SpoolConfig::default(),
        }
    }
}

/// `delivery.retry`: attempts continue until the batch is delivered or dropped to make room.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryConfig {
    /// Upper bound of the first pause; it doubles with each failure. Defaults to `250ms`.
    pub initial: Span,
    /// Upper bound of every pause. A larger one puts less load on a destination that is down but
    /// notices its return later. Defaults to `30s`.
    pub max: Span,
    /// InfluxDB, OTLP and remote write: number of times in a row that the server may answer the same
    /// request without accepting or refusing it, 2 to 1000. After that, tallyd finds out whether the
    /// server accepts other data. If it does, the points that it does not accept are dropped and
    /// counted as `refused`, so that newer windows are not held up. A larger number is more patient
    /// with a server that fails only for some data. Defaults to `8`.
    #[serde(deserialize_with = "search_after")]
    pub search_after: u32,
}

impl Default for RetryConfig {
    fn default() -> Self {
        let (initial, max) = (Span::from_millis(250), Span::from_secs(30));
        Self { initial, max, search_after: 8 }
    }
}

fn search_after<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    between(deserializer, 2..=SEARCH_AFTER_MAX)
}

/// `delivery.queue`: the limits of the queue in memory.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueConfig {
    /// Maximum number of queued points; above it, the oldest window is dropped and counted as
    /// `queue_full`. Defaults to `500000`.
    pub max_points: u64,
    /// Maximum memory of the queued windows and the window being delivered, as estimated from their
    /// names, tags, values and members; above it, the oldest queued window is dropped and counted as
    /// `queue_full`. Defaults to `64MiB`.
    pub max_bytes: ByteSize,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self { max_points: 500_000, max_bytes: ByteSize::from_bytes(64 << 20) }
    }
}

/// `delivery.spool`: the limits of the spool under `state_dir`, which keeps windows on disk while
/// the destination is unavailable. Has no effect on destinations that need no old data, such as the
/// console and files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpoolConfig {
    /// Which windows are written to disk. Defaults to `behind`.
    pub write: SpoolWrite,
    /// Maximum size on disk, in bytes; above it, the oldest window is dropped and counted as
    /// `spool_full`. Defaults to `256MiB`.
    pub max_bytes: ByteSize,
    /// Maximum age of a window on disk; an older window is dropped and counted as `spool_expired`.
    /// Defaults to `24h`.
    pub max_age: Span,
    /// Maximum number of windows on disk, one file each, at least 1; above it, the oldest window is
    /// dropped and counted as `spool_full`. Defaults to `50000`.
    pub max_files: NonZeroU32,
    /// Space that must stay free on the disk, in bytes. Below it, nothing is written, and windows
    /// stay in memory as if there were no spool. Defaults to `256MiB`.
    pub min_free: ByteSize,
    /// The order in which spooled windows are sent after the destination recovers. Defaults to
    /// `fair`.
    pub order: SpoolOrder,
}

/// `delivery.spool.write`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpoolWrite {
    /// Write windows once the destination is behind: a first attempt failed or took longer than a
    /// second, or another window is already queued. Uses no disk while deliveries succeed; a crash
    /// then loses the window that is being sent.
    #[default]
    Behind,
    /// Write every window before any destination receives it. A crash loses no window that another
    /// destination has, at the cost of one disk write per window and a delay of all destinations.
    Always,
    /// Write no window; everything is queued in memory.
    Never,
}

/// `delivery.spool.order`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpoolOrder {
    /// The oldest first, and after every four of them the newest, so that fresh data arrives while
    /// a long backlog drains.
    #[default]
    Fair,
    /// Strictly the oldest first.
    Oldest,
}

impl Default for SpoolConfig {
    fn default() -> Self {
        Self {
            write: SpoolWrite::default(),
            max_bytes: ByteSize::from_mib(256),
            max_age: Span::from_secs(24 * 3600),
            max_files: FILES_MAX,
            min_free: ByteSize::from_mib(256),
            order: SpoolOrder::default(),
        }
    }
}

/// A key of a destination's section that conflicts with other keys, or a missing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidKey {
    /// The invalid key; `None` if a key is missing.
    pub key: Option<&'static str>,
    /// The problem: the rest of a sentence that begins with the key, or a whole sentence if a key
    /// is missing.
    pub reason: String,
}

impl InvalidKey {
    /// Creates an error about an existing key.
    #[must_use]
    pub fn at(key: &'static str, reason: String) -> Self {
        Self { key: Some(key), reason }
    }

    /// Creates an error about a missing key.
    #[must_use]
    pub fn missing(reason: String) -> Self {
        Self { key: None, reason }
    }
}

impl fmt::Display for InvalidKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key {
            Some(key) => write!(formatter, "`{key}` {}", self.reason),
            None => formatter.write_str(&self.reason),
        }
    }
}

/// A section that is one mapping or a list of mappings.
#[derive(Clone, Debug, PartialEq)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrManyVisitor(PhantomData))
    }
}

struct OneOrManyVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrManyVisitor<T> {
    type Value = OneOrMany<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a section, or a list of sections")
    }

    /// Reads an empty section as its defaults; a destination with required keys rejects it.
    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        let nothing = serde::de::value::MapDeserializer::new(std::iter::empty::<(&str, &str)>());
        T::deserialize(nothing).map(|one| OneOrMany(vec![one]))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(|one| OneOrMany(vec![one]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list)).map(OneOrMany)
    }
}
