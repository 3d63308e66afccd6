//! The settings and counts that all connections of a server share.

use std::sync::Arc;
use std::time::Duration;

use basics::log_throttle::LogThrottle;
use parking_lot::Mutex;
use tracing::warn;

use crate::accept::SocketPeer;
use crate::access::AccessGate;
use crate::hosts::AllowedHosts;
use crate::long_replies::LongReplies;
use crate::stats::HttpServerStats;

/// The limits on a client.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// Most connections at a time.
    pub connections_max: usize,
    /// How long the head of a request may take, and a connection may wait for its next request.
    pub head_max: Duration,
    /// Longest head of a request, in bytes.
    pub head_bytes_max: usize,
    /// How long a client may read nothing of a reply.
    pub stall_max: Duration,
    /// Age from which the next reply is the last of its connection.
    pub last_reply_after: Duration,
    /// Age at which a connection is cut, unless its reply is a [`LongReply`](crate::LongReply).
    pub age_max: Duration,
}

/// The settings and counts of a server.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The name in the log, such as `admin endpoint`.
    pub(crate) name: String,
    /// The key with the allowed host names, such as `admin: {hosts: […]}`.
    pub(crate) hosts_key: &'static str,
    pub(crate) limits: Mutex<HttpLimits>,
    pub(crate) hosts: AllowedHosts,
    pub(crate) gate: AccessGate,
    pub(crate) stats: Arc<HttpServerStats>,
    pub(crate) refused: Mutex<LogThrottle>,
    pub(crate) failed_handshakes: Mutex<LogThrottle>,
    pub(crate) long_replies: LongReplies,
}

impl Shared {
    /// Logs a failed handshake, unless the throttle suppresses it.
    pub(crate) fn log_handshake(&self, peer: SocketPeer, words: &str) {
        if let Some(count) = self.failed_handshakes.lock().count(1) {
            warn!(server = self.name, %peer, count, "TLS handshakes failed: {words}");
        }
    }
}
