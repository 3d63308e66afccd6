//! What a tap shows, as server-sent events: each one a line of JSON.
//!
//! They are written by the listener's thread, and so only when there is a client that wants them.

use std::collections::BTreeMap;
use std::time::SystemTime;

use basics::time::write_rfc3339;
use bytes::Bytes;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::taps::TapCounts;
use crate::aggregator::identity::Identifier;
use crate::listener::Origin;
use crate::protocol::{Rejection, Sample, SampleValue, Tags};
use basics::escape::excerpt;
use basics::time::unix_ms;

/// Most text of a sample: of one that has more, tags are left out, or texts cut.
const TEXT_BYTES_MAX: usize = 8 << 10;
/// Most of its name, and of a member of a set.
const NAME_BYTES_MAX: usize = 1 << 10;
/// Integral doubles up to here are written without a fraction.
const INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// The first event.
pub const START: &str = "start";
/// A sample.
pub const SAMPLE: &str = "sample";
/// A rejected message.
pub const REJECTED: &str = "rejected";
/// What became of the last second's messages.
pub const COUNTS: &str = "counts";
/// The last event.
pub const END: &str = "end";

#[derive(Serialize)]
struct WrittenSample<'a> {
    event: &'static str,
    time: &'a str,
    listener: &'a str,
    sender: &'a str,
    r#type: &'static str,
    name: &'a str,
    means: &'static str,
    value: Value,
    sample_rate: Value,
    tags: Pairs<'a>,
    agent_tags: Vec<&'a str>,
    replaced: Pairs<'a>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cut: bool,
}

/// A sample, as the command reads it.
#[derive(Debug, Deserialize)]
pub struct ShownSample {
    pub time: String,
    pub sender: String,
    pub r#type: String,
    pub name: String,
    pub means: String,
    pub value: Value,
    pub sample_rate: f64,
    pub tags: BTreeMap<String, String>,
    pub agent_tags: Vec<String>,
    pub replaced: BTreeMap<String, String>,
    #[serde(default)]
    pub cut: bool,
}

#[derive(Serialize)]
struct WrittenRejection<'a> {
    event: &'static str,
    time: &'a str,
    listener: &'a str,
    sender: &'a str,
    reason: &'static str,
    offset: usize,
    expected: &'static str,
    excerpt: &'a str,
}

/// A rejected message, as the command reads it.
#[derive(Debug, Deserialize)]
pub struct ShownRejection {
    pub time: String,
    pub sender: String,
    pub reason: String,
    pub offset: u64,
    pub expected: String,
    pub excerpt: String,
}

/// What became of the messages since the counts before.
#[derive(Debug, Serialize, Deserialize)]
pub struct ShownCounts {
    /// How long that is.
    pub seconds: f64,
    pub received: u64,
    pub unseen: u64,
    pub matched: u64,
    pub shown: u64,
    pub dropped: u64,
}

/// Who is asked, and how much it shows.
#[derive(Debug, Serialize, Deserialize)]
pub struct ShownStart {
    pub version: String,
    pub instance: String,
    /// Most samples a second.
    pub rate: u64,
}

/// Tags as an object, in their order.
struct Pairs<'a>(Vec<(&'a str, &'a str)>);

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// An event of this name.
fn write(name: &str, data: &impl Serialize) -> Bytes {
    let mut bytes = format!("event: {name}\ndata: ").into_bytes();
    // Text and numbers can always be written, and memory takes them.
    let _infallible = serde_json::to_writer(&mut bytes, data);
    bytes.extend_from_slice(b"\n\n");
    bytes.into()
}

/// A sample as it is recorded: `tags` are those of `sample` with the agent's.
pub fn sample(
    sample: &Sample<'_>,
    tags: &Tags<'_>,
    identifier: &Identifier,
    listener: &str,
    sender: &dyn Origin,
) -> Bytes {
    let mut room = TEXT_BYTES_MAX;
    let mut cut = false;
    let name = shortened(&sample.name, &mut cut);
    room -= name.len();
    let value = match &sample.value {
        SampleValue::Counter(number)
        | SampleValue::Total { added: number, .. }
        | SampleValue::GaugeSet(number)
        | SampleValue::GaugeAdd(number)
        | SampleValue::Timer(number) => json_number(*number),
        SampleValue::Set(member) => shortened(member, &mut cut).into(),
        SampleValue::Trace => Value::Null,
    };
    let mut pairs = Vec::with_capacity(tags.len());
    for (key, value) in tags {
        let bytes = key.len() + value.len();
        if bytes > room {
            cut = true;
            continue;
        }
        room -= bytes;
        pairs.push((&**key, &**value));
    }
    let (mut agent_tags, mut replaced) = (Vec::new(), Vec::new());
    for (key, value) in identifier.agent_tags() {
        let own = sample.tags.iter().find(|(other, _)| other == key).map(|(_, own)| &**own);
        if !pairs.contains(&(key, value)) || own == Some(value) {
            continue;
        }
        agent_tags.push(key.as_str());
        if let Some(own) = own {
            replaced.push((key.as_str(), shortened(own, &mut cut)));
        }
    }
    let data = WrittenSample {
        event: SAMPLE,
        time: &now(),
        listener,
        sender: &sender.to_string(),
        r#type: sample.value.kind().as_str(),
        name,
        means: sample.value.means(),
        value,
        sample_rate: json_number(sample.weight.recip()),
        tags: Pairs(pairs),
        agent_tags,
        replaced: Pairs(replaced),
        cut,
    };
    write(SAMPLE, &data)
}

/// A rejected message; `bytes` are those that its offset is in.
pub fn rejected(rejection: Rejection, bytes: &[u8], listener: &str, sender: &dyn Origin) -> Bytes {
    let Rejection { reason, offset, expected } = rejection;
    let data = WrittenRejection {
        event: REJECTED,
        time: &now(),
        listener,
        sender: &sender.to_string(),
        reason: reason.as_str(),
        offset,
        expected,
        excerpt: &excerpt(bytes, offset),
    };
    write(REJECTED, &data)
}

/// Who is asked, and how many samples a second are shown.
#[must_use]
pub fn start(instance: &str, rate: u64) -> Bytes {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    write(START, &ShownStart { version, instance: instance.to_owned(), rate })
}

/// What became of the messages of so many seconds.
#[must_use]
pub fn counts(seconds: f64, counts: &TapCounts) -> Bytes {
    let TapCounts { received, unseen, matched, shown, dropped } = *counts;
    write(COUNTS, &ShownCounts { seconds, received, unseen, matched, shown, dropped })
}

/// That the daemon stops.
#[must_use]
pub fn end() -> Bytes {
    write(END, &serde_json::json!({ "reason": "stopping" }))
}

fn shortened<'a>(text: &'a str, cut: &mut bool) -> &'a str {
    *cut |= text.len() > NAME_BYTES_MAX;
    &text[..text.floor_char_boundary(NAME_BYTES_MAX)]
}

/// A number as people write it: 43 and not 43.0.
fn json_number(number: f64) -> Value {
    let integer = number as i64;
    if integer as f64 == number && number.abs() <= INTEGER_MAX {
        integer.into()
    } else {
        number.into()
    }
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
    use crate::protocol::RejectReason;

    fn data(event: &Bytes) -> Value {
        let text = std::str::from_utf8(event).unwrap();
        let (head, data) = text.split_once("\ndata: ").unwrap();
        assert!(head.starts_with("event: ") && data.ends_with("\n\n"), "{text}");
        assert_eq!(data.trim_end().lines().count(), 1, "{text}");
        serde_json::from_str(data).unwrap()
    }

    fn shown(name: &str, value: SampleValue<'_>, tags: &[(&str, &str)]) -> Value {
        let agent = [("env".to_owned(), "stage".to_owned()), ("role".to_owned(), "web".to_owned())];
        let identifier =
            Identifier::new(&AgentConfig { tags: agent.into(), ..AgentConfig::default() });
        let tags: Tags<'_> = tags.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let decoded = Sample { name: name.into(), value, weight: 10.0, tags };
        let mut all = decoded.tags.clone();
        identifier.add_agent_tags(&mut all);
        data(&sample(&decoded, &all, &identifier, "json/udp", &"127.0.0.1:1"))
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
