//! A real statsd and a tallyd that receive the same lines, and the lines that both write to Graphite.

use std::collections::BTreeMap;
use std::net::UdpSocket;

use crate::Daemon;
use crate::carbon::{Catcher, Statsd};
use crate::rates::full_window_in_graphite;

/// Numbers by path.
pub type Lines = BTreeMap<String, f64>;

/// A statsd and a tallyd that receive the same datagrams.
pub struct Pair {
    statsd: Statsd,
    from_statsd: Catcher,
    daemon: Daemon,
    from_daemon: Catcher,
    socket: UdpSocket,
    rounds: usize,
}

/// The lines that both wrote for one datagram.
pub struct Round {
    pub statsd: Lines,
    pub daemon: Lines,
}

/// The lines of all flushes.
pub struct Flushes {
    /// Those with the lines of a datagram.
    pub rounds: Vec<Round>,
    /// The others of statsd.
    pub between: Vec<Lines>,
    /// Whether one of both has flushed between two rounds, because the machine was busy.
    pub has_gap: bool,
}

impl Pair {
    /// Starts both; `None` if the test must be skipped. `members` are those of the destination.
    pub fn start(statsd_config: &str, members: &str) -> Option<Self> {
        let of_statsd = |port: &str| {
            format!(
                "{{ flushInterval: 1000, graphiteHost: '127.0.0.1', graphitePort: {port}, {statsd_config} }}"
            )
        };
        let of_daemon = |port: &str| {
            format!(
                "interval: 1s\nlisteners: [{{ protocol: statsd, address: \"127.0.0.1:0\" }}]\n\
                 forwarders: {{ graphite: {{ address: \"127.0.0.1:{port}\", naming: etsy, {members} }} }}\n"
            )
        };
        Self::start_with(of_statsd, of_daemon)
    }

    /// Starts both with these configurations, which get the port of their Graphite.
    pub fn start_with(
        of_statsd: impl Fn(&str) -> String,
        of_daemon: impl Fn(&str) -> String,
    ) -> Option<Self> {
        let (from_statsd, from_daemon) = (Catcher::start(), Catcher::start());
        let port = |catcher: &Catcher| catcher.address.split_once(':').unwrap().1.to_owned();
        let statsd = Statsd::start(&of_statsd(&port(&from_statsd)))?;
        let daemon = Daemon::start(&of_daemon(&port(&from_daemon)));
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        Some(Self { statsd, from_statsd, daemon, from_daemon, socket, rounds: 0 })
    }

    /// Sends the same lines to both, in one datagram so that no flush divides them, and waits until
    /// both have flushed them.
    pub fn round(&mut self, lines: &[String]) {
        self.rounds += 1;
        let datagram = format!("{}\nround.{}:1|c", lines.join("\n"), self.rounds);
        let listener = self.daemon.address("statsd/udp ").to_string();
        for address in [&self.statsd.address, &listener] {
            self.socket.send_to(datagram.as_bytes(), address).unwrap();
        }
        let marker = format!("round.{}", self.rounds);
        for catcher in [&self.from_statsd, &self.from_daemon] {
            catcher.wait_for(&marker);
        }
    }

    /// The lines of all flushes.
    pub fn finish(self) -> Flushes {
        let stopped = self.daemon.stop();
        assert!(stopped.status.success());
        // statsd opens a connection for each flush; tallyd keeps one, and the times separate windows.
        let mut of_statsd: Vec<Lines> = Vec::new();
        for text in self.from_statsd.connections() {
            of_statsd.push(text.lines().map(read).map(|(p, v, _)| (p, v)).collect());
        }
        let mut of_daemon: BTreeMap<u64, Lines> = BTreeMap::new();
        for text in self.from_daemon.connections() {
            for (path, value, time) in text.lines().map(read) {
                assert_eq!(of_daemon.entry(time).or_default().insert(path, value), None);
            }
        }
        let has = |lines: &Lines, round: usize| {
            let marker = format!(".round.{round}");
            // In the legacy namespace nothing follows.
            let is_marker =
                |path: &str| path.ends_with(&marker) || path.contains(&format!("{marker}."));
            lines.iter().any(|(path, value)| is_marker(path) && *value > 0.0)
        };
        // statsd divides by the interval, however late a flush is.
        of_daemon.values_mut().for_each(|lines| full_window_in_graphite(lines, 1.0));
        let place = |round| of_statsd.iter().position(|lines| has(lines, round)).unwrap();
        let places: Vec<usize> = (1..=self.rounds).map(place).collect();
        let time = |round| *of_daemon.iter().find(|(_, lines)| has(lines, round)).unwrap().0;
        let times: Vec<u64> = (1..=self.rounds).map(time).collect();
        let has_gap = places.windows(2).any(|pair| pair[0] + 1 < pair[1])
            || times.windows(2).any(|pair| pair[0] + 1 < pair[1]);
        let lines = |(place, time): (&usize, &u64)| Round {
            statsd: of_statsd[*place].clone(),
            daemon: of_daemon[time].clone(),
        };
        let rounds = places.iter().zip(&times).map(lines).collect();
        let others = (0..of_statsd.len()).filter(|place| !places.contains(place));
        let between = others.map(|place| of_statsd[place].clone()).collect();
        Flushes { rounds, between, has_gap }
    }
}

/// Parses a line: the path, the number and the time.
pub fn in_order(line: &str) -> (&str, f64, u64) {
    let words: Vec<&str> = line.split(' ').collect();
    let [path, value, time] = words[..] else { panic!("{line}") };
    let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
    (path, value, time.parse().unwrap())
}

/// Parses a line, with the tags of the path in carbon's order.
pub fn read(line: &str) -> (String, f64, u64) {
    let (path, value, time) = in_order(line);
    let mut tags = path.split(';');
    let name = tags.next().unwrap();
    let mut tags: Vec<&str> = tags.collect();
    tags.sort_unstable();
    let path = [&[name], tags.as_slice()].concat().join(";");
    (path, value, time)
}

/// Whether a path is that of a metric of statsd about itself.
pub fn is_its_own(path: &str) -> bool {
    let own = [
        "numStats",
        "graphiteStats",
        "processing_time",
        "timestamp_lag",
        "bad_lines_seen",
        "packets_received",
        "metrics_received",
    ];
    own.iter().any(|own| path.contains(&format!("statsd.{own}")))
}
