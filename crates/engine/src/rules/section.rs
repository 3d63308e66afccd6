//! An entry of `rules`: its keys in the configuration file.

use std::collections::BTreeMap;
use std::fmt;

use basics::units::Span;
use model::{METRIC_WORDS, MetricKind};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected, Visitor};

use super::glob::NameGlob;
use super::template::Template;
use crate::protocol::dispatch::Protocol;
use yaml::Spanned;

/// An entry of `rules`: which series it applies to, and how it changes them.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSection {
    /// The names to which the rule applies, as a glob: `*` is one part between dots, `**` any number of
    /// parts, also none. Either this or `match_regex`.
    #[serde(rename = "match")]
    pub glob: Option<Spanned<NameGlob>>,
    /// The names to which the rule applies, as a regular expression, which matches anywhere in the name
    /// unless it has `^` and `$`. It runs in linear time. Either this or `match`.
    #[serde(rename = "match_regex")]
    pub regex: Option<Spanned<String>>,
    /// The types to which the rule applies, such as `[timer]`. Defaults to all.
    pub types: Option<Spanned<Vec<RuleType>>>,
    /// The protocol of the clients to which the rule applies. Defaults to all.
    pub protocol: Option<Protocol>,
    /// The new name, a template. Defaults to the name before the rule.
    pub name: Option<Spanned<Template>>,
    /// Tags to set, templates as well; they replace tags of the message with the same key. An empty value
    /// removes the tag. Defaults to none.
    #[serde(default)]
    pub tags: BTreeMap<String, Spanned<Template>>,
    /// Whether later rules apply too, to the name that this one has made. Defaults to `false`: the first
    /// rule that matches is the last.
    #[serde(default, rename = "continue")]
    pub continues: bool,
    /// Whether to drop the samples, which count as rejected with the reason `rule`. Defaults to `false`.
    #[serde(default, rename = "drop")]
    pub drops: bool,
    /// A number, not 0, by which the values of counters, gauges and timers are multiplied. Defaults to 1.
    pub scale: Option<Spanned<RuleScale>>,
    /// Time without samples after which the series expires, instead of `aggregation.expire_after`.
    pub expire_after: Option<Spanned<Span>>,
}

/// A metric type in a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleType(pub MetricKind);

/// A factor for values: finite and not 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RuleScale(pub f64);

impl<'de> Deserialize<'de> for RuleType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const WORDS: &[&str] = &{
            let mut words = [""; METRIC_WORDS.len()];
            let mut kind = 0;
            while kind < words.len() {
                words[kind] = METRIC_WORDS[kind].word;
                kind += 1;
            }
            words
        };
        let word = String::deserialize(deserializer)?;
        let kind = MetricKind::from_word(&word);
        kind.map(Self).ok_or_else(|| D::Error::unknown_variant(&word, WORDS))
    }
}

impl<'de> Deserialize<'de> for RuleScale {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_f64(ScaleVisitor)
    }
}

struct ScaleVisitor;

impl Visitor<'_> for ScaleVisitor {
    type Value = RuleScale;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a number other than 0")
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<RuleScale, E> {
        let is_valid = number.is_finite() && number != 0.0;
        let invalid = || E::invalid_value(Unexpected::Float(number), &self);
        is_valid.then_some(RuleScale(number)).ok_or_else(invalid)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<RuleScale, E> {
        self.visit_f64(number as f64)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<RuleScale, E> {
        self.visit_f64(number as f64)
    }
}
