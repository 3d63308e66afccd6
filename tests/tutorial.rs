//! README.md, docs/tutorial.md and the pages of docs/how-to that say so are followed to the letter:
//! every command is run, and prints what they show.
//!
//! It happens in a network of its own, where the ports of the defaults are free whatever else runs on
//! this host.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]
#![allow(dead_code, reason = "each test file uses its part")]

#[path = "documents/session.rs"]
mod session;
#[path = "documents/times.rs"]
mod times;

use common::markdown;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use session::Session;

/// Set for a test that runs in a network of its own.
const INSIDE: &str = "TALLYD_TEST_INSIDE";

/// Which blocks are to be followed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    /// All but those that other tests look at.
    All,
    /// Those that are marked for it.
    Marked,
}

/// Follows a document in a network of its own. `test` is who asks.
fn follow(test: &str, path: &str, of: Of) {
    if std::env::var_os(INSIDE).is_none() {
        return follow_inside(test);
    }
    let programs = tempfile::tempdir().unwrap();
    install(programs.path());
    let mut session = Session::new(programs.path());
    let mut followed = 0;
    for block in markdown::document(path).blocks() {
        if session.follow(&block) {
            followed += 1;
        } else if of == Of::All {
            let other_tests_do =
                ["yaml", "json"].contains(&block.language()) || block.is("text", "equation");
            assert!(other_tests_do, "{block}: nobody runs or compares this");
        }
    }
    assert!(followed > 3, "{path}");
}

/// The programs that the documents name and that are not the system's. What cargo would build is
/// built already.
fn install(folder: &Path) {
    let tallyd = common::tallyd_path();
    symlink(tallyd, folder.join("tallyd")).unwrap();
    let cargo = folder.join("cargo");
    let script = format!(
        "#!/bin/bash\n[[ $* == 'build --release' ]] || exit\n\
         mkdir -p target/release\nln -s {tallyd} target/release/tallyd\n"
    );
    fs::write(&cargo, script).unwrap();
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs the test once more, where nobody else is.
fn follow_inside(test: &str) {
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--net", "--", "bash", "-c", script]);
        command
    };
    let can = unshare("ip link set lo up && type curl nc").output();
    if !can.is_ok_and(|output| output.status.success()) {
        let what = "needs curl, nc, ip, and a network namespace (unshare --map-root-user --net)";
        let is_required = std::env::var("TALLYD_REQUIRE_SERVERS").is_ok_and(|value| value == "1");
        assert!(!is_required, "{test} {what}, and TALLYD_REQUIRE_SERVERS is 1");
        // Not by `eprintln!`: cargo keeps to itself what a passing test prints.
        let _nobody_listens = writeln!(std::io::stderr(), "SKIPPED: {test}: {what}");
        return;
    }
    let output = unshare("ip link set lo up && exec \"$0\" \"$@\"")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn the_tutorial_works() {
    follow("the_tutorial_works", "docs/tutorial.md", Of::All);
}

#[test]
fn the_readme_works() {
    follow("the_readme_works", "README.md", Of::All);
}

#[test]
fn rejected_messages_are_found_out_as_it_is_told() {
    let test = "rejected_messages_are_found_out_as_it_is_told";
    follow(test, "docs/how-to/debug-rejected-messages.md", Of::Marked);
}

#[test]
fn series_are_limited_as_it_is_told() {
    follow("series_are_limited_as_it_is_told", "docs/how-to/limit-series.md", Of::Marked);
}

#[test]
fn it_runs_without_root_as_it_is_told() {
    follow("it_runs_without_root_as_it_is_told", "docs/how-to/run-without-root.md", Of::Marked);
}
