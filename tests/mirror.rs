//! `listeners[].mirror`: other daemons get a copy of every datagram.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::process::Output;

use common::{Daemon, PATIENCE, tallyd, total, write_config};
use serde_json::{Value, json};

/// A socket in the place of another daemon.
fn target() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn received(socket: &UdpSocket) -> Vec<u8> {
    let mut bytes = vec![0; 65_536];
    let length = socket.recv(&mut bytes).unwrap();
    bytes.truncate(length);
    bytes
}

fn has_more(socket: &UdpSocket) -> bool {
    socket.set_nonblocking(true).unwrap();
    socket.recv(&mut [0; 1]).is_ok()
}

fn config(keys: &str, mirror: &[&UdpSocket]) -> String {
    let addresses =
        mirror.iter().map(|socket| format!("\"udp://{}\"", socket.local_addr().unwrap()));
    let addresses = addresses.collect::<Vec<_>>().join(", ");
    format!(
        "listeners: [{{ protocol: statsd, address: \"127.0.0.1:0\", mirror: [{addresses}], {keys} }}]\n\
         # bind_port: none\nforwarders: {{ file: {{ path: DIR/out, format: json }} }}\n"
    )
}

/// Waits until the targets have these numbers of copies, sent and failed.
fn wait_copies(daemon: &Daemon, expected: &[(u64, u64)]) {
    let of = |one: &Value| (one["sent"].as_u64().unwrap(), one["failed"].as_u64().unwrap());
    daemon.wait_for(&format!("the copies {expected:?}"), |status| {
        let mirror = status["listeners"][0]["mirror"].as_array().unwrap();
        mirror.iter().map(of).collect::<Vec<_>>() == expected
    });
}

#[test]
fn each_target_gets_every_datagram_byte_by_byte() {
    for keys in ["", "gro: true", "threads: 2"] {
        let targets = [target(), target()];
        let daemon = Daemon::start(&config(keys, &[&targets[0], &targets[1]]));
        let sent = [&b"a:1|c\nb:2|c"[..], b"not statsd", b"", b"_e{1,1}:a|b", b"a:1|c"];
        sent.iter().for_each(|datagram| daemon.send(datagram));
        for target in &targets {
            assert_eq!(sent.map(|_| received(target)), sent, "{keys}");
            assert!(!has_more(target));
        }
        let stopped = daemon.stop();
        assert_eq!(total(&stopped.points("out"), "a", "count"), 2.0);
    }
}

#[test]
fn a_long_datagram_and_a_burst_arrive_whole() {
    let copy = target();
    let daemon = Daemon::start(&config("", &[&copy]));
    let long = [b"a:1|c\n".repeat(10_000), b"z:1|c".to_vec()].concat();
    daemon.send(&long);
    assert_eq!(received(&copy), long);
    // Fewer than the receive buffer of the test's socket holds.
    for number in 0..100 {
        daemon.send(format!("burst:{number}|ms"));
    }
    for number in 0..100 {
        assert_eq!(received(&copy), format!("burst:{number}|ms").into_bytes());
    }
    wait_copies(&daemon, &[(101, 0)]);
    let (_, page) = daemon.get("/metrics");
    let address = copy.local_addr().unwrap();
    let line = page.lines().find(|line| {
        line.starts_with("tallyd_mirrored_datagrams_total") && line.contains("outcome=\"sent\"")
    });
    let line = line.unwrap();
    assert!(
        line.contains(&format!("target=\"udp://{address}\"")) && line.ends_with(" 101"),
        "{line}"
    );
}

#[test]
fn a_target_that_does_not_exist_loses_only_its_copies() {
    let (copy, gone) = (target(), target());
    let text = config("", &[&gone, &copy]);
    drop(gone);
    let daemon = Daemon::start(&text);
    for number in 0..20 {
        daemon.send("a:1|c");
        daemon.wait_received(number + 1);
        assert_eq!(received(&copy), b"a:1|c");
    }
    daemon.wait_for("all copies", |status| {
        let mirror = &status["listeners"][0]["mirror"];
        let count = |index: usize, word: &str| mirror[index][word].as_u64().unwrap();
        let is_complete = count(0, "sent") + count(0, "failed") == 20;
        is_complete && count(0, "failed") > 0 && (count(1, "sent"), count(1, "failed")) == (20, 0)
    });
    assert_eq!(total(&daemon.stop().points("out"), "a", "count"), 20.0);
}

#[test]
fn datagrams_of_senders_that_may_not_send_are_not_passed_on() {
    let copy = target();
    let daemon = Daemon::start(&config("allow: [127.0.0.1]", &[&copy]));
    let other = UdpSocket::bind("127.0.0.2:0").unwrap();
    other.send_to(b"other:1|c", daemon.address("statsd/udp")).unwrap();
    daemon.wait_for("the refusal", |status| {
        status["listeners"][0]["refused"]["not_allowed"] == json!(1)
    });
    daemon.send("a:1|c");
    assert_eq!(received(&copy), b"a:1|c");
    assert!(!has_more(&copy));
}

#[test]
fn a_reload_adds_and_removes_targets() {
    let (one, two) = (target(), target());
    let daemon = Daemon::start(&config("", &[&one]));
    daemon.send("a:1|c");
    assert_eq!(received(&one), b"a:1|c");
    daemon.reload(&config("", &[&two, &one]));
    daemon.send("b:1|c");
    assert_eq!((received(&one), received(&two)), (b"b:1|c".to_vec(), b"b:1|c".to_vec()));
    wait_copies(&daemon, &[(1, 0), (2, 0)]);
    daemon.reload(&config("", &[]));
    daemon.wait_for("no targets", |status| status["listeners"][0]["mirror"].is_null());
    daemon.send("c:1|c");
    daemon.wait_received(3);
    assert!(!has_more(&one) && !has_more(&two));
}

#[test]
fn unix_datagrams_are_mirrored_too() {
    let copy = target();
    let address = copy.local_addr().unwrap();
    let daemon = Daemon::start(&format!(
        "listeners: [{{ transport: unix_datagram, path: DIR/socket, mirror: [\"udp://{address}\"] }}]\n"
    ));
    let message = r#"{"metric_name":"a","metric_type":"counter"}"#;
    let sender = UnixDatagram::unbound().unwrap();
    sender.send_to(message.as_bytes(), daemon.path("socket")).unwrap();
    assert_eq!(received(&copy), message.as_bytes());
}

fn check(text: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let path = write_config(&folder, text);
    tallyd().arg("check").arg("--config").arg(path).output().unwrap()
}

#[test]
fn a_target_that_leads_back_to_the_daemon_is_an_error() {
    for (listen, mirror) in [
        ("127.0.0.1:18125", "udp://127.0.0.1:18125"),
        ("0.0.0.0:18125", "udp://127.0.0.1:18125"),
        ("127.0.0.1:18125", "udp://localhost:18125"),
        (":18125", "udp://127.0.0.9:18125"),
        ("127.0.0.1:18125", "udp://0.0.0.0:18125"),
        ("127.0.0.1:18125", "udp://[::ffff:127.0.0.1]:18125"),
        ("[::]:18125", "udp://[::1]:18125"),
    ] {
        let text = format!(
            "listeners: [{{ address: \"{listen}\", mirror: [\"{mirror}\"] }}]\n# bind_port:\n"
        );
        let output = check(&text);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{text}");
        assert!(errors.contains("would come back forever"), "{errors}");
    }
    for (listen, mirror) in [
        (":18125", "udp://192.0.2.1:18125"),
        (":18125", "udp://127.0.0.1:18126"),
        ("0.0.0.0:18125", "udp://[::1]:18125"),
        ("127.0.0.1:18125", "udp://127.0.0.2:18125"),
    ] {
        let text = format!(
            "listeners: [{{ address: \"{listen}\", mirror: [\"{mirror}\"] }}]\n# bind_port:\n"
        );
        let output = check(&text);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_mirror_belongs_to_datagrams() {
    let output = check(
        "listeners: [{ transport: tcp, address: \"127.0.0.1:18125\", mirror: [\"udp://192.0.2.1:1\"] }]\n",
    );
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("`mirror` is for `udp` and `unix_datagram`"), "{errors}");
}

#[test]
fn mirrored_lines_lead_to_the_same_sums_in_another_daemon() {
    let second = Daemon::start(&config("", &[]).replace("mirror: [], ", ""));
    let address = second.address("statsd/udp");
    let text = config("", &[]).replace("mirror: []", &format!("mirror: [\"udp://{address}\"]"));
    let first = Daemon::start(&text);
    for number in 0..500_u64 {
        first.send(format!("a:{number}|c\nt:{number}|ms"));
        if number % 50 == 0 {
            first.wait_received((number + 1) * 2);
        }
    }
    first.wait_received(1_000);
    second.wait_received(1_000);
    let (first, second) = (first.stop().points("out"), second.stop().points("out"));
    for (name, field) in [("a", "count"), ("t", "sum"), ("t", "count")] {
        assert_eq!(total(&first, name, field), total(&second, name, field));
    }
    assert_eq!(total(&second, "a", "count"), 124_750.0);
}
