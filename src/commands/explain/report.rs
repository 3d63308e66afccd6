//! The explanation of a message. Its fields are the members of the JSON output.

use std::collections::BTreeMap;

use forwarders::delivery::explained::ExplainedHistogram;
use model::{Point, Series, Snapshot};
use serde::{Serialize, Serializer};
use serde_json::Value;

use engine::listener::diagnosis::Diagnosis;
use engine::protocol::SampleValue;
use engine::rules::AppliedRule;

/// A line or a whole array, with its explanation.
#[derive(Debug, Serialize)]
pub(super) struct Explained {
    /// Its number, from 1.
    pub(super) message: u64,
    /// Its source: a file, `-` or `argument`.
    pub(super) source: String,
    /// The line in the source, from 1; for an array, its first line.
    pub(super) line: u64,
    /// The message itself, with replacements for invalid UTF-8.
    pub(super) text: String,
    /// Each sample or rejection in it, in order.
    pub(super) outcomes: Vec<MessageOutcome>,
    /// Lines that are neither: events and service checks.
    pub(super) skipped: u64,
    /// Its window; empty if the window has further messages.
    #[serde(flatten)]
    pub(super) window: WindowFacts,
}

/// The window of all messages of one input.
#[derive(Debug, Serialize)]
pub(super) struct ExplainedWindow {
    /// The number of messages.
    pub(super) messages: u64,
    /// Their source, as in [`Explained`].
    pub(super) source: String,
    #[serde(flatten)]
    pub(super) window: WindowFacts,
}

/// The results of a window.
#[derive(Debug, Default, Serialize)]
pub(super) struct WindowFacts {
    /// Its points.
    pub(super) points: Vec<PointFacts>,
    /// The payloads of each destination.
    pub(super) forwarders: Vec<ForwarderFacts>,
}

/// A sample or a rejection.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum MessageOutcome {
    Sample(SampleFacts),
    Rejected(RejectionFacts),
    /// A valid sample that a rule drops.
    Dropped(DropFacts),
}

/// The rules that apply to a sample.
#[derive(Debug, Serialize)]
pub(super) struct RuleFacts {
    /// The name in the message.
    pub(super) sent_name: String,
    /// The lines of the rules in the configuration file, in the order in which they apply.
    pub(super) lines: Vec<usize>,
}

/// Why a rule drops a sample. It counts as rejected.
#[derive(Debug, Serialize)]
pub(super) struct DropFacts {
    pub(super) reason: &'static str,
    pub(super) expected: &'static str,
    pub(super) r#type: &'static str,
    pub(super) rules: Option<RuleFacts>,
}

impl RuleFacts {
    /// The facts about a name; `None` if no rule applies.
    pub(super) fn of(applied: &[AppliedRule], sent_name: &str) -> Option<Self> {
        let lines: Vec<usize> = applied.iter().map(|applied| applied.line).collect();
        (!lines.is_empty()).then(|| Self { sent_name: sent_name.to_owned(), lines })
    }
}

/// A sample as it is recorded.
#[derive(Debug, Serialize)]
pub(super) struct SampleFacts {
    pub(super) series: SeriesFacts,
    /// The meaning of the value: `count`, `set`, `add`, `value`, `member` or `occurrence`.
    pub(super) means: &'static str,
    /// A number, or a member of a set.
    pub(super) value: Value,
    /// The number of samples that it stands for.
    pub(super) weight: f64,
    /// The tags of the agent.
    pub(super) agent_tags: Vec<ExplainedTag>,
    /// Whether it overflowed: a limit on series put it into an overflow series.
    pub(super) folded: bool,
    /// The rules that have made the series.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rules: Option<RuleFacts>,
}

/// A tag of the agent, and whether it is used.
#[derive(Debug, Serialize)]
pub(super) struct ExplainedTag {
    pub(super) key: String,
    pub(super) value: String,
    /// The value of the key in the message, if it has one.
    pub(super) message: Option<String>,
    /// Whether the agent's value replaces the message's.
    pub(super) wins: bool,
}

/// A series.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct SeriesFacts {
    pub(super) r#type: &'static str,
    pub(super) name: String,
    pub(super) tags: BTreeMap<String, String>,
}

/// Why a message is rejected.
#[derive(Debug, Serialize)]
pub(super) struct RejectionFacts {
    pub(super) reason: &'static str,
    pub(super) offset: usize,
    pub(super) pointer: Option<String>,
    pub(super) expected: &'static str,
    pub(super) got: Option<String>,
    pub(super) nearest: Option<String>,
    /// The same as a sentence, and an excerpt with a mark below.
    #[serde(skip)]
    pub(super) shown: (String, [String; 2]),
}

/// A point of the window.
#[derive(Debug, Serialize)]
pub(super) struct PointFacts {
    pub(super) series: SeriesFacts,
    /// In the order in which every output has them.
    #[serde(serialize_with = "in_order")]
    pub(super) fields: Vec<(String, f64)>,
}

/// The output of a destination.
#[derive(Debug, Serialize)]
pub(super) struct ForwarderFacts {
    pub(super) name: String,
    pub(super) kind: &'static str,
    /// Whether `select` leaves any point.
    pub(super) selected: bool,
    pub(super) payloads: Vec<PayloadFacts>,
    /// The payloads of the same series for the next window, if it has no samples.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) idle: Vec<PayloadFacts>,
    /// The page that it serves in place of payloads.
    pub(super) page: Option<Bytes>,
    /// The histograms that count timers of the window.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) histograms: Vec<ExplainedHistogram>,
}

/// One payload.
#[derive(Debug, Serialize)]
pub(super) struct PayloadFacts {
    /// The partition key.
    pub(super) key: Option<Bytes>,
    pub(super) body: Bytes,
    /// The content of a binary format.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) readable: Option<String>,
}

/// Exact bytes, as text if they are UTF-8.
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
            Err(_) => Self::binary(bytes),
        }
    }

    pub(super) fn binary(bytes: &[u8]) -> Self {
        Self::Hex(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The number of bytes.
    pub(super) fn count(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Hex(digits) => digits.len() / 2,
        }
    }
}

fn in_order<S: Serializer>(fields: &[(String, f64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(fields.iter().map(|(field, value)| (field, value)))
}

impl Explained {
    /// Whether no part of it is rejected.
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
        let mut fields = Vec::new();
        point.value.for_each_field(snapshot, |field, value| {
            fields.push((field.to_owned(), value));
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

/// The value that a sample adds to its series.
pub(super) fn added(value: &SampleValue<'_>) -> Value {
    match value {
        // No message makes a total: only polled servers do.
        SampleValue::Counter(number)
        | SampleValue::Total { added: number, .. }
        | SampleValue::GaugeSet(number)
        | SampleValue::GaugeAdd(number)
        | SampleValue::Timer(number) => (*number).into(),
        SampleValue::Set(member) => member.as_ref().into(),
        SampleValue::Trace => Value::Null,
    }
}
