//! statsd: sends a window's values in the form of a statsd client.
//!
//! # Guarantees
//!
//! The protocol has no acknowledgement, and a counter that arrives twice is counted twice. A line
//! is therefore sent at most once: if sending fails before any byte of the line has left this host,
//! the line stays queued and is retried; if a byte may have left, it is not retried. A point counts
//! as delivered when the kernel has taken all of its lines, and as dropped with the reason `lost`
//! when the host refused a packet with one of them or a connection broke in the middle.
//!
//! # The path of a window
//!
//! `name` sanitises names and tags. `encode` merges series that are equal afterwards and writes
//! a payload of lines for each; `samples` chooses the values that represent a timer. `packet`
//! combines payloads into packets, and `wire` sends them.

mod config;
mod encode;
mod name;
mod packet;
mod samples;
mod section;
#[cfg(test)]
mod tests;
mod wire;

use std::fmt;
use std::io;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::timeout;

pub use config::{Dialect, StatsdConfig, Transport};

use crate::delivery::forwarder::{Forwarder, SendError};
use crate::delivery::payload::Batch;
use crate::delivery::stats::reason;
use model::Snapshot;

use config::StatsdAddress;
use encode::StatsdEncoder;
use packet::{Packet, PacketProgress};
use wire::{Outcome, StatsdWire};

/// Sends each window to statsd.
#[derive(Debug)]
pub struct Statsd {
    encoder: StatsdEncoder,
    address: StatsdAddress,
    packet_bytes_max: usize,
    /// Shorter than the delivery loop's limit, so that the attempt ends with the reason and not
    /// with a plain timeout.
    attempt_max: Duration,
    wire: Option<StatsdWire>,
    /// Whether the last attempt failed, so that the next one must first check for a receiver.
    failed: bool,
    progress: PacketProgress,
    packet: Packet,
    /// Whether a part of `packet` has left.
    begun: bool,
}

impl Statsd {
    /// Creates a destination that opens its socket with its first window.
    ///
    /// # Errors
    /// A sentence that says which key is invalid.
    pub fn new(config: &StatsdConfig) -> Result<Self, String> {
        let timeout = config.delivery.timeout.get();
        Ok(Self {
            address: config.check()?,
            encoder: StatsdEncoder::new(config),
            packet_bytes_max: config.max_packet.get() as usize,
            attempt_max: timeout - timeout / 10,
            wire: None,
            failed: false,
            progress: PacketProgress::default(),
            packet: Packet::default(),
            begun: false,
        })
    }

    async fn send_packets(&mut self, batch: &mut Batch) -> io::Result<()> {
        if self.wire.as_ref().is_some_and(|wire| !wire.is_datagrams()) {
            self.reopen_if_closed().await;
        }
        let wire = match self.wire.take() {
            Some(wire) => wire,
            None => self.open().await?,
        };
        // A socket is kept only after a complete attempt; after any other, the next attempt opens a
        // new one.
        while self.packet.fill(batch, &self.progress, self.packet_bytes_max) {
            let bytes =
                if wire.is_datagrams() { self.packet.datagram() } else { &self.packet.bytes };
            // All lines of a payload may have been refused: nothing to send, but it must be
            // settled.
            if bytes.is_empty() {
                self.settle(batch, Outcome::Sent)?;
                continue;
            }
            let outcome = wire.send(bytes, &mut self.begun).await;
            self.settle(batch, outcome)?;
        }
        self.wire = Some(wire);
        Ok(())
    }

    async fn open(&self) -> io::Result<StatsdWire> {
        let wire = StatsdWire::open(&self.address).await?;
        if self.failed {
            wire.ask().await?;
        }
        Ok(wire)
    }

    /// Drops a connection that the other side has closed, before anything is written to it.
    async fn reopen_if_closed(&mut self) {
        if let Some(wire) = &self.wire
            && wire.ask().await.is_err()
        {
            self.wire = None;
        }
    }

    /// Notes the outcome of the packet.
    fn settle(&mut self, batch: &mut Batch, outcome: Outcome) -> io::Result<()> {
        self.begun = false;
        match outcome {
            Outcome::Kept(error) => return Err(error),
            Outcome::Sent => self.packet.ends.iter().for_each(|id| batch.delivered(*id)),
            Outcome::TooLarge => {
                let words = "this host cannot send a packet of that size; reduce max_packet";
                self.refuse(batch, reason::TOO_LARGE, words);
            }
            Outcome::Lost(error) => {
                self.refuse(batch, reason::LOST, &format!("{}: {}", self.address, words(&error)));
                self.packet.is_behind(&mut self.progress);
                return Err(error);
            }
        }
        self.packet.is_behind(&mut self.progress);
        Ok(())
    }

    fn refuse(&self, batch: &mut Batch, reason: &'static str, words: &str) {
        self.packet.payloads().for_each(|id| batch.refused(id, reason, words));
    }

    fn error(&self, words: impl fmt::Display) -> SendError {
        SendError::transient(format!("{}: {words}", self.address))
    }
}

#[async_trait]
impl Forwarder for Statsd {
    fn wants_whole_window(&self, _: &Snapshot) -> bool {
        true
    }

    fn encode(&mut self, snapshot: &Snapshot, batch: &mut Batch) {
        self.progress = PacketProgress::default();
        self.begun = false;
        self.encoder.encode(snapshot, batch);
    }

    async fn send(&mut self, batch: &mut Batch) -> Result<(), SendError> {
        if std::mem::take(&mut self.begun) {
            // The previous attempt was dropped in the middle of a packet.
            self.refuse(
                batch,
                reason::LOST,
                "sending a packet timed out half-way (delivery.timeout)",
            );
            self.packet.is_behind(&mut self.progress);
        }
        let limit = self.attempt_max;
        let outcome = timeout(limit, self.send_packets(batch)).await;
        self.failed = !matches!(outcome, Ok(Ok(())));
        match outcome {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.error(words(&error))),
            Err(_) => Err(self.error(format!("accepts no more data: waited for {limit:?}"))),
        }
    }

    async fn probe(&mut self) -> Result<(), SendError> {
        let asked = async { StatsdWire::open(&self.address).await?.ask().await };
        asked.await.map_err(|error| self.error(words(&error)))
    }
}

fn words(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::ConnectionRefused {
        format!("no program listens there ({error})")
    } else {
        error.to_string()
    }
}
