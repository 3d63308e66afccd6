//! Metrics for tallyd: copy this file into your program.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use serde_json::{json, Value};

/// The payload of an Ethernet frame. A longer datagram is fragmented, and is lost if any fragment is
/// lost.
const MAX_DATAGRAM: usize = 1432;

/// Tags: keys and values, such as `&[("stage", "login")]`.
pub type Tags<'a> = &'a [(&'a str, &'a str)];

/// Sends messages. Its methods never block and never fail. Threads may share a `Metrics`.
pub struct Metrics {
    socket: UdpSocket,
    to: SocketAddr,
}

impl Metrics {
    /// Sends to a `HOST:PORT`. The name is resolved once, here.
    pub fn new(address: &str) -> io::Result<Self> {
        // `localhost` may be ::1 first, but tallyd does not listen there by default.
        let to = address.to_socket_addrs()?.min_by_key(|one| !one.is_ipv4());
        let to = to.ok_or(io::ErrorKind::NotFound)?;
        let any = match to {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let socket = UdpSocket::bind(any)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, to })
    }

    /// Adds to a counter.
    pub fn counter(&self, name: &str, count: f64, tags: Tags<'_>) {
        self.send(&[message(name, "counter", tags, json!({ "count": count }))]);
    }

    /// Sets a level.
    pub fn gauge(&self, name: &str, value: f64, tags: Tags<'_>) {
        self.send(&[message(name, "gauge", tags, json!({ "value": value }))]);
    }

    /// Changes a level, by sending text with a sign.
    pub fn gauge_delta(&self, name: &str, change: f64, tags: Tags<'_>) {
        let change = format!("{change:+}");
        self.send(&[message(name, "gauge", tags, json!({ "value": change }))]);
    }

    /// Records a duration, in milliseconds.
    pub fn timer(&self, name: &str, took: Duration, tags: Tags<'_>) {
        let ms = took.as_secs_f64() * 1000.0;
        self.send(&[message(name, "timer", tags, json!({ "value": ms }))]);
    }

    /// Records a member of a set, whose distinct members are counted.
    pub fn set(&self, name: &str, member: &str, tags: Tags<'_>) {
        self.send(&[message(name, "set", tags, json!({ "value": member }))]);
    }

    /// Counts how often exactly these tags occurred.
    pub fn trace(&self, name: &str, tags: Tags<'_>) {
        self.send(&[message(name, "trace", tags, json!({}))]);
    }

    /// Sends messages, as many to a datagram as fit.
    pub fn send(&self, messages: &[Value]) {
        let mut datagram = String::new();
        for message in messages {
            let line = message.to_string(); // contains no line break
            if !datagram.is_empty() {
                if datagram.len() + 1 + line.len() > MAX_DATAGRAM {
                    self.out(&datagram);
                    datagram.clear();
                } else {
                    datagram.push('\n');
                }
            }
            datagram.push_str(&line);
        }
        self.out(&datagram);
    }

    fn out(&self, datagram: &str) {
        // Not connected: when no process listens, the kernel reports that to a connected socket by
        // failing the next send, so the first datagram after a restart of the daemon would be lost.
        // Errors (no room, too long) are ignored: metrics are not worth a failure.
        let _lost = self.socket.send_to(datagram.as_bytes(), self.to);
    }
}

/// A message. Tags go into `tags`, where they may be called like a key of the message.
pub fn message(name: &str, kind: &str, tags: Tags<'_>, fields: Value) -> Value {
    let tags: Value = tags.iter().map(|&(key, value)| (key, value)).collect();
    let mut message = json!({ "metric_name": name, "metric_type": kind, "tags": tags });
    if let (Value::Object(message), Value::Object(fields)) = (&mut message, fields) {
        message.extend(fields);
    }
    message
}
