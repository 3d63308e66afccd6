//! The state and settings that the recorders of all listeners share, and the recording of one sample
//! with them.

use std::sync::Arc;
use std::time::Instant;

use model::TimerType;

use super::Origin;
use super::rejected::RejectedLog;
use super::signature::SignatureContext;
use super::stats::{ListenerCounts, ListenerStats};
use crate::aggregator::cell::CellSettings;
use crate::aggregator::identity::Identifier;
use crate::aggregator::registry::Registry;
use crate::aggregator::shapes::{KnownLine, NumberMeaning};
use crate::aggregator::table::{SeriesKind, SeriesTable, TableRules};
use crate::listener::tap::listener::ListenerTap;
use crate::protocol::dispatch::Protocol;
use crate::protocol::{MessageLimits, RejectReason, Rejection, Sample, SampleValue, Tags};
use crate::rules::Rules;

/// The state and settings that all listeners share.
#[derive(Clone, Debug)]
pub struct RecorderContext {
    /// Merges the agent's tags.
    pub identifier: Arc<Identifier>,
    /// Knows every live series.
    pub registry: Arc<Registry>,
    /// Keeps the latest rejected messages.
    pub rejected: Arc<RejectedLog>,
    /// The start of the process. Arrival times count from here, so that the times of two
    /// listeners are comparable.
    pub started: Instant,
    /// The limits on a message.
    pub limits: MessageLimits,
    /// How samples are recorded.
    pub cells: CellSettings,
    /// Maximum size of the line cache of each listener, in bytes.
    pub line_cache: usize,
    /// The rules for names.
    pub rules: Arc<Rules>,
    /// Maximum memory of each listener for names that the rules change, in bytes.
    pub rule_cache: usize,
    /// The state and settings of signatures.
    pub signatures: SignatureContext,
}

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Recording {
    /// It was recorded.
    Aggregated,
    /// A rule dropped it, like an earlier sample of the same series.
    Dropped,
    /// A rule dropped it, and is the first to drop a sample of this series.
    Rejected(Rejection),
}

/// A sample without its tags.
#[derive(Clone, Copy)]
pub(super) struct MessageLine<'l> {
    pub(super) name: &'l str,
    pub(super) value: &'l SampleValue<'l>,
    pub(super) weight: f64,
    pub(super) timer_type: TimerType,
}

impl RecorderContext {
    /// Records a sample.
    pub fn record(
        &self,
        table: &mut SeriesTable,
        sample: &Sample<'_>,
        arrival_ns: u64,
    ) -> Recording {
        let Sample { name, value, weight, tags, facts } = sample;
        let line = MessageLine { name, value, weight: *weight, timer_type: facts.timer_type };
        self.record_message(table, &line, tags, arrival_ns).0
    }

    /// The rules for the table of a listener with this protocol.
    #[must_use]
    pub fn table_rules(&self, protocol: Protocol) -> TableRules {
        TableRules { rules: Arc::clone(&self.rules), protocol, cache_bytes: self.rule_cache }
    }

    /// Records a sample like [`RecorderContext::record`]. Also returns the properties of the line, if such
    /// lines can be cached.
    // Always: its result would go through memory.
    #[inline(always)]
    pub(super) fn record_message(
        &self,
        table: &mut SeriesTable,
        line: &MessageLine<'_>,
        tags: &Tags<'_>,
        arrival_ns: u64,
    ) -> (Recording, Option<KnownLine>) {
        let MessageLine { name, value, weight, timer_type } = *line;
        let series = (SeriesKind { kind: value.kind(), timer_type }, name);
        let place = table.locate_message(&self.identifier, series, tags, &self.registry);
        let recording = if table.record_in(place, value, weight, arrival_ns) {
            Recording::Aggregated
        } else {
            // The first line of a series is reported in full, and the next ones are only counted.
            let rejection = table.rejection().filter(|_| place.is_rejected);
            rejection.map_or(Recording::Dropped, Recording::Rejected)
        };
        let known = |meaning| KnownLine { slot: place.slot, meaning, weight };
        // A line that overflows is not cached: each sample has to ask the registry, which counts it,
        // and which admits the series once there is room.
        let meaning = NumberMeaning::of(value).filter(|_| place.is_requested);
        (recording, meaning.map(known))
    }

    /// Counts and logs a rejection. Its offset refers to `bytes`.
    pub(super) fn reject(
        &self,
        rejection: Rejection,
        bytes: &[u8],
        sender: &impl Origin,
        stats: &ListenerStats,
        counts: &mut ListenerCounts,
        tap: &mut ListenerTap,
    ) {
        counts.rejected[rejection.reason as usize] += 1;
        // A rule rejects most lines without coming here, so the tap applies the rules itself.
        if tap.is_on() && rejection.reason != RejectReason::Rule {
            tap.rejected(rejection, bytes, sender, stats.label());
        }
        self.rejected.add(rejection, bytes, sender, stats.label());
    }
}
