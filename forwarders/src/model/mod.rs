//! What a snapshot is: the immutable result of one window, shared by every forwarder.
//!
//! The model knows nothing of wire formats and derives no serialisation, so that an output format
//! can change without touching it and the other way round.

mod estimator;
mod points;
mod series;
mod set;
mod sketch;
mod snapshot;
mod sum;
mod timer;

pub use points::Points;
pub use series::{MetricKind, Series};
pub use set::DistinctSet;
pub(crate) use set::SetParts;
pub(crate) use sketch::Bins;
pub use snapshot::{Point, SetValue, Snapshot, TimerValue, TotalValue, Value, Window};
pub use sum::Sum;
#[cfg(any(feature = "graphite", feature = "statsd"))]
pub(crate) use sum::finite;
pub use timer::{EXACT_SAMPLES_DEFAULT, Percentile, Timer, TimerSummary};
pub(crate) use timer::{SketchParts, TimerParts};
