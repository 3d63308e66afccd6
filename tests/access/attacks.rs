//! Attempted attacks. docs/security.md lists each of them with the control that stops it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::PATIENCE;

use super::client::{at_socket, curl, raw, request};
use super::{HASH, MUTUAL_TLS, PASSWORD, TLS, TOKEN, TOKENS, USERS, folder, start};
use serde_json::Value;

fn status_of(daemon: &common::Daemon) -> Value {
    let reply = at_socket(&daemon.path("admin.sock"), "GET", "/api/v1/status").text;
    let (_, body) = reply.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

fn wait_for(daemon: &common::Daemon, is_met: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = status_of(daemon);
        if is_met(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "{status:#}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn malformed_credentials_are_refused_counted_and_logged_once() {
    let daemon = start(folder(), &format!("{USERS}\n{TOKENS}"));
    let headers = [
        "Authorization: Basic\r\n",
        "Authorization: Basic ####\r\n",
        "Authorization: Basic YWxpY2U=\r\n",
        "Authorization: Basic /w==\r\n",
        "Authorization: Digest username=\"alice\"\r\n",
        "Authorization: Bearer\r\n",
        "Authorization: \r\n",
        &format!("Authorization: Bearer {TOKEN}\r\nAuthorization: Bearer {TOKEN}\r\n"),
        &format!("Authorization: Bearer {TOKEN},{TOKEN}\r\n"),
        &format!("Authorization: Token {TOKEN}\r\n"),
    ];
    for header in headers {
        let reply = request(daemon.admin, "/api/v1/status", header);
        assert_eq!(reply.status, 401, "{header}: {reply:?}");
        assert!(reply.text.contains("wrong user, password or token"), "{reply:?}");
    }
    let long = format!("Authorization: Bearer {}\r\n", "x".repeat(64 << 10));
    assert_eq!(request(daemon.admin, "/api/v1/status", &long).status, 431);
    let host = "Host: evil.example\r\n\r\n";
    let two_hosts = format!("GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\n{host}");
    assert_eq!(raw(daemon.admin, two_hosts.as_bytes()).status, 400);
    let denied = &status_of(&daemon)["admin"]["denied"];
    assert_eq!(denied["wrong_credentials"], headers.len() as u64, "{denied}");
    let warnings = daemon.stop().warnings();
    let about: Vec<_> = warnings.iter().filter(|line| line.contains("wrong user")).collect();
    assert!(about.len() == 1 && about[0].contains("127.0.0.1"), "{warnings:?}");
    assert!(!warnings.join("").contains(TOKEN));
}

#[test]
fn a_page_of_another_site_changes_nothing_with_the_password_that_a_browser_remembers() {
    let daemon = start(folder(), USERS);
    let user = format!("alice:{PASSWORD}");
    let url = format!("http://{}/api/v1/reload", daemon.admin);
    for (foreign, expected) in [
        ("Origin: https://evil.example", 403),
        ("Sec-Fetch-Site: cross-site", 403),
        ("Host: evil.example", 403),
        ("Sec-Fetch-Site: same-origin", 200),
    ] {
        let reply = curl(&["-u", &user, "-X", "POST", "-H", foreign], &url);
        assert_eq!(reply.status, expected, "{foreign}: {reply:?}");
    }
}

#[test]
fn silent_tls_clients_delay_no_health_check_and_are_closed() {
    let keys = format!("{TLS}\naccess: {{ max_handshakes: 8, handshake_timeout: 2s }}");
    let daemon = start(folder(), &keys);
    let ca = daemon.path("ca.pem");
    let silent: Vec<TcpStream> =
        (0..64).map(|_| TcpStream::connect(daemon.admin).unwrap()).collect();
    let evicted = |status: &Value| status["admin"]["failed_handshakes"]["too_many"] == 56;
    wait_for(&daemon, evicted);
    let began = Instant::now();
    let url = format!("https://{}/healthz", daemon.admin);
    assert_eq!(curl(&["--cacert", ca.to_str().unwrap()], &url).status, 200);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    // The check has taken the place of one of them.
    let status = wait_for(&daemon, |status| {
        status["admin"]["failed_handshakes"]["timeout"].as_u64() == Some(7)
    });
    assert_eq!(status["admin"]["failed_handshakes"]["too_many"], 57, "{status:#}");
    for mut stream in silent {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let ended = stream.read(&mut [0; 64]);
        assert!(
            matches!(ended, Ok(0))
                || ended
                    .is_err_and(|error| { error.kind() == std::io::ErrorKind::ConnectionReset })
        );
    }
}

#[test]
fn a_handshake_in_small_steps_ends_in_time() {
    let daemon = start(folder(), &format!("{TLS}\naccess: {{ handshake_timeout: 500ms }}"));
    let mut stream = TcpStream::connect(daemon.admin).unwrap();
    let began = Instant::now();
    // The beginning of a record of a kilobyte, a byte at a time.
    let mut bytes =
        [0x16, 0x03, 0x01, 0x04, 0x00, 0x01, 0x00].into_iter().chain(std::iter::repeat(0));
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    loop {
        let is_sent = stream.write_all(&[bytes.next().unwrap()]);
        let is_open = is_sent.is_ok()
            && match stream.read(&mut [0; 64]) {
                Ok(0) => false,
                Ok(_) => true,
                Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
            };
        if !is_open {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "the connection stays open");
    }
    wait_for(&daemon, |status| status["admin"]["failed_handshakes"]["timeout"] == 1);
}

#[test]
fn a_client_that_cannot_shake_hands_is_counted_by_reason() {
    let daemon = start(folder(), MUTUAL_TLS);
    let (ca, url) = (daemon.path("ca.pem"), format!("https://{}/", daemon.admin));
    let trusting = ["--cacert", ca.to_str().unwrap()];
    assert_eq!(curl(&[], &format!("http://{}/", daemon.admin)).status, 0, "plain HTTP");
    assert_eq!(curl(&trusting, &url).status, 0, "no certificate");
    let [cert, key] = ["stranger.pem", "stranger.key"].map(|name| daemon.path(name));
    let stranger = ["--cert", cert.to_str().unwrap(), "--key", key.to_str().unwrap()];
    assert_eq!(
        curl(&[trusting, [stranger[0], stranger[1]], [stranger[2], stranger[3]]].concat(), &url)
            .status,
        0
    );
    assert_eq!(curl(&[], &url).status, 0, "a client that does not trust the server");
    let status = wait_for(&daemon, |status| {
        let failed = status["admin"]["failed_handshakes"].as_object().unwrap();
        failed.values().filter_map(Value::as_u64).sum::<u64>() == 4
    });
    let failed = &status["admin"]["failed_handshakes"];
    for reason in ["not_tls", "no_certificate", "bad_certificate", "rejected"] {
        assert_eq!(failed[reason], 1, "{reason}: {failed}");
    }
    let warnings = daemon.stop().warnings().join("\n");
    assert!(
        warnings.contains("TLS handshakes failed") && warnings.contains("127.0.0.1"),
        "{warnings}"
    );
}

#[test]
fn a_flood_of_passwords_delays_no_client_that_is_known() {
    // Some 200 ms for each verification.
    let slow = HASH.replace("$04$", "$12$");
    let keys = format!(
        "users: {{ mallory: {slow}, alice: {HASH} }}\n{TOKENS}\naccess: {{ max_waiting: 2 }}"
    );
    let daemon = start(folder(), &keys);
    let url = format!("http://{}/api/v1/status", daemon.admin);
    let known = format!("alice:{PASSWORD}");
    assert_eq!(curl(&["-u", &known], &url).status, 200);
    let flood: Vec<_> = (0..24)
        .map(|number| {
            let url = url.clone();
            std::thread::spawn(move || curl(&["-u", &format!("mallory:{number}")], &url).status)
        })
        .collect();
    wait_for(&daemon, |status| status["admin"]["denied"]["busy"].as_u64() > Some(0));
    let began = Instant::now();
    assert_eq!(curl(&["-u", &known], &url).status, 200);
    let bearer = format!("Authorization: Bearer {TOKEN}");
    assert_eq!(curl(&["-H", &bearer], &url).status, 200);
    assert_eq!(curl(&[], &format!("http://{}/healthz", daemon.admin)).status, 200);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let outcomes: Vec<u16> = flood.into_iter().map(|one| one.join().unwrap()).collect();
    assert!(outcomes.iter().all(|status| [401, 503].contains(status)), "{outcomes:?}");
    assert!(outcomes.contains(&401) && outcomes.contains(&503), "{outcomes:?}");
}

#[test]
fn no_secret_is_shown() {
    let daemon = start(folder(), &format!("{USERS}\n{TOKENS}"));
    let socket = daemon.path("admin.sock");
    let config = at_socket(&socket, "GET", "/api/v1/config").text;
    assert!(config.contains("admin.users.alice") && config.contains("[***, ***]"), "{config}");
    let path = daemon.path("tallyd.yaml");
    let effective = common::tallyd().args(["check", "--effective", "--config"]).arg(&path).output();
    let effective = String::from_utf8(effective.unwrap().stdout).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    daemon.write_config(&text.replace(TOKEN, "short").replace(HASH, "hunter2hunter2"));
    assert_eq!(at_socket(&socket, "POST", "/api/v1/reload").status, 200);
    let refused = at_socket(&socket, "GET", "/api/v1/status").text;
    assert!(refused.contains("\"refused\":1"), "{refused}");
    let log = format!("{:?}", daemon.stop().log);
    for shown in [config, effective, refused, log] {
        for secret in [TOKEN, HASH, "hunter2", "`short`"] {
            assert!(!shown.contains(secret), "{secret}: {shown}");
        }
    }
}
