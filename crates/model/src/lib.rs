//! The snapshot, which is the immutable result of one window, and its parts: series, sums, timers,
//! sets.
//!
//! The model knows no wire format and derives no serialization, so that the model and an output
//! format can change independently. Counters, timers and sets have parts that the spool stores.

mod closed;
mod continued;
mod heap;
mod idle;
mod kind;
mod literal;
mod naming;
mod percentile;
mod points;
mod ranges;
mod series;
mod series_text;
mod set;
mod snapshot;
mod sum;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;
mod timer;
mod timer_type;

pub use closed::{ClosedWindow, GaugeLevel, PartialWindow, UnfinishedWindows, UsedRange};
pub use idle::{IdleLimits, IdlePoints, IdleSeries};
pub use kind::{KindAlias, KindWords, METRIC_WORDS, MetricKind};
pub use literal::is_json_literal;
pub use naming::{AssignedName, OwnTags, SeriesNaming, SeriesPlacement};
pub use percentile::Percentile;
pub use points::Points;
pub use ranges::PointRanges;
pub use series::Series;
pub use series_text::{SeriesText, SeriesTextWriter};
pub use set::{DistinctSet, SetParts, SetSeed};
pub use snapshot::{Point, SetValue, Snapshot, TimerValue, TotalValue, Value, Window};
pub use sum::{Sum, finite};
pub use timer::{
    Buckets, EXACT_SAMPLES_DEFAULT, SketchParts, Timer, TimerParts, TimerSummary, UNITS_PER_SAMPLE,
};
pub use timer_type::TimerType;
