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
    /// End of the text; after the end of the room if a part did not fit.
    end: usize,
}

impl SeriesText {
    /// Returns the text of the parts that `write` appends. Calls it again if there was no room for
    /// them.
    #[inline]
    pub fn of(&mut self, write: impl Fn(&mut SeriesTextWriter<'_>)) -> &[u8] {
        loop {
            let mut writer = SeriesTextWriter { room: &mut self.memory, end: 0 };
            write(&mut writer);
            let end = writer.end;
            if end <= self.memory.len() {
                return &self.memory[..end];
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
            self.end = push_long(self.room, self.end, part);
            return;
        }
        // One check of the room for the length and the part.
        if let Some(place) = self.take(1 + part.len()) {
            place[0] = part.len() as u8;
            copy(&mut place[1..], part.as_bytes());
        }
    }

    /// Appends parts of another text.
    #[inline]
    pub fn push_text(&mut self, text: &[u8]) {
        if let Some(place) = self.take(text.len()) {
            copy(place, text);
        }
    }

    /// Takes a part of the room. `None` if there is not enough left for this part or an earlier one.
    #[inline]
    fn take(&mut self, bytes: usize) -> Option<&mut [u8]> {
        let start = self.end;
        self.end += bytes;
        self.room.get_mut(start..self.end)
    }
}

// Not a method: with its address in a call, a writer would have to stay in memory, and each part would
// read it and write it back.
#[cold]
fn push_long(room: &mut [u8], end: usize, part: &str) -> usize {
    let mut writer = SeriesTextWriter { room, end };
    for digit in length_bytes(part.len()) {
        writer.push_text(&[digit]);
    }
    writer.push_text(part.as_bytes());
    writer.end
}

/// Copies a part to a place of its length.
///
/// Most names, keys and values have few bytes, for which a call of `memcpy` takes longer than the copies of
/// both ends, which may overlap.
#[inline]
fn copy(place: &mut [u8], part: &[u8]) {
    if !(copy_ends::<8>(place, part) || copy_ends::<4>(place, part) || copy_ends::<16>(place, part))
    {
        place.copy_from_slice(part);
    }
}

/// Copies a part of `N` to `2 * N` bytes. False for any other part.
#[inline]
fn copy_ends<const N: usize>(place: &mut [u8], part: &[u8]) -> bool {
    let (Some(start), Some(end)) = (part.first_chunk::<N>(), part.last_chunk::<N>()) else {
        return false;
    };
    if part.len() > 2 * N || place.len() != part.len() {
        return false;
    }
    if let Some(first) = place.first_chunk_mut() {
        *first = *start;
    }
    if let Some(last) = place.last_chunk_mut() {
        *last = *end;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MetricKind, Series};

    #[test]
    fn a_series_has_the_text_of_its_parts() {
        let mut text = SeriesText::default();
        for length in (0..66).chain([4_095, 4_096, 70_000, 300_000, 3]) {
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

    #[test]
    fn a_part_of_any_length_is_copied_completely() {
        for length in 0..100 {
            let part: String = (0..length).map(|place| char::from(b' ' + place % 90)).collect();
            let expected: Vec<u8> = length_bytes(part.len()).chain(part.bytes()).collect();
            // New memory, so that no byte is there from an earlier part.
            assert_eq!(SeriesText::default().of(|writer| writer.push(&part)), expected);
        }
    }

    #[test]
    fn the_memory_doubles_until_the_text_fits() {
        let mut text = SeriesText::default();
        for (length, memory) in [(3, 256), (254, 256), (255, 512), (1_500, 2_048), (3, 2_048)] {
            text.of(|writer| writer.push(&"v".repeat(length)));
            assert_eq!(text.memory.len(), memory, "{length}");
        }
    }
}
