//! The exporter that calls a list of methods: a metric is named by its method and field.

use std::borrow::Cow;

use model::{AssignedName, MetricKind, OwnTags, Series};

use super::table::{ExporterMetric, counter, gauge, of_gateway, one, with};
use crate::mapping::statistics;
use crate::poll_metrics;

/// The metric of all statistics of `stats.fetch`, which have their group and name as labels.
const STATISTIC: &str = "kamailio_stats_fetch_value";

pub(super) const TABLE: &[ExporterMetric] = &[
    counter(
        "kamailio_tm_stats_codes_total",
        "Per-code counters.",
        &[with("kamailio.tm.stats.codes", &["code"])],
    ),
    counter(
        "kamailio_tm_stats_created_total",
        "Created transactions.",
        &[one("kamailio.tm.stats.created")],
    ),
    gauge(
        "kamailio_tm_stats_current",
        "Current transactions.",
        &[one("kamailio.tm.stats.current")],
    ),
    counter(
        "kamailio_tm_stats_delayed_free_total",
        "Delayed free transactions.",
        &[one("kamailio.tm.stats.delayed_free")],
    ),
    counter(
        "kamailio_tm_stats_freed_total",
        "Freed transactions.",
        &[one("kamailio.tm.stats.freed")],
    ),
    counter(
        "kamailio_tm_stats_rpl_generated_total",
        "Number of reply generated.",
        &[one("kamailio.tm.stats.rpl_generated")],
    ),
    counter(
        "kamailio_tm_stats_rpl_received_total",
        "Number of reply received.",
        &[one("kamailio.tm.stats.rpl_received")],
    ),
    counter(
        "kamailio_tm_stats_rpl_sent_total",
        "Number of reply sent.",
        &[one("kamailio.tm.stats.rpl_sent")],
    ),
    counter(
        "kamailio_tm_stats_total_local_total",
        "Total local transactions.",
        &[one("kamailio.tm.stats.total_local")],
    ),
    counter(
        "kamailio_tm_stats_total_total",
        "Total transactions.",
        &[one("kamailio.tm.stats.total")],
    ),
    gauge(
        "kamailio_tm_stats_waiting",
        "Waiting transactions.",
        &[one("kamailio.tm.stats.waiting")],
    ),
    counter(
        "kamailio_sl_stats_codes_total",
        "Per-code counters.",
        &[with("kamailio.sl.stats.codes", &["code"])],
    ),
    gauge(
        "kamailio_core_shmmem_fragments",
        "Number of fragments in shared memory.",
        &[one("kamailio.core.shmmem.fragments")],
    ),
    gauge("kamailio_core_shmmem_free", "Free shared memory.", &[one("kamailio.core.shmmem.free")]),
    gauge(
        "kamailio_core_shmmem_max_used",
        "Max used shared memory.",
        &[one("kamailio.core.shmmem.max_used")],
    ),
    gauge(
        "kamailio_core_shmmem_real_used",
        "Real used shared memory.",
        &[one("kamailio.core.shmmem.real_used")],
    ),
    gauge(
        "kamailio_core_shmmem_total",
        "Total shared memory.",
        &[one("kamailio.core.shmmem.total")],
    ),
    gauge("kamailio_core_shmmem_used", "Used shared memory.", &[one("kamailio.core.shmmem.used")]),
    counter(
        "kamailio_core_uptime_uptime_total",
        "Uptime in seconds.",
        &[one("kamailio.core.uptime.uptime")],
    ),
    gauge(
        "kamailio_core_tcp_info_max_connections",
        "Maximum TCP connections",
        &[one("kamailio.core.tcp_info.max_connections")],
    ),
    gauge(
        "kamailio_core_tcp_info_max_tls_connections",
        "Maximum TLS connections.",
        &[one("kamailio.core.tcp_info.max_tls_connections")],
    ),
    gauge(
        "kamailio_core_tcp_info_opened_connections",
        "Opened TCP connections.",
        &[one("kamailio.core.tcp_info.opened_connections")],
    ),
    gauge(
        "kamailio_core_tcp_info_opened_tls_connections",
        "Opened TLS connections.",
        &[one("kamailio.core.tcp_info.opened_tls_connections")],
    ),
    gauge(
        "kamailio_core_tcp_info_readers",
        "Total TCP readers.",
        &[one("kamailio.core.tcp_info.readers")],
    ),
    gauge(
        "kamailio_core_tcp_info_write_queued_bytes",
        "Write queued bytes.",
        &[one("kamailio.core.tcp_info.write_queued_bytes")],
    ),
    gauge(
        "kamailio_dispatcher_list_target",
        "Target status.",
        &[of_gateway(
            "kamailio.dispatcher.list.target",
            &["flags", "setid", "uri"],
            &[],
            &["duid", "set_name", "socket"],
        )],
    ),
    gauge(
        "kamailio_tls_info_max_connections",
        "TLS Max Connections.",
        &[one("kamailio.tls.info.max_connections")],
    ),
    gauge(
        "kamailio_tls_info_opened_connections",
        "TLS Opened Connections.",
        &[one("kamailio.tls.info.opened_connections")],
    ),
    gauge("kamailio_dlg_stats_active_all", "Dialogs all.", &[one("kamailio.dlg.stats_active.all")]),
    gauge(
        "kamailio_dlg_stats_active_answering",
        "Dialogs answering.",
        &[one("kamailio.dlg.stats_active.answering")],
    ),
    gauge(
        "kamailio_dlg_stats_active_connecting",
        "Dialogs connecting.",
        &[one("kamailio.dlg.stats_active.connecting")],
    ),
    gauge(
        "kamailio_dlg_stats_active_ongoing",
        "Dialogs ongoing.",
        &[one("kamailio.dlg.stats_active.ongoing")],
    ),
    gauge(
        "kamailio_dlg_stats_active_starting",
        "Dialogs starting.",
        &[one("kamailio.dlg.stats_active.starting")],
    ),
    gauge(
        "kamailio_dmq_list_nodes_node",
        "DMQ node status.",
        &[with("kamailio.dmq.list_nodes.node", &["host", "local", "port", "status"])],
    ),
    counter(
        "kamailio_exporter_failed_scrapes",
        "Number of failed kamailio scrapes",
        &[one(poll_metrics::INCOMPLETE)],
    ),
    counter(
        "kamailio_exporter_total_scrapes",
        "Number of total kamailio scrapes",
        &[one(poll_metrics::COUNT)],
    ),
    gauge("kamailio_up", "Was the last scrape successful.", &[one(poll_metrics::COMPLETE)]),
];

/// Names a statistic of any group. The exporter declared all of them gauges.
pub(super) fn statistic(series: &Series) -> Option<AssignedName> {
    if poll_metrics::ALL.contains(&series.name()) {
        return None;
    }
    let (group, name) = statistics::group_and_name(series.name())?;
    Some(AssignedName {
        name: Cow::Borrowed(STATISTIC),
        kind: MetricKind::Gauge,
        help: Cow::Borrowed("Statistic value."),
        added_labels: vec![("group", group.to_owned()), ("name", name.to_owned())],
        own_tags: OwnTags::default(),
    })
}
