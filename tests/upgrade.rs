//! An upgrade from 0.1.0: this version uses the configurations, spools, messages and options of 0.1.0, and
//! its records and replies have everything that those of 0.1.0 had.
//!
//! tests/fixtures/0.1.0/README.md describes how 0.1.0 recorded the files.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "upgrade/server.rs"]
mod server;
#[path = "upgrade/spools.rs"]
mod spools;
#[path = "kafka/topic.rs"]
mod topic;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Output;

use common::{Daemon, tallyd};
use serde_json::{Value, json};

fn recorded(name: &str) -> PathBuf {
    common::root().join("tests/fixtures/0.1.0").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(recorded(name)).unwrap()
}

/// The paths of the files in a recorded folder.
fn files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(recorded(folder)).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{folder}");
    paths
}

fn stdout(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

// ---- The configuration ---------------------------------------------------------------------

#[test]
fn every_configuration_of_0_1_0_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    for path in files("configurations") {
        let mut check = tallyd();
        check.args(["check", "--config"]).arg(&path);
        for name in variables(&fs::read_to_string(&path).unwrap()) {
            let is_folder = name.ends_with("_DIR");
            check.env(name, if is_folder { folder.path().to_str().unwrap() } else { "example" });
        }
        let output = check.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {text}", path.display());
        for warning in text.lines().filter(|line| line.starts_with("warning: ")) {
            assert!(NEW_WARNINGS.iter().any(|known| warning.contains(known)), "{warning}");
        }
    }
}

/// Warnings that 0.1.0 did not have: about a listener that cannot start on this host, and about an address
/// that other hosts reach.
const NEW_WARNINGS: [&str; 2] = ["cannot listen on", "it has no authentication"];

/// The environment variables that a configuration names without a value for the case that they are unset.
fn variables(text: &str) -> BTreeSet<&str> {
    let expressions = text.split("${").skip(1).filter_map(|rest| rest.split('}').next());
    let names = expressions.map(|expression| expression.trim_end_matches(":-"));
    names
        .filter(|name| name.bytes().all(|byte| byte == b'_' || byte.is_ascii_uppercase()))
        .collect()
}

// ---- Messages and records ------------------------------------------------------------------

#[test]
fn documented_messages_of_0_1_0_are_accepted() {
    for (file, more) in [("messages.jsonl", &[][..]), ("messages.statsd", &["--statsd"])] {
        let mut explain = tallyd();
        explain.args(["explain", "--json"]).args(more).arg(recorded(file));
        assert!(!stdout(&explain.output().unwrap()).is_empty());
    }
}

/// The payloads of each message for each destination, without times.
fn payloads(explained: &str) -> Vec<(String, Value)> {
    let mut payloads = Vec::new();
    for line in explained.lines() {
        let message: Value = serde_json::from_str(line).unwrap();
        for forwarder in message["forwarders"].as_array().unwrap() {
            let name = forwarder["name"].as_str().unwrap().to_owned();
            let mut shown = json!([forwarder["payloads"], forwarder["page"]]);
            without_times(&mut shown);
            payloads.push((name, shown));
        }
    }
    payloads
}

fn without_times(value: &mut Value) {
    match value {
        Value::String(text) => {
            let words = text.split_inclusive(|c: char| !(c.is_alphanumeric() || "-:.".contains(c)));
            *text = words.map(without_time).collect();
        }
        Value::Array(values) => values.iter_mut().for_each(without_times),
        Value::Object(members) => members.values_mut().for_each(without_times),
        _ => {}
    }
}

/// `TIME` in place of a word that is a time, or a member of a set for statsd, which has a random seed.
fn without_time(word: &str) -> &str {
    let text = word.trim_end_matches(|c: char| !c.is_alphanumeric());
    let digits = text.trim_start_matches(':').bytes().filter(u8::is_ascii_digit).count();
    let is_number = digits > 9 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b':');
    let is_rfc_3339 = digits > 9 && text.ends_with('Z') && text.contains('T');
    let is_member = text.starts_with("callers:") && word.ends_with('|');
    if is_number || is_rfc_3339 || is_member { "TIME" } else { word }
}

#[test]
fn every_destination_gets_the_bytes_that_0_1_0_wrote_for_the_same_message() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tallyd.yaml");
    fs::write(&path, read("records.yaml")).unwrap();
    let recorded = read("explained.jsonl");
    let messages: Vec<String> = recorded
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["text"].as_str().unwrap().to_owned()
        })
        .collect();
    let mut explain = tallyd();
    explain.args(["explain", "--json", "--config"]).arg(&path).args(&messages);
    let explained = stdout(&explain.output().unwrap());
    let (now, before) = (payloads(&explained), payloads(&recorded));
    assert_eq!(now.len(), before.len());
    for (now, before) in now.into_iter().zip(before) {
        assert_eq!(now, before);
    }
}

// ---- The API and the commands --------------------------------------------------------------

/// Members whose members are names of metrics, reasons and the like.
const MAPS: [&str; 8] = [
    "rejected",
    "by_metric",
    "overflowed_by_metric",
    "refused",
    "dropped",
    "closed",
    "faults",
    "tags",
];

/// The paths of the members that `before` has and `now` lacks. Of lists, the first item counts.
fn missing(path: &str, before: &Value, now: &Value, found: &mut Vec<String>) {
    if let (Some(before), Some(now)) = (before.get(0), now.get(0)) {
        return missing(&format!("{path}[]"), before, now, found);
    }
    let Some(members) = before.as_object() else { return };
    for (key, before) in members {
        let path = format!("{path}.{key}");
        match now.get(key) {
            None => found.push(path),
            Some(_) if before.is_object() && MAPS.contains(&key.as_str()) => {}
            Some(now) => missing(&path, before, now, found),
        }
    }
}

/// `NAME LABEL,LABEL` of each self-metric.
fn families(page: &str) -> BTreeMap<String, BTreeSet<String>> {
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| {
            let (name, labels) = line.split_once('{').unwrap_or((line, ""));
            let keys = labels.split(',').filter_map(|label| label.split_once("=\""));
            (
                name.split(' ').next().unwrap().to_owned(),
                keys.map(|(key, _)| key.to_owned()).collect(),
            )
        })
        .collect()
}

#[test]
fn replies_and_self_metrics_have_the_members_of_0_1_0() {
    let daemon = Daemon::start(&read("busy.yaml"));
    let lines = read("busy.jsonl");
    daemon.send(&lines);
    daemon.wait_received(lines.lines().count() as u64);
    daemon.wait_for("a window and a poll", |status| {
        let has_waited = status["forwarders"]["influxdb"]["spooled"].as_u64() > Some(0);
        has_waited && status["kamailio"][0]["failures"].as_u64() > Some(0)
    });
    for path in files("api") {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let before = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let now = serde_json::from_str(&daemon.get(&format!("/api/v1/{name}")).1).unwrap();
        let mut found = Vec::new();
        missing(name, &before, &now, &mut found);
        assert_eq!(found, [""; 0]);
    }
    let now = families(&daemon.get("/metrics").1);
    for line in read("self_metrics.txt").lines() {
        let (name, labels) = line.split_once(' ').unwrap_or((line, ""));
        let keys: BTreeSet<String> =
            labels.split(',').filter(|key| !key.is_empty()).map(str::to_owned).collect();
        assert!(
            now.get(name).is_some_and(|now| now.is_superset(&keys)),
            "{line}: {:?}",
            now.get(name)
        );
    }
    for path in ["/", "/healthz", "/readyz"] {
        assert_eq!(daemon.get(path).0, 200, "{path}");
    }
}

#[test]
fn every_option_of_0_1_0_exists() {
    let mut helps = BTreeMap::new();
    for line in read("options.txt").lines() {
        let (command, option) = line.rsplit_once(' ').unwrap();
        let help = helps.entry(command.to_owned()).or_insert_with(|| {
            stdout(&tallyd().args(command.split(' ')).arg("--help").output().unwrap())
        });
        let mut words =
            help.split(|character: char| !(character.is_alphanumeric() || character == '-'));
        assert!(words.any(|word| word == option), "tallyd {line}");
    }
}
