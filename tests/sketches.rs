//! The sketches of Kafka records, merged by the libraries that consumers use: sketches-java and
//! DataSketches for Java, DDSketch and DataSketches for Python.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "kafka/topic.rs"]
mod topic;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Daemon, interval_without_an_edge, root};
use forwarders::testing::{real_client, real_program, real_server};
use serde_json::{Value, json};
use topic::read_back;

const HOSTS: usize = 3;
/// The percentiles that the programs print.
const PERCENTILES: [f64; 4] = [50.0, 90.0, 95.0, 99.0];

/// The samples of a timer, as (value, weight), and the members of a set, by name.
#[derive(Default)]
struct Sent {
    timers: BTreeMap<String, Vec<(f64, f64)>>,
    sets: BTreeMap<String, BTreeSet<String>>,
}

/// The messages of one host, and their contents.
#[derive(Default)]
struct Traffic {
    messages: Vec<String>,
    sent: Sent,
}

impl Traffic {
    fn timer(&mut self, name: &str, rate: f64, values: impl IntoIterator<Item = f64>) {
        let samples = self.sent.timers.entry(name.to_owned()).or_default();
        for value in values {
            samples.push((value, 1.0 / rate));
            let message = json!({
                "metric_name": name, "metric_type": "timer", "value": value, "sample_rate": rate,
            });
            self.messages.push(message.to_string());
        }
    }

    fn set(&mut self, name: &str, members: std::ops::Range<usize>) {
        let known = self.sent.sets.entry(name.to_owned()).or_default();
        for member in members {
            known.insert(format!("m{member}"));
            let message =
                json!({ "metric_name": name, "metric_type": "set", "value": format!("m{member}") });
            self.messages.push(message.to_string());
        }
    }

    /// The same names for each host, with other values.
    fn of_host(host: usize) -> Self {
        let mut traffic = Self::default();
        let uniform = |count: usize| {
            let seed = host * 1_000_003;
            (0..count).map(move |n| ((seed + n) * 7_919 % 10_007) as f64 / 10_007.0)
        };
        traffic.timer("few", 1.0, uniform(20).map(|share| share * 100.0));
        // Above the 1,000 samples that a timer keeps.
        traffic.timer("many", 1.0, uniform(3_000).map(|share| (share * 6.0).exp()));
        traffic.timer("signed", 1.0, uniform(400).map(|share| (share * 100.0).round() - 50.0));
        traffic.timer("many.signed", 1.0, uniform(1_500).map(|share| share * 9.0 - 4.5));
        // Each on the bound of a bucket.
        traffic.timer("bounds", 1.0, (-20..20).map(|power: i32| f64::from(power).exp2()));
        traffic.timer("wide", 1.0, uniform(50).map(|share| 10_f64.powf(share * 400.0 - 200.0)));
        traffic.timer("rated", 0.25, uniform(300).map(|share| 1.0 + share));
        traffic.timer("thirds", 0.3, uniform(300).map(|share| 1.0 + share));
        traffic.timer("zeros", 1.0, [0.0, -0.0]);
        traffic.set("a.member", host..host + 1);
        traffic.set("kept", host * 2_000..host * 2_000 + 3_000);
        traffic.set("estimated", host * 4_000..host * 4_000 + 9_000);
        traffic.set("mixed", 0..[5, 4_000, 7_000][host]);
        for kind in ["counter", "trace"] {
            traffic.messages.push(json!({ "metric_name": "c", "metric_type": kind }).to_string());
        }
        traffic
    }
}

impl Sent {
    fn add(&mut self, suffix: &str, other: &Self) {
        for (name, samples) in &other.timers {
            self.timers.entry(format!("{name}{suffix}")).or_default().extend(samples);
        }
        for (name, members) in &other.sets {
            self.sets.entry(format!("{name}{suffix}")).or_default().extend(members.clone());
        }
    }
}

/// Starts a daemon of one host, sends to it, and stops it, so that it writes its only window.
fn deliver(broker: &str, topic: &str, host: usize, messages: &[String]) {
    let daemon = Daemon::start(&format!(
        "interval: {}s
agent: {{ tags: {{ host: h{host} }} }}
aggregation: {{ set_seed: shared by these hosts }}
forwarders:
  kafka: {{ kafka_broker: \"{broker}\", kafka_topic: {topic}, format: json, sketches: true }}
",
        interval_without_an_edge()
    ));
    daemon.send_paced(messages.chunks(10).map(|some| some.join("\n")));
    daemon.wait_received(messages.len() as u64);
    assert!(daemon.stop().status.success());
}

/// The libraries that `tests/clients/install.sh` installs; `None` if the test must be skipped.
fn libraries() -> Option<PathBuf> {
    real_client("TALLYD_TEST_CLIENTS_SKETCHES").map(PathBuf::from)
}

fn java(libraries: &Path, program: &str) -> Command {
    let home = std::env::var_os("JAVA_HOME").map(|home| PathBuf::from(home).join("bin/java"));
    let mut java = Command::new(home.unwrap_or_else(|| "java".into()));
    java.arg("-cp").arg(libraries.join("libs/*")).arg(root().join(program));
    java
}

fn python(libraries: &Path, program: &str) -> Command {
    let mut python = Command::new(libraries.join("python/bin/python"));
    python.env("PYTHONDONTWRITEBYTECODE", "1").arg(root().join(program));
    python
}

/// The standard output of a program with this input.
fn output(mut program: Command, input: &str) -> String {
    let mut child = program
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{program:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// The objects that a program prints, by name.
fn merged(program: Command, records: &str) -> BTreeMap<String, Value> {
    let objects = output(program, records);
    let objects = objects.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    objects.map(|object| (object["name"].as_str().unwrap().to_owned(), object)).collect()
}

fn number(object: &Value, member: &str) -> f64 {
    object[member].as_f64().unwrap_or_else(|| panic!("`{member}` of {object}"))
}

/// The first value with more than this part of the other samples below it, like the libraries.
fn percentile(sorted: &[(f64, f64)], percent: f64) -> f64 {
    let total: f64 = sorted.iter().map(|(_, weight)| weight).sum();
    let rank = percent / 100.0 * (total - 1.0);
    let mut seen = 0.0;
    let passes = |(_, weight): &&(f64, f64)| {
        seen += weight;
        seen > rank
    };
    sorted.iter().find(passes).map_or(f64::NAN, |(value, _)| *value)
}

fn check_timer(read: &Value, samples: &[(f64, f64)]) {
    let mut sorted = samples.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let sum = |of: fn(&(f64, f64)) -> f64| samples.iter().map(of).sum::<f64>();
    for (member, expected, scale) in [
        ("count", sum(|sample| sample.1), sum(|sample| sample.1)),
        ("sum", sum(|sample| sample.0 * sample.1), sum(|sample| (sample.0 * sample.1).abs())),
    ] {
        let error = (number(read, member) - expected).abs();
        assert!(error <= 1e-12 * scale, "{member} of {read}, not {expected}");
    }
    assert_eq!(number(read, "min"), sorted[0].0, "{read}");
    assert_eq!(number(read, "max"), sorted[sorted.len() - 1].0, "{read}");
    for percent in PERCENTILES {
        let exact = percentile(&sorted, percent);
        let shown = number(read, &format!("p{percent}"));
        // A third has no finite weight in a bucket, so the rank may be next to that value.
        let is_near = |value: f64| (shown - value).abs() <= 0.005_42 * value.abs();
        let next = [percent - 0.01, percent + 0.01].map(|other| percentile(&sorted, other));
        assert!(is_near(exact) || next.into_iter().any(is_near), "p{percent} of {read}: {exact}");
    }
}

fn check_set(read: &Value, members: &BTreeSet<String>) {
    let (estimate, exact) = (number(read, "count"), members.len() as f64);
    let error = if exact <= 6_144.0 { 0.001 } else { 0.02 };
    assert!((estimate - exact).abs() <= error * exact, "{read}, not {exact}");
}

#[test]
fn consumers_merge_the_sketches_of_hosts_to_those_of_all_samples() {
    let (Some(broker), Some(libraries)) = (real_server("TALLYD_TEST_KAFKA"), libraries()) else {
        return;
    };
    let topic = format!("tallyd-sketches-{}", std::process::id());
    let mut sent = Sent::default();
    for host in 0..HOSTS {
        let traffic = Traffic::of_host(host);
        deliver(&broker, &topic, host, &traffic.messages);
        sent.add("", &traffic.sent);
        sent.add(&format!("@h{host}"), &traffic.sent);
    }
    let names = Traffic::of_host(0).sent;
    let expected = HOSTS * (names.timers.len() + names.sets.len() + 2);
    let records = read_back(&broker, &topic, |records| records.len() == expected);

    // Each record as it is, to be merged with those of the other hosts, and with a name that only it has.
    let mut lines = String::new();
    let schema = std::fs::read_to_string(root().join("docs/record.schema.json")).unwrap();
    let schema = jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap();
    for (_, record) in &records {
        assert!(schema.is_valid(record), "{record}");
        let has_sketch = ["timer", "set"].contains(&record["type"].as_str().unwrap());
        assert_eq!(record.get("sketch").is_some(), has_sketch, "{record}");
        let mut alone = record.clone();
        let host = record["tags"]["host"].as_str().unwrap();
        alone["name"] = format!("{}@{host}", record["name"].as_str().unwrap()).into();
        writeln!(lines, "{record}\n{alone}").unwrap();
    }
    let by_java = merged(java(&libraries, "examples/sketches/MergeSketches.java"), &lines);
    let by_python = merged(python(&libraries, "examples/sketches/merge_sketches.py"), &lines);

    let names = sent.timers.keys().chain(sent.sets.keys());
    assert!(by_java.keys().collect::<BTreeSet<_>>() == names.collect(), "{by_java:?}");
    for (name, samples) in &sent.timers {
        check_timer(&by_java[name], samples);
        check_timer(&by_python[name], samples);
    }
    for (name, members) in &sent.sets {
        check_set(&by_java[name], members);
        assert_eq!(number(&by_java[name], "count"), number(&by_python[name], "count"), "{name}");
    }
    // tallyd writes the estimate of a set whose members it does not keep.
    let mut estimated = 0;
    for (_, record) in records.iter().filter(|(_, record)| record["type"] == "set") {
        let count = number(&record["fields"], "count");
        let host = record["tags"]["host"].as_str().unwrap();
        let read = &by_java[&format!("{}@{host}", record["name"].as_str().unwrap())];
        if count > 4_096.0 {
            assert_eq!(number(read, "count").round(), count, "{read}");
            estimated += 1;
        }
    }
    assert_eq!(estimated, HOSTS + 1);
}

/// Doubles and the indexes of their buckets, which a unit test of `crates/model` compares with tallyd's.
const BUCKET_INDEXES: &str = "crates/model/src/timer/bucket_indexes.txt";

#[test]
fn the_listed_indexes_of_buckets_are_those_of_exact_arithmetic() {
    if !real_program("python3") {
        return;
    }
    let mut python = Command::new("python3");
    python.arg(root().join("tests/clients/sketches/bucket_indexes.py"));
    let listed = std::fs::read_to_string(root().join(BUCKET_INDEXES)).unwrap();
    assert!(output(python, "") == listed, "{BUCKET_INDEXES} is not the output of the script");
}

#[test]
fn sketches_java_puts_a_double_into_the_same_bucket_unless_it_is_on_a_bound() {
    let Some(libraries) = libraries() else { return };
    let listed = std::fs::read_to_string(root().join(BUCKET_INDEXES)).unwrap();
    let listed = listed.split_once('\n').unwrap().1;
    let others = output(java(&libraries, "tests/clients/sketches/BucketIndexes.java"), listed);
    for line in others.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let value = f64::from_bits(u64::from_str_radix(words[0], 16).unwrap());
        let [theirs, ours] = [1, 2].map(|word: usize| words[word].parse::<i32>().unwrap());
        assert_eq!((theirs - ours).abs(), 1, "{value:e}");
        // The logarithm there is rounded, and so is its base.
        let bound = (f64::from(theirs.max(ours)) / 64.0).exp2();
        assert!((value / bound - 1.0).abs() < 1e-11, "{value:e} is not near {bound:e}");
    }
    // Half of the listed doubles are next to a bound; the others have the same index.
    assert!(others.lines().count() < listed.lines().count() / 2, "{others}");
}
