//! The meaning of a sign before the value of a gauge on a statsd line.

use serde::Deserialize;

use super::SampleValue;

/// `gauges`: the meaning of a sign before the value of a gauge on a statsd line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignedGauges {
    /// A change of the level, as in statsd.
    #[default]
    Change,
    /// A level, which may be negative, as in DogStatsD.
    Level,
}

impl SignedGauges {
    /// The value that a decoded line stands for.
    #[inline]
    #[must_use]
    pub fn apply(self, value: SampleValue<'_>) -> SampleValue<'_> {
        match (self, value) {
            (Self::Level, SampleValue::GaugeAdd(level)) => SampleValue::GaugeSet(level),
            (_, value) => value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_is_a_change_or_a_part_of_the_level() {
        let change = SampleValue::GaugeAdd(-5.0);
        assert_eq!(SignedGauges::Change.apply(change.clone()), change);
        assert_eq!(SignedGauges::Level.apply(change), SampleValue::GaugeSet(-5.0));
        let timer = SampleValue::Timer(-5.0);
        assert_eq!(SignedGauges::Level.apply(timer.clone()), timer);
    }
}
