//! Authentication and TLS of the admin endpoint and of the Prometheus page, through the real binary.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "access/attacks.rs"]
mod attacks;
#[path = "access/client.rs"]
mod client;
#[path = "access/commands.rs"]
mod commands;
#[path = "access/methods.rs"]
mod methods;
#[path = "access/page.rs"]
mod page;
#[path = "access/reload.rs"]
mod reload;
#[path = "access/web_config.rs"]
mod web_config;

use std::path::Path;

use common::pki::Pki;
use common::{Daemon, write_config};
use tempfile::TempDir;

/// The password of `alice`, and its hash with the lowest cost.
const PASSWORD: &str = "correct horse battery staple";
const HASH: &str = "$2b$04$GzZzFQs1s6c5J8GImbF0hO9WpfzZ.mvI4j4Ql7.OfHUoE9zMEDBKK";
const TOKEN: &str = "dd8cf5f0a7a1f86a3f6e1a4d3c7e9b21";

/// A folder with a certificate for 127.0.0.1 (`server.pem`, `server.key`), its authority (`ca.pem`), a
/// client's certificate (`client.pem`, `client.key`), and an expired one and one of a stranger.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let authority = Pki::new(folder.path(), "ca");
    authority.issue("server");
    authority.issue_to_client("client");
    authority.issue_expired("expired");
    Pki::new(folder.path(), "strangers").issue("stranger");
    folder
}

/// Starts a daemon in a folder whose `admin` section has these keys besides `listen` and `socket`.
fn start(folder: TempDir, admin: &str) -> Daemon {
    start_with(folder, admin, "")
}

/// The same with further sections.
fn start_with(folder: TempDir, admin: &str, rest: &str) -> Daemon {
    Daemon::start_in(folder, &config(admin, rest))
}

fn config(admin: &str, rest: &str) -> String {
    format!(
        "admin:\n  listen: 127.0.0.1:0\n  socket: DIR/admin.sock\n{}interval: 300ms\n{rest}",
        admin.lines().map(|line| format!("  {line}\n")).collect::<String>()
    )
}

/// What `tallyd check` prints about a configuration in a folder: whether it is good, and the words.
fn check(folder: &TempDir, admin: &str, rest: &str) -> (bool, String) {
    let path = write_config(folder, &config(admin, rest));
    checked(&path)
}

fn checked(path: &Path) -> (bool, String) {
    let output = common::tallyd().args(["check", "--config"]).arg(path).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

const TLS: &str = "tls: { cert_file: DIR/server.pem, key_file: DIR/server.key }";
const MUTUAL_TLS: &str =
    "tls: { cert_file: DIR/server.pem, key_file: DIR/server.key, client_ca_file: DIR/ca.pem }";
const USERS: &str =
    "users: { alice: $2b$04$GzZzFQs1s6c5J8GImbF0hO9WpfzZ.mvI4j4Ql7.OfHUoE9zMEDBKK }";
const TOKENS: &str = "tokens: [aaaaaaaaaaaaaaaaaaaaaaaa, dd8cf5f0a7a1f86a3f6e1a4d3c7e9b21]";
