//! Names with several addresses, and names whose addresses change: listeners, endpoints, destinations
//! and commands.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use common::http_request::HttpRequest;
use common::{Daemon, PATIENCE, hosts, total};
use serde_json::{Value, json};

const TO_FILE: &str = "interval: 1s\nforwarders: { file: { path: DIR/out, format: json } }\n";
const BOTH: &str = "127.0.0.1 both\n::1 both\n127.0.0.1 both\n";

/// The addresses of the sockets whose labels begin with `label`.
fn addresses(status: &Value, label: &str) -> Vec<SocketAddr> {
    let labels = status["listeners"].as_array().unwrap().iter();
    labels
        .filter_map(|one| one["listener"].as_str().unwrap().strip_prefix(label))
        .map(|address| address.parse().unwrap())
        .collect()
}

/// The addresses that the log names for an endpoint.
fn logged(log: &[Value], start: &str) -> Vec<SocketAddr> {
    let lines = log.iter().filter(|entry| entry["message"].as_str().unwrap().starts_with(start));
    lines.map(|entry| entry["address"].as_str().unwrap().parse().unwrap()).collect()
}

fn send_udp(to: SocketAddr, text: &str) {
    let any = if to.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
    UdpSocket::bind(any).unwrap().send_to(text.as_bytes(), to).unwrap();
}

fn send_tcp(to: SocketAddr, text: &str) {
    TcpStream::connect(to).unwrap().write_all(text.as_bytes()).unwrap();
}

fn families(addresses: &[SocketAddr]) -> Vec<bool> {
    let mut families: Vec<_> = addresses.iter().map(SocketAddr::is_ipv6).collect();
    families.sort_unstable();
    families
}

#[test]
fn listeners_and_endpoints_bind_every_address_of_their_name() {
    let config = "bind_address: both\nadmin: { listen: 'both:0' }\nlisteners:\n\
        \x20 - { address: 'both:0', protocol: statsd, threads: 2 }\n\
        \x20 - { address: 'both:0', protocol: statsd, transport: tcp }\n\
        interval: 1s\nforwarders: { file: { path: DIR/out, format: json }, \
        prometheus: { listen: 'both:0' } }\n";
    let Some(daemon) = hosts::start(BOTH, config) else { return };
    let status = daemon.status();
    let json = addresses(&status, "json/udp ");
    let udp = addresses(&status, "statsd/udp ");
    let tcp = addresses(&status, "statsd/tcp ");
    assert_eq!(families(&json), [false, true]);
    assert_eq!(families(&tcp), [false, true]);
    assert_eq!(families(&udp), [false, false, true, true], "two threads for each address");
    json.iter().for_each(|to| send_udp(*to, r#"{"metric_name":"m","metric_type":"counter"}"#));
    udp.iter().for_each(|to| send_udp(*to, "m:1|c"));
    tcp.iter().for_each(|to| send_tcp(*to, "m:1|c\n"));
    daemon.wait_received(2 + 4 + 2);
    let stopped = daemon.stop();
    assert_eq!(total(&stopped.points("out"), "m", "count"), 8.0);
    assert_eq!(stopped.warnings(), [""; 0]);
    for endpoint in ["admin endpoint", "Prometheus page"] {
        assert_eq!(families(&logged(&stopped.log, endpoint)), [false, true], "{endpoint}");
    }
}

#[test]
fn both_addresses_of_an_endpoint_answer() {
    let config = format!("{TO_FILE}admin: {{ listen: 'both:0' }}\n");
    let Some(daemon) = hosts::start(BOTH, &config) else { return };
    // The log is complete only at the end, so a second daemon uses the port that it names.
    let port = logged(&daemon.stop().log, "admin endpoint")[0].port();
    let config = format!("{TO_FILE}admin: {{ listen: 'both:{port}' }}\n");
    let Some(_daemon) = hosts::start(BOTH, &config) else { return };
    for host in ["127.0.0.1", "[::1]"] {
        let url = format!("http://{host}:{port}/readyz");
        assert_eq!(common::get(url).unwrap().status(), 200, "{host}");
    }
}

#[test]
fn an_address_that_this_host_lacks_is_left_out_if_the_name_has_another() {
    // 203.0.113.0/24 is reserved for documentation.
    let part = "203.0.113.7 part\n127.0.0.1 part\n203.0.113.7 none\n203.0.113.8 none\n";
    let config = format!(
        "{TO_FILE}listeners: [{{ address: 'part:0', protocol: statsd }}, \
         {{ address: 'part:0', protocol: statsd, transport: tcp }}]\n"
    );
    let Some(daemon) = hosts::start(part, &config) else { return };
    let status = daemon.status();
    let udp = addresses(&status, "statsd/udp ");
    assert_eq!((udp.len(), udp[0].ip().to_string().as_str()), (1, "127.0.0.1"));
    // An unchanged reload keeps the socket, and does not fail for the other address.
    let status = daemon.reload(&config);
    assert_eq!(status["reload"]["applied"], 1, "{:#}", status["reload"]);
    assert_eq!(addresses(&status, "statsd/udp "), udp);
    let status = daemon.reload(&config.replace("part", "none"));
    let error = status["reload"]["last"]["error"].as_str();
    let error = error.unwrap_or_else(|| panic!("{status:#}"));
    assert!(error.contains("203.0.113.") && error.contains("no interface of this host"), "{error}");
    let stopped = daemon.stop();
    let warnings = stopped.warnings();
    assert!(warnings.iter().any(|line| line.contains("203.0.113.7") && line.contains("left out")));
}

#[test]
fn an_address_that_two_names_share_is_one_error_at_its_entry() {
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("hosts");
    std::fs::write(&hosts, BOTH).unwrap();
    let config = "bind_address: both\nbind_port: 9\nadmin: { listen: 'both:8' }\nlisteners:\n\
        \x20 - { address: 'both:9', transport: tcp }\n  - { address: 'both:9' }\n\
        forwarders: { prometheus: { listen: '[::1]:8' } }\n";
    let file = common::write_config(&folder, config);
    let Some(mut check) = hosts::with_hosts(&hosts, common::tallyd_path()) else { return };
    let output = check.arg("check").arg("--config").arg(file).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert_eq!(text.matches("is already an address").count(), 2, "{text}");
    for (key, taken_by) in
        [("listeners[1].address", "bind_port"), ("forwarders.prometheus.listen", "admin.listen")]
    {
        let is_it = |line: &&str| line.contains(&format!("`{key}`: "));
        let line = text.lines().find(is_it).unwrap_or_else(|| panic!("{text}"));
        assert!(line.contains(&format!(" is already an address of `{taken_by}`")), "{line}");
    }
}

#[test]
fn a_command_sends_to_the_address_at_which_a_daemon_listens() {
    for listen in ["127.0.0.1:0", "[::1]:0"] {
        let daemon = Daemon::start(&format!(
            "{TO_FILE}listeners: [{{ address: '{listen}', protocol: statsd }}, \
             {{ address: '{listen}', protocol: statsd, transport: tcp }}]\n"
        ));
        let hosts = daemon.path("hosts");
        std::fs::write(&hosts, BOTH).unwrap();
        let status = daemon.status();
        let admin = daemon.admin.to_string();
        for (sent, label) in ["statsd/udp ", "statsd/tcp "].iter().enumerate() {
            let port = addresses(&status, label)[0].port();
            let transport = &label[label.len() - 4..label.len() - 1];
            let to = format!("{transport}://both:{port}");
            let Some(mut send) = hosts::with_hosts(&hosts, common::tallyd_path()) else { return };
            send.args(["send", "--verify", "--statsd", "--to", &to, "--admin", &admin]);
            let output = send.args(["m", "counter"]).output().unwrap();
            assert!(output.status.success(), "{to}: {output:?}");
            assert_eq!(daemon.status()["ledger"]["aggregated"], sent + 1);
        }
    }
}

#[test]
fn a_colon_and_a_port_are_every_address() {
    let daemon = Daemon::start(&format!(
        "{TO_FILE}listeners: [{{ address: ':0', protocol: statsd }}, \
         {{ address: ':0', protocol: statsd, transport: tcp }}]\n"
    ));
    let status = daemon.status();
    for (label, send) in
        [("statsd/udp ", send_udp as fn(SocketAddr, &str)), ("statsd/tcp ", send_tcp)]
    {
        let port = addresses(&status, label)[0].port();
        send(SocketAddr::new([127, 0, 0, 1].into(), port), "m:1|c\n");
        send(SocketAddr::new("::1".parse().unwrap(), port), "m:1|c\n");
    }
    daemon.wait_received(4);
    assert_eq!(total(&daemon.stop().points("out"), "m", "count"), 4.0);
}

/// A UDP socket that counts the lines that arrive.
fn udp_at(ip: &str, port: u16) -> UdpSocket {
    let socket = UdpSocket::bind((ip, port)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// The next datagram that is not empty.
fn datagram(socket: &UdpSocket) -> String {
    loop {
        let mut bytes = [0; 65_536];
        let length = socket.recv(&mut bytes).unwrap();
        if length > 0 {
            return String::from_utf8_lossy(&bytes[..length]).into_owned();
        }
    }
}

fn counter(name: &str) -> String {
    format!(r#"{{"metric_name":"{name}","metric_type":"counter"}}"#)
}

/// The destination over UDP at an address, with short windows.
fn over_udp(kind: &str, address: &str) -> String {
    let transport = "transport: udp, delivery: { resolve_every: 100ms, retry: { initial: 50ms } }";
    format!("interval: 100ms\nforwarders: {{ {kind}: {{ address: '{address}', {transport} }} }}\n")
}

#[test]
fn datagrams_go_to_the_address_of_a_name_that_does_not_refuse_them() {
    for kind in ["statsd", "graphite"] {
        for (ip, other) in [("127.0.0.1", "127.0.0.2"), ("127.0.0.2", "127.0.0.1")] {
            let receiver = udp_at(ip, 0);
            let port = receiver.local_addr().unwrap().port();
            let hosts = "127.0.0.1 both\n127.0.0.2 both\n";
            let config = over_udp(kind, &format!("both:{port}"));
            let Some(daemon) = hosts::start(hosts, &config) else { return };
            daemon.send(counter("first"));
            assert!(datagram(&receiver).contains("first"), "{kind} {ip}");
            let delivered =
                |status: &Value| status["forwarders"][kind]["delivered"].as_u64().unwrap();
            let status = daemon.wait_for("it", |status| delivered(status) == 1);
            assert_eq!(status["forwarders"][kind]["dropped"], json!({}));
            // The program moves to the other address. What was refused there is not lost unseen.
            drop(receiver);
            let receiver = udp_at(other, port);
            daemon.send(counter("second"));
            daemon.wait_for("its outcome", |status| {
                let dropped = status["forwarders"][kind]["dropped"]["lost"].as_u64();
                delivered(status) + dropped.unwrap_or_default() == 2
            });
            daemon.send(counter("third"));
            while !datagram(&receiver).contains("third") {}
        }
    }
}

#[test]
fn a_destination_over_udp_follows_its_name() {
    for kind in ["statsd", "graphite"] {
        let before = udp_at("127.0.0.2", 0);
        let port = before.local_addr().unwrap().port();
        let after = udp_at("127.0.0.3", port);
        let config = over_udp(kind, &format!("moving:{port}"));
        let Some(daemon) = hosts::start("127.0.0.2 moving\n", &config) else { return };
        daemon.send(counter("first"));
        assert!(datagram(&before).contains("first"));
        std::fs::write(daemon.path("hosts"), "127.0.0.3 moving\n").unwrap();
        after.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            daemon.send(counter("later"));
            match after.recv(&mut [0; 1000]) {
                Ok(length) if length > 0 => break,
                _ => assert!(Instant::now() < deadline, "{kind} stays"),
            }
        }
        // The name goes away, and the address stays in use.
        std::fs::write(daemon.path("hosts"), "").unwrap();
        let failed = |log: &[Value]| {
            log.iter().any(|one| one["message"].as_str().unwrap().contains("known addresses stay"))
        };
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(500) {
            daemon.send(counter("still"));
            let _received = after.recv(&mut [0; 1000]);
        }
        daemon.send(counter("last"));
        after.set_read_timeout(Some(PATIENCE)).unwrap();
        while !datagram(&after).contains("last") {}
        let stopped = daemon.stop();
        let changed = |one: &Value| one["message"] == "the name has other addresses";
        assert!(stopped.log.iter().any(changed), "{:?}", stopped.log);
        assert!(failed(&stopped.log), "{:?}", stopped.warnings());
    }
}

/// Accepts connections and answers each HTTP request with 204; returns the number of requests.
fn http_at(ip: &str, port: u16) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((ip, port)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&count);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, counted) = (stream.unwrap(), Arc::clone(&counted));
            thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut stream = stream;
                while let Ok(Some(_)) = HttpRequest::read(&mut reader) {
                    counted.fetch_add(1, Ordering::Relaxed);
                    stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
                }
            });
        }
    });
    (port, count)
}

#[test]
fn connections_to_a_name_move_when_its_address_does() {
    let (port, before) = http_at("127.0.0.2", 0);
    let (_, after) = http_at("127.0.0.3", port);
    let carbon_before = TcpListener::bind("127.0.0.2:0").unwrap();
    let carbon = carbon_before.local_addr().unwrap().port();
    let carbon_after = TcpListener::bind(("127.0.0.3", carbon)).unwrap();
    let delivery = "delivery: { resolve_every: 100ms }";
    let config = format!(
        "interval: 100ms\nforwarders:\n\
         \x20 influxdb: {{ url: 'http://moving:{port}', database: d, {delivery} }}\n\
         \x20 graphite: {{ address: 'moving:{carbon}', {delivery} }}\n"
    );
    let Some(daemon) = hosts::start("127.0.0.2 moving\n", &config) else { return };
    let load = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    let both_deliver = |status: &Value, least: u64| {
        ["influxdb", "graphite"]
            .iter()
            .all(|name| status["forwarders"][name]["delivered"].as_u64() >= Some(least))
    };
    daemon.send(counter("first"));
    daemon.wait_for("the first", |status| both_deliver(status, 1));
    let (_old, _) = carbon_before.accept().unwrap();
    assert_eq!((load(&before), load(&after)), (1, 0));
    std::fs::write(daemon.path("hosts"), "127.0.0.3 moving\n").unwrap();
    let (accepted, received) = channel();
    thread::spawn(move || accepted.send(carbon_after.accept().unwrap()));
    let deadline = Instant::now() + PATIENCE;
    let mut new = None;
    while load(&after) == 0 || new.is_none() {
        assert!(Instant::now() < deadline, "they stay");
        daemon.send(counter("later"));
        new = new.or(received.recv_timeout(Duration::from_millis(50)).ok());
    }
    let status = daemon.status();
    for name in ["influxdb", "graphite"] {
        assert_eq!(status["forwarders"][name]["failures"], 0, "the old connection just ends");
    }
}
