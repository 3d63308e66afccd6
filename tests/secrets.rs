//! Secrets never leak: every key that may hold one contains a canary, destinations repeat it in their
//! errors, and the tests search all output.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::thread;

use common::{Daemon, tallyd, write_config};
use forwarders::http::scripted::{ScriptedAnswer, ScriptedServer};
use tempfile::TempDir;

/// Every secret contains this text, and nothing else does.
const CANARY: &str = "CANARY";

/// A server that refuses all requests and repeats each in its response.
fn parrot() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let Ok(mut connection) = connection else { return };
            let mut request = [0; 4096];
            let Ok(length) = connection.read(&mut request) else { continue };
            let body = &request[..length];
            let head =
                format!("HTTP/1.1 401 No\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
            let _gone =
                connection.write_all(head.as_bytes()).and_then(|()| connection.write_all(body));
        }
    });
    address
}

/// A server of gRPC that refuses all calls, and repeats the credentials in its response.
fn grpc_parrot() -> SocketAddr {
    let server = ScriptedServer::start_http2(None, |_, call| {
        let credentials = call.header("authorization").unwrap_or("none").to_owned();
        let headers = [("grpc-status", "16".to_owned()), ("grpc-message", credentials)];
        ScriptedAnswer::Reply(200, headers.to_vec(), Vec::new())
    });
    server.address
}

/// A configuration with a secret in every key that may hold one, from every kind of source.
fn config(folder: &TempDir, parrot: SocketAddr) -> String {
    let grpc_parrot = grpc_parrot();
    fs::write(folder.path().join("secret"), "CANARY-file\n").unwrap();
    format!(
        "interval: 100ms\nlog: {{ format: json, level: trace }}\nself_metrics: true\nforwarders:\n  influxdb:\n    \
         - {{ name: v1, url: \"http://{parrot}\", database: d, username: u, password: CANARY-literal }}\n    \
         - {{ name: v2, url: \"http://{parrot}\", version: 2, org: o, bucket: b, token: \"${{CANARY_TOKEN}}\" }}\n    \
         - {{ name: v3, url: \"http://{parrot}\", version: 3, database: d, token: \"${{file:DIR/secret}}\" }}\n  \
         prometheus:\n    listen: 127.0.0.1:0\n    remote_write:\n      url: \"http://{parrot}/write\"\n      \
         username: u\n      password: ${{credential:secret}}\n      headers: {{ X-Api-Token: CANARY-header }}\n  \
         otlp:\n    - {{ name: o1, endpoint: \"http://{parrot}\", headers: {{ X-Api-Token: CANARY-otlp }} }}\n    \
         - {{ name: o2, endpoint: \"grpc://{grpc_parrot}\", headers: {{ authorization: \"${{CANARY_TOKEN}}\" }} }}\n  \
         kafka:\n    kafka_broker: 127.0.0.1:1\n    kafka_topic: t\n    kafka_apikey: CANARY-apikey\n    \
         delivery: {{ timeout: 1s }}\n    librdkafka: {{ security.protocol: SASL_PLAINTEXT, \
         sasl.mechanism: PLAIN, sasl.username: u, sasl.password: CANARY-sasl }}\n"
    )
}

fn environment(command: &mut Command, folder: &TempDir) {
    command.env("CANARY_TOKEN", "CANARY-environment").env("CREDENTIALS_DIRECTORY", folder.path());
}

/// The output of a command on both streams.
fn printed(folder: &TempDir, args: &[&str]) -> String {
    let mut command = tallyd();
    environment(&mut command, folder);
    let output = command.args(args).stdin(Stdio::null()).output().unwrap();
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}

#[track_caller]
fn assert_silent(what: &str, text: &str) {
    let found = text.find(CANARY).map(|at| &text[at.saturating_sub(80)..(at + 80).min(text.len())]);
    // The name of the environment variable is not secret.
    let found = found.filter(|_| text.replace("CANARY_TOKEN", "").contains(CANARY));
    assert_eq!(found, None, "{what} shows a secret");
    // Nor encoded as in a header.
    for encoded in ["dTpDQU5BUlk", "VENBTkFSWQ"] {
        assert!(!text.contains(encoded), "{what} shows a secret in base 64: {text}");
    }
}

#[test]
fn no_secret_is_in_the_log_the_endpoint_or_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let text = config(&folder, parrot());
    let path = write_config(&folder, &text);
    let file = path.to_str().unwrap().to_owned();
    let mut run = tallyd();
    run.args(["run", "--config", &file]).stdin(Stdio::null());
    environment(&mut run, &folder);
    let daemon = Daemon::start_command(folder, &mut run);
    daemon.send(r#"{"metric_name":"m","metric_type":"counter"}"#);
    daemon.send("nonsense");
    daemon.wait_for("all to have failed", |status| {
        let mut forwarders = status["forwarders"].as_object().unwrap().iter();
        forwarders.all(|(name, one)| name == "prometheus" || one["last_error"].is_string())
    });
    let refusal = daemon.status()["forwarders"]["o2"]["last_error"].to_string();
    assert!(refusal.contains("UNAUTHENTICATED") && refusal.contains("***"), "{refusal}");
    for path in [
        "/",
        "/healthz",
        "/readyz",
        "/metrics",
        "/api/v1/status",
        "/api/v1/rejected",
        "/api/v1/history",
        "/api/v1/reload",
    ] {
        assert_silent(path, &daemon.get(path).1);
    }
    // A reload that changes secrets, and one that is refused at the position of a secret.
    let status = daemon.reload(&text.replace("CANARY-literal", "CANARY-other"));
    assert!(
        status["reload"]["last"]["changes"].to_string().contains("password: ***"),
        "{status:#}"
    );
    assert_silent("the status", &status.to_string());
    for wrong in [
        text.replace("password: CANARY-literal", "password: [CANARY-list]"),
        text.replace("password: CANARY-literal", "pasword: CANARY-typo, password: x"),
        text.replace("password: CANARY-literal }", "password: CANARY-open"),
        text.replace("token: \"${CANARY_TOKEN}\"", "token: \"${CANARY-nonsense}\""),
    ] {
        let status = daemon.reload(&wrong);
        assert!(status["reload"]["last"]["error"].is_string(), "{wrong}");
        assert_silent("a refusal", &status.to_string());
    }
    let proc = fs::read(format!("/proc/{}/cmdline", daemon.pid())).unwrap();
    assert_silent("the command line", &String::from_utf8_lossy(&proc));
    let stopped = daemon.stop();
    assert!(stopped.log.len() > 10, "trace says much");
    for line in &stopped.log {
        assert_silent("the log", &line.to_string());
    }
    assert_silent("standard output", &stopped.stdout);
}

#[test]
fn no_error_about_a_broken_file_shows_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    for text in [
        "admin: {users: {alice: CANARY}\ninterval: 1s\n",
        "admin:\n  users: {alice: \"CANARY, bob: x}\n",
        "admin:\n  users:\n alice: CANARY\n",
        "admin:\n  users:\n    alice: x\n   bob: CANARY\n",
        "admin:\n  users:\n    alice: x\n  bob: CANARY: y\n",
        // Valid YAML, in which the user is a key of the section.
        "admin:\n  users:\n  alice: CANARY\n",
        "admin:\n  users:\nalice: CANARY\n",
        "admin:\n  users:\n    alice:\n  bob: {x: CANARY}\n",
        "admin:\n  tokens:\n  CANARY-0123456789\n  listen: none\n",
        "forwarders:\n  kafka:\n    kafka_apikey:\n    CANARY\n    kafka_topic: t\n",
        "forwarders:\n  kafka:\n    kafka_apikey: !CANARY\n",
        "forwarders:\n  otlp:\n    headers:\n   X-Key: CANARY\n",
        "listeners:\n  - secret: 'CANARY\n    CANARY: it's\n",
        // Misspelt, and users that are named like a key of the section.
        "admin: {usres: {alice: CANARY}}\n",
        "admin:\n  tokns: [CANARY-0123456789]\n",
        "admin:\n  users:\n  host: CANARY\n",
        "admin:\n  users:\n  kafka: CANARY\n",
    ] {
        let file = write_config(&folder, text).to_str().unwrap().to_owned();
        let said = printed(&folder, &["check", "--config", &file]);
        assert!(said.contains("tallyd.yaml:") && said.contains(" | "), "{text}: {said}");
        assert_silent(text, &said);
    }
}

#[test]
fn no_command_prints_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let text = config(&folder, parrot());
    let file = write_config(&folder, &text).to_str().unwrap().to_owned();
    let message = r#"{"metric_name":"m","metric_type":"counter"}"#;
    for args in [
        &["check", "--config", &file][..],
        &["check", "--config", &file, "--connect"],
        &["check", "--config", &file, "--diff", "--admin", "127.0.0.1:1"],
        &["explain", "--config", &file, message],
        &["explain", "--config", &file, "--json", message],
        &["reload", "--config", &file, "--admin", "127.0.0.1:1"],
        &["send", "--config", &file, message],
        &["spool", "--config", &file],
    ] {
        let said = printed(&folder, args);
        assert!(!said.is_empty(), "{args:?}");
        assert_silent(&format!("{args:?}"), &said);
    }
    let wrong =
        text.replace("password: CANARY-literal", "password: CANARY-literal, passwrd: CANARY-2");
    let file = write_config(&folder, &wrong).to_str().unwrap().to_owned();
    for command in ["run", "check", "explain", "spool"] {
        let said = printed(&folder, &[command, "--config", &file]);
        assert!(said.contains("passwrd"), "{said}");
        assert_silent(command, &said);
    }
}
