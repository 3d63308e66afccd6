//! The windows that arrived at a destination.
//!
//! Each sender numbers its samples: the timer `t` has the number as its value. So the least and the
//! largest value of a window say which samples are in it.

use std::collections::BTreeMap;

use crate::senders::place_of;

/// The samples of one sender in one window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Span {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) count: u64,
    pub(crate) sum: f64,
}

impl Span {
    /// Whether it has every number once.
    pub(crate) fn is_whole(&self) -> bool {
        let count = self.last - self.first + 1;
        // A number twice and another missing would be the same count.
        self.count == count && self.sum == (self.first + self.last) as f64 * count as f64 / 2.0
    }

    /// Whether the other one continues it.
    pub(crate) fn is_part_of(&self, other: &Self) -> bool {
        other.first == self.first && other.last >= self.last && other.count >= self.count
    }
}

/// A sender and the end of a window in milliseconds.
pub(crate) type Key = (usize, u64);

/// The writes that a destination got.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    /// Different writes in the order of their arrival.
    pub(crate) spans: BTreeMap<Key, Vec<Span>>,
    /// The last count of the counter `c`, and the sum of all counts.
    pub(crate) counts: BTreeMap<Key, (f64, f64)>,
    /// Writes that were equal to an earlier one.
    pub(crate) repeats: u64,
    /// Writes that cannot be understood.
    pub(crate) odd: Vec<String>,
}

impl Evidence {
    pub(crate) fn add_span(&mut self, key: Key, span: Span) {
        let spans = self.spans.entry(key).or_default();
        if spans.last() == Some(&span) {
            self.repeats += 1;
        } else {
            spans.push(span);
        }
    }

    pub(crate) fn add_count(&mut self, key: Key, count: f64) {
        let counts = self.counts.entry(key).or_default();
        *counts = (count, counts.1 + count);
    }

    /// The last write of each window.
    pub(crate) fn last_spans(&self) -> impl Iterator<Item = (Key, Span)> {
        self.spans.iter().filter_map(|(key, spans)| Some((*key, *spans.last()?)))
    }

    /// Adds later writes.
    pub(crate) fn append(&mut self, later: Self) {
        self.repeats += later.repeats;
        for (key, spans) in later.spans {
            spans.into_iter().for_each(|span| self.add_span(key, span));
        }
        for (key, (last, sum)) in later.counts {
            let counts = self.counts.entry(key).or_default();
            *counts = (last, counts.1 + sum);
        }
        later.odd.into_iter().for_each(|text| self.add_odd(text));
    }

    pub(crate) fn add_odd(&mut self, text: impl Into<String>) {
        if self.odd.len() < 100 {
            self.odd.push(text.into());
        }
    }

    /// Adds one metric's fields by name.
    pub(crate) fn add(
        &mut self,
        metric: &str,
        sender: &str,
        time_ms: u64,
        field: impl Fn(&str) -> Option<f64>,
    ) -> Option<()> {
        let key = (place_of(sender)?, time_ms);
        match metric {
            "t" => {
                let [first, last, count] = ["min", "max", "count"].map(&field);
                let (first, last) = (first? as u64, last? as u64);
                self.add_span(key, Span { first, last, count: count? as u64, sum: field("sum")? });
            }
            "c" => self.add_count(key, field("count")?),
            "g" => {}
            _ => return None,
        }
        Some(())
    }
}
