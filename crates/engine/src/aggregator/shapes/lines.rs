//! The bytes of lines, densely.

/// Lines lie at multiples of so many bytes.
const UNIT: usize = 32;
/// Most units of a line.
const UNITS_MAX: usize = 16;
/// What is stored in front of a line's bytes.
const HEAD: usize = 16;
/// Bytes of the longest line that can be stored.
pub(super) const LINE_BYTES_MAX: usize = UNIT * UNITS_MAX - HEAD;

/// Where a line lies.
pub(super) type LineAt = u32;

/// What is stored with a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Head {
    pub(super) weight: f64,
    /// Bytes before the number.
    pub(super) before: u16,
    /// Bytes altogether, without the number.
    pub(super) length: u16,
    pub(super) meaning: u8,
}

/// Lines behind each other in one allocation. The room of a removed line serves the next one of its
/// size.
#[derive(Default)]
pub(super) struct Lines {
    units: Vec<[u8; UNIT]>,
    /// Room of removed lines, by its size in units less one.
    free: [Vec<LineAt>; UNITS_MAX],
}

impl Lines {
    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.units.len() * UNIT
    }

    /// Stores a line of at most [`LINE_BYTES_MAX`] bytes.
    pub(super) fn insert(&mut self, head: Head, before: &[u8], after: &[u8]) -> LineAt {
        let count = units_of(usize::from(head.length));
        let at = self.free[count - 1].pop().unwrap_or_else(|| {
            let at = self.units.len() as LineAt;
            self.units.resize(self.units.len() + count, [0; UNIT]);
            at
        });
        let room = self.units[at as usize..at as usize + count].as_flattened_mut();
        let (stored, line) = room.split_at_mut(HEAD);
        stored[..8].copy_from_slice(&head.weight.to_le_bytes());
        stored[8..10].copy_from_slice(&head.before.to_le_bytes());
        stored[10..12].copy_from_slice(&head.length.to_le_bytes());
        stored[12] = head.meaning;
        line[..before.len()].copy_from_slice(before);
        line[before.len()..before.len() + after.len()].copy_from_slice(after);
        at
    }

    /// A stored line.
    #[inline]
    pub(super) fn get(&self, at: LineAt) -> (Head, &[u8]) {
        let (stored, line) = self.units[at as usize..].as_flattened().split_at(HEAD);
        let pair = |index: usize| u16::from_le_bytes([stored[index], stored[index + 1]]);
        let mut weight = [0; 8];
        weight.copy_from_slice(&stored[..8]);
        let head = Head {
            weight: f64::from_le_bytes(weight),
            before: pair(8),
            length: pair(10),
            meaning: stored[12],
        };
        (head, &line[..usize::from(head.length)])
    }

    /// Frees the room of a line.
    pub(super) fn remove(&mut self, at: LineAt) {
        let (head, _) = self.get(at);
        self.free[units_of(usize::from(head.length)) - 1].push(at);
    }

    /// Asks the processor to have the line at hand soon; how long it is is not known yet.
    #[inline]
    pub(super) fn prefetch(&self, at: LineAt, length: usize) {
        let units = &self.units[at as usize..];
        // Two units share a cache line.
        for unit in units[..units_of(length).min(units.len())].iter().step_by(2) {
            crate::sys::prefetch(unit);
        }
    }
}

/// Units that a line of so many bytes takes.
fn units_of(length: usize) -> usize {
    (HEAD + length).div_ceil(UNIT)
}
