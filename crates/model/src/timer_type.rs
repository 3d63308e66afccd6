//! The type with which a client sent a timer.

/// The type of statsd with which the first sample of a timer arrived. The types are one kind of metric,
/// and the type does not belong to the identity of a series; some outputs show it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TimerType {
    /// `ms`, or a message that is no statsd line.
    #[default]
    Timing,
    /// `h`.
    Histogram,
    /// `d`.
    Distribution,
}

impl TimerType {
    /// The type of a statsd line; [`TimerType::Timing`] for a type of another kind.
    #[inline]
    #[must_use]
    pub fn from_statsd_type(word: &str) -> Self {
        match word {
            "h" => Self::Histogram,
            "d" => Self::Distribution,
            _ => Self::Timing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MetricKind;

    #[test]
    fn each_statsd_type_of_timers_has_a_value() {
        let types = MetricKind::Timer.words().statsd.iter().copied();
        let expected = [TimerType::Timing, TimerType::Histogram, TimerType::Distribution];
        assert_eq!(types.map(TimerType::from_statsd_type).collect::<Vec<_>>(), expected);
    }
}
