//! A series on the page, its family and its sources.

use std::sync::Arc;
use std::time::Duration;

use super::shown::Shown;
use model::{MetricKind, OwnTags, Series};

/// The place of a series in `State::slots`.
pub(in crate::prometheus) type SlotId = u32;

/// The name and kind of a family, before conflicts between names are resolved.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct FamilyKey {
    pub(super) base: Arc<str>,
    pub(super) kind: MetricKind,
    pub(super) is_renamed: bool,
}

#[derive(Debug, Default)]
pub(super) struct Family {
    /// Sorted by labels, unless `is_stale`.
    pub(super) slots: Vec<SlotId>,
    pub(super) is_stale: bool,
    /// The alphabetically first name of the metrics that are shown as this family, or the
    /// description that a naming assigned.
    pub(super) origin: String,
    /// Upper bound of the size of its headers on the page, in bytes.
    pub(super) bytes: u64,
}

/// A live series of the pipeline.
#[derive(Debug)]
pub(super) struct SourceSeries {
    pub(super) slot: SlotId,
    /// `State::elapsed` at the end of the latest window with a point of it.
    pub(super) last_seen: Duration,
    /// `Some` for a renamed series, which expires with the first poll that does not contain it.
    pub(super) own_tags: Option<OwnTags>,
}

/// A series on the page.
#[derive(Debug)]
pub(in crate::prometheus) struct Slot {
    /// Kind, name and labels.
    pub(in crate::prometheus) series: Arc<Series>,
    /// The value on the page.
    pub(in crate::prometheus) shown: Shown,
    /// When its total was 0, in Unix milliseconds; 0 if that is unknown.
    pub(in crate::prometheus) created_ms: u64,
    pub(super) family: FamilyKey,
    /// Number of live series of the pipeline that it shows.
    pub(super) sources: u32,
    /// Whether it has ever had more than one source.
    pub(super) is_shared: bool,
    /// Whether its total is held, see `HeldTotals`.
    pub(super) is_held: bool,
    /// Number of the latest window with a point of it; 0 if it has none yet.
    pub(super) last_window: u64,
    /// Index of its first point in the snapshot of `last_window`.
    pub(super) point: u32,
    /// Upper bound of its size on the page, in bytes.
    pub(super) bytes: u64,
    /// The part of `bytes` for the buckets of a native histogram.
    pub(super) native_bytes: u64,
}
