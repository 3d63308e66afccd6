//! The events of a tap: server-sent events, each with one line of JSON.
//!
//! The listener's thread writes them, and only while a client wants them. So the events borrow their
//! text.

use std::borrow::Cow;
use std::time::SystemTime;

use api::rejected::RejectedEntry;
use api::tap::{
    CountsEvent, EndEvent, RejectedEvent, SampleEvent, StartEvent, TagPairs, event, number,
};
use basics::escape::visible;
use basics::time::{unix_ms, write_rfc3339};
use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use super::taps::TapCounts;
use crate::aggregator::identity::Identifier;
use crate::listener::Origin;
use crate::listener::shown::shown_excerpt;
use crate::protocol::{Rejection, Sample, SampleValue, Tags};
use crate::rules::AppliedRule;

/// Most text of a sample: a larger sample is shown without some of its tags, or with texts cut.
const TEXT_BYTES_MAX: usize = 8 << 10;
/// Most text of its name, and of a member of a set.
const NAME_BYTES_MAX: usize = 1 << 10;

/// Most rules of a sample that are shown.
const RULES_MAX: usize = 64;

/// Writes an event of this name.
pub fn write(name: &str, data: &impl Serialize) -> Bytes {
    // The serializers of these types cannot fail.
    let data = serde_json::to_string(data).unwrap_or_default();
    format!("event: {name}\ndata: {}\n\n", visible(&data)).into()
}

/// The rules that have made a sample of another one.
#[derive(Clone, Copy)]
pub struct RuleTrace<'a> {
    /// The name in the message.
    pub sent_name: &'a str,
    /// The rules, in their order.
    pub applied: &'a [AppliedRule],
}

/// The event of a sample as it is recorded: `tags` are its tags with the agent's.
pub fn sample(
    sample: &Sample<'_>,
    rules: Option<RuleTrace<'_>>,
    tags: &Tags<'_>,
    identifier: &Identifier,
    listener: &str,
    sender: &dyn Origin,
) -> Bytes {
    let mut cut = Cut { room: TEXT_BYTES_MAX, is_cut: false };
    let name = cut.name(&sample.name);
    let sent_name = rules.map(|rules| cut.text(rules.sent_name).into());
    let applied = rules.map_or(&[][..], |rules| rules.applied);
    // A configuration may have very many rules that continue.
    let rules = applied.iter().take(RULES_MAX).map(|applied| applied.line).collect();
    let value = match &sample.value {
        SampleValue::Counter(value)
        | SampleValue::Total { added: value, .. }
        | SampleValue::GaugeSet(value)
        | SampleValue::GaugeAdd(value)
        | SampleValue::Timer(value) => number(*value),
        SampleValue::Set(member) => cut.text(member).into(),
        SampleValue::Trace => Value::Null,
    };
    let tags = cut.tags(tags);
    let (agent_tags, replaced) = agent_tags(sample, &tags, identifier, &mut cut);
    let data = SampleEvent {
        event: event::SAMPLE.into(),
        time: now().into(),
        listener: listener.into(),
        sender: sender.to_string().into(),
        r#type: sample.value.kind().as_str().into(),
        name: name.into(),
        means: sample.value.means().into(),
        value,
        sample_rate: sample.weight.recip(),
        tags,
        agent_tags,
        replaced,
        sent_name,
        rules,
        cut: cut.is_cut,
    };
    write(event::SAMPLE, &data)
}

/// The keys of `tags` that the agent added or replaced, and the tags of the sample that it replaced.
fn agent_tags<'a>(
    sample: &'a Sample<'_>,
    tags: &TagPairs<'_>,
    identifier: &'a Identifier,
    cut: &mut Cut,
) -> (Vec<Cow<'a, str>>, TagPairs<'a>) {
    let (mut added, mut replaced) = (Vec::new(), TagPairs::default());
    for (key, value) in identifier.agent_tags() {
        let own = sample.tags.iter().find(|(other, _)| other == key).map(|(_, own)| &**own);
        if tags.get(key) != Some(&**value) || own == Some(&**value) {
            continue;
        }
        added.push(key.into());
        if let Some(own) = own {
            replaced.0.push((key.into(), cut.text(own).into()));
        }
    }
    (added, replaced)
}

/// Bounds the text of an event.
struct Cut {
    /// Bytes left.
    room: usize,
    is_cut: bool,
}

impl Cut {
    fn text<'a>(&mut self, text: &'a str) -> &'a str {
        self.is_cut |= text.len() > NAME_BYTES_MAX;
        &text[..text.floor_char_boundary(NAME_BYTES_MAX)]
    }

    fn name<'a>(&mut self, name: &'a str) -> &'a str {
        let name = self.text(name);
        self.room -= name.len();
        name
    }

    /// The tags for which there is room.
    fn tags<'a>(&mut self, tags: &'a Tags<'_>) -> TagPairs<'a> {
        let mut pairs = Vec::with_capacity(tags.len());
        for (key, value) in tags {
            match self.room.checked_sub(key.len() + value.len()) {
                Some(room) => {
                    self.room = room;
                    pairs.push((Cow::Borrowed(&**key), Cow::Borrowed(&**value)));
                }
                None => self.is_cut = true,
            }
        }
        TagPairs(pairs)
    }
}

/// The event of a rejected message; the offset is into `bytes`.
pub fn rejected(rejection: Rejection, bytes: &[u8], listener: &str, sender: &dyn Origin) -> Bytes {
    let Rejection { reason, offset, expected } = rejection;
    let message = RejectedEntry {
        time: now().into(),
        listener: listener.into(),
        sender: sender.to_string().into(),
        reason: reason.as_str().into(),
        offset: offset as u64,
        expected: expected.into(),
        // A tap must stay cheap for the listener.
        advice: None,
        excerpt: shown_excerpt(bytes, offset).into(),
    };
    write(event::REJECTED, &RejectedEvent { event: event::REJECTED.into(), message })
}

/// The first event: which daemon answers, and how many samples a second it shows.
#[must_use]
pub fn start(instance: &str, rate: u64) -> Bytes {
    let version = env!("CARGO_PKG_VERSION").into();
    write(event::START, &StartEvent { version, instance: instance.into(), rate })
}

/// The event with the counts of a number of seconds.
#[must_use]
pub fn counts(seconds: f64, counts: &TapCounts) -> Bytes {
    let TapCounts { received, unseen, matched, shown, dropped } = *counts;
    write(event::COUNTS, &CountsEvent { seconds, received, unseen, matched, shown, dropped })
}

/// The last event: the daemon stops.
#[must_use]
pub fn end() -> Bytes {
    write(event::END, &EndEvent { reason: "stopping".into() })
}

fn now() -> String {
    let mut text = Vec::new();
    write_rfc3339(&mut text, unix_ms(SystemTime::now()));
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregator::identity::AgentConfig;
    use crate::protocol::{LineFacts, RejectReason};

    fn data(event: &Bytes) -> Value {
        let text = std::str::from_utf8(event).unwrap();
        let (head, data) = text.split_once("\ndata: ").unwrap();
        assert!(head.starts_with("event: ") && data.ends_with("\n\n"), "{text}");
        assert_eq!(data.trim_end().lines().count(), 1, "{text}");
        serde_json::from_str(data).unwrap()
    }

    fn shown(name: &str, value: SampleValue<'_>, tags: &[(&str, &str)]) -> Value {
        let agent = [("env".to_owned(), "stage".into()), ("role".to_owned(), "web".into())];
        let identifier =
            Identifier::new(&AgentConfig { tags: agent.into(), ..AgentConfig::default() });
        let tags: Tags<'_> = tags.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let decoded =
            Sample { name: name.into(), value, weight: 10.0, tags, facts: LineFacts::default() };
        let mut all = decoded.tags.clone();
        identifier.add_agent_tags(&mut all);
        data(&sample(&decoded, None, &all, &identifier, "json/udp", &"127.0.0.1:1"))
    }

    #[test]
    fn a_sample_says_what_was_recorded_and_what_the_agent_added() {
        let shown = shown("a\n.b", SampleValue::Counter(3.0), &[("env", "prod"), ("role", "web")]);
        assert_eq!(shown["name"], "a\n.b");
        assert_eq!((&shown["value"], &shown["sample_rate"]), (&3.into(), &0.1.into()));
        assert_eq!(shown["tags"], serde_json::json!({ "env": "stage", "role": "web" }));
        assert_eq!(shown["agent_tags"], serde_json::json!(["env"]), "it sent `role` itself");
        assert_eq!(shown["replaced"], serde_json::json!({ "env": "prod" }));
        assert_eq!(shown.get("cut"), None);
    }

    #[test]
    fn a_sample_is_cut_to_a_bounded_size() {
        let long = "ä".repeat(60_000);
        let shown =
            shown(&long, SampleValue::Set(long.as_str().into()), &[("a", &long), ("b", "x")]);
        assert_eq!(shown["name"].as_str().unwrap().len(), NAME_BYTES_MAX);
        assert_eq!(shown["value"].as_str().unwrap().len(), NAME_BYTES_MAX);
        assert_eq!(shown["tags"]["b"], "x");
        assert_eq!(shown["tags"].get("a"), None);
        assert_eq!(shown["cut"], true);
    }

    #[test]
    fn an_excerpt_is_escaped_before_it_is_json() {
        let rejection = Rejection { reason: RejectReason::BadJson, offset: 1, expected: "a value" };
        let shown = data(&rejected(rejection, b"\x1b[31m\x7f", "json/udp", &"x"));
        assert_eq!(shown["excerpt"], "\\u{1b}[31m\\u{7f}");
        assert_eq!((&shown["reason"], &shown["offset"]), (&"bad_json".into(), &1.into()));
    }
}
