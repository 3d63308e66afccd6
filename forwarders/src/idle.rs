//! `idle` and `idle_for`: the points of live series that received no samples in a window.

use std::fmt;
use std::time::Duration;

use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, de};

use crate::config::InvalidKey;
use basics::units::Span;
use model::{IdleLimits, MetricKind};

/// `idle`: for each kind, whether a live series has a point in a window without samples. A kind
/// that is not listed has the destination's default.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IdleKinds {
    /// `zero`, a count of 0, or `none`.
    pub counters: Option<IdleCount>,
    /// `last`, the last value, or `none`.
    pub gauges: Option<IdleLevel>,
    /// `zero`, a count of 0 and no other statistics, or `none`.
    pub timers: Option<IdleCount>,
    /// `zero`, a count of 0, or `none`.
    pub sets: Option<IdleCount>,
    /// `zero`, a count of 0, or `none`.
    pub traces: Option<IdleCount>,
}

/// The point of an idle series that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdleCount {
    /// No point.
    None,
    /// A count of 0.
    Zero,
}

/// The point of an idle gauge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdleLevel {
    /// No point.
    None,
    /// The last value.
    Last,
}

/// One word for all kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdleWord {
    /// No points.
    #[default]
    None,
    /// The points that statsd writes: 0, and the last value of a gauge.
    Statsd,
}

/// `idle`: one word, or a word for each kind.
#[derive(Clone, Debug, PartialEq)]
pub enum IdleConfig {
    /// For all kinds.
    Word(IdleWord),
    /// For each kind.
    Kinds(IdleKinds),
}

/// `idle_for`: the time for which an idle series has points, one for all kinds or one for each.
#[derive(Clone, Debug, PartialEq)]
pub enum IdleFor {
    /// For all kinds.
    All(Span),
    /// For each kind. A kind that is not listed has no limit.
    Kinds(IdleTimes),
}

/// `idle_for`, by kind.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IdleTimes {
    /// The time for counters.
    pub counters: Option<Span>,
    /// The time for gauges.
    pub gauges: Option<Span>,
    /// The time for timers.
    pub timers: Option<Span>,
    /// The time for sets.
    pub sets: Option<Span>,
    /// The time for traces.
    pub traces: Option<Span>,
}

/// The keys of a section, and their meaning there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdleKeys<'a> {
    pub(crate) idle: Option<&'a IdleConfig>,
    pub(crate) idle_for: Option<&'a IdleFor>,
    pub(crate) rules: IdleRules,
}

/// How a destination treats idle series.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IdleRules {
    /// Without `idle`.
    pub(crate) default: IdleWord,
    /// The kinds of which it has no point for an idle series, and why.
    pub(crate) impossible: Option<(&'static [MetricKind], &'static str)>,
}

impl IdleRules {
    fn has_point(&self, kind: MetricKind) -> bool {
        self.impossible.is_none_or(|(kinds, _)| !kinds.contains(&kind))
    }
}

/// The key of a kind in `idle` and `idle_for`.
fn key_of(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Counter => "counters",
        MetricKind::Gauge => "gauges",
        MetricKind::Timer => "timers",
        MetricKind::Set => "sets",
        MetricKind::Trace => "traces",
    }
}

impl IdleKinds {
    /// Whether a kind has points; `None` if it is not listed.
    fn of(&self, kind: MetricKind) -> Option<bool> {
        let counts = |word: Option<IdleCount>| word.map(|word| word == IdleCount::Zero);
        match kind {
            MetricKind::Counter => counts(self.counters),
            MetricKind::Gauge => self.gauges.map(|word| word == IdleLevel::Last),
            MetricKind::Timer => counts(self.timers),
            MetricKind::Set => counts(self.sets),
            MetricKind::Trace => counts(self.traces),
        }
    }
}

impl IdleTimes {
    fn of(&self, kind: MetricKind) -> Option<Span> {
        match kind {
            MetricKind::Counter => self.counters,
            MetricKind::Gauge => self.gauges,
            MetricKind::Timer => self.timers,
            MetricKind::Set => self.sets,
            MetricKind::Trace => self.traces,
        }
    }
}

impl IdleKeys<'_> {
    /// Checks that the destination can write the points, and that `idle_for` limits any.
    ///
    /// # Errors
    /// At the key to change.
    pub(crate) fn check(&self) -> Result<(), InvalidKey> {
        if let Some((kinds, why)) = self.rules.impossible {
            let all = kinds.len() == MetricKind::ALL.len();
            let asks = |kind: &&MetricKind| match self.idle {
                Some(IdleConfig::Kinds(listed)) => listed.of(**kind) == Some(true),
                Some(IdleConfig::Word(word)) => all && *word == IdleWord::Statsd,
                None => false,
            };
            if let Some(kind) = kinds.iter().find(asks) {
                let what = if all { String::new() } else { format!("`{}` ", key_of(*kind)) };
                return Err(InvalidKey::at("idle", format!("{what}must be `none`: {why}")));
            }
        }
        let unlimited = |kind: &MetricKind| self.time(*kind).is_some() && !self.has_points(*kind);
        let is_useless = match self.idle_for {
            None => false,
            Some(IdleFor::All(_)) => self.limits().is_none(),
            Some(IdleFor::Kinds(_)) => MetricKind::ALL.iter().any(unlimited),
        };
        if is_useless {
            let reason = "has no effect without points to limit: set `idle` too".to_owned();
            return Err(InvalidKey::at("idle_for", reason));
        }
        Ok(())
    }

    /// The idle series that have points.
    pub(crate) fn limits(&self) -> IdleLimits {
        let chosen = MetricKind::ALL.into_iter().filter(|kind| self.has_points(*kind));
        chosen.fold(IdleLimits::default(), |limits, kind| {
            limits.with(kind, self.time(kind).map_or(Duration::MAX, Span::get))
        })
    }

    fn has_points(&self, kind: MetricKind) -> bool {
        let of_word = |word: IdleWord| word == IdleWord::Statsd && self.rules.has_point(kind);
        match self.idle {
            None => of_word(self.rules.default),
            Some(IdleConfig::Word(word)) => of_word(*word),
            Some(IdleConfig::Kinds(kinds)) => {
                kinds.of(kind).unwrap_or_else(|| of_word(self.rules.default))
            }
        }
    }

    fn time(&self, kind: MetricKind) -> Option<Span> {
        match self.idle_for {
            None => None,
            Some(IdleFor::All(span)) => Some(*span),
            Some(IdleFor::Kinds(times)) => times.of(kind),
        }
    }
}

impl<'de> Deserialize<'de> for IdleConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IdleVisitor)
    }
}

struct IdleVisitor;

impl<'de> Visitor<'de> for IdleVisitor {
    type Value = IdleConfig;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("none, statsd, or a section with a word for each kind")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<IdleConfig, E> {
        IdleWord::deserialize(StrDeserializer::new(text)).map(IdleConfig::Word)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<IdleConfig, A::Error> {
        IdleKinds::deserialize(MapAccessDeserializer::new(map)).map(IdleConfig::Kinds)
    }
}

impl<'de> Deserialize<'de> for IdleFor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IdleForVisitor)
    }
}

struct IdleForVisitor;

impl<'de> Visitor<'de> for IdleForVisitor {
    type Value = IdleFor;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .write_str("a duration such as 250ms, 10s or 24h, or a section with one for each kind")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<IdleFor, E> {
        Span::parse(text).map(IdleFor::All).map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<IdleFor, E> {
        self.visit_str(&seconds.to_string())
    }

    fn visit_i64<E: Error>(self, seconds: i64) -> Result<IdleFor, E> {
        self.visit_str(&seconds.to_string())
    }

    fn visit_f64<E: Error>(self, seconds: f64) -> Result<IdleFor, E> {
        self.visit_str(&seconds.to_string())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<IdleFor, A::Error> {
        IdleTimes::deserialize(MapAccessDeserializer::new(map)).map(IdleFor::Kinds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use MetricKind::{Counter, Gauge, Set, Timer, Trace};

    const ALL: IdleRules = IdleRules { default: IdleWord::None, impossible: None };
    const ETSY: IdleRules = IdleRules { default: IdleWord::Statsd, impossible: None };
    const WITHOUT_VALUES: IdleRules =
        IdleRules { default: IdleWord::None, impossible: Some((&[Timer, Set], "no values")) };
    const NEVER: IdleRules =
        IdleRules { default: IdleWord::None, impossible: Some((&MetricKind::ALL, "it shows all")) };

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Section {
        #[serde(default)]
        idle: Option<IdleConfig>,
        #[serde(default)]
        idle_for: Option<IdleFor>,
    }

    fn read(members: &str) -> Result<Section, String> {
        serde_json::from_str(&format!("{{{members}}}")).map_err(|error| error.to_string())
    }

    /// The limits, in seconds, of the kinds that have points.
    fn limits(members: &str, rules: IdleRules) -> Result<Vec<(MetricKind, Option<u64>)>, String> {
        let Section { idle, idle_for } = read(members)?;
        let keys = IdleKeys { idle: idle.as_ref(), idle_for: idle_for.as_ref(), rules };
        keys.check().map_err(|invalid| invalid.to_string())?;
        let limits = keys.limits();
        let seconds = |limit: Duration| (limit != Duration::MAX).then_some(limit.as_secs());
        let of = |kind| limits.of(kind).map(|limit| (kind, seconds(limit)));
        Ok(MetricKind::ALL.into_iter().filter_map(of).collect())
    }

    #[test]
    fn one_word_stands_for_all_kinds_that_the_destination_can_write() {
        let every = MetricKind::ALL.map(|kind| (kind, None)).to_vec();
        let statsd = r#""idle": "statsd""#;
        assert_eq!(limits("", ALL), Ok(vec![]));
        assert_eq!(limits(r#""idle": "none""#, ALL), Ok(vec![]));
        assert_eq!(limits(statsd, ALL), Ok(every.clone()));
        assert_eq!(limits("", ETSY), Ok(every));
        assert_eq!(limits(r#""idle": "none""#, ETSY), Ok(vec![]));
        let counts = vec![(Counter, None), (Gauge, None), (Trace, None)];
        assert_eq!(limits(statsd, WITHOUT_VALUES), Ok(counts));
    }

    #[test]
    fn a_kind_that_is_not_listed_has_the_default() {
        let kinds = r#""idle": {"gauges": "last", "timers": "none"}"#;
        assert_eq!(limits(kinds, ALL), Ok(vec![(Gauge, None)]));
        let all_but_timers = vec![(Counter, None), (Gauge, None), (Set, None), (Trace, None)];
        assert_eq!(limits(kinds, ETSY), Ok(all_but_timers));
        assert_eq!(limits(r#""idle": {"gauges": "none"}"#, ALL), Ok(vec![]));
    }

    #[test]
    fn the_time_is_one_for_all_kinds_or_one_for_each() {
        let kinds = r#""idle": {"gauges": "last", "sets": "zero"}, "idle_for": "#;
        let limited = |time: &str| limits(&format!("{kinds}{time}"), ALL);
        for time in [r#""40s""#, "40", "40.0", r#"{"gauges": "40s", "sets": "40s"}"#] {
            assert_eq!(limited(time), Ok(vec![(Gauge, Some(40)), (Set, Some(40))]), "{time}");
        }
        assert_eq!(limited(r#"{"sets": "1m"}"#), Ok(vec![(Gauge, None), (Set, Some(60))]));
        for wrong in [r#""no""#, "-1", "0", "[]", r#"{"sets": "no"}"#, r#"{"all": "1s"}"#] {
            assert!(limited(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn words_that_do_not_exist_are_refused() {
        for wrong in [
            r#""zero""#,
            r#"{"counters": "last"}"#,
            r#"{"gauges": "zero"}"#,
            r#"{"timer": "zero"}"#,
            "1",
            "[]",
        ] {
            assert!(limits(&format!(r#""idle": {wrong}"#), ALL).is_err(), "{wrong}");
        }
    }

    #[test]
    fn points_that_a_destination_does_not_have_are_refused() {
        let error = limits(r#""idle": {"sets": "zero"}"#, WITHOUT_VALUES);
        assert_eq!(error, Err("`idle` `sets` must be `none`: no values".to_owned()));
        assert_eq!(limits(r#""idle": {"sets": "none"}"#, WITHOUT_VALUES), Ok(vec![]));
        for idle in [r#""statsd""#, r#"{"counters": "zero"}"#] {
            let error = limits(&format!(r#""idle": {idle}"#), NEVER).unwrap_err();
            assert!(error.ends_with("must be `none`: it shows all"), "{error}");
        }
        assert_eq!(limits(r#""idle": "none""#, NEVER), Ok(vec![]));
    }

    #[test]
    fn a_time_without_points_is_refused() {
        for (members, rules) in [
            (r#""idle_for": "1m""#, ALL),
            (r#""idle": "none", "idle_for": "1m""#, ETSY),
            (r#""idle": {"gauges": "last"}, "idle_for": {"sets": "1m"}"#, ALL),
            (r#""idle": "statsd", "idle_for": {"sets": "1m"}"#, WITHOUT_VALUES),
        ] {
            let error = limits(members, rules).unwrap_err();
            assert!(error.starts_with("`idle_for` has no effect"), "{members}: {error}");
        }
        assert_eq!(limits(r#""idle_for": "1m""#, ETSY).map(|limits| limits.len()), Ok(5));
    }
}
