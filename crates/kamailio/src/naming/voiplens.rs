//! The exporter that continues the one for statistics and adds metrics of methods, each named by its
//! method.
//!
//! The releases of the exporter differ: this table has the metrics of all of them. For several of these
//! metrics, tallyd has to poll methods that are not among the default ones.

use super::table::{ExporterMetric, counter, gauge, of_gateway, one, renaming, with};
use crate::poll_metrics;

/// The labels of a gateway.
const GATEWAY: &[(&str, &str)] = &[("setid", "set_id"), ("uri", "destination")];
/// Tags of a gateway that the exporter did not have.
const GATEWAY_DROPPED: &[&str] = &["duid", "socket"];

/// Tags of a gateway that are labels of the same name.
const SET_NAME: &[&str] = &["set_name"];

pub(super) const TABLE: &[ExporterMetric] = &[
    gauge(
        "kamailio_up",
        "kamailio_exporter: Whether the Kamailio endpoint is up.",
        &[one(poll_metrics::UP)],
    ),
    counter(
        "kamailio_failure_total",
        "kamailio_exporter: Counter of a Dial failures.",
        &[one(poll_metrics::FAILURES)],
    ),
    gauge(
        "kamailio_core_uptime",
        "Uptime in seconds",
        &[with("kamailio.core.runinfo.uptime", &["compiled", "compiler", "version"])],
    ),
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
        "kamailio_tm_stats_local_total",
        "Total local transactions.",
        &[one("kamailio.tm.stats.total_local")],
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
    counter("kamailio_tm_stats_total", "Total transactions.", &[one("kamailio.tm.stats.total")]),
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
        "kamailio_tls_opened_connections",
        "TLS Opened Connections",
        &[one("kamailio.tls.info.opened_connections")],
    ),
    gauge(
        "kamailio_tls_clear_text_write_queued_bytes",
        "TLS Opened Connections",
        &[one("kamailio.tls.info.clear_text_write_queued_bytes")],
    ),
    gauge(
        "kamailio_dispatcher_list_target",
        "Target status.",
        &[of_gateway("kamailio.dispatcher.list.active", SET_NAME, GATEWAY, GATEWAY_DROPPED)],
    ),
    gauge(
        "kamailio_dispatcher_list_target_flags_status",
        "Target flags.",
        &[of_gateway(
            "kamailio.dispatcher.list.target",
            &["flags", "set_name"],
            GATEWAY,
            GATEWAY_DROPPED,
        )],
    ),
    gauge(
        "kamailio_dispatcher_list_target_latency_avg",
        "Target Latency Average.",
        &[of_gateway("kamailio.dispatcher.list.latency_avg", SET_NAME, GATEWAY, GATEWAY_DROPPED)],
    ),
    gauge(
        "kamailio_dispatcher_list_target_latency_est",
        "Target Latency.",
        &[of_gateway("kamailio.dispatcher.list.latency_est", SET_NAME, GATEWAY, GATEWAY_DROPPED)],
    ),
    gauge(
        "kamailio_dispatcher_list_target_latency_max",
        "Target Latency.",
        &[of_gateway("kamailio.dispatcher.list.latency_max", SET_NAME, GATEWAY, GATEWAY_DROPPED)],
    ),
    gauge(
        "kamailio_dispatcher_list_target_latency_std",
        "Target Latency.",
        &[of_gateway("kamailio.dispatcher.list.latency_std", SET_NAME, GATEWAY, GATEWAY_DROPPED)],
    ),
    gauge(
        "kamailio_dispatcher_list_target_latency_timeout",
        "Target Latency.",
        &[of_gateway("kamailio.dispatcher.list.timeouts", SET_NAME, GATEWAY, GATEWAY_DROPPED)],
    ),
    gauge(
        "kamailio_dispatcher_list_target_priority",
        "Target Priority.",
        &[of_gateway("kamailio.dispatcher.list.priority", SET_NAME, GATEWAY, GATEWAY_DROPPED)],
    ),
    gauge(
        "kamailio_dispatcher_list_target_rweight",
        "Target rweight.",
        &[of_gateway("kamailio.dispatcher.list.rweight", SET_NAME, GATEWAY, GATEWAY_DROPPED)],
    ),
    gauge(
        "kamailio_dispatcher_list_target_weight",
        "Target Weight.",
        &[of_gateway("kamailio.dispatcher.list.weight", SET_NAME, GATEWAY, GATEWAY_DROPPED)],
    ),
    gauge("kamailio_dlg_stats_active_all", "Dialog all.", &[one("kamailio.dlg.stats_active.all")]),
    gauge(
        "kamailio_dlg_stats_active_answering",
        "Dialog answering.",
        &[one("kamailio.dlg.stats_active.answering")],
    ),
    gauge(
        "kamailio_dlg_stats_active_connecting",
        "Dialog connecting.",
        &[one("kamailio.dlg.stats_active.connecting")],
    ),
    gauge(
        "kamailio_dlg_stats_active_ongoing",
        "Dialog ongoing.",
        &[one("kamailio.dlg.stats_active.ongoing")],
    ),
    gauge(
        "kamailio_dlg_stats_active_starting",
        "Dialog starting.",
        &[one("kamailio.dlg.stats_active.starting")],
    ),
    gauge(
        "kamailio_dlg_profile_get_size_dialog",
        "Current number of dialogs belonging to a profile.",
        &[renaming("kamailio.dlg.profile_get_size", &[("arguments", "profile")])],
    ),
    gauge(
        "kamailio_htable_auto_expire_seconds",
        "Time in seconds to delete an item from a hash table if no update was done to it",
        &[with("kamailio.htable.listTables.expire", &["name"])],
    ),
    gauge(
        "kamailio_htable_db_mode_status",
        "Htable write back to db table",
        &[with("kamailio.htable.listTables.dbmode", &["name"])],
    ),
    gauge(
        "kamailio_htable_dmq_replicate_status",
        "DMQ Replicate status",
        &[with("kamailio.htable.listTables.dmqreplicate", &["name"])],
    ),
    gauge(
        "kamailio_htable_update_expire_status",
        "Update Expire status",
        &[with("kamailio.htable.listTables.updateexpire", &["name"])],
    ),
    gauge(
        "kamailio_htable_items_per_slots_max",
        "Max number of items per slot in the htable",
        &[with("kamailio.htable.stats.max", &["name"])],
    ),
    gauge(
        "kamailio_htable_items_per_slots_min",
        "Min number of items per slot in the htable",
        &[with("kamailio.htable.stats.min", &["name"])],
    ),
    gauge(
        "kamailio_htable_items_total",
        "Total number of items stored in the htable",
        &[with("kamailio.htable.stats.all", &["name"])],
    ),
    gauge(
        "kamailio_htable_slots_total",
        "Number of slots in the htable",
        &[with("kamailio.htable.stats.slots", &["name"])],
    ),
];
