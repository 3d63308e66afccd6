//! Clients that hold connections: of the admin endpoint, the Prometheus page and the listeners. None of
//! them keeps the daemon from its work.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Daemon, PATIENCE, tallyd_path, write_config};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

/// Generous: on an idle machine it is about a millisecond.
const PROMPT: Duration = Duration::from_secs(2);

/// Sends one request on a new connection. Returns the reply and the time until it was complete.
fn ask(address: SocketAddr, path: &str) -> (String, Duration) {
    let began = Instant::now();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    (reply, began.elapsed())
}

fn assert_prompt(address: SocketAddr, path: &str) {
    let (reply, took) = ask(address, path);
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    assert!(took < PROMPT, "{path} took {took:?}");
}

/// A client with a small receive buffer that requests much and reads nothing.
fn reads_nothing(address: SocketAddr, path: &str) -> Socket {
    let mut socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").repeat(300);
    let _is_full = socket.write(request.as_bytes());
    socket
}

#[test]
fn clients_that_hold_all_http_connections_delay_no_reply() {
    let daemon = Daemon::start("forwarders: { prometheus: { listen: \"127.0.0.1:0\" } }\n");
    let page = daemon.page.unwrap();
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(daemon.admin).unwrap());
        silent.push(TcpStream::connect(page).unwrap());
    }
    assert_prompt(daemon.admin, "/healthz");
    assert_prompt(page, "/metrics");
    let mut unread = Vec::new();
    for _ in 0..70 {
        unread.push(reads_nothing(daemon.admin, "/"));
        unread.push(reads_nothing(page, "/metrics"));
    }
    assert_prompt(daemon.admin, "/healthz");
    assert_prompt(page, "/metrics");
    let status = daemon.status();
    assert!(status["admin"]["cut"].as_u64().unwrap() > 136, "{}", status["admin"]);
    assert!(status["admin"]["open"].as_u64().unwrap() <= 64, "{}", status["admin"]);
    let cut = &status["forwarders"]["prometheus"]["refused_connections"];
    assert!(cut.as_u64().unwrap() > 136, "{cut}");
    drop((silent, unread));
}

#[test]
fn the_limits_of_the_endpoint_can_be_configured_and_reloaded() {
    let admin = |more: &str| format!("admin: {{ listen: \"127.0.0.1:0\"{more} }}\n");
    let daemon = Daemon::start(&admin(", request_timeout: 1h, max_connections: 2"));
    let _held: Vec<_> = (0..5).map(|_| TcpStream::connect(daemon.admin).unwrap()).collect();
    daemon.wait_for("connections are replaced", |status| status["admin"]["cut"] == 4);
    daemon.reload(&admin(", request_timeout: 50ms"));
    let mut idle = TcpStream::connect(daemon.admin).unwrap();
    idle.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(idle.read(&mut [0]).unwrap_or(0), 0, "closed after 50 ms");
    daemon.wait_for("it is counted", |status| status["admin"]["timed_out"].as_u64() >= Some(1));
}

#[test]
fn a_page_of_another_site_cannot_make_the_daemon_work() {
    let daemon = Daemon::start("");
    let reply = |path: &str, header: &str| {
        let mut stream = TcpStream::connect(daemon.admin).unwrap();
        let host = daemon.admin;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{header}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply.lines().next().unwrap_or_default().to_owned()
    };
    for path in ["/api/v1/reload", "/api/v1/top", "/api/v1/tap?match=\n"] {
        let path = path.trim_end();
        for header in ["Sec-Fetch-Site: cross-site\r\n", "Origin: https://evil.example\r\n"] {
            assert!(reply(path, header).starts_with("HTTP/1.1 403"), "{path} {header}");
        }
    }
    for path in ["/api/v1/reload", "/api/v1/top"] {
        for header in ["", "Sec-Fetch-Site: same-origin\r\n"] {
            assert!(reply(path, header).starts_with("HTTP/1.1 200"), "{path} {header}");
        }
    }
    let twice = reply("/healthz", "Host: evil.example\r\n");
    assert!(twice.starts_with("HTTP/1.1 400"), "{twice}");
    assert_eq!(daemon.status()["admin"]["refused_requests"], 7);
}

/// Starts a daemon with a TCP listener, a file and an InfluxDB under a limit on open files.
fn start_limited(limit: u64, influxdb: SocketAddr) -> Daemon {
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "interval: 100ms
bind_port: 0
listeners: [{{ transport: tcp, address: \"127.0.0.1:0\" }}]
forwarders:
  file: {{ path: DIR/out }}
  influxdb: {{ url: \"http://{influxdb}\", database: m }}
"
    );
    let path = write_config(&folder, &config);
    let script = format!("ulimit -n {limit}; exec \"$0\" run --config \"$1\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, tallyd_path()]).arg(path).stdin(Stdio::null());
    Daemon::start_command(folder, &mut command)
}

/// Answers every request with 204 and closes its connection.
fn influxdb() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 65536];
            let _length = stream.read(&mut request);
            let _is_sent =
                stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        }
    });
    address
}

#[test]
fn clients_cannot_take_the_descriptors_of_files_deliveries_and_the_endpoint() {
    for (limit, clients) in [(64, 200), (1024, 1100)] {
        let daemon = start_limited(limit, influxdb());
        let tcp = daemon.address("json/tcp ");
        let _held: Vec<_> = (0..clients).map(|_| TcpStream::connect(tcp).unwrap()).collect();
        daemon.wait_for("all clients were accepted or refused", |status| {
            let listener = &status["listeners"][1];
            let refused = listener["refused"]["too_many"].as_u64().unwrap_or(0);
            let closed = &listener["connections"]["closed"];
            let closed: u64 = closed.as_object().unwrap().values().filter_map(Value::as_u64).sum();
            listener["connections"]["open"].as_u64().unwrap() + closed + refused >= clients
        });
        let delivered =
            |status: &Value, name: &str| status["forwarders"][name]["delivered"].as_u64().unwrap();
        let before = daemon.status();
        daemon.wait_for("both destinations get windows", |status| {
            daemon.send("{\"metric_name\":\"m\",\"metric_type\":\"counter\"}");
            ["file", "influxdb"]
                .iter()
                .all(|name| delivered(status, name) > delivered(&before, name))
        });
        assert_prompt(daemon.admin, "/healthz");
        let (_, metrics) = daemon.get("/metrics");
        let errors = metrics.lines().find(|line| line.starts_with("tallyd_accept_errors_total{"));
        assert!(errors.unwrap().ends_with(" 0"), "{errors:?}");
        let stopped = daemon.stop();
        let warned = stopped.warnings();
        assert!(warned.iter().any(|line| line.contains("limit on open files")), "{warned:?}");
    }
}
