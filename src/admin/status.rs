//! The reply of `/api/v1/status`.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use api::CountsByReason;
use api::forwarders::{ForwarderStatus, SpoolStatus};
use api::kamailio::KamailioStatus;
use api::listeners::{
    CertificateStatus, ConnectionStatus, HandshakeStatus, ListenerStatus, MessageLedger,
    MirrorStatus, SigningKeyStatus, TlsStatus,
};
use api::reload::{LastReload, ReloadStatus};
use api::status::{AdminStatus, LogStatus, ProcessStatus, SeriesStatus, Status, WindowStatus};
use basics::time::{rfc3339, rfc3339_ms};
use forwarders::stats::SpoolCounts;
use httpserver::HttpServerCounts;

use crate::process;
use crate::runtime::running_config::{ReloadStats, RunningConfig};
use crate::runtime::{ForwarderInfo, RuntimeState};
use engine::aggregator::windows::WindowCounts;
use engine::listener::mirror::MirrorStats;
use engine::listener::signature::stats::KeyStats;
use engine::listener::stats::{ConnectionCounts, ListenerCounts, ListenerStats};
use engine::listener::tls_stats::TlsCounts;
use kamailio::stats::PollerStats;

/// Metrics that `by_metric` names: those with the most series.
const METRICS_MAX: usize = 1_000;

/// Everything at one moment.
pub(super) fn of(runtime: &RuntimeState) -> Status {
    let (mut total, mut kernel_drops) = (ListenerCounts::default(), 0);
    let mut listeners = Vec::new();
    // Read before the components: a reload replaces these first and is then counted as applied, so a
    // status that counts it must show what it changed.
    let reload = reload(&runtime.config);
    let components = runtime.components.now();
    for stats in &components.listeners {
        let (counts, drops) = (stats.counts(), stats.kernel_drops());
        total.add(&counts);
        kernel_drops += drops;
        listeners.push(listener(stats, &counts, drops));
    }
    let forwarders = components.forwarders.iter();
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        instance: runtime.instance.clone(),
        uptime_s: runtime.started.elapsed().as_secs_f64(),
        process: process(),
        admin: Some(admin(runtime.admin.counts())),
        log: Some(LogStatus { dropped: runtime.log_lines_dropped.load(Ordering::Relaxed) }),
        reload,
        windows: windows(&runtime.windows.counts()),
        ledger: ledger(&total, kernel_drops),
        listeners,
        kamailio: components.kamailio.iter().map(|stats| kamailio(stats)).collect(),
        series: series(runtime),
        taps: runtime.output_taps.added_to(runtime.taps.status()),
        values: Some(runtime.values.status()),
        forwarders: forwarders.map(|one| (one.name.clone(), forwarder(one))).collect(),
    }
}

fn admin(counts: HttpServerCounts) -> AdminStatus {
    AdminStatus {
        open: counts.open,
        accepted: counts.accepted,
        cut: counts.cut_full,
        timed_out: counts.cut_slow,
        accept_errors: counts.accept_errors,
        refused_requests: counts.refused_requests,
        denied: by_reason(&counts.denied_requests),
        failed_handshakes: by_reason(&counts.failed_handshakes),
    }
}

/// The reasons that have occurred.
fn by_reason(counts: &[(&'static str, u64)]) -> CountsByReason {
    let occurred = counts.iter().filter(|(_, count)| *count > 0);
    occurred.map(|(reason, count)| ((*reason).to_owned(), *count)).collect()
}

fn process() -> ProcessStatus {
    let memory = process::memory();
    ProcessStatus {
        pid: std::process::id(),
        cpu_s: process::cpu_time().as_secs_f64(),
        resident_bytes: memory.map(|memory| memory.resident),
        resident_peak_bytes: memory.map(|memory| memory.resident_peak),
    }
}

fn reload(config: &RunningConfig) -> ReloadStatus {
    let ReloadStats { applied, refused, last, .. } = config.reloads();
    let last = last.map(|last| LastReload {
        at: rfc3339(last.at),
        changes: last.changes,
        error: last.error,
    });
    let file = config.file().map(|file| file.display().to_string());
    ReloadStatus { file, applied, refused, last }
}

fn windows(counts: &WindowCounts) -> WindowStatus {
    let last = counts.last;
    WindowStatus {
        interval_s: counts.interval.as_secs_f64(),
        closed: counts.closed,
        clock_steps: Some(counts.clock_steps),
        last_end: last.map(|last| rfc3339_ms(last.end_ms)),
        lag_s: last.map(|last| last.lag.as_secs_f64()),
        points: last.map(|last| last.points),
    }
}

fn ledger(counts: &ListenerCounts, kernel_drops: u64) -> MessageLedger {
    MessageLedger {
        received: counts.received(),
        aggregated: counts.aggregated,
        rejected: owned(counts.rejected_by_reason()),
        skipped: counts.skipped,
        timestamped: counts.timestamped,
        kernel_drops,
        datagrams: counts.datagrams,
        bytes: counts.bytes,
    }
}

fn listener(stats: &ListenerStats, counts: &ListenerCounts, kernel_drops: u64) -> ListenerStatus {
    ListenerStatus {
        listener: stats.label().to_owned(),
        receive_buffer: stats.receive_buffer().map(|bytes| bytes as u64),
        gro: stats.receive_buffer().map(|_| stats.is_merging()),
        ledger: ledger(counts, kernel_drops),
        refused: owned(stats.refused()),
        mirror: stats.mirrors().iter().map(|mirror| mirror_status(mirror)).collect(),
        keys: stats.keys().into_iter().map(key_status).collect(),
        connections: stats.connections().map(
            |ConnectionCounts { open, accepted, closed, .. }| ConnectionStatus {
                open,
                accepted,
                closed: owned(closed),
            },
        ),
        tls: stats.tls().map(tls),
    }
}

fn tls(counts: TlsCounts) -> TlsStatus {
    let TlsCounts { open, begun, completed, failed, certificate } = counts;
    TlsStatus {
        handshakes: HandshakeStatus { open, begun, completed, failed: owned(failed) },
        certificate: certificate.map(|facts| CertificateStatus {
            names: facts.names,
            not_before: rfc3339(facts.not_before),
            not_after: rfc3339(facts.not_after),
        }),
    }
}

fn mirror_status(stats: &MirrorStats) -> MirrorStatus {
    let target = stats.target().to_owned();
    MirrorStatus { target, sent: stats.sent(), failed: stats.failed() }
}

fn key_status(KeyStats { name, counts }: KeyStats) -> SigningKeyStatus {
    SigningKeyStatus {
        key: name,
        accepted: counts.accepted(),
        reordered: counts.reordered,
        unnumbered: counts.unnumbered,
        lost: counts.lost,
        shortened: counts.shortened,
        forgotten_senders: counts.forgotten_senders,
    }
}

fn kamailio(stats: &PollerStats) -> KamailioStatus {
    let state = stats.state();
    let (last_error_at, last_error) = state.last_error.unzip();
    KamailioStatus {
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

fn series(runtime: &RuntimeState) -> SeriesStatus {
    let usage = runtime.registry.usage(METRICS_MAX);
    // Together, so that the counts add up.
    let (overflowed, overflowed_by_metric) = runtime.registry.overflowed_by_metric(METRICS_MAX);
    SeriesStatus {
        total: runtime.registry.series_count() as u64,
        overflowed,
        overflowed_by_metric: overflowed_by_metric.into_iter().collect(),
        forgotten_gauges: Some(runtime.registry.forgotten_gauges()),
        removed: Some(runtime.registry.removed_series()),
        forgotten_names: Some(runtime.registry.forgotten_names()),
        by_metric: usage.into_iter().map(|metric| (metric.name, metric.series)).collect(),
    }
}

fn forwarder(forwarder: &ForwarderInfo) -> ForwarderStatus {
    let counts = forwarder.stats.counts();
    let (last_error_at, last_error) = counts.last_error.unzip();
    ForwarderStatus {
        kind: forwarder.kind.to_owned(),
        up: !counts.down,
        flushed: counts.flushed,
        recovered: counts.recovered,
        delivered: counts.delivered,
        queued: counts.queued,
        queued_bytes: counts.queued_bytes,
        spooled: counts.spooled,
        dropped: owned(counts.dropped),
        failures: counts.failures,
        last_error,
        last_error_at: last_error_at.map(rfc3339),
        last_success: counts.last_success.map(rfc3339),
        spool: counts.spool.map(spool),
        refused_connections: counts.refused_connections,
        refused_access: counts.refused_access,
        failed_fetches: counts.failed_fetches,
        held_totals: counts.held_totals,
        reduced_histograms: counts.reduced_histograms,
        fallback_records: counts.fallback_records,
        failed_probes: counts.failed_probes,
        refused_probes: counts.refused_probes,
    }
}

fn spool(counts: SpoolCounts) -> SpoolStatus {
    SpoolStatus {
        folder: counts.folder.display().to_string(),
        files: counts.files,
        file_bytes: counts.bytes,
        oldest: counts.oldest_ms.map(rfc3339_ms),
        unremoved: counts.unremoved,
        replaced: counts.replaced,
        degraded: counts.degraded,
        write_failures: counts.failures,
        quarantined: counts.quarantined,
        not_quarantined: counts.not_quarantined,
    }
}

fn owned(counts: BTreeMap<&'static str, u64>) -> CountsByReason {
    counts.into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect()
}
