//! statsd: sends a window's values in the form of a statsd client.
//!
//! # Guarantees
//!
//! The protocol has no acknowledgement, and a counter that arrives twice is counted twice. A line
//! is therefore sent at most once: if sending fails before any byte of it has left, it stays queued
//! and is sent again; if it may have left, it is not. A point counts as delivered when all of its
//! lines have arrived as far as the transport reports: a datagram when the kernel has taken it,
//! bytes over TCP when the other host has acknowledged them, bytes over a Unix stream when the
//! program has read them. It counts as dropped with the reason `lost` when the host refused a
//! packet with one of the lines, or a connection broke before that.
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
mod unconfirmed;
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

use encode::StatsdEncoder;
use packet::{Packet, PacketProgress};
use unconfirmed::Unconfirmed;
use wire::{Outcome, StatsdReceiver, StatsdWire};

/// The reason why a datagram is not sent.
const TOO_LARGE_WORDS: &str = "this host cannot send a packet of that size; reduce max_packet";
/// How long a forwarder that is replaced waits for the confirmation of data that it has written.
const CONFIRMATION_WAIT: Duration = Duration::from_millis(500);

/// Sends each window to statsd.
#[derive(Debug)]
pub struct Statsd {
    encoder: StatsdEncoder,
    receiver: StatsdReceiver,
    packet_bytes_max: usize,
    /// Shorter than the delivery loop's limit, so that the attempt ends with the reason and not
    /// with a plain timeout.
    attempt_max: Duration,
    wire: Option<StatsdWire>,
    /// Whether the last attempt failed, so that the next one must first check for a receiver.
    failed: bool,
    progress: PacketProgress,
    packet: Packet,
    /// Bytes of `packet` that have left over a stream, if the packet is not complete.
    sent: usize,
    unconfirmed: Unconfirmed,
}

impl Statsd {
    /// Creates a destination that opens its socket with its first window.
    ///
    /// # Errors
    /// A sentence that says which key is invalid.
    pub fn new(config: &StatsdConfig) -> Result<Self, String> {
        let timeout = config.delivery.timeout.get();
        let name = config.name.as_deref().unwrap_or("statsd");
        let age_max = config.delivery.resolve_every.get();
        Ok(Self {
            receiver: StatsdReceiver::new(config.check()?, name, age_max),
            encoder: StatsdEncoder::new(config),
            packet_bytes_max: config.max_packet.get() as usize,
            attempt_max: timeout - timeout / 10,
            wire: None,
            failed: false,
            progress: PacketProgress::default(),
            packet: Packet::default(),
            sent: 0,
            unconfirmed: Unconfirmed::default(),
        })
    }

    /// Makes an attempt, or continues the one that was dropped. After an error, everything that has
    /// left and was not confirmed is lost.
    async fn attempt(&mut self, batch: &mut Batch) -> io::Result<()> {
        let outcome = self.send_packets(batch).await;
        if let Err(error) = &outcome {
            self.wire = None;
            self.receiver.distrust();
            self.lose_unconfirmed(batch, &words(error));
        }
        outcome
    }

    async fn send_packets(&mut self, batch: &mut Batch) -> io::Result<()> {
        if self.sent == 0 && self.unconfirmed.is_empty() {
            self.leave_unusable().await;
        }
        let wire = match self.wire.take() {
            Some(wire) => wire,
            None => self.receiver.open(self.attempt_max, self.failed).await?,
        };
        // Kept over the end of an attempt: a receiver that is only slow gets no byte twice.
        let wire = self.wire.insert(wire);
        loop {
            if self.sent == 0 && !self.packet.fill(batch, &self.progress, self.packet_bytes_max) {
                break;
            }
            let is_datagram = wire.is_datagrams();
            let bytes = if is_datagram { self.packet.datagram() } else { &self.packet.bytes };
            // All lines of a payload may have been refused: nothing to send, but it must be
            // settled.
            let outcome = if bytes.is_empty() {
                Outcome::Sent
            } else {
                wire.send(bytes, &mut self.sent).await
            };
            self.sent = 0;
            let settled = match outcome {
                Outcome::Kept(error) => return Err(error),
                Outcome::Sent if is_datagram => {
                    self.packet.ends.iter().for_each(|id| batch.delivered(*id));
                    Ok(())
                }
                Outcome::Sent => {
                    self.unconfirmed.wrote(&self.packet);
                    Ok(())
                }
                Outcome::TooLarge => {
                    refuse(batch, self.packet.payloads(), reason::TOO_LARGE, TOO_LARGE_WORDS);
                    Ok(())
                }
                Outcome::Lost(error) => {
                    let words = format!("{}: {}", self.receiver, words(&error));
                    refuse(batch, self.packet.payloads(), reason::LOST, &words);
                    Err(error)
                }
            };
            self.packet.advance(&mut self.progress);
            settled?;
        }
        if !self.unconfirmed.is_empty() {
            wire.acknowledged(|left| self.unconfirmed.confirm(batch, left)).await?;
        }
        Ok(())
    }

    /// Drops a connection that the other side has closed, or a socket whose address the name no
    /// longer has, before anything is written to it.
    async fn leave_unusable(&mut self) {
        if let Some(wire) = &self.wire
            && (wire.is_closed() || !self.receiver.still_has(wire).await)
        {
            self.wire = None;
        }
    }

    /// Counts the payloads as lost that have left, at least in part, and were not confirmed.
    fn lose_unconfirmed(&mut self, batch: &mut Batch, why: &str) {
        let words = format!("{}: {why}", self.receiver);
        refuse(batch, self.unconfirmed.take(), reason::LOST, &words);
        if std::mem::take(&mut self.sent) > 0 {
            refuse(batch, self.packet.payloads(), reason::LOST, &words);
            self.packet.advance(&mut self.progress);
        }
    }

    fn error(&self, words: impl fmt::Display) -> SendError {
        SendError::transient(format!("{}: {words}", self.receiver))
    }
}

fn refuse(batch: &mut Batch, ids: impl Iterator<Item = usize>, reason: &'static str, words: &str) {
    ids.for_each(|id| batch.refused(id, reason, words));
}

#[async_trait]
impl Forwarder for Statsd {
    fn wants_whole_window(&self, _: &Snapshot) -> bool {
        true
    }

    fn encode(&mut self, snapshot: &Snapshot, batch: &mut Batch) {
        self.progress = PacketProgress::default();
        self.encoder.encode(snapshot, batch);
    }

    async fn send(&mut self, batch: &mut Batch) -> Result<(), SendError> {
        let limit = self.attempt_max;
        let outcome = timeout(limit, self.attempt(batch)).await;
        self.failed = !matches!(outcome, Ok(Ok(())));
        match outcome {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.error(words(&error))),
            Err(_) if self.unconfirmed.is_empty() => {
                Err(self.error(format!("accepts no more data: waited for {limit:?}")))
            }
            Err(_) => Err(self.error(format!(
                "accepts no more data: written data is not confirmed within {limit:?}"
            ))),
        }
    }

    async fn probe(&mut self) -> Result<(), SendError> {
        let asked = async { self.receiver.open(self.attempt_max, true).await?.ask().await };
        asked.await.map_err(|error| self.error(words(&error)))
    }

    /// Waits for confirmations, and counts the rest of the data that has left as lost: another
    /// forwarder must not send it again.
    async fn stop(&mut self, batch: &mut Batch) {
        if let Some(wire) = &self.wire
            && self.sent == 0
        {
            let confirmed = wire.acknowledged(|left| self.unconfirmed.confirm(batch, left));
            let _too_slow = timeout(CONFIRMATION_WAIT, confirmed).await;
        }
        self.wire = None;
        self.lose_unconfirmed(batch, "the connection was given up with data that is not confirmed");
        // Some lines of this payload are in earlier packets.
        refuse(
            batch,
            self.progress.begun().into_iter(),
            reason::LOST,
            "only some of its lines were sent",
        );
    }

    fn settles_what_left(&self) -> bool {
        true
    }
}

fn words(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::ConnectionRefused {
        format!("no program listens there ({error})")
    } else {
        error.to_string()
    }
}
