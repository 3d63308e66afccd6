//! Changes of passwords, certificates and files while the daemon runs.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::pki::Pki;
use common::{Daemon, PATIENCE};

use super::client::{at_socket, curl};
use super::{
    HASH, MUTUAL_TLS, PASSWORD, TLS, TOKEN, TOKENS, USERS, config, folder, start, start_with,
};

/// The hash of `tallyd`.
const OTHER_HASH: &str = "$2b$04$abcdefghijklmnopqrstuuVWrX0hwcf3WOtEQDn9MUKWeLRRB/X/y";

fn reload(daemon: &Daemon, admin: &str) -> String {
    daemon.write_config(&config(admin, ""));
    at_socket(&daemon.path("admin.sock"), "POST", "/api/v1/reload").text
}

fn status(daemon: &Daemon, args: &[&str]) -> u16 {
    curl(args, &format!("http://{}/api/v1/status", daemon.admin)).status
}

/// Waits until curl with these arguments gets a reply with this status.
fn wait_for_status(args: &[&str], url: &str, wanted: u16) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let reply = curl(args, url);
        if reply.status == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{url}: {reply:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_reload_replaces_passwords_and_tokens_at_once() {
    let daemon = start(folder(), USERS);
    let (old, new) = (format!("alice:{PASSWORD}"), "alice:tallyd");
    assert_eq!((status(&daemon, &["-u", &old]), status(&daemon, &["-u", new])), (200, 401));
    let changed = reload(&daemon, &USERS.replace(HASH, OTHER_HASH));
    assert!(changed.contains("admin.users.alice: *** has another value"), "{changed}");
    assert_eq!((status(&daemon, &["-u", &old]), status(&daemon, &["-u", new])), (401, 200));
    let refused = reload(&daemon, "users: { alice: secret }");
    assert!(refused.contains("admin.users.alice") && !refused.contains("secret"), "{refused}");
    assert_eq!(status(&daemon, &["-u", new]), 200, "a refused reload changes nothing");
    reload(&daemon, TOKENS);
    let bearer = format!("Authorization: Bearer {TOKEN}");
    assert_eq!((status(&daemon, &["-u", new]), status(&daemon, &["-H", &bearer])), (401, 200));
    reload(&daemon, "");
    assert_eq!(status(&daemon, &[]), 200);
}

#[test]
fn a_renewed_certificate_is_used_without_a_reload_and_a_bad_one_is_not() {
    let daemon = start(folder(), TLS);
    let (ca, url) = (daemon.path("ca.pem"), format!("https://{}/healthz", daemon.admin));
    let old = daemon.path("old.pem");
    fs::copy(&ca, &old).unwrap();
    let (old, ca) = (["--cacert", old.to_str().unwrap()], ["--cacert", ca.to_str().unwrap()]);
    assert_eq!(curl(&old, &url).status, 200);
    Pki::new(&daemon.path(""), "ca").issue("server");
    wait_for_status(&ca, &url, 200);
    assert_eq!(curl(&old, &url).status, 0);
    fs::write(daemon.path("server.key"), "no key").unwrap();
    let log_has_it = |daemon: Daemon| {
        let warnings = daemon.stop().warnings().join("\n");
        assert!(
            warnings.contains("server.key") && warnings.contains("previous content"),
            "{warnings}"
        );
    };
    let refused = reload(&daemon, TLS);
    assert!(refused.contains("`admin.tls` has an unusable `key_file`"), "{refused}");
    // A look at the files takes place each second.
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(curl(&ca, &url).status, 200);
    log_has_it(daemon);
}

#[test]
fn a_changed_web_config_file_is_used_without_a_reload_and_a_bad_one_is_not() {
    let folder = folder();
    let file = folder.path().join("web.yml");
    let users = |hash: &str| format!("basic_auth_users:\n  alice: {hash}\n");
    fs::write(&file, users(HASH)).unwrap();
    let daemon = start(folder, "web_config_file: DIR/web.yml");
    let (old, new) = (format!("alice:{PASSWORD}"), "alice:tallyd");
    assert_eq!(status(&daemon, &["-u", &old]), 200);
    fs::write(&file, users(OTHER_HASH)).unwrap();
    let url = format!("http://{}/api/v1/status", daemon.admin);
    wait_for_status(&["-u", new], &url, 200);
    assert_eq!(status(&daemon, &["-u", &old]), 401);
    fs::write(&file, "basic_auth_users:\n  alice: hunter2hunter2\n").unwrap();
    let refused = reload(&daemon, "web_config_file: DIR/web.yml");
    let has_place = refused.contains("web.yml:2:") && refused.contains("basic_auth_users.alice");
    assert!(has_place && !refused.contains("hunter2"), "{refused}");
    assert_eq!(status(&daemon, &["-u", new]), 200, "the previous content stays in use");
    fs::write(&file, users(HASH)).unwrap();
    reload(&daemon, "web_config_file: DIR/web.yml");
    assert_eq!(status(&daemon, &["-u", &old]), 200, "a reload reads it at once");
}

/// Begins a request on a connection that stays open, and reads the beginning of the reply.
fn open(daemon: &Daemon, path: &str, headers: &str) -> TcpStream {
    let mut stream = TcpStream::connect(daemon.admin).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    ask(&mut stream, path, headers).unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    stream
}

fn ask(stream: &mut TcpStream, path: &str, headers: &str) -> std::io::Result<()> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
}

/// Everything that the daemon still sends until it closes a connection.
fn rest(mut stream: &TcpStream) -> String {
    let (mut rest, mut buffer, began) = (Vec::new(), [0; 4096], Instant::now());
    loop {
        match stream.read(&mut buffer) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("the connection stays open")
            }
            // The kernel resets a connection of which the daemon has not read everything.
            Ok(0) | Err(_) => break,
            Ok(length) => rest.extend_from_slice(&buffer[..length]),
        }
        assert!(began.elapsed() < PATIENCE / 2, "the connection stays open");
    }
    String::from_utf8_lossy(&rest).into_owned()
}

#[test]
fn an_open_tap_ends_when_its_client_loses_access() {
    let rest_of_file = "forwarders: { file: { path: DIR/out, format: json } }\n";
    let daemon = start_with(folder(), TOKENS, rest_of_file);
    let reload = |admin: &str| {
        daemon.write_config(&config(admin, rest_of_file));
        at_socket(&daemon.path("admin.sock"), "POST", "/api/v1/reload")
    };
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let (kept, removed) = ("aaaaaaaaaaaaaaaaaaaaaaaa", TOKEN);
    let mut stays = open(&daemon, "/api/v1/tap", &bearer(kept));
    let ends = open(&daemon, "/api/v1/tap", &bearer(removed));
    let destinations = open(&daemon, "/api/v1/tap?out=", &bearer(removed));
    reload(&format!("tokens: [{kept}]"));
    for stream in [&ends, &destinations] {
        let rest = rest(stream);
        assert!(rest.ends_with("\r\n0\r\n\r\n") && !rest.contains("event: end"), "{rest}");
    }
    // Each second brings a count.
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    while text.matches("event: counts").count() < 2 {
        let length = stays.read(&mut buffer).unwrap();
        assert!(length > 0, "{text}");
        text += &String::from_utf8_lossy(&buffer[..length]);
    }
    let status = at_socket(&daemon.path("admin.sock"), "GET", "/api/v1/status").text;
    assert!(status.contains("\"revoked\":2"), "{status}");
    // With TLS, an open tap without it ends too, whatever its token.
    reload(&format!("{TLS}\ntokens: [{kept}]"));
    rest(&stays);
}

#[test]
fn a_connection_from_before_stricter_rules_gets_no_reply() {
    let limits = "request_timeout: 10m";
    for stricter in [MUTUAL_TLS, TLS, TOKENS] {
        let daemon = start(folder(), limits);
        let mut stream = open(&daemon, "/healthz", "");
        reload(&daemon, &format!("{limits}\n{stricter}"));
        let _is_closed = ask(&mut stream, "/api/v1/status", "");
        let rest = rest(&stream);
        assert!(!rest.contains("HTTP/1.1 200"), "{stricter}: {rest}");
    }
}

#[test]
fn a_reload_that_changes_no_rule_keeps_connections() {
    let keys = format!("{TOKENS}\nrequest_timeout: 10m");
    let daemon = start(folder(), &keys);
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    let mut stream = open(&daemon, "/healthz", "");
    reload(&daemon, &format!("{keys}\nmax_connections: 60"));
    ask(&mut stream, "/readyz", &format!("{bearer}Connection: close\r\n")).unwrap();
    assert!(rest(&stream).contains("HTTP/1.1 200"));
}

#[test]
fn an_old_address_never_has_the_weaker_rules_of_a_new_one() {
    let daemon = start(folder(), TOKENS);
    let (is_over, replies) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..2)
        .map(|_| {
            let (is_over, replies) = (Arc::clone(&is_over), Arc::clone(&replies));
            let address = daemon.admin;
            std::thread::spawn(move || {
                let head = "GET /metrics HTTP/1.1\r\nHost: x\r\n";
                while !is_over.load(Ordering::Relaxed) {
                    let Ok(mut stream) = TcpStream::connect(address) else { break };
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    let _is_closed = write!(stream, "{head}\r\n{head}Connection: close\r\n\r\n");
                    let reply = rest(&stream);
                    assert!(!reply.contains("HTTP/1.1 200"), "{reply}");
                    replies.fetch_add(reply.matches("HTTP/1.1 401").count(), Ordering::Relaxed);
                }
            })
        })
        .collect();
    let began = Instant::now();
    while replies.load(Ordering::Relaxed) < 10 {
        assert!(began.elapsed() < PATIENCE, "the old address does not reply");
        std::thread::sleep(Duration::from_millis(2));
    }
    let moved = config("", "").replace("listen: 127.0.0.1:0", "listen: 127.0.0.2:0");
    daemon.write_config(&moved);
    let socket = daemon.path("admin.sock");
    at_socket(&socket, "POST", "/api/v1/reload");
    is_over.store(true, Ordering::Relaxed);
    clients.into_iter().for_each(|client| client.join().unwrap());
    assert!(TcpStream::connect(daemon.admin).is_err());
    assert!(at_socket(&socket, "GET", "/api/v1/status").text.contains("\"applied\":1"));
}
