//! What a poll read: numbers with their names, before they are samples.

use std::borrow::Cow;

/// A number of Kamailio's.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The metric's name, with dots.
    pub name: String,
    /// Kamailio's labels, as tags.
    pub tags: Vec<(Cow<'static, str>, String)>,
    /// The number.
    pub value: Measured,
}

/// A number, by what can be done with it. It is finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measured {
    /// A level.
    Level(f64),
    /// A total since Kamailio's start.
    Total {
        /// The total.
        total: f64,
        /// Whether it is of 32 bits, and so begins at 0 again after 2^32 - 1.
        wraps: bool,
    },
    /// A total and how much it grew since the last poll.
    Growth {
        /// What was added.
        added: f64,
        /// The total.
        total: f64,
    },
    /// Something that happened since the last poll.
    Increment(f64),
}

/// Collects readings under names.
#[derive(Debug, Default)]
pub struct Readings(pub Vec<Reading>);

/// The tags of a reading.
pub(super) type Labels<'a> = &'a [(&'static str, &'a str)];

impl Readings {
    /// Adds one, unless its number is none.
    pub(super) fn add(&mut self, name: String, labels: Labels<'_>, value: Measured) {
        let (Measured::Level(number)
        | Measured::Total { total: number, .. }
        | Measured::Growth { total: number, .. }
        | Measured::Increment(number)) = value;
        if number.is_finite() {
            let tags = labels.iter().map(|(key, tag)| (Cow::Borrowed(*key), (*tag).to_owned()));
            self.0.push(Reading { name, tags: tags.collect(), value });
        }
    }

    /// Adds a level.
    pub(super) fn level(&mut self, name: impl Into<String>, labels: Labels<'_>, number: f64) {
        self.add(name.into(), labels, Measured::Level(number));
    }

    /// Adds something that happened.
    pub(super) fn increment(&mut self, name: impl Into<String>, labels: Labels<'_>, number: f64) {
        self.add(name.into(), labels, Measured::Increment(number));
    }
}
