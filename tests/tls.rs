//! TLS on `tcp` listeners: clients with and without certificates, the limits on handshakes, and reloads.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::pki::{Pki, client_connection};
use common::{Daemon, PATIENCE, Stopped, assert_balanced, tallyd, total};
use forwarders::testing::real_server;
use serde_json::{Value, json};
use tempfile::TempDir;

const TO_FILE: &str = "interval: 1s\nforwarders: { file: { path: DIR/out, format: json } }\n";
const COUNTER: &str = "{\"metric_name\":\"m\",\"metric_type\":\"counter\"}\n";
/// The keys of a listener that requires certificates of the authority.
const MUTUAL: &str =
    "cert_file: DIR/server.pem, key_file: DIR/server.key, client_ca_file: DIR/ca.pem";

/// A folder with an authority `ca`, and certificates for `server` and `client`.
fn pki() -> (TempDir, Pki) {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(folder.path(), "ca");
    pki.issue("server");
    pki.issue("client");
    (folder, pki)
}

/// A configuration with a listener with these keys of `tls`.
fn config(keys: &str) -> String {
    format!(
        "listeners: [{{ transport: tcp, address: \"127.0.0.1:0\", tls: {{ {keys} }} }}]\n\
         bind_port: 0\n{TO_FILE}"
    )
}

/// A daemon that requires certificates, with more keys of `tls`.
fn mutual(more: &str) -> (Daemon, Pki) {
    let (folder, pki) = pki();
    (Daemon::start_in(folder, &config(&format!("{MUTUAL}{more}"))), pki)
}

fn listener(status: &Value) -> &Value {
    let mut listeners = status["listeners"].as_array().unwrap().iter();
    listeners.find(|one| one["listener"].as_str().unwrap().starts_with("json/tcp ")).unwrap()
}

fn failed(status: &Value, reason: &str) -> u64 {
    listener(status)["tls"]["handshakes"]["failed"][reason].as_u64().unwrap_or_default()
}

/// Waits until this many handshakes have failed for a reason, and checks the sums.
fn wait_failed(daemon: &Daemon, reason: &str, number: u64) -> Value {
    let status = daemon
        .wait_for(&format!("{number} of {reason}"), |status| failed(status, reason) >= number);
    assert_eq!(failed(&status, reason), number, "{status:#}");
    let tls = &listener(&status)["tls"]["handshakes"];
    let sum: u64 = tls["failed"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    let others = tls["open"].as_u64().unwrap() + tls["completed"].as_u64().unwrap();
    assert_eq!(tls["begun"].as_u64().unwrap(), sum + others, "{tls:#}");
    status
}

/// Waits until connections have been closed for these reasons.
fn wait_ended(daemon: &Daemon, reasons: &Value) -> Value {
    let what = format!("closed connections: {reasons}");
    daemon.wait_for(&what, |status| listener(status)["connections"]["closed"] == *reasons)
}

/// The messages of the log that contain all of these words.
fn logged<'a>(stopped: &'a Stopped, words: &[&str]) -> Vec<&'a Value> {
    let has = |line: &&Value| words.iter().all(|word| line.to_string().contains(word));
    stopped.log.iter().filter(has).collect()
}

/// Waits until the daemon closes a connection.
fn wait_closed(mut stream: &TcpStream) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) => {
            let is_end =
                [ErrorKind::ConnectionReset, ErrorKind::InvalidData, ErrorKind::BrokenPipe];
            assert!(is_end.contains(&error.kind()), "the connection was not closed: {error:?}");
        }
    }
}

#[test]
fn samples_of_a_client_with_a_certificate_are_recorded() {
    let (daemon, pki) = mutual("");
    let mut client = pki.connect(daemon.address("json/tcp "), Some("client"));
    client.write_all(COUNTER.repeat(3).as_bytes()).unwrap();
    client.flush().unwrap();
    let status = daemon.wait_received(3);
    let tls = &listener(&status)["tls"];
    let expected = json!({"open": 0, "begun": 1, "completed": 1, "failed": {}});
    assert_eq!(tls["handshakes"], expected);
    assert_eq!(tls["certificate"]["names"], "CN=server, DNS:localhost, IP:127.0.0.1");
    assert_eq!(tls["certificate"]["not_after"], "4096-01-01T00:00:00.000Z");
    assert_eq!(listener(&status)["bytes"], COUNTER.len() * 3);
    // A last line without an end, ended by the alert that closes a connection.
    client.write_all(COUNTER.trim_end().as_bytes()).unwrap();
    client.conn.send_close_notify();
    client.flush().unwrap();
    daemon.wait_received(4);
    let status = wait_ended(&daemon, &json!({"by_peer": 1}));
    assert_balanced(&status);
    assert_eq!(total(&daemon.stop().points("out"), "m", "count"), 4.0);
}

#[test]
fn without_authorities_every_client_is_accepted() {
    let (folder, pki) = pki();
    let keys = "cert_file: DIR/server.pem, key_file: DIR/server.key";
    let daemon = Daemon::start_in(folder, &config(keys));
    for identity in [None, Some("client")] {
        let mut client = pki.connect(daemon.address("json/tcp "), identity);
        client.write_all(COUNTER.as_bytes()).unwrap();
        client.flush().unwrap();
    }
    daemon.wait_received(2);
    assert_eq!(total(&daemon.stop().points("out"), "m", "count"), 2.0);
}

#[test]
fn a_client_is_refused_for_its_certificate_with_the_names_in_the_log() {
    let (daemon, pki) = mutual("");
    let folder = tempfile::tempdir().unwrap();
    let stranger = Pki::new(folder.path(), "stranger");
    stranger.issue("other");
    for name in ["other.pem", "other.key"] {
        fs::copy(stranger.path(name), pki.path(name)).unwrap();
    }
    pki.issue_expired("expired");
    let address = daemon.address("json/tcp ");
    for (identity, reason, number, alert) in [
        (None, "no_certificate", 1, "CertificateRequired"),
        (Some("other"), "bad_certificate", 1, "UnknownCA"),
        (Some("expired"), "bad_certificate", 2, "CertificateExpired"),
    ] {
        let mut client = pki.connect(address, identity);
        // With TLS 1.3 the client may send before the daemon has seen its certificate.
        let _sent = client.write_all(COUNTER.as_bytes()).and_then(|()| client.flush());
        let refused = client.read_to_end(&mut Vec::new()).unwrap_err();
        assert!(refused.to_string().contains(alert), "{identity:?}: {refused}");
        wait_failed(&daemon, reason, number);
    }
    // A client that trusts another authority does not send to this daemon.
    let mut client = stranger.connect(address, None);
    assert!(client.write_all(COUNTER.as_bytes()).and_then(|()| client.flush()).is_err());
    wait_failed(&daemon, "rejected", 1);
    let status = wait_ended(&daemon, &json!({"handshake": 4}));
    assert_eq!(
        (&status["ledger"]["received"], &listener(&status)["bytes"]),
        (&json!(0), &json!(0))
    );
    let stopped = daemon.stop();
    assert_eq!(logged(&stopped, &["client sent no certificate", "127.0.0.1"]).len(), 1);
    let names = ["CN=other", "DNS:localhost", "no certificate in `client_ca_file` issued it"];
    assert_eq!(logged(&stopped, &names).len(), 1, "{:#?}", stopped.log);
    assert_eq!(logged(&stopped, &["the client does not accept the certificate"]).len(), 1);
}

#[test]
fn a_client_without_tls_is_closed_and_named() {
    let (daemon, _) = mutual("");
    let address = daemon.address("json/tcp ");
    let mut plain = TcpStream::connect(address).unwrap();
    plain.write_all(COUNTER.as_bytes()).unwrap();
    wait_closed(&plain);
    wait_failed(&daemon, "not_tls", 1);
    // TLS by its first bytes, and garbage after them.
    let mut garbage = TcpStream::connect(address).unwrap();
    garbage.write_all(b"\x16\x03\x01\x00\x05garbage garbage").unwrap();
    wait_closed(&garbage);
    wait_failed(&daemon, "protocol", 1);
    // As the health check of a load balancer.
    drop(TcpStream::connect(address).unwrap());
    wait_failed(&daemon, "closed", 1);
    let status = wait_ended(&daemon, &json!({"handshake": 2, "by_peer": 1}));
    assert_eq!(status["ledger"]["received"], 0);
    let stopped = daemon.stop();
    assert_eq!(logged(&stopped, &["not TLS: enable TLS there", "metric_name"]).len(), 1);
    assert_eq!(logged(&stopped, &["TLS handshakes failed"]).len(), 2, "{:#?}", stopped.log);
}

#[test]
fn a_tls_client_of_a_plain_listener_gets_advice() {
    let daemon = Daemon::start(&format!(
        "listeners: [{{ transport: tcp, address: \"127.0.0.1:0\" }}]\nbind_port: 0\n{TO_FILE}"
    ));
    let mut plain = TcpStream::connect(daemon.address("json/tcp ")).unwrap();
    plain.write_all(b"\x16\x03\x01\x02\x00\x01\x00\n").unwrap();
    daemon.wait_received(1);
    let rejected = daemon.get("/api/v1/rejected").1;
    assert!(rejected.contains("looks like a TLS handshake"), "{rejected}");
}

#[test]
fn a_handshake_may_arrive_byte_by_byte() {
    let (daemon, pki) = mutual("");
    let mut socket = TcpStream::connect(daemon.address("json/tcp ")).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut client = client_connection(pki.client(Some("client")));
    client.writer().write_all(COUNTER.as_bytes()).unwrap();
    loop {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        for byte in wire {
            socket.write_all(&[byte]).unwrap();
        }
        if !client.is_handshaking() {
            break;
        }
        client.read_tls(&mut socket).unwrap();
        client.process_new_packets().unwrap();
    }
    let status = daemon.wait_received(1);
    assert_eq!(status["ledger"]["aggregated"], 1);
}

#[test]
fn a_slow_handshake_times_out_and_others_go_on() {
    let (daemon, pki) = mutual(", handshake_timeout: 300ms");
    let address = daemon.address("json/tcp ");
    let begun = Instant::now();
    let silent = TcpStream::connect(address).unwrap();
    let mut slow = TcpStream::connect(address).unwrap();
    slow.write_all(&[0x16, 3, 1]).unwrap();
    let mut client = pki.connect(address, Some("client"));
    client.write_all(COUNTER.as_bytes()).unwrap();
    client.flush().unwrap();
    daemon.wait_received(1);
    wait_closed(&silent);
    wait_closed(&slow);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    wait_failed(&daemon, "timeout", 2);
    let status = wait_ended(&daemon, &json!({"handshake": 2}));
    assert_eq!(listener(&status)["connections"]["open"], 1);
    client.write_all(COUNTER.as_bytes()).unwrap();
    client.flush().unwrap();
    daemon.wait_received(2);
    let stopped = daemon.stop();
    assert_eq!(logged(&stopped, &["`tls.handshake_timeout` (300ms)"]).len(), 1);
}

#[test]
fn a_client_gets_through_although_all_handshakes_are_taken() {
    let (daemon, pki) = mutual(", max_handshakes: 3, handshake_timeout: 10m");
    let address = daemon.address("json/tcp ");
    let mut silent: Vec<_> = (0..5).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut client = pki.connect(address, Some("client"));
    client.write_all(COUNTER.as_bytes()).unwrap();
    client.flush().unwrap();
    let status = daemon.wait_received(1);
    // The oldest made room for the two silent ones after the third, and one for the client.
    assert_eq!(failed(&status, "too_many"), 3, "{status:#}");
    let handshakes = &listener(&status)["tls"]["handshakes"];
    assert_eq!((&handshakes["open"], &handshakes["completed"]), (&json!(2), &json!(1)));
    for gone in silent.drain(..3) {
        wait_closed(&gone);
    }
    let stopped = daemon.stop();
    assert_eq!(logged(&stopped, &["`tls.max_handshakes` were in progress"]).len(), 1);
}

#[test]
fn a_line_without_an_end_counts_only_if_the_client_ends_its_session() {
    let (daemon, pki) = mutual("");
    let address = daemon.address("json/tcp ");
    let whole = COUNTER.trim_end();
    // An attacker on the path can close the connection after any byte, but cannot forge the alert that ends
    // the session. Many clients do not send it either.
    for (number, text) in [whole, &whole[..20]].into_iter().enumerate() {
        let mut client = pki.connect(address, Some("client"));
        client.write_all(text.as_bytes()).unwrap();
        client.flush().unwrap();
        client.sock.shutdown(Shutdown::Write).unwrap();
        let status = daemon.wait_received(number as u64 + 1);
        let expected = json!({"unfinished": number + 1});
        assert_eq!(status["ledger"]["rejected"], expected, "{status:#}");
    }
    let mut client = pki.connect(address, Some("client"));
    client.write_all(whole.as_bytes()).unwrap();
    client.conn.send_close_notify();
    client.flush().unwrap();
    let status = daemon.wait_received(3);
    assert_eq!(status["ledger"]["aggregated"], 1, "{status:#}");
    wait_ended(&daemon, &json!({"by_peer": 3}));
    // A stop of the daemon cuts a line, which is then rejected.
    let mut client = pki.connect(address, Some("client"));
    client.write_all(format!("{COUNTER}{}", &whole[..20]).as_bytes()).unwrap();
    client.flush().unwrap();
    daemon.wait_received(4);
    let stopped = daemon.stop();
    assert_eq!(total(&stopped.points("out"), "m", "count"), 2.0);
    let ledger = logged(&stopped, &["unfinished"]);
    assert!(!ledger.is_empty(), "{:#?}", stopped.log);
    // The daemon says goodbye.
    assert_eq!(client.read_to_end(&mut Vec::new()).unwrap(), 0);
}

#[test]
fn a_handshake_that_a_busy_daemon_has_not_read_in_time_completes() {
    // Long enough for a busy host to get to the reply of the daemon.
    let timeout = Duration::from_secs(15);
    let (folder, pki) = pki();
    // The connection to the admin endpoint outlives the pause too.
    let admin = "\nadmin: { listen: \"127.0.0.1:0\", request_timeout: 10m }\n";
    let config = config(&format!("{MUTUAL}, handshake_timeout: 15s"));
    let daemon = Daemon::start_in(folder, &format!("{config}{admin}"));
    let mut socket = TcpStream::connect(daemon.address("json/tcp ")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut client = client_connection(pki.client(Some("client")));
    client.writer().write_all(COUNTER.as_bytes()).unwrap();
    // To the reply of the daemon, which then waits for the rest.
    while client.is_handshaking() {
        while client.wants_write() {
            client.write_tls(&mut socket).unwrap();
        }
        client.read_tls(&mut socket).unwrap();
        client.process_new_packets().unwrap();
    }
    daemon.signal("STOP");
    while client.wants_write() {
        client.write_tls(&mut socket).unwrap();
    }
    std::thread::sleep(timeout);
    daemon.signal("CONT");
    let status = daemon.wait_received(1);
    let expected = json!({"open": 0, "begun": 1, "completed": 1, "failed": {}});
    assert_eq!(listener(&status)["tls"]["handshakes"], expected);
}

#[test]
fn a_handshake_whose_connection_makes_room_counts_as_one_of_too_many() {
    for (key, reason, closed) in
        [("max_connections: 1", "too_many", "evicted"), ("idle_timeout: 1s", "timeout", "idle")]
    {
        let (folder, _) = pki();
        let config = config(&format!("{MUTUAL}, handshake_timeout: 10m"));
        let config = config.replace("transport: tcp,", &format!("transport: tcp, {key},"));
        let daemon = Daemon::start_in(folder, &config);
        let address = daemon.address("json/tcp ");
        let silent = TcpStream::connect(address).unwrap();
        let other = (closed == "evicted").then(|| TcpStream::connect(address).unwrap());
        wait_closed(&silent);
        wait_failed(&daemon, reason, 1);
        wait_ended(&daemon, &json!({closed: 1}));
        drop(other);
    }
}

#[test]
fn garbage_after_the_handshake_closes_the_connection() {
    let (daemon, pki) = mutual("");
    let mut client = pki.connect(daemon.address("json/tcp "), Some("client"));
    client.write_all(format!("{COUNTER}{{").as_bytes()).unwrap();
    client.flush().unwrap();
    daemon.wait_received(1);
    client.sock.write_all(b"\x17\x03\x03\x00\x20garbage garbage garbage garbage!").unwrap();
    daemon.wait_received(2);
    let status = wait_ended(&daemon, &json!({"failed": 1}));
    assert_eq!(status["ledger"]["rejected"], json!({"unfinished": 1}));
    let stopped = daemon.stop();
    assert_eq!(logged(&stopped, &["TLS connections failed"]).len(), 1);
}

#[test]
fn a_reload_reads_renewed_certificates_and_keeps_connections() {
    let (daemon, pki) = mutual("");
    let address = daemon.address("json/tcp ");
    let mut old = pki.connect(address, Some("client"));
    old.write_all(COUNTER.as_bytes()).unwrap();
    old.flush().unwrap();
    daemon.wait_received(1);
    let first = old.conn.peer_certificates().unwrap()[0].clone();

    // The same authority renews the server's certificate.
    pki.issue("server");
    let status = daemon.reload(&config(MUTUAL));
    assert_eq!(status["reload"]["applied"], 1, "{status:#}");
    let mut new = pki.connect(address, Some("client"));
    new.write_all(COUNTER.as_bytes()).unwrap();
    new.flush().unwrap();
    assert_ne!(new.conn.peer_certificates().unwrap()[0], first);
    old.write_all(COUNTER.as_bytes()).unwrap();
    old.flush().unwrap();
    daemon.wait_received(3);

    // A new authority: clients of the previous one are refused.
    let renewed = Pki::new(&pki.path(""), "ca");
    renewed.issue("server");
    renewed.issue("new-client");
    daemon.reload(&config(MUTUAL));
    let mut client = renewed.connect(address, Some("new-client"));
    client.write_all(COUNTER.as_bytes()).unwrap();
    client.flush().unwrap();
    daemon.wait_received(4);
    let mut client = renewed.connect(address, Some("client"));
    let _sent = client.write_all(COUNTER.as_bytes()).and_then(|()| client.flush());
    assert!(client.read_to_end(&mut Vec::new()).is_err());
    wait_failed(&daemon, "bad_certificate", 1);
    old.write_all(COUNTER.as_bytes()).unwrap();
    old.flush().unwrap();
    daemon.wait_received(5);
    let stopped = daemon.stop();
    assert_eq!(logged(&stopped, &["new certificates are used", "CN=server"]).len(), 2);
    assert_eq!(total(&stopped.points("out"), "m", "count"), 5.0);
}

#[test]
fn a_reload_with_a_bad_file_is_refused_and_the_old_certificates_stay() {
    let (daemon, pki) = mutual("");
    let address = daemon.address("json/tcp ");
    fs::write(pki.path("server.key"), "nonsense").unwrap();
    let status = daemon.reload(&config(MUTUAL));
    let error = status["reload"]["last"]["error"].as_str().unwrap().to_owned();
    assert!(
        error.contains("`listeners[0].tls.key_file`") && error.contains("server.key"),
        "{error}"
    );
    assert!(error.contains("the file contains no PEM private key"), "{error}");
    let mut client = pki.connect(address, Some("client"));
    client.write_all(COUNTER.as_bytes()).unwrap();
    client.flush().unwrap();
    daemon.wait_received(1);
}

#[test]
fn a_reload_adds_tls_to_a_listener_and_removes_it() {
    let (folder, pki) = pki();
    let plain = config(MUTUAL).replace(&format!(", tls: {{ {MUTUAL} }}"), "");
    let daemon = Daemon::start_in(folder, &plain);
    let address = daemon.address("json/tcp ");
    let mut first = TcpStream::connect(address).unwrap();
    first.write_all(COUNTER.as_bytes()).unwrap();
    daemon.wait_received(1);
    assert_eq!(listener(&daemon.status())["tls"], Value::Null);
    daemon.reload(&config(MUTUAL));
    let mut second = pki.connect(address, Some("client"));
    second.write_all(COUNTER.as_bytes()).unwrap();
    second.flush().unwrap();
    first.write_all(COUNTER.as_bytes()).unwrap();
    daemon.wait_received(3);
    let status = daemon.reload(&plain);
    assert_eq!(listener(&status)["tls"]["certificate"], Value::Null);
    let mut third = TcpStream::connect(address).unwrap();
    third.write_all(COUNTER.as_bytes()).unwrap();
    second.write_all(COUNTER.as_bytes()).unwrap();
    second.flush().unwrap();
    daemon.wait_received(5);
    assert_eq!(total(&daemon.stop().points("out"), "m", "count"), 5.0);
}

#[test]
fn check_reports_unusable_files_at_their_keys_and_warns_of_expired_certificates() {
    let (folder, pki) = pki();
    let check = |keys: &str| {
        let path = common::write_config(&folder, &config(keys));
        let checked =
            tallyd().args(["check", "--config", path.to_str().unwrap()]).output().unwrap();
        let text = String::from_utf8_lossy(&checked.stderr).into_owned()
            + &String::from_utf8_lossy(&checked.stdout);
        (checked.status.code(), text)
    };
    assert_eq!(check(MUTUAL).0, Some(0), "{}", check(MUTUAL).1);
    pki.issue("stranger");
    for (keys, expected) in [
        (MUTUAL.replace("server.pem", "none.pem"), ["tls.cert_file`", "No such file"]),
        (MUTUAL.replace("server.key", "stranger.key"), ["tls.key_file`", "not the key of"]),
        (MUTUAL.replace("ca.pem", "server.key"), ["tls.client_ca_file`", "no PEM certificate"]),
        ("cert_file: DIR/server.pem".to_owned(), ["tls.key_file`", "is missing"]),
        (format!("{MUTUAL}, max_handshakes: 0"), ["max_handshakes", "between 1 and 65536"]),
        (
            format!("{MUTUAL}, handshake_timeout: 1h"),
            ["handshake_timeout", "between 100ms and 10m"],
        ),
    ] {
        let (status, text) = check(&keys);
        assert_eq!(status, Some(1), "{text}");
        assert!(expected.iter().all(|words| text.contains(words)), "{text}");
    }
    pki.issue_expired("server");
    let (status, text) = check(MUTUAL);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("the certificate has expired"), "{text}");
    let udp = config(MUTUAL).replace("transport: tcp", "transport: udp");
    let path = common::write_config(&folder, &udp);
    let checked = tallyd().args(["check", "--config", path.to_str().unwrap()]).output().unwrap();
    let text = String::from_utf8_lossy(&checked.stderr);
    assert!(text.contains("`listeners[0].tls` cannot be used with `transport: udp`"), "{text}");
}

#[test]
fn openssl_sends_with_each_version() {
    let (daemon, pki) = mutual("");
    let address = daemon.address("json/tcp ");
    for (number, version) in ["-tls1_2", "-tls1_3"].into_iter().enumerate() {
        let mut openssl = Command::new("openssl")
            .args(["s_client", "-quiet", "-verify_return_error", version, "-CAfile"])
            .arg(pki.path("ca.pem"))
            .arg("-cert")
            .arg(pki.path("client.pem"))
            .arg("-key")
            .arg(pki.path("client.key"))
            .args(["-connect", &address.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut input = openssl.stdin.take().unwrap();
        input.write_all(COUNTER.as_bytes()).unwrap();
        daemon.wait_received(number as u64 + 1);
        drop(input);
        openssl.kill().unwrap();
        openssl.wait().unwrap();
    }
    assert_eq!(daemon.status()["ledger"]["aggregated"], 2);
}

#[test]
fn python_sends_many_lines_and_closes() {
    const PROGRAM: &str = r#"
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2] + "/ca.pem")
context.load_cert_chain(sys.argv[2] + "/client.pem", sys.argv[2] + "/client.key")
raw = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
with context.wrap_socket(raw, server_hostname="localhost") as connection:
    line = b'{"metric_name":"m","metric_type":"counter"}\n'
    for _ in range(100):
        connection.sendall(line * 1000)
"#;
    let (daemon, pki) = mutual("");
    let port = daemon.address("json/tcp ").port().to_string();
    let folder = pki.path("");
    let python = Command::new("python3").args(["-c", PROGRAM, &port]).arg(folder).output().unwrap();
    assert!(python.status.success(), "{}", String::from_utf8_lossy(&python.stderr));
    // It has closed its connection with data on its way.
    let status = daemon.wait_received(100_000);
    assert_eq!(listener(&status)["tls"]["handshakes"]["completed"], 1);
    assert_balanced(&status);
    assert_eq!(total(&daemon.stop().points("out"), "m", "count"), 100_000.0);
}

/// A Telegraf that is killed when dropped.
struct Telegraf(Child);

impl Drop for Telegraf {
    fn drop(&mut self) {
        let _has_ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Uses the real Telegraf that `tests/servers/telegraf.sh` builds.
#[test]
fn telegraf_sends_with_its_certificate() {
    let Some(program) = real_server("TALLYD_TEST_TELEGRAF_PROGRAM") else { return };
    let (daemon, pki) = mutual("");
    let input = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let path = |name: &str| pki.path(name).display().to_string();
    let agent = format!(
        "[agent]\n  interval = \"1s\"\n  flush_interval = \"100ms\"\n  omit_hostname = true\n\
         [[inputs.statsd]]\n  service_address = \"{input}\"\n\
         [[outputs.socket_writer]]\n  address = \"tcp://localhost:{}\"\n  tls_ca = \"{}\"\n  \
         tls_cert = \"{}\"\n  tls_key = \"{}\"\n  data_format = \"template\"\n  \
         template = \"{{\\\"metric_name\\\":\\\"{{{{.Name}}}}\\\",\\\"metric_type\\\":\\\"counter\\\"}}\\n\"\n",
        daemon.address("json/tcp ").port(),
        path("ca.pem"),
        path("client.pem"),
        path("client.key"),
    );
    fs::write(pki.path("telegraf.conf"), agent).unwrap();
    let telegraf = Command::new(program)
        .args(["--config", &path("telegraf.conf")])
        .stdout(Stdio::null())
        .stderr(fs::File::create(pki.path("telegraf.log")).unwrap())
        .spawn()
        .unwrap();
    let _telegraf = Telegraf(telegraf);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    let deadline = Instant::now() + PATIENCE;
    // It reads its socket some time after the start.
    while daemon.status()["ledger"]["received"] == 0 {
        let _is_received = client.send_to(b"logins:1|c", input);
        assert!(Instant::now() < deadline, "{}", fs::read_to_string(path("telegraf.log")).unwrap());
        std::thread::sleep(Duration::from_millis(50));
    }
    let status = daemon.status();
    assert_eq!(status["ledger"]["aggregated"], status["ledger"]["received"], "{status:#}");
    assert_eq!(listener(&status)["tls"]["handshakes"]["completed"], 1);
    assert!(total(&daemon.stop().points("out"), "logins", "count") >= 1.0);
}

#[test]
fn tallyd_send_reports_the_alert_of_a_connection_that_is_closed_already() {
    let (daemon, pki) = mutual("");
    let to = format!("tcp://{}", daemon.address("json/tcp "));
    let mut command = tallyd();
    command.args(["send", "-", "--to", &to, "--tls-ca"]).arg(pki.path("ca.pem"));
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The daemon refuses the missing certificate after the client has finished its handshake.
    wait_failed(&daemon, "no_certificate", 1);
    wait_ended(&daemon, &json!({"handshake": 1}));
    let mut input = child.stdin.take().unwrap();
    let lines = COUNTER.repeat(1_000);
    // The command can end before it has read all of them.
    let _written = input.write_all(lines.as_bytes());
    drop(input);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && text.contains("CertificateRequired"), "{text}");
}

#[test]
fn tallyd_send_verifies_the_daemon_and_presents_a_certificate() {
    let (daemon, pki) = mutual("");
    let folder = tempfile::tempdir().unwrap();
    let stranger = Pki::new(folder.path(), "stranger");
    let to = format!("tcp://{}", daemon.address("json/tcp "));
    let admin = format!("http://{}", daemon.admin);
    let (ca, own) = (pki.path("ca.pem"), stranger.path("stranger.pem"));
    let (cert, key) = (pki.path("client.pem"), pki.path("client.key"));
    let identity = ["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let send = |ca: &std::path::Path, more: &[&str]| {
        let mut command = tallyd();
        command.args(["send", "m", "counter", "--to", &to, "--tls-ca"]).arg(ca).args(more);
        let sent = command.output().unwrap();
        let text = [sent.stdout, sent.stderr].concat();
        (sent.status.code(), String::from_utf8(text).unwrap())
    };
    let (status, text) = send(&ca, &[&identity[..], &["--verify", "--admin", &admin]].concat());
    assert!(status == Some(0) && text.contains("accepted by json/tcp"), "{text}");
    let (status, text) = send(&ca, &[&identity[..], &["--tls-name", "localhost"]].concat());
    assert_eq!(status, Some(0), "{text}");
    daemon.wait_received(2);
    for (ca, more, words) in [
        (&ca, &[][..], "CertificateRequired"),
        (&own, &identity[..], "invalid peer certificate"),
        (&cert, &identity[..], "invalid peer certificate"),
        (&key, &identity[..], "the file contains no PEM certificate"),
        (&ca, &[&identity[..], &["--tls-name", "other"]].concat()[..], "not valid for name"),
    ] {
        let (status, text) = send(ca, more);
        assert!(status == Some(1) && text.contains(words), "{status:?} {text}");
    }
    let plain = tallyd().args(["send", "m", "counter", "--to", &to]).output().unwrap();
    let text = String::from_utf8(plain.stderr).unwrap();
    assert!(text.contains("the listener has `tls`: add --tls-ca"), "{text}");
    let udp = format!("udp://{}", daemon.udp);
    let sent = tallyd().args(["send", "m", "counter", "--to", &udp, "--tls-ca"]).arg(&ca).output();
    let text = String::from_utf8(sent.unwrap().stderr).unwrap();
    assert!(text.contains("TLS is for tcp://HOST:PORT"), "{text}");
    assert_eq!(daemon.status()["ledger"]["received"], 2);
}
