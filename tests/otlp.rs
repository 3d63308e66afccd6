//! OTLP from end to end: the real binary against scripted servers over HTTP and gRPC, a real Collector
//! and a real Prometheus.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "otlp/collector.rs"]
mod collector;
#[path = "otlp/prometheus.rs"]
mod prometheus;

use std::time::{Duration, Instant};

use common::{Daemon, assert_balanced, tallyd, write_config};
use forwarders::http::scripted::{RecordedRequest, ScriptedAnswer, ScriptedServer};
use serde_json::{Value, json};

/// The answers of a server in the terms of OTLP, for both transports.
#[derive(Clone, Copy)]
enum Says {
    Accepted,
    /// This number of points was rejected, with this message.
    Partial(u8, &'static str),
    /// The server is busy, and asks for this pause in seconds if it is not 0.
    Busy(u8),
    /// The server limits the rate, and asks for a pause of a second.
    TooManyRequests,
    NoCredentials,
    TooLarge,
    BadPoint,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Transport {
    Http,
    Grpc,
}

const TRANSPORTS: [Transport; 2] = [Transport::Http, Transport::Grpc];

impl Transport {
    /// Starts a server whose answer depends on the number of the request, from 0, and its content.
    fn server(
        self,
        script: impl Fn(usize, &str) -> Says + Send + Sync + 'static,
    ) -> ScriptedServer {
        self.start(move |number, asked| script(number, &String::from_utf8_lossy(&asked.body)))
    }

    fn start(
        self,
        script: impl Fn(usize, &RecordedRequest) -> Says + Send + Sync + 'static,
    ) -> ScriptedServer {
        match self {
            Self::Http => ScriptedServer::start(move |n, asked| over_http(script(n, asked))),
            Self::Grpc => {
                ScriptedServer::start_http2(None, move |n, asked| over_grpc(script(n, asked)))
            }
        }
    }

    /// A configuration with short pauses and further members of the destination.
    fn config(self, address: impl std::fmt::Display, members: &str) -> String {
        let scheme = if self == Self::Http { "http" } else { "grpc" };
        format!(
            "interval: 200ms\nforwarders:\n  otlp:\n    endpoint: {scheme}://{address}\n    \
             compression: none\n    \
             delivery: {{ timeout: 5s, retry: {{ initial: 10ms, max: 20ms }} }}\n{members}"
        )
    }
}

fn over_http(says: Says) -> ScriptedAnswer {
    let reply =
        |status, headers, body: &[u8]| ScriptedAnswer::Reply(status, headers, body.to_vec());
    let proto = ("content-type", "application/x-protobuf".to_owned());
    match says {
        Says::Accepted => reply(200, vec![proto], &[]),
        Says::Partial(refused, message) => reply(200, vec![proto], &response(refused, message)),
        Says::Busy(0) => ScriptedAnswer::status(503, "busy"),
        Says::Busy(pause) => reply(503, vec![("retry-after", pause.to_string())], b"busy"),
        Says::TooManyRequests => reply(429, vec![("retry-after", "1".to_owned())], b"slow down"),
        Says::NoCredentials => ScriptedAnswer::status(401, "who are you?"),
        Says::TooLarge => ScriptedAnswer::status(413, ""),
        Says::BadPoint => ScriptedAnswer::status(400, "bad point"),
    }
}

fn over_grpc(says: Says) -> ScriptedAnswer {
    let (code, message, pause) = match says {
        Says::Accepted => return accepted_call(&[]),
        Says::Partial(refused, message) => return accepted_call(&response(refused, message)),
        Says::Busy(pause) => (14, "busy", pause),
        Says::TooManyRequests => (8, "slow down", 1),
        Says::NoCredentials => (16, "who are you?", 0),
        Says::TooLarge => (8, "grpc: received message larger than max (9 vs. 4)", 0),
        Says::BadPoint => (3, "bad point", 0),
    };
    let mut headers = vec![
        ("content-type", "application/grpc".to_owned()),
        ("grpc-status", code.to_string()),
        ("grpc-message", message.to_owned()),
    ];
    if pause > 0 {
        headers.push(("grpc-status-details-bin", retry_info(pause).to_owned()));
    }
    ScriptedAnswer::Reply(200, headers, Vec::new())
}

fn accepted_call(message: &[u8]) -> ScriptedAnswer {
    let headers =
        vec![("content-type", "application/grpc".to_owned()), ("grpc-status", "0".into())];
    let frame = [0, 0, 0, 0, u8::try_from(message.len()).unwrap()];
    ScriptedAnswer::Reply(200, headers, [&frame, message].concat())
}

/// An `ExportMetricsServiceResponse` with a `partial_success`.
fn response(refused: u8, message: &str) -> Vec<u8> {
    let length = u8::try_from(message.len()).unwrap();
    let partial = [&[0x08, refused, 0x12, length], message.as_bytes()].concat();
    [&[0x0a, u8::try_from(partial.len()).unwrap()], &partial[..]].concat()
}

/// A `google.rpc.Status` with a `RetryInfo` of one or two seconds, in base64.
fn retry_info(seconds: u8) -> &'static str {
    match seconds {
        1 => "CA4aMAoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIECgIIAQ",
        _ => "CA4aMAoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIECgIIAg",
    }
}

fn send_counters(daemon: &Daemon, count: u64) {
    for number in 0..count {
        daemon.send(format!(
            r#"{{"metric_name":"c","metric_type":"counter","n":"number-{number}-"}}"#
        ));
    }
}

/// Waits until a number of points is settled, and returns the destination in the status.
fn settled(daemon: &Daemon, points: u64) -> Value {
    let status = daemon.wait_for("the delivery", |status| {
        let otlp = &status["forwarders"]["otlp"];
        let refused = otlp["dropped"]["refused"].as_u64().unwrap_or_default();
        otlp["delivered"].as_u64().unwrap() + refused == points
    });
    assert_balanced(&status);
    status["forwarders"]["otlp"].clone()
}

#[test]
fn points_that_a_server_rejects_are_refused_and_the_others_delivered() {
    for transport in TRANSPORTS {
        let server = transport.server(|number, _| match number {
            0 => Says::Partial(1, "one is too old"),
            _ => Says::Partial(0, "a warning"),
        });
        let daemon = Daemon::start(&transport.config(server.address, "    max_points: 4\n"));
        send_counters(&daemon, 20);
        let otlp = settled(&daemon, 20);
        assert_eq!(otlp["dropped"], json!({"refused": 1}), "{transport:?}");
        let words = otlp["last_error"].as_str().unwrap();
        assert!(words.starts_with("partial success from http://127.0.0.1:"), "{words}");
        assert!(words.ends_with("one is too old"), "{words}");
        let (_, own) = daemon.get("/metrics");
        let line = "tallyd_points_dropped_total{forwarder=\"otlp\",reason=\"refused\"} 1\n";
        assert!(own.contains(line), "{own}");
        let warnings = daemon.stop().warnings();
        let warned =
            warnings.iter().any(|line| line.contains("accepted all points with a warning"));
        assert!(warned, "{warnings:?}");
    }
}

#[test]
fn a_busy_server_gets_every_point_after_the_pause_that_it_asks_for() {
    for transport in TRANSPORTS {
        for (says, pause) in [
            (Says::Busy(0), Duration::ZERO),
            (Says::Busy(2), Duration::from_secs(2)),
            (Says::TooManyRequests, Duration::from_secs(1)),
        ] {
            let server =
                transport.server(move |number, _| if number == 0 { says } else { Says::Accepted });
            let daemon = Daemon::start(&transport.config(server.address, ""));
            send_counters(&daemon, 3);
            daemon.wait_for("the failure", |status| status["forwarders"]["otlp"]["failures"] == 1);
            let failed = Instant::now();
            let otlp = settled(&daemon, 3);
            // The status was read a moment after the failure.
            let waited = failed.elapsed() + Duration::from_millis(500);
            assert!(waited >= pause, "{transport:?}: {waited:?} instead of {pause:?}");
            assert_eq!((&otlp["dropped"], &otlp["up"]), (&json!({}), &json!(true)));
            assert!(daemon.stop().status.success());
        }
    }
}

#[test]
fn points_wait_for_correct_credentials_which_nothing_shows() {
    for transport in TRANSPORTS {
        let server = transport.start(|_, asked| {
            let is_right = asked.header("authorization") == Some("Bearer canary-2");
            if is_right { Says::Accepted } else { Says::NoCredentials }
        });
        let config = |token: &str| {
            let headers = format!("{{ Authorization: Bearer {token}, x-scope: tenant-canary }}");
            transport.config(server.address, &format!("    headers: {headers}\n"))
        };
        let daemon = Daemon::start(&config("canary-1"));
        send_counters(&daemon, 3);
        let status = daemon.wait_for("the failure", |status| {
            status["forwarders"]["otlp"]["last_error"].is_string()
        });
        let words = status["forwarders"]["otlp"]["last_error"].as_str().unwrap();
        assert!(words.contains("who are you?"), "{words}");
        daemon.reload(&config("canary-2"));
        settled(&daemon, 3);
        let stopped = daemon.stop();
        assert!(!format!("{status}{:?}", stopped.log).contains("canary"), "{:?}", stopped.log);
        assert_eq!(server.asked()[0].header("x-scope"), Some("tenant-canary"));
    }
}

#[test]
fn a_request_that_is_too_large_is_divided_and_a_bad_point_found() {
    for transport in TRANSPORTS {
        let server = transport.server(|_, body| match body.matches("number-").count() {
            5.. => Says::TooLarge,
            _ if body.contains("number-7-") => Says::BadPoint,
            _ => Says::Accepted,
        });
        let daemon = Daemon::start(&transport.config(server.address, ""));
        let filler = "x".repeat(1_000);
        for number in 0..30 {
            daemon.send(format!(
                r#"{{"metric_name":"c","metric_type":"counter","n":"number-{number}-","filler":"{filler}"}}"#
            ));
        }
        let otlp = settled(&daemon, 30);
        assert_eq!(otlp["dropped"], json!({"refused": 1}), "{transport:?}");
        let words = otlp["last_error"].as_str().unwrap();
        assert!(words.ends_with("bad point"), "{words}");
    }
}

#[test]
fn the_daemon_aggregates_while_the_server_is_down() {
    for transport in TRANSPORTS {
        // Nothing listens on port 1.
        let text = format!("shutdown_timeout: 1s\n{}", transport.config("127.0.0.1:1", ""));
        let daemon = Daemon::start(&text);
        send_counters(&daemon, 100);
        let status = daemon.wait_for("the reason", |status| {
            status["forwarders"]["otlp"]["last_error"].is_string()
        });
        assert_eq!(status["forwarders"]["otlp"]["up"], false);
        let words = status["forwarders"]["otlp"]["last_error"].as_str().unwrap();
        assert!(words.starts_with("cannot connect to http://127.0.0.1:1: "), "{words}");
        daemon.wait_received(100);
        let folder = daemon.stop().folder;
        // The next run delivers the points of this one.
        let server = transport.server(|_, _| Says::Accepted);
        let daemon = Daemon::start_in(folder, &transport.config(server.address, ""));
        settled(&daemon, 100);
    }
}

/// Runs a command with a configuration; returns its exit status and its output.
fn run(command: &[&str], config: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = write_config(&folder, config);
    let output =
        tallyd().args(command).args(["--config", path.to_str().unwrap()]).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout) + &text(output.stderr))
}

#[test]
fn check_reports_whether_a_server_accepts_requests() {
    for transport in TRANSPORTS {
        for (says, status, words) in [
            (Says::Accepted, 0, "otlp: answers"),
            (Says::NoCredentials, 1, "who are you?"),
            (Says::Busy(0), 1, "busy"),
        ] {
            let server = transport.server(move |_, _| says);
            let config = transport.config(server.address, "");
            let (code, said) = run(&["check", "--connect"], &config);
            assert!(code == Some(status) && said.contains(words), "{transport:?}: {said}");
            // Without points.
            assert!(server.asked().iter().all(|asked| asked.body.len() <= 5));
        }
    }
    let other = ScriptedServer::start(|_, _| ScriptedAnswer::status(200, "<html>welcome"));
    let (code, said) = run(&["check", "--connect"], &Transport::Http.config(other.address, ""));
    assert!(code == Some(1) && said.contains("web page"), "{said}");
}

#[test]
fn explain_shows_a_point_as_json() {
    let config = Transport::Grpc.config("127.0.0.1:1", "    temporality: cumulative\n");
    let message = r#"{"metric_name":"user.latency","metric_type":"timer","value":3,"stage":"a"}"#;
    let (code, said) = run(&["explain", message], &config);
    assert_eq!(code, Some(0), "{said}");
    for wanted in [
        r#""name": "user.latency""#,
        r#""exponentialHistogram": {"#,
        r#""aggregationTemporality": 2"#,
        r#""scale": 6"#,
        r#""offset": 101"#,
        r#""stringValue": "a""#,
    ] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
}
