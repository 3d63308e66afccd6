//! What every listener does with a datagram: decode, tag, record, count.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Instant;

use super::rejected::RejectedLog;
use super::stats::{Counts, ListenerStats};
use crate::aggregator::handover::ListenerEnd;
use crate::aggregator::identity::Identifier;
use crate::aggregator::registry::Registry;
use crate::aggregator::table::Table;
use crate::protocol::{Limits, json};

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
    pub fn new(shared: Shared, stats: Arc<ListenerStats>, handover: ListenerEnd) -> Self {
        let table = Box::new(Table::new(shared.exact_samples));
        Self { shared, stats, handover, table, counts: Counts::default(), arrival_ns: 0 }
    }

    /// Notes that what follows was read just now.
    pub fn begin_batch(&mut self) {
        self.arrival_ns = self.shared.started.elapsed().as_nanos() as u64;
    }

    /// Records all messages of a datagram.
    pub fn datagram(&mut self, datagram: &[u8], sender: impl Display) {
        let Self { shared, stats, table, counts, arrival_ns, .. } = self;
        counts.datagrams += 1;
        counts.bytes += datagram.len() as u64;
        json::decode(datagram, &shared.limits, &mut |message| match message {
            Ok(sample) => {
                let mut tags = sample.tags;
                shared.identifier.add_agent_tags(&mut tags);
                let identity = shared.identifier.identify(sample.value.kind(), &sample.name, &tags);
                table.record(
                    &identity,
                    &sample.value,
                    sample.weight,
                    *arrival_ns,
                    &shared.registry,
                );
                counts.aggregated += 1;
            }
            Err(rejection) => {
                counts.rejected[rejection.reason as usize] += 1;
                shared.rejected.note(rejection, datagram, &sender, stats.label());
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
