//! The scripts of tests/servers, which start real servers.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Runs a script, which prints lines of VARIABLE=VALUE.
pub(crate) fn run_script(script: &Path, args: &[&str]) -> BTreeMap<String, String> {
    let output = Command::new(script).args(args).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {args:?}: {stderr}", script.display());
    let printed = String::from_utf8(output.stdout).unwrap();
    let variables = printed.lines().filter_map(|line| line.split_once('='));
    variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
