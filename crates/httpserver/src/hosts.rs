//! The host names by which a browser may ask for data that clients sent.
//!
//! Any web page can have its own name resolve to 127.0.0.1, and its script may then read the replies
//! from there ("DNS rebinding"). It cannot change the name in the request.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use basics::host_name::{HostName, is_label};
use parking_lot::Mutex;

/// The names that are allowed besides addresses, `localhost` and names without a dot, which no site
/// on the internet can have. A clone shares them.
#[derive(Clone, Debug)]
pub struct AllowedHosts(Arc<Mutex<Vec<String>>>);

impl AllowedHosts {
    /// The configured names, and the name of this host.
    #[must_use]
    pub fn new(configured: &[HostName]) -> Self {
        let hosts = Self(Arc::default());
        hosts.replace(configured);
        hosts
    }

    /// Replaces the configured names, in all clones.
    pub fn replace(&self, configured: &[HostName]) {
        let node = rustix::system::uname();
        let node = node.nodename().to_string_lossy().into_owned();
        let names = configured.iter().map(HostName::as_str).chain([node.as_str()]);
        *self.0.lock() = names.map(|name| without_root(name).to_owned()).collect();
    }

    /// Whether a `Host`, with or without a port, is allowed.
    pub(crate) fn has(&self, host: &str) -> bool {
        let name = name_of(host);
        is_address(name)
            // Such as `localhost` or the name of a container.
            || is_label(name)
            || self.0.lock().iter().any(|own| own.eq_ignore_ascii_case(without_root(name)))
    }
}

/// The host without its port.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// The name without the dot that marks it as complete: `example.net.` is `example.net`.
fn without_root(name: &str) -> &str {
    name.strip_suffix('.').filter(|name| !name.is_empty()).unwrap_or(name)
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
        let hosts = AllowedHosts::new(
            &["Metrics.Example.net", "a.b."]
                .map(|name| HostName::try_from(name.to_owned()).unwrap()),
        );
        for host in [
            "127.0.0.1",
            "127.0.0.1:9495",
            "10.1.2.3:80",
            "[::1]:9495",
            "[::1]",
            "localhost",
            "LOCALHOST:9495",
            "tallyd:9494",
            "metrics.example.net:9495",
            "metrics.example.net.:9495",
            "a.b",
            "a.b.",
        ] {
            assert!(hosts.has(host), "{host}");
        }
        for host in [
            "",
            ":9495",
            "evil.example",
            "evil.example:9495",
            "evil.example.",
            "evil.",
            ".",
            "a.b..",
            "127.0.0.1.evil.example",
            "127.0.0.1@evil.example",
            "evil.example:127.0.0.1",
            "localhost.evil.example",
            "[evil.example]",
            "metrics.example.net.evil.example",
        ] {
            assert!(!hosts.has(host), "{host}");
        }
    }
}
