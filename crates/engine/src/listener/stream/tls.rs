//! The part of a stream listener that only connections with TLS need.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use basics::time::rfc3339;
use rustix::event::epoll;
use tlsserver::HandshakeFailure;
use tracing::{error, info, warn};

use super::{Server, record};
use crate::listener::connections::OpenConnection;
use crate::listener::handshakes::Admission;
use crate::listener::stats::CloseReason;
use crate::listener::tls_config::{ListenerTls, TlsSettings};
use crate::listener::tls_session::{TURN_CIPHER_BYTES, TlsEnd, TlsSession};

impl Server {
    /// Sets the certificates and limits of new connections.
    pub(super) fn set_tls(&mut self, settings: Option<TlsSettings>) {
        let (server, limits) = settings.map(|new| (new.server, new.limits)).unzip();
        if server.is_some() || self.tls.server.is_some() {
            self.stats.tls_stats().set_server(server.clone());
        }
        if server.is_some() && self.tls.cipher.is_empty() {
            self.tls.cipher = vec![0; TURN_CIPHER_BYTES].into_boxed_slice();
        }
        self.tls.limits = limits.or(self.tls.limits);
        self.tls.server = server;
    }

    /// Applies a reload. Open connections keep their certificates.
    pub(super) fn update_tls(&mut self, tls: Option<&ListenerTls>) {
        let listener = self.stats.label();
        let settings = match tls.map(ListenerTls::settings).transpose() {
            Ok(settings) => settings,
            Err(error) => {
                // The reload has read the files already, so this cannot happen.
                error!(listener, %error, "cannot use new certificates; new connections get the old");
                return;
            }
        };
        match settings.as_ref().map(|settings| &settings.server) {
            new if new == self.tls.server.as_ref() => {}
            Some(server) => {
                let facts = server.facts();
                info!(
                    listener,
                    certificate = facts.names,
                    not_after = rfc3339(facts.not_after),
                    "new certificates are used for new connections"
                );
            }
            None => info!(listener, "new connections are without TLS"),
        }
        self.set_tls(settings);
    }

    /// Whether another handshake may begin, and if not, when.
    fn admission(&self) -> Admission {
        match self.tls.limits.filter(|_| self.tls.server.is_some()) {
            Some(limits) => self.tls.handshakes.admission(limits.max, Instant::now()),
            None => Admission::Now,
        }
    }

    /// Whether a connection may be accepted. Otherwise accepting pauses: connections of many clients at
    /// once wait in the kernel instead of taking each other's places.
    pub(super) fn may_accept(&mut self) -> bool {
        let Admission::At(time) = self.admission() else { return true };
        self.set_accepting(false);
        self.accept_at = Some(time);
        self.tls.is_full = true;
        false
    }

    /// Closes handshakes that have had their turn, until another one may begin.
    pub(super) fn make_room_for_handshake(&mut self) {
        while let Admission::InPlaceOf(number) = self.admission() {
            if self.completes(number) {
                continue;
            }
            let words = "it had taken the longest when another one began, and `tls.max_handshakes` \
                         were in progress";
            self.fail_handshake(number, HandshakeFailure::TooMany, words);
        }
    }

    /// The TLS state of a new connection, if it needs one.
    pub(super) fn new_session(&self) -> Result<Option<Box<TlsSession>>, ()> {
        let Some(server) = &self.tls.server else { return Ok(None) };
        match TlsSession::new(Arc::clone(server.config())) {
            Ok(session) => Ok(Some(Box::new(session))),
            Err(error) => {
                // The library accepted the settings before, so this is a bug.
                self.stats.accept_failed();
                error!(listener = self.stats.label(), %error, "cannot begin a TLS session (bug)");
                Err(())
            }
        }
    }

    pub(super) fn begin_handshake(&mut self, number: u64, now: Instant) {
        self.stats.tls_stats().begin();
        self.tls.handshakes.begin(number, now);
    }

    /// Returns whether the handshake was in progress.
    fn end_handshake(&mut self, number: u64) -> bool {
        let was_open = self.tls.handshakes.end(number);
        if was_open && std::mem::take(&mut self.tls.is_full) {
            self.accept_at = Some(Instant::now());
        }
        was_open
    }

    /// Reads the bytes of a handshake that the kernel holds: a busy thread may be late, and not the client.
    /// Returns whether the handshake has ended.
    fn completes(&mut self, number: u64) -> bool {
        self.read_rest(number);
        !self.tls.handshakes.is_open(number)
    }

    /// Counts a failed handshake, and closes its connection.
    fn fail_handshake(&mut self, number: u64, why: HandshakeFailure, words: &str) {
        if self.end_handshake(number) {
            self.stats.tls_stats().fail(why);
            if let Some(count) = self.tls.throttles[why as usize].count(1) {
                let peer = self.connections.get(number).map(|one| one.peer.to_string());
                warn!(
                    listener = self.stats.label(),
                    count,
                    peer,
                    reason = why.as_str(),
                    "TLS handshakes failed; the latest one: {words}"
                );
            }
        }
        self.close(number, CloseReason::Handshake);
    }

    /// Reads from a connection with TLS once. Returns whether there was data.
    pub(super) fn read_tls(&mut self, number: u64) -> bool {
        let Some(connection) = self.connections.get_mut(number) else { return false };
        let Some(tls) = &mut connection.tls else { return false };
        self.recorder.hand_over_at_edge();
        let was_blocked = tls.is_blocked;
        let turn = tls.receive(&connection.socket, &mut self.tls.cipher, &mut self.buffer);
        if tls.is_blocked != was_blocked {
            watch_for_room(&self.poll, &connection.socket, number, tls.is_blocked);
        }
        let is_complete = !tls.is_handshaking();
        if turn.length > 0 {
            let (max_line, bytes) = (self.config.max_line, &self.buffer[..turn.length]);
            if !record(&mut self.recorder, &self.stats, max_line, connection, bytes) {
                self.close(number, CloseReason::BadPacket);
                return false;
            }
        }
        if is_complete && self.end_handshake(number) {
            self.stats.tls_stats().complete();
        }
        let is_open = turn.end.is_none();
        match turn.end {
            None => {}
            Some(TlsEnd::ByPeer) => self.close(number, CloseReason::ByPeer),
            Some(TlsEnd::Broken) => self.close(number, CloseReason::Failed),
            Some(TlsEnd::Refused(_, words)) if is_complete => self.close_broken(number, &words),
            Some(TlsEnd::Refused(why, words)) => self.fail_handshake(number, why, &words),
        }
        turn.has_read && is_open
    }

    /// Closes a connection whose peer broke the rules of TLS after the handshake.
    fn close_broken(&mut self, number: u64, words: &str) {
        if let Some(count) = self.tls.broken_throttle.count(1) {
            let peer = self.connections.get(number).map(|one| one.peer.to_string());
            let listener = self.stats.label();
            warn!(listener, count, peer, "TLS connections failed; the latest one: {words}");
        }
        self.close(number, CloseReason::Failed);
    }

    /// Ends the TLS session of a connection that is closed for this reason.
    pub(super) fn close_tls(
        &mut self,
        number: u64,
        connection: &mut OpenConnection,
        why: CloseReason,
    ) {
        let Some(tls) = &mut connection.tls else { return };
        tls.close(&connection.socket);
        if self.end_handshake(number) {
            self.stats.tls_stats().fail(match why {
                CloseReason::Evicted => HandshakeFailure::TooMany,
                CloseReason::Idle => HandshakeFailure::Timeout,
                _ => HandshakeFailure::Closed,
            });
        }
    }

    /// The time at which the next handshake has taken too long.
    pub(super) fn next_handshake_timeout(&self) -> Option<Instant> {
        self.tls.handshakes.next_timeout(self.tls.limits?.timeout.get())
    }

    pub(super) fn close_slow_handshakes(&mut self, now: Instant) {
        let Some(limits) = self.tls.limits else { return };
        while let Some(number) = self.tls.handshakes.overdue(limits.timeout.get(), now) {
            if self.completes(number) {
                continue;
            }
            let words = format!("it took longer than `tls.handshake_timeout` ({})", limits.timeout);
            self.fail_handshake(number, HandshakeFailure::Timeout, &words);
        }
    }
}

/// Watches a connection also for room to send, or only for data again.
fn watch_for_room(poll: &OwnedFd, socket: &OwnedFd, number: u64, waits: bool) {
    let room = if waits { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
    let data = epoll::EventData::new_u64(number);
    // Fails only for a socket that is not watched, and this one is.
    let _cannot_fail = epoll::modify(poll, socket, data, epoll::EventFlags::IN | room);
}
