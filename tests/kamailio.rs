//! Kamailio, played from recordings: the command that calls a method.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

mod common;

use common::replay::{Answer, Replay, captures, payload};
use common::tallyd;

/// Exit status, standard output, standard error.
fn run(args: &[&str]) -> (i32, String, String) {
    let output = tallyd().arg("kamailio").args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_command_sends_and_prints_what_kamcmd_does() {
    let folder = tempfile::tempdir().unwrap();
    let replay = Replay::start(folder.path());
    let mut compared = 0;
    for recorded in ["", "idle", "big", "small_limits"] {
        for capture in captures(recorded) {
            replay.learn_one(&capture);
            let words = capture.command.split(' ');
            let args: Vec<&str> = std::iter::once(replay.unix.as_str()).chain(words).collect();
            let (status, printed, _) = run(&args);
            assert_eq!(printed, capture.printed, "{}", capture.name);
            let is_fault = payload(&capture.reply).0 == binrpc::Kind::Fault;
            assert_eq!(status, i32::from(is_fault), "{}", capture.name);
            assert_eq!(replay.last_request(), payload(&capture.request).1, "{}", capture.name);
            compared += 1;
        }
    }
    assert_eq!(compared, 79);
}

#[test]
fn the_command_prints_json() {
    let folder = tempfile::tempdir().unwrap();
    let replay = Replay::start(folder.path());
    replay.learn("");
    let json = |args: &[&str]| -> serde_json::Value {
        let args: Vec<&str> = [&[replay.tcp.as_str(), "--json"], args].concat();
        serde_json::from_str(&run(&args).1).unwrap()
    };
    let uptime = json(&["core.uptime"]);
    assert!(uptime[0]["uptime"].is_u64(), "{uptime}");
    let gateways = json(&["dispatcher.list"]);
    let first = &gateways[0]["RECORDS"][0]["SET"];
    assert_eq!(first["ID"], 2);
    assert_eq!(first["TARGETS"][0]["DEST"]["URI"], "sip:127.0.0.1:25463");
    // A set with one gateway looks like one with several.
    let second = &gateways[0]["RECORDS"][1]["SET"];
    assert_eq!(second["TARGETS"][0]["DEST"]["FLAGS"], "AP");
    assert_eq!(json(&["dmq.list_nodes"]).as_array().unwrap().len(), 2);
    let fault = json(&["no.such_method"]);
    assert_eq!(fault["error"]["code"], 500);
    assert_eq!(fault["error"]["message"], "command no.such_method not found");
}

#[test]
fn without_an_answer_the_command_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let replay = Replay::start(folder.path());
    let nowhere = format!("unix:{}/nowhere", folder.path().display());
    let (status, printed, said) = run(&[&nowhere, "core.uptime"]);
    assert_eq!((status, printed.as_str()), (1, ""));
    assert!(said.starts_with(&format!("cannot connect to {nowhere}: No such file")), "{said}");

    replay.answer(Answer::Hang);
    let (status, _, said) = run(&[&replay.unix, "core.uptime", "--timeout", "50ms"]);
    assert_eq!(status, 1);
    assert!(said.contains("gave no whole reply within 0.05s"), "{said}");

    let (status, _, said) = run(&["localhost", "core.uptime"]);
    assert_eq!(status, 2);
    assert!(said.contains("an endpoint is unix:/path"), "{said}");
}
