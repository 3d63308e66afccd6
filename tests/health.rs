//! `tallyd health`: the answers of a healthy daemon, of one that is not, and of none.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread;

use common::{Daemon, tallyd};

/// The exit status and the printed text of the command.
fn health(args: &[&str]) -> (Option<i32>, String) {
    let output = tallyd().arg("health").args(args).output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.code(), text)
}

#[test]
fn a_healthy_daemon_is_reported_over_http_and_the_socket() {
    let daemon = Daemon::start(
        "admin: { listen: \"127.0.0.1:0\", socket: DIR/admin.sock }\n\
         forwarders: { file: { path: DIR/out } }\n",
    );
    let http = format!("http://{}", daemon.admin);
    let socket = format!("unix:{}", daemon.path("admin.sock").display());
    for admin in [http, socket] {
        assert_eq!(health(&["--admin", &admin]), (Some(0), "ok\n".to_owned()));
        assert_eq!(health(&["--admin", &admin, "--ready"]), (Some(0), "ready\n".to_owned()));
    }
}

#[test]
fn the_reason_of_a_refusal_is_printed_without_control_characters() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap().to_string();
    let answering = thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        let request = BufReader::new(stream.try_clone().unwrap()).lines().next().unwrap().unwrap();
        stream
            .write_all(b"HTTP/1.1 503 X\r\ncontent-length: 22\r\n\r\nno window for \x1b[1m37s\n")
            .unwrap();
        request
    });
    let (status, text) = health(&["--admin", &address]);
    assert_eq!(status, Some(1));
    assert!(text.contains("status 503: no window for \\u{1b}[1m37s"), "{text}");
    assert_eq!(answering.join().unwrap(), "GET /healthz HTTP/1.1");
}

#[test]
fn a_missing_daemon_is_a_failure() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (status, text) = health(&["--admin", &free]);
    assert!(status == Some(1) && text.contains(&free), "{text}");
}
