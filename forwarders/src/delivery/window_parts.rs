//! Encodes a window part by part.

use std::ops::Range;
use std::sync::Arc;

use crate::delivery::forwarder::Forwarder;
use crate::delivery::output_watch::{OutputWatch, WatchedPart};
use crate::delivery::payload::{Batch, Settled};
use model::{PointRanges, Snapshot};

/// Maximum number of points in a part; encoded, they take a few megabytes.
pub(crate) const PART_POINTS: usize = 8_192;

/// A window that is being delivered, encoded one part at a time.
///
/// A window of a million series takes more than a hundred megabytes once it is encoded. So each
/// part is delivered before the next one is encoded, unless the destination needs the whole window.
#[derive(Default)]
pub(crate) struct WindowParts {
    batch: Batch,
    /// The part of the window that is in the batch; `None` if the batch is settled.
    part: Option<WindowPart>,
    /// The window and the index of the first point that is not encoded; `None` if all points are.
    rest: Option<(Arc<Snapshot>, usize)>,
    /// The points in the batch, while a client watches.
    watched: Option<WatchedPart>,
}

/// Consecutive points of a window.
struct WindowPart {
    points: Range<usize>,
    /// The number of points in the window.
    window_points: usize,
}

/// The outcome of points since the previous [`WindowParts::take_outcome`].
pub(super) struct PartOutcome {
    /// The settled points; their places are indexes into the window.
    pub(super) settled: Settled,
    /// The points of the window that are not settled.
    pub(super) left: PointRanges,
    /// Whether every point of the window is settled.
    pub(super) is_done: bool,
}

impl WindowPart {
    fn is_last(&self) -> bool {
        self.points.end == self.window_points
    }

    /// The points that are left of the window, computed from the points that are left of the part.
    fn left_of_window(&self, left_of_part: PointRanges) -> PointRanges {
        let mut left = left_of_part.behind(self.points.start);
        // Later parts are not encoded yet, so all their points are left.
        left.add(self.points.end..self.window_points);
        left
    }
}

impl WindowParts {
    /// Begins a window.
    pub(super) fn begin(&mut self, snapshot: Arc<Snapshot>) {
        self.rest = Some((snapshot, 0));
    }

    /// Whether a window has parts that are not delivered.
    pub(super) fn is_in_progress(&self) -> bool {
        self.part.is_some() || self.rest.is_some()
    }

    /// Encodes the next part unless a part is in the batch. Returns false if no part is left.
    /// With `is_watched`, the points of the part stay in memory with it, for [`WindowParts::show`].
    pub(super) fn encode_next(&mut self, forwarder: &mut dyn Forwarder, is_watched: bool) -> bool {
        // A part whose delivery was interrupted stays: it knows which payloads are settled.
        if self.part.is_none()
            && let Some((snapshot, start)) = self.rest.take()
        {
            self.encode(forwarder, snapshot, start, is_watched);
        }
        self.part.is_some()
    }

    fn encode(
        &mut self,
        forwarder: &mut dyn Forwarder,
        snapshot: Arc<Snapshot>,
        start: usize,
        is_watched: bool,
    ) {
        let window_points = snapshot.points.len();
        let is_whole =
            start == 0 && (window_points <= PART_POINTS || forwarder.wants_whole_window(&snapshot));
        let end = if is_whole { window_points } else { window_points.min(start + PART_POINTS) };
        let points = snapshot.points.part(start..end);
        self.batch.clear();
        // No copy of the points: the parts of a snapshot share them.
        let encoded = Snapshot { points, ..(*snapshot).clone() };
        forwarder.encode(&encoded, &mut self.batch);
        self.watched = is_watched.then(|| WatchedPart::new(encoded));
        debug_assert_eq!(
            self.batch.points(),
            (end - start) as u64,
            "every point is in a payload, in order"
        );
        let part = WindowPart { points: start..end, window_points };
        // The last part releases the snapshot, so its memory can be freed while the encoded bytes
        // are being sent.
        self.rest = (!part.is_last()).then_some((snapshot, end));
        self.part = Some(part);
    }

    /// Ends the part in the batch, which is settled.
    pub(super) fn finish_part(&mut self) {
        (self.part, self.watched) = (None, None);
    }

    /// Shows the payloads that were settled since the previous call to those who watch.
    pub(super) fn show(&mut self, watch: &OutputWatch, name: &str, forwarder: &dyn Forwarder) {
        if let Some(watched) = &mut self.watched {
            watched.show(watch, name, &self.batch, forwarder);
        }
    }

    /// Discards the rest of the window.
    pub(super) fn discard(&mut self) {
        (self.part, self.rest, self.watched) = (None, None, None);
        self.batch.clear();
    }

    /// The payloads of the part.
    pub(super) fn batch(&mut self) -> &mut Batch {
        &mut self.batch
    }

    /// Whether the part in the batch has points that are not settled.
    pub(super) fn has_pending(&self) -> bool {
        self.part.is_some() && self.batch.points_pending() > 0
    }

    /// Takes the outcome of points since the previous call; `None` if no part is in the batch.
    pub(super) fn take_outcome(&mut self) -> Option<PartOutcome> {
        let part = self.part.as_ref()?;
        let mut settled = self.batch.take_settled();
        // The batch counts from the start of the part, the backlog from the start of the window.
        for places in settled.places.values_mut() {
            *places = std::mem::take(places).behind(part.points.start);
        }
        let left = part.left_of_window(self.batch.points_left());
        let is_done = part.is_last() && self.batch.is_settled();
        Some(PartOutcome { settled, left, is_done })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::forwarder::SendError;
    use async_trait::async_trait;
    use model::testing::snapshot_of_counters;

    struct Any {
        wants_whole: bool,
    }

    #[async_trait]
    impl Forwarder for Any {
        fn encode(&mut self, snapshot: &Snapshot, batch: &mut Batch) {
            batch.push(snapshot.points.len() as u64, |_| (), |_| ());
        }

        async fn send(&mut self, _batch: &mut Batch) -> Result<(), SendError> {
            Ok(())
        }

        fn wants_whole_window(&self, _window: &Snapshot) -> bool {
            self.wants_whole
        }
    }

    /// The number of points in each part of a window.
    fn parts(points: usize, wants_whole: bool) -> Vec<u64> {
        let (mut parts, mut sizes) = (WindowParts::default(), Vec::new());
        parts.begin(Arc::new(snapshot_of_counters(points)));
        while parts.encode_next(&mut Any { wants_whole }, false) {
            sizes.push(parts.batch().points());
            parts.finish_part();
        }
        sizes
    }

    #[test]
    fn only_a_large_window_that_is_not_needed_as_a_whole_is_divided() {
        let most = PART_POINTS as u64;
        for wants_whole in [false, true] {
            assert_eq!(parts(0, wants_whole), [0]);
            assert_eq!(parts(PART_POINTS, wants_whole), [most]);
        }
        assert_eq!(parts(2 * PART_POINTS + 1, false), [most, most, 1]);
        assert_eq!(parts(2 * PART_POINTS + 1, true), [2 * most + 1]);
    }

    #[test]
    fn points_are_pending_until_the_part_is_settled_or_discarded() {
        let mut parts = WindowParts::default();
        assert!(!parts.has_pending());
        parts.begin(Arc::new(snapshot_of_counters(2)));
        assert!(!parts.has_pending(), "nothing is encoded");
        parts.encode_next(&mut Any { wants_whole: false }, false);
        assert!(parts.has_pending());
        parts.batch().all_delivered();
        assert!(!parts.has_pending());
        parts.batch().clear();
        parts.batch().push(1, |_| (), |_| ());
        assert!(parts.has_pending());
        parts.finish_part();
        assert!(!parts.has_pending(), "the batch is of no window");
    }
}
