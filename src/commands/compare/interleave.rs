//! Whether two series of sums count the same samples in windows that end at different times.

use super::recording::Values;

/// Whether there is a moment to begin at, from which the running sums of both never contradict each
/// other: samples that one has counted by the end of a window, the other has counted by the end of its next
/// window. Sums that drift apart by more than a window's samples do contradict each other, however
/// little is lost in each window.
pub(super) fn interleave(old: &Values, new: &Values, slack_ms: i64, tolerance: f64) -> bool {
    let (Some(old), Some(new)) = (running(old), running(new)) else { return false };
    let total = old.last().map_or(0.0, |last| last.1).max(new.last().map_or(0.0, |last| last.1));
    // How much more the old one had counted before the first value of both.
    let (mut least, mut most) = (f64::NEG_INFINITY, f64::INFINITY);
    for (at, sum) in &new {
        let until = old.partition_point(|(other, _)| other + slack_ms <= *at);
        if let Some((_, earlier)) = until.checked_sub(1).map(|index| old[index]) {
            least = least.max(earlier - sum);
        }
        let from = old.partition_point(|(other, _)| *other < at + slack_ms);
        if let Some((_, later)) = old.get(from) {
            most = most.min(later - sum);
        }
    }
    least <= most + tolerance.max(1e-9) * total
}

/// The running sums by time; `None` if a value is negative or not a number.
fn running(values: &Values) -> Option<Vec<(i64, f64)>> {
    let mut sum = 0.0;
    values
        .iter()
        .map(|(at, value)| {
            sum += value;
            (*value >= 0.0).then_some((*at, sum))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sums of windows with these ends, of one sample per second that counts as its second.
    fn sums(ends: &[i64], lost: i64) -> Values {
        let mut from = 0;
        let mut values = Values::new();
        for end in ends {
            let sum: i64 =
                (from..*end).filter(|second| *second != lost).map(|second| second + 1).sum();
            values.insert(end * 1_000, sum as f64);
            from = *end;
        }
        values
    }

    #[test]
    fn windows_of_the_same_samples_interleave_whatever_their_phase() {
        let old: Vec<i64> = (1..30).map(|k| k * 10).collect();
        for phase in 0..10 {
            let new: Vec<i64> = (1..30).map(|k| k * 10 + phase).collect();
            assert!(interleave(&sums(&old, -1), &sums(&new, -1), 500, 1e-9), "{phase}");
        }
        let new: Vec<i64> = (1..60).map(|k| k * 5 + 2).collect();
        assert!(interleave(&sums(&old, -1), &sums(&new, -1), 500, 1e-9), "half the interval");
    }

    #[test]
    fn a_loss_in_each_window_adds_up_to_a_contradiction() {
        let old: Values = (1..100).map(|k| (k * 10_000, 100.0)).collect();
        let new: Values = (1..100).map(|k| (k * 10_000 + 4_000, 98.0)).collect();
        assert!(!interleave(&old, &new, 1_500, 1e-9));
        let new: Values = (1..100).map(|k| (k * 10_000 + 4_000, 100.0)).collect();
        assert!(interleave(&old, &new, 1_500, 1e-9));
    }

    #[test]
    fn a_burst_that_one_does_not_have_is_a_contradiction() {
        let mut old: Values = (1..10).map(|k| (k * 10_000, 1.0)).collect();
        let new: Values = (1..10).map(|k| (k * 10_000 + 4_000, 1.0)).collect();
        assert!(interleave(&old, &new, 1_500, 1e-9));
        old.insert(50_000, 500.0);
        assert!(!interleave(&old, &new, 1_500, 1e-9));
    }

    #[test]
    fn negative_values_are_no_sums() {
        let values = Values::from([(1, -1.0)]);
        assert!(!interleave(&values, &values, 0, 1e-9));
    }
}
