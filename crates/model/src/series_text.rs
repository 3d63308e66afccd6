//! The text by which a series is found.

use super::series::{SHORT, length_bytes};

/// Makes the text of one series after another in the same memory.
///
/// The text has parts: the name, and then the key and the value of each tag, sorted by key. The texts
/// of two series are equal if their names and tags are.
#[derive(Debug, Default)]
pub struct SeriesText {
    memory: Vec<u8>,
}

/// Appends parts to a text.
#[derive(Debug)]
pub struct SeriesTextWriter<'t> {
    room: &'t mut [u8],
}

impl SeriesText {
    /// Returns the text of the parts that `write` appends; `bytes_max` is the sum of their
    /// [`SeriesTextWriter::bytes_max`] or more.
    #[inline]
    pub fn of(&mut self, bytes_max: usize, write: impl FnOnce(&mut SeriesTextWriter<'_>)) -> &[u8] {
        if self.memory.len() < bytes_max {
            self.memory.resize(bytes_max.next_power_of_two(), 0);
        }
        let mut writer = SeriesTextWriter { room: &mut self.memory };
        write(&mut writer);
        let left = writer.room.len();
        &self.memory[..self.memory.len() - left]
    }
}

impl SeriesTextWriter<'_> {
    /// The maximum number of bytes that a part takes.
    #[inline]
    #[must_use]
    pub const fn bytes_max(part: &str) -> usize {
        // A digit of a length has six bits.
        usize::BITS as usize / 6 + 1 + part.len()
    }

    /// Appends a name, key or value.
    #[inline]
    pub fn push(&mut self, part: &str) {
        if part.len() >= SHORT {
            return self.push_long(part);
        }
        // One check of the room for the length and the part.
        let (place, rest) = std::mem::take(&mut self.room).split_at_mut(1 + part.len());
        place[0] = part.len() as u8;
        place[1..].copy_from_slice(part.as_bytes());
        self.room = rest;
    }

    #[cold]
    fn push_long(&mut self, part: &str) {
        for digit in length_bytes(part.len()) {
            self.push_text(&[digit]);
        }
        self.push_text(part.as_bytes());
    }

    /// Appends parts of another text.
    #[inline]
    pub fn push_text(&mut self, text: &[u8]) {
        let (place, rest) = std::mem::take(&mut self.room).split_at_mut(text.len());
        place.copy_from_slice(text);
        self.room = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MetricKind, Series};

    #[test]
    fn a_series_has_the_text_of_its_parts() {
        let mut text = SeriesText::default();
        for length in [0, 1, 63, 64, 65, 4_095, 4_096, 70_000, 300_000, 3] {
            let (name, value) = ("n".repeat(length + 1), "v".repeat(length));
            let series = Series::new(MetricKind::Timer, &name, &[("key", &value), ("z", &value)]);
            let parts = [name.as_str(), "key", &value, "z", &value];
            let bytes_max = parts.iter().map(|part| SeriesTextWriter::bytes_max(part)).sum();
            let whole =
                text.of(bytes_max, |writer| parts.iter().for_each(|part| writer.push(part)));
            assert!(series.has_text(whole), "{length}");
            assert!(!series.has_text(&whole[..whole.len() - 1]), "{length}");
            let (name_text, rest) = whole.split_at(whole.len() - (2 * (value.len() + 2)));
            let parts = [name_text, rest].map(<[u8]>::to_vec);
            let joined = text.of(bytes_max, |writer| {
                parts.iter().for_each(|part| writer.push_text(part));
            });
            assert!(series.has_text(joined), "{length}");
        }
    }
}
