//! Which series a sample belongs to.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hash, Hasher};

use model::{MetricKind, Series};
use serde::Deserialize;

use super::seed::{self, Seeded};
use crate::protocol::Tags;

/// `agent`: the host's own tags.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentConfig {
    /// Tags that every series gets; an empty value means no tag. Defaults to none.
    pub tags: BTreeMap<String, String>,
    /// Who wins when a message has a tag of the same key: `agent` (a client cannot claim another
    /// environment) or `message`. Defaults to `agent`.
    pub on_conflict: OnConflict,
}

/// Who wins when a message and the agent both have a tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnConflict {
    /// The agent's value.
    #[default]
    Agent,
    /// The message's value.
    Message,
}

/// Merges the agent's tags into a sample's, and hashes the result.
///
/// The hash is seeded at start: names and tags come from the network, and whoever knew the seed
/// could make all series collide. All threads share one seed, so that a series has one hash.
#[derive(Clone, Debug)]
pub struct Identifier {
    agent: Vec<(String, String)>,
    on_conflict: OnConflict,
    seed: Seeded,
}

/// Kind, name and effective tags of a sample, with their hash.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// Seeded hash over all of it; the order of tags does not matter.
    pub hash: u64,
    /// What is measured.
    pub kind: MetricKind,
    /// The metric name.
    pub name: &'a str,
    /// The effective tags, sorted by key.
    pub tags: &'a [(Cow<'a, str>, Cow<'a, str>)],
}

impl Identifier {
    /// Takes the agent's tags; draws the seed.
    #[must_use]
    pub fn new(config: &AgentConfig) -> Self {
        Self::with_seed(config, seed::draw())
    }

    /// With other tags of the agent. A series that has the same tags as before has the same hash.
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
    pub fn agent_tags(&self) -> &[(String, String)] {
        &self.agent
    }

    /// Merges the agent's tags into sorted tags; they stay sorted.
    pub fn add_agent_tags<'a>(&'a self, tags: &mut Tags<'a>) {
        for (key, value) in &self.agent {
            match tags.binary_search_by(|(other, _)| other.as_ref().cmp(key)) {
                Ok(place) if self.on_conflict == OnConflict::Agent => {
                    tags[place].1 = Cow::Borrowed(value);
                }
                Ok(_) => {}
                Err(place) => tags.insert(place, (Cow::Borrowed(key), Cow::Borrowed(value))),
            }
        }
    }

    /// Hashes what identifies a series; `tags` are the effective ones.
    #[must_use]
    pub fn identify<'a>(
        &self,
        kind: MetricKind,
        name: &'a str,
        tags: &'a [(Cow<'a, str>, Cow<'a, str>)],
    ) -> Identity<'a> {
        let mut hasher = self.seed.build_hasher();
        kind.hash(&mut hasher);
        name.hash(&mut hasher);
        for (key, value) in tags {
            key.hash(&mut hasher);
            value.hash(&mut hasher);
        }
        Identity { hash: hasher.finish(), kind, name, tags }
    }
}

impl Identity<'_> {
    /// Whether this is the identity of `series`.
    #[must_use]
    pub fn is_of(&self, series: &Series) -> bool {
        self.kind == series.kind()
            && self.tags.len() == series.tag_count()
            && self.name == series.name()
            && self
                .tags
                .iter()
                .zip(series.tags())
                .all(|((key, value), (other_key, other))| key == other_key && value == other)
    }

    /// An owned series.
    #[must_use]
    pub fn to_series(&self) -> Series {
        Series::new(self.kind, self.name, self.tags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identifier(on_conflict: OnConflict) -> Identifier {
        let tags = [("env", "stage"), ("role", "broker"), ("none", "")];
        let tags = tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        Identifier::new(&AgentConfig { tags, on_conflict })
    }

    fn effective(identifier: &Identifier, tags: &[(&'static str, &'static str)]) -> Vec<String> {
        let mut tags: Tags<'_> = tags.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        identifier.add_agent_tags(&mut tags);
        tags.iter().map(|(key, value)| format!("{key}={value}")).collect()
    }

    #[test]
    fn the_agents_tag_wins_a_clash_unless_told_otherwise() {
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
    fn a_tag_that_the_agent_would_add_anyway_makes_no_second_series() {
        let identifier = identifier(OnConflict::Message);
        assert_eq!(effective(&identifier, &[("env", "stage")]), effective(&identifier, &[]));
    }

    #[test]
    fn an_identity_knows_its_series_and_no_other() {
        let identifier = identifier(OnConflict::Agent);
        let tags: Tags<'_> = [("a".into(), "bc".into())].into_iter().collect();
        let identity = identifier.identify(MetricKind::Counter, "m", &tags);
        assert!(identity.is_of(&identity.to_series()));
        let others = [
            Series::new(MetricKind::Gauge, "m", &[("a", "bc")]),
            Series::new(MetricKind::Counter, "n", &[("a", "bc")]),
            Series::new(MetricKind::Counter, "m", &[("ab", "c")]),
            Series::new::<&str, &str>(MetricKind::Counter, "m", &[]),
        ];
        assert!(!others.iter().any(|other| identity.is_of(other)));
    }
}
