//! The values that one daemon wrote, by series and time.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::parse::{self, ParsedValue};

/// Maximum number of values of one daemon that are kept; 40 bytes each.
const VALUES_MAX: usize = 20_000_000;

/// The values of one series by their time in Unix milliseconds.
pub(super) type Values = BTreeMap<i64, f64>;

/// The output of one daemon.
#[derive(Debug, Default)]
pub(super) struct RecordedOutput {
    /// By series, such as `stats.counters.a.count` or `a{k=v} value`.
    pub(super) series: BTreeMap<String, Values>,
    /// Lines that contain no value.
    pub(super) unreadable: u64,
    /// The first of them.
    pub(super) first_unreadable: Option<String>,
    /// Values for a series and a time that already had one; the last one stays, as in Graphite.
    pub(super) repeated: u64,
    /// Values that were left out because there were too many.
    pub(super) left_out: u64,
    values: usize,
}

impl RecordedOutput {
    /// Adds the values of a line. `received_ms` is the time of a record that has none.
    pub(super) fn add_line(&mut self, line: &[u8], received_ms: i64) {
        let line = line.trim_ascii();
        if line.is_empty() {
            return;
        }
        let Some(values) = parse::line(line, received_ms) else {
            self.unreadable += 1;
            self.first_unreadable.get_or_insert_with(|| String::from_utf8_lossy(line).into_owned());
            return;
        };
        values.into_iter().for_each(|value| self.add(value));
    }

    fn add(&mut self, ParsedValue { series, at_ms, value }: ParsedValue) {
        if self.values >= VALUES_MAX {
            self.left_out += 1;
            return;
        }
        if self.series.entry(series).or_default().insert(at_ms, value).is_some() {
            self.repeated += 1;
        } else {
            self.values += 1;
        }
    }

    /// The number of values.
    pub(super) fn values(&self) -> usize {
        self.values
    }

    /// The windows of the recording.
    pub(super) fn windows(&self) -> WindowEnds {
        let ends: BTreeSet<i64> =
            self.series.values().flat_map(|values| values.keys().copied()).collect();
        WindowEnds { interval_ms: interval(&ends), ends: ends.into_iter().collect() }
    }
}

/// The times that a daemon gave its values: the ends of its windows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WindowEnds {
    /// In ascending order, in Unix milliseconds.
    pub(super) ends: Vec<i64>,
    /// The most frequent difference of two successive ends; 0 with fewer than two.
    pub(super) interval_ms: i64,
}

impl WindowEnds {
    /// Whether the first or the last window ends at this time.
    pub(super) fn is_edge(&self, end: i64) -> bool {
        [self.ends.first(), self.ends.last()].contains(&Some(&end))
    }
}

/// The most frequent difference of two successive times, and the shortest of several.
fn interval(ends: &BTreeSet<i64>) -> i64 {
    let mut counts: HashMap<i64, usize> = HashMap::new();
    for (this, next) in ends.iter().zip(ends.iter().skip(1)) {
        *counts.entry(next - this).or_default() += 1;
    }
    let best = counts.into_iter().max_by_key(|(length, count)| (*count, -length));
    best.map_or(0, |(length, _)| length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(text: &str) -> RecordedOutput {
        let mut recording = RecordedOutput::default();
        text.lines().for_each(|line| recording.add_line(line.as_bytes(), 7));
        recording
    }

    #[test]
    fn values_are_kept_by_series_and_time() {
        let read = recording("a 1 10\na 2 20\nb 3 20\n\na 5 20\nnothing here at all\n");
        assert_eq!(read.series["a"], Values::from([(10_000, 1.0), (20_000, 5.0)]));
        assert_eq!(read.series["b"], Values::from([(20_000, 3.0)]));
        assert_eq!((read.repeated, read.unreadable), (1, 1));
        assert_eq!(read.first_unreadable.as_deref(), Some("nothing here at all"));
    }

    #[test]
    fn the_interval_is_the_most_frequent_distance() {
        let of = |text| recording(text).windows().interval_ms;
        assert_eq!(of("a 1 10\na 1 20\na 1 21\na 1 30\na 1 40"), 10_000);
        assert_eq!(of("a 1 10"), 0);
        assert_eq!(of(""), 0);
    }
}
