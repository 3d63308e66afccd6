//! The exporter that reads the statistics of all modules: a metric is a group of statistics, which a
//! label distinguishes.

use std::borrow::Cow;

use model::{AssignedName, MetricKind, OwnTags, Series};

use super::table::{ExporterMetric, counter, each, gauge, of_process, one, with};
use crate::mapping::statistics;

pub(super) const TABLE: &[ExporterMetric] = &[
    counter(
        "kamailio_core_request_total",
        "Request counters",
        &[each("method", "kamailio.core.*_requests", &["drop", "err", "fwd", "rcv"])],
    ),
    counter(
        "kamailio_core_rcv_request_total",
        "Received requests by method",
        &[
            each(
                "method",
                "kamailio.core.rcv_requests_*",
                &[
                    "ack",
                    "bye",
                    "cancel",
                    "info",
                    "invite",
                    "message",
                    "notify",
                    "options",
                    "prack",
                    "publish",
                    "refer",
                    "register",
                    "subscribe",
                    "update",
                ],
            ),
            each("method", "kamailio.core.unsupported_methods", &["unsupported"]),
        ],
    ),
    counter(
        "kamailio_core_reply_total",
        "Reply counters",
        &[each("type", "kamailio.core.*_replies", &["drop", "err", "fwd", "rcv"])],
    ),
    counter(
        "kamailio_core_rcv_reply_total",
        "Received replies by code",
        &[each(
            "code",
            "kamailio.core.rcv_replies_*",
            &[
                "18x", "1xx", "2xx", "3xx", "401", "404", "407", "408", "480", "486", "4xx", "5xx",
                "6xx",
            ],
        )],
    ),
    gauge(
        "kamailio_shm_bytes",
        "Shared memory sizes",
        &[each(
            "type",
            "kamailio.shmem.*_size",
            &["free", "max_used", "real_used", "total", "used"],
        )],
    ),
    gauge(
        "kamailio_shm_fragments",
        "Shared memory fragment count",
        &[one("kamailio.shmem.fragments")],
    ),
    counter(
        "kamailio_dns_failed_request_total",
        "Failed dns requests",
        &[one("kamailio.dns.failed_dns_request")],
    ),
    counter(
        "kamailio_bad_uri_total",
        "Messages with bad uri",
        &[one("kamailio.core.bad_URIs_rcvd")],
    ),
    counter(
        "kamailio_bad_msg_hdr",
        "Messages with bad message header",
        &[one("kamailio.core.bad_msg_hdr")],
    ),
    counter(
        "kamailio_sl_reply_total",
        "Stateless replies by code",
        &[each(
            "code",
            "kamailio.sl.*_replies",
            &[
                "1xx", "200", "202", "2xx", "300", "301", "302", "3xx", "400", "401", "403", "404",
                "407", "408", "483", "4xx", "500", "5xx", "6xx",
            ],
        )],
    ),
    counter(
        "kamailio_sl_type_total",
        "Stateless replies by type",
        &[
            each("type", "kamailio.sl.failures", &["failure"]),
            each("type", "kamailio.sl.received_ACKs", &["received_ack"]),
            each("type", "kamailio.sl.sent_err_replies", &["sent_err_reply"]),
            each("type", "kamailio.sl.sent_replies", &["sent_reply"]),
            each("type", "kamailio.sl.xxx_replies", &["xxx_reply"]),
        ],
    ),
    counter(
        "kamailio_tcp_total",
        "TCP connection counters",
        &[each(
            "type",
            "kamailio.tcp.*",
            &[
                "con_reset",
                "con_timeout",
                "connect_failed",
                "connect_success",
                "established",
                "local_reject",
                "passive_open",
                "send_timeout",
                "sendq_full",
            ],
        )],
    ),
    gauge(
        "kamailio_tcp_connections",
        "Opened TCP connections",
        &[one("kamailio.tcp.current_opened_connections")],
    ),
    gauge(
        "kamailio_tcp_writequeue",
        "TCP write queue size",
        &[one("kamailio.tcp.current_write_queue_size")],
    ),
    counter(
        "kamailio_tmx_code_total",
        "Completed Transaction counters by code",
        &[each("code", "kamailio.tmx.*_transactions", &["2xx", "3xx", "4xx", "5xx", "6xx"])],
    ),
    counter(
        "kamailio_tmx_type_total",
        "Completed Transaction counters by type",
        &[
            each("type", "kamailio.tmx.UAC_transactions", &["uac"]),
            each("type", "kamailio.tmx.UAS_transactions", &["uas"]),
        ],
    ),
    gauge(
        "kamailio_tmx",
        "Ongoing Transactions",
        &[each("type", "kamailio.tmx.*_transactions", &["active", "inuse"])],
    ),
    counter(
        "kamailio_tmx_rpl_total",
        "Tmx reply counters",
        &[each(
            "type",
            "kamailio.tmx.rpl_*",
            &["absorbed", "generated", "received", "relayed", "sent"],
        )],
    ),
    // The exporter declared all of them counters, although two are levels.
    counter(
        "kamailio_dialog",
        "Ongoing Dialogs",
        &[each(
            "type",
            "kamailio.dialog.*",
            &[
                "active_dialogs",
                "early_dialogs",
                "expired_dialogs",
                "failed_dialogs",
                "processed_dialogs",
            ],
        )],
    ),
    gauge("kamailio_pkgmem_used", "Private memory used", &[of_process("kamailio.pkg.stats.used")]),
    gauge("kamailio_pkgmem_free", "Private memory free", &[of_process("kamailio.pkg.stats.free")]),
    gauge(
        "kamailio_pkgmem_real",
        "Private memory real used",
        &[of_process("kamailio.pkg.stats.real_used")],
    ),
    gauge(
        "kamailio_pkgmem_size",
        "Private memory total size",
        &[of_process("kamailio.pkg.stats.total_size")],
    ),
    gauge(
        "kamailio_pkgmem_frags",
        "Private memory total frags",
        &[of_process("kamailio.pkg.stats.total_frags")],
    ),
    gauge("kamailio_tcp_readers", "TCP readers", &[one("kamailio.core.tcp_info.readers")]),
    gauge(
        "kamailio_tcp_max_connections",
        "TCP connection limit",
        &[one("kamailio.core.tcp_info.max_connections")],
    ),
    gauge(
        "kamailio_tls_max_connections",
        "TLS connection limit",
        &[one("kamailio.core.tcp_info.max_tls_connections")],
    ),
    gauge(
        "kamailio_tls_connections",
        "Opened TLS connections",
        &[one("kamailio.core.tcp_info.opened_tls_connections")],
    ),
    gauge(
        "kamailio_rtpengine_enabled",
        "rtpengine connection status",
        &[with("kamailio.rtpengine.show.enabled", &["index", "set", "url", "weight"])],
    ),
];

/// Names a statistic of a script: its name in lower case. A statistic whose name is not valid for
/// Prometheus gets none.
pub(super) fn scripted(series: &Series) -> Option<AssignedName> {
    let name = series.name().strip_prefix("kamailio.script.")?;
    let lower = name.to_lowercase();
    let is_valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    if lower.is_empty() || !lower.chars().all(is_valid) {
        return None;
    }
    // As the exporter did, by the name before it is converted to lower case.
    let is_counter = statistics::has_counter_suffix(&format!("script.{name}"));
    Some(AssignedName {
        name: Cow::Owned(format!("kamailio_{lower}")),
        kind: if is_counter { MetricKind::Counter } else { MetricKind::Gauge },
        help: Cow::Owned(format!("Scripted metric {lower}")),
        added_labels: vec![],
        own_tags: OwnTags::default(),
    })
}
