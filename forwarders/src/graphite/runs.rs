//! The values of a timer as statsd counts and sums them.

use model::TimerValue;

/// The values of a timer in ascending order, each with the sums up to it. As in statsd, a value
/// counts once regardless of its sample rate; only `count` and `count_ps` are scaled. The memory is
/// reused from timer to timer.
#[derive(Debug, Default)]
pub(super) struct TimerRuns(Vec<Run>);

/// One value, or all values of one bin of a sketch.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    value: f64,
    /// Number of values up to and including this run.
    count: f64,
    sums: RunSums,
}

/// The sum of some values, and that of their squares.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RunSums {
    pub(super) sum: f64,
    pub(super) squares: f64,
}

impl RunSums {
    fn with(self, value: f64, times: f64) -> Self {
        Self { sum: self.sum + value * times, squares: self.squares + value * value * times }
    }

    pub(super) fn without(self, other: Self) -> Self {
        Self { sum: self.sum - other.sum, squares: self.squares - other.squares }
    }
}

/// Returns the nearest whole number, if `count` differs from it only by the rounding of scaled weights.
/// If ten values counted as 10.000000000001, a search for the eleventh value would find the tenth.
fn nearly_whole(count: f64) -> f64 {
    const ROUNDING: f64 = 1e-6;
    let whole = count.round();
    if (count - whole).abs() < ROUNDING { whole } else { count }
}

impl TimerRuns {
    pub(super) fn fill(&mut self, timer: &TimerValue) {
        let values = timer.timer.value_count() as f64;
        // The weights of buckets include the sample rate, so they are scaled back to the number of
        // values.
        let scale = if timer.timer.is_exact() { None } else { Some(values / timer.summary.count) };
        let mut last = Run::default();
        self.0.clear();
        timer.timer.for_each_sample(|value, weight| {
            let times = scale.map_or(1.0, |scale| weight * scale);
            let sums = last.sums.with(value, times);
            last = Run { value, count: nearly_whole(last.count + times), sums };
            self.0.push(last);
        });
        if let Some(last) = self.0.last_mut() {
            // Scaled weights may add up to slightly more or less, and `count` truncates.
            last.count = values;
        }
    }

    /// Returns the number of values.
    pub(super) fn count(&self) -> u64 {
        self.0.last().map_or(0, |run| run.count as u64)
    }

    /// Returns the value with `below` values before it.
    pub(super) fn value(&self, below: u64) -> f64 {
        let place = self.0.partition_point(|run| run.count <= below as f64);
        self.0.get(place).or(self.0.last()).map_or(0.0, |run| run.value)
    }

    /// Returns the number of values below `bound`.
    pub(super) fn count_below(&self, bound: f64) -> f64 {
        let place = self.0.partition_point(|run| run.value < bound);
        // The count up to a bin of a sketch can be fractional.
        place.checked_sub(1).map_or(0.0, |last| self.0[last].count.round())
    }

    /// Returns the sums of the lowest `count` values.
    pub(super) fn lowest(&self, count: u64) -> RunSums {
        let count = count as f64;
        let place = self.0.partition_point(|run| run.count < count);
        let before = if place == 0 { Run::default() } else { self.0[place - 1] };
        match self.0.get(place) {
            Some(run) if run.count == count => run.sums,
            // `count` ends within this bin, of which only a part belongs to the lowest.
            Some(run) => before.sums.with(run.value, count - before.count),
            None => before.sums,
        }
    }

    /// Returns the standard deviation of the population.
    pub(super) fn deviation(&self, mean: f64) -> f64 {
        let squares =
            self.0.iter().fold(0.0, |sum, run| sum + (run.value - mean) * (run.value - mean));
        (squares / self.count() as f64).sqrt()
    }
}
