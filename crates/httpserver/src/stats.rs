//! The counts of a server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tlsserver::HandshakeFailure;

/// The counts of a server, shared between its tasks and everything that reports them.
#[derive(Debug, Default)]
pub struct HttpServerStats {
    pub(crate) accepted: AtomicU64,
    pub(crate) closed: AtomicU64,
    pub(crate) cut_full: Arc<AtomicU64>,
    pub(crate) cut_slow: AtomicU64,
    pub(crate) accept_errors: Arc<AtomicU64>,
    pub(crate) refused_requests: AtomicU64,
    pub(crate) access: AccessStats,
}

/// Why a request gets no answer although it is for this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// It has no credentials.
    Missing,
    /// Its credentials are wrong or malformed.
    Wrong,
    /// Too many passwords are being verified.
    Busy,
    /// It exceeds the rate limit.
    Rate,
    /// Its client has lost its access since it connected. Also counts open replies that end.
    Revoked,
}

impl Denied {
    const ALL: [Self; 5] = [Self::Missing, Self::Wrong, Self::Busy, Self::Rate, Self::Revoked];

    /// The name in the status.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "no_credentials",
            Self::Wrong => "wrong_credentials",
            Self::Busy => "busy",
            Self::Rate => "rate_limit",
            Self::Revoked => "revoked",
        }
    }
}

/// Requests that were denied and handshakes that failed, by reason.
#[derive(Debug, Default)]
pub(crate) struct AccessStats {
    denied: [AtomicU64; Denied::ALL.len()],
    handshakes: [AtomicU64; HandshakeFailure::ALL.len()],
    /// All of them.
    total: Arc<AtomicU64>,
}

impl AccessStats {
    pub(crate) fn count(&self, reason: Denied) {
        self.denied[reason as usize].fetch_add(1, Ordering::Relaxed);
        add_one(&self.total);
    }

    pub(crate) fn count_handshake(&self, reason: HandshakeFailure) {
        self.handshakes[reason as usize].fetch_add(1, Ordering::Relaxed);
        add_one(&self.total);
    }
}

/// The counts at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpServerCounts {
    /// Open connections.
    pub open: u64,
    /// Accepted connections.
    pub accepted: u64,
    /// Connections that were closed for a new one, because all were taken.
    pub cut_full: u64,
    /// Connections that were closed because the client took too long.
    pub cut_slow: u64,
    /// Failed attempts to accept a connection.
    pub accept_errors: u64,
    /// Requests under a foreign host name or by another site.
    pub refused_requests: u64,
    /// Requests without valid credentials, beyond a bound on them, or from a client whose access a change
    /// of the configuration ended, and taps that it ended, by reason.
    pub denied_requests: [(&'static str, u64); Denied::ALL.len()],
    /// Failed TLS handshakes by reason.
    pub failed_handshakes: [(&'static str, u64); HandshakeFailure::ALL.len()],
}

impl HttpServerStats {
    /// Reads all counts.
    #[must_use]
    pub fn counts(&self) -> HttpServerCounts {
        // In this order, every connection counted as closed is also counted as accepted.
        let closed = self.closed.load(Ordering::Acquire);
        let accepted = self.accepted.load(Ordering::Acquire);
        HttpServerCounts {
            open: accepted - closed,
            accepted,
            cut_full: self.cut_full.load(Ordering::Relaxed),
            cut_slow: self.cut_slow.load(Ordering::Relaxed),
            accept_errors: self.accept_errors.load(Ordering::Relaxed),
            refused_requests: self.refused_requests.load(Ordering::Relaxed),
            denied_requests: Denied::ALL.map(|reason| {
                let count = self.access.denied[reason as usize].load(Ordering::Relaxed);
                (reason.as_str(), count)
            }),
            failed_handshakes: HandshakeFailure::ALL.map(|reason| {
                let count = self.access.handshakes[reason as usize].load(Ordering::Relaxed);
                (reason.as_str(), count)
            }),
        }
    }

    /// Counts denied requests and failed handshakes together.
    #[must_use]
    pub fn refused_access(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.access.total)
    }

    /// Counts connections that were closed for a new one.
    #[must_use]
    pub fn cut_full(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.cut_full)
    }

    /// Counts failed attempts to accept a connection.
    #[must_use]
    pub fn accept_errors(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.accept_errors)
    }
}

pub(crate) fn add_one(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Release);
}
