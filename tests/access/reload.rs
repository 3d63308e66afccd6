//! Changes of passwords, certificates and files while the daemon runs.

use std::fs;
use std::time::{Duration, Instant};

use common::pki::Pki;
use common::{Daemon, PATIENCE};

use super::client::{at_socket, curl};
use super::{HASH, PASSWORD, TLS, TOKEN, TOKENS, USERS, config, folder, start};

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
