//! A file: a header, the packed content, and a checksum of each.
//!
//! ```text
//! magic "tallydrs" · version u8 · part u8 · header length u16
//! saved_at_ms u64 · packed length u64 · unpacked length u64
//! CRC-32 of the header · packed content · CRC-32 of it
//! ```
//!
//! All numbers are little-endian. Magic, version, header length and the position of the header's
//! checksum are the same in all versions, so that a newer file can be distinguished from a damaged one.

use std::io;

use thiserror::Error;

const MAGIC: &[u8; 8] = b"tallydrs";
/// The version that is written. Version 1 had no literals.
const VERSION: u8 = 2;
/// The position of the numbers, after magic, version, part and header length.
const NUMBERS_AT: usize = 12;
/// Without the checksum.
const HEADER_BYTES: usize = NUMBERS_AT + 3 * 8;
const CRC_BYTES: usize = 4;
/// The largest ratio of LZ4. A file that claims a larger one gets no memory.
const RATIO_MAX: u64 = 255;

/// Why a file cannot be used.
#[derive(Debug, Error)]
pub enum RestartFileError {
    /// It is not as it was written.
    #[error("damaged: {0}")]
    Damaged(&'static str),
    /// A newer version wrote it.
    #[error("in format {0}, which this version cannot read")]
    Newer(u8),
    /// It is larger than the configured bound.
    #[error("{bytes} bytes, and restart_state.max_bytes is {max}")]
    TooLarge {
        /// Its size, unpacked if that is known.
        bytes: u64,
        /// The bound.
        max: u64,
    },
    /// The system refuses access.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// The content of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Content {
    /// When it was written, in Unix milliseconds.
    pub(super) saved_at_ms: u64,
    pub(super) bytes: Vec<u8>,
}

/// The largest file that can hold content of `max` bytes, which LZ4 may fail to pack.
pub(super) fn file_bytes_max(max: u64) -> u64 {
    let packed = max.saturating_add(max / 250).saturating_add(64);
    packed.saturating_add((HEADER_BYTES + 2 * CRC_BYTES) as u64)
}

/// Packs content into a file; `part` names the kind of content.
pub(super) fn seal(part: u8, saved_at_ms: u64, content: &[u8]) -> Vec<u8> {
    let packed = lz4_flex::block::compress(content);
    let mut bytes = Vec::with_capacity(HEADER_BYTES + packed.len() + 2 * CRC_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&[VERSION, part]);
    bytes.extend_from_slice(&(HEADER_BYTES as u16).to_le_bytes());
    for number in [saved_at_ms, packed.len() as u64, content.len() as u64] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    bytes.extend_from_slice(&packed);
    bytes.extend_from_slice(&crc32fast::hash(&packed).to_le_bytes());
    bytes
}

/// Reads a file of this part whose content takes at most `max` bytes.
///
/// # Errors
/// When it is damaged, of another part, of a newer version or too large.
pub(super) fn open(part: u8, file: &[u8], max: u64) -> Result<Content, RestartFileError> {
    let damaged = RestartFileError::Damaged;
    let start = file.get(..NUMBERS_AT).ok_or(damaged("shorter than a header"))?;
    if !start.starts_with(MAGIC) {
        return Err(damaged("not a file of restart state"));
    }
    let header_bytes = usize::from(u16::from_le_bytes([start[10], start[11]]));
    let (header, rest) =
        file.split_at_checked(header_bytes).ok_or(damaged("shorter than its header"))?;
    let (crc, rest) = rest.split_first_chunk().ok_or(damaged("no checksum"))?;
    if u32::from_le_bytes(*crc) != crc32fast::hash(header) {
        return Err(damaged("checksum of the header"));
    }
    if !(1..=VERSION).contains(&header[8]) {
        return Err(RestartFileError::Newer(header[8]));
    }
    if header_bytes != HEADER_BYTES || header[9] != part {
        return Err(damaged("content of another kind"));
    }
    let mut numbers =
        header[NUMBERS_AT..].as_chunks().0.iter().map(|chunk| u64::from_le_bytes(*chunk));
    let mut number = || numbers.next().unwrap_or_default();
    let (saved_at_ms, packed_bytes, unpacked_bytes) = (number(), number(), number());
    let (packed, crc) = rest.split_last_chunk().ok_or(damaged("no checksum"))?;
    if packed.len() as u64 != packed_bytes {
        return Err(damaged("the length"));
    }
    if u32::from_le_bytes(*crc) != crc32fast::hash(packed) {
        return Err(damaged("checksum of the content"));
    }
    if unpacked_bytes > max {
        return Err(RestartFileError::TooLarge { bytes: unpacked_bytes, max });
    }
    if unpacked_bytes > packed_bytes.saturating_mul(RATIO_MAX) {
        return Err(damaged("more than it can hold"));
    }
    let bytes = lz4_flex::block::decompress(packed, unpacked_bytes as usize)
        .map_err(|_| damaged("the packing"))?;
    Ok(Content { saved_at_ms, bytes })
}
