//! Remote write 1.0: pushes the series of the page to a server.
//!
//! The requests of a window hold every live series, like a scrape, including series without a
//! sample in the window: a server shows a series only while it receives samples of it. A series
//! that expires gets a stale marker, so that it ends at once. The payload of a series without a
//! point in the window counts no points.
//!
//! This destination has totals separate from the page's. They follow the windows in the order in
//! which these are sent, so a delayed window has the totals at its end. Therefore its spool keeps
//! the order, and `delivery.spool.order` has no effect.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;

use self::wire::Encoder;
use super::config::RemoteWriteConfig;
use super::explained;
use super::state::State;
use super::state::placed::Placed;
use crate::config::DeliveryConfig;
use crate::delivery::explained::ExplainedHistogram;
use crate::delivery::forwarder::{Forwarder, InvalidState, SavedState, SendError};
use crate::delivery::payload::Batch;
use crate::delivery::stats::reason;
use crate::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use crate::http::header_config::add_configured;
use crate::http::{
    HttpClient, HttpProtocol, HttpReply, HttpRequest, HttpSender, HttpSettings, RequestLimits,
    RequestOutcome, StatusClass, Url, authorization,
};
use basics::text::Secret;
use model::{SeriesNaming, Snapshot};

mod labels;
mod outcome;
#[cfg(test)]
mod tests;
mod wire;

/// Maximum number of requests in the search for a refused series: enough to find it among 65,536.
const BISECTIONS_MAX: usize = 17;

/// The key of a payload without bytes whose point the naming hides.
const HIDDEN: &[u8] = b"hidden";

/// Pushes series to one server.
pub struct RemoteWrite {
    name: String,
    sender: HttpSender,
    protocol: WriteProtocol,
    state: State,
    /// Maximum size of a series, in bytes, from `max_bytes`.
    max_bytes: usize,
}

/// Turns payloads into requests.
struct WriteProtocol {
    url: Url,
    headers: HeaderMap,
    /// A random number, so that this forwarder's marker is another series than those of other
    /// daemons.
    run: u64,
}

impl HttpProtocol for WriteProtocol {
    fn request(&self, series: &[&[u8]]) -> Result<HttpRequest, SendError> {
        // Payloads are fields of one protobuf message, so their concatenation is a request.
        let body = snap::raw::Encoder::new().compress_vec(&series.concat());
        Ok(HttpRequest {
            url: self.url.clone(),
            headers: self.headers.clone(),
            body: body.map_err(SendError::operator)?.into(),
        })
    }

    fn outcome(&self, reply: &HttpReply, series: &[&[u8]]) -> RequestOutcome {
        outcome::of(reply, series.len())
    }

    fn units(&self, series: &[u8]) -> usize {
        wire::samples(series)
    }

    /// A stale marker of a series that has no samples: no query shows it. Samples of a newer window
    /// cannot be used for this, because the samples of a series must arrive in order.
    fn harmless(&self) -> Option<HttpRequest> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.request(&[&wire::marker(self.run, now.as_millis() as u64)]).ok()
    }
}

impl RemoteWrite {
    /// Creates a forwarder that connects with the first window.
    ///
    /// # Errors
    /// If settings conflict or a file of `tls` cannot be used. The text says what to change.
    pub fn new(
        config: &RemoteWriteConfig,
        name: &str,
        delivery: &DeliveryConfig,
        state: super::StateSettings,
        naming: Option<Arc<dyn SeriesNaming>>,
    ) -> Result<Self, String> {
        let settings = HttpSettings {
            name,
            url: &config.url,
            tls: &config.tls,
            authorization: credentials(config)?,
            timeout: delivery.timeout.get(),
            resolve_every: delivery.resolve_every.get(),
        };
        let max_bytes = usize::try_from(config.max_bytes.get()).unwrap_or(usize::MAX);
        let client = HttpClient::new(settings).map_err(|error| format!("remote_write: {error}"))?;
        let requests = RequestLimits {
            units: config.max_samples,
            bytes: max_bytes,
            bisections: BISECTIONS_MAX,
            search_after: delivery.retry.search_after,
        };
        Ok(Self {
            sender: HttpSender::new(client, requests),
            protocol: WriteProtocol {
                url: config.url.url().clone(),
                headers: headers(config)?,
                run: rand::random(),
            },
            state: state.state(naming).keeping_previous(),
            name: name.to_owned(),
            max_bytes,
        })
    }

    /// Settles the payloads that are never sent: points that are hidden, points for which the page
    /// has no room, and series that are larger than a request.
    fn settle_unsent(&self, batch: &mut Batch) {
        let unsent: Vec<(usize, bool, usize)> = batch
            .pending()
            .filter(|payload| payload.bytes.is_empty() || payload.bytes.len() > self.max_bytes)
            .map(|payload| (payload.id, payload.key == HIDDEN, payload.bytes.len()))
            .collect();
        for (id, is_hidden, bytes) in unsent {
            if is_hidden {
                batch.delivered(id);
            } else if bytes == 0 {
                batch.refused(id, reason::PAGE_FULL, super::PAGE_FULL_WORDS);
            } else {
                let words = format!("a series of {bytes} bytes (max_bytes: {})", self.max_bytes);
                batch.refused(id, reason::TOO_LARGE, words);
            }
        }
    }
}

#[async_trait]
impl Forwarder for RemoteWrite {
    fn reduced_histograms(&self) -> Option<Arc<AtomicU64>> {
        Some(self.state.reduced_histograms())
    }

    fn held_totals(&self) -> Option<Arc<AtomicU64>> {
        Some(self.state.held_totals())
    }

    fn wants_idle_windows(&self) -> bool {
        true
    }

    /// Totals depend on all earlier windows, so a window must not be encoded in parts. The same
    /// sequence of windows gives the same bytes.
    fn wants_whole_window(&self, _: &Snapshot) -> bool {
        true
    }

    fn histograms(&self, window: &Snapshot) -> Vec<ExplainedHistogram> {
        explained::histograms(&self.state, window)
    }

    fn encode(&mut self, snapshot: &Snapshot, batch: &mut Batch) {
        self.state.apply(snapshot);
        let forms = &self.state.timers().forms;
        let mut encoder = Encoder::new(&snapshot.percentiles, forms, snapshot.window.end_ms);
        for (name, slot) in self.state.just_expired() {
            batch.push(0, |_| (), |out| encoder.write_end(out, name, slot));
        }
        // The points of a series stay together: a part of them must not be left over, because the
        // value of the series has all of them or, if the payload is not delivered, none.
        let mut places = Vec::with_capacity(snapshot.points.len());
        for placed in self.state.placed() {
            match placed {
                Placed::Shown { name, slot, points, .. } => {
                    let count = points.len() as u64;
                    batch.push(count, |_| (), |out| encoder.write(out, name, slot));
                    places.extend(points);
                }
                Placed::Hidden(point) => {
                    batch.push(1, |key| key.extend_from_slice(HIDDEN), |_| ());
                    places.push(point);
                }
                Placed::Nowhere(point) => {
                    batch.push(1, |_| (), |_| ());
                    places.push(point);
                }
            }
        }
        for (name, slot) in self.state.idle() {
            batch.push(0, |_| (), |out| encoder.write(out, name, slot));
        }
        batch.set_places(places.into_iter());
    }

    /// The totals as of the payloads that are settled: the others are encoded again, by the next run
    /// or by the next forwarder, which adds their points then.
    fn save_state(&self, batch: &Batch, max: u64) -> Option<SavedState> {
        let pending: HashSet<usize> = batch.pending().map(|payload| payload.id).collect();
        // The order of `encode`, in which the series that have just expired come first.
        let placed = self.state.placed().zip(self.state.just_expired().len()..);
        let pending: HashSet<_> = placed
            .filter(|(_, payload)| pending.contains(payload))
            .filter_map(|(placed, _)| match placed {
                Placed::Shown { id, .. } => Some(id),
                Placed::Hidden(_) | Placed::Nowhere(_) => None,
            })
            .collect();
        Some(self.state.save(|series| pending.contains(&series), max))
    }

    fn restore_state(&mut self, state: &[u8], away: Duration) -> Result<(), InvalidState> {
        self.state.restore(state, away).map_err(|_| InvalidState)
    }

    fn wants_old_data(&self) -> bool {
        true
    }

    async fn send(&mut self, batch: &mut Batch) -> Result<(), SendError> {
        self.state.held().report(&self.name);
        self.settle_unsent(batch);
        self.sender.deliver(batch, &self.protocol).await
    }

    /// Sends a request without any series.
    async fn probe(&mut self) -> Result<(), SendError> {
        let reply = self.sender.post(self.protocol.request(&[])?).await?;
        match reply.class() {
            // Some servers reject it for having no series, which shows that they understood it.
            StatusClass::Success | StatusClass::InvalidData => Ok(()),
            class => Err(reply.into_error(class, 0.0)),
        }
    }
}

fn credentials(config: &RemoteWriteConfig) -> Result<Option<Secret>, String> {
    match (&config.username, &config.password, &config.token) {
        (None, None, None) => Ok(None),
        (None, None, Some(token)) => Ok(Some(authorization::bearer(token.reveal()))),
        (Some(user), Some(password), None) => {
            Ok(Some(authorization::basic(user, password.reveal())))
        }
        _ => Err("`remote_write` takes `username` with `password`, or `token`, or none".to_owned()),
    }
}

fn headers(config: &RemoteWriteConfig) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf")),
        (CONTENT_ENCODING, HeaderValue::from_static("snappy")),
        (
            HeaderName::from_static("x-prometheus-remote-write-version"),
            HeaderValue::from_static("0.1.0"),
        ),
    ]);
    // Credentials have their own keys.
    if let Some(name) =
        config.headers.keys().find(|name| name.eq_ignore_ascii_case("authorization"))
    {
        return Err(format!("`remote_write.headers` has `{name}`, which tallyd sets itself"));
    }
    add_configured(&mut headers, &config.headers)
        .map_err(|reason| format!("`remote_write.headers` {reason}"))?;
    Ok(headers)
}
