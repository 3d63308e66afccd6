//! What is told of a message; as JSON, the names here are its members.

use std::collections::BTreeMap;

use model::{Point, Series, Snapshot};
use serde::Serialize;
use serde_json::Value;

use crate::commands::diagnosis::Diagnosis;
use engine::protocol::SampleValue;

/// A line, or an array as a whole, and what becomes of it.
#[derive(Debug, Serialize)]
pub(super) struct Explained {
    /// Its number, from 1.
    pub(super) message: u64,
    /// Where it is from: a file, `-` or `argument`.
    pub(super) source: String,
    /// The line in it, from 1; where an array starts.
    pub(super) line: u64,
    /// The message itself; what is no UTF-8 is replaced.
    pub(super) text: String,
    /// Each sample or rejection in it, in order.
    pub(super) outcomes: Vec<MessageOutcome>,
    /// ExplainLines that are neither: events and service checks.
    pub(super) skipped: u64,
    /// What its window holds.
    pub(super) points: Vec<PointFacts>,
    /// What each destination gets of that.
    pub(super) forwarders: Vec<ForwarderFacts>,
}

/// A sample or a rejection.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum MessageOutcome {
    Sample(SampleFacts),
    Rejected(RejectionFacts),
}

/// A sample as it is recorded.
#[derive(Debug, Serialize)]
pub(super) struct SampleFacts {
    pub(super) series: SeriesFacts,
    /// What it adds: `count`, `set`, `add`, `value`, `member` or `occurrence`.
    pub(super) means: &'static str,
    /// A number, or a member of a set.
    pub(super) value: Value,
    /// How many samples it stands for.
    pub(super) weight: f64,
    /// Tags of the agent.
    pub(super) agent_tags: Vec<AgentTag>,
    /// Whether a limit on series folded it into another series.
    pub(super) folded: bool,
}

/// A tag of the agent, and what became of it.
#[derive(Debug, Serialize)]
pub(super) struct AgentTag {
    pub(super) key: String,
    pub(super) value: String,
    /// What the message said of the key, if it said anything.
    pub(super) message: Option<String>,
    /// Whether the agent's value counts, and not the message's.
    pub(super) wins: bool,
}

/// A series.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct SeriesFacts {
    pub(super) r#type: &'static str,
    pub(super) name: String,
    pub(super) tags: BTreeMap<String, String>,
}

/// Why a message is no sample.
#[derive(Debug, Serialize)]
pub(super) struct RejectionFacts {
    pub(super) reason: &'static str,
    pub(super) offset: usize,
    pub(super) pointer: Option<String>,
    pub(super) expected: &'static str,
    pub(super) got: Option<String>,
    pub(super) nearest: Option<String>,
    /// All of it as a sentence, and the place in the message with a mark below.
    #[serde(skip)]
    pub(super) shown: (String, [String; 2]),
}

/// A point of the window.
#[derive(Debug, Serialize)]
pub(super) struct PointFacts {
    pub(super) series: SeriesFacts,
    pub(super) fields: BTreeMap<String, f64>,
}

/// What a destination gets.
#[derive(Debug, Serialize)]
pub(super) struct ForwarderFacts {
    pub(super) name: String,
    pub(super) kind: &'static str,
    /// Whether `select` leaves it any point.
    pub(super) selected: bool,
    pub(super) payloads: Vec<PayloadFacts>,
    /// What it shows to whoever asks, in place of payloads.
    pub(super) page: Option<Bytes>,
}

/// One sendable unit.
#[derive(Debug, Serialize)]
pub(super) struct PayloadFacts {
    /// What partitions by it.
    pub(super) key: Option<Bytes>,
    pub(super) body: Bytes,
}

/// Exact bytes: as text where they are text.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Bytes {
    Text(String),
    Hex(String),
}

impl Bytes {
    pub(super) fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Hex(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Hex(digits) => digits.len() / 2,
        }
    }
}

impl Explained {
    /// Whether nothing in it is rejected.
    pub(super) fn is_good(&self) -> bool {
        self.outcomes.iter().all(|outcome| matches!(outcome, MessageOutcome::Sample(_)))
    }
}

impl SeriesFacts {
    pub(super) fn of(series: &Series) -> Self {
        let tags = series.tags().map(|(key, value)| (key.to_owned(), value.to_owned()));
        Self {
            r#type: series.kind().as_str(),
            name: series.name().to_owned(),
            tags: tags.collect(),
        }
    }
}

impl PointFacts {
    pub(super) fn of(snapshot: &Snapshot, point: &Point) -> Self {
        let mut fields = BTreeMap::new();
        point.value.for_each_field(snapshot, |field, value| {
            fields.insert(field.to_owned(), value);
        });
        Self { series: SeriesFacts::of(&point.series), fields }
    }
}

impl RejectionFacts {
    pub(super) fn of(diagnosis: Diagnosis, message: &[u8]) -> Self {
        let shown = (diagnosis.to_string(), diagnosis.excerpt(message));
        let Diagnosis { rejection, pointer, got, advice } = diagnosis;
        Self {
            reason: rejection.reason.as_str(),
            offset: rejection.offset,
            pointer,
            expected: rejection.expected,
            got,
            nearest: advice.and_then(|advice| advice.nearest),
            shown,
        }
    }
}

/// What a sample adds to its series.
pub(super) fn added(value: &SampleValue<'_>) -> Value {
    match value {
        // No message makes a total: servers that are polled do.
        SampleValue::Counter(number)
        | SampleValue::Total { added: number, .. }
        | SampleValue::GaugeSet(number)
        | SampleValue::GaugeAdd(number)
        | SampleValue::Timer(number) => (*number).into(),
        SampleValue::Set(member) => member.as_ref().into(),
        SampleValue::Trace => Value::Null,
    }
}
