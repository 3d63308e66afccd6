//! The configuration of the daemon, and the settings in it that reloads change.

use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

use crate::random::Random;

/// The settings that a reload changes.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    interval_ms: u64,
    max_lines: u64,
    order: &'static str,
    write: &'static str,
    max_packet: u64,
    level: &'static str,
    has_extra: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval_ms: 1_000,
            max_lines: 5_000,
            order: "fair",
            write: "behind",
            max_packet: 1432,
            level: "info",
            has_extra: false,
        }
    }
}

impl Settings {
    pub(crate) fn choose(random: &mut Random) -> Self {
        Self {
            interval_ms: random.pick(&[250, 500, 1_000, 1_000, 1_000, 2_000]),
            max_lines: random.pick(&[1, 4, 15, 5_000]),
            order: random.pick(&["fair", "oldest"]),
            write: random.pick(&["behind", "behind", "always"]),
            max_packet: random.pick(&[512, 1432, 8192]),
            level: random.pick(&["info", "debug", "debug", "trace"]),
            has_extra: random.chance(30),
        }
    }
}

/// Texts that a reload refuses: each is appended to a configuration.
pub(crate) const REFUSED: [&str; 5] = [
    "nothing: 1\n",
    "interval: nonsense\n",
    "\t- [",
    "a: &a [*a]\n",
    "kamailio: [{ endpoint: nowhere }]\n",
];

/// The folder and the ports of a run.
pub(crate) struct Site {
    pub(crate) folder: PathBuf,
    pub(crate) udp_json: u16,
    pub(crate) udp_statsd: u16,
    pub(crate) tcp_json: u16,
    pub(crate) tcp_statsd: u16,
    pub(crate) admin: u16,
    pub(crate) page: u16,
    pub(crate) influx: u16,
    pub(crate) graphite: u16,
    pub(crate) statsd: u16,
    pub(crate) statsd_tcp: u16,
}

impl Site {
    pub(crate) fn new(folder: &Path) -> Self {
        let mut ports = free_ports();
        let mut next = || ports.next().expect("a free port");
        Self {
            folder: folder.to_owned(),
            udp_json: next(),
            udp_statsd: next(),
            tcp_json: next(),
            tcp_statsd: next(),
            admin: next(),
            page: next(),
            influx: next(),
            graphite: next(),
            statsd: next(),
            statsd_tcp: next(),
        }
    }

    /// The text of the configuration file.
    pub(crate) fn config(&self, settings: &Settings) -> String {
        let Self { udp_json, udp_statsd, tcp_json, tcp_statsd, .. } = self;
        let Self { admin, page, influx, graphite, statsd, statsd_tcp: tcp, .. } = self;
        let Settings { interval_ms, max_lines, order, write, max_packet, level, has_extra } =
            settings;
        let folder = self.folder.display();
        let retry = "retry: { initial: 50ms, max: 300ms }";
        let delivery = format!(
            "{{ timeout: 700ms, {retry}, spool: {{ write: {write}, order: {order}, min_free: 1 }} }}"
        );
        let extra = if *has_extra { "\n  console: { name: extra }" } else { "" };
        format!(
            "interval: {interval_ms}ms
listeners:
  - {{ address: \"127.0.0.1:{udp_json}\" }}
  - {{ address: \"127.0.0.1:{udp_statsd}\", protocol: statsd }}
  - {{ address: \"127.0.0.1:{tcp_json}\", transport: tcp }}
  - {{ address: \"127.0.0.1:{tcp_statsd}\", transport: tcp, protocol: statsd }}
  - {{ path: {folder}/json.sock, transport: unix }}
  - {{ path: {folder}/statsd.sock, transport: unix_datagram, protocol: statsd }}
state_dir: {folder}/state
admin: {{ listen: \"127.0.0.1:{admin}\" }}
log: {{ format: json, level: {level}, queue: 64KiB }}
shutdown_timeout: 3s
aggregation: {{ exact_samples: 100000 }}
forwarders:
  file: {{ path: {folder}/out, format: json, delivery: {{ {retry} }} }}
  influxdb: {{ url: \"http://chaos-0:{influx}\", database: m, gzip: false, max_lines: {max_lines}, delivery: {delivery} }}
  graphite: {{ address: \"chaos-1:{graphite}\", delivery: {delivery} }}
  statsd:
  - {{ address: \"127.0.0.1:{statsd}\", timer_samples: 100000, max_packet: {max_packet}, delivery: {{ {retry} }} }}
  - {{ name: statsd_tcp, address: \"127.0.0.1:{tcp}\", transport: tcp, timer_samples: 100000, delivery: {{ timeout: 700ms, {retry} }} }}
  prometheus: {{ listen: \"127.0.0.1:{page}\" }}{extra}
"
        )
    }
}

/// Ports below those that the system gives to clients, so that no client of another test takes one while
/// the daemon restarts.
fn free_ports() -> impl Iterator<Item = u16> {
    let first = 12_000 + (std::process::id() % 900) as u16 * 20;
    (first..32_000).filter(|port| {
        let is_free = |address: &str| {
            TcpListener::bind((address, *port)).is_ok() && UdpSocket::bind((address, *port)).is_ok()
        };
        ["127.0.0.1", "127.0.0.2", "127.0.0.3"].into_iter().all(is_free)
    })
}
