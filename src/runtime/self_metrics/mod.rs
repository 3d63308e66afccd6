//! The daemon's own metrics: what it counts of itself, as Prometheus names it.
//!
//! One list for two ways out: [`page`] writes it for whoever scrapes the admin endpoint, and
//! [`SelfMetrics`](pipeline::SelfMetrics) sends it through the pipeline. `docs/metrics.md` tells of
//! every one of them.

use std::collections::BTreeMap;
use std::time::SystemTime;

use forwarders::stats as forwarding;

use crate::process;
use crate::runtime::Observed;
use crate::runtime::configured::Reloads;
use basics::time::unix_ms;
use engine::aggregator::windows::WindowCounts;
use engine::listener::stats::{
    CloseReason, ConnectionCounts, ListenerCounts, ListenerStats, RefusalReason,
};
use engine::protocol::RejectReason;

mod kamailio;
pub mod page;
pub mod pipeline;

/// Label of what a listener counts: its name in log and status.
const LISTENER: &str = "listener";
/// Label of what a forwarder counts.
const FORWARDER: &str = "forwarder";
/// Label of what has a reason. Such a sample is there from the start, at 0.
pub const REASON: &str = "reason";

/// What a family's numbers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// They grow, from 0 at the start of the process.
    Counter,
    /// They go up and down.
    Gauge,
}

/// A metric with all its label values.
#[derive(Clone, Debug)]
pub struct Family {
    /// `tallyd_…`, with the unit last, and `_total` behind that of a counter.
    pub name: &'static str,
    /// Counter or gauge.
    pub kind: Kind,
    /// A sentence without a full stop.
    pub help: &'static str,
    /// One for each combination of label values; may be none.
    pub samples: Vec<OwnSample>,
}

/// One number of a family.
#[derive(Clone, Debug)]
pub struct OwnSample {
    /// Names and values, in the same order in all samples of a family.
    pub labels: Vec<(&'static str, String)>,
    /// The number.
    pub value: f64,
}

/// Looks at everything.
#[must_use]
pub fn gather(observed: &Observed) -> Vec<Family> {
    let mut own = Own::default();
    own.process(observed);
    own.windows(&observed.windows.counts());
    own.reloads(&observed.configured.reloads());
    let parts = observed.parts.now();
    own.listeners(&by_label(&parts.listeners));
    own.kamailio(&parts.kamailio);
    own.series(observed);
    let forwarders = parts.forwarders.iter();
    let forwarders: Vec<_> =
        forwarders.map(|one| (one.name.as_str(), one.stats.counts())).collect();
    own.forwarders(&forwarders);
    own.spools(&forwarders);
    own.0
}

/// What a listener counts; threads that share an address are one.
#[derive(Default)]
struct ListenerNow {
    counts: ListenerCounts,
    kernel_drops: u64,
    receive_buffer: Option<usize>,
    refused: BTreeMap<&'static str, u64>,
    connections: Option<ConnectionCounts>,
}

fn by_label(listeners: &[std::sync::Arc<ListenerStats>]) -> BTreeMap<&str, ListenerNow> {
    let mut by_label: BTreeMap<&str, ListenerNow> = BTreeMap::new();
    for stats in listeners {
        let now = by_label.entry(stats.label()).or_default();
        now.counts.add(&stats.counts());
        now.kernel_drops += stats.kernel_drops();
        now.receive_buffer = now.receive_buffer.max(stats.receive_buffer());
        for (reason, count) in stats.refused() {
            *now.refused.entry(reason).or_default() += count;
        }
        // Connections are not shared: there is one thread for all of them.
        now.connections = stats.connections();
    }
    by_label
}

/// The families so far.
#[derive(Default)]
struct Own(Vec<Family>);

type Labels<const N: usize> = [(&'static str, String); N];

impl Own {
    fn add<const N: usize>(
        &mut self,
        kind: Kind,
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = (Labels<N>, f64)>,
    ) {
        let samples = samples.into_iter();
        let samples =
            samples.map(|(labels, value)| OwnSample { labels: labels.into(), value }).collect();
        self.0.push(Family { name, kind, help, samples });
    }

    fn counter<const N: usize>(
        &mut self,
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = (Labels<N>, u64)>,
    ) {
        let samples = samples.into_iter().map(|(labels, value)| (labels, value as f64));
        self.add(Kind::Counter, name, help, samples);
    }

    fn gauge<const N: usize>(
        &mut self,
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = (Labels<N>, f64)>,
    ) {
        self.add(Kind::Gauge, name, help, samples);
    }

    fn process(&mut self, observed: &Observed) {
        let version = [("version", env!("CARGO_PKG_VERSION").to_owned())];
        self.gauge("tallyd_build_info", "1, with the version", [(version, 1.0)]);
        let started = SystemTime::now().checked_sub(observed.started.elapsed());
        self.gauge(
            "tallyd_start_time_seconds",
            "When the process started, in Unix seconds",
            started.map(|started| ([], unix_seconds(started).round())),
        );
        let is_ready = observed.is_ready.load(std::sync::atomic::Ordering::Acquire);
        self.gauge(
            "tallyd_ready",
            "1 while every listener is bound and read, 0 during a stop",
            [([], flag(is_ready))],
        );
        self.add(
            Kind::Counter,
            "tallyd_process_cpu_seconds_total",
            "CPU time of all threads, user and system together",
            [([], process::cpu_time().as_secs_f64())],
        );
        let memory = process::memory();
        self.gauge(
            "tallyd_process_resident_memory_bytes",
            "Memory that the process has now",
            memory.map(|memory| ([], memory.resident as f64)),
        );
        self.gauge(
            "tallyd_process_resident_memory_peak_bytes",
            "The most memory that it ever had",
            memory.map(|memory| ([], memory.resident_peak as f64)),
        );
    }

    fn windows(&mut self, windows: &WindowCounts) {
        self.gauge(
            "tallyd_window_interval_seconds",
            "Length of a window, as configured",
            [([], windows.interval.as_secs_f64())],
        );
        self.counter("tallyd_windows_total", "Windows that were closed", [([], windows.closed)]);
        let last = windows.last.as_ref();
        self.gauge(
            "tallyd_window_end_timestamp_seconds",
            "When the last window ended, in Unix seconds",
            last.map(|last| ([], last.end_ms as f64 / 1e3)),
        );
        self.gauge(
            "tallyd_window_lag_seconds",
            "From the end of the last window until the forwarders had it",
            last.map(|last| ([], last.lag.as_secs_f64())),
        );
        self.gauge(
            "tallyd_window_points",
            "Points of the last window, before any select",
            last.map(|last| ([], last.points as f64)),
        );
    }

    fn listeners(&mut self, listeners: &BTreeMap<&str, ListenerNow>) {
        let mut count = |name, help, of: fn(&ListenerNow) -> u64| {
            let samples = listeners.iter().map(|(label, now)| (label_of(label), of(now)));
            self.counter(name, help, samples);
        };
        count(
            "tallyd_samples_received_total",
            "Messages read: those aggregated and those rejected",
            |now| now.counts.received(),
        );
        count("tallyd_samples_aggregated_total", "Samples that are in a window", |now| {
            now.counts.aggregated
        });
        count("tallyd_messages_skipped_total", "DogStatsD events and service checks", |now| {
            now.counts.skipped
        });
        count("tallyd_datagrams_read_total", "Datagrams read, empty ones too", |now| {
            now.counts.datagrams
        });
        count("tallyd_read_bytes_total", "Bytes read", |now| now.counts.bytes);
        count(
            "tallyd_kernel_drops_total",
            "Datagrams that the kernel dropped because the socket's buffer was full",
            |now| now.kernel_drops,
        );
        self.listeners_by_reason(listeners);
        self.gauge(
            "tallyd_receive_buffer_bytes",
            "The socket's buffer, as the kernel granted it",
            listeners
                .iter()
                .filter_map(|(label, now)| Some((label_of(label), now.receive_buffer? as f64))),
        );
        self.connections(listeners);
    }

    fn listeners_by_reason(&mut self, listeners: &BTreeMap<&str, ListenerNow>) {
        self.counter(
            "tallyd_samples_rejected_total",
            "Messages that were rejected",
            listeners.iter().flat_map(|(label, now)| {
                let reasons = RejectReason::ALL.iter().zip(now.counts.rejected);
                reasons
                    .map(|(reason, count)| (with_reason(label_of(label), reason.as_str()), count))
            }),
        );
        self.counter(
            "tallyd_refused_total",
            "Datagrams or connections of which nothing was read",
            listeners.iter().flat_map(|(label, now)| {
                let words = RefusalReason::ALL.map(RefusalReason::as_str);
                by_reason(&label_of(label), words, &now.refused)
            }),
        );
    }

    fn connections(&mut self, listeners: &BTreeMap<&str, ListenerNow>) {
        let connections: Vec<_> = listeners
            .iter()
            .filter_map(|(label, now)| Some((*label, now.connections.as_ref()?)))
            .collect();
        self.gauge(
            "tallyd_connections_open",
            "Connections that are there",
            connections.iter().map(|(label, now)| (label_of(label), now.open as f64)),
        );
        self.counter(
            "tallyd_connections_accepted_total",
            "Connections that were let in",
            connections.iter().map(|(label, now)| (label_of(label), now.accepted)),
        );
        self.counter(
            "tallyd_connections_closed_total",
            "Connections that ended",
            connections.iter().flat_map(|(label, now)| {
                by_reason(&label_of(label), CloseReason::ALL.map(CloseReason::as_str), &now.closed)
            }),
        );
    }

    fn reloads(&mut self, reloads: &Reloads) {
        let outcome = |outcome: &str| [("outcome", outcome.to_owned())];
        let counts = [("applied", reloads.applied), ("refused", reloads.refused)];
        self.counter(
            "tallyd_reloads_total",
            "Times that the configuration was read anew",
            counts.map(|(word, count)| (outcome(word), count)),
        );
        let is_good = reloads.last.as_ref().is_none_or(|last| last.error.is_none());
        self.gauge(
            "tallyd_reload_successful",
            "0 from a refused reload until one is applied, else 1",
            [([], flag(is_good))],
        );
    }

    fn series(&mut self, observed: &Observed) {
        let registry = &observed.registry;
        self.gauge(
            "tallyd_series",
            "Series that are remembered, overflow series included",
            [([], registry.series_count() as f64)],
        );
        self.gauge(
            "tallyd_series_limit",
            "The most series without the overflow ones, as configured",
            [([], registry.series_max() as f64)],
        );
        self.counter(
            "tallyd_samples_overflowed_total",
            "Samples that lost their tags because a limit on series was reached",
            [([], registry.overflowed_samples())],
        );
    }

    fn forwarders(&mut self, forwarders: &[(&str, forwarding::Counts)]) {
        self.points(forwarders);
        self.gauge(
            "tallyd_forwarder_up",
            "0 from a failed attempt until one succeeds, else 1",
            forwarders.iter().map(|(name, now)| (forwarder(name), flag(!now.down))),
        );
        self.counter(
            "tallyd_forwarder_failures_total",
            "Attempts that failed",
            forwarders.iter().map(|(name, now)| (forwarder(name), now.failures)),
        );
        self.gauge(
            "tallyd_forwarder_last_success_timestamp_seconds",
            "When points were last delivered, in Unix seconds",
            forwarders
                .iter()
                .filter_map(|(name, now)| Some((forwarder(name), unix_seconds(now.last_success?)))),
        );
        self.gauge(
            "tallyd_forwarder_last_error_timestamp_seconds",
            "When an attempt last failed or points were refused, in Unix seconds",
            forwarders.iter().filter_map(|(name, now)| {
                Some((forwarder(name), unix_seconds(now.last_error.as_ref()?.0)))
            }),
        );
        self.counter(
            "tallyd_page_connections_refused_total",
            "Connections to the page for Prometheus that were closed at once, because there were too many",
            forwarders
                .iter()
                .filter_map(|(name, now)| Some((forwarder(name), now.refused_connections?))),
        );
        self.counter(
            "tallyd_page_fetches_failed_total",
            "Pages of other programs that could not be fetched or read, for merge or relay",
            forwarders
                .iter()
                .filter_map(|(name, now)| Some((forwarder(name), now.failed_fetches?))),
        );
    }

    fn points(&mut self, forwarders: &[(&str, forwarding::Counts)]) {
        let mut count = |name, help, of: fn(&forwarding::Counts) -> u64| {
            let samples = forwarders.iter().map(|(name, now)| (forwarder(name), of(now)));
            self.counter(name, help, samples);
        };
        count("tallyd_points_flushed_total", "Points handed to the forwarder", |now| now.flushed);
        count(
            "tallyd_points_recovered_total",
            "Points that an earlier run left in the spool",
            |now| now.recovered,
        );
        count("tallyd_points_delivered_total", "Points that the destination has", |now| {
            now.delivered
        });
        self.counter(
            "tallyd_points_dropped_total",
            "Points that will never arrive",
            forwarders.iter().flat_map(|(name, now)| {
                by_reason(&forwarder(name), forwarding::reason::ALL, &now.dropped)
            }),
        );
        self.gauge(
            "tallyd_points_queued",
            "Points in memory only, those being sent included",
            forwarders.iter().map(|(name, now)| (forwarder(name), now.queued as f64)),
        );
        self.gauge(
            "tallyd_points_spooled",
            "Points on disk, those being sent included",
            forwarders.iter().map(|(name, now)| (forwarder(name), now.spooled as f64)),
        );
    }

    fn spools(&mut self, forwarders: &[(&str, forwarding::Counts)]) {
        let spools = forwarders.iter().filter_map(|(name, now)| Some((*name, now.spool.as_ref()?)));
        let spools: Vec<_> = spools.collect();
        self.gauge(
            "tallyd_spool_files",
            "Windows in the spool",
            spools.iter().map(|(name, spool)| (forwarder(name), spool.files as f64)),
        );
        self.gauge(
            "tallyd_spool_bytes",
            "Bytes of the spool's files",
            spools.iter().map(|(name, spool)| (forwarder(name), spool.bytes as f64)),
        );
        self.gauge(
            "tallyd_spool_oldest_timestamp_seconds",
            "When the oldest window in the spool began, in Unix seconds",
            spools
                .iter()
                .filter_map(|(name, spool)| Some((forwarder(name), spool.oldest_ms? as f64 / 1e3))),
        );
        self.gauge(
            "tallyd_spool_degraded",
            "1 while nothing can be written to the spool, else 0",
            spools.iter().map(|(name, spool)| (forwarder(name), flag(spool.degraded.is_some()))),
        );
        self.counter(
            "tallyd_spool_write_failures_total",
            "Times that a write, or opening the folder, failed",
            spools.iter().map(|(name, spool)| (forwarder(name), spool.failures)),
        );
        self.counter(
            "tallyd_points_quarantined_total",
            "Points that were refused and put into the quarantine",
            spools.iter().map(|(name, spool)| (forwarder(name), spool.quarantined)),
        );
        self.counter(
            "tallyd_points_not_quarantined_total",
            "Points that were refused and not put into the quarantine",
            spools.iter().map(|(name, spool)| (forwarder(name), spool.not_quarantined)),
        );
    }
}

fn label_of(listener: &str) -> Labels<1> {
    [(LISTENER, listener.to_owned())]
}

fn forwarder(name: &str) -> Labels<1> {
    [(FORWARDER, name.to_owned())]
}

fn with_reason([first]: Labels<1>, reason: &str) -> Labels<2> {
    [first, (REASON, reason.to_owned())]
}

/// A count for every reason there is: an alert on growth must not miss the first one.
fn by_reason<const N: usize>(
    label: &Labels<1>,
    reasons: [&'static str; N],
    counts: &BTreeMap<&'static str, u64>,
) -> impl Iterator<Item = (Labels<2>, u64)> + use<N> {
    reasons
        .map(|reason| {
            let count = counts.get(reason).copied().unwrap_or_default();
            (with_reason(label.clone(), reason), count)
        })
        .into_iter()
}

fn flag(is_so: bool) -> f64 {
    if is_so { 1.0 } else { 0.0 }
}

fn unix_seconds(time: SystemTime) -> f64 {
    unix_ms(time) as f64 / 1e3
}
