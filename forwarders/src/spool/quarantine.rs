//! What refused points may cost the disk: a destination that refuses everything must not wear it.

use std::time::Duration;

use tokio::time::Instant;

use super::file;
use super::name::FileName;
use model::PointRanges;
use model::Snapshot;

const MINUTE: Duration = Duration::from_secs(60);
/// Most files of refused points in a minute: one for each window of the default interval, and some.
const FILES_A_MINUTE: u32 = 10;
/// Most bytes in these: more than anybody reads, and a gigabyte or two a day at the very most.
const BYTES_A_MINUTE: u64 = 1 << 20;

/// What may still be written in this minute.
#[derive(Debug)]
pub(super) struct QuarantineAllowance {
    since: Instant,
    files: u32,
    bytes: u64,
}

impl QuarantineAllowance {
    /// A minute's, from now on.
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, files: FILES_A_MINUTE, bytes: BYTES_A_MINUTE }
    }

    /// How long the next file may be.
    pub(super) fn room(&mut self, now: Instant) -> u64 {
        if now.duration_since(self.since) >= MINUTE {
            *self = Self::new(now);
        }
        if self.files > 0 { self.bytes } else { 0 }
    }

    /// A file was written; it had room.
    pub(super) fn used(&mut self, name: FileName) {
        self.files -= 1;
        self.bytes -= name.bytes;
    }
}

/// The file of these points, or of the first half of them, or of a quarter, whichever has room.
pub(super) fn fitting(
    seq: u64,
    snapshot: &Snapshot,
    mut points: PointRanges,
    instance: &str,
    room: u64,
) -> Option<(FileName, Vec<u8>)> {
    while room > 0 && points.count() > 0 {
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
    fn a_minute_has_so_many_files_and_bytes_and_the_next_one_has_them_again() {
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
    fn what_has_no_room_as_a_whole_is_halved_until_it_has() {
        let (whole, _) = file_of(1_000, u64::MAX).unwrap();
        assert_eq!(whole.points, 1_000);
        let (part, bytes) = file_of(1_000, whole.bytes / 3).unwrap();
        assert!(part.points < 500 && part.bytes <= whole.bytes / 3, "{part:?}");
        let first = file::read(part, &bytes).unwrap().points[0].series.to_string();
        assert_eq!(first, snapshot_of_counters(1).points[0].series.to_string());
        assert!(file_of(1_000, 50).is_none() && file_of(1_000, 0).is_none());
    }
}
