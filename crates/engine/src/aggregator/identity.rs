//! Identifies the series of a sample.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hash, Hasher};

use basics::scalar_text::ScalarText;
use model::{MetricKind, Series};
use serde::Deserialize;

use super::seed::{self, Seeded};
use crate::protocol::{Tag, TagValue, Tags};

/// The `agent` section: the tags of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentConfig {
    /// Tags that are added to every series; an empty value means no tag. Defaults to none.
    pub tags: BTreeMap<String, ScalarText>,
    /// Whose value wins when a message has a tag with the same key: `agent` (a client cannot claim
    /// another environment) or `message`. Defaults to `agent`.
    pub on_conflict: OnConflict,
}

/// Whose value wins when a message and the agent have a tag with the same key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnConflict {
    /// The agent's value.
    #[default]
    Agent,
    /// The message's value.
    Message,
}

/// Merges the agent's tags into the tags of a sample, and hashes the result.
///
/// The hash is seeded at start: names and tags come from the network, and a sender that knew the
/// seed could make all series collide. All threads share one seed, so that a series has one hash.
#[derive(Clone, Debug)]
pub struct Identifier {
    agent: Vec<(String, ScalarText)>,
    on_conflict: OnConflict,
    seed: Seeded,
}

/// Kind, name and effective tags of a sample, with their hash.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// Seeded hash over kind, name and tags. As tags are sorted, their original order does not
    /// matter.
    pub hash: u64,
    /// The kind of metric.
    pub kind: MetricKind,
    /// The metric name.
    pub name: &'a str,
    /// The effective tags, sorted by key.
    pub tags: &'a [Tag<'a>],
}

impl Identifier {
    /// Takes the agent's tags and draws a seed.
    #[must_use]
    pub fn new(config: &AgentConfig) -> Self {
        Self::with_seed(config, seed::draw())
    }

    /// Returns an identifier with other tags and the same seed: a series whose tags stay the same
    /// keeps its hash.
    #[must_use]
    pub fn with_agent(&self, config: &AgentConfig) -> Self {
        Self::with_seed(config, self.seed.clone())
    }

    fn with_seed(config: &AgentConfig, seed: Seeded) -> Self {
        let agent = config.tags.iter().filter(|(_, value)| !value.is_empty());
        Self {
            agent: agent.map(|(key, value)| (key.clone(), value.clone())).collect(),
            on_conflict: config.on_conflict,
            seed,
        }
    }

    /// The agent's tags, sorted by key.
    #[must_use]
    pub fn agent_tags(&self) -> &[(String, ScalarText)] {
        &self.agent
    }

    /// Merges the agent's tags into sorted tags, which stay sorted.
    pub fn add_agent_tags<'a>(&'a self, tags: &mut Tags<'a>) {
        for (key, value) in &self.agent {
            // A search for each, because the agent has few tags: merging both lists would copy all
            // tags of every sample.
            match tags.binary_search_by(|(other, _)| other.as_ref().cmp(key)) {
                Ok(index) if self.on_conflict == OnConflict::Agent => {
                    tags[index].1 = value.into();
                }
                Ok(_) => {}
                Err(index) => tags.insert(index, (Cow::Borrowed(key), value.into())),
            }
        }
    }

    /// Hashes kind, name and effective tags.
    #[must_use]
    pub fn identify<'a>(
        &self,
        kind: MetricKind,
        name: &'a str,
        tags: &'a [Tag<'a>],
    ) -> Identity<'a> {
        let mut hasher = self.seed.build_hasher();
        kind.hash(&mut hasher);
        // The hash of a string includes its end, so that the same text with other borders between
        // name, keys and values has another hash.
        name.hash(&mut hasher);
        for (key, value) in tags {
            key.hash(&mut hasher);
            str::hash(value, &mut hasher);
        }
        Identity { hash: hasher.finish(), kind, name, tags }
    }
}

/// The effective tags of a series, with the types of their values.
pub(super) fn tags_of(series: &Series) -> Tags<'_> {
    let value = |index, text| match series.is_literal(index) {
        true => TagValue::Literal(text),
        false => TagValue::from(text),
    };
    let tags = series.tags().enumerate();
    tags.map(|(index, (key, text))| (key.into(), value(index, text))).collect()
}

impl Identity<'_> {
    /// Whether this is the identity of `series`.
    #[must_use]
    pub fn matches(&self, series: &Series) -> bool {
        // Cheap comparisons first.
        self.kind == series.kind()
            && self.tags.len() == series.tag_count()
            && self.name == series.name()
            && self
                .tags
                .iter()
                .zip(series.tags())
                .all(|((key, value), (other_key, other))| key == other_key && **value == *other)
    }

    /// Returns an owned series.
    #[must_use]
    pub fn to_series(&self) -> Series {
        Series::with_literals(self.kind, self.name, self.tags, |index| {
            self.tags[index].1.is_literal()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identifier(on_conflict: OnConflict) -> Identifier {
        let tags = [("env", "stage"), ("role", "broker"), ("none", "")];
        let tags = tags.map(|(key, value)| (key.to_owned(), value.into())).into();
        Identifier::new(&AgentConfig { tags, on_conflict })
    }

    fn effective(identifier: &Identifier, tags: &[(&'static str, &'static str)]) -> Vec<String> {
        let mut tags: Tags<'_> = tags.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        identifier.add_agent_tags(&mut tags);
        tags.iter().map(|(key, value)| format!("{key}={value}")).collect()
    }

    #[test]
    fn the_agents_tag_wins_a_conflict_by_default() {
        let sent = [("a", "1"), ("env", "prod"), ("z", "2")];
        assert_eq!(
            effective(&identifier(OnConflict::Agent), &sent),
            ["a=1", "env=stage", "role=broker", "z=2"]
        );
        assert_eq!(
            effective(&identifier(OnConflict::Message), &sent),
            ["a=1", "env=prod", "role=broker", "z=2"]
        );
    }

    #[test]
    fn the_winner_of_a_conflict_brings_its_type() {
        for (on_conflict, is_literal) in [(OnConflict::Agent, true), (OnConflict::Message, false)] {
            let tags = [("rack".to_owned(), ScalarText::literal("7"))].into();
            let identifier = Identifier::new(&AgentConfig { tags, on_conflict });
            let mut tags: Tags<'_> = [("rack".into(), "7".into())].into_iter().collect();
            identifier.add_agent_tags(&mut tags);
            assert_eq!(tags[0].1.is_literal(), is_literal);
            let series = identifier.identify(MetricKind::Trace, "m", &tags).to_series();
            assert_eq!(series.is_literal(0), is_literal);
        }
    }

    #[test]
    fn sending_the_agents_own_tag_makes_no_second_series() {
        let identifier = identifier(OnConflict::Message);
        assert_eq!(effective(&identifier, &[("env", "stage")]), effective(&identifier, &[]));
    }

    #[test]
    fn an_identity_matches_its_series_and_no_other() {
        let identifier = identifier(OnConflict::Agent);
        let tags: Tags<'_> = [("a".into(), "bc".into())].into_iter().collect();
        let identity = identifier.identify(MetricKind::Counter, "m", &tags);
        assert!(identity.matches(&identity.to_series()));
        let others = [
            Series::new(MetricKind::Gauge, "m", &[("a", "bc")]),
            Series::new(MetricKind::Counter, "n", &[("a", "bc")]),
            Series::new(MetricKind::Counter, "m", &[("ab", "c")]),
            Series::new::<&str, &str>(MetricKind::Counter, "m", &[]),
        ];
        assert!(!others.iter().any(|other| identity.matches(other)));
    }
}
