//! The content of the files of windows and levels, in the encoding of the spool.
//!
//! ```text
//! windows   list of (first end · last end · times) · list of (start · length · snapshot) · set seed
//! levels    (series · value · idle time (ms)), repeated to the end
//! ```
//!
//! The decoders trust no length: a checksum guards against accidents, not against a program that can
//! write into the folder.

use std::sync::Arc;

use super::envelope::RestartFileError;
use crate::spool::codec;
use crate::spool::leb128;
use crate::spool::primitives::{MalformedSnapshot, SnapshotReader, put_double};
use crate::spool::series::{put_series, read_series};
use model::{
    GaugeLevel, MetricKind, PartialWindow, PointRanges, SetSeed, UnfinishedWindows, UsedRange,
};

/// Encodes windows that a stop cut short, and the seed with which the members of their sets are hashed.
#[must_use]
pub fn encode_windows(unfinished: &UnfinishedWindows, set_seed: &SetSeed) -> Vec<u8> {
    let mut out = Vec::new();
    leb128::write(&mut out, unfinished.used.len() as u64);
    for UsedRange { first_ms, last_ms, times } in &unfinished.used {
        [*first_ms, *last_ms, *times]
            .into_iter()
            .for_each(|number| leb128::write(&mut out, number));
    }
    leb128::write(&mut out, unfinished.windows.len() as u64);
    for PartialWindow { start_ms, snapshot } in &unfinished.windows {
        leb128::write(&mut out, *start_ms);
        let mut bytes = Vec::new();
        codec::encode(snapshot, &PointRanges::first(snapshot.points.len()), "", &mut bytes);
        leb128::write(&mut out, bytes.len() as u64);
        out.extend_from_slice(&bytes);
    }
    out.extend_from_slice(&set_seed.to_bytes());
    out
}

/// Decodes windows and the seed.
///
/// # Errors
/// When the bytes are not those of [`encode_windows`].
pub fn decode_windows(bytes: &[u8]) -> Result<(UnfinishedWindows, SetSeed), RestartFileError> {
    read_windows(bytes).map_err(|MalformedSnapshot| RestartFileError::Damaged("the windows"))
}

fn read_windows(bytes: &[u8]) -> Result<(UnfinishedWindows, SetSeed), MalformedSnapshot> {
    let mut reader = SnapshotReader(bytes);
    let used = reader.list(|reader| {
        let (first_ms, last_ms, times) = (reader.number()?, reader.number()?, reader.number()?);
        Ok(UsedRange { first_ms, last_ms, times })
    })?;
    let windows = reader.list(|reader| {
        let start_ms = reader.number()?;
        let length = reader.length()?;
        Ok(PartialWindow { start_ms, snapshot: codec::decode(reader.take(length)?)? })
    })?;
    let set_seed = SetSeed::from_bytes(reader.0.try_into().map_err(|_| MalformedSnapshot)?);
    Ok((UnfinishedWindows { used, windows }, set_seed))
}

/// Encodes as many levels as fit into `max` bytes, in their order. Returns how many that are.
#[must_use]
pub fn encode_levels(levels: &[GaugeLevel], max: u64) -> (Vec<u8>, usize) {
    let mut out = Vec::new();
    let mut kept = 0;
    for level in levels {
        let before = out.len();
        put_level(&mut out, level);
        if out.len() as u64 > max {
            out.truncate(before);
            break;
        }
        kept += 1;
    }
    (out, kept)
}

fn put_level(out: &mut Vec<u8>, level: &GaugeLevel) {
    put_series(out, &level.series);
    put_double(out, level.value);
    leb128::write(out, level.idle_ms);
}

/// Decodes levels.
///
/// # Errors
/// When the bytes are not those of [`encode_levels`].
pub fn decode_levels(bytes: &[u8]) -> Result<Vec<GaugeLevel>, RestartFileError> {
    let mut reader = SnapshotReader(bytes);
    let mut levels = Vec::new();
    while !reader.0.is_empty() {
        let level = read_level(&mut reader);
        levels.push(level.map_err(|MalformedSnapshot| RestartFileError::Damaged("the levels"))?);
    }
    Ok(levels)
}

fn read_level(reader: &mut SnapshotReader<'_>) -> Result<GaugeLevel, MalformedSnapshot> {
    let series = Arc::new(read_series(reader, MetricKind::Gauge)?);
    let value =
        Some(reader.double()?).filter(|value| value.is_finite()).ok_or(MalformedSnapshot)?;
    Ok(GaugeLevel { series, value, idle_ms: reader.number()? })
}
