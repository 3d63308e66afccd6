//! Shares the file descriptors of the process among connections and everything else.
//!
//! Clients decide how many connections there are. They must not take the descriptors that the daemon
//! needs for files, destinations and answers to an operator.

use engine::listener::ListenerConfig;
use forwarders::ForwardersConfig;

use super::admin::{AdminConfig, AdminListen};
use crate::process;

/// Descriptors of the process itself: standard streams, the runtime, signals, files that are read for
/// a moment.
const PROCESS: u64 = 24;
/// Descriptors of a listener's socket and its thread, besides connections.
const PER_SOCKET: u64 = 4;
/// Descriptors of a polled Kamailio server.
const PER_KAMAILIO: u64 = 2;
/// Fewest connections of an HTTP server.
const HTTP_MIN: u64 = 4;

/// The shares of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescriptorShares {
    /// The limit of the process.
    pub limit: u64,
    /// Descriptors that connections cannot take.
    pub reserved: u64,
    /// Most connections of each HTTP server: the admin endpoint and the Prometheus pages.
    pub http: u64,
    /// Most connections of all listeners together.
    pub listeners: u64,
    /// The configured sum of the listeners' `max_connections`.
    pub listeners_wanted: u64,
    /// Whether a `max_connections` is lowered.
    pub is_lowered: bool,
}

/// The needs of a configuration.
struct Demand {
    /// Descriptors that are not connections.
    others: u64,
    /// The configured `max_connections` of each HTTP server.
    http: Vec<u64>,
    /// The configured `max_connections` of all listeners together.
    listeners: u64,
}

impl DescriptorShares {
    /// Shares the descriptors of this process, which polls this number of Kamailio servers.
    #[must_use]
    pub fn of(
        admin: &AdminConfig,
        forwarders: &ForwardersConfig,
        kamailio: usize,
        listeners: &[ListenerConfig],
    ) -> Self {
        let sockets = listeners.iter().map(|config| config.endpoint.sockets() as u64);
        let sockets = sockets.sum::<u64>() * PER_SOCKET;
        let polls = kamailio as u64 * PER_KAMAILIO;
        let mut http = forwarders.connections();
        if matches!(admin.listen, AdminListen::At(_)) {
            http.push(u64::from(admin.max_connections));
        }
        if admin.socket.is_some() {
            http.push(u64::from(admin.max_connections));
        }
        let demand = Demand {
            others: PROCESS + sockets + polls + forwarders.descriptors(),
            http,
            listeners: listeners.iter().map(connections).sum(),
        };
        share(process::open_files_limit(), &demand)
    }

    /// The number of connections that a server with this `max_connections` may have.
    #[must_use]
    pub fn http_max(&self, max_connections: u32) -> usize {
        u64::from(max_connections).min(self.http) as usize
    }

    /// Lowers each `max_connections` in proportion, if they are too many together.
    pub(super) fn lower(&self, configs: &mut [ListenerConfig]) {
        if self.listeners >= self.listeners_wanted {
            return;
        }
        for stream in configs.iter_mut().filter_map(|config| config.endpoint.stream_mut()) {
            let share = stream.max_connections as u64 * self.listeners / self.listeners_wanted;
            stream.max_connections = share.max(1) as usize;
        }
    }
}

fn connections(config: &ListenerConfig) -> u64 {
    config.endpoint.stream().map_or(0, |stream| stream.max_connections as u64)
}

/// Reserves the needs of everything else, at most half of the limit. If the rest is too small, the HTTP
/// servers share a quarter of it, and the listeners get the remainder.
fn share(limit: u64, demand: &Demand) -> DescriptorShares {
    let wanted_http: u64 = demand.http.iter().sum();
    let reserved = demand.others.min(limit / 2);
    let is_lowered = reserved + wanted_http + demand.listeners > limit;
    let rest = limit - reserved;
    let largest = demand.http.iter().copied().max().unwrap_or_default();
    let http = if is_lowered {
        let each = rest / 4 / demand.http.len().max(1) as u64;
        largest.min(each.max(HTTP_MIN))
    } else {
        largest
    };
    let taken: u64 = demand.http.iter().map(|wanted| wanted.min(&http)).sum();
    let listeners = if is_lowered { rest.saturating_sub(taken) } else { demand.listeners };
    DescriptorShares {
        limit,
        reserved,
        http,
        listeners: listeners.min(demand.listeners),
        listeners_wanted: demand.listeners,
        is_lowered,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(limit: u64, others: u64, http: &[u64], listeners: u64) -> DescriptorShares {
        share(limit, &Demand { others, http: http.to_vec(), listeners })
    }

    #[test]
    fn nothing_is_lowered_where_the_limit_suffices() {
        let shares = shares(65_536, 60, &[64, 64], 2048);
        assert_eq!((shares.http, shares.listeners, shares.is_lowered), (64, 2048, false));
        assert_eq!(shares.reserved, 60);
    }

    #[test]
    fn listeners_get_what_the_others_leave() {
        let shares = shares(1024, 50, &[64], 1024);
        assert!(shares.is_lowered);
        assert_eq!((shares.reserved, shares.http, shares.listeners), (50, 64, 910));
    }

    #[test]
    fn a_small_limit_leaves_some_for_each() {
        let shares = shares(64, 50, &[64, 64], 1024);
        assert_eq!((shares.reserved, shares.http, shares.listeners), (32, 4, 24));
    }

    #[test]
    fn the_sum_never_exceeds_the_limit() {
        for limit in [16, 20, 64, 100, 256, 1000, 5000] {
            for others in [10, 100, 1000] {
                let shares = shares(limit, others, &[64, 16], 4096);
                let http = shares.http.min(64) + shares.http.min(16);
                assert!(shares.reserved + http + shares.listeners <= limit, "{shares:?}");
            }
        }
    }
}
