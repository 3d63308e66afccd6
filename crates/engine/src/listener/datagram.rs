//! Receives datagrams, over UDP or from programs on this host.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::warn;

use super::allow::{AllowList, Gate};
use super::config::ListenerEndpoint;
use super::mirror::{Mirror, MirrorList};
use super::opener::{Opener, Unsigned};
use super::receive_buffer;
use super::recorder::{ListenerUpdate, PendingLines, Recorder};
use super::sender_lookup::SenderLookup;
use super::senders::{SenderId, SenderTraffic};
use super::signature::SignatureCheck;
use super::signature::config::SecretKeys;
use super::socket_file::SocketFile;
use super::stats::ListenerStats;
use super::{Origin, Protocol};
use crate::protocol::{RejectReason, Rejection};
use crate::sys::{self, BATCH, Datagram, ReceiveBatch, ReceivedPacket};
use crate::wake::Waker;

/// After a stop, a socket is read until it is empty, but no longer than this: a busy sender must
/// not keep the daemon from stopping.
const DRAIN_MAX: Duration = Duration::from_secs(2);
/// Pause after a socket error, so that a persistent error does not occupy a core.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// A bound datagram socket that is not read yet.
#[derive(Debug)]
pub struct BoundDatagrams {
    pub(super) socket: OwnedFd,
    pub(super) protocol: Protocol,
    pub(super) stats: Arc<ListenerStats>,
    /// The addresses that may send.
    pub(super) allow: AllowList,
    /// The targets that get a copy of every datagram.
    pub(super) mirror: MirrorList,
    /// The secrets that sign its datagrams, if they are signed.
    pub(super) secret: SecretKeys,
    /// Maximum size of a datagram, or of a packet of merged ones.
    pub(super) datagram_max: usize,
    /// Whether the kernel merges datagrams.
    pub(super) is_merging: bool,
    /// The name shown for senders without an address.
    pub(super) origin: String,
    /// The socket file, if it has one.
    pub(super) file: Option<SocketFile>,
}

impl BoundDatagrams {
    /// The protocol of its clients.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The counts of this socket.
    #[must_use]
    pub fn stats(&self) -> &Arc<ListenerStats> {
        &self.stats
    }

    /// Reads datagrams until stopped, then drains the datagrams that the kernel has buffered.
    pub fn run(mut self, mut recorder: Recorder, waker: &Waker) {
        let mut batch = ReceiveBatch::new(self.datagram_max);
        if self.is_merging {
            batch = batch.for_merged_datagrams();
        }
        let mut gate = Gate::new(std::mem::take(&mut self.allow), Arc::clone(&self.stats));
        let mut mirror = Mirror::default();
        self.stats.set_mirrors(mirror.set(&self.mirror));
        let secret = std::mem::take(&mut self.secret);
        let mut signatures = self.check_of(None, &secret, &recorder);
        let mut drain_until = None;
        let mut lookup = SenderLookup::new(gate.is_restricted() || signatures.is_some());
        loop {
            recorder.hand_over_at_edge();
            if let Some(update) = recorder.take_update() {
                self.apply_update(&update, &mut gate, &mut mirror);
                let secret = update.endpoint.secret().cloned().unwrap_or_default();
                signatures = self.check_of(signatures, &secret, &recorder);
                lookup.always = gate.is_restricted() || signatures.is_some();
            }
            if drain_until.is_none() && waker.is_stopping() {
                // The file is removed first, so that no new sender finds the socket.
                drain_until = Some(Instant::now() + DRAIN_MAX);
                drop(self.file.take());
            }
            if drain_until.is_some_and(|until| Instant::now() > until) {
                warn!(
                    listener = self.stats.label(),
                    "drain deadline reached; remaining datagrams left unread"
                );
                break;
            }
            let is_watched = self.stats.senders().is_watched();
            // Only when one of these needs the senders: asking the kernel for them takes a
            // twentieth of the time.
            let with_senders = is_watched || recorder.is_tapped() || lookup.is_needed();
            match batch.receive(self.socket.as_fd(), with_senders) {
                Ok(received) => {
                    recorder.begin_batch();
                    match &mut signatures {
                        None if is_watched => {
                            self.record_watched(&batch, &mut gate, &mut recorder, &mut Unsigned);
                        }
                        None => self.record(&batch, &mut gate, &mut recorder, &mut Unsigned),
                        Some(check) => {
                            self.record_signed(&batch, &mut gate, &mut recorder, check, is_watched);
                        }
                    }
                    if !mirror.is_empty() {
                        copy(&batch, &gate, &mut mirror);
                    }
                    lookup.update(received, recorder.rejected_in_batch());
                    recorder.publish();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // The socket is empty, so everything that arrived before the stop has been
                    // read.
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

    fn apply_update(&self, update: &ListenerUpdate, gate: &mut Gate, mirror: &mut Mirror) {
        if let Some(list) = update.endpoint.mirror() {
            self.stats.set_mirrors(mirror.set(list));
        }
        if let ListenerEndpoint::Udp(udp) = &update.endpoint {
            gate.set_allow(udp.allow.clone());
        }
        if let Some(buffer) = update.receive_buffer {
            match receive_buffer::resize(&self.socket, buffer) {
                Ok(granted) => self.stats.set_receive_buffer(granted),
                Err(error) => {
                    let listener = self.stats.label();
                    warn!(listener, %error, "cannot change the receive buffer");
                }
            }
        }
    }

    /// The check of signatures with these secrets, if there are any.
    fn check_of(
        &self,
        previous: Option<SignatureCheck>,
        secret: &SecretKeys,
        recorder: &Recorder,
    ) -> Option<SignatureCheck> {
        let check = SignatureCheck::replace(previous, secret, recorder.signatures());
        self.stats.set_keys(check.as_ref().map(SignatureCheck::key_stats).unwrap_or_default());
        check
    }

    /// Records a batch of signed datagrams.
    #[inline(never)]
    fn record_signed(
        &self,
        batch: &ReceiveBatch,
        gate: &mut Gate,
        recorder: &mut Recorder,
        check: &mut SignatureCheck,
        is_watched: bool,
    ) {
        check.begin_batch();
        if is_watched {
            self.record_watched(batch, gate, recorder, check);
        } else {
            self.record(batch, gate, recorder, check);
        }
        check.publish(&self.stats);
    }

    fn record(
        &self,
        batch: &ReceiveBatch,
        gate: &mut Gate,
        recorder: &mut Recorder,
        opener: &mut impl Opener,
    ) {
        let mut pending = PendingLines::new();
        for packet in batch.packets() {
            for datagram in packet.datagrams() {
                if gate.admits(|| datagram.sender.address()) {
                    self.record_datagram(&datagram, recorder, &mut pending, opener);
                }
            }
        }
        recorder.record_pending(&mut pending);
    }

    /// Records a batch like [`BoundDatagrams::record`], and counts its messages by sender. Each
    /// packet is finished before the next, so that its messages can be attributed to its sender.
    #[cold]
    fn record_watched(
        &self,
        batch: &ReceiveBatch,
        gate: &mut Gate,
        recorder: &mut Recorder,
        opener: &mut impl Opener,
    ) {
        let mut sent_by = Vec::with_capacity(BATCH);
        for packet in batch.packets() {
            let traffic = self.record_packet(packet, gate, recorder, opener);
            // Without datagrams, `allow` refused the sender.
            if traffic.datagrams > 0 {
                sent_by.push((SenderId::of_address(packet.sender.address()), traffic));
            }
        }
        self.stats.senders().count(&sent_by);
    }

    /// Records the datagrams of a packet, and returns the traffic.
    fn record_packet(
        &self,
        packet: ReceivedPacket<'_>,
        gate: &mut Gate,
        recorder: &mut Recorder,
        opener: &mut impl Opener,
    ) -> SenderTraffic {
        let (messages_before, rejected_before) = recorder.received_in_batch();
        let (mut traffic, mut pending) = (SenderTraffic::default(), PendingLines::new());
        for datagram in packet.datagrams() {
            if gate.admits(|| datagram.sender.address()) {
                self.record_datagram(&datagram, recorder, &mut pending, opener);
                traffic.datagrams += 1;
                traffic.bytes += datagram.bytes.len() as u64;
            }
        }
        recorder.record_pending(&mut pending);
        let (messages, rejected) = recorder.received_in_batch();
        traffic.messages = messages - messages_before;
        traffic.rejected = rejected - rejected_before;
        traffic
    }

    #[inline]
    fn record_datagram<'b>(
        &'b self,
        datagram: &Datagram<'b>,
        recorder: &mut Recorder,
        pending: &mut PendingLines<'b, DatagramOrigin<'b>>,
        opener: &mut impl Opener,
    ) {
        let sender = DatagramOrigin { sender: datagram.sender, origin: &self.origin };
        let length = datagram.bytes.len();
        if datagram.is_cut {
            let reason = RejectReason::TooLong;
            let rejection = Rejection { reason, offset: length, expected: "a shorter datagram" };
            recorder.count_read(1, length);
            return recorder.reject_part(rejection, datagram.bytes, sender);
        }
        match opener.open(datagram) {
            Ok(messages) => {
                recorder.count_read(0, length - messages.len());
                recorder.record_datagram(messages, sender, pending);
            }
            Err(refused) => {
                recorder.count_read(1, length);
                recorder.reject(refused.rejection, refused.shown, sender);
            }
        }
    }

    fn wait(&self, waker: &Waker) {
        if let Err(error) = waker.wait(self.socket.as_fd(), None) {
            self.pause_after(&error);
        }
    }

    fn pause_after(&self, error: &io::Error) {
        warn!(listener = self.stats.label(), %error, "cannot read from the socket, will retry");
        std::thread::sleep(ERROR_PAUSE);
    }
}

/// Sends a copy of each datagram of an allowed sender. Those of others are not read, and a datagram
/// that is cut is not what its sender sent: it is rejected, and not passed on.
#[cold]
fn copy(batch: &ReceiveBatch, gate: &Gate, mirror: &mut Mirror) {
    let datagrams = batch.packets().flat_map(ReceivedPacket::datagrams);
    let whole = datagrams.filter(|one| !one.is_cut && gate.allows(one.sender.address()));
    mirror.send(&whole.map(|one| one.bytes).collect::<Vec<_>>());
}

/// The sender of a datagram, converted to text only where it is shown.
#[derive(Clone, Copy)]
struct DatagramOrigin<'a> {
    sender: sys::SenderAddress<'a>,
    origin: &'a str,
}

impl Origin for DatagramOrigin<'_> {
    fn ip(&self) -> Option<IpAddr> {
        self.sender.address().map(|address| address.ip())
    }
}

impl fmt::Display for DatagramOrigin<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sender.address() {
            Some(address) => address.fmt(formatter),
            None => formatter.write_str(self.origin),
        }
    }
}
