//! The readings of a poll: named numbers, before they become samples.

use std::borrow::Cow;

/// A number that Kamailio reported.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The metric name, with dots.
    pub name: String,
    /// Tags from the reply.
    pub tags: ReadingTags,
    /// The number.
    pub value: ReadingValue,
}

/// The tags of a reading: keys and values.
pub type ReadingTags = Vec<(Cow<'static, str>, String)>;

/// Tags in the form in which mapping functions pass them.
pub(crate) type BorrowedTags<'a> = &'a [(&'static str, &'a str)];

/// A finite number, by its meaning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ReadingValue {
    /// A level.
    Level(f64),
    /// A total since the start of Kamailio.
    Total {
        /// The total.
        total: f64,
        /// Whether it has 32 bits, so that it restarts from 0 after 2^32 - 1.
        wraps: bool,
    },
    /// A total and its increase since the previous poll.
    Growth {
        /// The increase.
        added: f64,
        /// The total.
        total: f64,
    },
    /// A number of events since the previous poll.
    Increment(f64),
}

impl ReadingValue {
    /// The number itself; of a growth, the total.
    #[must_use]
    pub fn number(self) -> f64 {
        match self {
            Self::Level(number)
            | Self::Total { total: number, .. }
            | Self::Growth { total: number, .. }
            | Self::Increment(number) => number,
        }
    }
}

/// Collects readings.
#[derive(Debug, Default)]
pub struct Readings(pub Vec<Reading>);

impl Readings {
    /// Adds a reading if its number is finite.
    pub(crate) fn add(&mut self, name: String, tags: ReadingTags, value: ReadingValue) {
        if value.number().is_finite() {
            self.0.push(Reading { name, tags, value });
        }
    }

    /// Adds a level.
    pub(crate) fn level(&mut self, name: impl Into<String>, tags: BorrowedTags<'_>, level: f64) {
        self.add(name.into(), owned(tags), ReadingValue::Level(level));
    }

    /// Adds a total.
    pub(crate) fn total(
        &mut self,
        name: impl Into<String>,
        tags: BorrowedTags<'_>,
        total: f64,
        wraps: bool,
    ) {
        self.add(name.into(), owned(tags), ReadingValue::Total { total, wraps });
    }

    /// Adds a number of events.
    pub(crate) fn increment(
        &mut self,
        name: impl Into<String>,
        tags: BorrowedTags<'_>,
        count: f64,
    ) {
        self.add(name.into(), owned(tags), ReadingValue::Increment(count));
    }
}

fn owned(tags: BorrowedTags<'_>) -> ReadingTags {
    tags.iter().map(|(key, value)| (Cow::Borrowed(*key), (*value).to_owned())).collect()
}
