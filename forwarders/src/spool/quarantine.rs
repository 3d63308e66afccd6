//! Limits how fast refused points are written to the quarantine, so that a destination that refuses
//! everything does not wear out the disk.

use std::time::Duration;

use tokio::time::Instant;

use super::file;
use super::name::FileName;
use model::PointRanges;
use model::Snapshot;

const MINUTE: Duration = Duration::from_secs(60);
/// Maximum number of files of refused points per minute: more than one for each window of the
/// default interval.
const FILES_A_MINUTE: u32 = 10;
/// Maximum number of bytes of these files per minute: more than an operator reads, and less than
/// 1.5 GiB a day.
const BYTES_A_MINUTE: u64 = 1 << 20;

/// The files and bytes that may still be written in the current minute.
#[derive(Debug)]
pub(super) struct QuarantineAllowance {
    since: Instant,
    files: u32,
    bytes: u64,
}

impl QuarantineAllowance {
    /// The full allowance for the minute that begins `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, files: FILES_A_MINUTE, bytes: BYTES_A_MINUTE }
    }

    /// The largest size of the next file, in bytes; 0 if no file may be written.
    pub(super) fn room(&mut self, now: Instant) -> u64 {
        // A new minute begins with the first request after the previous one, which needs no timer.
        if now.duration_since(self.since) >= MINUTE {
            *self = Self::new(now);
        }
        if self.files > 0 { self.bytes } else { 0 }
    }

    /// Subtracts a file that was written and was not larger than [`QuarantineAllowance::room`].
    pub(super) fn used(&mut self, name: FileName) {
        self.files -= 1;
        self.bytes -= name.bytes;
    }
}

/// Packs the points or, if the file is larger than `room` bytes, their first half, first quarter
/// and so on. `None` if not even one point fits.
pub(super) fn fitting(
    seq: u64,
    snapshot: &Snapshot,
    mut points: PointRanges,
    instance: &str,
    room: u64,
) -> Option<(FileName, Vec<u8>)> {
    while room > 0 && points.count() > 0 {
        // The packed size is known only after packing. Halving bounds the work to twice one
        // packing.
        let (name, bytes) = file::write(seq, snapshot, &points, instance);
        if name.bytes <= room {
            return Some((name, bytes));
        }
        points = points.at_most(name.points as usize / 2);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::testing::snapshot_of_counters;

    fn file_of(points: usize, room: u64) -> Option<(FileName, Vec<u8>)> {
        fitting(7, &snapshot_of_counters(points), PointRanges::first(points), "run-1", room)
    }

    #[test]
    fn each_minute_has_a_limited_number_of_files_and_bytes() {
        let start = Instant::now();
        let mut allowance = QuarantineAllowance::new(start);
        let name = FileName { seq: 1, start_ms: 1, points: 1, bytes: 1000 };
        for file in 0..10 {
            assert_eq!(allowance.room(start), BYTES_A_MINUTE - file * 1000);
            allowance.used(name);
        }
        assert_eq!(allowance.room(start + MINUTE - Duration::from_millis(1)), 0);
        assert_eq!(allowance.room(start + MINUTE), BYTES_A_MINUTE);
        allowance.used(FileName { bytes: BYTES_A_MINUTE, ..name });
        assert_eq!(allowance.room(start + MINUTE), 0);
    }

    #[test]
    fn points_that_do_not_fit_are_halved_until_they_do() {
        let (whole, _) = file_of(1_000, u64::MAX).unwrap();
        assert_eq!(whole.points, 1_000);
        let (part, bytes) = file_of(1_000, whole.bytes / 3).unwrap();
        assert!(part.points < 500 && part.bytes <= whole.bytes / 3, "{part:?}");
        let first = file::read(part, &bytes).unwrap().points[0].series.to_string();
        assert_eq!(first, snapshot_of_counters(1).points[0].series.to_string());
        assert!(file_of(1_000, 50).is_none() && file_of(1_000, 0).is_none());
    }
}
