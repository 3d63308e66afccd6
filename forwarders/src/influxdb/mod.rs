//! InfluxDB: line protocol over HTTP, a line a point.
//!
//! # What is promised
//!
//! At least once: a point counts as delivered when the server has acknowledged the request that it
//! was in. A repeat does no harm, because a point of the same series and time replaces the first.
//! What the server will never take is dropped and counted, with the server's own words, and what
//! was beside it in the request arrives. What is wrong with the configuration, here or there, costs
//! no data: it is kept and tried again at long intervals.
//!
//! # What happens to a window
//!
//! `encode` makes a payload of each line. `send` groups consecutive ones into requests, up to
//! `max_lines` and `max_bytes`, and settles them by what `outcome` reads out of the reply. `search`
//! finds the part of a request that a server refuses without saying which line is to blame.

mod api;
mod config;
mod outcome;
mod search;
mod section;
mod send;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use hyper::Uri;
use hyper::body::Bytes;

pub use config::{InfluxdbConfig, Version};

use self::api::Precision;
use crate::format::influx;
use crate::forwarder::{Forwarder, SendError};
use crate::http::{HttpClient, HttpSettings, Verdict};
use crate::payload::Batch;
use crate::stats::reason;
use model::Snapshot;

/// Longest measurement and tags together; InfluxDB refuses a longer key, and repeats it whole in
/// its complaint.
const KEY_BYTES_MAX: usize = 65_535;

/// Writes each point as a line to an InfluxDB server.
#[derive(Debug)]
pub struct InfluxDb {
    name: String,
    client: HttpClient,
    in_seconds: Uri,
    in_millis: Uri,
    /// Of the window that is being sent.
    precision: Precision,
    gzip: bool,
    max_lines: usize,
    /// Most bytes of a line, as configured.
    max_bytes: usize,
    /// Most bytes of a request: less than `max_bytes` once the server has refused that much.
    request_bytes: usize,
}

impl InfluxDb {
    /// A destination that connects with its first window.
    ///
    /// # Errors
    /// When the settings do not go together, or a certificate cannot be used. A server that is away
    /// is no error.
    pub fn new(config: &InfluxdbConfig) -> Result<Self, String> {
        let api = config.api().map_err(|invalid| invalid.to_string())?;
        let name = config.name.clone().unwrap_or_else(|| "influxdb".to_owned());
        let client = HttpClient::new(HttpSettings {
            name: &name,
            url: &config.url,
            tls: &config.tls,
            authorization: api.authorization,
            timeout: config.delivery.timeout.get(),
        })
        .map_err(|error| error.to_string())?;
        let max_bytes = usize::try_from(config.max_bytes.get()).unwrap_or(usize::MAX);
        Ok(Self {
            name,
            client,
            in_seconds: api.in_seconds,
            in_millis: api.in_millis,
            precision: Precision::Seconds,
            gzip: config.gzip,
            max_lines: config.max_lines,
            max_bytes,
            request_bytes: max_bytes,
        })
    }
}

#[async_trait]
impl Forwarder for InfluxDb {
    fn encode(&mut self, snapshot: &Snapshot, batch: &mut Batch) {
        let (precision, timestamp) = api::timestamp(snapshot.window);
        self.precision = precision;
        for (id, point) in snapshot.points.iter().enumerate() {
            let (mut key_bytes, mut line_bytes) = (0, 0);
            let line = |out: &mut Vec<u8>| {
                let start = out.len();
                influx::write_key(out, &point.series);
                key_bytes = out.len() - start;
                influx::write_values(out, snapshot, point, timestamp);
                out.push(b'\n');
                line_bytes = out.len() - start;
            };
            batch.push(1, |_| (), line);
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
        }
    }

    async fn send(&mut self, batch: &mut Batch) -> Result<(), SendError> {
        self.deliver(batch).await
    }

    fn wants_old_data(&self) -> bool {
        true
    }

    /// Writes nothing: a request without lines gets as far as the check of credentials, database
    /// and retention policy.
    async fn probe(&mut self) -> Result<(), SendError> {
        let reply = self.client.post(&self.in_seconds, &api::headers(false), Bytes::new()).await?;
        match reply.verdict() {
            Verdict::Done => Ok(()),
            Verdict::Content if is_about_emptiness(&reply.reason()) => Ok(()),
            Verdict::Transient if outcome::is_about_the_policy(&reply.reason()) => {
                Err(reply.into_error(Verdict::Operator, 0.0))
            }
            verdict => Err(reply.into_error(verdict, 0.0)),
        }
    }
}

/// Whether a server complains of nothing but the missing lines. Versions 2 and 3 do.
fn is_about_emptiness(reason: &str) -> bool {
    reason.contains("requires points") || reason.contains("empty")
}
