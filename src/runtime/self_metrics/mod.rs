//! The daemon's self-metrics: metrics about the daemon itself, with Prometheus names.
//!
//! [`collect`] returns the one list of them, which leaves the daemon in two ways: [`page`] renders it
//! for a Prometheus that scrapes the admin endpoint, and
//! [`SelfMetricsRecorder`](pipeline::SelfMetricsRecorder) sends it through the pipeline.
//! `docs/metrics.md` documents each metric; a test compares the two.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use forwarders::stats as forwarding;

use crate::process;
use crate::runtime::RuntimeState;
use crate::runtime::restart::RestartStats;
use crate::runtime::running_config::ReloadStats;
use basics::time::unix_ms;
use engine::aggregator::windows::WindowCounts;
use engine::listener::signature::stats::{KeyCounts, KeyStats};
use engine::listener::stats::{
    CloseReason, ConnectionCounts, ListenerCounts, ListenerStats, RefusalReason,
};
use engine::listener::tls_stats::TlsCounts;
use engine::protocol::RejectReason;

mod admin;
mod kamailio;
pub mod page;
pub mod pipeline;
mod tls;

/// Label with the name of a listener, as in log and status.
const LISTENER: &str = "listener";
/// Label with the name of a forwarder.
const FORWARDER: &str = "forwarder";
/// Label with the reason of an event. A sample for each reason exists from the start, at 0.
pub const REASON: &str = "reason";

/// The type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelfMetricKind {
    /// A total that starts at 0 with the process and never decreases.
    Counter,
    /// A value that rises and falls.
    Gauge,
}

/// A self-metric with its samples, one for each combination of label values.
#[derive(Clone, Debug)]
pub struct SelfMetricFamily {
    /// The name: `tallyd_…`, ending in the unit, and for a counter in `_total`.
    pub name: &'static str,
    /// Counter or gauge.
    pub kind: SelfMetricKind,
    /// The help text, a phrase without a full stop.
    pub help: &'static str,
    /// The samples; empty if the metric does not apply.
    pub samples: Vec<SelfMetricSample>,
}

/// One value of a family.
#[derive(Clone, Debug)]
pub struct SelfMetricSample {
    /// Label names and values, in the same order in all samples of a family.
    pub labels: Vec<(&'static str, String)>,
    /// The current value.
    pub value: f64,
}

/// Reads the current values of all self-metrics.
#[must_use]
pub fn collect(state: &RuntimeState) -> Vec<SelfMetricFamily> {
    let mut families = SelfMetricFamilies::default();
    families.process(state);
    families.windows(&state.windows.counts());
    families.reloads(&state.config.reloads());
    families.restart(&state.restart);
    let components = state.components.now();
    families.listeners(&by_label(&components.listeners));
    families.kamailio(&components.kamailio);
    families.admin(&state.admin.counts());
    families.values(&state.values.status());
    families.series(state);
    // One reading of each forwarder for all its metrics, so that the ledger's equation holds.
    let forwarders = components.forwarders.iter();
    let forwarders: Vec<_> =
        forwarders.map(|info| (info.name.as_str(), info.stats.counts())).collect();
    families.forwarders(&forwarders);
    families.spools(&forwarders);
    families.0
}

/// The counters of a listener, summed over the threads that share its address.
#[derive(Default)]
struct ListenerNow {
    counts: ListenerCounts,
    kernel_drops: u64,
    receive_buffer: Option<usize>,
    refused: BTreeMap<&'static str, u64>,
    connections: Option<ConnectionCounts>,
    tls: Option<TlsCounts>,
    /// Copies sent and not sent, by target.
    mirrors: BTreeMap<String, [u64; 2]>,
    /// The counts of its secrets, by name.
    keys: BTreeMap<String, KeyCounts>,
}

/// Combines the ledgers of each listener, by its label.
fn by_label(listeners: &[Arc<ListenerStats>]) -> BTreeMap<&str, ListenerNow> {
    let mut by_label: BTreeMap<&str, ListenerNow> = BTreeMap::new();
    for stats in listeners {
        let now = by_label.entry(stats.label()).or_default();
        now.counts.add(&stats.counts());
        now.kernel_drops += stats.kernel_drops();
        now.receive_buffer = now.receive_buffer.max(stats.receive_buffer());
        for (reason, count) in stats.refused() {
            *now.refused.entry(reason).or_default() += count;
        }
        for mirror in stats.mirrors() {
            let [sent, failed] = now.mirrors.entry(mirror.target().to_owned()).or_default();
            *sent += mirror.sent();
            *failed += mirror.failed();
        }
        for KeyStats { name, counts } in stats.keys() {
            now.keys.entry(name).or_default().add(&counts);
        }
        // Only datagram listeners have several threads; one thread serves all connections.
        now.connections = stats.connections();
        now.tls = stats.tls();
    }
    by_label
}

/// The families collected so far.
#[derive(Default)]
struct SelfMetricFamilies(Vec<SelfMetricFamily>);

/// The labels of a sample with `N` of them.
type SelfMetricLabels<const N: usize> = [(&'static str, String); N];

impl SelfMetricFamilies {
    fn add<const N: usize>(
        &mut self,
        kind: SelfMetricKind,
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = (SelfMetricLabels<N>, f64)>,
    ) {
        let samples = samples.into_iter();
        let samples = samples
            .map(|(labels, value)| SelfMetricSample { labels: labels.into(), value })
            .collect();
        self.0.push(SelfMetricFamily { name, kind, help, samples });
    }

    fn counter<const N: usize>(
        &mut self,
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = (SelfMetricLabels<N>, u64)>,
    ) {
        let samples = samples.into_iter().map(|(labels, value)| (labels, value as f64));
        self.add(SelfMetricKind::Counter, name, help, samples);
    }

    fn gauge<const N: usize>(
        &mut self,
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = (SelfMetricLabels<N>, f64)>,
    ) {
        self.add(SelfMetricKind::Gauge, name, help, samples);
    }

    fn process(&mut self, state: &RuntimeState) {
        let version = [("version", env!("CARGO_PKG_VERSION").to_owned())];
        self.gauge("tallyd_build_info", "1, with the version as a label", [(version, 1.0)]);
        self.gauge(
            "tallyd_start_time_seconds",
            "Start time of the process, in Unix seconds",
            [([], unix_seconds(state.started_at).round())],
        );
        let is_ready = state.is_ready.load(std::sync::atomic::Ordering::Acquire);
        self.gauge(
            "tallyd_ready",
            "1 while every listener is bound and read, 0 during a stop",
            [([], flag(is_ready))],
        );
        self.add(
            SelfMetricKind::Counter,
            "tallyd_process_cpu_seconds_total",
            "User and system CPU time of all threads, in seconds",
            [([], process::cpu_time().as_secs_f64())],
        );
        let memory = process::memory();
        self.gauge(
            "tallyd_process_resident_memory_bytes",
            "Resident memory, in bytes",
            memory.map(|memory| ([], memory.resident as f64)),
        );
        self.gauge(
            "tallyd_process_resident_memory_peak_bytes",
            "Peak resident memory, in bytes",
            memory.map(|memory| ([], memory.resident_peak as f64)),
        );
        let dropped = state.log_lines_dropped.load(std::sync::atomic::Ordering::Relaxed);
        self.counter(
            "tallyd_log_lines_dropped_total",
            "Lines of the log dropped because standard error was not read or could not be written",
            [([], dropped)],
        );
    }

    fn windows(&mut self, windows: &WindowCounts) {
        self.gauge(
            "tallyd_window_interval_seconds",
            "Configured length of a window, in seconds",
            [([], windows.interval.as_secs_f64())],
        );
        self.counter("tallyd_windows_total", "Closed windows", [([], windows.closed)]);
        self.counter(
            "tallyd_clock_steps_total",
            "Steps of the wall clock by at least 100 ms",
            [([], windows.clock_steps)],
        );
        let last = windows.last.as_ref();
        self.gauge(
            "tallyd_window_end_timestamp_seconds",
            "End of the last window, in Unix seconds",
            last.map(|last| ([], last.end_ms as f64 / 1e3)),
        );
        self.gauge(
            "tallyd_window_lag_seconds",
            "Delay between the end of the last window and its handover to the forwarders",
            last.map(|last| ([], last.lag.as_secs_f64())),
        );
        self.gauge(
            "tallyd_window_points",
            "Points in the last window, before any select",
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
            "Aggregated samples plus rejected messages",
            |now| now.counts.received(),
        );
        count("tallyd_samples_aggregated_total", "Samples added to a window", |now| {
            now.counts.aggregated
        });
        count(
            "tallyd_messages_skipped_total",
            "Skipped DogStatsD events and service checks",
            |now| now.counts.skipped,
        );
        count(
            "tallyd_samples_timestamped_total",
            "Samples for which a statsd client sent a time, which has no effect",
            |now| now.counts.timestamped,
        );
        count("tallyd_datagrams_read_total", "Datagrams read, including empty ones", |now| {
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
            "Receive buffer that the kernel granted, in bytes",
            listeners
                .iter()
                .filter_map(|(label, now)| Some((label_of(label), now.receive_buffer? as f64))),
        );
        self.connections(listeners);
        self.tls(listeners);
        self.mirrors(listeners);
        self.keys(listeners);
    }

    fn keys(&mut self, listeners: &BTreeMap<&str, ListenerNow>) {
        type Of = fn(&KeyCounts) -> u64;
        let mut by_word = |name, help, label: &'static str, words: &[(&'static str, Of)]| {
            let samples = listeners.iter().flat_map(|(listener, now)| {
                now.keys.iter().flat_map(move |(key, counts)| {
                    let [listener] = label_of(listener);
                    words.iter().map(move |(word, of)| {
                        let word = (label, (*word).to_owned());
                        ([listener.clone(), ("key", key.clone()), word], of(counts))
                    })
                })
            });
            self.counter(name, help, samples);
        };
        by_word(
            "tallyd_signed_datagrams_total",
            "Signed datagrams: accepted in order, reordered or without a number, or lost on their way",
            "outcome",
            &[
                ("in_order", |counts| counts.in_order),
                ("reordered", |counts| counts.reordered),
                ("unnumbered", |counts| counts.unnumbered),
                ("lost", |counts| counts.lost),
            ],
        );
        by_word(
            "tallyd_signature_limits_reached_total",
            "Seconds of a replay window, and senders, that were forgotten because of a limit",
            "limit",
            &[
                ("max_datagrams", |counts| counts.shortened),
                ("max_senders", |counts| counts.forgotten_senders),
            ],
        );
    }

    fn mirrors(&mut self, listeners: &BTreeMap<&str, ListenerNow>) {
        let words = ["sent", "failed"];
        let samples = listeners.iter().flat_map(|(label, now)| {
            now.mirrors.iter().flat_map(move |(target, counts)| {
                let [listener] = label_of(label);
                words.into_iter().zip(*counts).map(move |(outcome, count)| {
                    let labels = [
                        listener.clone(),
                        ("target", target.clone()),
                        ("outcome", outcome.to_owned()),
                    ];
                    (labels, count)
                })
            })
        });
        self.counter(
            "tallyd_mirrored_datagrams_total",
            "Copies of datagrams for a target of `mirror`, sent or failed",
            samples,
        );
    }

    fn listeners_by_reason(&mut self, listeners: &BTreeMap<&str, ListenerNow>) {
        self.counter(
            "tallyd_samples_rejected_total",
            "Rejected messages",
            listeners.iter().flat_map(|(label, now)| {
                let reasons = RejectReason::ALL.iter().zip(now.counts.rejected);
                reasons
                    .map(|(reason, count)| (with_reason(label_of(label), reason.as_str()), count))
            }),
        );
        self.counter(
            "tallyd_refused_total",
            "Datagrams or connections turned away unread",
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
            "Open connections",
            connections.iter().map(|(label, now)| (label_of(label), now.open as f64)),
        );
        self.counter(
            "tallyd_connections_accepted_total",
            "Accepted connections",
            connections.iter().map(|(label, now)| (label_of(label), now.accepted)),
        );
        self.counter(
            "tallyd_accept_errors_total",
            "Failed attempts to accept a connection, such as for lack of file descriptors",
            connections.iter().map(|(label, now)| (label_of(label), now.accept_errors)),
        );
        self.counter(
            "tallyd_connections_closed_total",
            "Closed connections",
            connections.iter().flat_map(|(label, now)| {
                by_reason(&label_of(label), CloseReason::ALL.map(CloseReason::as_str), &now.closed)
            }),
        );
    }

    fn reloads(&mut self, reloads: &ReloadStats) {
        let outcome = |outcome: &str| [("outcome", outcome.to_owned())];
        let counts = [("applied", reloads.applied), ("refused", reloads.refused)];
        self.counter(
            "tallyd_reloads_total",
            "Configuration reloads",
            counts.map(|(word, count)| (outcome(word), count)),
        );
        let is_good = reloads.last.as_ref().is_none_or(|last| last.error.is_none());
        self.gauge(
            "tallyd_reload_successful",
            "0 after a refused reload until one is applied, otherwise 1",
            [([], flag(is_good))],
        );
    }

    fn restart(&mut self, restart: &RestartStats) {
        self.counter(
            "tallyd_restart_state_failures_total",
            "Parts of the restart state that could not be read or written as a whole",
            restart.failures().map(|(part, count)| ([("part", part.to_owned())], count)),
        );
    }

    fn series(&mut self, state: &RuntimeState) {
        let registry = &state.registry;
        self.gauge(
            "tallyd_series",
            "Current series, overflow series included",
            [([], registry.series_count() as f64)],
        );
        self.gauge(
            "tallyd_series_limit",
            "Configured limit on series, overflow series excluded",
            [([], registry.series_max() as f64)],
        );
        self.counter(
            "tallyd_samples_overflowed_total",
            "Samples added to an overflow series because a limit on series was reached",
            [([], registry.overflowed_samples())],
        );
        self.counter(
            "tallyd_gauges_forgotten_total",
            "Gauges whose level was forgotten: changes that arrive later start at 0",
            [([], registry.forgotten_gauges())],
        );
        self.counter(
            "tallyd_series_removed_total",
            "Series that operators removed",
            [([], registry.removed_series())],
        );
        self.counter(
            "tallyd_rule_names_forgotten_total",
            "Names that rules change and that no longer fit into a listener's memory for them",
            [([], registry.forgotten_names())],
        );
    }

    fn forwarders(&mut self, forwarders: &[(&str, forwarding::Counts)]) {
        self.points(forwarders);
        self.gauge(
            "tallyd_forwarder_up",
            "0 after a failed attempt until one succeeds, otherwise 1",
            forwarders.iter().map(|(name, now)| (forwarder(name), flag(!now.down))),
        );
        self.counter(
            "tallyd_forwarder_failures_total",
            "Failed delivery attempts",
            forwarders.iter().map(|(name, now)| (forwarder(name), now.failures)),
        );
        self.gauge(
            "tallyd_forwarder_last_success_timestamp_seconds",
            "Time of the last successful delivery, in Unix seconds",
            forwarders
                .iter()
                .filter_map(|(name, now)| Some((forwarder(name), unix_seconds(now.last_success?)))),
        );
        self.gauge(
            "tallyd_forwarder_last_error_timestamp_seconds",
            "Time of the last failed attempt or refused points, in Unix seconds",
            forwarders.iter().filter_map(|(name, now)| {
                Some((forwarder(name), unix_seconds(now.last_error.as_ref()?.0)))
            }),
        );
        self.pages(forwarders);
    }

    /// The counts that only some kinds of destinations have: the page for Prometheus and Kafka.
    fn pages(&mut self, forwarders: &[(&str, forwarding::Counts)]) {
        self.counter(
            "tallyd_page_connections_refused_total",
            "Connections to the page for Prometheus closed to make room for new ones",
            forwarders
                .iter()
                .filter_map(|(name, now)| Some((forwarder(name), now.refused_connections?))),
        );
        self.counter(
            "tallyd_page_accept_errors_total",
            "Failed attempts to accept a connection to the page for Prometheus",
            forwarders.iter().filter_map(|(name, now)| Some((forwarder(name), now.accept_errors?))),
        );
        self.counter(
            "tallyd_page_access_refused_total",
            "Requests for the page without valid credentials, and failed TLS handshakes",
            forwarders
                .iter()
                .filter_map(|(name, now)| Some((forwarder(name), now.refused_access?))),
        );
        self.counter(
            "tallyd_page_fetches_failed_total",
            "Pages of other programs that could not be fetched or parsed for merge or relay",
            forwarders
                .iter()
                .filter_map(|(name, now)| Some((forwarder(name), now.failed_fetches?))),
        );
        self.gauge(
            "tallyd_prometheus_held_totals",
            "Series whose total stays constant until increments have compensated for negative ones",
            forwarders
                .iter()
                .filter_map(|(name, now)| Some((forwarder(name), now.held_totals? as f64))),
        );
        self.counter(
            "tallyd_prometheus_reduced_histograms_total",
            "How often a native histogram lost resolution because of max_buckets or max_page",
            forwarders
                .iter()
                .filter_map(|(name, now)| Some((forwarder(name), now.reduced_histograms?))),
        );
        self.counter(
            "tallyd_kafka_fallback_records_total",
            "Records that went to the fallback topic because theirs could not be used",
            forwarders
                .iter()
                .filter_map(|(name, now)| Some((forwarder(name), now.fallback_records?))),
        );
        self.counter(
            "tallyd_page_probes_failed_total",
            "Targets that did not answer a probe",
            forwarders.iter().filter_map(|(name, now)| Some((forwarder(name), now.failed_probes?))),
        );
        self.counter(
            "tallyd_page_probes_refused_total",
            "Refused requests for a probe: the target is not allowed, or too many were polled",
            forwarders
                .iter()
                .filter_map(|(name, now)| Some((forwarder(name), now.refused_probes?))),
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
            "Points recovered from the spool of an earlier run",
            |now| now.recovered,
        );
        count("tallyd_points_delivered_total", "Points delivered", |now| now.delivered);
        self.counter(
            "tallyd_points_dropped_total",
            "Points dropped: they will never be delivered",
            forwarders.iter().flat_map(|(name, now)| {
                by_reason(&forwarder(name), forwarding::reason::ALL, &now.dropped)
            }),
        );
        self.gauge(
            "tallyd_points_queued",
            "Points in memory only, including those in flight",
            forwarders.iter().map(|(name, now)| (forwarder(name), now.queued as f64)),
        );
        self.gauge(
            "tallyd_queued_bytes",
            "Estimated memory of the windows in memory, including the one in flight, in bytes",
            forwarders.iter().map(|(name, now)| (forwarder(name), now.queued_bytes as f64)),
        );
        self.gauge(
            "tallyd_points_spooled",
            "Points on disk, including those in flight",
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
            "Size of the spool's files, in bytes",
            spools.iter().map(|(name, spool)| (forwarder(name), spool.bytes as f64)),
        );
        self.gauge(
            "tallyd_spool_oldest_timestamp_seconds",
            "Start of the oldest window in the spool, in Unix seconds",
            spools
                .iter()
                .filter_map(|(name, spool)| Some((forwarder(name), spool.oldest_ms? as f64 / 1e3))),
        );
        self.gauge(
            "tallyd_spool_degraded",
            "1 while the spool cannot be written, read or emptied, otherwise 0",
            spools.iter().map(|(name, spool)| (forwarder(name), flag(spool.degraded.is_some()))),
        );
        self.counter(
            "tallyd_spool_write_failures_total",
            "Failed attempts to write, read or remove a file or open the folder",
            spools.iter().map(|(name, spool)| (forwarder(name), spool.failures)),
        );
        self.counter(
            "tallyd_points_quarantined_total",
            "Refused points that were put into the quarantine",
            spools.iter().map(|(name, spool)| (forwarder(name), spool.quarantined)),
        );
        self.counter(
            "tallyd_points_not_quarantined_total",
            "Refused points that were not put into the quarantine",
            spools.iter().map(|(name, spool)| (forwarder(name), spool.not_quarantined)),
        );
    }
}

fn label_of(listener: &str) -> SelfMetricLabels<1> {
    [(LISTENER, listener.to_owned())]
}

fn forwarder(name: &str) -> SelfMetricLabels<1> {
    [(FORWARDER, name.to_owned())]
}

fn with_reason([first]: SelfMetricLabels<1>, reason: &str) -> SelfMetricLabels<2> {
    [first, (REASON, reason.to_owned())]
}

/// Returns a count for every reason, including those that never occurred: an alert on an increase
/// misses the first occurrence if the series starts with it.
fn by_reason<const N: usize>(
    label: &SelfMetricLabels<1>,
    reasons: [&'static str; N],
    counts: &BTreeMap<&'static str, u64>,
) -> impl Iterator<Item = (SelfMetricLabels<2>, u64)> + use<N> {
    reasons
        .map(|reason| {
            let count = counts.get(reason).copied().unwrap_or_default();
            (with_reason(label.clone(), reason), count)
        })
        .into_iter()
}

fn flag(is_set: bool) -> f64 {
    if is_set { 1.0 } else { 0.0 }
}

fn unix_seconds(time: SystemTime) -> f64 {
    unix_ms(time) as f64 / 1e3
}
