//! The slots of a listener's series.

use model::MetricKind;

use super::*;
use crate::aggregator::AggregationConfig;
use crate::aggregator::cell::Cell;
use crate::aggregator::identity::{AgentConfig, Identifier};
use crate::protocol::split::Split;
use crate::protocol::statsd::{read_short, split_short};

struct Bench {
    identifier: Arc<Identifier>,
    registry: Registry,
    table: SeriesTable,
}

fn bench(max_series: usize) -> Bench {
    let config = AggregationConfig { max_series, ..AggregationConfig::default() };
    let identifier = Arc::new(Identifier::new(&AgentConfig::default()));
    let registry = Registry::new(&config, Arc::clone(&identifier));
    let table = SeriesTable::new(config.cells(None), 1 << 20);
    Bench { identifier, registry, table }
}

impl Bench {
    fn record(&mut self, name: &str, value: &SampleValue<'_>) -> Option<SeriesSlot> {
        let identity = self.identifier.identify(value.kind(), name, &[]);
        self.table.record(&identity, value, 1.0, 0, &self.registry)
    }

    /// The cells of the window.
    fn cells(self) -> Vec<(SeriesSlot, Cell)> {
        let mut cells = Vec::new();
        self.table.into_tally().drain(|slot, cell| cells.push((slot, cell)));
        cells
    }
}

#[test]
fn a_running_total_stays_one_unless_its_series_overflows() {
    let total = SampleValue::Total { added: 2.0, total: 502.0 };
    let mut bench = bench(1);
    assert_eq!([(); 2].map(|()| bench.record("m", &total)), [Some(0), Some(0)]);
    assert_eq!(bench.record("other", &total), None);
    assert_eq!(bench.record("another", &total), None);
    let [(0, Cell::Total { samples: 2, .. }), (1, Cell::Counter { .. }), (2, Cell::Counter { .. })] =
        bench.cells()[..]
    else {
        panic!("a total, and the increments of two that overflowed");
    };
}

#[test]
fn samples_that_overflow_share_the_slot_of_their_overflow_series() {
    let mut bench = bench(0);
    for name in ["m", "n", "m", "n", "n"] {
        assert_eq!(bench.record(name, &SampleValue::Trace), None);
    }
    assert_eq!(bench.table.series_count(), 2);
    let counts: Vec<_> = bench.cells().iter().map(|(slot, cell)| (*slot, cell.samples())).collect();
    assert_eq!(counts, [(0, 2), (1, 3)]);
}

#[test]
fn series_with_equal_hashes_have_their_own_slots() {
    let mut bench = bench(10);
    for name in ["one", "other", "one"] {
        let identity = bench.identifier.identify(MetricKind::Trace, name, &[]);
        let identity = Identity { hash: 7, ..identity };
        bench.table.record(&identity, &SampleValue::Trace, 1.0, 0, &bench.registry);
    }
    let counts: Vec<_> = bench.cells().iter().map(|(slot, cell)| (*slot, cell.samples())).collect();
    assert_eq!(counts, [(0, 2), (1, 1)]);
}

#[test]
fn an_expired_series_leaves_nothing_in_the_table() {
    let mut bench = bench(10);
    bench.record("m", &SampleValue::Trace);
    bench.record("n", &SampleValue::Trace);
    let mut spare = Box::<Tally>::default();
    spare.expired.push(0);
    let filled = bench.table.replace_tally(spare);
    assert_eq!(filled.new_series.len(), 2);
    assert_eq!(bench.table.series_count(), 1);
    assert_eq!(bench.table.index.iter().collect::<Vec<_>>(), [&1]);
    assert_eq!(bench.record("n", &SampleValue::Trace), Some(1));
    assert_eq!(bench.record("another", &SampleValue::Trace), Some(0), "the slot is free again");
}

#[test]
fn other_settings_apply_to_the_next_sample() {
    let mut bench = bench(10);
    let few = AggregationConfig { exact_samples: 1, ..AggregationConfig::default() };
    bench.table.reconfigure(few.cells(None), 1 << 20);
    for _ in 0..3 {
        bench.record("m", &SampleValue::Timer(1.0));
    }
    let Some((0, Cell::Timer(timer))) = bench.cells().pop() else { panic!("a timer") };
    assert!(!timer.is_exact(), "one value is kept, not three");
}

#[test]
fn a_line_that_was_learned_is_known_as_long_as_the_settings_stay() {
    let mut bench = bench(10);
    let split = Split::at_number(b"m:1|c", 2, true).unwrap();
    let slot = bench.record("m", &SampleValue::Counter(1.0)).unwrap();
    let learned = KnownLine { slot, meaning: NumberMeaning::Counter, weight: 1.0 };
    let table = &mut bench.table;
    assert!(table.has_line_cache());
    let lookup = table.shapes().start_lookup(&split);
    assert_eq!(table.known_line(lookup, 1.0), None);
    assert!(table.shapes().is_empty());
    table.shapes().learn(lookup, &split, learned);
    assert_eq!((table.shapes().len(), table.shapes().is_empty()), (1, false));
    let mut lookup = table.shapes().start_lookup(&split);
    table.start_finding();
    table.find_shape(&mut lookup);
    let known = table.known_line(lookup, 1.0);
    assert_eq!(known, Some(learned));
    assert!(table.record_known(learned, 41.0, 0));
    table.reconfigure(AggregationConfig::default().cells(None), 0);
    assert!(!table.has_line_cache());
    assert_eq!(table.known_line(lookup, 1.0), None);
    let Some((0, Cell::Counter { sum, .. })) = bench.cells().pop() else { panic!("a counter") };
    assert_eq!(sum.value(), 42.0);
}

#[test]
fn a_short_line_that_comes_again_is_recorded_by_its_bytes() {
    let mut bench = bench(10);
    let slot = bench.record("a.counter", &SampleValue::Counter(1.0)).unwrap();
    let table = &mut bench.table;
    let line = b"a.counter:5|c\na.counter:7|c";
    let (first, colon) = (&line[..13], 9);
    let split = Split::at_number(first, colon + 1, true).unwrap();
    let known = KnownLine { slot, meaning: NumberMeaning::Counter, weight: 1.0 };
    let lookup = table.shapes().start_lookup(&split);
    table.shapes().learn(lookup, &split, known);
    let by_bytes = [0, 14].map(|start| read_short(line, start).unwrap());
    assert_eq!(table.record_by_bytes(&by_bytes[0], 0), None);
    assert_eq!(table.record_short(&split_short(first, colon).unwrap(), 0), Some(true));
    assert_eq!(by_bytes.map(|line| table.record_by_bytes(&line, 0)), [Some((true, 3)); 2]);
    let Some((0, Cell::Counter { sum, .. })) = bench.cells().pop() else { panic!("a counter") };
    assert_eq!(sum.value(), 18.0);
}

/// A bench whose lines these rules change.
fn ruled(rules: &str) -> Bench {
    let mut bench = bench(100);
    bench.table.set_rules(table_rules(rules));
    bench
}

fn table_rules(rules: &str) -> TableRules {
    let rules = crate::testing::recorder::rules(&format!("rules:\n{rules}"));
    TableRules { rules, protocol: Protocol::Statsd, cache_bytes: 1 << 20 }
}

impl Bench {
    /// Records a line without tags, and returns its place and whether it was recorded.
    fn line(&mut self, name: &str, value: &SampleValue<'_>) -> (SeriesPlace, bool) {
        let Self { identifier, registry, table } = self;
        let no_tags: &[crate::protocol::TextTag<'_>] = &[];
        let place = table.locate_message(identifier, (value.kind(), name), no_tags, registry);
        (place, table.record_in(place, value, 1.0, 0))
    }

    fn name_of(&self, place: SeriesPlace) -> &str {
        self.table.series(place.slot).map_or("", |series| series.name())
    }

    /// Where a counter's name leads without another look at the rules.
    fn remembered(&mut self, name: &str) -> Option<SeriesSlot> {
        let SeriesTable { text, mapped, .. } = &mut self.table;
        let no_tags: &[crate::protocol::TextTag<'_>] = &[];
        let key = self.identifier.key_of_message(MetricKind::Counter, name, no_tags, text);
        mapped.find(&key)
    }

    /// Passes on the tally, and gets another one back that says that this slot has expired.
    fn expire(&mut self, slot: SeriesSlot) {
        let _filled = self.table.replace_tally(Box::default());
        let mut back = Box::<Tally>::default();
        back.expired.push(slot);
        let _empty = self.table.replace_tally(back);
    }
}

#[test]
fn names_that_rules_make_the_same_share_a_cell() {
    let mut bench = ruled("- { match: a.*, name: b }\n- { match: b, name: c }\n");
    let places = ["a.x", "a.y", "a.x", "b", "b", "c"].map(|name| {
        let (place, is_recorded) = bench.line(name, &SampleValue::Trace);
        assert!(is_recorded);
        (bench.name_of(place).to_owned(), place.slot)
    });
    let [first, .., last] = &places;
    assert_eq!(places[..3], [(); 3].map(|()| first.clone()), "one series");
    assert_eq!((&*first.0, &*last.0), ("b", "c"));
    assert_eq!(places[3..], [(); 3].map(|()| last.clone()), "the sent name `b` leads elsewhere");
    let samples: Vec<_> = bench.cells().iter().map(|(_, cell)| cell.samples()).collect();
    assert_eq!(samples, [3, 3]);
}

#[test]
fn a_line_is_known_from_its_second_value_on() {
    for rules in
        ["- { match: b, name: c }\n", "- { match: a, name: c }\n", "- { match: a, drop: true }\n"]
    {
        let mut bench = ruled(rules);
        let was_known =
            ["a", "a", "d", "a"].map(|name| bench.line(name, &SampleValue::Trace).0.was_known);
        assert_eq!(was_known, [false, true, false, true], "{rules}");
    }
}

#[test]
fn only_the_first_dropped_line_of_a_series_is_new() {
    let mut bench = ruled("- { match: a.*, drop: true }\n");
    let rejected = ["a.x", "a.x", "a.y", "a.y"].map(|name| {
        let (place, is_recorded) = bench.line(name, &SampleValue::Trace);
        assert!(!is_recorded && bench.table.series(place.slot).is_none());
        let reason = bench.table.rejection().map(|rejection| rejection.reason);
        assert_eq!(reason, Some(crate::protocol::RejectReason::Rule));
        place.is_rejected
    });
    assert_eq!(rejected, [true, false, true, false]);
    assert_eq!(bench.table.series_count(), 0);
}

#[test]
fn other_rules_lead_known_names_elsewhere() {
    let mut bench = ruled("- { match: a, name: b, scale: 2 }\n");
    let value = SampleValue::Counter(1.0);
    let mut names = Vec::new();
    for rules in ["", "- { match: a, name: c }\n", "- { match: x }\n"] {
        let (place, _) = bench.line("a", &value);
        names.push(bench.name_of(place).to_owned());
        bench.table.reconfigure(AggregationConfig::default().cells(None), 1 << 20);
        match rules {
            "" => bench.table.set_rules(TableRules::none()),
            rules => bench.table.set_rules(table_rules(rules)),
        }
    }
    let (place, _) = bench.line("a", &value);
    names.push(bench.name_of(place).to_owned());
    assert_eq!(names, ["b", "a", "c", "a"]);
    let sums: Vec<_> = bench.cells().iter().map(|(_, cell)| cell.samples()).collect();
    assert_eq!(sums, [1, 2, 1], "the samples of each series stay in its cell");
}

#[test]
fn a_slot_that_multiplies_ends_with_the_series() {
    let mut bench = ruled("- { match: \"a.*\", name: b, scale: 2 }\n");
    let (place, _) = bench.line("a.x", &SampleValue::Counter(1.0));
    assert!(bench.table.redirects.get(place.slot).is_some());
    let slot = bench.table.redirects.get(place.slot).unwrap().slot;
    bench.expire(slot);
    assert_eq!(bench.table.redirects.get(place.slot), None);
    let (again, is_recorded) = bench.line("a.y", &SampleValue::Counter(1.0));
    assert!(is_recorded);
    assert_eq!(bench.name_of(again), "b");
}

#[test]
fn only_names_that_rules_change_are_remembered() {
    let mut bench = ruled(
        "- { match: named, name: n }\n- { match: doubled, scale: 2 }\n- { match: gone, drop: true }\n",
    );
    let [named, doubled, gone, kept] = ["named", "doubled", "gone", "kept"]
        .map(|name| bench.line(name, &SampleValue::Counter(1.0)).0.slot);
    let names = ["named", "doubled", "gone", "kept"];
    let expected = [Some(named), Some(doubled), Some(gone), None];
    assert_eq!(names.map(|name| bench.remembered(name)), expected);
    // All but the names of an expired series stay.
    bench.expire(kept);
    assert_eq!(names.map(|name| bench.remembered(name)), expected);
    bench.expire(named);
    assert_eq!(bench.remembered("named"), None);
    assert_eq!(bench.registry.forgotten_names(), 0);
}

#[test]
fn names_without_room_are_counted() {
    let mut bench = bench(100);
    let rules = table_rules("- { match: a, name: b }\n");
    bench.table.set_rules(TableRules { cache_bytes: 0, ..rules });
    for _ in 0..3 {
        let (place, is_recorded) = bench.line("a", &SampleValue::Counter(1.0));
        assert!(is_recorded);
        assert_eq!(bench.name_of(place), "b");
    }
    assert_eq!(bench.registry.forgotten_names(), 3);
}

#[test]
fn a_table_is_small_up_to_8192_series() {
    let mut bench = bench(10_000);
    for number in 0..8_192 {
        assert!(bench.record(&number.to_string(), &SampleValue::Trace).is_some());
    }
    assert!(bench.table.is_small());
    assert!(bench.record("one more", &SampleValue::Trace).is_some());
    assert!(!bench.table.is_small());
}
