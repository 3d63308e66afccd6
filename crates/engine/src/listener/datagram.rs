//! Datagrams, over UDP or from programs of this host.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::warn;

use super::allow::{AllowList, Gate};
use super::config::Endpoint;
use super::receive_buffer;
use super::recorder::{Ahead, Change, Recorder};
use super::senders::{self, Sent};
use super::socket_file::SocketFile;
use super::stats::ListenerStats;
use super::{Origin, Protocol};
use crate::protocol::{RejectReason, Rejection};
use crate::sys::{self, BATCH, Datagram, ReceiveBatch};
use crate::wake::Waker;

/// After a stop a socket is read until it is empty, but no longer than this: whoever goes on
/// sending must not keep the daemon from stopping.
const DRAIN_MAX: Duration = Duration::from_secs(2);
/// After a rejection, senders are asked for in so many batches.
const CURIOUS_BATCHES: u32 = 1_000;
/// Pause after an error of the socket, so that one that stays does not burn a core.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// A bound socket, not read yet.
#[derive(Debug)]
pub struct BoundDatagrams {
    pub(super) socket: OwnedFd,
    pub(super) protocol: Protocol,
    pub(super) stats: Arc<ListenerStats>,
    /// Who may send.
    pub(super) allow: AllowList,
    /// Largest datagram that can come.
    pub(super) datagram_max: usize,
    /// What to call senders that have no address.
    pub(super) origin: String,
    /// The socket's file, if it has one.
    pub(super) file: Option<SocketFile>,
}

impl BoundDatagrams {
    /// What its clients speak.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The counts of this socket.
    #[must_use]
    pub fn stats(&self) -> &Arc<ListenerStats> {
        &self.stats
    }

    /// Reads datagrams until stopped, then what the socket still holds.
    pub fn run(mut self, mut recorder: Recorder, waker: &Waker) {
        let mut batch = ReceiveBatch::new(self.datagram_max);
        let mut gate = Gate::new(std::mem::take(&mut self.allow), Arc::clone(&self.stats));
        let mut drain_until = None;
        let mut curiosity = Curiosity::new(gate.is_closed());
        loop {
            recorder.at_edge();
            if let Some(change) = recorder.take_change() {
                self.follow(&change, &mut gate);
                curiosity.always = gate.is_closed();
            }
            if drain_until.is_none() && waker.is_stopping() {
                drain_until = Some(Instant::now() + DRAIN_MAX);
                drop(self.file.take());
            }
            if drain_until.is_some_and(|until| Instant::now() > until) {
                warn!(
                    listener = self.stats.label(),
                    "senders go on; the rest is not read any more"
                );
                break;
            }
            let is_watched = self.stats.senders().is_watched();
            let asks_senders = is_watched || recorder.is_tapped() || curiosity.asks();
            match batch.receive(self.socket.as_fd(), asks_senders) {
                Ok(received) => {
                    recorder.begin_batch();
                    if is_watched {
                        self.record_watched(&batch, &mut gate, &mut recorder);
                    } else {
                        self.record(&batch, &mut gate, &mut recorder);
                    }
                    curiosity.learn(received, recorder.rejected_in_batch());
                    recorder.publish();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if drain_until.is_some() {
                        break;
                    }
                    self.wait(waker);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.pause_after(&error),
            }
        }
        recorder.finish();
    }

    fn follow(&self, change: &Change, gate: &mut Gate) {
        if let Endpoint::Udp(udp) = &change.endpoint {
            gate.set_allow(udp.allow.clone());
        }
        if let Some(buffer) = change.receive_buffer {
            match receive_buffer::resize(&self.socket, buffer) {
                Ok(granted) => self.stats.set_receive_buffer(granted),
                Err(error) => {
                    warn!(listener = self.stats.label(), %error, "the receive buffer stays as it is");
                }
            }
        }
    }

    fn record(&self, batch: &ReceiveBatch, gate: &mut Gate, recorder: &mut Recorder) {
        let mut ahead = Ahead::new();
        for datagram in batch.datagrams() {
            if gate.admits(|| datagram.sender.address()) {
                self.record_datagram(&datagram, recorder, &mut ahead);
            }
        }
        recorder.catch_up(&mut ahead);
    }

    /// The same, and counts who sent how much: one datagram after the other, so that it is known whose
    /// each message is.
    #[cold]
    fn record_watched(&self, batch: &ReceiveBatch, gate: &mut Gate, recorder: &mut Recorder) {
        let mut sent_by = Vec::with_capacity(BATCH);
        for datagram in batch.datagrams() {
            let address = datagram.sender.address();
            if !gate.admits(|| address) {
                continue;
            }
            let (messages_before, rejected_before) = recorder.received_in_batch();
            let mut ahead = Ahead::new();
            self.record_datagram(&datagram, recorder, &mut ahead);
            recorder.catch_up(&mut ahead);
            let (messages, rejected) = recorder.received_in_batch();
            let sent = Sent {
                datagrams: 1,
                bytes: datagram.bytes.len() as u64,
                messages: messages - messages_before,
                rejected: rejected - rejected_before,
            };
            sent_by.push((senders::Sender::of_address(address), sent));
        }
        self.stats.senders().count(&sent_by);
    }

    #[inline]
    fn record_datagram<'b>(
        &'b self,
        datagram: &Datagram<'b>,
        recorder: &mut Recorder,
        ahead: &mut Ahead<'b, Sender<'b>>,
    ) {
        let sender = Sender { sender: datagram.sender, origin: &self.origin };
        if datagram.is_cut {
            let offset = datagram.bytes.len();
            let reason = RejectReason::TooLong;
            let rejection = Rejection { reason, offset, expected: "a shorter datagram" };
            recorder.count_read(1, offset);
            recorder.reject(rejection, datagram.bytes, sender);
        } else {
            recorder.datagram(datagram.bytes, sender, ahead);
        }
    }

    fn wait(&self, waker: &Waker) {
        if let Err(error) = waker.wait(self.socket.as_fd(), None) {
            self.pause_after(&error);
        }
    }

    fn pause_after(&self, error: &io::Error) {
        warn!(listener = self.stats.label(), %error, "cannot read from the socket; trying again");
        std::thread::sleep(ERROR_PAUSE);
    }
}

/// Whether to ask the kernel for the senders.
///
/// They matter to `allow` and to whoever looks at a rejected message. To everyone else they only
/// cost time, and so a listener that has more to do than it can does without: until it rejects
/// something, for then it is good to know who goes on sending that.
struct Curiosity {
    always: bool,
    was_full: bool,
    /// Batches for which a rejection makes curious.
    left: u32,
}

impl Curiosity {
    fn new(always: bool) -> Self {
        Self { always, was_full: false, left: 0 }
    }

    fn asks(&self) -> bool {
        self.always || !self.was_full || self.left > 0
    }

    fn learn(&mut self, received: usize, rejected: bool) {
        self.was_full = received == BATCH;
        self.left = if rejected { CURIOUS_BATCHES } else { self.left.saturating_sub(1) };
    }
}

/// Shows a sender; only made into text where somebody looks.
#[derive(Clone, Copy)]
struct Sender<'a> {
    sender: sys::Sender<'a>,
    origin: &'a str,
}

impl Origin for Sender<'_> {
    fn ip(&self) -> Option<IpAddr> {
        self.sender.address().map(|address| address.ip())
    }
}

impl fmt::Display for Sender<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sender.address() {
            Some(address) => address.fmt(formatter),
            None => formatter.write_str(self.origin),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_are_asked_for_unless_there_is_more_to_do_and_nothing_wrong() {
        let mut curiosity = Curiosity::new(false);
        assert!(curiosity.asks());
        curiosity.learn(BATCH, false);
        assert!(!curiosity.asks());
        curiosity.learn(BATCH, true);
        assert!(curiosity.asks());
        for _ in 0..CURIOUS_BATCHES {
            curiosity.learn(BATCH, false);
        }
        assert!(!curiosity.asks());
        curiosity.learn(BATCH - 1, false);
        assert!(curiosity.asks());
        let mut always = Curiosity::new(true);
        always.learn(BATCH, false);
        assert!(always.asks());
    }
}
