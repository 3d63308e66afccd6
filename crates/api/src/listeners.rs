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
    /// Its connections; `tcp` and `unix` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<ConnectionStatus>,
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
