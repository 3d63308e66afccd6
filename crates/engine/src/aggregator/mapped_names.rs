//! The names that rules change, and the slots to which they lead.

use std::collections::VecDeque;

use model::MetricKind;

use super::identity::SeriesKey;
use super::incremental_map::IncrementalMap;
use super::tally::SeriesSlot;

/// Memory of a name in addition to its text: its entry and its place in the hash table.
const ENTRY_BYTES: usize = size_of::<Option<MappedName>>() + 16;

/// A bounded memory of names, from which the oldest one is removed to make room. A name that was removed
/// costs only time: the rules apply to it again.
#[derive(Debug)]
pub(super) struct MappedNames {
    /// The number of each name, by the hash of its key.
    index: IncrementalMap<u32>,
    /// In the order of their numbers; `None` for a name whose series has expired.
    names: VecDeque<Option<MappedName>>,
    /// The number of the first of `names`. Numbers wrap around.
    first: u32,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct MappedName {
    hash: u64,
    kind: MetricKind,
    /// Name and effective tags, as the message has them.
    text: Box<[u8]>,
    slot: SeriesSlot,
}

impl MappedName {
    fn is(&self, key: &SeriesKey<'_>) -> bool {
        self.hash == key.hash && self.kind == key.kind && *self.text == *key.text
    }

    fn bytes(&self) -> usize {
        ENTRY_BYTES + self.text.len()
    }
}

impl MappedNames {
    /// Creates an empty memory of this size.
    pub(super) fn new(bytes_max: usize) -> Self {
        let (index, names) = (IncrementalMap::default(), VecDeque::new());
        Self { index, names, first: 0, bytes: 0, bytes_max }
    }

    /// The slot of a name, if it is known.
    pub(super) fn find(&self, key: &SeriesKey<'_>) -> Option<SeriesSlot> {
        let is_it = |number: &u32| self.name(*number).is_some_and(|name| name.is(key));
        let number = self.index.find(key.hash, is_it)?;
        Some(self.name(*number)?.slot)
    }

    /// Adds a name that is not known. Returns the number of names that made room for it, or 1 if it
    /// finds no room itself.
    pub(super) fn insert(&mut self, key: &SeriesKey<'_>, slot: SeriesSlot) -> u64 {
        let SeriesKey { hash, kind, text } = *key;
        let name = MappedName { hash, kind, text: text.into(), slot };
        if name.bytes() > self.bytes_max {
            return 1;
        }
        let mut removed = 0;
        while self.bytes + name.bytes() > self.bytes_max {
            removed += u64::from(self.remove_oldest());
        }
        self.bytes += name.bytes();
        let number = self.first.wrapping_add(self.names.len() as u32);
        self.names.push_back(Some(name));
        let Self { index, names, first, .. } = self;
        index.insert_unique(hash, number, |number| {
            let name = names.get(number.wrapping_sub(*first) as usize).and_then(Option::as_ref);
            name.map_or(0, |name| name.hash)
        });
        removed
    }

    /// Removes the names whose slots `keep` rejects.
    pub(super) fn retain(&mut self, keep: impl Fn(SeriesSlot) -> bool) {
        for (offset, entry) in (0_u32..).zip(&mut self.names) {
            if let Some(name) = entry.take_if(|name| !keep(name.slot)) {
                let number = self.first.wrapping_add(offset);
                self.index.remove(name.hash, |other| *other == number);
                self.bytes -= name.bytes() - ENTRY_BYTES;
            }
        }
        while let Some(None) = self.names.front() {
            self.remove_oldest();
        }
    }

    /// Returns whether the oldest place had a name.
    fn remove_oldest(&mut self) -> bool {
        let number = self.first;
        let Some(oldest) = self.names.pop_front() else { return false };
        self.first = self.first.wrapping_add(1);
        self.bytes -= oldest.as_ref().map_or(ENTRY_BYTES, MappedName::bytes);
        if let Some(name) = &oldest {
            self.index.remove(name.hash, |other| *other == number);
        }
        oldest.is_some()
    }

    fn name(&self, number: u32) -> Option<&MappedName> {
        self.names.get(number.wrapping_sub(self.first) as usize)?.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> SeriesKey<'_> {
        // Few hashes, so that names collide.
        let hash = u64::from(text.as_bytes()[0] % 2);
        SeriesKey { hash, kind: MetricKind::Set, text: text.as_bytes() }
    }

    #[test]
    fn the_oldest_name_makes_room() {
        let mut names = MappedNames::new(3 * (ENTRY_BYTES + 2));
        names.first = u32::MAX - 1;
        for (number, text) in (0..).zip(["aa", "bb", "cc"]) {
            assert_eq!(names.insert(&key(text), number), 0);
        }
        assert_eq!(names.insert(&key("dd"), 3), 1);
        let found = ["aa", "bb", "cc", "dd"].map(|text| names.find(&key(text)));
        assert_eq!(found, [None, Some(1), Some(2), Some(3)]);
        let other_kind = SeriesKey { kind: MetricKind::Gauge, ..key("bb") };
        assert_eq!(names.find(&other_kind), None);
        let long = "e".repeat(1_000);
        assert_eq!(names.insert(&key(&long), 4), 1, "it has no room itself");
        assert_eq!(names.find(&key("bb")), Some(1));
    }

    #[test]
    fn names_of_expired_series_are_removed() {
        let mut names = MappedNames::new(10 * (ENTRY_BYTES + 2));
        for (number, text) in (0..).zip(["aa", "bb", "cc", "dd"]) {
            names.insert(&key(text), number);
        }
        names.retain(|slot| slot % 2 == 1);
        let found = ["aa", "bb", "cc", "dd"].map(|text| names.find(&key(text)));
        assert_eq!(found, [None, Some(1), None, Some(3)]);
        names.retain(|_| false);
        assert_eq!((names.bytes, names.names.len()), (0, 0));
        names.insert(&key("aa"), 9);
        assert_eq!(names.find(&key("aa")), Some(9));
    }

    #[test]
    fn a_name_may_fill_the_memory() {
        let mut names = MappedNames::new(ENTRY_BYTES + 2);
        assert_eq!([names.insert(&key("aaa"), 1), names.insert(&key("aa"), 2)], [1, 0]);
        assert_eq!(names.find(&key("aa")), Some(2));
        assert_eq!(names.insert(&key("bb"), 3), 1);
        assert_eq!(["aa", "bb"].map(|text| names.find(&key(text))), [None, Some(3)]);
    }

    #[test]
    fn the_size_of_an_entry_includes_its_share_of_the_hash_table() {
        assert_eq!(ENTRY_BYTES, 32 + 16);
    }

    #[test]
    fn a_name_with_the_same_hash_as_a_removed_one_stays() {
        let mut names = MappedNames::new(10 * (ENTRY_BYTES + 2));
        assert_eq!([names.insert(&key("aa"), 0), names.insert(&key("cc"), 1)], [0, 0]);
        names.retain(|slot| slot == 1);
        assert_eq!(["aa", "cc"].map(|text| names.find(&key(text))), [None, Some(1)]);
    }
}
