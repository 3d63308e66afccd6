//! What every destination's section shares: `name`, `select` and `delivery`.

use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU32;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use crate::select::SelectConfig;
use basics::units::{ByteSize, Span};

/// Default of `delivery.spool.max_files`.
const FILES_MAX: NonZeroU32 = NonZeroU32::new(50_000).expect("above zero");

/// The part of a destination's section that is the same everywhere.
#[derive(Clone, Debug)]
pub struct Common {
    /// What the ledger and the log call it.
    pub name: String,
    /// Which series it gets.
    pub select: SelectConfig,
    /// How hard it is tried.
    pub delivery: DeliveryConfig,
}

impl Common {
    /// Takes the common keys out of a section; `kind` is the name of a destination without one.
    ///
    /// The rest of the section is what the forwarder is built from, and what a reload compares.
    /// `delivery.timeout` stays in it, because some forwarders enforce the limit themselves.
    pub(crate) fn take(
        kind: &str,
        name: Option<&str>,
        select: &mut SelectConfig,
        delivery: &mut DeliveryConfig,
    ) -> Self {
        let rest = DeliveryConfig { timeout: delivery.timeout, ..DeliveryConfig::default() };
        Self {
            name: name.unwrap_or(kind).to_owned(),
            select: std::mem::take(select),
            delivery: std::mem::replace(delivery, rest),
        }
    }
}

/// `delivery`: how snapshots are brought to a destination.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeliveryConfig {
    /// How long one attempt may take before it is given up and made again. A longer time suits a
    /// slow destination at the cost of noticing later that it hangs. Defaults to `10s`.
    pub timeout: Span,
    /// Pauses between attempts.
    pub retry: RetryConfig,
    /// What may wait in memory.
    pub queue: QueueConfig,
    /// What may wait on disk.
    pub spool: SpoolConfig,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self {
            timeout: Span::from_secs(10),
            retry: RetryConfig::default(),
            queue: QueueConfig::default(),
            spool: SpoolConfig::default(),
        }
    }
}

/// `delivery.retry`: attempts go on until the batch is delivered or has to make room.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryConfig {
    /// Bound of the first pause; it doubles with each failure. Defaults to `250ms`.
    pub initial: Span,
    /// Bound that it doubles up to. A longer one is kinder to a destination that is down at the
    /// cost of noticing later that it is back. Defaults to `30s`.
    pub max: Span,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self { initial: Span::from_millis(250), max: Span::from_secs(30) }
    }
}

/// `delivery.queue`: what may wait in memory for the destination.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueConfig {
    /// Most points that wait; beyond, the oldest window is dropped and counted as `queue_full`. A
    /// point costs some 100 bytes while it waits, a timer more. Defaults to `500000`.
    pub max_points: u64,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self { max_points: 500_000 }
    }
}

/// `delivery.spool`: what may wait on disk while the destination is away, under `state_dir`. Without
/// effect for destinations that have no use for old data, such as the console and files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpoolConfig {
    /// Which windows go to disk. Defaults to `behind`.
    pub write: SpoolWrite,
    /// Most bytes on disk; beyond, the oldest window is dropped and counted as `spool_full`. Defaults
    /// to `256MiB`.
    pub max_bytes: ByteSize,
    /// How old a window may become there; an older one is dropped and counted as `spool_expired`.
    /// Defaults to `24h`.
    pub max_age: Span,
    /// Most windows on disk, each a file, at least 1; beyond, the oldest is dropped and counted as
    /// `spool_full`. Defaults to `50000`.
    pub max_files: NonZeroU32,
    /// What has to stay free on the disk. With less, nothing is written, and windows wait in memory
    /// as if there were no spool. Defaults to `256MiB`.
    pub min_free: ByteSize,
    /// In which order windows go out when the destination is back. Defaults to `fair`.
    pub order: SpoolOrder,
}

/// `delivery.spool.write`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpoolWrite {
    /// Once the destination is behind: a first attempt failed or took longer than a second, or
    /// another window waits already. Costs no disk while all is well; a crash then costs the window
    /// that is being sent.
    #[default]
    Behind,
    /// Every window before its first attempt. A crash costs no window that was flushed, at the cost
    /// of a write for each.
    Always,
    /// None: all waits in memory.
    Never,
}

/// `delivery.spool.order`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpoolOrder {
    /// The oldest first, and after every four of them the newest, so that fresh data is seen while a
    /// long backlog is worked off.
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

/// A key of a destination's section that does not go with the others, or one that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidKey {
    /// The key; none where one is missing.
    pub key: Option<&'static str>,
    /// What is wrong with it, as the rest of a sentence that begins with the key; a whole sentence
    /// where one is missing.
    pub reason: String,
}

impl InvalidKey {
    /// Something is wrong with a key.
    #[must_use]
    pub fn at(key: &'static str, reason: String) -> Self {
        Self { key: Some(key), reason }
    }

    /// A key is missing.
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

    /// An empty section: its defaults, which a destination with required keys refuses.
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
