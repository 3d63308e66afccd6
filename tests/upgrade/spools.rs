//! The spools of 0.1.0: every point is delivered once, with the content that 0.1.0 gave it.

use std::fs;
use std::path::PathBuf;

use common::carbon::Catcher;
use common::{Daemon, assert_balanced, points, tallyd, write_config};
use forwarders::testing::real_server;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::server::Recorder;
use super::topic::read_back;
use super::{files, read, recorded, stdout};

/// An address at which no server listens.
const DOWN: &str = "127.0.0.1:1";

/// The destinations with a spool.
const SPOOLED: [&str; 4] = ["graphite", "influxdb", "kafka", "prometheus.remote_write"];

/// The configuration with which 0.1.0 wrote the spools, with these addresses.
fn configuration(influxdb: &str, graphite: &str, kafka: &str, remote_write: &str) -> String {
    [
        ("INFLUXDB", influxdb),
        ("GRAPHITE", graphite),
        ("KAFKA", kafka),
        ("REMOTE_WRITE", remote_write),
    ]
    .into_iter()
    .fold(read("daemon.yaml"), |text, (name, address)| text.replace(name, address))
}

fn sorted_lines(name: &str) -> Vec<String> {
    let mut lines: Vec<String> = read(name).lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// A folder with the spools of 0.1.0.
fn with_spools() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in SPOOLED {
        let new = folder.path().join("state/spool").join(name).join("new");
        fs::create_dir_all(&new).unwrap();
        for file in files(&format!("spool/{name}")) {
            fs::copy(&file, new.join(file.file_name().unwrap())).unwrap();
        }
    }
    folder
}

/// Number of points in the recorded spool of a destination, by the names of its files.
fn spooled(name: &str) -> u64 {
    let names = files(&format!("spool/{name}"));
    let points = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.split('-').nth(2).unwrap().parse::<u64>().unwrap()
    };
    names.iter().map(points).sum()
}

/// Waits until these destinations have delivered the recorded spools, and checks their ledgers.
fn wait_for_delivery(daemon: &Daemon, names: &[&str]) {
    let status = daemon.wait_for("the spools of 0.1.0", |status| {
        names.iter().all(|name| {
            let forwarder = &status["forwarders"][name];
            forwarder["recovered"] == spooled(name) && forwarder["spooled"] == 0
        })
    });
    assert_balanced(&status);
    for name in names {
        let forwarder = &status["forwarders"][name];
        assert_eq!(forwarder["delivered"], spooled(name), "{forwarder:#}");
        assert_eq!(forwarder["dropped"], json!({}), "{forwarder:#}");
    }
}

/// Without the percentiles of timers with more samples than are kept one by one: the sketch of 0.1.0 had
/// other buckets.
fn without_sketches(lines: Vec<String>) -> Vec<String> {
    let is_percentile = |line: &String| line.starts_with("large.latency.p");
    let mut lines: Vec<String> = lines.into_iter().filter(|line| !is_percentile(line)).collect();
    for line in &mut lines {
        if line.starts_with("large.latency,") {
            let (before, after) = line.split_once(",p50=").unwrap();
            *line = format!("{before} {}", after.rsplit_once(' ').unwrap().1);
        }
    }
    lines
}

#[test]
fn the_spools_of_0_1_0_are_delivered_once_with_the_lines_that_0_1_0_wrote() {
    let (influx, carbon, prometheus) = (Recorder::start(), Catcher::start(), Recorder::start());
    let write = format!("{}/api/v1/write", prometheus.url);
    let config = configuration(&influx.url, &carbon.address, DOWN, &write);
    let delivered = ["influxdb", "graphite", "prometheus.remote_write"];
    let daemon = Daemon::start_in(with_spools(), &config);
    wait_for_delivery(&daemon, &delivered);
    let stopped = daemon.stop();
    let unexpected = |warning: &&String| !warning.contains("kafka");
    assert_eq!(stopped.warnings().iter().find(unexpected), None);

    // The spools of these destinations are empty now, and that of Kafka still has all its windows.
    let daemon = Daemon::start_in(stopped.folder, &config);
    let status = daemon.wait_for("the spool of Kafka", |status| {
        status["forwarders"]["kafka"]["recovered"] == spooled("kafka")
    });
    assert_balanced(&status);
    for name in delivered {
        assert_eq!(status["forwarders"][name]["recovered"], 0, "{name}");
    }
    drop(daemon.stop());

    // With each window, remote write also repeats series without a point, so only the ledger shows that it
    // delivered each point once.
    assert!(!prometheus.bodies().is_empty());
    let expected = without_sketches(sorted_lines("delivered.influxdb.txt"));
    assert_eq!(without_sketches(influx.lines()), expected);
    let mut lines: Vec<String> = carbon.connections().concat().lines().map(str::to_owned).collect();
    lines.sort();
    let expected = without_sketches(sorted_lines("delivered.graphite.txt"));
    assert_eq!(without_sketches(lines), expected);
}

#[test]
fn kafka_gets_every_point_of_a_spool_of_0_1_0_once() {
    let Some(broker) = real_server("TALLYD_TEST_KAFKA") else {
        return;
    };
    let topic = format!("upgrade_{}", std::process::id());
    let config = configuration(&format!("http://{DOWN}"), DOWN, &broker, &format!("http://{DOWN}"))
        .replace("kafka_topic: metrics", &format!("kafka_topic: {topic}"));
    let daemon = Daemon::start_in(with_spools(), &config);
    wait_for_delivery(&daemon, &["kafka"]);
    daemon.stop();
    let expected = spooled("kafka") as usize;
    let records = read_back(&broker, &topic, |records| records.len() >= expected);
    let records = records.into_iter().map(|(_, record)| comparable(record)).collect::<Vec<_>>();
    assert_eq!(in_order(&records), in_order(&recorded_points(|_| true)));
}

/// A point as JSON, without the percentiles of a sketch.
fn comparable(mut point: Value) -> Value {
    if point["name"] == "large.latency" {
        point["fields"].as_object_mut().unwrap().retain(|field, _| !field.starts_with('p'));
    }
    point
}

fn in_order(points: &[Value]) -> Vec<String> {
    let mut texts: Vec<String> = points.iter().map(ToString::to_string).collect();
    texts.sort();
    texts
}

/// The points that the file forwarder of 0.1.0 wrote.
fn recorded_points(is_selected: impl Fn(&str) -> bool) -> Vec<Value> {
    let points = points(&recorded("points.jsonl")).into_iter();
    points.filter(|point| is_selected(point["name"].as_str().unwrap())).map(comparable).collect()
}

#[test]
fn tallyd_spool_shows_the_points_that_0_1_0_wrote_to_a_file() {
    let folder = with_spools();
    let path = write_config(&folder, &configuration("http://a", DOWN, DOWN, "http://a"));
    for name in SPOOLED {
        let mut shown = Vec::new();
        for file in files(&format!("spool/{name}")) {
            let file = format!("{name}/{}", file.file_name().unwrap().to_str().unwrap());
            let mut show = tallyd();
            show.args(["spool", "show", &file, "--json", "--config"]).arg(&path);
            let text = stdout(&show.output().unwrap());
            shown.extend(text.lines().map(|line| comparable(serde_json::from_str(line).unwrap())));
        }
        let expected = recorded_points(|metric| {
            name != "prometheus.remote_write" || !metric.starts_with("large.")
        });
        assert_eq!(in_order(&shown), in_order(&expected), "{name}");
    }
}
