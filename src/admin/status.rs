//! What `/api/v1/status` and `/api/v1/rejected` say. ListenerCounts are samples and points.

use std::collections::BTreeMap;

use basics::time::{rfc3339, rfc3339_ms};
use forwarders::stats::SpoolCounts;
use serde::Serialize;

use crate::process;
use crate::runtime::configured::{self, Configured, Reloads};
use crate::runtime::{Observed, ObservedForwarder};
use engine::aggregator::windows::WindowCounts;
use engine::listener::rejected::RejectedMessage;
use engine::listener::stats::{ConnectionCounts, ListenerCounts, ListenerStats};
use engine::listener::tap::taps::TapStatus;
use kamailio::stats::PollerStats;

/// Metrics that `by_metric` names: those with the most series.
const METRICS_MAX: usize = 1_000;

/// Everything at one moment.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    version: &'static str,
    instance: String,
    uptime_s: f64,
    process: Process,
    reload: Reload,
    windows: Windows,
    ledger: Ledger,
    listeners: Vec<Listener>,
    kamailio: Vec<Kamailio>,
    series: Series,
    taps: Taps,
    forwarders: BTreeMap<String, Forwarder>,
}

/// What the process costs this host.
#[derive(Debug, Serialize)]
struct Process {
    pid: u32,
    cpu_s: f64,
    resident_bytes: Option<u64>,
    resident_peak_bytes: Option<u64>,
}

/// What a reload reads, and how reloads went.
#[derive(Debug, Serialize)]
struct Reload {
    file: Option<String>,
    applied: u64,
    refused: u64,
    last: Option<LastReload>,
}

#[derive(Debug, Serialize)]
struct LastReload {
    at: String,
    changes: Vec<String>,
    error: Option<String>,
}

/// How the windows go.
#[derive(Debug, Serialize)]
struct Windows {
    interval_s: f64,
    closed: u64,
    last_end: Option<String>,
    lag_s: Option<f64>,
    points: Option<u64>,
}

/// Where every sample went: `received` = `aggregated` + the sum of `rejected`.
#[derive(Debug, Serialize)]
struct Ledger {
    received: u64,
    aggregated: u64,
    rejected: BTreeMap<&'static str, u64>,
    skipped: u64,
    kernel_drops: u64,
    datagrams: u64,
    bytes: u64,
}

/// One socket.
#[derive(Debug, Serialize)]
struct Listener {
    listener: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    receive_buffer: Option<usize>,
    #[serde(flatten)]
    ledger: Ledger,
    /// Datagrams or, where there are any, connections that nothing was read of.
    refused: BTreeMap<&'static str, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connections: Option<Connections>,
}

/// Where every connection went: `accepted` = `open` + the sum of `closed`.
#[derive(Debug, Serialize)]
struct Connections {
    open: u64,
    accepted: u64,
    closed: BTreeMap<&'static str, u64>,
}

/// How the polls of a Kamailio go.
#[derive(Debug, Serialize)]
struct Kamailio {
    endpoint: String,
    tags: BTreeMap<String, String>,
    up: bool,
    polls: u64,
    failures: u64,
    duration_s: f64,
    last_error: Option<String>,
    last_error_at: Option<String>,
    last_success: Option<String>,
    /// Methods that it does not answer, each with its reason.
    faults: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
struct Series {
    total: usize,
    overflowed: u64,
    by_metric: BTreeMap<String, u64>,
    overflowed_by_metric: BTreeMap<String, u64>,
}

/// Who looks on at what comes.
#[derive(Debug, Serialize)]
struct Taps {
    open: u64,
    accepted: u64,
    refused: u64,
    shown: u64,
    dropped: u64,
}

/// Where every point went: `flushed` + `recovered` = `delivered` + `queued` + `spooled` + the sum of
/// `dropped`.
#[derive(Debug, Serialize)]
struct Forwarder {
    kind: &'static str,
    up: bool,
    flushed: u64,
    recovered: u64,
    delivered: u64,
    queued: u64,
    spooled: u64,
    dropped: BTreeMap<&'static str, u64>,
    failures: u64,
    last_error: Option<String>,
    last_error_at: Option<String>,
    last_success: Option<String>,
    spool: Option<Spool>,
    /// Only of those that others connect to.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused_connections: Option<u64>,
    /// Only of those that fetch pages of other programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_fetches: Option<u64>,
}

/// What waits on disk for a destination, and whether more can.
#[derive(Debug, Serialize)]
struct Spool {
    folder: String,
    files: u64,
    file_bytes: u64,
    oldest: Option<String>,
    degraded: Option<String>,
    write_failures: u64,
    quarantined: u64,
    not_quarantined: u64,
}

impl Status {
    /// Looks at everything.
    pub(super) fn of(observed: &Observed) -> Self {
        let (mut total, mut kernel_drops) = (ListenerCounts::default(), 0);
        let mut listeners = Vec::new();
        let parts = observed.parts.now();
        for stats in &parts.listeners {
            let (counts, drops) = (stats.counts(), stats.kernel_drops());
            total.add(&counts);
            kernel_drops += drops;
            listeners.push(Listener::of(stats, &counts, drops));
        }
        Self {
            version: env!("CARGO_PKG_VERSION"),
            instance: observed.instance.clone(),
            uptime_s: observed.started.elapsed().as_secs_f64(),
            process: Process::now(),
            reload: Reload::of(&observed.configured),
            windows: Windows::of(&observed.windows.counts()),
            ledger: Ledger::of(&total, kernel_drops),
            listeners,
            kamailio: parts.kamailio.iter().map(|stats| Kamailio::of(stats)).collect(),
            series: Series::of(observed),
            taps: Taps::of(observed.taps.status()),
            forwarders: parts
                .forwarders
                .iter()
                .map(|forwarder| (forwarder.name.clone(), Forwarder::of(forwarder)))
                .collect(),
        }
    }
}

impl Taps {
    fn of(status: TapStatus) -> Self {
        let TapStatus { open, accepted, refused, shown, dropped } = status;
        Self { open, accepted, refused, shown, dropped }
    }
}

impl Process {
    fn now() -> Self {
        let memory = process::memory();
        Self {
            pid: std::process::id(),
            cpu_s: process::cpu_time().as_secs_f64(),
            resident_bytes: memory.map(|memory| memory.resident),
            resident_peak_bytes: memory.map(|memory| memory.resident_peak),
        }
    }
}

impl Reload {
    fn of(configured: &Configured) -> Self {
        let Reloads { applied, refused, last } = configured.reloads();
        Self {
            file: configured.file().map(|file| file.display().to_string()),
            applied,
            refused,
            last: last.map(|configured::LastReload { at, changes, error }| LastReload {
                at: rfc3339(at),
                changes,
                error,
            }),
        }
    }
}

impl Windows {
    fn of(counts: &WindowCounts) -> Self {
        let last = counts.last;
        Self {
            interval_s: counts.interval.as_secs_f64(),
            closed: counts.closed,
            last_end: last.map(|last| rfc3339_ms(last.end_ms)),
            lag_s: last.map(|last| last.lag.as_secs_f64()),
            points: last.map(|last| last.points),
        }
    }
}

impl Ledger {
    fn of(counts: &ListenerCounts, kernel_drops: u64) -> Self {
        Self {
            received: counts.received(),
            aggregated: counts.aggregated,
            rejected: counts.rejected_by_reason(),
            skipped: counts.skipped,
            kernel_drops,
            datagrams: counts.datagrams,
            bytes: counts.bytes,
        }
    }
}

impl Listener {
    fn of(stats: &ListenerStats, counts: &ListenerCounts, kernel_drops: u64) -> Self {
        Self {
            listener: stats.label().to_owned(),
            receive_buffer: stats.receive_buffer(),
            ledger: Ledger::of(counts, kernel_drops),
            refused: stats.refused(),
            connections: stats.connections().map(|ConnectionCounts { open, accepted, closed }| {
                Connections { open, accepted, closed }
            }),
        }
    }
}

impl Kamailio {
    fn of(stats: &PollerStats) -> Self {
        let state = stats.state();
        let (last_error_at, last_error) = state.last_error.unzip();
        Self {
            endpoint: stats.endpoint().to_owned(),
            tags: stats.tags().clone(),
            up: state.up,
            polls: state.polls,
            failures: state.failures,
            duration_s: state.duration.as_secs_f64(),
            last_error,
            last_error_at: last_error_at.map(rfc3339),
            last_success: state.last_success.map(rfc3339),
            faults: state.faults,
        }
    }
}

impl Series {
    fn of(observed: &Observed) -> Self {
        let usage = observed.registry.usage(METRICS_MAX);
        let overflowed = usage.iter().filter(|metric| metric.overflowed > 0);
        Self {
            total: observed.registry.series_count(),
            overflowed: observed.registry.overflowed_samples(),
            overflowed_by_metric: overflowed
                .map(|metric| (metric.name.clone(), metric.overflowed))
                .collect(),
            by_metric: usage.into_iter().map(|metric| (metric.name, metric.series)).collect(),
        }
    }
}

impl Forwarder {
    fn of(forwarder: &ObservedForwarder) -> Self {
        let counts = forwarder.stats.counts();
        let (last_error_at, last_error) = counts.last_error.unzip();
        Self {
            kind: forwarder.kind,
            up: !counts.down,
            flushed: counts.flushed,
            recovered: counts.recovered,
            delivered: counts.delivered,
            queued: counts.queued,
            spooled: counts.spooled,
            dropped: counts.dropped,
            failures: counts.failures,
            last_error,
            last_error_at: last_error_at.map(rfc3339),
            last_success: counts.last_success.map(rfc3339),
            spool: counts.spool.map(Spool::of),
            refused_connections: counts.refused_connections,
            failed_fetches: counts.failed_fetches,
        }
    }
}

impl Spool {
    fn of(counts: SpoolCounts) -> Self {
        Self {
            folder: counts.folder.display().to_string(),
            files: counts.files,
            file_bytes: counts.bytes,
            oldest: counts.oldest_ms.map(rfc3339_ms),
            degraded: counts.degraded,
            write_failures: counts.failures,
            quarantined: counts.quarantined,
            not_quarantined: counts.not_quarantined,
        }
    }
}

/// The latest rejected messages, newest first.
#[derive(Debug, Serialize)]
pub(super) struct Rejected {
    rejected: Vec<Message>,
}

#[derive(Debug, Serialize)]
struct Message {
    time: String,
    listener: String,
    sender: String,
    reason: &'static str,
    offset: usize,
    expected: &'static str,
    excerpt: String,
}

impl Rejected {
    /// Looks at them.
    pub(super) fn of(observed: &Observed) -> Self {
        Self { rejected: observed.rejected.latest().into_iter().map(Message::of).collect() }
    }
}

impl Message {
    fn of(message: RejectedMessage) -> Self {
        Self {
            time: rfc3339(message.time),
            listener: message.listener,
            sender: message.sender,
            reason: message.reason.as_str(),
            offset: message.offset,
            expected: message.expected,
            excerpt: message.excerpt,
        }
    }
}
