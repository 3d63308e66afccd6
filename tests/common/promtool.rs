//! Checks of a page with Prometheus' `promtool`.

use std::io::Write;
use std::process::{Command, Stdio};

/// Runs `promtool check metrics` on a page; returns the exit status and the complaints.
pub fn promtool(program: &str, page: &str) -> (Option<i32>, String) {
    let mut promtool = Command::new(program)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}
