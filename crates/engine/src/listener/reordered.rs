//! Recognises statsd lines whose tags come in another order.
//!
//! A client that keeps tags in a hash table writes them in any order, so that many of its lines are new to
//! the line cache. If a series has lines that differ, one of them is also learned with its tags in order.
//! A line that is not known is looked up in this form, too, before it is decoded.

use crate::aggregator::shapes::{KnownLine, ShapeLookup};
use crate::aggregator::table::SeriesTable;
use crate::protocol::split::Split;
use crate::protocol::statsd::TagOrder;

/// Lines that are looked up in vain after the latest success. Where lines are new for another reason,
/// another lookup of each would gain nothing.
const FAILURES_MAX: u32 = 64;
/// One in this many found lines is learned as it is, because some clients use few orders. With many tags
/// and any order, nearly no line ever comes again.
const LEARN_ONE_IN: u32 = 16;

/// Looks up lines with their tags in order.
#[derive(Debug, Default)]
pub(super) struct ReorderedLines {
    order: TagOrder,
    /// The lookups that may still fail.
    attempts: u32,
    found: u32,
}

impl ReorderedLines {
    /// Returns the properties of a line that is known only with its tags in order. `lookup` is that of the
    /// line as it is.
    #[inline]
    pub(super) fn find(
        &mut self,
        split: &Split<'_>,
        lookup: ShapeLookup,
        table: &mut SeriesTable,
    ) -> Option<KnownLine> {
        if self.attempts == 0 {
            return None;
        }
        let ordered = table.shapes().start_lookup(&self.order.in_order(split)?);
        let Some(known) = table.known_line(ordered, split.weight) else {
            self.attempts -= 1;
            return None;
        };
        self.attempts = FAILURES_MAX;
        self.found = self.found.wrapping_add(1);
        // In a full cache, it would displace a line that comes again as it is.
        if self.found.is_multiple_of(LEARN_ONE_IN) && table.shapes().has_room() {
            table.shapes().learn(lookup, split, known);
        }
        Some(known)
    }

    /// Learns a line of a series that has other lines, with its tags in order.
    pub(super) fn learn(&mut self, split: &Split<'_>, known: KnownLine, table: &mut SeriesTable) {
        let shapes = table.shapes();
        if shapes.has_room()
            && let Some(ordered) = self.order.in_order(split)
        {
            shapes.learn(shapes.start_lookup(&ordered), &ordered, known);
            self.attempts = FAILURES_MAX;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregator::AggregationConfig;
    use crate::aggregator::shapes::NumberMeaning;
    use crate::protocol::statsd;

    const KNOWN: KnownLine = KnownLine { slot: 3, meaning: NumberMeaning::Counter, weight: 1.0 };
    const LEARNED: &str = "m:1|c|#b:1,a:2,c";
    const OTHER_ORDER: &str = "m:7|c|#c,b:1,a:2";

    fn table(line_cache: usize) -> SeriesTable {
        SeriesTable::new(AggregationConfig::default().cells(None), line_cache)
    }

    fn split(line: &str) -> Split<'_> {
        let mut split = Split::without_number(line.as_bytes());
        assert!(statsd::split(&mut split, line.find(':').unwrap()), "{line}");
        split
    }

    fn find(lines: &mut ReorderedLines, line: &str, table: &mut SeriesTable) -> bool {
        let split = split(line);
        let lookup = table.shapes().start_lookup(&split);
        let known = lines.find(&split, lookup, table);
        known.inspect(|known| assert_eq!(*known, KNOWN)).is_some()
    }

    fn is_known(line: &str, table: &mut SeriesTable) -> bool {
        let lookup = table.shapes().start_lookup(&split(line));
        table.known_line(lookup, 1.0).is_some()
    }

    #[test]
    fn a_line_is_found_whatever_the_order_of_its_tags() {
        let (mut lines, mut table) = (ReorderedLines::default(), table(1 << 20));
        assert!(!find(&mut lines, OTHER_ORDER, &mut table));
        lines.learn(&split(LEARNED), KNOWN, &mut table);
        for tags in ["b:1,a:2,c", "b:1,c,a:2", "c,a:2,b:1", "c,b:1,a:2", "a:2,c,b:1"] {
            assert!(find(&mut lines, &format!("m:5|c|#{tags}"), &mut table), "{tags}");
        }
        // This is the order in which it was learned.
        assert!(is_known("m:5|c|#a:2,b:1,c", &mut table));
        for line in ["m:5|c|#c,b:2,a:1", "m:5|g|#c,b:1,a:2", "n:5|c|#c,b:1,a:2", "m:5|c|#b:1,a:2"] {
            assert!(!find(&mut lines, line, &mut table), "{line}");
        }
    }

    #[test]
    fn lookups_stop_after_many_failures_until_another_line_is_learned() {
        let (mut lines, mut table) = (ReorderedLines::default(), table(1 << 20));
        lines.learn(&split(LEARNED), KNOWN, &mut table);
        for is_found in [true, false, true] {
            assert_eq!(find(&mut lines, OTHER_ORDER, &mut table), is_found);
            for _ in 0..FAILURES_MAX {
                assert!(!find(&mut lines, "m:5|c|#c,b:3,a:4", &mut table));
            }
            if !is_found {
                lines.learn(&split(LEARNED), KNOWN, &mut table);
            }
        }
    }

    #[test]
    fn an_order_that_comes_often_is_learned() {
        let (mut lines, mut table) = (ReorderedLines::default(), table(1 << 20));
        lines.learn(&split(LEARNED), KNOWN, &mut table);
        for _ in 0..LEARN_ONE_IN {
            assert!(!is_known(OTHER_ORDER, &mut table));
            assert!(find(&mut lines, OTHER_ORDER, &mut table));
        }
        assert!(is_known(OTHER_ORDER, &mut table));
    }

    #[test]
    fn a_full_cache_keeps_its_lines() {
        let (mut lines, mut table) = (ReorderedLines::default(), table(16 << 10));
        lines.learn(&split(LEARNED), KNOWN, &mut table);
        assert!(find(&mut lines, OTHER_ORDER, &mut table));
        for number in 0..2_000 {
            let line = format!("m{number}:1|c");
            let split = split(&line);
            let lookup = table.shapes().start_lookup(&split);
            table.shapes().learn(lookup, &split, KNOWN);
        }
        // One in eight lines could displace another one.
        for _ in 0..16 * LEARN_ONE_IN {
            assert!(find(&mut lines, OTHER_ORDER, &mut table));
            lines.learn(&split("new:1|c|#b:1,a:2,c"), KNOWN, &mut table);
        }
        assert!(!is_known(OTHER_ORDER, &mut table));
        assert!(!find(&mut lines, "new:7|c|#c,b:1,a:2", &mut table));
    }
}
