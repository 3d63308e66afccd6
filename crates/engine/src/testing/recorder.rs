//! Compares the recorder, with its line cache, to decoding every line.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use basics::units::ByteSize;
use model::{Point, SetSeed, Snapshot, Window};
use yaml::{Source, Spanned};

use crate::aggregator::AggregationConfig;
use crate::aggregator::cell::CellSettings;
use crate::aggregator::handover::AggregatorEnd;
use crate::aggregator::identity::{AgentConfig, Identifier};
use crate::aggregator::registry::Registry;
use crate::aggregator::store::Store;
use crate::aggregator::table::SeriesTable;
use crate::listener::Protocol;
use crate::listener::recorder::{PendingLines, Recorder, RecorderContext};
use crate::listener::signature::SignatureContext;
use crate::listener::stats::{ListenerCounts, ListenerStats};
use crate::protocol::{
    MessageLimits, Rejection, Sample, SignedGauges, TagText, Tags, json, normalize_tags, statsd,
};
use crate::rules::{RuleSection, RuleVerdict, Rules};
use crate::wake::Waker;

const INTERVAL: Duration = Duration::from_secs(10);

/// The result of some windows: the snapshot of each, and for all together the counts and the number
/// of samples that overflowed.
pub type RecordedWindows = (Vec<Snapshot>, ListenerCounts, u64);

/// Checks that lines have the same meaning whether they are cached or not, in the window in which
/// they first appear and in later ones. The first byte selects the protocol.
pub fn check(input: &[u8]) {
    let Some((protocol, lines)) = input.split_first() else { return };
    let protocol = protocol_of(*protocol);
    let all: Vec<&[u8]> = lines.split(|byte| *byte == b'\n').collect();
    let twice = [all.as_slice(), &all].concat();
    let some = all.iter().rev().step_by(2).copied().collect();
    // The empty window lets series expire.
    let windows = [twice, some, vec![], all.clone(), all];
    agrees(protocol, &windows, &low_limits());
    // In one datagram, the end of a line is where the next one begins.
    let together = vec![lines];
    let windows_of_one = [together.clone(), together.clone(), vec![], together.clone(), together];
    agrees(protocol, &windows_of_one, &low_limits());
    agrees_with_rules(protocol, &windows, &low_limits(), &COMPARED_RULES);
    // Without memory for names, the rules apply to each line that is decoded.
    let forgetful = AggregationConfig { rule_cache: ByteSize::from_bytes(1), ..low_limits() };
    agrees_with_rules(protocol, &windows, &forgetful, &COMPARED_RULES);
}

/// Rules that change the short names which a fuzzer finds first, merge series, drop and scale.
pub static COMPARED_RULES: LazyLock<Arc<Rules>> = LazyLock::new(|| {
    rules(
        "rules:
- { match: a.*, name: b, tags: { part: $1 } }
- { match_regex: '^([a-z])([0-9])$', name: $1, tags: { digit: $2, env: rule } }
- { match: m.**, types: [counter, timer], name: n, scale: 0.25, tags: { k: '' }, continue: true }
- { match: n, name: b, scale: 3 }
- { match: m, protocol: statsd, types: [gauge], scale: -2 }
- { match: m, types: [timer, set], name: m.x }
- { match: '*.drop.**', drop: true }
- { match: d, drop: true }
- { match_regex: '^(x)?y', name: $1 }
",
    )
});

/// The `rules` section of this text.
///
/// # Panics
/// When it is invalid.
#[must_use]
pub fn rules(yaml: &str) -> Arc<Rules> {
    #[derive(serde::Deserialize)]
    struct File {
        rules: Vec<Spanned<RuleSection>>,
    }
    let source = Source::new("rules", yaml).with_literal_section("rules");
    let file: Result<File, _> = yaml::parse(&source, &|_| None);
    let compiled = file.and_then(|file| Rules::compile(&file.rules, &source));
    Arc::new(compiled.unwrap_or_else(|errors| panic!("{errors}")))
}

/// `j` selects JSON, `s` selects statsd; every other byte selects one of them.
#[must_use]
pub fn protocol_of(byte: u8) -> Protocol {
    if byte.is_multiple_of(2) { Protocol::Json } else { Protocol::Statsd }
}

/// Panics if the recorder's result for these windows of datagrams differs from decoding every line.
pub fn agrees(protocol: Protocol, windows: &[Vec<&[u8]>], config: &AggregationConfig) {
    agrees_with_rules(protocol, windows, config, &Arc::default());
}

/// Panics if the recorder's result under these rules differs from decoding every line and applying the
/// rules to every sample.
pub fn agrees_with_rules(
    protocol: Protocol,
    windows: &[Vec<&[u8]>],
    config: &AggregationConfig,
    rules: &Arc<Rules>,
) {
    for gauges in [SignedGauges::Change, SignedGauges::Level] {
        let expected = decoded_with(protocol, gauges, windows, config, rules);
        for lines_wait in [false, true] {
            let ours = recorded((protocol, gauges), windows, config, rules, lines_wait);
            assert_same(ours, &expected);
        }
    }
}

fn assert_same(ours: RecordedWindows, expected: &RecordedWindows) {
    let (ours, our_counts, our_overflowed) = ours;
    let (expected, counts, overflowed) = expected;
    assert_eq!(our_overflowed, *overflowed, "overflowed");
    assert_eq!(our_counts.aggregated, counts.aggregated, "aggregated");
    assert_eq!(our_counts.rejected, counts.rejected, "rejected");
    assert_eq!(our_counts.skipped, counts.skipped, "skipped");
    assert_eq!(our_counts.timestamped, counts.timestamped, "timestamped");
    for (number, (ours, expected)) in ours.iter().zip(expected).enumerate() {
        assert_eq!(shown(ours), shown(expected), "window {number}");
    }
    assert_eq!(ours.len(), expected.len());
}

/// The points of a window, sorted: the series, and each field to the last bit.
fn shown(snapshot: &Snapshot) -> Vec<String> {
    let show = |point: &Point| {
        let tags: Vec<_> = point.series.tags().collect();
        let (kind, timer_type) = (point.series.kind(), point.series.timer_type());
        let mut shown = format!("{kind} {timer_type:?} {:?} {tags:?}", point.series.name());
        point.value.for_each_field(snapshot, |field, number| {
            assert!(number.is_finite(), "{field} of {shown} is {number}");
            shown += &format!(" {field}={number:?}");
        });
        shown
    };
    let mut points: Vec<String> = snapshot.points.iter().map(show).collect();
    points.sort();
    points
}

/// Low limits on series and on the line cache, so that short inputs reach them, and a short time to
/// expiry.
fn low_limits() -> AggregationConfig {
    AggregationConfig {
        max_series: 12,
        max_series_per_metric: 4,
        line_cache: Some(ByteSize::from_bytes(17_000)),
        expire_after: basics::units::Span::from_secs(10),
        ..AggregationConfig::default()
    }
}

/// The same seed each time, so that the members of sets are comparable.
fn cells(config: &AggregationConfig) -> CellSettings {
    config.cells(Some(SetSeed::from_text("")))
}

fn context(config: &AggregationConfig, rules: &Arc<Rules>) -> RecorderContext {
    let agent =
        AgentConfig { tags: [("env".to_owned(), "stage".into())].into(), ..AgentConfig::default() };
    let identifier = Arc::new(Identifier::new(&agent));
    RecorderContext {
        registry: Arc::new(Registry::new(config, Arc::clone(&identifier))),
        identifier,
        rejected: Arc::default(),
        started: Instant::now(),
        limits: MessageLimits { max_tags: 12, max_values: 12 },
        cells: cells(config),
        line_cache: config.line_cache_bytes(),
        rules: Arc::clone(rules),
        rule_cache: config.rule_cache.get() as usize,
        signatures: SignatureContext::default(),
    }
}

fn flush(store: &mut Store) -> Snapshot {
    let snapshot = store.flush(Window { end_ms: 1_490_114_074_000, length: INTERVAL });
    store.expire();
    snapshot
}

/// The result of a recorder for these windows. `lines_wait` says whether lines wait for others, as
/// with a large table.
fn recorded(
    (protocol, gauges): (Protocol, SignedGauges),
    windows: &[Vec<&[u8]>],
    config: &AggregationConfig,
    rules: &Arc<Rules>,
    lines_wait: bool,
) -> RecordedWindows {
    let context = context(config, rules);
    let mut store = Store::new(config, INTERVAL, Arc::clone(&context.registry));
    let mut aggregator = AggregatorEnd::new();
    let waker = Waker::new().unwrap_or_else(|error| panic!("no waker: {error}"));
    let handover = aggregator.add_listener("fuzz", Arc::new(waker));
    let stats = Arc::new(ListenerStats::without_drops("fuzz".to_owned()));
    let registry = Arc::clone(&context.registry);
    let mut recorder =
        Recorder::new(context, protocol, Arc::clone(&stats), handover).with_gauges(gauges);
    let mut snapshots = Vec::new();
    for datagrams in windows {
        let mut pending =
            if lines_wait { PendingLines::for_any_table() } else { PendingLines::new() };
        for datagram in datagrams {
            recorder.record_datagram(datagram, "fuzz", &mut pending);
        }
        recorder.record_pending(&mut pending);
        assert_eq!(aggregator.announce_edge(), 1);
        recorder.hand_over_at_edge();
        let Ok(mut handed) = aggregator.tallies().try_recv() else { panic!("no tally came") };
        store.merge(handed.listener, &mut handed.tally);
        aggregator.give_back(handed);
        snapshots.push(flush(&mut store));
    }
    recorder.publish();
    (snapshots, stats.counts(), registry.overflowed_samples())
}

/// The result of decoding every line, applying the rules to each of its samples, and recording these.
#[must_use]
pub fn decoded(
    protocol: Protocol,
    windows: &[Vec<&[u8]>],
    config: &AggregationConfig,
    rules: &Arc<Rules>,
) -> RecordedWindows {
    decoded_with(protocol, SignedGauges::default(), windows, config, rules)
}

fn decoded_with(
    protocol: Protocol,
    gauges: SignedGauges,
    windows: &[Vec<&[u8]>],
    config: &AggregationConfig,
    rules: &Arc<Rules>,
) -> RecordedWindows {
    let context = context(config, rules);
    let mut store = Store::new(config, INTERVAL, Arc::clone(&context.registry));
    let mut table = SeriesTable::new(cells(config), 0);
    // A listener alternates between two tallies: it fills one while the aggregator has the other.
    let mut spare = Box::default();
    let (mut snapshots, mut counts) = (Vec::new(), ListenerCounts::default());
    for datagrams in windows {
        for datagram in datagrams {
            record_all(&context, (protocol, gauges), datagram, &mut table, &mut counts);
        }
        let mut tally = table.replace_tally(spare);
        store.merge(0, &mut tally);
        spare = tally;
        snapshots.push(flush(&mut store));
    }
    (snapshots, counts, context.registry.overflowed_samples())
}

fn record_all<'a>(
    context: &'a RecorderContext,
    (protocol, gauges): (Protocol, SignedGauges),
    datagram: &'a [u8],
    table: &mut SeriesTable,
    counts: &mut ListenerCounts,
) {
    let mut each = |message: Result<Sample<'a>, Rejection>| match message {
        Ok(Sample { name, value, weight, tags: sent, facts }) => {
            // A string with a sign in a JSON message is a change in any case.
            let value = if protocol == Protocol::Statsd { gauges.apply(value) } else { value };
            let outcome = context.rules.apply(protocol, value.kind(), &name);
            let change = match &outcome.verdict {
                RuleVerdict::Change(change) => change,
                RuleVerdict::Reject(rejection) => {
                    counts.rejected[rejection.reason as usize] += 1;
                    return;
                }
            };
            let name = change.name.as_deref().unwrap_or(&name);
            let mut tags: Tags<'_> = sent.iter().map(TagText::to_tag).collect();
            for (key, text) in &change.tags {
                tags.retain(|(other, _)| other != key);
                tags.push(((*key).into(), text.as_str().into()));
            }
            normalize_tags(&mut tags);
            context.identifier.add_agent_tags(&mut tags);
            let identity = context.identifier.identify(value.kind(), name, &tags);
            let identity = identity.with_timer_type(facts.timer_type);
            table.record(&identity, &value.scaled(change.scale), weight, 0, &context.registry);
            counts.aggregated += 1;
            counts.timestamped += u64::from(facts.is_timestamped);
        }
        Err(rejection) => counts.rejected[rejection.reason as usize] += 1,
    };
    match protocol {
        Protocol::Json => json::decode(datagram, &context.limits, &mut each),
        Protocol::Statsd => {
            counts.skipped += statsd::decode(datagram, &context.limits, &mut each);
        }
    }
}
