//! Sums that lose no small increments.

/// A running sum of doubles with Neumaier's compensation.
///
/// A plain `+=` over ten increments of 0.1 gives 0.9999999999999999, and the order in which the
/// tables of two listeners are merged would change the last digits. A second double holds the sum
/// of all rounding errors.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sum {
    high: f64,
    low: f64,
}

impl Sum {
    /// A sum that starts at `value`.
    #[must_use]
    pub const fn of(value: f64) -> Self {
        Self { high: value, low: 0.0 }
    }

    /// Adds a finite value.
    #[inline]
    pub fn add(&mut self, value: f64) {
        let total = self.high + value;
        // Only the smaller operand loses digits. Subtracting in this order returns exactly these
        // digits.
        let rounded_away = if self.high.abs() >= value.abs() {
            (self.high - total) + value
        } else {
            (value - total) + self.high
        };
        self.low += rounded_away;
        self.high = total;
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: Self) {
        self.add(other.high);
        self.low += other.low;
    }

    /// Both doubles, to be stored.
    #[must_use]
    pub const fn parts(self) -> (f64, f64) {
        (self.high, self.low)
    }

    /// Restores a sum from its parts. They must be those of [`Sum::parts`].
    #[must_use]
    pub const fn from_parts((high, low): (f64, f64)) -> Self {
        Self { high, low }
    }

    /// The sum. Always finite: a sum beyond the range of a double is the largest double.
    #[must_use]
    pub fn value(self) -> f64 {
        // After an overflow, the rounding error is infinite as well, and both together would be
        // NaN.
        if self.high.is_finite() { finite(self.high + self.low) } else { finite(self.high) }
    }
}

/// The nearest finite double. Outputs cannot carry infinities, and readers would understand a
/// missing point as no activity. A NaN (infinity minus infinity) becomes 0.
#[must_use]
pub fn finite(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value.clamp(f64::MIN, f64::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_tenths_are_one() {
        let mut sum = Sum::default();
        for _ in 0..10 {
            sum.add(0.1);
        }
        assert_eq!(sum.value(), 1.0);
    }

    #[test]
    fn a_small_increment_survives_a_large_one() {
        let mut sum = Sum::of(1e100);
        sum.add(1.0);
        sum.add(-1e100);
        assert_eq!(sum.value(), 1.0);
    }

    #[test]
    fn a_merged_sum_equals_one_that_was_added_up() {
        let (mut left, mut right, mut all) = (Sum::default(), Sum::default(), Sum::default());
        for step in 0..1000 {
            let value = f64::from(step) * 0.1;
            if step % 3 == 0 {
                left.add(value);
            } else {
                right.add(value);
            }
            all.add(value);
        }
        left.merge(right);
        assert_eq!(left.value(), all.value());
    }

    #[test]
    fn a_merged_sum_keeps_the_rounding_errors_of_both_parts() {
        let mut parts = [1e100, 1e100].map(Sum::of);
        parts[0].add(1.0);
        parts[1].add(4.0);
        parts[0].merge(parts[1]);
        parts[0].add(-2e100);
        assert_eq!(parts[0].value(), 5.0);
    }

    #[test]
    fn a_sum_out_of_range_stays_finite() {
        let mut sum = Sum::of(f64::MAX);
        sum.add(f64::MAX);
        assert_eq!(sum.value(), f64::MAX);
        sum.add(-f64::MAX);
        assert!(sum.value().is_finite());
    }
}
