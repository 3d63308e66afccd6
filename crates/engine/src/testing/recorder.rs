//! Compares the recorder, with its line cache, to decoding every line.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{Point, SetSeed, Snapshot, Window};

use crate::aggregator::AggregationConfig;
use crate::aggregator::cell::CellSettings;
use crate::aggregator::handover::AggregatorEnd;
use crate::aggregator::identity::{AgentConfig, Identifier};
use crate::aggregator::registry::Registry;
use crate::aggregator::store::Store;
use crate::aggregator::table::SeriesTable;
use crate::listener::Protocol;
use crate::listener::recorder::{PendingLines, Recorder, RecorderContext};
use crate::listener::stats::{ListenerCounts, ListenerStats};
use crate::protocol::{MessageLimits, Rejection, Sample, json, statsd};
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
}

/// `j` selects JSON, `s` selects statsd; every other byte selects one of them.
#[must_use]
pub fn protocol_of(byte: u8) -> Protocol {
    if byte.is_multiple_of(2) { Protocol::Json } else { Protocol::Statsd }
}

/// Panics if the recorder's result for these windows of datagrams differs from decoding every line.
pub fn agrees(protocol: Protocol, windows: &[Vec<&[u8]>], config: &AggregationConfig) {
    let expected = decoded(protocol, windows, config);
    for lines_wait in [false, true] {
        assert_same(recorded(protocol, windows, config, lines_wait), &expected);
    }
}

fn assert_same(ours: RecordedWindows, expected: &RecordedWindows) {
    let (ours, our_counts, our_overflowed) = ours;
    let (expected, counts, overflowed) = expected;
    assert_eq!(our_overflowed, *overflowed, "overflowed");
    assert_eq!(our_counts.aggregated, counts.aggregated, "aggregated");
    assert_eq!(our_counts.rejected, counts.rejected, "rejected");
    assert_eq!(our_counts.skipped, counts.skipped, "skipped");
    for (number, (ours, expected)) in ours.iter().zip(expected).enumerate() {
        assert_eq!(shown(ours), shown(expected), "window {number}");
    }
    assert_eq!(ours.len(), expected.len());
}

/// The points of a window, sorted: the series, and each field to the last bit.
fn shown(snapshot: &Snapshot) -> Vec<String> {
    let show = |point: &Point| {
        let tags: Vec<_> = point.series.tags().collect();
        let mut shown = format!("{} {:?} {tags:?}", point.series.kind(), point.series.name());
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
        line_cache: Some(basics::units::ByteSize::from_bytes(17_000)),
        expire_after: basics::units::Span::from_secs(10),
        ..AggregationConfig::default()
    }
}

/// The same seed each time, so that the members of sets are comparable.
fn cells(config: &AggregationConfig) -> CellSettings {
    config.cells(Some(SetSeed::from_text("")))
}

fn context(config: &AggregationConfig) -> RecorderContext {
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
    protocol: Protocol,
    windows: &[Vec<&[u8]>],
    config: &AggregationConfig,
    lines_wait: bool,
) -> RecordedWindows {
    let context = context(config);
    let mut store = Store::new(config, INTERVAL, Arc::clone(&context.registry));
    let mut aggregator = AggregatorEnd::new();
    let waker = Waker::new().unwrap_or_else(|error| panic!("no waker: {error}"));
    let handover = aggregator.add_listener("fuzz", Arc::new(waker));
    let stats = Arc::new(ListenerStats::without_drops("fuzz".to_owned()));
    let registry = Arc::clone(&context.registry);
    let mut recorder = Recorder::new(context, protocol, Arc::clone(&stats), handover);
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

/// The result of decoding every line and recording its samples.
#[must_use]
pub fn decoded(
    protocol: Protocol,
    windows: &[Vec<&[u8]>],
    config: &AggregationConfig,
) -> RecordedWindows {
    let context = context(config);
    let mut store = Store::new(config, INTERVAL, Arc::clone(&context.registry));
    let mut table = SeriesTable::new(cells(config), 0);
    // A listener alternates between two tallies: it fills one while the aggregator has the other.
    let mut spare = Box::default();
    let (mut snapshots, mut counts) = (Vec::new(), ListenerCounts::default());
    for datagrams in windows {
        for datagram in datagrams {
            record_all(&context, protocol, datagram, &mut table, &mut counts);
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
    protocol: Protocol,
    datagram: &'a [u8],
    table: &mut SeriesTable,
    counts: &mut ListenerCounts,
) {
    let mut each = |message: Result<Sample<'a>, Rejection>| match message {
        Ok(Sample { name, value, weight, mut tags }) => {
            context.identifier.add_agent_tags(&mut tags);
            let identity = context.identifier.identify(value.kind(), &name, &tags);
            table.record(&identity, &value, weight, 0, &context.registry);
            counts.aggregated += 1;
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
