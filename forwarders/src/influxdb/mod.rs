//! InfluxDB: line protocol over HTTP, one line per point.
//!
//! # Guarantees
//!
//! At least once: a point counts as delivered when the server has acknowledged its request. A repeat
//! does no harm, because a point of the same series and time replaces the first. Points that the
//! server will never accept are dropped and counted, with the server's own words, and the other
//! points of their request arrive. A wrong configuration, here or on the server, costs no data: the
//! points are kept and sent again at long intervals.
//!
//! # The path of a window
//!
//! `encode` makes one payload of each line. [`HttpSender`] groups consecutive payloads into
//! requests, up to `max_lines` and `max_bytes`; `write` builds a request, and `outcome` interprets
//! the reply for each line.

mod config;
mod outcome;
mod section;
#[cfg(test)]
mod tests;
mod timestamp;
mod write;

use async_trait::async_trait;

pub use config::{InfluxdbConfig, InfluxdbVersion};

use self::timestamp::Precision;
use self::write::{LineProtocol, WriteApi};
use crate::delivery::PART_POINTS;
use crate::delivery::forwarder::{Forwarder, SendError};
use crate::delivery::payload::Batch;
use crate::delivery::stats::reason;
use crate::format::influx::{self, LineNaming};
use crate::http::{HttpClient, HttpSender, HttpSettings, RequestLimits, StatusClass};
use model::Snapshot;

/// Maximum size of measurement and tags together, in bytes; InfluxDB rejects a longer key and
/// repeats all of it in its error.
const KEY_BYTES_MAX: usize = 65_535;

/// Maximum number of requests in one search for a line that the server refuses without naming it.
/// Each halves the number of lines that are dropped in the end, but sends up to several MiB again.
const BISECTIONS_MAX: usize = 7;

/// Writes each point as a line to an InfluxDB server.
#[derive(Debug)]
pub struct InfluxDb {
    sender: HttpSender,
    protocol: LineProtocol,
    /// Maximum number of lines in a request.
    max_lines: usize,
    /// Maximum size of a line, in bytes, from `max_bytes`.
    max_bytes: usize,
}

impl InfluxDb {
    /// Creates a destination that connects with its first window.
    ///
    /// # Errors
    /// If settings conflict or a certificate cannot be used. An unreachable server is not an error.
    pub fn new(config: &InfluxdbConfig) -> Result<Self, String> {
        let api = config.api().map_err(|misfit| misfit.to_string())?;
        let WriteApi { in_seconds, in_millis, authorization } = api;
        let client = HttpClient::new(HttpSettings {
            name: config.name.as_deref().unwrap_or("influxdb"),
            url: &config.url,
            tls: &config.tls,
            authorization,
            timeout: config.delivery.timeout.get(),
            resolve_every: config.delivery.resolve_every.get(),
        })
        .map_err(|error| error.to_string())?;
        let max_bytes = usize::try_from(config.max_bytes.get()).unwrap_or(usize::MAX);
        let limits = RequestLimits {
            units: config.max_lines,
            bytes: max_bytes,
            bisections: BISECTIONS_MAX,
            search_after: config.delivery.retry.search_after,
        };
        let (precision, gzip) = (Precision::Seconds, config.gzip);
        let naming = LineNaming::new(config.naming, &config.telegraf);
        let protocol = LineProtocol { in_seconds, in_millis, precision, gzip, naming };
        let sender = HttpSender::new(client, limits);
        Ok(Self { sender, protocol, max_lines: config.max_lines, max_bytes })
    }
}

#[async_trait]
impl Forwarder for InfluxDb {
    fn wants_whole_window(&self, window: &Snapshot) -> bool {
        influx::may_merge(window, &self.protocol.naming) || self.max_lines > PART_POINTS
    }

    fn encode(&mut self, snapshot: &Snapshot, batch: &mut Batch) {
        let timestamp = self.protocol.start_window(snapshot.window);
        let mut id = 0;
        influx::encode(snapshot, &self.protocol.naming, batch, |batch, line| {
            let (mut key_bytes, mut line_bytes) = (0, 0);
            let write = |out: &mut Vec<u8>| {
                let start = out.len();
                line.write_key(out);
                key_bytes = out.len() - start;
                line.write_values(out, snapshot, timestamp);
                out.push(b'\n');
                line_bytes = out.len() - start;
            };
            batch.push(line.points, |_| (), write);
            if key_bytes > KEY_BYTES_MAX {
                let words = format!(
                    "name and tags of a series are {key_bytes} bytes long, and InfluxDB takes \
                     {KEY_BYTES_MAX}"
                );
                batch.refused(id, reason::TOO_LARGE, words);
            } else if line_bytes > self.max_bytes {
                let words = format!(
                    "a line is {line_bytes} bytes long, and `max_bytes` is {}",
                    self.max_bytes
                );
                batch.refused(id, reason::TOO_LARGE, words);
            }
            id += 1;
        });
    }

    async fn send(&mut self, batch: &mut Batch) -> Result<(), SendError> {
        self.sender.deliver(batch, &self.protocol).await
    }

    fn keeps_last_write(&self) -> bool {
        true
    }

    fn wants_old_data(&self) -> bool {
        true
    }

    fn wants_newer_window(&self) -> bool {
        self.sender.wants_newer_data()
    }

    fn show_newer_window(&mut self, newer: &Snapshot) {
        self.sender.show_newer_data(self.protocol.samples(newer));
    }

    /// Sends a request without lines: the server checks its credentials, database and retention
    /// policy before it rejects it.
    async fn probe(&mut self) -> Result<(), SendError> {
        let reply = self.sender.post(self.protocol.probe()).await?;
        match reply.class() {
            StatusClass::Success => Ok(()),
            StatusClass::InvalidData if is_about_emptiness(&reply.reason()) => Ok(()),
            StatusClass::Transient if outcome::is_about_the_policy(&reply.reason()) => {
                Err(reply.into_error(StatusClass::Operator, 0.0))
            }
            class => Err(reply.into_error(class, 0.0)),
        }
    }
}

/// Returns whether a server rejects a request only for its missing lines, as versions 2 and 3 do.
fn is_about_emptiness(reason: &str) -> bool {
    reason.contains("requires points") || reason.contains("empty")
}
