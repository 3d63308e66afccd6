//! The parts of which encoded snapshots and states consist: numbers, text and lists.
//!
//! See [`codec`](super::codec) for their notation.

use model::Sum;

use super::leb128;

/// The bytes are not a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MalformedSnapshot;

pub(crate) fn put_sum(out: &mut Vec<u8>, sum: Sum) {
    // Both words: without the rounding errors in `low`, a sum that is read back can differ.
    let (high, low) = sum.parts();
    put_double(out, high);
    put_double(out, low);
}

pub(crate) fn put_double(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    leb128::write(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Reads a snapshot from the front of a byte slice, which shrinks to the rest.
pub(crate) struct SnapshotReader<'a>(pub(crate) &'a [u8]);

impl<'a> SnapshotReader<'a> {
    pub(crate) fn sum(&mut self) -> Result<Sum, MalformedSnapshot> {
        Ok(Sum::from_parts((self.double()?, self.double()?)))
    }

    pub(crate) fn double(&mut self) -> Result<f64, MalformedSnapshot> {
        self.word().map(f64::from_le_bytes)
    }

    pub(super) fn word(&mut self) -> Result<[u8; 8], MalformedSnapshot> {
        let (word, rest) = self.0.split_first_chunk().ok_or(MalformedSnapshot)?;
        self.0 = rest;
        Ok(*word)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, MalformedSnapshot> {
        let length = self.length()?;
        std::str::from_utf8(self.take(length)?).map_err(|_| MalformedSnapshot)
    }

    /// Reads a list: its length, then its items.
    pub(crate) fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, MalformedSnapshot>,
    ) -> Result<Vec<T>, MalformedSnapshot> {
        // Collecting into a `Result` reserves nothing in advance: a forged length without items
        // allocates no memory.
        (0..self.length()?).map(|_| item(self)).collect()
    }

    /// Reads the length of a text or a list.
    pub(crate) fn length(&mut self) -> Result<usize, MalformedSnapshot> {
        let length = usize::try_from(self.number()?).map_err(|_| MalformedSnapshot)?;
        // Each item takes at least one byte, so a longer list cannot be complete.
        (length <= self.0.len()).then_some(length).ok_or(MalformedSnapshot)
    }

    pub(crate) fn take(&mut self, bytes: usize) -> Result<&'a [u8], MalformedSnapshot> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(MalformedSnapshot)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn number(&mut self) -> Result<u64, MalformedSnapshot> {
        let mut number = 0;
        // At most ten bytes, so that a run of continuation bytes ends.
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(MalformedSnapshot)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, MalformedSnapshot> {
        let (byte, rest) = self.0.split_first().ok_or(MalformedSnapshot)?;
        self.0 = rest;
        Ok(*byte)
    }
}
