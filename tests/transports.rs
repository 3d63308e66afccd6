//! Every transport through the real binary: UDP, TCP and Unix sockets, allowed senders, and the limits
//! on connections.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use common::{Daemon, PATIENCE, tallyd, total};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

/// One-second windows, written to a file as JSON.
const TO_FILE: &str = "interval: 1s\nforwarders: { file: { path: DIR/out, format: json } }\n";
const COUNTER: &str = "{\"metric_name\":\"m\",\"metric_type\":\"counter\"}\n";

/// A daemon with these listeners in addition to the one for JSON over UDP.
fn start(listeners: &[&str]) -> Daemon {
    Daemon::start(&format!("listeners: [{}]\n{TO_FILE}", listeners.join(", ")))
}

/// The first listener whose label begins with `label`.
fn listener<'a>(status: &'a Value, label: &str) -> &'a Value {
    let mut listeners = status["listeners"].as_array().unwrap().iter();
    let found = listeners.find(|one| one["listener"].as_str().unwrap().starts_with(label));
    found.unwrap_or_else(|| panic!("no {label} in {status:#}"))
}

fn connect(daemon: &Daemon) -> TcpStream {
    let stream = TcpStream::connect(daemon.address("json/tcp ")).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Waits until the daemon closes the connection.
fn wait_closed(stream: &mut TcpStream) {
    match stream.read(&mut [0]) {
        Ok(0) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("the connection was not closed: {other:?}"),
    }
}

#[test]
fn every_transport_accepts_lines_and_arrays_of_both_protocols() {
    let daemon = start(&[
        "{ transport: tcp, address: \"127.0.0.1:0\" }",
        "{ transport: unix, path: DIR/stream }",
        "{ transport: unix_datagram, path: DIR/datagram }",
        "{ protocol: statsd, transport: tcp, address: \"127.0.0.1:0\" }",
        "{ protocol: statsd, transport: unix, path: DIR/statsd }",
    ]);
    let one = COUNTER.trim_end();
    let json = format!("{COUNTER}\r\n[{one}, {one}]\nnonsense\n[{one}\n{COUNTER}{one}");
    daemon.send(json.replace(['[', ']'], "").replace(", ", "\n"));
    connect(&daemon).write_all(json.as_bytes()).unwrap();
    let mut stream = UnixStream::connect(daemon.path("stream")).unwrap();
    stream.write_all(json.as_bytes()).unwrap();
    drop(stream);
    let datagram = UnixDatagram::unbound().unwrap();
    datagram.connect(daemon.path("datagram")).unwrap();
    datagram.send(format!("{COUNTER}{COUNTER}").as_bytes()).unwrap();
    datagram.send(format!(" [{one},\n{one},{one}]").as_bytes()).unwrap();
    let statsd = "s[a=b]:1|c\n_e{1,1}:a|b\ns:1:2|c|#[:x\r\nwrong\ns:1|c";
    let address = daemon.address("statsd/tcp ");
    TcpStream::connect(address).unwrap().write_all(statsd.as_bytes()).unwrap();
    let mut stream = UnixStream::connect(daemon.path("statsd")).unwrap();
    stream.write_all(statsd.as_bytes()).unwrap();
    drop(stream);

    let status = daemon.wait_received(7 + 7 + 7 + 5 + 5 + 5);
    let one_ended = json!({"open": 0, "accepted": 1, "closed": {"by_peer": 1}});
    for (label, bytes, aggregated, rejected, skipped) in [
        ("json/tcp ", json.len(), 5, json!({"bad_json": 2}), 0),
        ("json/unix ", json.len(), 5, json!({"bad_json": 2}), 0),
        ("statsd/tcp ", statsd.len(), 4, json!({"bad_line": 1}), 1),
        ("statsd/unix ", statsd.len(), 4, json!({"bad_line": 1}), 1),
    ] {
        let listener = listener(&status, label);
        assert_eq!(listener["bytes"], bytes, "{listener:#}");
        assert_eq!(listener["aggregated"], aggregated, "{listener:#}");
        assert_eq!(listener["rejected"], rejected, "{listener:#}");
        assert_eq!(listener["skipped"], skipped, "{listener:#}");
        assert_eq!(listener["connections"], one_ended, "{listener:#}");
        assert_eq!(listener["refused"], json!({}));
        assert_eq!((&listener["datagrams"], &listener["kernel_drops"]), (&json!(0), &json!(0)));
    }
    let datagrams = listener(&status, "json/unix_datagram ");
    assert_eq!((&datagrams["datagrams"], &datagrams["aggregated"]), (&json!(2), &json!(5)));
    assert_eq!(datagrams["connections"], Value::Null);
    let points = daemon.stop().points("out");
    assert_eq!(total(&points, "m", "count"), 6.0 + 15.0);
    assert_eq!(total(&points, "s", "count"), 10.0);
}

#[test]
fn packets_with_lengths_are_read_and_one_that_is_too_long_closes_its_connection() {
    let section =
        "{ protocol: statsd, transport: unix, path: DIR/packets, max_line: 256B, framing: ";
    let daemon = start(&[&format!("{section}length_prefixed }}")]);
    let packet =
        |content: &str| [&(content.len() as u32).to_le_bytes(), content.as_bytes()].concat();
    let connect = || UnixStream::connect(daemon.path("packets")).unwrap();
    let mut stream = connect();
    stream.write_all(&packet("m:1|c\nm:2|c|#k:v\n")).unwrap();
    let bytes = [packet(""), packet("m:3|c"), packet(&"x".repeat(257)), packet("m:4|c")].concat();
    stream.write_all(&bytes).unwrap();
    assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)), "the connection is closed");
    // A client that sends lines without lengths.
    connect().write_all(b"m:5|c\n").unwrap();
    connect().write_all(&packet("m:6|c")[..7]).unwrap();
    let closed = json!({"bad_packet": 2, "by_peer": 1});
    let status = daemon.wait_for("three closed connections", |status| {
        listener(status, "statsd/unix ")["connections"]["closed"] == closed
    });
    let packets = listener(&status, "statsd/unix ");
    assert_eq!(packets["aggregated"], 3);
    assert_eq!(packets["rejected"], json!({"too_long": 2, "unfinished": 1}));
    // A reload applies to new connections.
    let mut open = connect();
    open.write_all(&packet("m:10|c")).unwrap();
    daemon.wait_received(7);
    daemon.reload(&format!("listeners: [{section}lines }}]\n{TO_FILE}"));
    open.write_all(&packet("m:20|c")).unwrap();
    connect().write_all(b"m:30|c\n").unwrap();
    daemon.wait_received(9);
    assert_eq!(total(&daemon.stop().points("out"), "m", "count"), 66.0);
}

#[test]
fn a_line_is_a_message_however_it_is_fragmented() {
    let daemon = start(&["{ transport: tcp, address: \"127.0.0.1:0\" }"]);
    let mut stream = connect(&daemon);
    for byte in format!("{}\r\n{COUNTER}", COUNTER.trim_end()).bytes() {
        stream.write_all(&[byte]).unwrap();
    }
    daemon.wait_received(2);
    stream.write_all(format!("{COUNTER}{COUNTER}").as_bytes()).unwrap();
    daemon.wait_received(4);
    let (head, tail) = COUNTER.split_at(20);
    stream.write_all(format!("{COUNTER}{head}").as_bytes()).unwrap();
    daemon.wait_received(5);
    stream.write_all(format!("{tail}{}", COUNTER.trim_end()).as_bytes()).unwrap();
    daemon.wait_received(6);
    // The last line is ended only by the end of the connection.
    stream.shutdown(Shutdown::Write).unwrap();
    let status = daemon.wait_received(7);
    assert_eq!(status["ledger"]["aggregated"], 7);
    wait_closed(&mut stream);
    assert_eq!(total(&daemon.stop().points("out"), "m", "count"), 7.0);
}

#[test]
fn a_rejected_line_is_shown_alone_with_its_sender() {
    let daemon = start(&[
        "{ transport: tcp, address: \"127.0.0.1:0\" }",
        "{ transport: unix, path: DIR/stream }",
    ]);
    let rejected = || {
        let listed: Value = serde_json::from_str(&daemon.get("/api/v1/rejected").1).unwrap();
        listed["rejected"][0].clone()
    };
    let mut stream = connect(&daemon);
    stream.write_all(format!("{COUNTER}{{\"wrong\"}}\n{COUNTER}").as_bytes()).unwrap();
    daemon.wait_received(3);
    let message = rejected();
    assert_eq!(message["excerpt"], "{\"wrong\"}");
    assert_eq!(message["offset"], 8);
    assert_eq!(message["sender"], stream.local_addr().unwrap().to_string());

    let path = daemon.path("stream");
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(b"5\n").unwrap();
    daemon.wait_received(4);
    let message = rejected();
    assert_eq!(message["reason"], "not_an_object");
    let sender = format!("unix:{} (pid {})", path.display(), std::process::id());
    assert_eq!(message["sender"], sender);
}

#[test]
fn a_line_that_is_too_long_is_rejected_and_its_neighbours_stay() {
    let daemon = start(&["{ transport: tcp, address: \"127.0.0.1:0\", max_line: 1KiB }"]);
    let mut stream = connect(&daemon);
    let long = format!("{{\"metric_name\":\"{}\"}}\n", "x".repeat(100_000));
    stream.write_all(format!("{COUNTER}{long}{COUNTER}").as_bytes()).unwrap();
    daemon.wait_received(3);
    // The line is rejected before its end has arrived.
    stream.write_all(&long.as_bytes()[..2000]).unwrap();
    let status = daemon.wait_received(4);
    assert_eq!(status["ledger"]["rejected"], json!({"too_long": 2}));
    stream.write_all(&long.as_bytes()[2000..]).unwrap();
    let longest = format!("{}{COUNTER}", " ".repeat(1024 - COUNTER.len() + 1));
    stream.write_all(format!("{longest} {longest}{COUNTER}").as_bytes()).unwrap();
    let status = daemon.wait_received(7);
    assert_eq!(status["ledger"]["aggregated"], 4);
    assert_eq!(status["ledger"]["rejected"], json!({"too_long": 3}));
    assert_eq!(listener(&status, "json/tcp")["connections"]["open"], 1);
    let listed: Value = serde_json::from_str(&daemon.get("/api/v1/rejected").1).unwrap();
    let first = &listed["rejected"][2];
    assert!(first["excerpt"].as_str().unwrap().starts_with("{\"metric_name\":\"xxx"), "{first}");
    assert_eq!(first["offset"], 1024);
}

#[test]
fn slow_connections_delay_no_other() {
    let daemon = start(&["{ transport: tcp, address: \"127.0.0.1:0\" }"]);
    let to = daemon.address("json/tcp ");
    let slow: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = TcpStream::connect(to).unwrap();
            stream.write_all(b"{").unwrap();
            stream
        })
        .collect();
    daemon.wait_for("all of them", |status| {
        listener(status, "json/tcp")["bytes"].as_u64() == Some(200)
    });
    let mut quick = connect(&daemon);
    quick.write_all(COUNTER.repeat(1000).as_bytes()).unwrap();
    daemon.send(COUNTER);
    let status = daemon.wait_received(1001);
    assert_eq!(listener(&status, "json/tcp")["connections"]["open"], 201);
    // The window is handed over although they are open.
    let path = daemon.path("out");
    daemon.wait_for("a window", |_| path.exists());
    drop(slow);
    let status = daemon
        .wait_for("their end", |status| listener(status, "json/tcp")["connections"]["open"] == 1);
    assert_eq!(status["ledger"]["rejected"], json!({"bad_json": 200}));
}

/// The counts of connections of the listener at `json/tcp`.
fn connections(status: &Value) -> &Value {
    &listener(status, "json/tcp")["connections"]
}

#[test]
fn beyond_the_limit_the_longest_idle_connection_makes_room() {
    let daemon = start(&["{ transport: tcp, address: \"127.0.0.1:0\", max_connections: 3 }"]);
    let mut open = Vec::new();
    for sent in 1..=3 {
        open.push(connect(&daemon));
        open[sent - 1].write_all(COUNTER.as_bytes()).unwrap();
        daemon.wait_received(sent as u64);
    }
    // The second one is the longest idle now.
    open[0].write_all(COUNTER.as_bytes()).unwrap();
    daemon.wait_received(4);
    let (head, _) = COUNTER.split_at(20);
    open[1].write_all(head.as_bytes()).unwrap();
    let mut another = connect(&daemon);
    another.write_all(COUNTER.as_bytes()).unwrap();
    let status = daemon.wait_received(6);
    wait_closed(&mut open[1]);
    let expected = json!({"open": 3, "accepted": 4, "closed": {"evicted": 1}});
    assert_eq!(*connections(&status), expected);
    assert_eq!(status["ledger"]["rejected"], json!({"unfinished": 1}));
    assert_eq!(listener(&status, "json/tcp")["refused"], json!({}));
    for stream in [&mut open[0], &mut another] {
        stream.write_all(COUNTER.as_bytes()).unwrap();
    }
    daemon.wait_received(8);
    let stopped = daemon.stop();
    let told = stopped.warnings().iter().filter(|entry| entry.contains("max_connections")).count();
    assert_eq!(told, 1, "{:?}", stopped.warnings());
}

#[test]
fn data_that_the_kernel_holds_is_read_before_a_connection_makes_room() {
    let daemon = start(&["{ transport: tcp, address: \"127.0.0.1:0\", max_connections: 2 }"]);
    let mut silent = connect(&daemon);
    let mut sender = connect(&daemon);
    silent.write_all(COUNTER.as_bytes()).unwrap();
    daemon.wait_received(1);
    sender.write_all(COUNTER.as_bytes()).unwrap();
    daemon.wait_received(2);
    let to = daemon.address("json/tcp ");
    // While the daemon is stopped, the kernel buffers lines and accepts connections.
    daemon.signal("STOP");
    silent.write_all(COUNTER.repeat(1_000).as_bytes()).unwrap();
    let mut newcomer = TcpStream::connect(to).unwrap();
    newcomer.write_all(COUNTER.as_bytes()).unwrap();
    sender.write_all(COUNTER.trim_end().as_bytes()).unwrap();
    sender.shutdown(Shutdown::Write).unwrap();
    daemon.signal("CONT");
    let status = daemon.wait_received(2 + 1_000 + 1 + 1);
    assert_eq!(status["ledger"]["rejected"], json!({}));
    let expected = json!({"open": 2, "accepted": 3, "closed": {"by_peer": 1}});
    assert_eq!(*connections(&status), expected);
}

#[test]
fn one_address_cannot_take_the_places_of_others() {
    let tcp = "{ transport: tcp, address: \"127.0.0.1:0\", max_connections: 4, \
               max_connections_per_address: 2 }";
    let daemon = start(&[tcp]);
    let to = daemon.address("json/tcp ");
    let mut first = connect_from([127, 0, 0, 2].into(), to);
    first.write_all(COUNTER.as_bytes()).unwrap();
    daemon.wait_received(1);
    let many: Vec<_> = (0..10).map(|_| connect_from([127, 0, 0, 3].into(), to)).collect();
    let status = daemon.wait_for("all", |status| connections(status)["accepted"] == 11);
    assert_eq!(*connections(&status), json!({"open": 3, "accepted": 11, "closed": {"evicted": 8}}));
    first.write_all(COUNTER.as_bytes()).unwrap();
    daemon.wait_received(2);
    drop(many);
    let stopped = daemon.stop();
    let warnings = stopped.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("max_connections_per_address"), "{warnings:?}");
}

#[test]
fn unix_connections_make_room_too() {
    let daemon = start(&["{ transport: unix, path: DIR/stream, max_connections: 1 }"]);
    let mut first = UnixStream::connect(daemon.path("stream")).unwrap();
    first.write_all(COUNTER.as_bytes()).unwrap();
    daemon.wait_received(1);
    let mut second = UnixStream::connect(daemon.path("stream")).unwrap();
    second.write_all(COUNTER.as_bytes()).unwrap();
    let status = daemon.wait_received(2);
    assert_eq!(
        listener(&status, "json/unix")["connections"],
        json!({"open": 1, "accepted": 2, "closed": {"evicted": 1}})
    );
    assert_eq!(first.read(&mut [0]).unwrap(), 0, "the first is closed");
}

/// The kernel's keepalive timer of a connection's other end, as `ss` shows it.
fn keepalive_timer(of: &TcpStream) -> Option<Duration> {
    // /proc/net/tcp shows an active timer as NN:WHEN, and 02 is keepalive. Its unit is 10 ms.
    let hex = |address: SocketAddr| match address {
        SocketAddr::V4(v4) => {
            format!("{:08X}:{:04X}", u32::from_ne_bytes(v4.ip().octets()), v4.port())
        }
        SocketAddr::V6(_) => panic!("not in this table"),
    };
    let ends = format!("{} {} 01", hex(of.peer_addr().unwrap()), hex(of.local_addr().unwrap()));
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let line = table.lines().find(|line| line.contains(&ends)).unwrap();
    let timer = line.split_whitespace().nth(5).unwrap().strip_prefix("02:")?;
    Some(Duration::from_millis(10 * u64::from_str_radix(timer, 16).unwrap()))
}

#[test]
fn the_kernel_looks_for_dead_peers_and_silent_ones_stay() {
    let listeners =
        |keepalive: &str| format!("{{ transport: tcp, address: \"127.0.0.1:0\"{keepalive} }}");
    let daemon = start(&[&listeners("")]);
    let mut stream = connect(&daemon);
    stream.write_all(COUNTER.as_bytes()).unwrap();
    daemon.wait_received(1);
    let within = |from, to| move |left: Duration| (from..=to).contains(&left.as_secs());
    assert!(keepalive_timer(&stream).is_some_and(within(30, 61)), "{:?}", keepalive_timer(&stream));
    // A reload reaches connections that are open.
    daemon.reload(&format!("listeners: [{}]\n{TO_FILE}", listeners(", keepalive: 1h")));
    let mut later = connect(&daemon);
    later.write_all(COUNTER.as_bytes()).unwrap();
    daemon.wait_received(2);
    assert!(keepalive_timer(&later).is_some_and(within(3_500, 3_601)));
    daemon.reload(&format!("listeners: [{}]\n{TO_FILE}", listeners(", keepalive: none")));
    assert_eq!(keepalive_timer(&later), None);
    stream.write_all(COUNTER.as_bytes()).unwrap();
    daemon.wait_received(3);
    assert_eq!(connections(&daemon.status())["closed"], json!({}));
}

#[test]
fn idle_connections_are_closed_even_if_single_bytes_arrive() {
    let daemon = start(&["{ transport: tcp, address: \"127.0.0.1:0\", idle_timeout: 200ms }"]);
    let mut silent = connect(&daemon);
    silent.write_all(COUNTER.as_bytes()).unwrap();
    let mut trickling = connect(&daemon);
    trickling.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "single bytes keep a connection");
        if trickling.write_all(b"x").is_err() {
            break;
        }
        match trickling.read(&mut [0]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            _ => break,
        }
    }
    wait_closed(&mut silent);
    let status = daemon.wait_for("both", |status| {
        listener(status, "json/tcp")["connections"]["closed"]["idle"] == 2
    });
    // The beginning of a line is not recorded as a whole one.
    assert_eq!(status["ledger"]["aggregated"], 1);
    assert_eq!(status["ledger"]["rejected"], json!({"unfinished": 1}));
}

#[test]
fn a_burst_over_connections_is_received_completely() {
    const CONNECTIONS: usize = 4;
    const MESSAGES: usize = 50_000;
    let daemon = start(&["{ transport: tcp, address: \"127.0.0.1:0\" }"]);
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let mut stream = connect(&daemon);
                stream.write_all(COUNTER.repeat(MESSAGES).as_bytes()).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
                wait_closed(&mut stream);
            });
        }
    });
    let sent = (CONNECTIONS * MESSAGES) as u64;
    let status = daemon.status();
    assert_eq!(status["ledger"]["aggregated"], sent, "whoever sees the end was heard");
    let stopped = daemon.stop();
    assert_eq!(total(&stopped.points("out"), "m", "count"), sent as f64);
    assert_eq!(stopped.warnings(), [""; 0]);
}

/// Waits until the peer's kernel has acknowledged all data and the end.
fn wait_acknowledged(stream: &TcpStream) {
    let hex = |address: SocketAddr| match address {
        SocketAddr::V4(v4) => {
            format!("{:08X}:{:04X}", u32::from_ne_bytes(v4.ip().octets()), v4.port())
        }
        SocketAddr::V6(_) => panic!("not in this table"),
    };
    // The columns are local address, remote address and state; 05 is FIN_WAIT2.
    let (local, peer) = (hex(stream.local_addr().unwrap()), hex(stream.peer_addr().unwrap()));
    let acknowledged = format!("{local} {peer} 05");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        if table.contains(&acknowledged) {
            return;
        }
        let mut ends = table.lines().filter(|line| line.contains(&local) && line.contains(&peer));
        assert!(Instant::now() < deadline, "no acknowledgement: {:?}", ends.next());
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn data_in_kernel_buffers_at_a_stop_is_received() {
    let daemon = start(&[
        "{ transport: tcp, address: \"127.0.0.1:0\" }",
        "{ transport: unix, path: DIR/stream }",
        "{ transport: unix_datagram, path: DIR/datagram }",
    ]);
    let to = daemon.address("json/tcp ");
    let mut known = connect(&daemon);
    known.write_all(COUNTER.as_bytes()).unwrap();
    daemon.wait_received(1);

    daemon.signal("STOP");
    // Some connections that are not accepted yet, and one that stays open.
    let streams: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = TcpStream::connect(to).unwrap();
            stream.write_all(COUNTER.repeat(200).as_bytes()).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            stream
        })
        .collect();
    known.write_all(COUNTER.repeat(3).as_bytes()).unwrap();
    let mut unix = UnixStream::connect(daemon.path("stream")).unwrap();
    unix.write_all(COUNTER.repeat(200).as_bytes()).unwrap();
    unix.write_all(b"{\"metric_name\":\"m\",").unwrap();
    let datagram = UnixDatagram::unbound().unwrap();
    datagram.connect(daemon.path("datagram")).unwrap();
    datagram.send(COUNTER.repeat(5).as_bytes()).unwrap();
    daemon.send(COUNTER.repeat(7));
    streams.iter().for_each(wait_acknowledged);
    daemon.signal("TERM");
    daemon.signal("CONT");

    let stopped = daemon.wait();
    assert!(stopped.status.success());
    let sent = 1 + 20 * 200 + 3 + 200 + 5 + 7;
    assert_eq!(total(&stopped.points("out"), "m", "count"), f64::from(sent));
    let ledger = stopped.log.iter().find(|entry| entry["message"] == "ledger of the listeners");
    assert_eq!(ledger.unwrap()["received"], sent + 1);
    assert!(ledger.unwrap()["rejected"].to_string().contains("unfinished"), "{ledger:?}");
    assert!(!stopped.folder.path().join("stream").exists());
    assert!(!stopped.folder.path().join("datagram").exists());
}

/// Connects from a source address.
fn connect_from(source: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn only_messages_of_allowed_senders_are_decoded() {
    let daemon = start(&[
        "{ transport: tcp, address: \"127.0.0.1:0\", allow: [127.0.0.2, \"fd00::/8\"] }",
        "{ protocol: statsd, address: \"[::]:0\", allow: [127.0.0.2/31, \"::1\"] }",
    ]);
    let tcp = daemon.address("json/tcp ");
    let udp = SocketAddr::new([127, 0, 0, 1].into(), daemon.address("statsd/udp ").port());
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..50 {
        stranger.send_to(b"m:1|c", udp).unwrap();
        // A refused message is not decoded, so it is not counted as rejected.
        stranger.send_to(b"nonsense", udp).unwrap();
        wait_closed(&mut connect_from([127, 0, 0, 1].into(), tcp));
    }
    let status = daemon.wait_for("all to be refused", |status| {
        listener(status, "statsd/udp")["refused"]["not_allowed"] == 100
    });
    for (label, refused) in [("statsd/udp", 100), ("json/tcp", 50)] {
        let listener = listener(&status, label);
        assert_eq!(listener["refused"], json!({"not_allowed": refused}));
        for count in ["received", "aggregated", "datagrams", "bytes", "skipped"] {
            assert_eq!(listener[count], 0, "{count} in {listener:#}");
        }
    }
    // Over a dual-stack socket, an IPv4 sender still matches IPv4 networks.
    let friend = UdpSocket::bind("127.0.0.2:0").unwrap();
    friend.send_to(b"m:1|c", udp).unwrap();
    let friend = UdpSocket::bind("[::1]:0").unwrap();
    friend.send_to(b"m:1|c", ("::1", udp.port())).unwrap();
    let mut friend = connect_from([127, 0, 0, 2].into(), tcp);
    friend.write_all(COUNTER.as_bytes()).unwrap();
    let status = daemon.wait_received(3);
    assert_eq!(status["ledger"]["aggregated"], 3);
    let stopped = daemon.stop();
    let told: Vec<_> =
        stopped.warnings().into_iter().filter(|entry| entry.contains("`allow`")).collect();
    assert_eq!(told.len(), 2, "one for each listener: {told:?}");
    assert!(told.iter().all(|entry| entry.contains("127.0.0.1:")), "{told:?}");
}

#[test]
fn ipv4_and_ipv6_work_alone_and_together() {
    let daemon = start(&[
        "{ transport: tcp, address: \"[::1]:0\" }",
        "{ protocol: statsd, address: \"[::1]:0\" }",
        "{ protocol: statsd, transport: tcp, address: \"[::]:0\" }",
    ]);
    let send = |to: SocketAddr, text: &str| {
        TcpStream::connect(to).unwrap().write_all(text.as_bytes()).unwrap();
    };
    send(daemon.address("json/tcp [::1]:"), COUNTER);
    let socket = UdpSocket::bind("[::1]:0").unwrap();
    socket.send_to(b"m:1|c", daemon.address("statsd/udp [::1]:")).unwrap();
    let port = daemon.address("statsd/tcp [::]:").port();
    send(SocketAddr::new("::1".parse().unwrap(), port), "m:1|c\n");
    daemon.wait_received(3);
    send(SocketAddr::new([127, 0, 0, 1].into(), port), "wrong\n");
    daemon.wait_received(4);
    let listed: Value = serde_json::from_str(&daemon.get("/api/v1/rejected").1).unwrap();
    let sender = listed["rejected"][0]["sender"].as_str().unwrap();
    assert!(sender.starts_with("127.0.0.1:"), "{sender}");
    assert_eq!(total(&daemon.stop().points("out"), "m", "count"), 3.0);
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_stale_socket_file_is_replaced_and_removed_at_the_stop() {
    let folder = tempfile::tempdir().unwrap();
    let (stream, datagram) = (folder.path().join("stream"), folder.path().join("datagram"));
    // Dropping the sockets leaves their files.
    drop(UnixListener::bind(&stream).unwrap());
    drop(UnixDatagram::bind(&datagram).unwrap());
    let daemon = start(&[
        &format!("{{ transport: unix, path: {} }}", stream.display()),
        &format!("{{ transport: unix_datagram, path: {}, mode: 0602 }}", datagram.display()),
    ]);
    assert_eq!((mode(&stream), mode(&datagram)), (0o660, 0o602));
    UnixStream::connect(&stream).unwrap().write_all(COUNTER.as_bytes()).unwrap();
    let sender = UnixDatagram::unbound().unwrap();
    // The largest datagram that the default send buffer allows.
    let most = COUNTER.repeat(200_000 / COUNTER.len());
    sender.send_to(most.as_bytes(), &datagram).unwrap();
    let sent = 1 + most.lines().count() as u64;
    assert_eq!(daemon.wait_received(sent)["ledger"]["aggregated"], sent);
    daemon.stop();
    assert!(!stream.exists() && !datagram.exists());
}

#[test]
fn a_file_that_is_not_a_socket_is_kept() {
    let daemon = start(&["{ transport: unix, path: DIR/stream }"]);
    let (path, moved) = (daemon.path("stream"), daemon.path("moved"));
    fs::rename(&path, &moved).unwrap();
    let other = UnixListener::bind(&path).unwrap();
    let stopped = daemon.stop();
    assert_eq!(stopped.warnings(), [""; 0]);
    assert!(path.exists() && moved.exists());
    drop(other);
}

/// The error of a daemon that must not start with this listener.
fn refusal(listener: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tallyd.yaml");
    fs::write(&file, format!("log: {{ level: error }}\nlisteners: [{listener}]\n")).unwrap();
    let output = tallyd().args(["run", "--config", file.to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn an_address_in_use_is_refused() {
    let daemon = start(&[
        "{ transport: tcp, address: \"127.0.0.1:0\" }",
        "{ transport: unix, path: DIR/stream }",
        "{ transport: unix_datagram, path: DIR/datagram }",
    ]);
    for name in ["stream", "datagram"] {
        for transport in ["unix", "unix_datagram"] {
            let path = daemon.path(name);
            let said = refusal(&format!("{{ transport: {transport}, path: {} }}", path.display()));
            assert!(said.starts_with(&format!("cannot listen on {}: ", path.display())), "{said}");
            assert!(said.contains("another program listens there"), "{said}");
            assert!(path.metadata().unwrap().file_type().is_socket());
        }
    }
    let to = daemon.address("json/tcp ");
    let said = refusal(&format!("{{ transport: tcp, address: \"{to}\" }}"));
    assert!(said.contains("another program listens there"), "{said}");

    let path = daemon.path("tallyd.yaml");
    let said = refusal(&format!("{{ transport: unix, path: {} }}", path.display()));
    assert!(said.contains("path exists and is not a socket; remove it"), "{said}");
    assert!(fs::read_to_string(&path).unwrap().contains("listeners"));
    let path = daemon.path("missing/socket");
    let said = refusal(&format!("{{ transport: unix, path: {} }}", path.display()));
    assert!(said.contains("its folder does not exist"), "{said}");

    let status = daemon.status();
    let accepted = &listener(&status, "json/unix ")["connections"]["accepted"];
    assert_eq!(*accepted, 0, "to ask whether somebody answers is no connection");
}

#[test]
fn contradictory_keys_are_refused_at_their_position() {
    let long = format!("listeners:\n  - transport: unix\n    path: /run/{}", "x".repeat(120));
    for (text, first_line, more) in [
        (
            "listeners:\n  - transport: unix\n    address: 127.0.0.1:1",
            "FILE:3:14: `listeners[0].address` cannot be used with `transport: unix`",
            "`address` is for `udp` and `tcp`; `unix` listens on a `path`",
        ),
        (
            "listeners:\n  - path: /run/x\n    transport: tcp\n    address: 127.0.0.1:1",
            "FILE:2:11: `listeners[0].path` cannot be used with `transport: tcp`",
            "`path` is for `unix` and `unix_datagram`; `tcp` listens on an `address`",
        ),
        (
            "listeners:\n  - address: 127.0.0.1:1\n  - { path: /run/x }",
            "FILE:3:13: `listeners[1].path` cannot be used with `transport: udp`",
            "3 |   - { path: /run/x }",
        ),
        (
            "listeners:\n  - protocol: statsd\n    transport: tcp",
            "FILE:2:5: `listeners[0].address` is missing",
            "",
        ),
        ("listeners: [{ transport: unix }]", "FILE:1:13: `listeners[0].path` is missing", ""),
        ("listeners: [{}]", "FILE:1:13: `listeners[0].address` is missing", ""),
        (
            "listeners:\n  - transport: unix\n    path: /run/x\n    allow:\n      - 10.0.0.0/8",
            "FILE:4:5: `listeners[0].allow` cannot be used with `transport: unix`",
            "",
        ),
        (
            "listeners:\n  - { transport: tcp, address: \"[::]:1\", threads: 2 }",
            "FILE:2:51: `listeners[0].threads` cannot be used with `transport: tcp`",
            "`threads` is for `udp`;",
        ),
        (
            "listeners: [{ address: \"[::]:1\", max_line: 1KiB }]",
            "FILE:1:44: `listeners[0].max_line` cannot be used with `transport: udp`",
            "`max_line` is for `tcp` and `unix`;",
        ),
        (
            "listeners: [{ transport: tcp, address: \"[::]:1\", framing: length_prefixed }]",
            "FILE:1:59: `listeners[0].framing` cannot be used with `transport: tcp`",
            "`framing` is for `unix`;",
        ),
        (
            "listeners: [{ address: \"[::]:1\", gauges: level }]",
            "FILE:1:42: `listeners[0].gauges` requires `protocol: statsd`",
            "a string with a sign changes it",
        ),
        (
            "listeners: [{ transport: sctp }]",
            "FILE:1:26: `listeners[0].transport` cannot be `sctp`",
            "allowed: udp, tcp, unix, unix_datagram",
        ),
        (
            "listeners:\n  - address: 127.0.0.1:1\n    allow: [127.0.0.0/8, 10.0.0.1/8]",
            "FILE:3:26: `listeners[0].allow[1]`: `10.0.0.1/8` has bits set after the first 8: for the \
             network write 10.0.0.0/8",
            "^^^^^^^^^^",
        ),
        (
            "listeners:\n  - address: 127.0.0.1:1\n    allow: [localhost]",
            "FILE:3:13: `listeners[0].allow[0]`: expected a network such as",
            "",
        ),
        (
            "listeners: [{ transport: unix, path: /run/x, mode: 0680 }]",
            "FILE:1:52: `listeners[0].mode`: expected octal permissions of up to three digits",
            "",
        ),
        (
            "listeners: [{ transport: tcp, address: \"[::]:1\", max_connections: 0 }]",
            "FILE:1:67: `listeners[0].max_connections`: must be between 1 and 65536, not 0",
            "",
        ),
        (
            "listeners: [{ transport: tcp, address: \"[::]:1\", max_line: 1GiB }]",
            "FILE:1:60: `listeners[0].max_line`: must be between 256B and 16MiB, not 1GiB",
            "",
        ),
        (
            "listeners: [{ transport: tcp, address: \"[::]:1\", idle_timeout: 1week }]",
            "FILE:1:64: `listeners[0].idle_timeout`: a duration is a number with a unit",
            "",
        ),
        (
            &long,
            "FILE:3:11: `listeners[0].path`: the path of a socket must have 1 to 107 bytes, not 125",
            "",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tallyd.yaml");
        fs::write(&file, text).unwrap();
        let file = file.to_str().unwrap();
        for command in ["check", "run"] {
            let output = tallyd().args([command, "--config", file]).output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap().replace(file, "FILE");
            assert_eq!(output.status.code(), Some(1), "{text}\n{said}");
            assert!(said.starts_with(first_line), "{text}\n{said}");
            assert!(said.contains(more), "{text}\n{said}");
        }
    }
}

#[test]
fn check_names_every_listener() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tallyd.yaml");
    let listeners = "{ transport: tcp, address: 127.0.0.1:8125, protocol: statsd }, \
        { transport: unix, path: /run/x.sock }, { transport: unix_datagram, path: /run/y.sock }";
    fs::write(&file, format!("listeners: [{listeners}]\nbind_port: 5090\n")).unwrap();
    let output = tallyd().args(["check", "--config", file.to_str().unwrap()]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let labels = "listens on json/udp 127.0.0.1:5090, statsd/tcp 127.0.0.1:8125, \
        json/unix /run/x.sock, json/unix_datagram /run/y.sock\n";
    assert!(said.contains(labels), "{said}");
}
