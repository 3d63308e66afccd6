//! The ledger of the listeners.

use serde::{Deserialize, Serialize};

use crate::CountsByReason;

/// What became of every message: `received` = `aggregated` + the sum of `rejected`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageLedger {
    /// Samples received, rejected messages included.
    pub received: u64,
    /// Samples recorded in a window.
    pub aggregated: u64,
    /// Rejected messages by reason.
    pub rejected: CountsByReason,
    /// Events and service checks of statsd clients, which are no samples and not in `received`.
    #[serde(default)]
    pub skipped: u64,
    /// Samples in `aggregated` for which a statsd client had sent a time, which has no effect.
    #[serde(default)]
    pub timestamped: u64,
    /// Datagrams that the kernel dropped because the receive buffer of a socket was full.
    pub kernel_drops: u64,
    /// Datagrams read; for a Kamailio server, its replies.
    #[serde(default)]
    pub datagrams: u64,
    /// Bytes read.
    #[serde(default)]
    pub bytes: u64,
}

/// A target of a listener's `mirror`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorStatus {
    /// The target as configured, such as `udp://old.example.net:8125`.
    pub target: String,
    /// Datagrams that the system took to send.
    pub sent: u64,
    /// Datagrams that could not be sent at once.
    pub failed: u64,
}

/// A secret of a listener, and the datagrams that it has signed: `accepted` of them arrived and were
/// taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKeyStatus {
    /// Its name in the configuration, or `default`.
    pub key: String,
    /// Datagrams that were accepted.
    pub accepted: u64,
    /// Of these, the datagrams that arrived after a later one of their sender.
    pub reordered: u64,
    /// Of these, the datagrams whose sender does not number them, so that a loss would go unnoticed.
    pub unnumbered: u64,
    /// Numbers of datagrams that have not arrived.
    pub lost: u64,
    /// How often the replay window was shortened because `signatures.max_datagrams` was reached.
    pub shortened: u64,
    /// Senders that were forgotten because `signatures.max_senders` was reached.
    pub forgotten_senders: u64,
}

/// One socket that is read, or one Kamailio server that is polled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// Protocol, transport and address or path, such as `json/udp 127.0.0.1:5090`. Threads that share
    /// an address have one each, of the same name.
    pub listener: String,
    /// The receive buffer that the kernel granted, in bytes; UDP only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receive_buffer: Option<u64>,
    /// Whether the kernel merges datagrams into packets, each of which counts once in `kernel_drops`;
    /// UDP only, and `None` from a daemon whose version has no `gro`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gro: Option<bool>,
    /// Its messages.
    #[serde(flatten)]
    pub ledger: MessageLedger,
    /// Datagrams or, for `tcp` and `unix`, connections that were refused unread, by reason.
    pub refused: CountsByReason,
    /// The targets that get a copy of every datagram; `udp` and `unix_datagram` only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirror: Vec<MirrorStatus>,
    /// The secrets that sign its datagrams, if these are signed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<SigningKeyStatus>,
    /// Its connections; `tcp` and `unix` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<ConnectionStatus>,
    /// Its TLS; only `tcp`, from the first use of TLS on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsStatus>,
}

/// What became of every connection: `accepted` = `open` + the sum of `closed`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectionStatus {
    /// Open connections.
    pub open: u64,
    /// Accepted connections.
    pub accepted: u64,
    /// Closed connections by reason.
    pub closed: CountsByReason,
}

/// TLS of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsStatus {
    /// What became of the handshakes.
    pub handshakes: HandshakeStatus,
    /// The certificate that new connections get; `None` if a reload removed TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateStatus>,
}

/// What became of every handshake: `begun` = `open` + `completed` + the sum of `failed`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HandshakeStatus {
    /// Handshakes in progress.
    pub open: u64,
    /// Handshakes begun.
    pub begun: u64,
    /// Completed handshakes.
    pub completed: u64,
    /// Failed handshakes by reason.
    pub failed: CountsByReason,
}

/// A certificate of the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// Its subject and alternative names.
    pub names: String,
    /// The start of its validity (RFC 3339).
    pub not_before: String,
    /// The end of its validity (RFC 3339).
    pub not_after: String,
}
