//! The counts of a server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The counts of a server, shared between its tasks and everything that reports them.
#[derive(Debug, Default)]
pub struct HttpServerStats {
    pub(crate) accepted: AtomicU64,
    pub(crate) closed: AtomicU64,
    pub(crate) cut_full: Arc<AtomicU64>,
    pub(crate) cut_slow: AtomicU64,
    pub(crate) accept_errors: Arc<AtomicU64>,
    pub(crate) refused_requests: AtomicU64,
}

/// The counts at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
        }
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
