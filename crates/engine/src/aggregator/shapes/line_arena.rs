//! Compact storage for the bytes of lines.

/// Lines start at multiples of this many bytes.
const UNIT: usize = 32;
/// Maximum size of a stored line, in units.
const UNITS_MAX: usize = 16;
/// Size of the header in front of a line's bytes.
const HEADER_BYTES: usize = 16;
/// Maximum length of a line, without its number.
pub(super) const LINE_BYTES_MAX: usize = UNIT * UNITS_MAX - HEADER_BYTES;

/// The position of a line, in units.
pub(super) type LineOffset = u32;

/// The properties that are stored with a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct LineHeader {
    pub(super) weight: f64,
    /// Bytes before the number.
    pub(super) before: u16,
    /// Bytes before and after the number.
    pub(super) length: u16,
    pub(super) meaning: u8,
}

/// Lines, back to back in one allocation. The room of a removed line is reused by the next line of
/// the same size.
#[derive(Default)]
pub(super) struct LineArena {
    units: Vec<[u8; UNIT]>,
    /// Positions of removed lines, by size in units minus one.
    free: [Vec<LineOffset>; UNITS_MAX],
}

impl LineArena {
    /// The size of the storage in bytes, including freed room.
    pub(super) fn bytes(&self) -> usize {
        self.units.len() * UNIT
    }

    /// Stores a line of at most [`LINE_BYTES_MAX`] bytes.
    pub(super) fn insert(&mut self, header: LineHeader, before: &[u8], after: &[u8]) -> LineOffset {
        // Room is reused only for lines that take as many units: it never has to be split or
        // joined.
        let count = units_of(usize::from(header.length));
        let at = self.free[count - 1].pop().unwrap_or_else(|| {
            let at = self.units.len() as LineOffset;
            self.units.resize(self.units.len() + count, [0; UNIT]);
            at
        });
        let room = self.units[at as usize..at as usize + count].as_flattened_mut();
        // The header is next to the bytes of the line, so that one prefetch covers both.
        let (stored, line) = room.split_at_mut(HEADER_BYTES);
        stored[..8].copy_from_slice(&header.weight.to_le_bytes());
        stored[8..10].copy_from_slice(&header.before.to_le_bytes());
        stored[10..12].copy_from_slice(&header.length.to_le_bytes());
        stored[12] = header.meaning;
        line[..before.len()].copy_from_slice(before);
        line[before.len()..before.len() + after.len()].copy_from_slice(after);
        at
    }

    /// Reads a stored line.
    #[inline]
    pub(super) fn get(&self, at: LineOffset) -> (LineHeader, &[u8]) {
        let (stored, line) = self.units[at as usize..].as_flattened().split_at(HEADER_BYTES);
        let pair = |index: usize| u16::from_le_bytes([stored[index], stored[index + 1]]);
        let mut weight = [0; 8];
        weight.copy_from_slice(&stored[..8]);
        let header = LineHeader {
            weight: f64::from_le_bytes(weight),
            before: pair(8),
            length: pair(10),
            meaning: stored[12],
        };
        (header, &line[..usize::from(header.length)])
    }

    /// Frees the room of a line.
    pub(super) fn remove(&mut self, at: LineOffset) {
        let (header, _) = self.get(at);
        self.free[units_of(usize::from(header.length)) - 1].push(at);
    }

    /// Prefetches a line. Its length is in the header, which is not in the cache yet; so `length`
    /// is that of the line to compare with.
    #[inline]
    pub(super) fn prefetch(&self, at: LineOffset, length: usize) {
        let units = &self.units[at as usize..];
        // Two units share a cache line.
        for unit in units[..units_of(length).min(units.len())].iter().step_by(2) {
            crate::sys::prefetch(unit);
        }
    }
}

/// The number of units that a line of this length takes.
fn units_of(length: usize) -> usize {
    (HEADER_BYTES + length).div_ceil(UNIT)
}
