//! The TLS state of a stream listener.

use std::sync::Arc;

use basics::log_throttle::LogThrottle;
use tlsserver::{HandshakeFailure, LoadedServer};

use crate::listener::handshakes::Handshakes;
use crate::listener::tls_config::HandshakeLimits;

/// The TLS state of a listener.
#[derive(Default)]
pub(super) struct TlsServer {
    /// The certificates for new connections; `None` without TLS.
    pub(super) server: Option<Arc<LoadedServer>>,
    /// The latest limits, which also apply to handshakes that began before TLS was removed.
    pub(super) limits: Option<HandshakeLimits>,
    pub(super) handshakes: Handshakes,
    /// Whether no connection is accepted because too many handshakes are in progress.
    pub(super) is_full: bool,
    /// Ciphertext of the connection that is read; empty until it is needed.
    pub(super) cipher: Box<[u8]>,
    pub(super) throttles: [LogThrottle; HandshakeFailure::ALL.len()],
    pub(super) broken_throttle: LogThrottle,
}
