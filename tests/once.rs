//! `tallyd run --once`: one window on standard output, and nothing else.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use common::{Daemon, write_config};
use serde_json::Value;
use tempfile::TempDir;

const CONFIG: &str = "\
interval: 3s
state_dir: DIR/state
agent: { tags: { host: \"${hostname}\" } }
forwarders:
  console: { format: json }
  file: { path: DIR/out }
";

/// Starts `tallyd run --once` in this folder.
fn once(folder: TempDir, config: &str) -> Daemon {
    let path = write_config(&folder, config);
    Daemon::start_with(folder, &["run", "--once", "--config", path.to_str().unwrap()])
}

#[test]
fn one_run_prints_the_window_and_ends_by_itself() {
    let daemon = once(tempfile::tempdir().unwrap(), CONFIG);
    daemon.send(r#"{"metric_name":"a","metric_type":"counter","count":30}"#);
    daemon.send(r#"{"metric_name":"a","metric_type":"counter","count":3}"#);
    daemon.wait_received(2);
    let stopped = daemon.wait();
    assert!(stopped.status.success());
    let shown = &stopped.stdout;
    let points: Vec<Value> =
        shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(points.len(), 1, "{shown}");
    assert_eq!(points[0]["fields"]["count"], 33.0);
    let rate = points[0]["fields"]["rate"].as_f64().unwrap();
    assert!((5.5..=11.0).contains(&rate), "33 in 3 s or a little more: {rate}");
    let uname = std::process::Command::new("uname").arg("-n").output().unwrap().stdout;
    let host = String::from_utf8(uname).unwrap();
    assert_eq!(points[0]["tags"]["host"], host.trim(), "`${{hostname}}`");
    assert!(!stopped.folder.path().join("out").exists(), "no destination is used");
    assert!(!stopped.folder.path().join("state").exists(), "no state is kept");
}

#[test]
fn one_run_leaves_the_state_of_an_earlier_run_alone() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_in(folder, CONFIG);
    daemon.send(r#"{"metric_name":"g","metric_type":"gauge","value":7}"#);
    daemon.wait_received(1);
    let stopped = daemon.stop();
    let before = state(&stopped.folder);
    assert!(before.iter().any(|(name, _)| name.contains("levels")), "{before:?}");
    let config = CONFIG.replace("interval: 3s", "interval: 100ms");
    let stopped = once(stopped.folder, &config).wait();
    assert_eq!(state(&stopped.folder), before);
}

/// The files of the restart state, each with its content.
fn state(folder: &TempDir) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(folder.path().join("state/restart")).unwrap();
    let mut read: Vec<_> = files
        .map(|file| file.unwrap().path())
        .map(|path| {
            (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap())
        })
        .collect();
    read.sort();
    read
}
