//! The host names by which a browser may ask for data that clients sent.
//!
//! Any web page can have its own name resolve to 127.0.0.1, and its script may then read the replies
//! from there ("DNS rebinding"). It cannot change the name in the request.

use parking_lot::Mutex;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::HOST;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// The names that are allowed besides addresses and `localhost`. A clone shares them.
#[derive(Clone, Debug)]
pub(super) struct Hosts(Arc<Mutex<Vec<String>>>);

impl Hosts {
    /// The configured names, and the name of this host.
    pub(super) fn new(configured: &[String]) -> Self {
        let hosts = Self(Arc::default());
        hosts.replace(configured);
        hosts
    }

    /// Replaces the configured names, in all clones.
    pub(super) fn replace(&self, configured: &[String]) {
        let node = rustix::system::uname();
        let node = node.nodename().to_string_lossy().into_owned();
        *self.0.lock() = configured.iter().cloned().chain([node]).collect();
    }

    fn has(&self, host: &str) -> bool {
        let name = name_of(host);
        let is_local = name.eq_ignore_ascii_case("localhost");
        is_local
            || is_address(name)
            || self.0.lock().iter().any(|own| own.eq_ignore_ascii_case(name))
    }
}

/// Refuses a request by a foreign name. A request without a host comes from no browser.
pub(super) async fn check(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    let host = request.headers().get(HOST).map(|host| host.to_str().unwrap_or_default());
    if host.is_none_or(|host| hosts.has(host)) {
        return next.run(request).await;
    }
    let words = "not by this name: ask by address, or add the name to `admin: {hosts: […]}`\n";
    (StatusCode::FORBIDDEN, words).into_response()
}

/// The host without its port.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn is_address(name: &str) -> bool {
    let v6 = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    v6.map_or(name.parse::<IpAddr>().is_ok(), |v6| v6.parse::<Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_of_this_host_are_allowed_and_no_others() {
        let hosts = Hosts::new(&["Metrics.Example.net".to_owned()]);
        for host in [
            "127.0.0.1",
            "127.0.0.1:9495",
            "10.1.2.3:80",
            "[::1]:9495",
            "[::1]",
            "localhost",
            "LOCALHOST:9495",
            "metrics.example.net:9495",
        ] {
            assert!(hosts.has(host), "{host}");
        }
        for host in [
            "",
            ":9495",
            "evil.example",
            "evil.example:9495",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "[evil.example]",
            "metrics.example.net.evil.example",
        ] {
            assert!(!hosts.has(host), "{host}");
        }
    }
}
