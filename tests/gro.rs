//! Datagrams that the kernel merges into packets (`gro`) are counted like others.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use common::{Daemon, total};
use engine::sys::SendRing;
use serde_json::{Value, json};

/// A statsd listener on a free port, with more keys.
fn listener(keys: &str) -> String {
    format!(
        "listeners: [{{ protocol: statsd, address: \"127.0.0.1:0\", {keys} }}]\n# bind_port: none\n\
         forwarders: {{ file: {{ path: DIR/out, format: json }} }}\n"
    )
}

/// Sends datagrams, those of one size in common packets.
fn send_merged(from: &UdpSocket, to: SocketAddr, datagrams: &[&[u8]]) {
    from.connect(to).unwrap();
    let mut ends: Vec<_> = datagrams.iter().map(|datagram| datagram.len()).collect();
    for index in 1..ends.len() {
        ends[index] += ends[index - 1];
    }
    let mut ring = SendRing::new(datagrams.concat(), &ends).merging(from.as_fd());
    assert!(ring.is_merging(), "Linux 4.18 or later");
    let mut sent = 0;
    while sent < datagrams.len() {
        sent += ring.send(from.as_fd(), sent..datagrams.len()).unwrap();
    }
}

fn sender() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

/// Waits until the daemon has read this number of datagrams.
fn wait_read(daemon: &Daemon, datagrams: u64) -> Value {
    daemon.wait_for(&format!("{datagrams} datagrams"), |status| {
        number(&status["ledger"]["datagrams"]) >= datagrams
    })
}

#[test]
fn each_datagram_of_a_packet_counts() {
    let daemon = Daemon::start(&listener("gro: true"));
    assert_eq!(daemon.status()["listeners"][0]["gro"], true);
    let mut datagrams: Vec<&[u8]> = Vec::new();
    // 100 equal ones, of which the system merges 64, a shorter one at their end, and two lines in one.
    datagrams.extend([&b"m:2|c"[..]; 100]);
    datagrams.extend([&b"m:2|c\nm:30|c"[..], b"m:5|c", b"m:40|c", b""]);
    // Blank lines, and single bytes, which are no messages.
    datagrams.extend([&b"\n\n\n"[..]; 10]);
    datagrams.extend([&b"x"[..]; 130]);
    let bytes: usize = datagrams.iter().map(|datagram| datagram.len()).sum();
    send_merged(&sender(), daemon.udp, &datagrams);
    let status = wait_read(&daemon, datagrams.len() as u64);
    let ledger = &status["ledger"];
    assert_eq!(ledger["datagrams"], datagrams.len());
    assert_eq!(ledger["bytes"], bytes);
    assert_eq!((&ledger["aggregated"], &ledger["kernel_drops"]), (&json!(104), &json!(0)));
    assert_eq!(ledger["rejected"], json!({ "bad_line": 130 }));
    assert_eq!(total(&daemon.stop().points("out"), "m", "count"), 277.0);
}

#[test]
fn allow_refuses_each_datagram_of_a_packet() {
    let daemon = Daemon::start(&listener("gro: true, allow: [10.0.0.0/8]"));
    send_merged(&sender(), daemon.udp, &[&b"m:1|c"[..]; 100]);
    let status = daemon.wait_for("the refusals", |status| {
        number(&status["ledger"]["datagrams"]) == 0
            && status["listeners"][0]["refused"]["not_allowed"] == 100
    });
    assert_eq!(status["ledger"]["received"], 0);
}

#[test]
fn the_traffic_of_a_sender_includes_each_datagram_of_its_packets() {
    let daemon = Daemon::start(&listener("gro: true"));
    let senders =
        || -> Value { serde_json::from_str(&daemon.get("/api/v1/top?parts=senders").1).unwrap() };
    // The first request starts the counting.
    senders();
    let from = sender();
    send_merged(&from, daemon.udp, &[&[&b"m:1|c"[..]; 99][..], &[b"oops"]].concat());
    wait_read(&daemon, 100);
    let shown = senders()["senders"]["top"].as_array().unwrap().clone();
    let name = from.local_addr().unwrap().to_string();
    let ours = shown.iter().find(|one| one["sender"] == name.as_str()).unwrap();
    assert_eq!(ours["datagrams"], 100);
    assert_eq!(ours["bytes"], 99 * 5 + 4);
    assert_eq!((&ours["messages"], &ours["rejected"]), (&json!(100), &json!(1)));
}

/// Sends packets of 64 datagrams to a stopped daemon with a small buffer, and waits until each unit
/// of `datagrams` is read or dropped.
fn overflow(keys: &str, datagrams: u64) {
    const PACKETS: u64 = 100;
    let daemon = Daemon::start(&listener(&format!("receive_buffer: 32KiB, {keys}")));
    daemon.signal("STOP");
    let line = format!("m:1|c|#tag:{}", "x".repeat(100));
    send_merged(&sender(), daemon.udp, &[line.as_bytes(); 64 * PACKETS as usize]);
    daemon.signal("CONT");
    let status = daemon.wait_for("the fate of each datagram or packet", |status| {
        let ledger = &status["ledger"];
        let (read, dropped) = (number(&ledger["datagrams"]), number(&ledger["kernel_drops"]));
        read.is_multiple_of(datagrams) && read / datagrams + dropped == PACKETS * 64 / datagrams
    });
    let ledger = &status["ledger"];
    assert!(number(&ledger["datagrams"]) > 0 && number(&ledger["kernel_drops"]) > 0, "{ledger}");
    assert_eq!(ledger["aggregated"], ledger["datagrams"]);
}

#[test]
fn without_gro_each_dropped_datagram_of_a_packet_is_counted() {
    overflow("gro: false", 1);
}

#[test]
fn with_gro_each_dropped_packet_is_counted() {
    overflow("gro: true", 64);
}

#[test]
fn gro_changes_only_at_a_restart() {
    let daemon = Daemon::start(&listener("gro: true"));
    let status = daemon.reload(&listener("gro: false"));
    let error = status["reload"]["last"]["error"].as_str().unwrap();
    assert!(error.contains("gro of the listener statsd/udp"), "{error}");
    let status = daemon.reload(&listener("gro: true, allow: [127.0.0.0/8]"));
    assert_eq!(status["reload"]["applied"], 1);
}

#[test]
fn merged_datagrams_are_read_whole_by_several_threads() {
    let daemon = Daemon::start(&listener("gro: true, threads: 3"));
    for _ in 0..20 {
        send_merged(&sender(), daemon.udp, &[&b"m:1|c"[..]; 70]);
    }
    let status = wait_read(&daemon, 1400);
    assert_eq!(status["ledger"]["aggregated"], 1400);
}
