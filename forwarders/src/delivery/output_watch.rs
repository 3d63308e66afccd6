//! Shows payloads to watchers as they leave a destination.
//!
//! Without a watcher, a part of a window costs a check of one flag. A watcher must not block: it copies
//! what it wants and returns.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::{Point, Snapshot};
use parking_lot::Mutex;

use crate::delivery::forwarder::Forwarder;
use crate::delivery::payload::Batch;

/// A payload that has left: the destination has accepted it, or refused it for good.
pub struct LeftPayload<'a> {
    /// The window, with the points of the encoded part, after `select`.
    pub part: &'a Snapshot,
    /// The points in the payload.
    pub points: Vec<&'a Point>,
    /// The encoded bytes, which may contain a secret; empty for a destination that serves a page.
    pub bytes: &'a [u8],
    /// The key of a Kafka message; empty for other destinations.
    pub key: &'a [u8],
    /// Why the destination refused it; `None` if it accepted it.
    pub refused: Option<&'static str>,
    forwarder: &'a dyn Forwarder,
}

impl LeftPayload<'_> {
    /// The content of a binary payload as lines of text; `None` if the payload is text.
    #[must_use]
    pub fn readable(&self) -> Option<String> {
        self.forwarder.readable(self.bytes)
    }

    /// The payload without the secrets that it contains.
    #[must_use]
    pub fn shown_bytes(&self) -> Cow<'_, [u8]> {
        self.forwarder.without_secrets(self.bytes)
    }
}

/// A watcher of destinations. Called by the task of a destination, which waits for it.
pub trait OutputWatcher: fmt::Debug + Send + Sync {
    /// Takes note of a payload of the destination `name`. Must not block.
    fn left(&self, name: &str, payload: &LeftPayload<'_>);
}

/// The watchers of a destination.
#[derive(Debug, Default)]
pub struct OutputWatch {
    is_watched: AtomicBool,
    watchers: Mutex<Vec<Arc<dyn OutputWatcher>>>,
}

impl OutputWatch {
    /// Adds a watcher, unless it watches already. It sees the parts of windows that are encoded from now
    /// on.
    pub fn join(&self, watcher: &Arc<dyn OutputWatcher>) {
        let mut watchers = self.watchers.lock();
        if !watchers.iter().any(|one| Arc::ptr_eq(one, watcher)) {
            watchers.push(Arc::clone(watcher));
        }
        self.is_watched.store(true, Ordering::Relaxed);
    }

    /// Removes a watcher.
    pub fn leave(&self, watcher: &Arc<dyn OutputWatcher>) {
        let mut watchers = self.watchers.lock();
        watchers.retain(|one| !Arc::ptr_eq(one, watcher));
        self.is_watched.store(!watchers.is_empty(), Ordering::Relaxed);
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.is_watched.load(Ordering::Relaxed)
    }

    fn watchers(&self) -> Vec<Arc<dyn OutputWatcher>> {
        self.watchers.lock().clone()
    }
}

/// An encoded part of a window while a client watches, and which of its payloads were shown.
#[derive(Debug)]
pub(crate) struct WatchedPart {
    part: Snapshot,
    is_shown: Vec<bool>,
}

impl WatchedPart {
    pub(crate) fn new(part: Snapshot) -> Self {
        Self { part, is_shown: Vec::new() }
    }

    /// Shows the payloads that were settled since the previous call.
    pub(crate) fn show(
        &mut self,
        watch: &OutputWatch,
        name: &str,
        batch: &Batch,
        forwarder: &dyn Forwarder,
    ) {
        let watchers = watch.watchers();
        let refusals: HashMap<usize, &'static str> = batch.refusals().iter().copied().collect();
        for settled in batch.settled_payloads() {
            let id = settled.id;
            if self.is_shown.len() <= id {
                self.is_shown.resize(id + 1, false);
            }
            if std::mem::replace(&mut self.is_shown[id], true) {
                continue;
            }
            let points = settled.positions.map(|position| batch.place(position));
            let payload = LeftPayload {
                part: &self.part,
                points: points.filter_map(|place| self.part.points.get(place)).collect(),
                bytes: settled.bytes,
                key: settled.key,
                refused: refusals.get(&id).copied(),
                forwarder,
            };
            watchers.iter().for_each(|watcher| watcher.left(name, &payload));
        }
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use model::testing::{counter, snapshot_of, snapshot_of_counters};

    use super::*;
    use crate::delivery::forwarder::SendError;

    #[derive(Debug, Default)]
    struct Seen(Mutex<Vec<String>>);

    impl OutputWatcher for Seen {
        fn left(&self, name: &str, payload: &LeftPayload<'_>) {
            let points: Vec<_> = payload.points.iter().map(|point| point.series.name()).collect();
            let bytes = String::from_utf8_lossy(payload.bytes);
            let refused = payload.refused.unwrap_or("accepted");
            self.0.lock().push(format!("{name} {bytes} {} {refused}", points.join("+")));
        }
    }

    struct Nothing;

    #[async_trait]
    impl Forwarder for Nothing {
        fn encode(&mut self, _snapshot: &Snapshot, _batch: &mut Batch) {}

        async fn send(&mut self, _batch: &mut Batch) -> Result<(), SendError> {
            Ok(())
        }

        fn readable(&self, payload: &[u8]) -> Option<String> {
            (payload == b"binary").then(|| "lines".to_owned())
        }

        fn without_secrets<'b>(&self, payload: &'b [u8]) -> Cow<'b, [u8]> {
            match payload {
                b"secret" => Cow::Borrowed(b"hidden"),
                payload => Cow::Borrowed(payload),
            }
        }
    }

    #[test]
    fn each_payload_is_shown_once_when_it_is_settled() {
        let snapshot = snapshot_of(["a", "b", "c", "d"].map(|n| counter(n, &[], 1.0)).into());
        let names: Vec<_> =
            snapshot.points.iter().map(|point| point.series.name().to_owned()).collect();
        let mut batch = Batch::default();
        for (points, body) in [(1, "a"), (2, "b"), (1, "c")] {
            batch.push(points, |_| (), |out| out.extend(body.bytes()));
        }
        let seen = Arc::new(Seen::default());
        let (watch, watcher) =
            (OutputWatch::default(), Arc::clone(&seen) as Arc<dyn OutputWatcher>);
        watch.join(&watcher);
        watch.join(&watcher);
        assert!(watch.is_watched());
        let mut part = WatchedPart::new(snapshot);
        batch.delivered(1);
        part.show(&watch, "f", &batch, &Nothing);
        let _settled = batch.take_settled();
        batch.refused(0, "rejected", "words");
        part.show(&watch, "f", &batch, &Nothing);
        part.show(&watch, "f", &batch, &Nothing);
        let [a, b, c, _] = &names[..] else { panic!("four points") };
        let expected = [format!("f b {b}+{c} accepted"), format!("f a {a} rejected")];
        assert_eq!(*seen.0.lock(), expected);
        watch.leave(&watcher);
        assert!(!watch.is_watched());
    }

    #[test]
    fn a_payload_is_shown_as_its_destination_shows_it() {
        let part = snapshot_of_counters(0);
        let shown = |bytes: &[u8]| {
            let payload = LeftPayload {
                part: &part,
                points: Vec::new(),
                bytes,
                key: b"",
                refused: None,
                forwarder: &Nothing,
            };
            (payload.readable(), payload.shown_bytes().into_owned())
        };
        assert_eq!(shown(b"secret"), (None, b"hidden".to_vec()));
        assert_eq!(shown(b"binary"), (Some("lines".to_owned()), b"binary".to_vec()));
    }
}
