//! README.md, docs/tutorial.md and marked blocks of docs/how-to are followed to the letter: every command
//! is run, and its output is compared with the document.
//!
//! Each test runs in a separate network namespace, where the default ports are always free.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
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

/// The variable that is set inside the network namespace.
const INSIDE: &str = "TALLYD_TEST_INSIDE";

/// The blocks of a document to follow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    /// All blocks except those that other tests check.
    All,
    /// The marked blocks.
    Marked,
}

/// Follows a document in a separate network namespace; `test` is the name of the calling test.
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
            let other_tests_do = ["yaml", "json"].contains(&block.language());
            let is_illustration = block.is("text", "equation") || block.is("text", "diagram");
            assert!(other_tests_do || is_illustration, "{block}: no test runs or compares this");
        }
    }
    assert!(followed > 3, "{path}");
}

/// Installs the programs of the documents that are not part of the system: stand-ins for build
/// commands, because everything is built already, and the program itself.
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

/// Runs the test again inside a new network namespace.
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
        // Not with `eprintln!`, because cargo captures its output when a test passes.
        let _written = writeln!(std::io::stderr(), "SKIPPED: {test}: {what}");
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
fn the_how_to_on_rejected_messages_works() {
    let test = "the_how_to_on_rejected_messages_works";
    follow(test, "docs/how-to/debug-rejected-messages.md", Of::Marked);
}

#[test]
fn the_how_to_on_limiting_series_works() {
    follow("the_how_to_on_limiting_series_works", "docs/how-to/limit-series.md", Of::Marked);
}

#[test]
fn the_how_to_on_rules_works() {
    follow("the_how_to_on_rules_works", "docs/how-to/map-names.md", Of::Marked);
}

#[test]
fn the_how_to_on_running_without_root_works() {
    follow(
        "the_how_to_on_running_without_root_works",
        "docs/how-to/run-without-root.md",
        Of::Marked,
    );
}

#[test]
fn the_guide_for_statsd_converts_its_example() {
    let test = "the_guide_for_statsd_converts_its_example";
    follow(test, "docs/migrating-from-statsd.md", Of::Marked);
}
