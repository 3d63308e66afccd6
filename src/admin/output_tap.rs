//! The clients that watch what leaves destinations: `/api/v1/tap?out=…`.
//!
//! The task of a destination calls [`OutputClient::left`]. It copies the requested points into a bounded
//! queue, and counts those without room there, so that a client cannot delay delivery.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::SystemTime;

use api::tap::{PayloadEvent, PointEvent, TagPairs, event, parameter};
use basics::escape::escaped;
use basics::time::{rfc3339, rfc3339_ms};
use engine::listener::tap::event::write;
use engine::listener::tap::taps::TapCounts;
use engine::series_filter::SeriesFilter;
use forwarders::delivery::output_watch::{LeftPayload, OutputWatcher};
use hyper::body::Bytes;
use model::Point;

use crate::runtime::{Components, RuntimeState};

/// Events that are queued for a client.
const QUEUE_EVENTS_MAX: usize = 8_192;
/// Bytes that are queued for a client.
const QUEUE_BYTES_MAX: usize = 4 << 20;
/// Bytes of a payload that a client sees.
const PAYLOAD_BYTES_MAX: usize = 8 << 10;

/// The parameters of a request.
#[derive(Clone, Debug, Default)]
pub(super) struct OutputQuery {
    filter: SeriesFilter,
    /// Empty for every destination.
    forwarder: String,
    wants_bytes: bool,
}

/// A connected client, as a destination sees it.
#[derive(Debug)]
struct OutputClient {
    query: OutputQuery,
    events: SyncSender<Bytes>,
    queued_bytes: AtomicUsize,
    received: AtomicU64,
    matched: AtomicU64,
    shown: AtomicU64,
    dropped: AtomicU64,
}

/// A connected client, as the endpoint sees it. Dropping it disconnects the client.
#[derive(Debug)]
pub(super) struct OutputSubscription {
    runtime: Arc<RuntimeState>,
    client: Arc<OutputClient>,
    watcher: Arc<dyn OutputWatcher>,
    events: Receiver<Bytes>,
}

impl OutputQuery {
    /// Parses the parameters of a request; `None` if it does not ask for output.
    ///
    /// # Errors
    /// A sentence for the user.
    pub(super) fn parse(query: &str) -> Option<Result<Self, String>> {
        let parameters = || form_urlencoded::parse(query.as_bytes());
        let asks = parameters().any(|(key, _)| key == parameter::OUT);
        asks.then(|| {
            let (mut names, mut tags, mut types) = (Vec::new(), Vec::new(), Vec::new());
            let mut parsed = Self::default();
            for (key, value) in parameters() {
                match &*key {
                    parameter::OUT => parsed.forwarder = value.into_owned(),
                    parameter::BYTES => parsed.wants_bytes = value == "true",
                    parameter::MATCH => names.push(value.into_owned()),
                    parameter::TAG => tags.push(value.into_owned()),
                    parameter::TYPE => types.push(value.into_owned()),
                    _ => {
                        return Err(format!(
                            "unknown parameter `{key}`: with `out`, expected match, tag, type or bytes"
                        ));
                    }
                }
            }
            parsed.filter = SeriesFilter::new(&names, &tags, &types)?;
            Ok(parsed)
        })
    }

    fn names(&self, forwarder: &str) -> bool {
        self.forwarder.is_empty() || self.forwarder == forwarder
    }
}

impl OutputWatcher for OutputClient {
    fn left(&self, name: &str, payload: &LeftPayload<'_>) {
        self.received.fetch_add(payload.points.len() as u64, Ordering::Relaxed);
        let selects = |point: &&&Point| self.query.filter.selects(&point.series);
        if self.query.wants_bytes {
            if payload.points.is_empty() || payload.points.iter().any(|point| selects(&point)) {
                self.offer(|| payload_event(name, payload));
            }
            return;
        }
        for point in payload.points.iter().filter(selects) {
            self.offer(|| point_event(name, payload, point));
        }
    }
}

impl OutputClient {
    /// Queues an event if there is room, and counts it either way.
    fn offer(&self, write: impl FnOnce() -> Bytes) {
        self.matched.fetch_add(1, Ordering::Relaxed);
        let is_taken = self.queued_bytes.load(Ordering::Relaxed) < QUEUE_BYTES_MAX && {
            let event = write();
            let bytes = event.len();
            self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
            let is_taken = self.events.try_send(event).is_ok();
            if !is_taken {
                self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            }
            is_taken
        };
        let count = if is_taken { &self.shown } else { &self.dropped };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

fn point_event(name: &str, payload: &LeftPayload<'_>, point: &Point) -> Bytes {
    let mut fields = BTreeMap::new();
    point.value.for_each_field(payload.part, |field, number| {
        fields.insert(field.to_owned(), number);
    });
    let tags = point.series.tags().map(|(key, value)| (key.into(), value.into())).collect();
    write(
        event::POINT,
        &PointEvent {
            event: event::POINT.into(),
            time: rfc3339(SystemTime::now()).into(),
            forwarder: name.into(),
            r#type: point.series.kind().as_str().into(),
            name: point.series.name().into(),
            tags: TagPairs(tags),
            window_end: rfc3339_ms(payload.part.window.end_ms).into(),
            fields,
            refused: payload.refused.map(Into::into),
        },
    )
}

fn payload_event(name: &str, payload: &LeftPayload<'_>) -> Bytes {
    // A binary payload is readable only as a whole.
    let (text, cut) = match payload.readable() {
        Some(text) => {
            let end = text.floor_char_boundary(PAYLOAD_BYTES_MAX);
            (text[..end].to_owned(), end < text.len())
        }
        None => {
            let bytes = payload.shown_bytes();
            let end = bytes.len().min(PAYLOAD_BYTES_MAX);
            // Lines stay lines.
            let lines = bytes[..end].split(|byte| *byte == b'\n').map(escaped);
            (lines.collect::<Vec<_>>().join("\n"), end < bytes.len())
        }
    };
    write(
        event::PAYLOAD,
        &PayloadEvent {
            event: event::PAYLOAD.into(),
            time: rfc3339(SystemTime::now()).into(),
            forwarder: name.into(),
            points: payload.points.len() as u64,
            size: payload.bytes.len() as u64,
            key: escaped(payload.key).into(),
            text: text.into(),
            refused: payload.refused.map(Into::into),
            cut,
        },
    )
}

impl OutputSubscription {
    /// Connects a client; `None` if `admin.tap.max_clients` are connected.
    pub(super) fn join(
        runtime: &Arc<RuntimeState>,
        query: OutputQuery,
        max: usize,
    ) -> Option<Self> {
        if !runtime.output_taps.join(max as u64) {
            return None;
        }
        let (sender, events) = sync_channel(QUEUE_EVENTS_MAX);
        let client = Arc::new(OutputClient {
            query,
            events: sender,
            queued_bytes: AtomicUsize::new(0),
            received: AtomicU64::new(0),
            matched: AtomicU64::new(0),
            shown: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        });
        let watcher = Arc::clone(&client) as Arc<dyn OutputWatcher>;
        let subscription = Self { runtime: Arc::clone(runtime), client, watcher, events };
        subscription.watch_new_forwarders();
        Some(subscription)
    }
}

/// Whether a destination of this name exists; any, for an empty name.
pub(super) fn exists(components: &Components, query: &OutputQuery) -> bool {
    components.forwarders.iter().any(|forwarder| query.names(&forwarder.name))
}

impl OutputSubscription {
    /// Watches the destinations that a reload has added.
    pub(super) fn watch_new_forwarders(&self) {
        let components = self.runtime.components.now();
        let named = |name: &str| self.client.query.names(name);
        for forwarder in components.forwarders.iter().filter(|one| named(&one.name)) {
            forwarder.stats.output().join(&self.watcher);
        }
    }

    /// Takes the next event, if there is one.
    pub(super) fn next(&self) -> Option<Bytes> {
        let event = self.events.try_recv().ok()?;
        self.client.queued_bytes.fetch_sub(event.len(), Ordering::Relaxed);
        Some(event)
    }

    /// The counts so far, in points, or in payloads if the client sees these.
    pub(super) fn counts(&self) -> TapCounts {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let client = &self.client;
        TapCounts {
            received: count(&client.received),
            unseen: 0,
            matched: count(&client.matched),
            shown: count(&client.shown),
            dropped: count(&client.dropped),
        }
    }

    /// Whether the daemon stops.
    pub(super) fn is_closing(&self) -> bool {
        self.runtime.taps.is_closing()
    }
}

impl Drop for OutputSubscription {
    fn drop(&mut self) {
        for forwarder in &self.runtime.components.now().forwarders {
            forwarder.stats.output().leave(&self.watcher);
        }
        let TapCounts { shown, dropped, .. } = self.counts();
        self.runtime.output_taps.leave(shown, dropped);
    }
}
