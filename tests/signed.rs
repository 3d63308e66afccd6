//! `listeners[].secret`: datagrams that a secret has signed are accepted, once each.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use common::{Daemon, Stopped, tallyd, total, write_config};
use engine::protocol::signed::SigningKey;
use forwarders::testing::real_program;
use serde_json::{Value, json};

const SECRET: &str = "750c783e6ab0b503eaa86e310a5db738";
const OTHER: &str = "another secret of a listener";
const TO_FILE: &str = "interval: 1s\nforwarders: { file: { path: DIR/out, format: json } }\n";
/// A clock may reach the next second between signing and receiving, so that the tests accept that.
const WINDOW: &str = "signatures: { window: 5s }\n";

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn signed(secret: &str, seconds: u64, nonce: u32, messages: &str) -> Vec<u8> {
    let mut datagram = Vec::new();
    SigningKey::new(secret).sign(seconds, nonce, messages.as_bytes(), &mut datagram);
    datagram
}

/// A daemon with these statsd listeners over UDP, as YAML, and no other.
fn config(listeners: &[String]) -> String {
    let listeners: Vec<_> = listeners
        .iter()
        .map(|keys| format!("{{ protocol: statsd, address: \"127.0.0.1:0\", {keys} }}"))
        .collect();
    format!("# bind_port: none\nlisteners: [{}]\n{TO_FILE}{WINDOW}", listeners.join(", "))
}

fn with_secret(secret: &str) -> String {
    format!("secret: \"{secret}\"")
}

fn addresses(daemon: &Daemon) -> Vec<SocketAddr> {
    let status = daemon.status();
    let listeners = status["listeners"].as_array().unwrap();
    let label = |one: &Value| one["listener"].as_str().unwrap().to_owned();
    let address = |label: String| label.rsplit(' ').next().unwrap().parse().unwrap();
    listeners.iter().map(|one| address(label(one))).collect()
}

fn rejected(status: &Value) -> &Value {
    &status["ledger"]["rejected"]
}

/// The key with this name at a listener.
fn key<'a>(status: &'a Value, listener: usize, name: &str) -> &'a Value {
    let keys = status["listeners"][listener]["keys"].as_array().unwrap();
    keys.iter().find(|one| one["key"] == name).unwrap_or_else(|| panic!("no {name}: {keys:?}"))
}

#[test]
fn only_datagrams_with_a_valid_signature_are_accepted() {
    for keys in ["", ", gro: true", ", threads: 2"] {
        let daemon = Daemon::start(&config(&[with_secret(SECRET) + keys]));
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(addresses(&daemon)[0]).unwrap();
        let mut altered = signed(SECRET, now(), 1, "a:1|c");
        *altered.last_mut().unwrap() = b'g';
        let mut tag = signed(SECRET, now(), 1, "a:1|c");
        tag[0] ^= 1;
        for datagram in [
            signed(SECRET, now(), 1, "a:1|c\na:2|c|#k:v"),
            signed(SECRET, now(), 2, "a:4|c"),
            signed(SECRET, now(), 3, ""),
            vec![],
            signed(OTHER, now(), 4, "a:8|c"),
            altered,
            tag,
            b"a:16|c".to_vec(),
            [b"a:32|c|#".as_slice(), &[b'x'; 60]].concat(),
            signed(SECRET, now(), 5, "a:64|c")[..43].to_vec(),
            signed(SECRET, now(), 6, "wrong"),
        ] {
            sender.send(&datagram).unwrap();
        }
        let status = daemon.wait_received(3 + 7);
        let expected = json!({ "bad_signature": 4, "unsigned": 2, "bad_line": 1 });
        assert_eq!(rejected(&status), &expected, "{keys}");
        assert_eq!(status["ledger"]["datagrams"], 11);
        let accepted: u64 = status["listeners"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["keys"][0]["accepted"].as_u64().unwrap())
            .sum();
        assert_eq!(accepted, 4);
        assert_eq!(total(&daemon.stop().points("out"), "a", "count"), 7.0);
    }
}

#[test]
fn a_datagram_is_accepted_once_wherever_it_is_sent_again() {
    // Two sockets at one address, and another listener with the same secret under another name.
    let daemon = Daemon::start(&config(&[
        with_secret(SECRET) + ", threads: 2",
        format!("secret: {{ shared: \"{SECRET}\" }}"),
    ]));
    let addresses = addresses(&daemon);
    let datagram = signed(SECRET, now(), 7, "a:1|c");
    let mut sent = 0;
    for _ in 0..16 {
        // The kernel selects a socket by the port of the sender.
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for address in [addresses[0], addresses[2]] {
            sender.send_to(&datagram, address).unwrap();
            sent += 1;
        }
    }
    let status = daemon.wait_received(sent);
    assert_eq!(rejected(&status), &json!({ "replayed": sent - 1 }));
    assert_eq!(total(&daemon.stop().points("out"), "a", "count"), 1.0);
}

#[test]
fn a_datagram_from_another_time_is_rejected() {
    let daemon = Daemon::start(&config(&[with_secret(SECRET)]));
    let address = addresses(&daemon)[0];
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    for seconds in [0, now() - 3_600, now() + 3_600, u64::MAX, now() + 2] {
        sender.send_to(&signed(SECRET, seconds, 1, "a:1|c"), address).unwrap();
    }
    let status = daemon.wait_received(5);
    assert_eq!(rejected(&status), &json!({ "stale": 2, "from_future": 2 }));
    let listed: Value = serde_json::from_str(&daemon.get("/api/v1/rejected").1).unwrap();
    let latest = &listed["rejected"][0];
    assert_eq!((&latest["reason"], &latest["excerpt"]), (&json!("from_future"), &json!("a:1|c")));
    assert!(latest["advice"].as_str().unwrap().contains("compare the clocks"), "{latest}");
}

/// Runs the daemon again, in the folder of an earlier run.
fn again(stopped: Stopped, config: &str) -> Daemon {
    Daemon::start_in(stopped.folder, config)
}

#[test]
fn a_restart_accepts_nothing_again_and_loses_nothing() {
    // The service manager holds the socket, so that datagrams can arrive while no daemon runs.
    let held = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "# bind_port: none\n\
         listeners: [{{ protocol: statsd, address: \"{address}\", secret: \"{SECRET}\" }}]\n\
         {TO_FILE}signatures: {{ window: 60s }}\n"
    );
    let path = write_config(&folder, &text);
    let run = |folder| {
        let script =
            "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" run --config \"$1\"";
        let mut command = Command::new("sh");
        command.args(["-c", script, common::tallyd_path(), path.to_str().unwrap()]);
        command.stdin(Stdio::from(OwnedFd::from(held.try_clone().unwrap())));
        Daemon::start_command(folder, &mut command)
    };
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let send = |datagram: &[u8]| assert!(sender.send_to(datagram, address).is_ok());

    let daemon = run(folder);
    let captured = &signed(SECRET, now(), 9, "a:1|c");
    send(captured);
    let status = daemon.wait_received(1);
    assert_eq!(status["ledger"]["aggregated"], 1);
    let stopped = daemon.stop();
    // Signed before the next run starts.
    let waiting = signed(SECRET, now(), 10, "a:2|c");
    send(&waiting);
    send(captured);
    let daemon = run(stopped.folder);
    let status = daemon.wait_received(2);
    assert_eq!(rejected(&status), &json!({ "replayed": 1 }));
    send(&waiting);
    let status = daemon.wait_received(3);
    assert_eq!(rejected(&status), &json!({ "replayed": 2 }));
    assert_eq!(total(&daemon.stop().points("out"), "a", "count"), 3.0);
}

/// Kills the daemon, and runs it again in the same folder. `between` may change the folder.
fn crash(daemon: Daemon, config: &str, between: impl FnOnce(&Path)) -> Daemon {
    daemon.signal("KILL");
    let stopped = daemon.wait();
    between(&stopped.folder.path().join("state/restart"));
    again(stopped, config)
}

#[test]
fn after_a_crash_nothing_is_accepted_again_not_even_from_a_clock_that_is_ahead() {
    let text = config(&[with_secret(SECRET)]);
    let daemon = Daemon::start(&text);
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let captured = [0, 4].map(|ahead| signed(SECRET, now() + ahead, 1, "a:1|c"));
    let send = |daemon: &Daemon| {
        for datagram in &captured {
            sender.send_to(datagram, addresses(daemon)[0]).unwrap();
        }
    };
    send(&daemon);
    assert_eq!(daemon.wait_received(2)["ledger"]["aggregated"], 2);
    let daemon = crash(daemon, &text, |_| {});
    send(&daemon);
    assert_eq!(rejected(&daemon.wait_received(2)), &json!({ "maybe_replayed": 2 }));
    // This run accepted none of them, and does not know which ones the first run accepted.
    let daemon = crash(daemon, &text, |_| {});
    send(&daemon);
    assert_eq!(rejected(&daemon.wait_received(2)), &json!({ "maybe_replayed": 2 }));
    // And neither does the one after an orderly stop.
    let daemon = again(daemon.stop(), &text);
    send(&daemon);
    let status = daemon.wait_received(2);
    assert_eq!(rejected(&status), &json!({ "maybe_replayed": 2 }));
    let listed: Value = serde_json::from_str(&daemon.get("/api/v1/rejected").1).unwrap();
    let advice = listed["rejected"][0]["advice"].as_str().unwrap();
    assert!(advice.contains("the daemon before this one crashed"), "{advice}");
}

#[test]
fn a_crash_costs_only_the_next_seconds_and_a_first_start_what_was_signed_before() {
    let text = config(&[with_secret(SECRET)]);
    let daemon = Daemon::start(&text);
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let signed_at = now();
    for (nonce, seconds) in [(1, signed_at - 3), (2, signed_at)] {
        let datagram = signed(SECRET, seconds, nonce, "a:1|c");
        sender.send_to(&datagram, addresses(&daemon)[0]).unwrap();
    }
    let status = daemon.wait_received(2);
    assert_eq!(status["ledger"]["aggregated"], 1, "{status:#}");
    assert_eq!(rejected(&status), &json!({ "maybe_replayed": 1 }));
    let daemon = crash(daemon, &text, |_| {});
    // The mark is up to two seconds ahead.
    while now() <= signed_at + 2 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    sender.send_to(&signed(SECRET, now(), 3, "a:1|c"), addresses(&daemon)[0]).unwrap();
    let status = daemon.wait_received(1);
    assert_eq!(rejected(&status), &json!({}));
}

#[test]
fn a_mark_whose_folder_is_removed_during_the_run_is_created_again() {
    let text = config(&[with_secret(SECRET)]);
    let daemon = Daemon::start(&text);
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let send = |daemon: &Daemon, datagram: &[u8]| {
        sender.send_to(datagram, addresses(daemon)[0]).unwrap();
    };
    send(&daemon, &signed(SECRET, now(), 1, "a:1|c"));
    daemon.wait_received(1);
    fs::remove_dir_all(daemon.path("state/restart")).unwrap();
    let captured = signed(SECRET, now() + 4, 2, "a:1|c");
    send(&daemon, &captured);
    daemon.wait_received(2);
    let (_, page) = daemon.get("/metrics");
    let count = "tallyd_restart_state_failures_total{part=\"signatures\"} 1\n";
    assert!(page.contains(count), "{page}");
    let daemon = crash(daemon, &text, |restart| assert!(restart.join("signed-until").exists()));
    send(&daemon, &captured);
    assert_eq!(rejected(&daemon.wait_received(1)), &json!({ "maybe_replayed": 1 }));
}

#[test]
fn without_a_mark_datagrams_of_the_whole_window_are_rejected() {
    let text = config(&[with_secret(SECRET)]);
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let damage = |mark: &Path| fs::write(mark, "00000000000000000000").unwrap();
    let remove = |mark: &Path| fs::remove_file(mark).unwrap();
    for (change, failures) in [(&damage as &dyn Fn(&Path), 1), (&remove, 0)] {
        let daemon = Daemon::start(&text);
        let captured = signed(SECRET, now() + 4, 1, "a:1|c");
        sender.send_to(&captured, addresses(&daemon)[0]).unwrap();
        daemon.wait_received(1);
        let daemon = crash(daemon, &text, |restart| change(&restart.join("signed-until")));
        sender.send_to(&captured, addresses(&daemon)[0]).unwrap();
        assert_eq!(rejected(&daemon.wait_received(1)), &json!({ "maybe_replayed": 1 }));
        let (_, page) = daemon.get("/metrics");
        let count =
            format!("tallyd_restart_state_failures_total{{part=\"signatures\"}} {failures}\n");
        assert!(page.contains(&count), "{page}");
    }
}

#[test]
fn a_stop_without_a_restart_state_repeats_nothing() {
    let text = config(&[with_secret(SECRET)]) + "restart_state: { enabled: false }\n";
    let daemon = Daemon::start(&text);
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let captured = signed(SECRET, now() + 4, 1, "a:1|c");
    sender.send_to(&captured, addresses(&daemon)[0]).unwrap();
    daemon.wait_received(1);
    let daemon = again(daemon.stop(), &text);
    sender.send_to(&captured, addresses(&daemon)[0]).unwrap();
    assert_eq!(rejected(&daemon.wait_received(1)), &json!({ "maybe_replayed": 1 }));
}

#[test]
fn datagrams_are_accepted_while_the_state_folder_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("state"), "a file in the place of the folder").unwrap();
    let text = config(&[with_secret(SECRET)]);
    let daemon = Daemon::start_in(folder, &text);
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    // Nothing shows whether an earlier run has accepted datagrams.
    let started = now();
    sender.send_to(&signed(SECRET, started, 1, "a:1|c"), addresses(&daemon)[0]).unwrap();
    assert_eq!(rejected(&daemon.wait_received(1)), &json!({ "maybe_replayed": 1 }));
    while now() <= started + 5 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    sender.send_to(&signed(SECRET, now(), 2, "a:1|c"), addresses(&daemon)[0]).unwrap();
    let status = daemon.wait_received(2);
    assert_eq!(status["ledger"]["aggregated"], 1, "{status:#}");
    let log = format!("{:?}", daemon.stop().log);
    assert!(log.contains("cannot record the time up to which signed datagrams"), "{log}");
}

#[test]
fn a_datagram_that_another_secret_has_signed_is_shown_nowhere() {
    let listeners = [with_secret(SECRET), "gro: false".to_owned()];
    let daemon = Daemon::start(&(config(&listeners) + "log: { format: json, level: trace }\n"));
    let addresses = addresses(&daemon);
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    // Without a line feed in the signature, so that it has two lines.
    let of = |nonce| signed(OTHER, 1_490_114_074, nonce, "private.name:1|c\nprivate.name:x|c");
    let datagram = (0..).map(of).find(|bytes| !bytes[..44].contains(&b'\n')).unwrap();
    for address in &addresses {
        sender.send_to(&datagram, address).unwrap();
    }
    let cut = signed(OTHER, now(), 1, "")[..43].to_vec();
    sender.send_to(&cut, addresses[0]).unwrap();
    sender.send_to(b"plain.name:1|c", addresses[0]).unwrap();
    let long = format!("plain.name:2|c|#{}", "k:value,".repeat(10));
    sender.send_to(long.as_bytes(), addresses[0]).unwrap();
    daemon.wait_received(6);
    let shown = daemon.get("/api/v1/rejected").1;
    let listed: Value = serde_json::from_str(&shown).unwrap();
    let excerpts: Vec<_> = listed["rejected"].as_array().unwrap().iter().collect();
    let excerpts: Vec<_> = excerpts.iter().map(|one| one["excerpt"].as_str().unwrap()).collect();
    assert_eq!(excerpts.iter().filter(|text| text.is_empty()).count(), excerpts.len() - 2);
    assert_eq!(excerpts.iter().filter(|text| text.starts_with("plain.name")).count(), 2);
    let log = format!("{:?}", daemon.stop().log);
    assert!(log.contains("bad_signature") && log.contains("bad_line"), "{log}");
    for hidden in ["private", "name:x"] {
        assert!(!shown.contains(hidden) && !log.contains(hidden), "{hidden}: {shown} {log}");
    }
}

#[test]
fn the_advice_on_an_unsigned_message_does_not_depend_on_its_length() {
    let text = config(&[with_secret(SECRET)]).replace("protocol: statsd", "protocol: json");
    let daemon = Daemon::start(&text);
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let lengths = [10, 300, 10_000];
    for (length, count) in lengths.into_iter().zip(1..) {
        let tag = "x".repeat(length);
        let message =
            format!(r#"{{"metric_name":"a","metric_type":"counter","tags":{{"k":"{tag}"}}}}"#);
        sender.send_to(message.as_bytes(), addresses(&daemon)[0]).unwrap();
        daemon.wait_received(count);
    }
    let listed: Value = serde_json::from_str(&daemon.get("/api/v1/rejected").1).unwrap();
    let listed = listed["rejected"].as_array().unwrap();
    assert_eq!(listed.len(), lengths.len());
    for one in listed {
        assert_eq!(one["reason"], "bad_signature");
        let advice = one["advice"].as_str().unwrap();
        assert!(advice.starts_with("this message is not signed"), "{advice}");
        assert!(one["excerpt"].as_str().unwrap().len() <= 200);
    }
}

#[test]
fn two_secrets_overlap_and_a_reload_replaces_them() {
    let both = format!("secret: {{ new: \"{OTHER}\", old: \"{SECRET}\" }}");
    let daemon = Daemon::start(&config(&[format!("secret: {{ old: \"{SECRET}\" }}")]));
    let address = addresses(&daemon)[0];
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let captured = signed(SECRET, now(), 1, "a:1|c");
    sender.send_to(&captured, address).unwrap();
    daemon.wait_received(1);
    daemon.reload(&config(&[both]));
    sender.send_to(&captured, address).unwrap();
    sender.send_to(&signed(SECRET, now(), 2, "a:1|c"), address).unwrap();
    sender.send_to(&signed(OTHER, now(), 2, "a:1|c"), address).unwrap();
    let status = daemon.wait_received(4);
    assert_eq!(rejected(&status), &json!({ "replayed": 1 }));
    assert_eq!(key(&status, 0, "old")["accepted"], 2, "its count continues");
    assert_eq!(key(&status, 0, "new")["accepted"], 1);
    daemon.reload(&config(&[format!("secret: {{ new: \"{OTHER}\" }}")]));
    sender.send_to(&signed(SECRET, now(), 3, "a:1|c"), address).unwrap();
    let status = daemon.wait_received(5);
    assert_eq!(rejected(&status), &json!({ "replayed": 1, "bad_signature": 1 }));
    // And to unsigned datagrams.
    daemon.reload(&config(&["gro: false".to_owned()]));
    sender.send_to(b"a:1|c", address).unwrap();
    let status = daemon.wait_received(6);
    assert_eq!(status["listeners"][0]["keys"], Value::Null);
    assert_eq!(status["ledger"]["aggregated"], 4);
}

#[test]
fn lost_and_reordered_datagrams_are_counted_by_key() {
    let daemon = Daemon::start(&config(&[with_secret(SECRET)]));
    let address = addresses(&daemon)[0];
    let (numbered, random) =
        (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    // 5 and 6 are lost, 20 is late.
    let numbers = (0..5).chain(7..20).chain([21, 20]).chain(22..100);
    let mut sent = 0;
    for number in numbers {
        let nonce = 4_000_000_000_u32.wrapping_add(number);
        numbered.send_to(&signed(SECRET, now(), nonce, "a:1|c"), address).unwrap();
        let nonce = number.wrapping_mul(2_654_435_761);
        random.send_to(&signed(SECRET, now(), nonce, "a:1|c"), address).unwrap();
        sent += 2;
        if sent % 40 == 0 {
            daemon.wait_received(sent);
        }
    }
    let status = daemon.wait_received(sent);
    let counts = key(&status, 0, "default");
    assert_eq!(counts["accepted"], sent, "{status:#}");
    assert_eq!((&counts["lost"], &counts["reordered"]), (&json!(2), &json!(1)));
    assert_eq!(counts["unnumbered"], 4 + sent / 2);
    let (_, page) = daemon.get("/metrics");
    let label = format!("{{listener=\"statsd/udp {address}\",key=\"default\",outcome=\"lost\"}} 2");
    assert!(page.contains(&format!("tallyd_signed_datagrams_total{label}")), "{page}");
}

#[test]
fn unix_datagrams_are_signed_too_and_a_mirror_gets_them_as_they_are() {
    let copy = UdpSocket::bind("127.0.0.1:0").unwrap();
    copy.set_read_timeout(Some(common::PATIENCE)).unwrap();
    let daemon = Daemon::start(&format!(
        "listeners: [{{ transport: unix_datagram, path: DIR/socket, secret: \"{SECRET}\", \
         mirror: [\"udp://{}\"] }}]\n{TO_FILE}{WINDOW}",
        copy.local_addr().unwrap()
    ));
    let sender = UnixDatagram::unbound().unwrap();
    let message = r#"{"metric_name":"a","metric_type":"counter"}"#;
    for datagram in [signed(SECRET, now(), 1, message), message.into()] {
        sender.send_to(&datagram, daemon.path("socket")).unwrap();
        let mut received = [0; 1_000];
        let length = copy.recv(&mut received).unwrap();
        assert_eq!(received[..length], datagram);
    }
    let status = daemon.wait_received(2);
    let (bad, shorter) = (json!({ "bad_signature": 1 }), json!({ "unsigned": 1 }));
    assert!([&bad, &shorter].contains(&rejected(&status)), "{status:#}");
    assert_eq!(status["ledger"]["aggregated"], 1);
    assert_eq!(key(&status, 1, "default")["unnumbered"], 1);
}

#[test]
fn a_full_window_is_counted_and_accepts_nothing_twice() {
    let text =
        config(&[with_secret(SECRET)]).replace("window: 5s", "window: 600s, max_datagrams: 1000");
    let daemon = Daemon::start(&text);
    let address = addresses(&daemon)[0];
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    // The latest seconds, so that the daemon's clock does not matter.
    let ahead = now() + 100;
    let datagram = |number: u32| signed(SECRET, ahead + u64::from(number / 600), number, "a:1|c");
    for number in 0..1_200 {
        sender.send_to(&datagram(number), address).unwrap();
        if number % 100 == 99 {
            daemon.wait_received(u64::from(number) + 1);
        }
    }
    let status = daemon.wait_received(1_200);
    assert_eq!(rejected(&status), &json!({}));
    assert_eq!(key(&status, 0, "default")["shortened"], 1);
    for number in [0, 599, 600, 1_199] {
        sender.send_to(&datagram(number), address).unwrap();
    }
    let status = daemon.wait_received(1_204);
    assert_eq!(rejected(&status), &json!({ "stale": 2, "replayed": 2 }));
}

#[test]
fn the_secret_is_shown_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("secret"), format!("{SECRET}\n")).unwrap();
    let text =
        config(&[format!("secret: {{ literal: \"{OTHER}\", file: \"${{file:DIR/secret}}\" }}")])
            + "log: { format: json, level: trace }\n";
    let daemon = Daemon::start_in(folder, &text);
    let address = addresses(&daemon)[0];
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.send_to(&signed(SECRET, now(), 1, "a:1|c"), address).unwrap();
    sender.send_to(&[7; 60], address).unwrap();
    daemon.wait_received(2);
    let mut shown = String::new();
    for path in ["/metrics", "/api/v1/status", "/api/v1/rejected", "/api/v1/config"] {
        shown += &daemon.get(path).1;
    }
    assert!(shown.contains("secret.literal") && shown.contains("\"literal\""), "{shown}");
    let changed = text.replace(OTHER, "a third secret of a listener");
    shown += &daemon.reload(&changed).to_string();
    let wrong = text.replace("literal: ", "literal: [").replace(", file:", "], file:");
    daemon.write_config(&wrong);
    shown += &daemon.get("/api/v1/reload").1;
    let stopped = daemon.stop();
    shown += &format!("{:?}", stopped.log);
    for name in ["restart/signatures", "restart/windows"] {
        let bytes = fs::read(stopped.folder.path().join("state").join(name));
        shown += &String::from_utf8_lossy(&bytes.unwrap_or_default());
    }
    for secret in [SECRET, OTHER, "third secret"] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
}

/// The output of `tallyd check` on these keys of a listener.
fn mistake(keys: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = write_config(&folder, &format!("listeners: [{{ {keys} }}]\n"));
    let output = tallyd().arg("check").arg("--config").arg(path).output().unwrap();
    assert!(!output.status.success(), "{keys}");
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[test]
fn mistakes_in_a_secret_are_explained_without_it() {
    for (keys, words) in [
        ("address: \":1\", secret: short-secret", "at least 16 bytes"),
        ("address: \":1\", secret: 123456", "at least 16 bytes"),
        ("address: \":1\", secret: [short-secret]", "must be a text"),
        ("address: \":1\", secret: { a: short-secret }", "at least 16 bytes"),
        ("address: \":1\", secret: {}", "must contain a secret"),
        (
            "transport: tcp, address: \":1\", secret: short-secret-0123456",
            "`udp` and `unix_datagram`",
        ),
    ] {
        let said = mistake(keys);
        assert!(said.contains(words), "{keys}: {said}");
        assert!(!said.contains("short-secret") && !said.contains("123456"), "{said}");
    }
}

#[test]
fn the_command_send_signs_with_a_file_or_the_configuration() {
    let daemon = Daemon::start(&config(&[with_secret(SECRET)]));
    let address = addresses(&daemon)[0];
    let file = daemon.path("secret");
    fs::write(&file, format!("{SECRET}\n")).unwrap();
    let to = format!("udp://{address}");
    let admin = format!("http://{}", daemon.admin);
    let send = |arguments: &[&str]| {
        let mut command = tallyd();
        command.args(["send", "--statsd", "--verify", "--admin", &admin]).args(arguments);
        let output = command.output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.success(), said)
    };
    let secret_file = file.to_str().unwrap();
    let (is_good, said) = send(&["--to", &to, "--secret-file", secret_file, "a", "counter", "1"]);
    assert!(is_good, "{said}");
    let (is_good, said) = send(&["--to", &to, "a", "counter", "2"]);
    assert!(!is_good && said.contains("not signed"), "{said}");
    // The configuration names the listener and its secret.
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "listeners: [{{ protocol: statsd, address: \"{address}\", secret: \"{SECRET}\" }}]\n"
    );
    let path = write_config(&folder, &text);
    let (is_good, said) = send(&["--config", path.to_str().unwrap(), "a", "counter", "4"]);
    assert!(is_good, "{said}");
    let tcp = ["--to", "tcp://127.0.0.1:1", "--secret-file", secret_file, "a", "counter"];
    let (is_good, said) = send(&tcp);
    assert!(!is_good && said.contains("is a stream"), "{said}");
    assert_eq!(total(&daemon.stop().points("out"), "a", "count"), 5.0);
}

#[test]
fn the_python_client_signs_and_its_losses_are_seen() {
    if !real_program("python3") {
        return;
    }
    let text = config(&[with_secret(SECRET)]).replace("protocol: statsd", "protocol: json");
    let daemon = Daemon::start(&text);
    let address = addresses(&daemon)[0];
    let program = format!(
        "import os\n\
         from tallyd import Agent\n\
         metrics = Agent('{address}', secret='{SECRET}', strict=True)\n\
         for number in range(100):\n    \
             if number == 20:\n        metrics._signer._next += 3\n    \
             metrics.counter('a', tags={{'k': 'v'}})\n\
         with metrics.batch() as batch:\n    \
             for number in range(100):\n        batch.counter('a')\n\
         batched = Agent('{address}', secret='{SECRET}', strict=True, gso=True, max_datagram=300)\n\
         with batched.batch() as batch:\n    \
             for number in range(100):\n        batch.counter('a')\n"
    );
    let output = Command::new("python3")
        .args(["-c", &program])
        .env("PYTHONPATH", common::root().join("clients/python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let status = daemon.wait_received(300);
    assert_eq!(rejected(&status), &json!({}));
    assert_eq!(key(&status, 0, "default")["lost"], 3);
    assert_eq!(total(&daemon.stop().points("out"), "a", "count"), 300.0);
}
