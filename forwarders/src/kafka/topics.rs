//! The topic of each record. With a template in `kafka_topic`, tags that a sender chooses name the
//! topics, so their number is limited, and one of them may be a name that the brokers reject.
//!
//! A record for which there is no topic goes to the fallback topic, and is counted:
//!
//! - the name is too long, or would be the one above the limit. A topic keeps its place as long as
//!   the forwarder runs, because brokers keep a topic that they created too;
//! - the brokers reject the topic: it does not exist, or tallyd may not write to it. Such a topic
//!   must not hold up all others. The brokers are asked about each topic before its first record,
//!   and a minute after they rejected it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;
use tokio::time::Instant;
use tracing::warn;

use super::error::topic_words;
use super::topic::{TopicId, TopicTemplate};
use model::Series;

/// Time after which a rejected topic is tried again.
const RETRY_AFTER: Duration = Duration::from_mins(1);

/// The only topic without a template, and the fallback topic with one.
pub(super) const FIRST: TopicId = 0;

/// The topic of a payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PayloadTopic {
    pub(super) id: TopicId,
    /// Whether it is the fallback for a topic that cannot be used.
    pub(super) is_fallback: bool,
}

impl PayloadTopic {
    const FALLBACK: Self = Self { id: FIRST, is_fallback: true };
}

/// The topics of one destination.
pub(super) struct Topics {
    forwarder: String,
    template: TopicTemplate,
    /// `None` if `kafka_topic` has no placeholders.
    table: Option<TopicTable>,
    topics: Vec<KnownTopic>,
}

/// The part that only a template needs.
struct TopicTable {
    id_of: HashMap<String, TopicId>,
    topics_max: usize,
    /// The name that was written last. A buffer, so that a known name needs no allocation.
    name: String,
    /// Records that went to the fallback topic.
    fallback_records: Arc<AtomicU64>,
    /// Whether the limit was reported.
    is_full: bool,
}

struct KnownTopic {
    name: String,
    state: TopicState,
}

/// A topic to ask the brokers about.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AskedTopic {
    pub(super) id: TopicId,
    pub(super) name: String,
    /// Whether they rejected it before.
    pub(super) was_rejected: bool,
}

/// The answer of the brokers about a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TopicState {
    Unknown,
    Usable,
    Rejected { at: Instant },
}

impl Topics {
    /// Creates the table. The fallback topic counts towards `topics_max`.
    pub(super) fn new(
        forwarder: &str,
        template: &TopicTemplate,
        fallback: Option<&str>,
        topics_max: usize,
    ) -> Self {
        let table = template.has_places().then(|| TopicTable {
            id_of: HashMap::new(),
            topics_max,
            name: String::new(),
            fallback_records: Arc::default(),
            is_full: false,
        });
        let first = fallback.map_or_else(|| template.fallback(), str::to_owned);
        let mut topics = Self {
            forwarder: forwarder.to_owned(),
            template: template.clone(),
            table,
            topics: Vec::new(),
        };
        let id = topics.add(first.clone());
        if let Some(table) = &mut topics.table {
            table.id_of.insert(first, id);
        }
        topics
    }

    /// Returns the only topic without a template, and the fallback topic with one.
    pub(super) fn first(&self) -> &str {
        self.name(FIRST)
    }

    /// Returns the name of a topic.
    pub(super) fn name(&self, id: TopicId) -> &str {
        &self.topics[id].name
    }

    /// Returns `kafka_topic` as it is in the configuration.
    pub(super) fn configured(&self) -> &str {
        self.template.as_str()
    }

    /// Returns the number of records that went to the fallback topic; `None` without a template.
    pub(super) fn fallback_records(&self) -> Option<Arc<AtomicU64>> {
        self.table.as_ref().map(|table| Arc::clone(&table.fallback_records))
    }

    /// Returns the topic of a series; `None` without a template.
    pub(super) fn assign(&mut self, series: &Series) -> Option<PayloadTopic> {
        let table = self.table.as_mut()?;
        if !self.template.write(&mut table.name, series) {
            return Some(PayloadTopic::FALLBACK);
        }
        let known = table.id_of.get(&table.name).copied();
        let id = known.or_else(|| self.admit());
        Some(id.map_or(PayloadTopic::FALLBACK, |id| PayloadTopic { id, is_fallback: false }))
    }

    /// Adds the topic that was named last, if there is room.
    fn admit(&mut self) -> Option<TopicId> {
        let table = self.table.as_mut()?;
        let name = table.name.clone();
        if self.topics.len() >= table.topics_max {
            let (is_new, topics_max) = (!table.is_full, table.topics_max);
            table.is_full = true;
            let (forwarder, fallback) = (&self.forwarder, self.first());
            if is_new {
                warn!(
                    forwarder,
                    topic = name,
                    "there are max_topics: {topics_max} topics: records of further ones go to \
                     `{fallback}`; choose a tag with fewer values, or increase max_topics"
                );
            }
            return None;
        }
        table.id_of.insert(name.clone(), self.topics.len());
        if self.topics.len() == FIRST + 1 && !self.template.begins_with_text() {
            warn!(
                forwarder = self.forwarder,
                "kafka_topic begins with a placeholder: senders can choose any topic to which tallyd \
                 may write; begin it with text, such as `metrics.`"
            );
        }
        Some(self.add(name))
    }

    fn add(&mut self, name: String) -> TopicId {
        self.topics.push(KnownTopic { name, state: TopicState::Unknown });
        self.topics.len() - 1
    }

    /// Returns the topics to ask the brokers about. Empty without a template: the only topic has to
    /// be usable.
    pub(super) fn to_ask(&self, now: Instant) -> Vec<AskedTopic> {
        let is_due = |state| match state {
            TopicState::Unknown => true,
            TopicState::Usable => false,
            TopicState::Rejected { at } => now.saturating_duration_since(at) >= RETRY_AFTER,
        };
        let topics = self.topics.iter().enumerate().skip(FIRST + 1);
        topics
            .filter(|(_, topic)| is_due(topic.state))
            .map(|(id, topic)| AskedTopic {
                id,
                name: topic.name.clone(),
                was_rejected: topic.state != TopicState::Unknown,
            })
            .collect()
    }

    /// Returns whether the brokers have not answered yet whether a topic can be used.
    pub(super) fn is_unknown(&self, topic: PayloadTopic) -> bool {
        topic.id != FIRST && self.topics[topic.id].state == TopicState::Unknown
    }

    /// Notes that the brokers accept records of a topic.
    pub(super) fn usable(&mut self, id: TopicId) {
        self.topics[id].state = TopicState::Usable;
    }

    /// Notes that the brokers reject a topic; returns whether another one takes its records.
    pub(super) fn rejected(&mut self, id: TopicId, code: Code, now: Instant) -> bool {
        if id == FIRST || !is_about_topic(code) {
            return false;
        }
        let topic = &mut self.topics[id];
        let was_rejected = matches!(topic.state, TopicState::Rejected { .. });
        topic.state = TopicState::Rejected { at: now };
        if !was_rejected {
            let (forwarder, fallback) = (&self.forwarder, self.first());
            let words = topic_words(code, self.name(id));
            warn!(forwarder, "{words}; its records go to `{fallback}` until it can be used");
        }
        true
    }

    /// Returns the topic to which a record goes now.
    pub(super) fn usable_for(&self, topic: PayloadTopic) -> PayloadTopic {
        match self.topics[topic.id].state {
            TopicState::Rejected { .. } => PayloadTopic::FALLBACK,
            TopicState::Unknown | TopicState::Usable => topic,
        }
    }

    /// Counts a delivered record.
    pub(super) fn delivered(&self, topic: PayloadTopic) {
        if let Some(table) = self.table.as_ref().filter(|_| topic.is_fallback) {
            table.fallback_records.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Whether an error concerns one topic, and not the brokers as a whole.
fn is_about_topic(code: Code) -> bool {
    matches!(
        code,
        Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::InvalidTopic
            | Code::TopicAuthorizationFailed
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::MetricKind;

    fn topics(template: &str, fallback: Option<&str>, topics_max: usize) -> Topics {
        Topics::new("kafka", &TopicTemplate::parse(template).unwrap(), fallback, topics_max)
    }

    fn with_tag(value: &str) -> Series {
        Series::new(MetricKind::Counter, "m", &[("e", value)])
    }

    fn name_of(topics: &mut Topics, value: &str) -> (String, bool) {
        let topic = topics.assign(&with_tag(value)).unwrap();
        let topic = topics.usable_for(topic);
        topics.delivered(topic);
        (topics.name(topic.id).to_owned(), topic.is_fallback)
    }

    #[test]
    fn a_name_without_placeholders_is_the_only_topic_and_never_questioned() {
        let mut topics = topics("metrics", None, 1);
        assert_eq!(topics.assign(&with_tag("a")), None);
        assert_eq!(topics.first(), "metrics");
        assert!(topics.fallback_records().is_none() && topics.to_ask(Instant::now()).is_empty());
        assert!(!topics.rejected(FIRST, Code::UnknownTopicOrPartition, Instant::now()));
    }

    #[test]
    fn topics_above_the_limit_and_invalid_names_go_to_the_fallback_and_are_counted() {
        let mut topics = topics("m.{tag.e}", None, 3);
        assert_eq!(name_of(&mut topics, "a"), ("m.a".into(), false));
        assert_eq!(name_of(&mut topics, "b"), ("m.b".into(), false));
        assert_eq!(name_of(&mut topics, "c"), ("m.other".into(), true));
        assert_eq!(name_of(&mut topics, "a"), ("m.a".into(), false));
        assert_eq!(name_of(&mut topics, "other"), ("m.other".into(), false), "by its own name");
        assert_eq!(name_of(&mut topics, &"x".repeat(300)), ("m.other".into(), true));
        assert_eq!(topics.fallback_records().unwrap().load(Ordering::Relaxed), 2);
    }

    #[test]
    fn the_brokers_are_asked_about_a_new_topic_and_a_minute_after_they_rejected_it() {
        let mut topics = topics("m.{tag.e}", Some("rest"), 10);
        let now = Instant::now();
        name_of(&mut topics, "a");
        name_of(&mut topics, "b");
        let asked =
            |id, name: &str, was_rejected| AskedTopic { id, name: name.into(), was_rejected };
        assert_eq!(topics.to_ask(now), [asked(1, "m.a", false), asked(2, "m.b", false)]);
        topics.usable(1);
        assert!(topics.rejected(2, Code::TopicAuthorizationFailed, now));
        assert_eq!(name_of(&mut topics, "b"), ("rest".into(), true));
        assert_eq!(name_of(&mut topics, "a"), ("m.a".into(), false));
        assert!(topics.to_ask(now + RETRY_AFTER - Duration::from_millis(1)).is_empty());
        assert_eq!(topics.to_ask(now + RETRY_AFTER), [asked(2, "m.b", true)]);
        topics.usable(2);
        assert_eq!(name_of(&mut topics, "b"), ("m.b".into(), false));
    }

    #[test]
    fn an_error_of_the_brokers_as_a_whole_rejects_no_topic() {
        let mut topics = topics("m.{tag.e}", None, 10);
        name_of(&mut topics, "a");
        assert!(!topics.rejected(1, Code::ClusterAuthorizationFailed, Instant::now()));
        assert!(!topics.rejected(FIRST, Code::UnknownTopicOrPartition, Instant::now()));
        assert_eq!(name_of(&mut topics, "a"), ("m.a".into(), false));
    }
}
