//! Puts the tags of a line in order, without decoding it.
//!
//! Lines that differ only in the order of their tags have the same meaning, unless two tags have the same
//! key: then the last one counts.

use super::super::scan::{Marks, find, find_far};
use super::super::split::{Split, word_at};
use crate::sys::lanes::equal_to;

/// Maximum number of tags. Sorting more of them could take longer than decoding, which rejects a line
/// with too many tags early.
const TAGS_MAX: usize = 64;

/// Puts the tags of one line after another in order, in the same memory.
#[derive(Debug)]
pub struct TagOrder {
    line: Vec<u8>,
    tags: [PlacedTag; TAGS_MAX],
}

/// A tag in a line.
#[derive(Clone, Copy, Debug, Default)]
struct PlacedTag {
    key: u64,
    start: u32,
    end: u32,
}

impl Default for TagOrder {
    fn default() -> Self {
        Self { line: Vec::new(), tags: [PlacedTag::default(); TAGS_MAX] }
    }
}

impl TagOrder {
    /// Returns the line with the tags of its first `#` section in an order that depends only on their
    /// keys, split at the same places. `None` if they are in this order already, or if the order may have
    /// a meaning.
    #[must_use]
    pub fn in_order<'s>(&'s mut self, split: &Split<'_>) -> Option<Split<'s>> {
        let line = split.line;
        let start = tags_start(split)?;
        let count = self.sort_tags(line, start)?;
        self.line.clear();
        self.line.extend_from_slice(line);
        let mut place = start;
        for tag in &self.tags[..count] {
            if place > start {
                self.line[place - 1] = b',';
            }
            let text = &line[tag.start as usize..tag.end as usize];
            self.line[place..place + text.len()].copy_from_slice(text);
            place += text.len() + 1;
        }
        Some(split.of_line(&self.line))
    }

    /// Finds the tags of the section from `start`, and sorts them. Returns their number; `None` if they
    /// are sorted already, or if the section is unusual.
    #[inline]
    fn sort_tags(&mut self, line: &[u8], mut start: usize) -> Option<usize> {
        let mut ends = Marks::new(line, start, |lanes| equal_to(lanes, [b',', b':', b'|']));
        let (mut count, mut is_sorted) = (0_usize, true);
        loop {
            // A tag may have the `#` again, which is no part of its key.
            if line.get(start) == Some(&b'#') {
                return None;
            }
            let key_end = ends.next_place();
            let mut end = key_end;
            while line.get(end) == Some(&b':') {
                end = ends.next_place();
            }
            let key = key_number(line, start, key_end);
            let mut place = count;
            while let Some(before) = place.checked_sub(1) {
                let before = *self.tags.get(before)?;
                if before.key < key {
                    break;
                }
                // Of equal keys, the last one counts.
                if before.key == key {
                    return None;
                }
                *self.tags.get_mut(place)? = before;
                place -= 1;
            }
            is_sorted &= place == count;
            *self.tags.get_mut(place)? = PlacedTag { key, start: start as u32, end: end as u32 };
            count += 1;
            if line.get(end) != Some(&b',') {
                return (!is_sorted).then_some(count);
            }
            start = end + 1;
        }
    }
}

/// A number for a key. Equal keys have one number, and nearly all others have another one: those of up to
/// 16 bytes, and those that begin or end with different 8 bytes.
#[inline]
fn key_number(line: &[u8], start: usize, end: usize) -> u64 {
    let first = word_at(line, start).unwrap_or(0);
    match end - start {
        0 => 0,
        length @ 1..8 => first << (64 - 8 * length),
        8 => first,
        _ => word_at(line, end - 8).unwrap_or(0).wrapping_mul(MIXER) ^ first,
    }
}

/// An odd number with as many zeros as ones.
const MIXER: u64 = 0x9e37_79b9_7f4a_7c15;

/// The start of the tags in the first `#` section, after the type. `None` without such a section, and for a
/// set, whose lines are always decoded.
fn tags_start(split: &Split<'_>) -> Option<usize> {
    let line = split.line;
    let kind = split.number_end + 1;
    if line.get(kind) == Some(&b's') {
        return None;
    }
    let mut bar = find(line, kind, [b'|']);
    while bar < line.len() {
        let start = bar + 1;
        if line.get(start) == Some(&b'#') {
            return Some(start + 1);
        }
        bar = find_far(line, start, b'|');
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::split;
    use super::*;

    /// The line with its tags in order.
    fn ordered(order: &mut TagOrder, line: &str) -> Option<String> {
        let mut parts = Split::without_number(line.as_bytes());
        assert!(split(&mut parts, line.find(':').unwrap()), "{line}");
        let pieces = parts.pieces();
        let ordered = order.in_order(&parts)?;
        assert_eq!(ordered.pieces().gaps, pieces.gaps);
        // Not a number in a line with several.
        assert_eq!(ordered.number.to_bits(), parts.number.to_bits());
        assert_eq!(ordered.weight, parts.weight);
        Some(String::from_utf8(ordered.line.to_vec()).unwrap())
    }

    #[test]
    fn different_keys_have_different_numbers() {
        let keys = (0..1_000).flat_map(|number| {
            [
                format!("{number}"),
                format!("k{number:03}"),
                format!("k{number:03}.long.key"),
                format!("a.key.{number:03}"),
                format!("a.long.key.k{number:03}"),
            ]
        });
        let numbers = keys.map(|key| key_number(key.as_bytes(), 0, key.len()));
        assert_eq!(numbers.collect::<HashSet<_>>().len(), 5 * 1_000);
    }

    #[test]
    fn all_orders_of_different_tags_become_one() {
        let mut order = TagOrder::default();
        let tags = ["b:1", "bb:1:2", "c", "long.key.a:", "long.key.b:é", "end.long:1"];
        for (head, tail) in [("m:1|c|#", ""), ("m:1:2|ms|@0.5|#", "|T12"), ("m:1|g|#", "|#b,a|c:x")]
        {
            let mut seen = None;
            let mut changed = 0;
            for first in 0..tags.len() {
                for second in 0..tags.len() {
                    let mut tags = tags;
                    tags.rotate_left(first);
                    tags.swap(0, second);
                    let line = format!("{head}{}{tail}", tags.join(","));
                    let ordered = ordered(&mut order, &line);
                    changed += usize::from(ordered.is_some());
                    let ordered = ordered.unwrap_or(line);
                    assert_eq!(*seen.get_or_insert_with(|| ordered.clone()), ordered);
                }
            }
            assert!(changed >= 30, "{changed}");
        }
    }

    #[test]
    fn tags_whose_order_may_have_a_meaning_stay() {
        let mut order = TagOrder::default();
        for line in [
            "m:1|c",
            "m:1|c|@0.5",
            "m:1|c|#a",
            "m:1|c|#b:1,a:1,b:2",
            "m:1|c|#b:1,a,b",
            "m:1|c|#long.key.b:1,a:1,long.key.b:2",
            "m:1|c|#b:1,,a:1,",
            "m:1|c|#long.key.3.with.parts:1,a:1,long.key.4.with.parts:2",
            "m:1|c|#b:1,#a:1",
            "m:1|c|##b:1,a:1",
            "m:1|s|#b:1,a:1",
        ] {
            assert_eq!(ordered(&mut order, line), None, "{line}");
        }
        for (tags, is_ordered) in [(TAGS_MAX, true), (TAGS_MAX + 1, false)] {
            let tags: Vec<_> = (0..tags).rev().map(|tag| format!("{tag:02}:x")).collect();
            let line = format!("m:1|c|#{}", tags.join(","));
            assert_eq!(ordered(&mut order, &line).is_some(), is_ordered);
        }
    }
}
