//! The statistics of a timer.

use smallvec::SmallVec;

/// Statistics of a timer in one window. A timer without samples has the default: a count of 0, and
/// other numbers that mean nothing and are 0, without percentiles.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TimerSummary {
    /// Samples, each weighted by 1/sample rate.
    pub count: f64,
    /// Weighted sum of the values.
    pub sum: f64,
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
    /// Weighted mean.
    pub mean: f64,
    /// Weighted standard deviation of the population.
    pub stddev: f64,
    /// The configured percentiles, in their order.
    pub percentiles: SmallVec<[f64; 4]>,
}

/// The weight that must lie at or below a percentile. Slightly less than the product, because
/// 99.9 / 100 · 1000 is 999.0000000000001 in doubles and would require one sample too many.
pub(super) fn needed_weight(rank: f64, total: f64) -> f64 {
    rank * total / 100.0 * (1.0 - 1e-12)
}
