//! The spool from end to end: the real binary, a real Kafka that stops and restarts, and `kill -9` in
//! between.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "kafka/topic.rs"]
mod topic;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Daemon, assert_balanced, tallyd, total};
use forwarders::testing::real_server;
use serde_json::Value;
use tempfile::TempDir;
use topic::read_back;

/// Number of series in each window.
const SERIES: u64 = 10_000;

/// A broker for one test, which may stop it.
struct Broker {
    folder: TempDir,
    address: String,
}

impl Broker {
    fn start() -> Self {
        let mut broker = Self { folder: tempfile::tempdir().unwrap(), address: String::new() };
        broker.address = broker.restart();
        broker
    }

    /// Starts the broker again with the same data and address.
    fn restart(&self) -> String {
        let output = self.script("start");
        let told = output.lines().find_map(|line| line.strip_prefix("KAFKA_BROKER="));
        let address = told.expect("it says where it is").to_owned();
        assert!(self.address.is_empty() || self.address == address, "the port was free");
        address
    }

    fn stop(&self) {
        self.script("stop");
    }

    fn script(&self, command: &str) -> String {
        let script = common::root().join("tests/servers/kafka.sh");
        let output = Command::new(script).arg(command).arg(self.folder.path()).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop();
    }
}

fn config(broker: &str, more: &str) -> String {
    format!(
        "bind_address: 127.0.0.1
bind_port: 0
interval: 500ms
forwarders:
  file: {{ path: DIR/out, format: json }}
  kafka:
    kafka_broker: {broker}
    kafka_topic: spooled
    format: json
    librdkafka: {{ reconnect.backoff.max.ms: 500 }}
    delivery: {{ retry: {{ max: 1s }}, spool: {{ min_free: 1MiB }} }}
{more}"
    )
}

/// The messages of a round, in datagrams of 50 lines: one for each series, with distinct increments.
fn round(number: u64) -> impl Iterator<Item = String> {
    (0..SERIES / 50).map(move |datagram| {
        let line = |series: u64| {
            let count = increment(number, series);
            format!(
                "{{\"metric_name\":\"m\",\"metric_type\":\"counter\",\"count\":{count},\"s\":\"{series}\"}}\n"
            )
        };
        (datagram * 50..datagram * 50 + 50).map(line).collect()
    })
}

fn increment(round: u64, series: u64) -> u64 {
    (round * 31 + series * 7919) % 1000
}

fn sum_of(rounds: std::ops::Range<u64>) -> u64 {
    rounds.flat_map(|round| (0..SERIES).map(move |series| increment(round, series))).sum()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

/// Sends a round and waits until it is flushed and no point of it is in memory only.
fn send_and_keep(daemon: &Daemon, number_of_round: u64, received: &mut u64) -> Value {
    *received += SERIES;
    daemon.send_paced(round(number_of_round));
    daemon.wait_received(*received);
    // A round may be divided over two windows, so it has at least one point per series and at most one
    // per sample.
    let of_file = |status: &Value| status["forwarders"]["file"]["delivered"].clone();
    let status = daemon.wait_for("all is on disk", |status| {
        let kafka = &status["forwarders"]["kafka"];
        let is_flushed =
            number(&kafka["flushed"]) >= *received && of_file(status) == kafka["flushed"];
        is_flushed && kafka["queued"] == 0
    });
    assert_balanced(&status);
    status
}

/// Kills the daemon as the kernel would: without notice, and without a flush.
fn kill(daemon: Daemon) -> TempDir {
    daemon.signal("KILL");
    daemon.wait().folder
}

#[test]
fn every_flushed_point_arrives_in_order_despite_kafka_downtime_and_two_kills() {
    if real_server("TALLYD_TEST_KAFKA").is_none() {
        return;
    }
    let broker = Broker::start();
    let config = config(&broker.address, "");
    let mut daemon = Daemon::start(&config);
    let mut received = 0;
    send_and_keep(&daemon, 0, &mut received);
    broker.stop();

    let mut in_file = 0.0;
    let mut flushed = 0;
    for crash in 0..2 {
        for window in 1..=3 {
            send_and_keep(&daemon, crash * 3 + window, &mut received);
        }
        let status = daemon.status();
        let kafka = &status["forwarders"]["kafka"];
        flushed += number(&kafka["flushed"]);
        let spooled = number(&kafka["spooled"]);
        let folder = kill(daemon);
        in_file = total(&common::points(&folder.path().join("out")), "m", "count");
        daemon = Daemon::start_in(folder, &config);
        received = 0;
        let status = daemon.wait_for("the spool is open", |status| {
            status["forwarders"]["kafka"]["recovered"].as_u64() >= Some(1)
        });
        assert_balanced(&status);
        // After a crash, a partly delivered window counts as completely undelivered.
        assert!(number(&status["forwarders"]["kafka"]["recovered"]) >= spooled, "{status:#}");
    }
    assert_eq!(in_file, sum_of(0..7) as f64, "the other destination missed nothing");

    broker.restart();
    let status = daemon.wait_for("an empty spool", |status| {
        assert_balanced(status);
        let kafka = &status["forwarders"]["kafka"];
        kafka["spooled"] == 0 && kafka["spool"]["files"] == 0
    });
    assert_eq!(status["forwarders"]["kafka"]["dropped"], serde_json::json!({}));
    let state = daemon.path("state/spool/kafka/new");
    daemon.wait_for("no file", |_| state.read_dir().unwrap().next().is_none());
    assert!(daemon.stop().status.success());

    let (mut windows, mut seen) = (HashSet::new(), 0);
    let records = read_back(&broker.address, "spooled", |records| {
        for (key, record) in &records[seen..] {
            windows.insert((key.clone(), number(&record["timestamp"])));
        }
        seen = records.len();
        windows.len() as u64 >= flushed
    });
    let (mut last, mut sum, mut repeats) = (HashMap::<String, Value>::new(), 0, 0);
    for (key, record) in &records {
        let before = last.insert(key.clone(), record.clone());
        // Points that the broker stored but did not acknowledge, because it was stopped or tallyd was
        // killed first, are delivered again unchanged.
        if before.as_ref() == Some(record) {
            repeats += 1;
            continue;
        }
        if let Some(before) = before {
            assert!(number(&before["timestamp"]) < number(&record["timestamp"]), "{key}");
        }
        sum += number(&record["fields"]["count"]);
    }
    assert_eq!(sum, sum_of(0..7), "to the unit");
    assert_eq!(records.len() as u64 - repeats, flushed);
}

#[test]
fn a_destination_that_never_answers_costs_the_others_nothing_and_memory_stays_flat() {
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = hanging.local_addr().unwrap().to_string();
    let daemon = Daemon::start(&config(&address, "shutdown_timeout: 2s\n"));
    let mut received = 0;
    for window in 0..5 {
        send_and_keep(&daemon, window, &mut received);
    }
    let before = memory(daemon.pid());
    for window in 5..30 {
        send_and_keep(&daemon, window, &mut received);
    }
    let grown = memory(daemon.pid()).saturating_sub(before);
    println!("25 windows of {SERIES} series: {} KiB more", grown >> 10);
    // In memory, each window would take at least half a megabyte.
    assert!(grown < 6 << 20, "{grown} bytes more");
    let status = daemon.status();
    assert_eq!(status["ledger"]["kernel_drops"], 0);
    let stopped = daemon.stop();
    assert!(stopped.status.success());
    assert_eq!(total(&stopped.points("out"), "m", "count"), sum_of(0..30) as f64);
}

fn memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

// ---- Disk errors, and the command -------------------------------------------------------------

/// A configuration with Kafka down; nothing listens on port 1.
fn away(more: &str) -> String {
    config("127.0.0.1:1", more)
}

fn spool(folder: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let output = tallyd()
        .arg("spool")
        .args(args)
        .args(["--config", folder.join("tallyd.yaml").to_str().unwrap()])
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn spooled(daemon: &Daemon, points: u64) -> Value {
    daemon.wait_for("points in the spool", |status| {
        status["forwarders"]["kafka"]["spooled"] == points
    })
}

#[test]
fn the_spool_command_lists_shows_and_removes_while_the_daemon_runs() {
    let daemon = Daemon::start(&away("shutdown_timeout: 2s\n"));
    let folder: PathBuf = daemon.path("");
    let (status, stdout, _) = spool(&folder, &[]);
    assert_eq!(status, Some(0));
    assert!(stdout.ends_with("nothing waits\n"), "{stdout}");
    for window in 1..=3 {
        daemon.send(format!(
            r#"{{"metric_name":"m","metric_type":"counter","count":{window},"host":"a"}}"#
        ));
        spooled(&daemon, window);
    }
    let (_, stdout, _) = spool(&folder, &["list", "--json"]);
    let list: Value = serde_json::from_str(&stdout).unwrap();
    let files: Vec<&str> =
        list.as_array().unwrap().iter().map(|entry| entry["file"].as_str().unwrap()).collect();
    assert_eq!(files.len(), 3);
    let (_, table, _) = spool(&folder, &["list", "--forwarder", "kafka"]);
    assert!(table.starts_with("FORWARDER"), "{table}");
    assert!(table.contains("kafka: 3 windows with 3 points,"), "{table}");

    let (_, shown, _) = spool(&folder, &["show", files[1]]);
    assert!(shown.ends_with(" counter m host=a count=2 rate=4\n"), "{shown}");
    let (_, shown, _) = spool(&folder, &["show", "--json", &format!("kafka/{}", files[2])]);
    let point: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(point["fields"]["count"], 3);
    let (status, _, words) = spool(&folder, &["show", "nonsense"]);
    assert_eq!(status, Some(1));
    assert!(words.contains("no such file"), "{words}");

    let (status, words, _) = spool(&folder, &["remove", files[1]]);
    assert_eq!((status, words.split(',').next()), (Some(0), Some("removed 1 window with 1 point")));
    let status = spooled(&daemon, 2);
    assert_eq!(status["forwarders"]["kafka"]["dropped"]["removed"], 1);
    assert_balanced(&status);
    let (_, words, _) = spool(&folder, &["remove", "--older-than", "1h"]);
    assert!(words.starts_with("removed 0 windows"), "{words}");
    let (_, words, _) = spool(&folder, &["remove", "--all", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&words).unwrap()["files"], 2);
    let status = spooled(&daemon, 0);
    assert_eq!(status["forwarders"]["kafka"]["dropped"]["removed"], 3);
    assert_eq!(spool(&folder, &["remove"]).0, Some(2), "nothing named is a wrong command line");
    assert!(daemon.stop().status.success());
}

#[test]
fn a_second_daemon_with_the_same_state_dir_logs_it_and_continues() {
    let first = Daemon::start(&away("shutdown_timeout: 1s\n"));
    first.send(r#"{"metric_name":"m","metric_type":"counter"}"#);
    spooled(&first, 1);
    let state = first.path("state");
    let more = format!("state_dir: {}\nshutdown_timeout: 1s\n", state.display());
    let second = Daemon::start(&away(&more));
    second.send(r#"{"metric_name":"m","metric_type":"counter"}"#);
    let status = second.wait_for("a spool that is degraded", |status| {
        status["forwarders"]["kafka"]["spool"]["degraded"].is_string()
    });
    let words = status["forwarders"]["kafka"]["spool"]["degraded"].as_str().unwrap();
    assert!(words.contains(&format!("process {}", first.pid())), "{words}");
    let stopped = second.stop();
    assert!(stopped.status.success());
    let warnings = stopped.warnings();
    let unusable = warnings.iter().filter(|line| line.contains("spool unusable")).count();
    assert_eq!(unusable, 1, "{warnings:?}");
    assert!(first.stop().status.success());
}

#[test]
fn an_unusable_state_dir_costs_only_the_spool_and_check_reports_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("state"), "a file is in the way").unwrap();
    let daemon = Daemon::start_in(folder, &away("shutdown_timeout: 1s\n"));
    daemon.send(r#"{"metric_name":"m","metric_type":"counter"}"#);
    let status = daemon.wait_for("a point in memory", |status| {
        status["forwarders"]["kafka"]["queued"] == 1
            && status["forwarders"]["kafka"]["spool"]["degraded"].is_string()
    });
    assert_balanced(&status);
    let path = daemon.path("tallyd.yaml");
    let check = tallyd().args(["check", "--config", path.to_str().unwrap()]).output().unwrap();
    assert_eq!(check.status.code(), Some(1), "an operator relies on the spool");
    let words = String::from_utf8([check.stdout, check.stderr].concat()).unwrap();
    let place = format!("{}:", path.display());
    let error = words.lines().find(|line| line.contains("NO SPOOL")).expect(&words);
    assert!(error.starts_with(&place) && error.contains("`state_dir`"), "{words}");
    let stopped = daemon.stop();
    let ledger = stopped.log.iter().rfind(|entry| entry["forwarder"] == "kafka").unwrap();
    assert_eq!(ledger["dropped"], "{\"shutdown\": 1}");
}
