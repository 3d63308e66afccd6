//! Compares the names and numbers of `naming: etsy` with recorded ones of statsd 0.9.0.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::aggregator::AggregationConfig;
use engine::aggregator::identity::{AgentConfig, Identifier};
use engine::aggregator::registry::Registry;
use engine::aggregator::store::Store;
use engine::aggregator::table::SeriesTable;
use engine::listener::recorder::RecorderContext;
use engine::listener::signature::SignatureContext;
use engine::protocol::{MessageLimits, statsd};
use forwarders::Forwarder;
use forwarders::graphite::Graphite;
use forwarders::payload::Batch;
use forwarders::testing::{section, text_of};
use model::{Snapshot, Window};
use serde::Deserialize;

const NAMES: &str = include_str!("../../tests/fixtures/statsd/etsy-names.jsonl");
const NUMBERS: &str = include_str!("../../tests/fixtures/statsd/numbers.json");
const DOCUMENT: &str = include_str!("../../docs/migrating-from-statsd.md");

/// A line with a hostile name or tag.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NameVector {
    line: String,
    /// Whether statsd used its old names.
    #[serde(default = "yes")]
    legacy: bool,
    /// The paths of statsd: of a counter the count, of a timer the count.
    statsd: BTreeSet<String>,
    /// Those of tallyd, if they differ.
    tallyd: Option<BTreeSet<String>>,
    /// The row in the document that says so.
    difference: Option<String>,
}

fn yes() -> bool {
    true
}

/// A window of lines, and the number at every path.
#[derive(Deserialize)]
struct NumberVector {
    interval_s: u64,
    percent_threshold: serde_json::Value,
    lines: Vec<String>,
    paths: BTreeMap<String, String>,
}

/// Records lines, without agent tags, in one window.
fn recorded(lines: &[&str], interval: Duration) -> Snapshot {
    let config = AggregationConfig::default();
    let identifier = Arc::new(Identifier::new(&AgentConfig::default()));
    let registry = Arc::new(Registry::new(&config, Arc::clone(&identifier)));
    let context = RecorderContext {
        registry: Arc::clone(&registry),
        identifier,
        rejected: Arc::default(),
        started: Instant::now(),
        limits: MessageLimits::default(),
        cells: config.cells(None),
        line_cache: 0,
        rules: Arc::default(),
        rule_cache: 0,
        signatures: SignatureContext::default(),
    };
    let mut table = SeriesTable::new(config.cells(None), 0);
    for line in lines {
        statsd::decode(line.as_bytes(), &context.limits, &mut |message| {
            if let Ok(sample) = message {
                context.record(&mut table, &sample, 0);
            }
        });
    }
    let mut store = Store::new(&config, interval, registry);
    store.merge(0, &mut table.replace_tally(Box::default()));
    store.flush(Window { end_ms: 1_490_114_070_000, length: interval })
}

/// The number at each path.
fn written(members: &str, snapshot: &Snapshot) -> BTreeMap<String, f64> {
    let mut graphite = Graphite::new(&section(members)).expect("a valid section");
    let mut batch = Batch::default();
    graphite.encode(snapshot, &mut batch);
    let number = |line: &str| {
        let mut words = line.split(' ');
        Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
    };
    text_of(&batch).lines().map(|line| number(line).expect("a path and a number")).collect()
}

/// The path whose name the vectors list, of all paths of a series.
fn is_listed(path: &str) -> bool {
    let (path, _) = path.split_once(';').unwrap_or((path, ""));
    ["stats.gauges.", "stats_counts.", "stats.sets."].iter().any(|start| path.starts_with(start))
        || ["stats.timers.", "stats.counters."].iter().any(|start| path.starts_with(start))
            && path.ends_with(".count")
}

/// The path with its tags in the order in which tallyd writes them: a documented difference.
fn with_sorted_tags(path: &str) -> String {
    let mut parts: Vec<&str> = path.split(';').collect();
    parts[1..].sort_unstable();
    parts.join(";")
}

#[test]
fn names_are_those_of_statsd_or_the_difference_is_documented() {
    let mut lines = 0;
    for text in NAMES.lines() {
        let vector: NameVector = serde_json::from_str(text).unwrap();
        let members =
            format!(r#""naming": "etsy", "etsy": {{"legacy_namespace": {}}}"#, vector.legacy);
        let snapshot = recorded(&[&vector.line], Duration::from_secs(10));
        let paths = written(&members, &snapshot).into_keys().filter(|path| is_listed(path));
        let expected = vector.tallyd.unwrap_or(vector.statsd);
        assert_eq!(paths.collect::<BTreeSet<_>>(), expected, "{text}");
        if let Some(row) = vector.difference {
            assert!(DOCUMENT.contains(&format!("\n| {row} |")), "{row}");
        }
        lines += 1;
    }
    assert_eq!(lines, 119);
}

#[test]
fn numbers_are_those_of_statsd_to_the_last_bit() {
    let vector: NumberVector = serde_json::from_str(NUMBERS).unwrap();
    let lines: Vec<&str> = vector.lines.iter().map(String::as_str).collect();
    let snapshot = recorded(&lines, Duration::from_secs(vector.interval_s));
    let thresholds = vector.percent_threshold;
    let members = format!(r#""naming": "etsy", "etsy": {{"percent_threshold": {thresholds}}}"#);
    let ours = written(&members, &snapshot);
    assert_eq!(vector.paths.len(), 715);
    for (path, theirs) in &vector.paths {
        let theirs: f64 = theirs.parse().unwrap();
        assert_eq!(ours.get(&with_sorted_tags(path)).copied(), Some(theirs), "{path}");
    }
}
