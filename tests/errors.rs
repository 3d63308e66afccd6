//! Error messages say what to do next.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::net::TcpListener;
use std::process::Stdio;

use common::tallyd;

/// Runs a command that must fail; returns the output of both streams.
fn said(arguments: &[&str]) -> String {
    let output = tallyd().args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(!output.status.success(), "{arguments:?} succeeds");
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

fn assert_says(arguments: &[&str], what: &str, next: &str) {
    let said = said(arguments);
    assert!(said.contains(what), "{arguments:?} does not say `{what}`: {said}");
    assert!(said.contains(next), "{arguments:?} does not say to `{next}`: {said}");
}

#[test]
fn an_unreadable_configuration_has_advice() {
    let folder = tempfile::tempdir().unwrap();
    let there = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (missing, folder_itself, latin1) = (there("none.yaml"), there(""), there("latin1.yaml"));
    fs::write(&latin1, b"agent: { tags: { city: K\xf6ln } }\n").unwrap();
    for command in ["run", "check", "spool", "explain"] {
        let with = |path| vec![command, "--config", path];
        assert_says(&with(&missing), "No such file", "correct --config");
        assert_says(&with(&folder_itself), "Is a directory", "name the file in it");
        assert_says(&with(&latin1), "UTF-8", "save it as UTF-8");
    }
}

/// Runs a command with a configuration file of this text.
fn with(text: &str, command: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tallyd.yaml");
    fs::write(&path, text.replace("DIR", folder.path().to_str().unwrap())).unwrap();
    said(&[command, &["--config", path.to_str().unwrap()]].concat())
}

#[test]
fn a_destination_that_does_not_answer_has_advice() {
    for (forwarders, what, next) in [
        ("file: { path: DIR/none/points }", "No such file", "create the folder"),
        ("file: { path: DIR }", "is a directory", "name a file in it"),
        ("graphite: { address: \"127.0.0.1:1\" }", "Connection refused", "nothing listens there"),
        (
            "graphite: { address: no-such-host.invalid }",
            "lookup",
            "this host does not know the name",
        ),
        (
            "influxdb: { url: \"http://127.0.0.1:1\", database: d }",
            "Connection refused",
            "nothing listens there",
        ),
        (
            "kafka: { kafka_broker: \"127.0.0.1:1\", kafka_topic: t }",
            "Connection refused",
            "nothing listens there",
        ),
        ("statsd: { address: DIR/none, transport: unix }", "No such file", "correct the path"),
    ] {
        let text = format!("state_dir: DIR/state\nforwarders: {{ {forwarders} }}\n");
        let said = with(&text, &["check", "--connect"]);
        assert!(said.contains(what) && said.contains(next), "{forwarders}: {said}");
    }
}

#[test]
fn an_address_in_use_has_advice() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let listener = "listeners: [{ transport: tcp, address: \"127.0.0.1:0\" }]\n";
    for (text, next) in [
        (
            format!("listeners: [{{ transport: tcp, address: \"{address}\" }}]\n"),
            "stop it or change",
        ),
        (format!("{listener}admin: {{ listen: \"{address}\" }}\n"), "change `admin: {listen}`"),
        (
            format!(
                "{listener}admin: {{ listen: none }}\nforwarders: {{ prometheus: {{ listen: \"{address}\" }} }}\n"
            ),
            "change `prometheus: {listen}`",
        ),
    ] {
        let said = with(&text, &["run"]);
        assert!(said.contains("Address already in use") && said.contains(next), "{text}: {said}");
    }
}

#[test]
fn two_sections_with_one_address_or_file_are_refused_at_their_position() {
    let udp = "listeners:\n  - address: \"127.0.0.1:9\"\n  - address: \"0.0.0.0:9\"\n";
    let tcp = "listeners: [{ transport: tcp, address: \"127.0.0.1:7\" }]\n";
    let page = |key: &str, listen: &str| {
        format!(
            "{tcp}admin: {{ listen: \"127.0.0.1:8\" }}\nforwarders: {{ {key}: {{ listen: \"{listen}\" }} }}\n"
        )
    };
    let pages = "bind_port: 0\nforwarders:\n  prometheus:\n    - {}\n    - name: second\n";
    let files =
        "forwarders:\n  file:\n    - path: DIR/points\n    - { name: b, path: DIR/./points }\n";
    let path = "transport: unix, path: DIR/socket";
    let unix = format!("listeners:\n  - {{ {path} }}\n  - {{ {path} }}\n");
    for (text, place, words) in [
        (
            udp,
            "3:5",
            "`listeners[1].address`: 0.0.0.0:9 is already an address of `listeners[0].address` (127.0.0.1:9) in line 2",
        ),
        (
            &page("prometheus", "127.0.0.1:8"),
            "3:29",
            "`forwarders.prometheus.listen`: 127.0.0.1:8 is already an address of `admin.listen` in line 2",
        ),
        (
            &page("prometheus", "127.0.0.1:7"),
            "3:29",
            "already an address of `listeners[0].address` in line 1",
        ),
        (
            "bind_port: 0\nforwarders: { prometheus: { listen: \"127.0.0.1:9495\" } }",
            "2:29",
            "already an address of `admin.listen`, a default",
        ),
        (
            "bind_port: 9\nlisteners: [{ address: \"127.0.0.1:9\" }]",
            "2:15",
            "already an address of `bind_port` in line 1",
        ),
        (
            pages,
            "5:7",
            "`forwarders.prometheus[1].listen`: 127.0.0.1:9494 is already an address of `forwarders.prometheus[0].listen` in line 4",
        ),
        (files, "4:18", "is already the file of `forwarders.file[0].path`"),
        (&unix, "3:24", "is already the file of `listeners[0].path` in line 2"),
    ] {
        for command in ["check", "run"] {
            let said = with(text, &[command]);
            assert!(said.contains(&format!("tallyd.yaml:{place}: ")), "{command} {text}: {said}");
            assert!(said.contains(words), "{command} {text}: {said}");
        }
    }
}

#[test]
fn all_mistakes_of_a_file_are_shown_at_once() {
    let text = "intervall: 10s\nlisteners:\n  - addres: \"127.0.0.1:9\"\nlog: { level: loud }\n";
    let said = with(text, &["check"]);
    for place in ["1:1: unknown key `intervall`", "3:5: unknown key", "4:15: `log.level`"] {
        assert!(said.contains(&format!("tallyd.yaml:{place}")), "{place}: {said}");
    }
    // Mistakes of several sections that fit their types.
    let text = "listeners:\n  - transport: tcp\n  - transport: unix\nforwarders:\n  prometheus: { listen: none }\n";
    let said = with(text, &["check"]);
    for place in ["2:5: `listeners[0].address` is missing", "3:5: `listeners[1].path`", "5:"] {
        assert!(said.contains(&format!("tallyd.yaml:{place}")), "{place}: {said}");
    }
}

#[test]
fn a_state_dir_that_cannot_be_written_fails_a_check_at_its_position() {
    let destination = "forwarders: { graphite: { address: \"127.0.0.1:1\" } }\n";
    let said = with(&format!("{destination}state_dir: /proc/nowhere\n"), &["check"]);
    assert!(said.contains("tallyd.yaml:2:1: `state_dir`: NO SPOOL"), "{said}");
    assert!(!said.contains(": good"), "{said}");
}

#[test]
fn a_socket_that_cannot_be_created_has_advice() {
    let listener = |path: &str| format!("listeners: [{{ transport: unix, path: {path} }}]\n");
    let said = with(&listener("DIR/none/socket"), &["run"]);
    assert!(said.contains("its folder does not exist: create it"), "{said}");
    let file = tempfile::NamedTempFile::new().unwrap();
    let said = with(&listener(file.path().to_str().unwrap()), &["run"]);
    assert!(said.contains("remove it or change the listener's `path`"), "{said}");
}

#[test]
fn a_daemon_that_does_not_answer_has_advice() {
    let nobody = "http://127.0.0.1:1";
    let metric = ["send", "--to", "127.0.0.1:1", "--verify", "--admin", nobody, "m", "counter"];
    assert_says(&metric, "Connection refused", "start a daemon with `tallyd run`");
    let stream = ["send", "--to", "tcp://127.0.0.1:1", "m", "counter"];
    assert_says(&stream, "Connection refused", "start one with `tallyd run`");
    let kamailio = ["kamailio", "unix:/nonexistent/ctl", "core.uptime"];
    assert_says(&kamailio, "No such file", "check that Kamailio is running");
}

#[test]
fn missing_input_has_advice() {
    assert_says(&["explain"], "no message", "give one as an argument");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tallyd.yaml");
    fs::write(&path, format!("state_dir: {}\n", folder.path().display())).unwrap();
    let config = path.to_str().unwrap();
    for command in ["show", "remove"] {
        let arguments = ["spool", command, "--config", config, "none.b"];
        assert_says(&arguments, "no such file in the spools", "`tallyd spool list`");
    }
    fs::write(&path, "agent: { tags: { rack: \"${TALLYD_TEST_NOT_SET}\" } }\n").unwrap();
    assert_says(&["check", "--config", config], "is not set", "give a default");
}

#[test]
fn output_that_cannot_be_written_is_an_error_and_a_reader_that_leaves_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tallyd.yaml");
    fs::write(&file, "bind_port: 0\nforwarders: { console: {} }\n").unwrap();
    let file = file.to_str().unwrap();
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/convert/pystatsd.conf");
    for command in [
        &["check", "--effective", "--config", file][..],
        &["spool", "--json", "--config", file],
        &["convert", "pystatsd", fixture],
        &["explain", "--config", file, r#"{"metric_name":"m","metric_type":"counter"}"#],
    ] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = tallyd().args(command).stdout(full).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{command:?}: {text}");
        assert!(text.contains("No space left on device"), "{command:?}: {text}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let status = tallyd().args(command).stdout(writer).stderr(Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(0), "{command:?}");
    }
}
