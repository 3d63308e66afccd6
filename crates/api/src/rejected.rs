//! `/api/v1/rejected`: the latest rejected messages.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// The reply of `/api/v1/rejected`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedList {
    /// The latest rejected messages, newest first.
    pub rejected: Vec<RejectedEntry<'static>>,
}

/// A rejected message, as `/api/v1/rejected` and a tap show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedEntry<'a> {
    /// When the listener read it, as RFC 3339 in UTC.
    pub time: Cow<'a, str>,
    /// The listener that received it, as the status names it.
    #[serde(default)]
    pub listener: Cow<'a, str>,
    /// The address or the process that sent it; `unknown` if the listener was too busy to look
    /// it up.
    pub sender: Cow<'a, str>,
    /// The ledger's word for the reason.
    pub reason: Cow<'a, str>,
    /// Where in the datagram or line the error starts, in bytes from 0.
    pub offset: u64,
    /// The input that is valid at the offset, such as `a value`.
    pub expected: Cow<'a, str>,
    /// The sender's likely mistake and its correction, if the daemon recognizes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<Cow<'a, str>>,
    /// The bytes around the offset, with control characters and other deceptive characters escaped.
    pub excerpt: Cow<'a, str>,
}
