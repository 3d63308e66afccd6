//! What every listener does with a datagram: decode, tag, record, count.

use std::fmt::Display;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use super::Protocol;
use super::rejected::{EXCERPT_BYTES, RejectedLog};
use super::stats::{Counts, ListenerStats};
use crate::aggregator::handover::ListenerEnd;
use crate::aggregator::identity::Identifier;
use crate::aggregator::registry::Registry;
use crate::aggregator::shapes::{Known, Meaning, Split};
use crate::aggregator::table::Table;
use crate::protocol::{Limits, Rejection, Sample, json, lines};

/// What all listeners share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Merges the agent's tags.
    pub identifier: Arc<Identifier>,
    /// Knows every live series.
    pub registry: Arc<Registry>,
    /// Remembers rejected messages.
    pub rejected: Arc<RejectedLog>,
    /// When the process started: arrivals are measured from here, so that those of two listeners
    /// can be compared.
    pub started: Instant,
    /// What a message may cost.
    pub limits: Limits,
    /// Values of a timer that are kept one by one.
    pub exact_samples: usize,
}

/// Owns a listener's table and its counts.
#[derive(Debug)]
pub struct Recorder {
    shared: Shared,
    protocol: Protocol,
    stats: Arc<ListenerStats>,
    handover: ListenerEnd,
    table: Box<Table>,
    /// Counted since the last [`Recorder::publish`].
    counts: Counts,
    /// When the current batch was read, in nanoseconds since the start.
    arrival_ns: u64,
}

impl Recorder {
    /// A recorder with an empty table.
    #[must_use]
    pub fn new(
        shared: Shared,
        protocol: Protocol,
        stats: Arc<ListenerStats>,
        handover: ListenerEnd,
    ) -> Self {
        let table = Box::new(Table::new(shared.exact_samples));
        Self { shared, protocol, stats, handover, table, counts: Counts::default(), arrival_ns: 0 }
    }

    /// Notes that what follows was read just now.
    pub fn begin_batch(&mut self) {
        self.arrival_ns = self.shared.started.elapsed().as_nanos() as u64;
    }

    /// Records all messages of a datagram.
    pub fn datagram(&mut self, datagram: &[u8], sender: impl Display) {
        self.count_read(1, datagram.len());
        if self.protocol.is_array(datagram) {
            return self.array(datagram, &sender);
        }
        for place in lines(datagram) {
            self.line(datagram, place, 0..datagram.len(), &sender);
        }
    }

    /// Records the messages of complete lines of a stream. What a datagram may hold, a line may;
    /// bytes are counted by whoever reads them.
    pub fn lines(&mut self, bytes: &[u8], sender: impl Display) {
        for place in lines(bytes) {
            if self.protocol.is_array(&bytes[place.clone()]) {
                self.array(&bytes[place], &sender);
            } else {
                self.line(bytes, place.clone(), place, &sender);
            }
        }
    }

    /// Counts a message that was rejected before it could be decoded; `bytes` is what there is of
    /// it.
    pub fn reject(&mut self, rejection: Rejection, bytes: &[u8], sender: impl Display) {
        self.counts.rejected[rejection.reason as usize] += 1;
        // Its beginning tells more than the place where it became too much.
        let beginning = &bytes[..bytes.len().min(EXCERPT_BYTES)];
        self.shared.rejected.note(rejection, beginning, sender, self.stats.label());
    }

    /// Counts what was read.
    pub fn count_read(&mut self, datagrams: u64, bytes: usize) {
        self.counts.datagrams += datagrams;
        self.counts.bytes += bytes as u64;
    }

    /// Records the line at `place` in `bytes`; a rejection shows the bytes at `shown`.
    #[inline]
    fn line(
        &mut self,
        bytes: &[u8],
        place: Range<usize>,
        shown: Range<usize>,
        sender: &impl Display,
    ) {
        let line = &bytes[place.clone()];
        let split =
            if self.table.shapes().is_worth_a_look() { self.protocol.split(line) } else { None };
        if let Some(split) = &split
            && self.table.record_known(split, self.arrival_ns)
        {
            self.counts.aggregated += 1;
            return;
        }
        self.decode_line(
            line,
            split,
            |rejection| (rejection.behind(place.start - shown.start), &bytes[shown.clone()]),
            sender,
        );
    }

    /// Decodes a line and remembers its shape where it is a plain one.
    fn decode_line<'b>(
        &mut self,
        line: &[u8],
        split: Option<Split<'_>>,
        show: impl Fn(Rejection) -> (Rejection, &'b [u8]),
        sender: &impl Display,
    ) {
        let Self { shared, protocol, stats, table, counts, arrival_ns, .. } = self;
        let (mut samples, mut known) = (0, None);
        let decoded = protocol.decode_line(line, &shared.limits, &mut |message| match message {
            Ok(sample) => {
                samples += 1;
                known = shared.record(table, sample, *arrival_ns);
                counts.aggregated += 1;
            }
            Err(rejection) => {
                samples += 1;
                counts.rejected[rejection.reason as usize] += 1;
                let (rejection, bytes) = show(rejection);
                shared.rejected.note(rejection, bytes, sender, stats.label());
            }
        });
        counts.skipped += decoded.skipped;
        if let (1, Some(split), Some(known)) = (samples, split, known)
            && decoded.number_start == Some(split.number_start)
        {
            table.shapes().learn(&split, known);
        }
    }

    /// Records the messages of an array.
    fn array(&mut self, array: &[u8], sender: &impl Display) {
        let Self { shared, stats, table, counts, arrival_ns, .. } = self;
        json::decode(array, &shared.limits, &mut |message| match message {
            Ok(sample) => {
                shared.record(table, sample, *arrival_ns);
                counts.aggregated += 1;
            }
            Err(rejection) => {
                counts.rejected[rejection.reason as usize] += 1;
                shared.rejected.note(rejection, array, sender, stats.label());
            }
        });
    }

    /// Makes the counts of a batch visible.
    pub fn publish(&mut self) {
        self.stats.add(&std::mem::take(&mut self.counts));
    }

    /// Hands over the table if the window's edge has come. To be called between batches.
    #[inline]
    pub fn at_edge(&mut self) {
        self.handover.hand_over_at_edge(&mut self.table);
    }

    /// Hands over the last table.
    pub fn finish(mut self) {
        self.publish();
        self.stats.close();
        self.handover.finish(self.table);
    }
}

impl Shared {
    /// Records a sample; what is then known of its line, if its number is all that may change.
    fn record<'a>(
        &'a self,
        table: &mut Table,
        sample: Sample<'a>,
        arrival_ns: u64,
    ) -> Option<Known> {
        let Sample { name, value, weight, mut tags } = sample;
        self.identifier.add_agent_tags(&mut tags);
        let identity = self.identifier.identify(value.kind(), &name, &tags);
        let place = table.record(&identity, &value, weight, arrival_ns, &self.registry)?;
        Some(Known { place, meaning: Meaning::of(&value)?, weight })
    }
}
