//! `/api/v1/status`: the ledger and the state of every part, at one moment.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::CountsByReason;
use crate::forwarders::ForwarderStatus;
use crate::kamailio::KamailioStatus;
use crate::listeners::{ListenerStatus, MessageLedger};
use crate::reload::ReloadStatus;

/// The reply of `/api/v1/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The version of tallyd.
    pub version: String,
    /// Identifies this run of the process.
    pub instance: String,
    /// Time since the start, in seconds.
    #[serde(default)]
    pub uptime_s: f64,
    /// The cost of the process.
    pub process: ProcessStatus,
    /// The connections of the admin endpoint; `None` from a daemon that does not count them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<AdminStatus>,
    /// The daemon's log; `None` from a daemon that does not count its lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<LogStatus>,
    /// Which file a reload reads, and the outcome of reloads.
    #[serde(default)]
    pub reload: ReloadStatus,
    /// The progress of windows.
    #[serde(default)]
    pub windows: WindowStatus,
    /// All listeners together.
    #[serde(default)]
    pub ledger: MessageLedger,
    /// One for each socket that is read, one for each Kamailio server that is polled, and one for all
    /// listeners that a reload removed.
    pub listeners: Vec<ListenerStatus>,
    /// One for each Kamailio server that is polled.
    #[serde(default)]
    pub kamailio: Vec<KamailioStatus>,
    /// The series in memory.
    pub series: SeriesStatus,
    /// The clients of `/api/v1/tap`.
    #[serde(default)]
    pub taps: TapStatus,
    /// The requests to `/api/v1/series`; `None` from an older daemon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<ValuesStatus>,
    /// The destinations by name.
    #[serde(default)]
    pub forwarders: BTreeMap<String, ForwarderStatus>,
}

/// The cost of the process on this host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// The process number.
    pub pid: u32,
    /// CPU time of all threads since the start, user and system together, in seconds.
    pub cpu_s: f64,
    /// Resident memory, in bytes; `None` where /proc cannot be read.
    pub resident_bytes: Option<u64>,
    /// The largest resident memory so far, in bytes; `None` where /proc cannot be read.
    pub resident_peak_bytes: Option<u64>,
}

/// The connections of the admin endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AdminStatus {
    /// Open connections.
    pub open: u64,
    /// Accepted connections.
    pub accepted: u64,
    /// Connections that were closed for a new one, because `admin.max_connections` were open.
    pub cut: u64,
    /// Connections that were closed because their client took too long.
    pub timed_out: u64,
    /// Failed attempts to accept a connection, such as for lack of file descriptors.
    pub accept_errors: u64,
    /// Requests refused because of a foreign host name, or because another site made a browser send
    /// them.
    pub refused_requests: u64,
    /// Requests without valid credentials, beyond a bound on them, or from a client whose access a change
    /// of the configuration ended, and taps that it ended, by reason.
    pub denied: CountsByReason,
    /// TLS handshakes that failed, by reason.
    pub failed_handshakes: CountsByReason,
}

/// The fate of the lines of the daemon's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogStatus {
    /// Lines that were dropped, because standard error was not read or could not be written.
    pub dropped: u64,
}

/// The progress of windows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WindowStatus {
    /// Length of a window, in seconds.
    pub interval_s: f64,
    /// Windows closed.
    pub closed: u64,
    /// How often the wall clock was set; `None` from a daemon of 0.1.0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_steps: Option<u64>,
    /// The time at which the latest window ended; `None` before the first.
    pub last_end: Option<String>,
    /// Time from that end until the forwarders had the window, in seconds.
    pub lag_s: Option<f64>,
    /// Points in the latest window, before any `select`.
    pub points: Option<u64>,
}

/// The series in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeriesStatus {
    /// Series now, overflow series included.
    #[serde(default)]
    pub total: u64,
    /// Samples that overflowed: they were added to an overflow series because a limit was reached.
    pub overflowed: u64,
    /// Series by metric name, all types together; the names with the most.
    #[serde(default)]
    pub by_metric: BTreeMap<String, u64>,
    /// Samples that overflowed, by metric name.
    #[serde(default)]
    pub overflowed_by_metric: BTreeMap<String, u64>,
    /// Gauges whose level was forgotten after `aggregation.gauge_memory`, or because there were too
    /// many; `None` from a daemon of 0.1.0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forgotten_gauges: Option<u64>,
    /// Series that operators removed; `None` from an older daemon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed: Option<u64>,
    /// Names that rules change and that a listener forgot, because `aggregation.rule_cache` was full;
    /// `None` from an earlier daemon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forgotten_names: Option<u64>,
}

/// The requests for current values, and the window that is kept for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ValuesStatus {
    /// Requests answered.
    pub answered: u64,
    /// Requests refused because `admin.series.max_requests` were being answered.
    pub refused: u64,
    /// An estimate of the memory of the last window, which is kept for requests, in bytes. Destinations
    /// that have not delivered it yet share it.
    pub window_bytes: u64,
    /// Windows not kept because they were larger than `admin.series.max_window`.
    pub windows_not_kept: u64,
    /// Series that are recorded, because a chart of them is watched.
    pub watched: u64,
    /// Requests for a chart refused because `admin.series.max_watched` series were watched.
    pub watches_refused: u64,
}

/// The clients of `/api/v1/tap`, and what became of the events for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TapStatus {
    /// Clients connected now.
    pub open: u64,
    /// Clients admitted.
    pub accepted: u64,
    /// Clients turned away because `admin.tap.max_clients` were connected.
    pub refused: u64,
    /// Samples and rejected messages put into the queue of a client.
    pub shown: u64,
    /// Samples and rejected messages that did not fit into the queue of a client that read too slowly.
    pub dropped: u64,
}

impl Status {
    /// Datagrams and connections that the listeners refused.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.listeners.iter().map(|listener| crate::sum(&listener.refused)).sum()
    }
}
