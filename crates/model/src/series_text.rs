//! The text by which a series is found.

use super::series::{SHORT, length_bytes};

/// Size of the memory for the first text.
const BYTES_MIN: usize = 256;

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
    is_full: bool,
}

impl SeriesText {
    /// Returns the text of the parts that `write` appends. Calls it again if there was no room for
    /// them.
    #[inline]
    pub fn of(&mut self, write: impl Fn(&mut SeriesTextWriter<'_>)) -> &[u8] {
        loop {
            let mut writer = SeriesTextWriter { room: &mut self.memory, is_full: false };
            write(&mut writer);
            if !writer.is_full {
                let left = writer.room.len();
                return &self.memory[..self.memory.len() - left];
            }
            self.grow();
        }
    }

    #[cold]
    fn grow(&mut self) {
        let bytes = (2 * self.memory.len()).max(BYTES_MIN);
        self.memory.resize(bytes, 0);
    }
}

impl SeriesTextWriter<'_> {
    /// Appends a name, key or value.
    #[inline]
    pub fn push(&mut self, part: &str) {
        if part.len() >= SHORT {
            return self.push_long(part);
        }
        // One check of the room for the length and the part.
        if let Some(place) = self.take(1 + part.len()) {
            place[0] = part.len() as u8;
            place[1..].copy_from_slice(part.as_bytes());
        }
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
        if let Some(place) = self.take(text.len()) {
            place.copy_from_slice(text);
        }
    }

    /// Takes a part of the room.
    #[inline]
    fn take(&mut self, bytes: usize) -> Option<&mut [u8]> {
        let Some((place, rest)) = std::mem::take(&mut self.room).split_at_mut_checked(bytes) else {
            self.is_full = true;
            return None;
        };
        self.room = rest;
        Some(place)
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
            let whole = text.of(|writer| parts.iter().for_each(|part| writer.push(part)));
            assert!(series.has_text(whole), "{length}");
            assert!(!series.has_text(&whole[..whole.len() - 1]), "{length}");
            let (name_text, rest) = whole.split_at(whole.len() - (2 * (value.len() + 2)));
            let parts = [name_text, rest].map(<[u8]>::to_vec);
            let joined = text.of(|writer| parts.iter().for_each(|part| writer.push_text(part)));
            assert!(series.has_text(joined), "{length}");
        }
        assert!(text.memory.len() < 2_000_000, "{}", text.memory.len());
    }
}
