//! What waits for one forwarder: snapshots in memory, bounded, the oldest dropped first.

use std::sync::Arc;

use crate::model::Snapshot;
use crate::stats::{ForwarderStats, reason};

/// Most snapshots that may wait; a bound of its own because an empty window has no points.
const SNAPSHOTS_MAX: usize = 4_096;

/// The end that the flush pushes into. It never waits: for metrics fresh data is worth more than
/// old, so a full queue drops its oldest snapshot, and counts it.
#[derive(Debug)]
pub struct SnapshotQueue {
    sender: flume::Sender<Arc<Snapshot>>,
    receiver: flume::Receiver<Arc<Snapshot>>,
    points_max: u64,
    stats: Arc<ForwarderStats>,
}

/// How many points a push threw out to make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a drop is worth a line in the log"]
pub struct Evicted(pub u64);

/// Makes a queue that holds at most `points_max` points (always at least one snapshot, whatever
/// its size).
#[must_use]
pub fn bounded(
    points_max: u64,
    stats: Arc<ForwarderStats>,
) -> (SnapshotQueue, flume::Receiver<Arc<Snapshot>>) {
    let (sender, receiver) = flume::bounded(SNAPSHOTS_MAX);
    (SnapshotQueue { sender, receiver: receiver.clone(), points_max, stats }, receiver)
}

impl SnapshotQueue {
    /// Adds a snapshot and throws out the oldest ones that no longer fit.
    pub fn push(&self, snapshot: Arc<Snapshot>) -> Evicted {
        let points = snapshot.points.len() as u64;
        let mut evicted = 0;
        let mut evict = || match self.receiver.try_recv() {
            Ok(oldest) => {
                let points = oldest.points.len() as u64;
                self.stats.dropped(reason::QUEUE_FULL, points);
                evicted += points;
                true
            }
            Err(_) => false,
        };
        while self.stats.queued() + points > self.points_max && evict() {}
        self.stats.flushed(points);
        let mut waiting = Some(snapshot);
        while let Some(snapshot) = waiting.take() {
            match self.sender.try_send(snapshot) {
                Ok(()) => {}
                Err(flume::TrySendError::Full(snapshot)) => {
                    evict();
                    waiting = Some(snapshot);
                }
                // Not while this end holds a receiver itself; counted all the same.
                Err(flume::TrySendError::Disconnected(_)) => {
                    self.stats.dropped(reason::SHUTDOWN, points);
                }
            }
        }
        Evicted(evicted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::snapshot_of_counters;

    fn push(queue: &SnapshotQueue, points: usize) -> u64 {
        queue.push(Arc::new(snapshot_of_counters(points))).0
    }

    #[test]
    fn the_oldest_go_first_and_are_counted() {
        let stats = Arc::new(ForwarderStats::default());
        let (queue, receiver) = bounded(10, Arc::clone(&stats));
        assert_eq!(push(&queue, 4), 0);
        assert_eq!(push(&queue, 5), 0);
        assert_eq!(push(&queue, 3), 4);
        let counts = stats.counts();
        assert_eq!((counts.flushed, counts.queued), (12, 8));
        assert_eq!(counts.dropped[reason::QUEUE_FULL], 4);
        assert_eq!(receiver.try_recv().unwrap().points.len(), 5);
    }

    #[test]
    fn a_snapshot_larger_than_the_bound_still_gets_its_turn() {
        let stats = Arc::new(ForwarderStats::default());
        let (queue, receiver) = bounded(10, stats);
        assert_eq!(push(&queue, 1), 0);
        assert_eq!(push(&queue, 50), 1);
        assert_eq!(receiver.try_recv().unwrap().points.len(), 50);
    }
}
