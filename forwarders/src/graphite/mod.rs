//! Graphite: lines to carbon, or pickled lists.
//!
//! # What is promised
//!
//! The protocol has no acknowledgement. Over TCP a point counts as delivered when the other host
//! has acknowledged its bytes; when the connection turns out to be broken later, the last window is
//! sent again with the next one, since carbon may have lost it unread. A repeat overwrites the same
//! slot, so it does no harm. Over UDP a point counts as delivered when it was sent, and no host
//! said that nobody listens.
//!
//! # What happens to a window
//!
//! `path` makes the path of each series, of what `name` has made safe. `encode` brings points
//! together that have become one path, and writes a payload for each. `send` here puts the payloads
//! of a batch behind each other, with the frames of `pickle` around them, and `tcp` or `udp` brings
//! that there, over several attempts if need be. `etsy` has statsd's names and arithmetic.

mod address;
mod config;
mod encode;
mod etsy;
mod limits;
mod name;
mod path;
mod pickle;
mod section;
mod tcp;
mod template;
#[cfg(test)]
mod tests;
mod udp;
mod unacked;

use async_trait::async_trait;
use xxhash_rust::xxh3::xxh3_64;

pub use config::{
    Address, EtsyConfig, GraphiteConfig, Naming, PacketSize, PathPart, PercentThreshold, Protocol,
    TagMode, Transport,
};
pub use template::Template;

use crate::delivery::forwarder::{Forwarder, SendError};
use crate::delivery::payload::Batch;
use model::Snapshot;

use address::Target;
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
    /// The bytes of the batch that is being sent, and their hash, by which it is known again.
    outgoing: Vec<u8>,
    hash: u64,
}

#[derive(Debug)]
enum GraphiteWire {
    Tcp(Tcp),
    Udp(Udp),
}

impl Graphite {
    /// A destination that connects with its first window.
    ///
    /// # Errors
    /// A sentence that says which keys do not go together.
    pub fn new(config: &GraphiteConfig) -> Result<Self, String> {
        config.check()?;
        let target = Target::new(&config.address, config.protocol);
        let name = config.name.clone().unwrap_or_else(|| "graphite".to_owned());
        // Less than the task's limit, so that the reason is this side's and not just the time.
        let timeout = config.delivery.timeout.get();
        let attempt_max = timeout - timeout / 10;
        Ok(Self {
            encoder: GraphiteEncoder::new(config),
            protocol: config.protocol,
            wire: match config.transport {
                Transport::Tcp => GraphiteWire::Tcp(Tcp::new(target, name, attempt_max)),
                Transport::Udp => GraphiteWire::Udp(Udp::new(target, config.max_packet.get())),
            },
            outgoing: Vec::new(),
            hash: 0,
        })
    }

    /// Puts what is pending behind each other. Returns whether that is something else than at the
    /// attempt before.
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
        let hash = xxh3_64(&self.outgoing);
        std::mem::replace(&mut self.hash, hash) != hash
    }
}

#[async_trait]
impl Forwarder for Graphite {
    fn wants_whole_windows(&self) -> bool {
        true
    }

    fn encode(&mut self, snapshot: &Snapshot, batch: &mut Batch) {
        self.encoder.encode(snapshot, batch);
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
        // The next batch is another one, should it be of the same bytes.
        self.hash = 0;
        Ok(())
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
