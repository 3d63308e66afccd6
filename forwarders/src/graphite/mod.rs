//! Graphite: lines to carbon, or pickled lists.
//!
//! # Guarantees
//!
//! The protocol has no acknowledgement. Over TCP, a point counts as delivered when the other host
//! has acknowledged its bytes. If the connection turns out to be broken later, the last window is
//! sent again with the next one, because carbon may have lost it unread. A duplicate overwrites the
//! same slot and does no harm. Over UDP, a point counts as delivered when it was sent and no host
//! reported that no program listens.
//!
//! # The path of a window
//!
//! `path` makes the path of each series from parts that `name` has sanitised. `encode` merges
//! points that share a path and writes a payload for each path. `send` concatenates the payloads of
//! a batch, for `pickle` in frames, and `tcp` or `udp` sends the bytes, over several attempts if
//! necessary. `etsy` has statsd's names and arithmetic.

mod config;
mod encode;
mod etsy;
mod histogram;
mod limits;
mod name;
mod path;
mod pickle;
mod runs;
mod section;
mod tcp;
mod template;
#[cfg(test)]
mod tests;
mod timer_stats;
mod udp;

use async_trait::async_trait;
use xxhash_rust::xxh3::xxh3_64;

pub use config::{
    Address, EtsyConfig, GraphiteConfig, Naming, PacketSize, PathPart, PercentThreshold, Protocol,
    TagMode, Transport,
};
pub use histogram::{Bins, HistogramConfig};
pub use template::Template;
pub use timer_stats::TimerStat;

use crate::delivery::forwarder::{Forwarder, SendError};
use crate::delivery::payload::Batch;
use model::Snapshot;

use crate::network::host::Host;
use encode::GraphiteEncoder;
use pickle::Frames;
use tcp::Tcp;
use udp::Udp;

/// Sends each window to carbon.
#[derive(Debug)]
pub struct Graphite {
    encoder: GraphiteEncoder,
    protocol: Protocol,
    wire: GraphiteWire,
    /// The bytes of the current batch and their hash, which shows whether an attempt is a retry.
    outgoing: Vec<u8>,
    hash: u64,
}

#[derive(Debug)]
enum GraphiteWire {
    Tcp(Tcp),
    Udp(Udp),
}

impl Graphite {
    /// Creates a destination that connects with its first window.
    ///
    /// # Errors
    /// A sentence that says which keys conflict.
    pub fn new(config: &GraphiteConfig) -> Result<Self, String> {
        config.check()?;
        let name = config.name.clone().unwrap_or_else(|| "graphite".to_owned());
        let port = config.address.port(config.protocol);
        let age_max = config.delivery.resolve_every.get();
        let host = Host::new(config.address.host(), port, &name, age_max);
        // Shorter than the delivery loop's limit, so that the attempt ends with the reason and not
        // with a plain timeout.
        let timeout = config.delivery.timeout.get();
        let attempt_max = timeout - timeout / 10;
        Ok(Self {
            encoder: GraphiteEncoder::new(config),
            protocol: config.protocol,
            wire: match config.transport {
                Transport::Tcp => GraphiteWire::Tcp(Tcp::new(host, name, attempt_max)),
                Transport::Udp => GraphiteWire::Udp(Udp::new(host, config.max_packet.get())),
            },
            outgoing: Vec::new(),
            hash: 0,
        })
    }

    /// Concatenates the pending payloads. Returns whether the bytes differ from the
    /// previous attempt.
    fn gather(&mut self, batch: &Batch) -> bool {
        self.outgoing.clear();
        match self.protocol {
            Protocol::Plaintext => {
                batch.pending().for_each(|payload| self.outgoing.extend_from_slice(payload.bytes));
            }
            Protocol::Pickle => {
                let mut frames = Frames::new(&mut self.outgoing);
                batch.pending().for_each(|payload| frames.add(payload.bytes));
                frames.finish();
            }
        }
        // A hash instead of a copy: the bytes of a window may be many megabytes.
        let hash = xxh3_64(&self.outgoing);
        std::mem::replace(&mut self.hash, hash) != hash
    }
}

#[async_trait]
impl Forwarder for Graphite {
    fn wants_whole_window(&self, _: &Snapshot) -> bool {
        true
    }

    fn encode(&mut self, snapshot: &Snapshot, batch: &mut Batch) {
        self.encoder.encode(snapshot, batch);
    }

    fn readable(&self, payload: &[u8]) -> Option<String> {
        match self.protocol {
            Protocol::Plaintext => None,
            Protocol::Pickle => pickle::readable(payload),
        }
    }

    async fn send(&mut self, batch: &mut Batch) -> Result<(), SendError> {
        if batch.is_settled() {
            return Ok(());
        }
        let is_new = self.gather(batch);
        match &mut self.wire {
            GraphiteWire::Tcp(tcp) => {
                tcp.send(&self.outgoing, is_new).await?;
                tcp.delivered(&mut self.outgoing);
            }
            GraphiteWire::Udp(udp) => udp.send(&self.outgoing, is_new).await?,
        }
        batch.all_delivered();
        // The next batch is a new one even if its bytes are the same.
        self.hash = 0;
        Ok(())
    }

    fn keeps_last_write(&self) -> bool {
        true
    }

    fn wants_old_data(&self) -> bool {
        true
    }

    async fn probe(&mut self) -> Result<(), SendError> {
        match &mut self.wire {
            GraphiteWire::Tcp(tcp) => tcp.probe().await,
            GraphiteWire::Udp(udp) => udp.probe().await,
        }
    }
}
