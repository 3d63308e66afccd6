//! The format of a spool file: a header, the packed snapshot, and a checksum of each.
//!
//! ```text
//! magic "tallydsp" · version u8 · packing u8 · header length u16
//! seq u64 · start_ms u64 · end_ms u64 · points u64 · packed length u64 · unpacked length u64
//! CRC-32 of the header · packed snapshot · CRC-32 of it
//! ```
//!
//! All numbers are little-endian. Every version keeps the magic, the version, the header length and
//! the checksum after the header in the same place, so that a reader can distinguish a file of a
//! newer version from a damaged one.

use thiserror::Error;

use super::codec;
use super::name::FileName;
use model::{Point, PointRanges, Snapshot, Value};

const MAGIC: &[u8; 8] = b"tallydsp";
/// The newest version: a timer may have no samples, in a point for an idle series.
const VERSION: u8 = 3;
/// The version of a file without such timers, which earlier builds can read, too. Version 1 had no
/// literals, and other buckets of sketches.
const VERSION_WITHOUT_IDLE_TIMERS: u8 = 2;
/// The packing: one LZ4 block.
const LZ4: u8 = 1;
/// Offset of the first number: magic, version, packing and header length come before it.
const NUMBERS_AT: usize = 12;
/// Length of the header, without its checksum.
const HEADER_BYTES: usize = NUMBERS_AT + 6 * 8;
const CRC_BYTES: usize = 4;
/// The highest compression ratio of LZ4. A file that claims a higher one is damaged, and no memory
/// is allocated for it.
const RATIO_MAX: u64 = 255;

/// Why a file cannot be read.
#[derive(Debug, Error)]
pub enum SpoolFileError {
    /// The content differs from the content that was written.
    #[error("damaged: {0}")]
    Damaged(&'static str),
    /// A newer version of tallyd wrote the file.
    #[error("of format {0}, which this version cannot read")]
    Newer(u8),
}

/// Packs the selected points of a snapshot into a file. Returns its name and its content.
///
/// `instance` identifies the run of the daemon that flushed the snapshot, unless the snapshot names
/// an earlier one.
pub(crate) fn write(
    seq: u64,
    snapshot: &Snapshot,
    points: &PointRanges,
    instance: &str,
) -> (FileName, Vec<u8>) {
    let mut unpacked = Vec::new();
    codec::encode(snapshot, points, instance, &mut unpacked);
    let packed = lz4_flex::block::compress(&unpacked);
    let version = version_of(snapshot, points);
    let end_ms = snapshot.window.end_ms;
    let start_ms = end_ms.saturating_sub(snapshot.window.length.as_millis() as u64);
    let points = points.count();

    let mut bytes = Vec::with_capacity(HEADER_BYTES + packed.len() + 2 * CRC_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&[version, LZ4]);
    bytes.extend_from_slice(&(HEADER_BYTES as u16).to_le_bytes());
    for number in [seq, start_ms, end_ms, points, packed.len() as u64, unpacked.len() as u64] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    // A separate checksum of the header: a reader can trust the version and the lengths before it
    // reads the rest.
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    bytes.extend_from_slice(&packed);
    bytes.extend_from_slice(&crc32fast::hash(&packed).to_le_bytes());
    let name = FileName { seq, start_ms, points, bytes: bytes.len() as u64 };
    (name, bytes)
}

fn version_of(snapshot: &Snapshot, points: &PointRanges) -> u8 {
    let is_idle_timer =
        |point: &Point| matches!(&point.value, Value::Timer(timer) if timer.is_idle());
    let has_idle_timers = points.of(&snapshot.points).any(is_idle_timer);
    if has_idle_timers { VERSION } else { VERSION_WITHOUT_IDLE_TIMERS }
}

/// Reads the content of the file `name`.
///
/// # Errors
/// When the content is damaged, belongs to another name, or is in a newer format.
pub(crate) fn read(name: FileName, bytes: &[u8]) -> Result<Snapshot, SpoolFileError> {
    let damaged = SpoolFileError::Damaged;
    let header = bytes.get(..HEADER_BYTES).ok_or(damaged("shorter than a header"))?;
    if !header.starts_with(MAGIC) {
        return Err(damaged("no spool file"));
    }
    // The header of a newer version may be longer; its checksum comes after its own length.
    let header_bytes = usize::from(u16::from_le_bytes([header[10], header[11]]));
    let (header, rest) =
        bytes.split_at_checked(header_bytes).ok_or(damaged("shorter than its header"))?;
    let (crc, rest) = rest.split_first_chunk().ok_or(damaged("no checksum"))?;
    if u32::from_le_bytes(*crc) != crc32fast::hash(header) {
        return Err(damaged("checksum of the header"));
    }
    // Checked after the checksum: a flipped bit in the version is damage, not a newer version.
    if !(1..=VERSION).contains(&header[8]) || header[9] != LZ4 || header_bytes != HEADER_BYTES {
        return Err(SpoolFileError::Newer(header[8]));
    }
    let mut numbers =
        header[NUMBERS_AT..].as_chunks().0.iter().map(|chunk| u64::from_le_bytes(*chunk));
    let mut number = || numbers.next().unwrap_or_default();
    let (seq, start_ms, end_ms, points) = (number(), number(), number(), number());
    let (packed_bytes, unpacked_bytes) = (number(), number());
    // The ledger counts by the name. A content with another number of points would unbalance it.
    if name != (FileName { seq, start_ms, points, bytes: bytes.len() as u64 }) {
        return Err(damaged("the name says something else"));
    }
    let (packed, crc) = rest.split_last_chunk().ok_or(damaged("no checksum"))?;
    if packed.len() as u64 != packed_bytes {
        return Err(damaged("the length"));
    }
    if u32::from_le_bytes(*crc) != crc32fast::hash(packed) {
        return Err(damaged("checksum of the content"));
    }
    // A checksum does not stop a forged file: the claimed length must be possible before memory is
    // allocated for it.
    if unpacked_bytes > packed_bytes.saturating_mul(RATIO_MAX) {
        return Err(damaged("more than it can hold"));
    }
    let unpacked = lz4_flex::block::decompress(packed, unpacked_bytes as usize)
        .map_err(|_| damaged("the packing"))?;
    let snapshot = codec::decode(&unpacked).map_err(|_| damaged("the snapshot"))?;
    // Header and snapshot have separate checksums, so both can be intact and not belong together.
    let says_the_same = snapshot.points.len() as u64 == points && snapshot.window.end_ms == end_ms;
    says_the_same.then_some(snapshot).ok_or(damaged("header and snapshot differ"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::spool::codec::tests::{shown, snapshot};
    use model::testing::{counter, snapshot_of, snapshot_of_counters, timer};

    fn whole(snapshot: &Snapshot) -> (FileName, Vec<u8>) {
        write(7, snapshot, &PointRanges::first(snapshot.points.len()), "run-1")
    }

    #[test]
    fn one_changed_byte_anywhere_is_detected() {
        let (name, bytes) = whole(&snapshot_of_counters(50));
        for at in 0..bytes.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= change;
                let outcome = read(name, &changed);
                assert!(matches!(outcome, Err(SpoolFileError::Damaged(_))), "{at}: {outcome:?}");
            }
        }
    }

    #[test]
    fn a_truncated_or_extended_file_is_detected() {
        let (name, mut bytes) = whole(&snapshot_of_counters(5));
        for length in 0..bytes.len() {
            let name = FileName { bytes: length as u64, ..name };
            assert!(matches!(read(name, &bytes[..length]), Err(SpoolFileError::Damaged(_))));
        }
        bytes.push(0);
        let name = FileName { bytes: bytes.len() as u64, ..name };
        assert!(matches!(read(name, &bytes), Err(SpoolFileError::Damaged(_))));
    }

    #[test]
    fn a_name_that_does_not_match_the_content_is_detected() {
        let (name, bytes) = whole(&snapshot_of_counters(5));
        for other in [
            FileName { seq: 8, ..name },
            FileName { start_ms: 1, ..name },
            FileName { points: 6, ..name },
            FileName { bytes: 1, ..name },
        ] {
            assert!(matches!(read(other, &bytes), Err(SpoolFileError::Damaged(_))));
        }
    }

    #[test]
    fn a_newer_version_is_distinguished_from_damage() {
        let (name, mut bytes) = whole(&snapshot_of_counters(5));
        bytes[8] = VERSION + 1;
        let crc = crc32fast::hash(&bytes[..HEADER_BYTES]).to_le_bytes();
        bytes[HEADER_BYTES..HEADER_BYTES + 4].copy_from_slice(&crc);
        assert!(matches!(read(name, &bytes), Err(SpoolFileError::Newer(4))));
    }

    #[test]
    fn only_a_file_with_a_timer_without_samples_needs_the_newest_version() {
        let snapshot = |samples: &[(f64, f64)]| {
            snapshot_of(vec![counter("c", &[], 1.0), timer("t", &[], samples)])
        };
        let (sampled, idle) = (snapshot(&[(3.0, 1.0)]), snapshot(&[]));
        assert_eq!(whole(&sampled).1[8], 2, "earlier builds read it");
        let (name, bytes) = whole(&idle);
        assert_eq!(bytes[8], 3, "earlier builds do not take it for a damaged one");
        assert_eq!(shown(&read(name, &bytes).unwrap()), shown(&idle));
        let (_, bytes) = write(7, &idle, &PointRanges::first(1), "run-1");
        assert_eq!(bytes[8], 2, "the timer is not in it");
    }

    /// Sets the checksum of a header of this length.
    fn sign(bytes: &mut [u8], header_bytes: usize) {
        let crc = crc32fast::hash(&bytes[..header_bytes]).to_le_bytes();
        bytes[header_bytes..header_bytes + CRC_BYTES].copy_from_slice(&crc);
    }

    #[test]
    fn another_packing_or_a_longer_header_belongs_to_another_version() {
        let (name, mut bytes) = whole(&snapshot_of_counters(5));
        bytes[9] = LZ4 + 1;
        sign(&mut bytes, HEADER_BYTES);
        assert!(matches!(
            read(name, &bytes),
            Err(SpoolFileError::Newer(VERSION_WITHOUT_IDLE_TIMERS))
        ));
        bytes[9] = LZ4;
        bytes.insert(HEADER_BYTES, 0);
        bytes[10] += 1;
        sign(&mut bytes, HEADER_BYTES + 1);
        assert!(matches!(
            read(name, &bytes),
            Err(SpoolFileError::Newer(VERSION_WITHOUT_IDLE_TIMERS))
        ));
    }

    #[test]
    fn a_header_and_a_snapshot_that_do_not_belong_together_are_detected() {
        let (name, original) = whole(&snapshot_of_counters(5));
        let end_at = NUMBERS_AT + 2 * 8;
        for (at, name) in [(end_at, name), (end_at + 8, FileName { points: 6, ..name })] {
            let mut bytes = original.clone();
            bytes[at] = bytes[at].wrapping_add(1);
            sign(&mut bytes, HEADER_BYTES);
            let error = read(name, &bytes).unwrap_err().to_string();
            assert_eq!(error, "damaged: header and snapshot differ");
        }
    }

    #[test]
    fn a_file_that_claims_more_than_it_can_hold_takes_no_memory() {
        let (name, mut bytes) = whole(&snapshot_of_counters(5));
        let (packed, unpacked) = (NUMBERS_AT + 4 * 8, NUMBERS_AT + 5 * 8);
        let packed_bytes = u64::from_le_bytes(bytes[packed..unpacked].try_into().unwrap());
        let mut is_possible = |claimed: u64| {
            bytes[unpacked..HEADER_BYTES].copy_from_slice(&claimed.to_le_bytes());
            sign(&mut bytes, HEADER_BYTES);
            let error = read(name, &bytes).err().map(|error| error.to_string());
            error.is_none_or(|error| error != "damaged: more than it can hold")
        };
        assert!(is_possible(packed_bytes * RATIO_MAX));
        assert!(!is_possible(packed_bytes * RATIO_MAX + 1));
        assert!(!is_possible(u64::MAX));
    }

    proptest! {
        #[test]
        fn a_snapshot_survives_the_round_trip(snapshot in snapshot()) {
            let (name, bytes) = whole(&snapshot);
            let again = read(name, &bytes).unwrap();
            prop_assert_eq!(shown(&again), shown(&snapshot));
        }
    }
}
