use proptest::prelude::*;

use super::*;
use crate::aggregator::seed;
use crate::aggregator::shapes::NumberMeaning;
use crate::protocol::statsd::{read_short, split_short};

const BYTES_MAX: usize = LINES_MAX * LINE_BYTES;

fn table(bytes_max: usize) -> ShortLines {
    ShortLines::new(bytes_max, &mut seed::draw_key())
}

fn target(slot: usize) -> ShapeTarget {
    ShapeTarget { slot: slot as SeriesSlot, meaning: NumberMeaning::Timer }
}

fn insert(table: &mut ShortLines, line: &str, slot: usize) {
    let mark = line.find(':').unwrap_or(line.len());
    if let Some(line) = split_short(line.as_bytes(), mark) {
        table.insert(&line, target(slot));
    }
}

/// The slot of the first line of this text, and the rest of the text.
fn find<'t>(table: &mut ShortLines, text: &'t str) -> Option<(usize, &'t str)> {
    let line = read_short(text.as_bytes(), 0)?;
    let FoundLine { target, tail_bytes } = table.find(&line)?;
    let rest = text.get(line.tail_start + tail_bytes..).unwrap_or_default();
    assert_eq!(target.meaning, NumberMeaning::Timer);
    Some((target.slot as usize, rest))
}

#[test]
fn a_line_is_found_by_the_bytes_around_its_number() {
    let rest = "another.line.that.follows:1|c";
    let names = ["a", "abc", "abcdefgh", "api.requests.web", "api.requests.web-1234567.total"];
    for (name, kind) in names.iter().flat_map(|name| ["|c", "|ms", "|"].map(|kind| (name, kind))) {
        let mut known = table(1 << 20);
        let line = format!("{name}:12{kind}");
        insert(&mut known, &line, 7);
        insert(&mut known, &format!("{name}:12|g"), 8);
        let mut find = |line: &str| {
            let text = format!("{line}\n{rest}");
            find(&mut known, &text).map(|(slot, found_rest)| (slot, found_rest == rest))
        };
        for (number, slot) in [("12", kind, 7), ("7.5", kind, 7), ("0", "|g", 8)]
            .map(|(number, kind, slot)| (format!("{number}{kind}"), slot))
        {
            assert_eq!(find(&format!("{name}:{number}")), Some((slot, true)), "{line}");
        }
        for around in
            [format!(" {line}"), format!("{line} "), format!("{line}\r"), format!("{line}|")]
        {
            assert_eq!(find(&around), None, "{around:?}");
        }
        for place in 0..name.len() {
            let mut other = line.clone();
            other.replace_range(place..=place, "~");
            assert_eq!(find(&other), None, "{other:?}");
        }
    }
}

#[test]
fn the_last_line_needs_no_line_end() {
    let mut known = table(1 << 20);
    let line = "api.requests.web-1:1|c";
    insert(&mut known, line, 3);
    for text in [line.to_owned(), format!("{line}\n")] {
        assert_eq!(find(&mut known, &text), Some((3, "")), "{text:?}");
    }
    assert_eq!(find(&mut known, &line[..line.len() - 1]), None, "it is cut");
}

#[test]
fn a_name_or_an_end_that_is_too_long_is_not_added() {
    let mut known = table(1 << 20);
    let longest = "x".repeat(NAME_MAX - 1);
    insert(&mut known, &format!("{longest}:1|c"), 1);
    insert(&mut known, &format!("{longest}x:1|c"), 2);
    insert(&mut known, "a name of some length:1|abc", 3);
    assert_eq!(known.lines.len(), 1);
    assert_eq!(find(&mut known, &format!("{longest}:1|c\n")), Some((1, "")));
}

fn line(number: usize) -> String {
    format!("a.name.of.series-{number}:1|c")
}

/// The slot of the line with this number.
fn slot(table: &mut ShortLines, number: usize) -> Option<usize> {
    find(table, &line(number)).map(|(slot, _)| slot)
}

#[test]
fn nearly_all_lines_of_a_growing_table_are_found() {
    let mut known = table(BYTES_MAX);
    for count in [10, 1_000, LINES_MAX - 200] {
        (0..count).for_each(|number| insert(&mut known, &line(number), number));
        let missed = (0..count).filter(|number| {
            let found = slot(&mut known, *number);
            assert!(found.is_none_or(|found| found == *number));
            found.is_none()
        });
        assert!(missed.count() <= 2 + count * 3 / 100, "{count}");
        assert!(known.bytes() <= (2 * count).max(LINES_MIN) * LINE_BYTES, "{count}");
    }
    assert_eq!((known.bytes(), known.bytes_max()), (BYTES_MAX, BYTES_MAX));
}

#[test]
fn nearly_all_lines_are_found_wherever_their_names_differ() {
    // A weak hash fails with some keys only.
    let places =
        [(0, 31), (5, 31), (8, 31), (13, 31), (16, 31), (21, 31), (24, 31), (28, 31), (16, 19)];
    for (place, length) in places.into_iter().cycle().take(10 * places.len()) {
        let mut known = table(BYTES_MAX);
        let lines: Vec<_> = (0..1_000)
            .map(|number| format!("{:.<place$}{number:.<width$}:1|c", "", width = length - place))
            .collect();
        lines.iter().enumerate().for_each(|(slot, line)| insert(&mut known, line, slot));
        let found = lines.iter().filter(|line| find(&mut known, line).is_some()).count();
        assert!(found >= 960, "{found} of those that differ from byte {place} on");
    }
}

/// Inverts the two lowest bits of a byte.
fn with_other_byte(text: &[u8], place: usize) -> Vec<u8> {
    let mut text = text.to_vec();
    text[place] ^= 3;
    text
}

#[test]
fn differences_do_not_cancel_each_other() {
    let kept = |before: &[u8], after: &[u8]| {
        KeptLine::of(&ShortSplit { before, after, number: 1.0 }, target(1)).unwrap()
    };
    let (name, tail) = ([b'x'; NAME_MAX], u32::from_le_bytes(*b"|c\na"));
    let known = kept(&name, b"|c");
    let is_it = |name: &[u8], tail: u32| known.is_it(&NameWords::of(name).unwrap(), tail);
    assert!(is_it(&name, tail) && is_it(&name, tail ^ 3 << 24), "the next line has any bytes");
    assert!(!is_it(&name, tail ^ 3));
    for first in 0..NAME_MAX {
        let other = with_other_byte(&name, first);
        assert!(!is_it(&other, tail) && !is_it(&other, tail ^ 3), "{first}");
        for second in first + 1..NAME_MAX {
            assert!(!is_it(&with_other_byte(&other, second), tail), "{first} {second}");
        }
    }
    // Names whose lengths differ by 1 or 3, inverted bits, and which otherwise have the same words.
    let known = kept(&name[..17], b"|c");
    let is_it = |name: &[u8], tail: u32| known.is_it(&NameWords::of(name).unwrap(), tail);
    assert!(is_it(&name[..17], tail));
    let longer = &name[..18];
    assert!(!is_it(longer, tail) && !is_it(longer, tail ^ 3));
    assert!(!is_it(&with_other_byte(longer, 0), tail));
}

#[test]
fn a_line_is_added_once() {
    let mut known = table(1 << 20);
    (0..100).for_each(|_| insert(&mut known, &line(1), 1));
    assert_eq!(known.lines.len(), 1);
}

#[test]
fn lines_in_a_full_table_make_room_when_others_come_often() {
    let mut known = table(4 * LINE_BYTES + 1);
    assert_eq!(known.bytes_max(), 4 * LINE_BYTES);
    let mut number = 0;
    while known.lines.len() < 4 {
        insert(&mut known, &line(number), number);
        number += 1;
    }
    let new = line(number);
    for _ in 0..8 * 4 {
        assert_eq!(find(&mut known, &new), None);
        insert(&mut known, &new, number);
    }
    assert_eq!(find(&mut known, &new), Some((number, "")));
    assert!(known.bytes() <= known.bytes_max());
}

#[test]
fn a_table_without_room_adds_nothing() {
    let mut known = table(LINE_BYTES - 1);
    (0..100).for_each(|number| insert(&mut known, &line(number), number));
    assert_eq!((find(&mut known, &line(1)), known.bytes()), (None, 0));
}

#[test]
fn lines_of_freed_slots_are_removed() {
    let mut known = table(1 << 20);
    (0..500).for_each(|number| insert(&mut known, &line(number), number));
    let bytes = known.bytes();
    known.retain(|slot| slot % 2 == 0);
    assert_eq!(known.bytes(), bytes);
    let found: Vec<_> = (0..500).filter_map(|number| slot(&mut known, number)).collect();
    assert!(found.len() > 240 && found.iter().all(|slot| slot % 2 == 0), "{}", found.len());
    known.clear();
    assert_eq!((find(&mut known, &line(2)), known.bytes()), (None, 0));
    insert(&mut known, &line(2), 7);
    assert_eq!(find(&mut known, &line(2)), Some((7, "")));
}

#[test]
fn lines_of_another_kind_are_rarely_tried() {
    let mut known = table(1 << 20);
    insert(&mut known, &line(1), 1);
    let tries = |known: &mut ShortLines| (0..640).filter(|_| known.expects_known()).count();
    assert_eq!(tries(&mut known), 8 + 9);
    assert_eq!(find(&mut known, &line(1)), Some((1, "")));
    assert_eq!(tries(&mut known), 8 + 9);
    insert(&mut known, &line(2), 2);
    assert_eq!(tries(&mut known), 8 + 9);
}

proptest! {
    #[test]
    fn only_equal_lines_are_found(
        one in "[ab]{1,34}", other in "[ab]{1,34}", kind in "[|c]{0,3}", other_kind in "[|c]{0,3}",
    ) {
        let mut known = table(1 << 20);
        insert(&mut known, &format!("{one}:1|{kind}"), 1);
        let text = format!("{other}:2|{other_kind}\nmore.bytes.of.a.line:3|c");
        let is_equal = one == other && kind == other_kind;
        prop_assert_eq!(find(&mut known, &text).is_some(), is_equal && known.lines.len() == 1);
    }
}
