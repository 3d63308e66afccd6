//! Encodes a window part by part.

use std::ops::Range;
use std::sync::Arc;

use crate::delivery::forwarder::Forwarder;
use crate::delivery::payload::{Batch, Settled};
use model::{PointRanges, Snapshot};

/// Most points that are encoded at once; they take a few megabytes.
pub(crate) const PART_POINTS: usize = 8_192;

/// A window that is being delivered, encoded a part at a time.
///
/// A window of a million series takes a hundred megabytes and more once it is encoded. So a part is
/// encoded and delivered before the next one, unless the destination needs to see the whole window.
#[derive(Default)]
pub(super) struct WindowParts {
    batch: Batch,
    /// The part of the window that is in the batch.
    part: Option<WindowPart>,
    /// The window while parts of it are not encoded, and the first point of the next part.
    rest: Option<(Arc<Snapshot>, usize)>,
}

/// Consecutive points of a window.
struct WindowPart {
    points: Range<usize>,
    /// The number of points in the window.
    window_points: usize,
}

/// What became of points of a window.
pub(super) struct PartOutcome {
    /// With places in the window.
    pub(super) settled: Settled,
    /// The points of the window that are not settled.
    pub(super) left: PointRanges,
    /// Whether the window is delivered.
    pub(super) is_done: bool,
}

impl WindowPart {
    fn is_last(&self) -> bool {
        self.points.end == self.window_points
    }

    /// The points of the window that are left, given those of the part.
    fn left_of_window(&self, left_of_part: PointRanges) -> PointRanges {
        let mut left = left_of_part.behind(self.points.start);
        left.add(self.points.end..self.window_points);
        left
    }
}

impl WindowParts {
    /// Starts with a window.
    pub(super) fn begin(&mut self, snapshot: Arc<Snapshot>) {
        self.rest = Some((snapshot, 0));
    }

    /// Whether parts of a window are to be delivered.
    pub(super) fn is_in_progress(&self) -> bool {
        self.part.is_some() || self.rest.is_some()
    }

    /// Makes sure that a part is in the batch. Returns false if the window has none left.
    pub(super) fn encode_next(&mut self, forwarder: &mut dyn Forwarder) -> bool {
        if self.part.is_none()
            && let Some((snapshot, start)) = self.rest.take()
        {
            self.encode(forwarder, snapshot, start);
        }
        self.part.is_some()
    }

    fn encode(&mut self, forwarder: &mut dyn Forwarder, snapshot: Arc<Snapshot>, start: usize) {
        let window_points = snapshot.points.len();
        let is_whole = forwarder.wants_whole_windows();
        let end = if is_whole { window_points } else { window_points.min(start + PART_POINTS) };
        let points = snapshot.points.part(start..end);
        self.batch.clear();
        forwarder.encode(&Snapshot { points, ..(*snapshot).clone() }, &mut self.batch);
        debug_assert_eq!(
            self.batch.points(),
            (end - start) as u64,
            "every point is in a payload, in order"
        );
        let part = WindowPart { points: start..end, window_points };
        // A snapshot whose last part is encoded is not held twice.
        self.rest = (!part.is_last()).then_some((snapshot, end));
        self.part = Some(part);
    }

    /// The part in the batch is settled.
    pub(super) fn finish_part(&mut self) {
        self.part = None;
    }

    /// Forgets the window.
    pub(super) fn discard(&mut self) {
        (self.part, self.rest) = (None, None);
        self.batch.clear();
    }

    /// The payloads of the part.
    pub(super) fn batch(&mut self) -> &mut Batch {
        &mut self.batch
    }

    /// Whether points of the part are not settled.
    pub(super) fn has_pending(&self) -> bool {
        self.part.is_some() && self.batch.points_pending() > 0
    }

    /// Takes what became of points since the last call; `None` if no part is in the batch.
    pub(super) fn take_outcome(&mut self) -> Option<PartOutcome> {
        let part = self.part.as_ref()?;
        let mut settled = self.batch.take_settled();
        for places in settled.places.values_mut() {
            *places = std::mem::take(places).behind(part.points.start);
        }
        let left = part.left_of_window(self.batch.points_left());
        let is_done = part.is_last() && self.batch.is_settled();
        Some(PartOutcome { settled, left, is_done })
    }
}
