//! What the daemon answers, as far as it is shown. Members that a daemon of another version does not
//! have are left out, or 0.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::commands::client::ledger::{ProcessFacts, Rejected};

/// Points that are dropped because somebody wants it so.
const INTENDED: [&str; 2] =
    [forwarders::stats::reason::DEBUG_MODE, forwarders::stats::reason::REMOVED];

/// One look at the daemon.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) status: Status,
    pub(super) top: Top,
    /// Of the view of that name.
    pub(super) rejected: Option<Vec<Rejected>>,
    /// With the first look at a daemon.
    pub(super) history: Option<Vec<Totals>>,
}

/// `/api/v1/status`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Status {
    pub(super) version: String,
    pub(super) instance: String,
    pub(super) uptime_s: f64,
    pub(super) process: ProcessFacts,
    pub(super) windows: Windows,
    pub(super) ledger: Ledger,
    pub(super) listeners: Vec<Listener>,
    #[serde(default)]
    pub(super) kamailio: Vec<Kamailio>,
    pub(super) series: Series,
    pub(super) forwarders: BTreeMap<String, Forwarder>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Windows {
    pub(super) interval_s: f64,
    pub(super) lag_s: Option<f64>,
    pub(super) points: Option<u64>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Ledger {
    pub(super) received: u64,
    pub(super) aggregated: u64,
    pub(super) rejected: BTreeMap<String, u64>,
    pub(super) kernel_drops: u64,
    pub(super) bytes: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Listener {
    pub(super) listener: String,
    #[serde(flatten)]
    pub(super) ledger: Ledger,
    pub(super) refused: BTreeMap<String, u64>,
    pub(super) connections: Option<Connections>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Connections {
    pub(super) open: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Kamailio {
    pub(super) endpoint: String,
    pub(super) up: bool,
    pub(super) polls: u64,
    pub(super) last_error: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Series {
    pub(super) total: u64,
    pub(super) overflowed: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Forwarder {
    pub(super) kind: String,
    pub(super) up: bool,
    pub(super) flushed: u64,
    pub(super) recovered: u64,
    pub(super) delivered: u64,
    pub(super) queued: u64,
    pub(super) spooled: u64,
    pub(super) dropped: BTreeMap<String, u64>,
    pub(super) failures: u64,
    pub(super) last_error: Option<String>,
    pub(super) last_error_at: Option<String>,
    pub(super) spool: Option<Spool>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Spool {
    pub(super) degraded: Option<String>,
}

/// `/api/v1/top`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Top {
    pub(super) metrics: Option<Metrics>,
    pub(super) tag_keys: Option<TagKeys>,
    pub(super) senders: Option<Senders>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Metrics {
    pub(super) window_end: Option<String>,
    pub(super) interval_s: f64,
    pub(super) new_within_s: f64,
    pub(super) total: u64,
    pub(super) top: Vec<Metric>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Metric {
    pub(super) name: String,
    pub(super) samples: u64,
    pub(super) window_samples: u64,
    pub(super) series: u64,
    pub(super) new_series: u64,
    pub(super) overflowed: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct TagKeys {
    pub(super) age_s: f64,
    pub(super) series: u64,
    pub(super) is_complete: bool,
    pub(super) other_keys: u64,
    pub(super) top: Vec<TagKey>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct TagKey {
    pub(super) key: String,
    pub(super) values: u64,
    pub(super) series: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Senders {
    pub(super) counted_for_s: f64,
    pub(super) top: Vec<Sender>,
    pub(super) others: Sent,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Sender {
    pub(super) listener: String,
    pub(super) sender: String,
    #[serde(flatten)]
    pub(super) sent: Sent,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Sent {
    pub(super) bytes: u64,
    pub(super) messages: u64,
    pub(super) rejected: u64,
}

/// One of `/api/v1/history`.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Totals {
    pub(super) uptime_s: f64,
    pub(super) received: u64,
    pub(super) delivered: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct History {
    pub(super) totals: Vec<Totals>,
}

impl Status {
    /// What the history would have of this moment.
    pub(super) fn totals(&self) -> Totals {
        let delivered = self.forwarders.values().map(|one| one.delivered).sum();
        Totals { uptime_s: self.uptime_s, received: self.ledger.received, delivered }
    }

    /// Datagrams and connections that nothing was read of.
    pub(super) fn refused(&self) -> u64 {
        self.listeners.iter().map(|one| sum(&one.refused)).sum()
    }
}

impl Forwarder {
    /// Points that were dropped without anybody wanting it.
    pub(super) fn lost(&self) -> u64 {
        let lost = self.dropped.iter().filter(|(reason, _)| !INTENDED.contains(&reason.as_str()));
        lost.map(|(_, points)| points).sum()
    }
}

/// All counts of a map by reason.
pub(super) fn sum(by_reason: &BTreeMap<String, u64>) -> u64 {
    by_reason.values().sum()
}
