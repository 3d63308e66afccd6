//! Remote write 1.0: pushes to a server what the page would show.
//!
//! Each window's request holds every series that is live, like a scrape, also those that had no
//! sample in it: a server shows a series only as long as it gets some. A series that expires gets a
//! stale marker, so that it ends at once. The payload of a series that had no point in the window
//! counts no points.
//!
//! The totals are this destination's own: they follow the windows in the order in which they are
//! sent, so that a window that waited is as of its own time. For that its spool keeps to the order,
//! whatever `delivery.spool.order` says.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use tracing::warn;

use self::wire::Encoder;
use super::config::RemoteWriteConfig;
use super::state::{Limits, Placed, State};
use crate::forwarder::{Forwarder, SendError};
use crate::http::{HttpClient, HttpSettings, HttpUrl, Reply, Verdict};
use crate::payload::Batch;
use crate::stats::reason;
use basics::text::Secret;
use model::{SeriesNaming, Snapshot};

#[cfg(test)]
mod tests;
mod wire;

/// Requests that a window may cost on top, to find the series that the server refuses; then those
/// that are not told apart yet are dropped together.
const EXTRA_REQUESTS_MAX: usize = 64;

/// A server that does not even take so few bytes takes nothing: there is no use in smaller requests.
const REQUEST_BYTES_MIN: usize = 4 << 10;

/// The key of a payload without bytes whose point is part of the payload of another one, or not to be
/// sent.
const MERGED: &[u8] = b"merged";

/// Sends to one server.
pub struct RemoteWrite {
    name: String,
    url: HttpUrl,
    client: HttpClient,
    headers: Vec<(HeaderName, HeaderValue)>,
    state: State,
    samples_max: usize,
    /// Most bytes of a request, as configured.
    bytes_configured: usize,
    /// The same, as learned from the server.
    bytes_max: usize,
}

/// Payloads for one request.
#[derive(Default)]
struct Group {
    ids: Vec<usize>,
    body: Vec<u8>,
}

impl RemoteWrite {
    /// Connects with the first window.
    ///
    /// # Errors
    /// When settings do not go together or a file of `tls` cannot be used: what to change.
    pub fn new(
        config: &RemoteWriteConfig,
        name: &str,
        timeout: std::time::Duration,
        limits: super::PipelineLimits,
        naming: Option<Arc<dyn SeriesNaming>>,
    ) -> Result<Self, String> {
        let settings = HttpSettings {
            name,
            url: &config.url,
            tls: &config.tls,
            authorization: authorization(config)?,
            timeout,
        };
        let bytes_max = usize::try_from(config.max_bytes.get()).unwrap_or(usize::MAX);
        let client = HttpClient::new(settings).map_err(|error| format!("remote_write: {error}"))?;
        Ok(Self {
            name: name.to_owned(),
            url: config.url.clone(),
            client,
            headers: headers(config)?,
            state: State::new(Limits::from(limits), naming),
            samples_max: config.max_samples,
            bytes_configured: bytes_max,
            bytes_max,
        })
    }

    /// Goes on until every payload is settled or the server is to be left alone. What is settled is
    /// noted at once, so it may be dropped at each await.
    async fn deliver(&mut self, batch: &mut Batch) -> Result<(), SendError> {
        let (mut from, mut most, mut extra) = (0, usize::MAX, EXTRA_REQUESTS_MAX);
        while let Some(group) = self.next_group(batch, &mut from, most) {
            let bytes = group.body.len();
            let reply = self.post(&group.body).await?;
            match (reply.verdict(), &group.ids[..]) {
                (Verdict::Done, ids) => {
                    ids.iter().for_each(|id| batch.delivered(*id));
                    most = most.saturating_mul(2);
                }
                (Verdict::TooLarge, _) if bytes <= REQUEST_BYTES_MIN => {
                    self.bytes_max = self.bytes_configured;
                    return Err(SendError::operator(reply.words()));
                }
                (Verdict::TooLarge, [id]) => batch.refused(*id, reason::TOO_LARGE, reply.words()),
                (Verdict::TooLarge, _) => self.keep_below(bytes),
                (Verdict::Content, ids) => {
                    if ids.len() == 1 || extra == 0 {
                        ids.iter()
                            .for_each(|id| batch.refused(*id, reason::REFUSED, reply.words()));
                    }
                    extra = extra.saturating_sub(1);
                    most = if extra == 0 { usize::MAX } else { (ids.len() / 2).max(1) };
                }
                (verdict @ (Verdict::Transient | Verdict::Operator), _) => {
                    return Err(reply.into_error(verdict, rand::random()));
                }
            }
        }
        Ok(())
    }

    /// The next payloads that fit into one request, at most so many. Those that fit into none are
    /// refused.
    fn next_group(&self, batch: &mut Batch, from: &mut usize, most: usize) -> Option<Group> {
        let mut group = Group::default();
        let mut samples = 0;
        let mut merged = Vec::new();
        let mut refused = Vec::new();
        for payload in batch.pending_from(*from) {
            if payload.key == MERGED {
                merged.push(payload.id);
                continue;
            }
            if payload.bytes.is_empty() || payload.bytes.len() > self.bytes_max {
                refused.push((payload.id, payload.bytes.len()));
                continue;
            }
            samples += wire::samples(payload.bytes);
            let bytes = group.body.len() + payload.bytes.len();
            let is_full =
                samples > self.samples_max || bytes > self.bytes_max || group.ids.len() >= most;
            if is_full && !group.ids.is_empty() {
                break;
            }
            group.ids.push(payload.id);
            group.body.extend_from_slice(payload.bytes);
        }
        merged.iter().for_each(|id| batch.delivered(*id));
        for (id, bytes) in &refused {
            if *bytes == 0 {
                batch.refused(*id, reason::PAGE_FULL, super::PAGE_FULL_WORDS);
            } else {
                let words = format!("a series of {bytes} bytes (max_bytes: {})", self.bytes_max);
                batch.refused(*id, reason::TOO_LARGE, words);
            }
        }
        *from = *group.ids.first()?;
        Some(group)
    }

    async fn post(&self, body: &[u8]) -> Result<Reply, SendError> {
        let body = snap::raw::Encoder::new().compress_vec(body).map_err(SendError::operator)?;
        Ok(self.client.post(self.url.uri(), &self.headers, body.into()).await?)
    }

    /// Learns that the server takes no request of so many bytes.
    fn keep_below(&mut self, bytes: usize) {
        self.bytes_max = bytes / 2;
        warn!(
            forwarder = self.name,
            refused = bytes,
            bytes = self.bytes_max,
            "the server takes no requests this large; from now on they have at most half as many \
             bytes before compression (see max_bytes)"
        );
    }
}

#[async_trait]
impl Forwarder for RemoteWrite {
    fn wants_idle_windows(&self) -> bool {
        true
    }

    /// Not quite pure: totals are of all windows so far. The same windows give the same bytes.
    fn wants_whole_windows(&self) -> bool {
        true
    }

    fn encode(&mut self, snapshot: &Snapshot, batch: &mut Batch) {
        self.state.apply(snapshot);
        let at_ms = snapshot.window.end_ms;
        let mut encoder = Encoder::new(&snapshot.percentiles);
        for (name, slot) in self.state.left() {
            batch.push(0, |_| (), |out| encoder.write_end(out, name, slot, at_ms));
        }
        for placed in self.state.placed() {
            match placed {
                Placed::First(name, slot) => {
                    batch.push(1, |_| (), |out| encoder.write(out, name, slot, at_ms));
                }
                Placed::Merged => batch.push(1, |key| key.extend_from_slice(MERGED), |_| ()),
                Placed::Nowhere => batch.push(1, |_| (), |_| ()),
            }
        }
        for (name, slot) in self.state.idle() {
            batch.push(0, |_| (), |out| encoder.write(out, name, slot, at_ms));
        }
    }

    fn wants_old_data(&self) -> bool {
        true
    }

    async fn send(&mut self, batch: &mut Batch) -> Result<(), SendError> {
        self.deliver(batch).await
    }

    /// Sends a request without a series, which servers take.
    async fn probe(&mut self) -> Result<(), SendError> {
        let reply = self.post(&[]).await?;
        match reply.verdict() {
            // Some refuse it for having no series, which is an answer as well.
            Verdict::Done | Verdict::Content => Ok(()),
            verdict => Err(reply.into_error(verdict, 0.0)),
        }
    }
}

fn authorization(config: &RemoteWriteConfig) -> Result<Option<Secret>, String> {
    match (&config.username, &config.password, &config.token) {
        (None, None, None) => Ok(None),
        (None, None, Some(token)) => Ok(Some(Secret::new(format!("Bearer {}", token.reveal())))),
        (Some(user), Some(password), None) => {
            let both = BASE64_STANDARD.encode(format!("{user}:{}", password.reveal()));
            Ok(Some(Secret::new(format!("Basic {both}"))))
        }
        _ => Err("`remote_write` takes `username` with `password`, or `token`, or none".to_owned()),
    }
}

fn headers(config: &RemoteWriteConfig) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let mut headers = vec![
        (CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf")),
        (CONTENT_ENCODING, HeaderValue::from_static("snappy")),
        (
            HeaderName::from_static("x-prometheus-remote-write-version"),
            HeaderValue::from_static("0.1.0"),
        ),
    ];
    for (name, value) in &config.headers {
        let wrong = || format!("`remote_write.headers`: `{name}` is none, or its value cannot be");
        let key: HeaderName = name.parse().map_err(|_| wrong())?;
        if headers.iter().any(|(own, _)| *own == key) || key == hyper::header::AUTHORIZATION {
            return Err(format!("`remote_write.headers`: `{name}` is set by tallyd itself"));
        }
        let mut value = HeaderValue::from_str(value.reveal()).map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.push((key, value));
    }
    Ok(headers)
}
