//! What a snapshot is: the immutable result of one window, shared by every forwarder.
//!
//! The model knows nothing of wire formats and derives no serialisation, so that an output format
//! can change without touching it and the other way round.

mod kind;
mod naming;
mod points;
mod ranges;
mod series;
mod set;
mod set_sketch;
mod sketch;
mod snapshot;
mod sum;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;
mod timer;

pub use kind::{KindAlias, KindWords, METRIC_WORDS, MetricKind};
pub use naming::{AssignedName, OwnTags, SeriesNaming, SeriesPlacement};
pub use points::Points;
pub use ranges::PointRanges;
pub use series::Series;
pub use set::DistinctSet;
pub use set::SetParts;
pub use sketch::Bins;
pub use snapshot::{Point, SetValue, Snapshot, TimerValue, TotalValue, Value, Window};
pub use sum::Sum;
pub use sum::finite;
pub use timer::{EXACT_SAMPLES_DEFAULT, Percentile, Timer, TimerSummary};
pub use timer::{SketchParts, TimerParts};
