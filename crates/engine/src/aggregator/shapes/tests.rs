use super::short_lines::LINES_MAX;
use super::*;
use crate::protocol::SampleValue;
use crate::protocol::statsd::{read_short, split_short};

fn split(line: &str) -> Option<Split<'_>> {
    let start = line.find(':').map_or(line.len(), |colon| colon + 1);
    if start == line.len() {
        return Some(Split::without_number(line.as_bytes()));
    }
    Split::at_number(line.as_bytes(), start, true)
}

fn known(slot: SeriesSlot) -> KnownLine {
    KnownLine { slot, meaning: NumberMeaning::Counter, weight: 1.0 }
}

fn learn(shapes: &mut Shapes, line: &str, slot: SeriesSlot) {
    let split = split(line).unwrap();
    shapes.learn(shapes.start_lookup(&split), &split, known(slot));
}

fn find(shapes: &mut Shapes, line: &str) -> Option<SeriesSlot> {
    let split = split(line).unwrap();
    let mut lookup = shapes.start_lookup(&split);
    shapes.start_finding();
    shapes.find_candidate(&mut lookup);
    shapes.finish_lookup(lookup, split.weight).map(|known| known.slot)
}

#[test]
fn a_line_that_differs_only_in_its_number_is_known() {
    let mut shapes = Shapes::new(1 << 20);
    learn(&mut shapes, "a:1|c", 7);
    for (line, slot) in [
        ("a:1|c", Some(7)),
        ("a:25.5|c", Some(7)),
        ("a:-3|c", Some(7)),
        ("a:1|g", None),
        ("b:1|c", None),
        ("a:1|c ", None),
        ("aa:1|c", None),
        ("a:1", None),
        ("a", None),
    ] {
        assert_eq!(find(&mut shapes, line), slot, "{line}");
    }
}

#[test]
fn a_line_without_a_number_is_known_as_a_whole() {
    let mut shapes = Shapes::new(1 << 20);
    learn(&mut shapes, "abc", 1);
    assert_eq!(find(&mut shapes, "abc"), Some(1));
    assert_eq!(find(&mut shapes, "abd"), None);
}

#[test]
fn a_long_line_is_known_and_one_that_is_too_long_is_not() {
    let mut shapes = Shapes::new(1 << 20);
    for length in [300, 5_000, LINE_BYTES_MAX, 70] {
        let line = "x".repeat(length);
        assert_eq!(find(&mut shapes, &line), None);
        learn(&mut shapes, &line, 1);
        assert_eq!(find(&mut shapes, &line), Some(1), "{length}");
    }
    let line = "x".repeat(LINE_BYTES_MAX + 1);
    learn(&mut shapes, &line, 1);
    assert_eq!(find(&mut shapes, &line), None);
}

#[test]
fn lines_learned_between_two_steps_of_a_lookup_do_not_disturb_it() {
    let mut shapes = Shapes::new(1 << 20);
    learn(&mut shapes, "a:1|c", 1);
    let lines: Vec<String> = (0..5_000).map(|n| format!("m{n}:1|c")).collect();
    let known = split("a:2|c").unwrap();
    let unknown = split("m7:2|c").unwrap();
    let mut lookups = [&known, &unknown].map(|split| shapes.start_lookup(split));
    shapes.start_finding();
    for lookup in &mut lookups {
        shapes.find_candidate(lookup);
    }
    for (slot, line) in lines.iter().enumerate() {
        learn(&mut shapes, line, slot as SeriesSlot);
    }
    // Longer than the known line.
    learn(&mut shapes, &"x".repeat(200), 1);
    let [of_known, of_unknown] = lookups;
    assert_eq!(shapes.finish_lookup(of_known, 1.0).map(|known| known.slot), Some(1));
    assert_eq!(shapes.finish_lookup(of_unknown, 1.0).map(|known| known.slot), Some(7));
    shapes.retain(|_| false);
    assert_eq!(shapes.finish_lookup(of_known, 1.0), None);
}

#[test]
fn a_line_is_cached_only_with_the_weight_that_its_rate_gives() {
    let mut shapes = Shapes::new(1 << 20);
    for (meaning, weight, is_learned) in [
        (NumberMeaning::Counter, 1.0, true),
        (NumberMeaning::Timer, 2.0, false),
        (NumberMeaning::Gauge, 2.0, true),
        (NumberMeaning::Trace, 2.0, true),
    ] {
        let line = format!("{meaning:?}:1");
        let split = split(&line).unwrap();
        let known = KnownLine { slot: 3, meaning, weight };
        shapes.learn(shapes.start_lookup(&split), &split, known);
        assert_eq!(find(&mut shapes, &line), is_learned.then_some(3), "{line}");
    }
}

#[test]
fn shapes_of_freed_slots_are_removed() {
    let mut shapes = Shapes::new(1 << 20);
    let line = |slot| format!("m{slot:03}:1|c");
    (0..1_000).for_each(|slot| learn(&mut shapes, &line(slot), slot));
    shapes.retain(|slot| slot % 2 == 0);
    let found: Vec<_> = (0..1_000).filter_map(|slot| find(&mut shapes, &line(slot))).collect();
    assert!(found.iter().all(|slot| slot % 2 == 0));
    assert!(found.len() > 495, "{}", found.len());
    assert_eq!(shapes.index.len(), found.len());
}

#[test]
fn a_candidate_is_the_slot_of_a_line_in_its_first_bucket() {
    let mut shapes = Shapes::new(1 << 20);
    learn(&mut shapes, "a:1|c", 7);
    let mut lookups = ["a:2|c", "b:2|c"].map(|line| shapes.start_lookup(&split(line).unwrap()));
    shapes.start_finding();
    let candidates = lookups.each_mut().map(|lookup| shapes.find_candidate(lookup));
    assert_eq!(candidates, [Some(7), None]);
}

#[test]
fn short_lines_are_known_by_their_bytes_while_there_are_few_lines() {
    let mut shapes = Shapes::new(4 << 20);
    let line = "a.short.line:1|c";
    let remember = |shapes: &mut Shapes| {
        let split = split_short(line.as_bytes(), line.find(':').unwrap()).unwrap();
        assert_eq!(shapes.find_short(&split), Some((7, NumberMeaning::Counter)));
    };
    let is_known = |shapes: &mut Shapes| {
        shapes.find_by_bytes(&read_short(line.as_bytes(), 0).unwrap()) == Some((known(7), 3))
    };
    let mut numbers = 0..;
    let mut learn_until = |shapes: &mut Shapes, count: usize| {
        while shapes.len() < count {
            learn(shapes, &format!("m{}:1|c", numbers.next().unwrap()), 1);
        }
    };
    learn(&mut shapes, line, 7);
    assert!(!is_known(&mut shapes), "it came once");
    remember(&mut shapes);
    learn_until(&mut shapes, LINES_MAX);
    assert!(is_known(&mut shapes));
    for more in 1..=2 {
        learn_until(&mut shapes, LINES_MAX + more);
        assert!(!is_known(&mut shapes), "there are {more} too many");
        remember(&mut shapes);
        assert!(is_known(&mut shapes));
    }
}

#[test]
fn lines_are_rarely_looked_for_by_their_bytes_if_those_that_come_are_not_known() {
    let mut shapes = Shapes::new(4 << 20);
    assert!(!shapes.expects_known_bytes(), "there is no line");
    for _ in 0..2 {
        let line = "a.short.line:1|c";
        learn(&mut shapes, line, 7);
        shapes.find_short(&split_short(line.as_bytes(), line.find(':').unwrap()).unwrap());
    }
    assert!(shapes.expects_known_bytes());
    let tries = (0..1_000).filter(|_| shapes.expects_known_bytes()).count();
    assert!((10..50).contains(&tries), "{tries}");
}

#[test]
fn values_whose_number_depends_on_nothing_else_have_a_meaning() {
    use NumberMeaning::{Counter, Gauge, Timer, Trace};
    for (value, meaning) in [
        (SampleValue::Counter(1.0), Some(Counter)),
        (SampleValue::GaugeSet(1.0), Some(Gauge)),
        (SampleValue::Timer(1.0), Some(Timer)),
        (SampleValue::Trace, Some(Trace)),
        (SampleValue::Total { added: 1.0, total: 2.0 }, None),
        (SampleValue::GaugeAdd(1.0), None),
    ] {
        assert_eq!(NumberMeaning::of(&value), meaning, "{value:?}");
        assert!(meaning.is_none_or(|meaning| meaning.kind() == value.kind()), "{value:?}");
    }
}

#[test]
fn the_number_of_shapes_is_shown() {
    let mut shapes = Shapes::new(1 << 20);
    learn(&mut shapes, "a:1|c", 7);
    learn(&mut shapes, "b:1|c", 8);
    assert_eq!(format!("{shapes:?}"), "Shapes(2)");
}

#[test]
fn without_room_nothing_is_learned() {
    assert!(Shapes::new(1 << 20).is_enabled());
    let mut shapes = Shapes::new(0);
    assert!(!shapes.is_enabled());
    learn(&mut shapes, "a:1|c", 7);
    assert_eq!(find(&mut shapes, "a:1|c"), None);
}
