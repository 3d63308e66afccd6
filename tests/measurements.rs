//! The scripts in benches/ that measure the daemon still run, with little data and without other daemons.
//! Their figures are not checked, except for losses.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

use forwarders::testing::real_program;

/// Runs a script with `--quick` and returns its output; `None` without the programs that it needs.
fn quick(script: &str, arguments: &[&str]) -> Option<String> {
    if !["python3", "gcc", "taskset"].into_iter().all(real_program) {
        return None;
    }
    let mut command = Command::new("python3");
    command.arg(common::root().join("benches").join(script)).arg("--quick").args(arguments);
    command.args(["--daemon", common::tallyd_path()]).env("PYTHONDONTWRITEBYTECODE", "1");
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    Some(String::from_utf8(output.stdout).unwrap())
}

/// The cells of the lines of a table that begin with this cell.
fn cells<'a>(text: &'a str, first: &str) -> Vec<Vec<&'a str>> {
    let lines = text.lines().map(|line| line.trim_matches('|').split('|').map(str::trim).collect());
    lines.filter(|cells: &Vec<&str>| cells[0] == first).collect()
}

#[test]
fn the_comparison_with_peers_counts_every_line_of_every_load() {
    let Some(text) = quick("peers/compare.py", &["--peers", "tallyd"]) else { return };
    assert_eq!(cells(&text, "sink").len(), 5, "{text}");
    let tallyd = cells(&text, "tallyd");
    assert_eq!(tallyd.len(), 5, "{text}");
    for line in tallyd {
        let (dropped_by_the_kernel, lost_in_the_daemon) = (line[5], line[6]);
        assert_eq!((dropped_by_the_kernel, lost_in_the_daemon), ("0", "0"), "{text}");
    }
}

#[test]
fn the_cost_curves_have_a_cost_for_every_point() {
    let curves = ["--curves", "series-json,tags,listeners,forwarders"];
    let Some(text) = quick("udp/curves.py", &curves) else { return };
    let lines = text.lines().filter(|line| line.contains(" s per million ")).collect::<Vec<_>>();
    assert_eq!(lines.len(), 4, "{text}");
    for line in lines {
        assert_eq!(line.matches(" · ").count(), 1, "two points: {line}");
    }
}
