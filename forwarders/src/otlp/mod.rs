//! OpenTelemetry: OTLP over HTTP and gRPC, one data point per point.
//!
//! # Guarantees
//!
//! At least once: a point counts as delivered when the server has acknowledged its request. If a
//! connection breaks before the acknowledgement, the request is repeated, and a server that had
//! accepted it counts delta points twice; cumulative points do no harm.
//!
//! # The path of a window
//!
//! `encode` makes one payload of each point, those of a metric next to each other. [`HttpSender`]
//! groups payloads into requests; `protocol` builds a request, for gRPC too, which is HTTP/2 with a
//! status in the trailers; `reply` interprets the reply. `totals` keeps the totals of
//! `temporality: cumulative`.

mod config;
mod endpoint;
mod frame;
mod lenient;
mod protocol;
mod reply;
mod response;
mod rpc;
mod section;
#[cfg(test)]
mod tests;
mod totals;

use std::time::Duration;

use async_trait::async_trait;

pub use config::{Compression, OtlpConfig, OtlpTemporality};
pub use endpoint::{OtlpEndpoint, OtlpTransport};

use self::protocol::OtlpProtocol;
use self::totals::{TotalLimits, Totals};
use crate::delivery::PART_POINTS;
use crate::delivery::forwarder::{Forwarder, InvalidState, SavedState, SendError};
use crate::delivery::payload::Batch;
use crate::delivery::stats::reason;
use crate::format::otlp::{self, RequestPrefix, WindowEncoder};
use crate::http::{HttpClient, HttpProtocol, HttpSender, HttpSettings, RequestLimits, StatusClass};
use model::Snapshot;

/// Maximum number of requests in the search for a refused point: enough to find it among 65,536.
const BISECTIONS_MAX: usize = 17;

/// Sends points to one server.
pub struct Otlp {
    sender: HttpSender,
    protocol: OtlpProtocol,
    encoder: WindowEncoder,
    /// `None` for `temporality: delta`.
    totals: Option<Totals>,
    /// Maximum number of points in a request.
    max_points: usize,
    /// Maximum size of a point, in bytes, from `max_bytes`.
    max_bytes: usize,
}

impl Otlp {
    /// Creates a destination that connects with its first window. `host` are the attributes of this
    /// host, and series expire after `expire_after` without a sample.
    ///
    /// # Errors
    /// If settings conflict or a certificate cannot be used. An unreachable server is not an error.
    pub fn new(
        config: &OtlpConfig,
        host: &[(String, String)],
        expire_after: Duration,
    ) -> Result<Self, String> {
        let name = config.name.as_deref().unwrap_or("otlp");
        let settings = HttpSettings {
            name,
            url: &config.endpoint.server,
            tls: &config.tls,
            authorization: protocol::authorization(config),
            timeout: config.delivery.timeout.get(),
            resolve_every: config.delivery.resolve_every.get(),
        };
        let client = match config.endpoint.transport {
            OtlpTransport::Http => HttpClient::new(settings),
            OtlpTransport::Grpc => HttpClient::http2(settings),
        };
        let max_bytes = usize::try_from(config.max_bytes.get()).unwrap_or(usize::MAX);
        let limits = RequestLimits {
            units: config.max_points,
            bytes: max_bytes,
            bisections: BISECTIONS_MAX,
            search_after: config.delivery.retry.search_after,
        };
        let prefix = RequestPrefix::new(resource(host, config).into_iter());
        let is_cumulative = config.temporality == OtlpTemporality::Cumulative;
        let series_max = usize::try_from(config.max_series).unwrap_or(usize::MAX);
        let bytes_max = config.max_totals.get();
        let total_limits = TotalLimits { expire_after, series_max, bytes_max };
        Ok(Self {
            sender: HttpSender::new(client.map_err(|error| error.to_string())?, limits),
            protocol: OtlpProtocol::new(config, name, prefix),
            encoder: WindowEncoder::new(config.max_buckets),
            totals: is_cumulative.then(|| Totals::new(name, total_limits)),
            max_points: config.max_points,
            max_bytes,
        })
    }

    /// Refuses the payloads that can never be sent.
    fn refuse_large(&self, batch: &mut Batch) {
        let large: Vec<(usize, usize)> = batch
            .pending()
            .filter(|payload| payload.bytes.len() > self.max_bytes)
            .map(|payload| (payload.id, payload.bytes.len()))
            .collect();
        for (id, bytes) in large {
            let words = format!("a point of {bytes} bytes (max_bytes: {})", self.max_bytes);
            batch.refused(id, reason::TOO_LARGE, words);
        }
    }
}

/// The attributes of the resource: the default ones, and the configured ones, which replace them.
fn resource<'a>(host: &'a [(String, String)], config: &'a OtlpConfig) -> otlp::Attributes<'a> {
    let mut attributes = otlp::resource(host);
    attributes.extend(config.resource.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    attributes.retain(|_, value| !value.is_empty());
    attributes
}

#[async_trait]
impl Forwarder for Otlp {
    fn wants_idle_windows(&self) -> bool {
        self.totals.is_some()
    }

    /// Totals depend on all earlier windows, so a window must not be encoded in parts. Nor if a request
    /// may have more points than a part.
    fn wants_whole_window(&self, _: &Snapshot) -> bool {
        self.totals.is_some() || self.max_points > PART_POINTS
    }

    fn encode(&mut self, snapshot: &Snapshot, batch: &mut Batch) {
        match &mut self.totals {
            None => self.encoder.encode(snapshot, batch),
            Some(totals) => totals.encode(snapshot, &self.encoder, batch),
        }
        self.refuse_large(batch);
    }

    /// The metric as JSON.
    fn readable(&self, payload: &[u8]) -> Option<String> {
        serde_json::to_string_pretty(&otlp::metric_of(payload)?).ok()
    }

    fn save_state(&self, batch: &Batch, max: u64) -> Option<SavedState> {
        Some(self.totals.as_ref()?.save(batch, max))
    }

    fn restore_state(&mut self, state: &[u8], away: Duration) -> Result<(), InvalidState> {
        match &mut self.totals {
            Some(totals) => totals.restore(state, away),
            // The temporality is `delta` now, which continues no totals.
            None => Ok(()),
        }
    }

    fn wants_old_data(&self) -> bool {
        true
    }

    async fn send(&mut self, batch: &mut Batch) -> Result<(), SendError> {
        self.sender.deliver(batch, &self.protocol).await
    }

    /// Sends a request without points.
    async fn probe(&mut self) -> Result<(), SendError> {
        let reply = self.sender.post(self.protocol.probe()?).await?;
        let (reply, _) = self.protocol.answer(reply, &[]);
        match reply.class() {
            // Some servers reject it for having no points, which shows that they understood it.
            StatusClass::Success | StatusClass::InvalidData => Ok(()),
            class => Err(reply.into_error(class, 0.0)),
        }
    }
}
