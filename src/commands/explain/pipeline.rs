//! The daemon's path from a message to the bytes for each destination, on one thread: decoder,
//! identifier, table, store, selection and encoders.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use forwarders::config::Common;
use forwarders::delivery::destination::Destination;
use forwarders::payload::Batch;
use model::{ClosedWindow, IdleLimits, IdlePoints, IdleSeries, Point, Series, Snapshot, Window};

use super::report::{
    Bytes, DropFacts, Explained, ExplainedTag, ForwarderFacts, MessageOutcome, PayloadFacts,
    PointFacts, RejectionFacts, RuleFacts, SampleFacts, SeriesFacts, WindowFacts, added,
};
use crate::commands::client::protocol::other_option;
use crate::config::ConfigFile;
use basics::time::unix_ms;
use engine::aggregator::multiples::next_multiple;
use engine::aggregator::store::Store;
use engine::aggregator::table::SeriesTable;
use engine::aggregator::tally::Tally;
use engine::listener::Protocol;
use engine::listener::diagnosis::Diagnosis;
use engine::listener::recorder::RecorderContext;
use engine::listener::signature::windows::ReplayWindows;
use engine::protocol::{Sample, SignedGauges, TagText, Tags};
use engine::rules::{Change, RuleOutcome, RuleVerdict};

/// A message in a window that may still be open.
pub(super) struct RecordedMessage {
    pub(super) explained: Explained,
    /// The series of its samples, each with the index of its outcome.
    series: Vec<(usize, Series)>,
}

/// A daemon without sockets.
pub(super) struct ExplainPipeline {
    protocol: Protocol,
    gauges: SignedGauges,
    shared: RecorderContext,
    table: SeriesTable,
    spare: Box<Tally>,
    store: Store,
    interval: Duration,
    /// End of the open window, in Unix milliseconds.
    end_ms: u64,
    destinations: Vec<Destination>,
}

/// A message and its source.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) source: &'a str,
    pub(super) line: u64,
    pub(super) number: u64,
}

impl ExplainPipeline {
    /// The pipeline of a daemon with this configuration.
    pub(super) fn new(
        protocol: Protocol,
        file: &ConfigFile,
        destinations: Vec<Destination>,
    ) -> Self {
        let config = &file.config;
        let shared = file.shared(Instant::now(), None, ReplayWindows::default());
        let interval = config.interval.get();
        let end_ms = next_multiple(unix_ms(SystemTime::now()), interval.as_millis() as u64);
        Self {
            protocol,
            gauges: gauges_of(protocol, file),
            table: SeriesTable::new(shared.cells.clone(), 0)
                .with_rules(shared.table_rules(protocol)),
            spare: Box::default(),
            store: Store::new(&config.aggregation, interval, Arc::clone(&shared.registry)),
            shared,
            interval,
            end_ms,
            destinations,
        }
    }

    /// Records a message in the open window, and explains what became of it.
    pub(super) fn record(&mut self, message: Message<'_>) -> RecordedMessage {
        let Self { protocol, gauges, shared, table, .. } = self;
        let mut outcomes = Vec::new();
        let mut recorded = Vec::new();
        let skipped =
            protocol.decode(message.bytes, &shared.limits, &mut |decoded| match decoded {
                Ok(mut sample) => {
                    sample.value = gauges.apply(sample.value);
                    let (kind, name) = (sample.value.kind(), &*sample.name);
                    let RuleOutcome { applied, verdict } =
                        shared.rules.apply(*protocol, kind, name);
                    let rules = RuleFacts::of(&applied, name);
                    match &verdict {
                        RuleVerdict::Change(change) => {
                            let (facts, series) = describe(shared, &sample, change, rules);
                            recorded.push((outcomes.len(), series));
                            outcomes.push(MessageOutcome::Sample(facts));
                        }
                        RuleVerdict::Reject(rejection) => {
                            outcomes.push(MessageOutcome::Dropped(DropFacts {
                                reason: rejection.reason.as_str(),
                                expected: rejection.expected,
                                r#type: kind.as_str(),
                                rules,
                            }));
                        }
                    }
                    // Also if it is dropped, so that the table treats the next message as the daemon does.
                    shared.record(table, &sample, 0);
                }
                Err(rejection) => {
                    let diagnosis =
                        Diagnosis::of(*protocol, message.bytes, rejection, &other_option);
                    let facts = RejectionFacts::of(diagnosis, message.bytes);
                    outcomes.push(MessageOutcome::Rejected(facts));
                }
            });
        let explained = Explained {
            message: message.number,
            source: message.source.to_owned(),
            line: message.line,
            text: String::from_utf8_lossy(message.bytes).into_owned(),
            outcomes,
            skipped,
            window: WindowFacts::default(),
        };
        RecordedMessage { explained, series: recorded }
    }

    /// Closes the window of these messages, and completes their explanations.
    pub(super) fn close_window(&mut self, messages: &mut [RecordedMessage]) -> WindowFacts {
        let snapshot = Arc::new(self.flush());
        let present: HashSet<&Series> =
            snapshot.points.iter().map(|point| &*point.series).collect();
        for RecordedMessage { explained, series } in messages {
            for (place, series) in series {
                if let MessageOutcome::Sample(facts) = &mut explained.outcomes[*place] {
                    facts.folded = !present.contains(series);
                }
            }
        }
        WindowFacts {
            points: snapshot.points.iter().map(|point| PointFacts::of(&snapshot, point)).collect(),
            forwarders: self.encode(&snapshot),
        }
    }

    /// Closes the window. No series expires: no time passes between messages.
    fn flush(&mut self) -> Snapshot {
        let mut tally = self.table.replace_tally(std::mem::take(&mut self.spare));
        self.store.merge(0, &mut tally);
        self.spare = tally;
        let window = Window { end_ms: self.end_ms, length: self.interval };
        self.end_ms += self.interval.as_millis() as u64;
        self.store.flush(window)
    }

    /// The payloads of each destination; none for an empty window.
    fn encode(&mut self, snapshot: &Arc<Snapshot>) -> Vec<ForwarderFacts> {
        if snapshot.points.is_empty() {
            return Vec::new();
        }
        let next = idle_after(snapshot, self.interval);
        let each = |destination: &mut Destination| {
            let name = destination.common.name.clone();
            let kind = destination.kind;
            let chosen = destination.common.select.apply(snapshot);
            let selected = !chosen.points.is_empty();
            let (mut payloads, mut page, mut histograms) = (Vec::new(), None, Vec::new());
            if selected {
                payloads = encoded(destination, &chosen);
                page = destination.forwarder.served().map(|page| Bytes::of(&page));
                histograms = destination.forwarder.histograms(&chosen);
            }
            let Common { select, idle, .. } = &destination.common;
            let idle = select.apply(&next.form(false, idle));
            let idle =
                if idle.points.is_empty() { Vec::new() } else { encoded(destination, &idle) };
            ForwarderFacts { name, kind, selected, payloads, idle, page, histograms }
        };
        self.destinations.iter_mut().map(each).collect()
    }
}

/// The meaning of a sign before the value of a gauge: that of the first listener with this protocol.
fn gauges_of(protocol: Protocol, file: &ConfigFile) -> SignedGauges {
    let mut listeners = file.listeners.iter();
    let first = listeners.find(|listener| listener.protocol == protocol);
    first.map_or_else(SignedGauges::default, |listener| listener.gauges)
}

/// The payloads of a window for a destination.
fn encoded(destination: &mut Destination, window: &Snapshot) -> Vec<PayloadFacts> {
    let mut batch = Batch::default();
    destination.forwarder.encode(window, &mut batch);
    // A payload is empty when its points end up in another one.
    let full = batch.pending().filter(|payload| !payload.bytes.is_empty());
    full.map(|payload| {
        let readable = destination.forwarder.readable(payload.bytes);
        // Binary data may be valid UTF-8 by chance.
        let as_bytes = if readable.is_some() { Bytes::binary } else { Bytes::of };
        PayloadFacts {
            key: (!payload.key.is_empty()).then(|| Bytes::of(payload.key)),
            body: as_bytes(payload.bytes),
            readable,
        }
    })
    .collect()
}

/// The window after this one, in which all its series are idle.
fn idle_after(snapshot: &Snapshot, interval: Duration) -> ClosedWindow {
    let idle = |point: &Point| IdleSeries {
        series: Arc::clone(&point.series),
        idle: interval,
        level: point.value.headline(),
        arrival_ns: 0,
    };
    let series = snapshot.points.iter().map(idle).collect();
    let end_ms = snapshot.window.end_ms + interval.as_millis() as u64;
    let window = Window { end_ms, length: interval };
    let without_samples = Snapshot { window, points: Vec::new().into(), ..snapshot.clone() };
    let points = IdlePoints::new(Vec::new().into(), series, IdleLimits::default());
    ClosedWindow::undivided(without_samples).with_idle(Some(points))
}

/// Describes a sample as the rules change it, and its series, before it is recorded.
fn describe<'a>(
    shared: &'a RecorderContext,
    sample: &'a Sample<'_>,
    change: &'a Change<'_>,
    rules: Option<RuleFacts>,
) -> (SampleFacts, Series) {
    let mut tags: Tags<'a> = sample.tags.iter().map(TagText::to_tag).collect();
    change.set_tags(&mut tags);
    let message_tags = tags.clone();
    shared.identifier.add_agent_tags(&mut tags);
    let name = change.name.as_deref().unwrap_or(&sample.name);
    let identity = shared.identifier.identify(sample.value.kind(), name, &tags);
    let identity = identity.with_timer_type(sample.facts.timer_type);
    let series = identity.to_series();
    let own = |key: &str| {
        let found = message_tags.iter().find(|(other, _)| other == key);
        found.map(|(_, value)| value.to_string())
    };
    let agent_tags = shared.identifier.agent_tags().map(|(key, value)| ExplainedTag {
        key: key.to_owned(),
        value: value.to_string(),
        message: own(key),
        wins: series.tag(key) == Some(&**value),
    });
    let facts = SampleFacts {
        series: SeriesFacts::of(&series),
        means: sample.value.means(),
        value: added(&sample.value.scaled(change.scale)),
        weight: sample.weight,
        rules,
        agent_tags: agent_tags.collect(),
        folded: false,
    };
    (facts, series)
}
