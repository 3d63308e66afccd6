//! `/api/v1/tap`: what listeners receive, as server-sent events, each with one line of JSON.
//!
//! The daemon's listeners write the events, so their text is borrowed; a reader owns it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::de::Deserializer;
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::rejected::RejectedEntry;

/// Integral doubles up to here are written without a fraction.
const INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// The names of parameters. Each may be given several times, except `rejected` and `rate`.
pub mod parameter {
    /// A glob for the metric name; one of several has to match.
    pub const MATCH: &str = "match";
    /// `KEY` or `KEY=GLOB`: a tag that a sample must have.
    pub const TAG: &str = "tag";
    /// A metric type.
    pub const TYPE: &str = "type";
    /// The network of the sender.
    pub const FROM: &str = "from";
    /// `only` for rejected messages in place of samples, `also` for both.
    pub const REJECTED: &str = "rejected";
    /// Most samples a second.
    pub const RATE: &str = "rate";
    /// The name of a destination, or nothing for all: shows what leaves it in place of samples.
    pub const OUT: &str = "out";
    /// With `out`: `true` for the encoded payloads in place of points.
    pub const BYTES: &str = "bytes";
}

/// The names of events. A reader ignores others.
pub mod event {
    /// [`StartEvent`](super::StartEvent), the first.
    pub const START: &str = "start";
    /// [`SampleEvent`](super::SampleEvent).
    pub const SAMPLE: &str = "sample";
    /// [`RejectedEvent`](super::RejectedEvent).
    pub const REJECTED: &str = "rejected";
    /// [`PointEvent`](super::PointEvent).
    pub const POINT: &str = "point";
    /// [`PayloadEvent`](super::PayloadEvent).
    pub const PAYLOAD: &str = "payload";
    /// [`CountsEvent`](super::CountsEvent), once a second.
    pub const COUNTS: &str = "counts";
    /// [`EndEvent`](super::EndEvent), the last.
    pub const END: &str = "end";
}

/// Which daemon answers, and how many samples it shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartEvent<'a> {
    /// The version of tallyd.
    pub version: Cow<'a, str>,
    /// Identifies this run of the process.
    pub instance: Cow<'a, str>,
    /// Most samples a second.
    pub rate: u64,
}

/// A sample, as it is recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SampleEvent<'a> {
    /// [`event::SAMPLE`].
    #[serde(default)]
    pub event: Cow<'a, str>,
    /// When it was read.
    pub time: Cow<'a, str>,
    /// The listener that received it, as the status names it.
    #[serde(default)]
    pub listener: Cow<'a, str>,
    /// The address or the process that sent it.
    pub sender: Cow<'a, str>,
    /// The metric type.
    pub r#type: Cow<'a, str>,
    /// The metric name.
    pub name: Cow<'a, str>,
    /// The meaning of the value: `count`, `set`, `add`, `value`, `member` or `occurrence`.
    pub means: Cow<'a, str>,
    /// A number, a member of a set, or null of a trace.
    pub value: Value,
    /// The share of all samples that the client sends, greater than 0 and at most 1: the sample stands
    /// for 1/`sample_rate` samples.
    #[serde(serialize_with = "shortest")]
    pub sample_rate: f64,
    /// The tags of the series.
    pub tags: TagPairs<'a>,
    /// Keys of the tags that the agent added or replaced.
    pub agent_tags: Vec<Cow<'a, str>>,
    /// The tags of the message that the agent replaced.
    pub replaced: TagPairs<'a>,
    /// The name in the message, if rules applied to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_name: Option<Cow<'a, str>>,
    /// The lines of these rules in the configuration file, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<usize>,
    /// Whether tags are left out, or texts cut, because the sample is large.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// A rejected message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedEvent<'a> {
    /// [`event::REJECTED`].
    #[serde(default)]
    pub event: Cow<'a, str>,
    /// The message.
    #[serde(flatten)]
    pub message: RejectedEntry<'a>,
}

/// A point that has left a destination.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PointEvent<'a> {
    /// [`event::POINT`].
    #[serde(default)]
    pub event: Cow<'a, str>,
    /// When the destination accepted or refused it.
    pub time: Cow<'a, str>,
    /// The name of the destination.
    pub forwarder: Cow<'a, str>,
    /// The metric type.
    pub r#type: Cow<'a, str>,
    /// The metric name, after `select`.
    pub name: Cow<'a, str>,
    /// The tags, after `select`.
    pub tags: TagPairs<'a>,
    /// The end of its window.
    pub window_end: Cow<'a, str>,
    /// Its fields.
    pub fields: BTreeMap<String, f64>,
    /// Why the destination refused it; `None` if it accepted it.
    pub refused: Option<Cow<'a, str>>,
}

/// A payload that has left a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayloadEvent<'a> {
    /// [`event::PAYLOAD`].
    #[serde(default)]
    pub event: Cow<'a, str>,
    /// When the destination accepted or refused it.
    pub time: Cow<'a, str>,
    /// The name of the destination.
    pub forwarder: Cow<'a, str>,
    /// Number of points in it.
    pub points: u64,
    /// Number of bytes in it.
    pub size: u64,
    /// The key of a Kafka message, with escapes for bytes that are no text; empty for other destinations.
    pub key: Cow<'a, str>,
    /// The payload: text with escapes, or the content of a binary payload as text.
    pub text: Cow<'a, str>,
    /// Why the destination refused it; `None` if it accepted it.
    pub refused: Option<Cow<'a, str>>,
    /// Whether the text is cut, because the payload is large.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// What became of the messages since the previous counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CountsEvent {
    /// The time since then, in seconds.
    pub seconds: f64,
    /// Messages that the listeners received.
    pub received: u64,
    /// Messages that the listeners had no time to show, see `admin.tap.max_cpu`.
    pub unseen: u64,
    /// Samples and rejected messages that match the request.
    pub matched: u64,
    /// Of these, the number shown.
    pub shown: u64,
    /// Of these, the number that did not fit into the queue because the client read too slowly.
    pub dropped: u64,
}

/// Why no event follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndEvent<'a> {
    /// `stopping`: the daemon stops.
    pub reason: Cow<'a, str>,
}

/// Tags, as an object: sorted by key, and no key occurs twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagPairs<'a>(pub Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl TagPairs<'_> {
    /// The tags.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(other, _)| *other == key).map(|(_, value)| value)
    }
}

impl Serialize for TagPairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for TagPairs<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = BTreeMap::<String, String>::deserialize(deserializer)?;
        Ok(Self(pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect()))
    }
}

/// A number as people write it: 43 and not 43.0.
#[must_use]
pub fn number(number: f64) -> Value {
    match as_integer(number) {
        Some(integer) => integer.into(),
        None => number.into(),
    }
}

fn as_integer(number: f64) -> Option<i64> {
    let integer = number as i64;
    (integer as f64 == number && number.abs() <= INTEGER_MAX).then_some(integer)
}

fn shortest<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    match as_integer(*number) {
        Some(integer) => serializer.serialize_i64(integer),
        None => serializer.serialize_f64(*number),
    }
}
