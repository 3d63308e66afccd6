//! Writes refused points into the quarantine of one destination's spool.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::warn;

use super::quarantine::fitting;
use super::work::RefusedPoints;
use super::writer::SpoolWriter;
use model::PointRanges;

impl SpoolWriter {
    /// Moves refused points into the quarantine, within its limits per minute and as long as
    /// `min_free` bytes stay free on the disk. Returns the number of points that it stored.
    pub(crate) async fn quarantine(&mut self, refused: RefusedPoints, min_free: u64) -> u64 {
        let mut kept = 0;
        for (reason, points) in &refused.points {
            kept += self.put_aside(&refused, reason, points.clone(), min_free).await;
        }
        kept
    }

    async fn put_aside(
        &mut self,
        refused: &RefusedPoints,
        reason: &'static str,
        points: PointRanges,
        min_free: u64,
    ) -> u64 {
        let room = self.allowance.room(Instant::now());
        let (seq, snapshot) = (refused.seq, Arc::clone(&refused.snapshot));
        let instance = Arc::clone(&self.instance);
        let put = self.blocking(move |directory| {
            let file = fitting(seq, &snapshot, points, &instance, room);
            let Some((name, bytes)) = file else { return Ok(None) };
            directory.put_aside(name, reason, &bytes, min_free).map(|()| Some(name))
        });
        match put.await {
            // Only a successful write uses up the allowance: a full disk is not worn.
            Ok(Some(name)) => {
                self.allowance.used(name);
                name.points
            }
            Ok(None) => 0,
            Err(error) => {
                if let Some(times) = self.quarantine_failures.count(1) {
                    warn!(forwarder = self.forwarder, %error, times, "cannot put refused points \
                        into the quarantine");
                }
                0
            }
        }
    }
}
