//! The API of the admin endpoint: its paths, its parameters and its JSON, each type defined once with
//! both serde derives. The daemon writes these types; `tallyd top`, `tap`, `values`, `send`,
//! `bench`, `check` and `reload` read them.
//!
//! Members may be added to the JSON, and existing ones keep name and meaning. So a reader ignores
//! unknown members, and a member that a command can do without has a default: a command works with a
//! daemon that is somewhat older or newer. `tests/recorded` holds the replies of released versions.
//!
//! Counts are samples and points since the start of the process unless a field says otherwise. Times
//! are UTC, as `2026-01-31T12:00:03.191Z`.

use std::collections::BTreeMap;

pub mod config;
pub mod forwarders;
pub mod history;
pub mod kamailio;
pub mod listeners;
pub mod path;
pub mod rejected;
pub mod reload;
pub mod series;
pub mod status;
pub mod tap;
pub mod top;

/// Counts by reason, without zeros.
pub type CountsByReason = BTreeMap<String, u64>;

/// The reason of samples that a rule drops, which is intended.
pub const RULE: &str = "rule";

/// All counts of a map added up.
#[must_use]
pub fn sum(by_reason: &CountsByReason) -> u64 {
    by_reason.values().sum()
}

/// The rejections that are mistakes of senders: all but those by rules.
#[must_use]
pub fn mistakes(rejected: &CountsByReason) -> u64 {
    rejected.iter().filter(|(reason, _)| *reason != RULE).map(|(_, count)| count).sum()
}
