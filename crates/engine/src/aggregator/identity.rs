//! Identifies the series of a sample.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hash, Hasher};

use basics::scalar_text::ScalarText;
use model::{MetricKind, Series, SeriesText, SeriesTextWriter, TimerType};
use serde::Deserialize;

use super::seed::{self, Seeded};
use crate::protocol::{Tag, TagText, TagValue, Tags, compare};

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
    /// Sorted by key.
    agent: Vec<AgentTag>,
    on_conflict: OnConflict,
    seed: Seeded,
}

/// A tag of this host.
#[derive(Clone, Debug)]
struct AgentTag {
    key: String,
    value: ScalarText,
    /// Key and value as in the text of a series.
    text: Box<[u8]>,
}

/// Kind, name and effective tags of a sample, with their hash.
#[derive(Clone, Debug)]
pub struct Identity<'a> {
    /// Seeded hash over kind, name and tags. As tags are sorted, their original order does not
    /// matter.
    pub hash: u64,
    /// The kind of metric.
    pub kind: MetricKind,
    /// The type with which a timer arrived. It does not belong to the identity, but a new series keeps it.
    pub timer_type: TimerType,
    /// The metric name.
    pub name: &'a str,
    /// The effective tags, sorted by key.
    pub tags: &'a [Tag<'a>],
    /// Name and tags as one text.
    pub(super) text: Cow<'a, [u8]>,
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
            agent: agent.map(|(key, value)| AgentTag::new(key, value)).collect(),
            on_conflict: config.on_conflict,
            seed,
        }
    }

    /// The agent's tags, sorted by key.
    pub fn agent_tags(&self) -> impl Iterator<Item = (&str, &ScalarText)> {
        self.agent.iter().map(|tag| (tag.key.as_str(), &tag.value))
    }

    /// Merges the agent's tags into sorted tags, which stay sorted.
    pub fn add_agent_tags<'a>(&'a self, tags: &mut Tags<'a>) {
        for (key, value) in self.agent_tags() {
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

    /// Identifies the series of this kind and name with these effective tags.
    #[must_use]
    pub fn identify<'a>(
        &self,
        kind: MetricKind,
        name: &'a str,
        tags: &'a [Tag<'a>],
    ) -> Identity<'a> {
        let mut memory = SeriesText::default();
        let text = memory.of(|text| {
            text.push(name);
            for (key, value) in tags {
                push_tag(text, key, value);
            }
        });
        let text = Cow::Owned(text.to_vec());
        let (hash, timer_type) = (self.hash(kind, &text), TimerType::default());
        Identity { hash, kind, timer_type, name, tags, text }
    }

    /// Makes the key of the series to which a message with these sorted tags belongs. The tags are
    /// merged with the agent's only in `text`, which is cheaper than in the list.
    #[inline]
    pub(super) fn key_of_message<'t>(
        &self,
        kind: MetricKind,
        name: &str,
        tags: &[impl TagText],
        text: &'t mut SeriesText,
    ) -> SeriesKey<'t> {
        let text = text.of(|text| self.push_merged(text, name, tags));
        SeriesKey { hash: self.hash(kind, text), kind, text }
    }

    /// Appends the name and the sorted tags with the agent's.
    #[inline]
    fn push_merged(&self, text: &mut SeriesTextWriter<'_>, name: &str, tags: &[impl TagText]) {
        text.push(name);
        let mut agent = self.agent.as_slice();
        for tag in tags {
            let (key, mut value) = (tag.key(), tag.value());
            while let [tag, others @ ..] = agent {
                match compare(&tag.key, key) {
                    Ordering::Greater => break,
                    Ordering::Less => text.push_text(&tag.text),
                    Ordering::Equal if self.on_conflict == OnConflict::Agent => {
                        value = tag.value.as_str();
                    }
                    Ordering::Equal => {}
                }
                agent = others;
            }
            push_tag(text, key, value);
        }
        for tag in agent {
            text.push_text(&tag.text);
        }
    }

    #[inline]
    fn hash(&self, kind: MetricKind, text: &[u8]) -> u64 {
        let mut hasher = self.seed.build_hasher();
        kind.hash(&mut hasher);
        // The text includes the lengths of its parts, so the same characters with other boundaries
        // between name, keys and values have another hash.
        hasher.write(text);
        hasher.finish()
    }
}

impl AgentTag {
    fn new(key: &str, value: &ScalarText) -> Self {
        let mut memory = SeriesText::default();
        let text = memory.of(|text| push_tag(text, key, value.as_str()));
        Self { key: key.to_owned(), value: value.clone(), text: text.into() }
    }
}

#[inline]
fn push_tag(text: &mut SeriesTextWriter<'_>, key: &str, value: &str) {
    text.push(key);
    text.push(value);
}

/// The key by which a series is found: name and effective tags as one text, and a hash.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeriesKey<'t> {
    pub(super) hash: u64,
    pub(super) kind: MetricKind,
    pub(super) text: &'t [u8],
}

impl SeriesKey<'_> {
    /// Whether this is the key of `series`.
    #[inline]
    pub(super) fn matches(&self, series: &Series) -> bool {
        self.kind == series.kind() && series.has_text(self.text)
    }

    /// Whether both are the key of the same series.
    pub(super) fn is_same(&self, other: &SeriesKey<'_>) -> bool {
        (self.hash, self.kind, self.text) == (other.hash, other.kind, other.text)
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
    /// The same with the type with which a timer arrived.
    #[must_use]
    pub fn with_timer_type(self, timer_type: TimerType) -> Self {
        Self { timer_type, ..self }
    }

    /// The key by which the series is found.
    pub(super) fn key(&self) -> SeriesKey<'_> {
        SeriesKey { hash: self.hash, kind: self.kind, text: &self.text }
    }

    /// Whether this is the identity of `series`.
    #[must_use]
    pub fn matches(&self, series: &Series) -> bool {
        self.key().matches(series)
    }

    /// Returns an owned series.
    #[must_use]
    pub fn to_series(&self) -> Series {
        Series::with_literals(self.kind, self.name, self.tags, |index| {
            self.tags[index].1.is_literal()
        })
        .with_timer_type(self.timer_type)
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
    fn a_message_has_the_key_of_its_merged_tags() {
        for on_conflict in [OnConflict::Agent, OnConflict::Message] {
            let identifier = identifier(on_conflict);
            for sent in [
                &[][..],
                &["a"],
                &["env"],
                &["role"],
                &["z"],
                &["a", "env", "f", "role", "z"],
                &["env", "role"],
                &["f"],
            ] {
                let sent_tags = sent.iter().map(|key| (Cow::Borrowed(*key), "sent".into()));
                let (mut tags, mut text): (Tags<'_>, _) =
                    (sent_tags.collect(), SeriesText::default());
                text.of(|text| text.push("the text of another message"));
                let key = identifier.key_of_message(MetricKind::Set, "m", &tags, &mut text);
                identifier.add_agent_tags(&mut tags);
                let identity = identifier.identify(MetricKind::Set, "m", &tags);
                assert_eq!((key.hash, key.text), (identity.hash, &*identity.text), "{sent:?}");
                assert!(key.matches(&identity.to_series()), "{sent:?}");
            }
        }
    }

    #[test]
    fn each_kind_and_each_text_has_its_own_hash() {
        let identifier = identifier(OnConflict::Agent);
        let hash = |kind, text: &str| identifier.hash(kind, text.as_bytes());
        let hashes = [
            hash(MetricKind::Counter, ""),
            hash(MetricKind::Counter, "a"),
            hash(MetricKind::Counter, "b"),
            hash(MetricKind::Gauge, "a"),
        ];
        assert!(!(1..hashes.len()).any(|end| hashes[..end].contains(&hashes[end])), "{hashes:?}");
        assert_eq!(hash(MetricKind::Gauge, "a"), hashes[3]);
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
            Series::new(MetricKind::Counter, "m", &[("a", "c")]),
            Series::new(MetricKind::Counter, "m", &[("b", "bc")]),
            Series::new::<&str, &str>(MetricKind::Counter, "m", &[]),
        ];
        assert!(!others.iter().any(|other| identity.matches(other)));
    }
}
