//! The buckets into which a destination counts the samples of a timer, for `tallyd explain`.

use serde::Serialize;

/// A histogram that counts samples of the latest window. Only the buckets that count one are listed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExplainedHistogram {
    /// Name and labels, as a query selects them.
    pub series: String,
    /// The buckets of a native histogram, in the order of their bounds.
    pub native: Option<ExplainedNative>,
    /// The buckets with configured bounds, ascending; `None` without such buckets.
    pub classic: Option<Vec<ExplainedClassicBucket>>,
}

/// The buckets of a native histogram.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExplainedNative {
    /// The resolution: a bucket ends at 2^(1/2^schema) times its beginning.
    pub schema: i32,
    /// The buckets.
    pub buckets: Vec<ExplainedNativeBucket>,
}

/// A bucket of a native histogram. That of positive values includes its upper bound, that of negative
/// values its lower one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExplainedNativeBucket {
    /// Its index among the buckets of values with the same sign; `None` for the bucket of zeros.
    pub index: Option<i32>,
    /// The lower bound.
    pub lower: f64,
    /// The upper bound.
    pub upper: f64,
    /// Number of samples, weighted by 1 / sample rate.
    pub samples: f64,
}

/// The first classic bucket that includes some samples; the buckets after it include them too.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExplainedClassicBucket {
    /// The upper bound, as in the label `le`.
    pub le: String,
    /// Number of samples above the bound before it, weighted by 1 / sample rate.
    pub samples: f64,
}
