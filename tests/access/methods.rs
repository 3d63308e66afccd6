//! Each way to authenticate, at every path of the admin endpoint and at the Unix socket.

use common::Daemon;

use super::client::{at_socket, curl};
use super::{MUTUAL_TLS, PASSWORD, TLS, TOKEN, TOKENS, USERS, folder, start};

/// Paths that need no credentials, and paths that do.
const HEALTH: [&str; 2] = ["/healthz", "/readyz"];
const PROTECTED: [&str; 12] = [
    "/",
    "/metrics",
    "/api/v1/status",
    "/api/v1/rejected",
    "/api/v1/history",
    "/api/v1/reload",
    "/api/v1/config",
    "/api/v1/top",
    "/api/v1/series",
    "/api/v1/chart?name=x",
    "/api/v1/tap?rate=0",
    "/unknown",
];

/// A way to authenticate: the keys of the section, curl's arguments of a client that has it, and those of
/// clients without.
struct Method {
    keys: Vec<&'static str>,
    scheme: &'static str,
    good: Vec<String>,
    bad: Vec<(Vec<String>, u16)>,
}

fn args(all: &[&str]) -> Vec<String> {
    all.iter().map(|arg| (*arg).to_owned()).collect()
}

fn methods() -> Vec<Method> {
    let user = format!("alice:{PASSWORD}");
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let trusting = ["--cacert", "DIR/ca.pem"];
    let certificate = |name: &str| {
        args(&["--cert", &format!("DIR/{name}.pem"), "--key", &format!("DIR/{name}.key")])
    };
    let with = |parts: &[Vec<String>]| [&[args(&trusting)], parts].concat().concat();
    vec![
        Method {
            keys: vec![USERS],
            scheme: "http",
            good: args(&["-u", &user]),
            bad: vec![
                (args(&[]), 401),
                (args(&["-u", "alice:wrong"]), 401),
                (args(&["-u", &format!("bob:{PASSWORD}")]), 401),
                (args(&["-u", "alice:"]), 401),
                (args(&["-H", &bearer]), 401),
            ],
        },
        Method {
            keys: vec![TOKENS],
            scheme: "http",
            good: args(&["-H", &bearer]),
            bad: vec![
                (args(&[]), 401),
                (args(&["-H", "Authorization: Bearer aaaaaaaaaaaaaaaaaaaaaaab"]), 401),
                (args(&["-u", &user]), 401),
            ],
        },
        Method {
            keys: vec![TLS, USERS],
            scheme: "https",
            good: with(&[args(&["-u", &user])]),
            bad: vec![(with(&[]), 401), (with(&[args(&["-u", "alice:wrong"])]), 401)],
        },
        Method {
            keys: vec![MUTUAL_TLS],
            scheme: "https",
            good: with(&[certificate("client")]),
            bad: vec![
                (with(&[]), 0),
                (with(&[certificate("expired")]), 0),
                (with(&[certificate("stranger")]), 0),
            ],
        },
        Method {
            keys: vec![MUTUAL_TLS, TOKENS],
            scheme: "https",
            good: with(&[certificate("client"), args(&["-H", &bearer])]),
            bad: vec![(with(&[certificate("client")]), 401), (with(&[args(&["-H", &bearer])]), 0)],
        },
    ]
}

/// The arguments with the daemon's folder.
fn of(daemon: &Daemon, args: &[String]) -> Vec<String> {
    let folder = daemon.path("");
    args.iter().map(|arg| arg.replace("DIR/", folder.to_str().unwrap())).collect()
}

fn status(daemon: &Daemon, method: &Method, args: &[String], path: &str) -> u16 {
    let args = of(daemon, args);
    let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
    // A tap never ends.
    if path.contains("/tap") {
        args.extend(["-m", "1"]);
    }
    curl(&args, &format!("{}://{}{path}", method.scheme, daemon.admin)).status
}

#[test]
fn every_path_but_the_health_checks_needs_the_configured_credentials() {
    for method in methods() {
        let daemon = start(folder(), &method.keys.join("\n"));
        let keys = &method.keys;
        for path in PROTECTED {
            let status = status(&daemon, &method, &method.good, path);
            assert!(![0, 401, 403].contains(&status), "{keys:?} {path}: {status}");
        }
        for (bad, expected) in &method.bad {
            for path in PROTECTED {
                assert_eq!(
                    status(&daemon, &method, bad, path),
                    *expected,
                    "{keys:?} {bad:?} {path}"
                );
            }
            for path in HEALTH {
                // Without a certificate there is no connection at all.
                let expected = if *expected == 0 { 0 } else { 200 };
                assert_eq!(
                    status(&daemon, &method, bad, path),
                    expected,
                    "{keys:?} {bad:?} {path}"
                );
            }
        }
    }
}

#[test]
fn only_an_authenticated_client_changes_something_at_an_address() {
    for method in methods() {
        let daemon = start(folder(), &method.keys.join("\n"));
        let change = |args: &[String], verb: &str, path: &str| {
            let args = [of(&daemon, args), vec!["-X".to_owned(), verb.to_owned()]].concat();
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            curl(&args, &format!("{}://{}{path}", method.scheme, daemon.admin))
        };
        let keys = &method.keys;
        for (verb, path) in [("POST", "/api/v1/reload"), ("DELETE", "/api/v1/series?match=x")] {
            for (bad, expected) in &method.bad {
                assert_eq!(change(bad, verb, path).status, *expected, "{keys:?} {bad:?} {verb}");
            }
            let good = change(&method.good, verb, path);
            assert_eq!(good.status, 200, "{keys:?} {verb}: {good:?}");
        }
        let reloads = at_socket(&daemon.path("admin.sock"), "GET", "/api/v1/status").text;
        assert!(reloads.contains("\"applied\":1"), "{keys:?}: {reloads}");
    }
}

#[test]
fn an_address_without_authentication_changes_nothing() {
    for keys in ["", TLS] {
        let daemon = start(folder(), keys);
        let scheme = if keys.is_empty() { "http" } else { "https" };
        let ca = daemon.path("ca.pem");
        for (verb, path) in [("POST", "/api/v1/reload"), ("DELETE", "/api/v1/series?match=*")] {
            let url = format!("{scheme}://{}{path}", daemon.admin);
            let reply = curl(&["--cacert", ca.to_str().unwrap(), "-X", verb], &url);
            assert_eq!(reply.status, 403, "{reply:?}");
            assert!(reply.text.contains("admin: {users, tokens, tls}"), "{reply:?}");
        }
    }
}

#[test]
fn the_unix_socket_needs_no_credentials() {
    for keys in [USERS, TOKENS, MUTUAL_TLS] {
        let daemon = start(folder(), keys);
        let socket = daemon.path("admin.sock");
        for path in HEALTH.iter().chain(&PROTECTED[..8]) {
            assert_eq!(at_socket(&socket, "GET", path).status, 200, "{keys} {path}");
        }
        assert_eq!(at_socket(&socket, "POST", "/api/v1/reload").status, 200, "{keys}");
    }
}

#[test]
fn a_browser_learns_how_to_authenticate() {
    let challenges = |keys: &str| {
        let daemon = start(folder(), keys);
        let reply = curl(&[], &format!("http://{}/", daemon.admin));
        assert_eq!(reply.status, 401, "{reply:?}");
        let text = reply.text.to_ascii_lowercase();
        let lines = text.lines().filter_map(|line| line.strip_prefix("www-authenticate: "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let (basic, bearer) = ("basic realm=\"tallyd\", charset=\"utf-8\"", "bearer realm=\"tallyd\"");
    assert_eq!(challenges(USERS), [basic]);
    assert_eq!(challenges(TOKENS), [bearer]);
    assert_eq!(challenges(&format!("{USERS}\n{TOKENS}")), [basic, bearer]);
}
