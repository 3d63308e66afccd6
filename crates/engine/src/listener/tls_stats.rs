//! The counts of the TLS handshakes of a listener.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tlsserver::{CertificateFacts, HandshakeFailure, LoadedServer};

use super::counts_by_word::by_word;

/// The counts of a listener that has, or had, TLS. The listener's thread writes them.
#[derive(Debug, Default)]
pub(super) struct TlsStats {
    begun: AtomicU64,
    completed: AtomicU64,
    failed: [AtomicU64; HandshakeFailure::ALL.len()],
    server: Mutex<Option<Arc<LoadedServer>>>,
}

/// The counts of handshakes: `begun` = `open` + `completed` + the sum of `failed`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsCounts {
    /// Handshakes in progress.
    pub open: u64,
    /// Handshakes begun: one for each connection accepted with TLS.
    pub begun: u64,
    /// Completed handshakes.
    pub completed: u64,
    /// Failed handshakes, by reason.
    pub failed: BTreeMap<&'static str, u64>,
    /// The certificate that new connections get; `None` if they are without TLS.
    pub certificate: Option<CertificateFacts>,
}

impl TlsStats {
    /// Sets the certificates for new connections.
    pub(super) fn set_server(&self, server: Option<Arc<LoadedServer>>) {
        *self.server.lock() = server;
    }

    // The orderings let a thread that sees a handshake ended also see it begun, so that `open` never
    // falls below 0.

    pub(super) fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Release);
    }

    pub(super) fn complete(&self) {
        self.completed.fetch_add(1, Ordering::Release);
    }

    pub(super) fn fail(&self, why: HandshakeFailure) {
        self.failed[why as usize].fetch_add(1, Ordering::Release);
    }

    pub(super) fn counts(&self) -> TlsCounts {
        let failed = by_word(HandshakeFailure::ALL.map(HandshakeFailure::as_str), &self.failed);
        let completed = self.completed.load(Ordering::Acquire);
        let begun = self.begun.load(Ordering::Acquire);
        TlsCounts {
            open: begun - completed - failed.values().sum::<u64>(),
            begun,
            completed,
            failed,
            certificate: self.server.lock().as_ref().map(|server| server.facts().clone()),
        }
    }
}
