//! The metrics of the admin endpoint.

use api::status::ValuesStatus;
use httpserver::HttpServerCounts;

use super::{REASON, SelfMetricFamilies};

impl SelfMetricFamilies {
    pub(super) fn admin(&mut self, counts: &HttpServerCounts) {
        self.gauge(
            "tallyd_admin_connections_open",
            "Open connections to the admin endpoint",
            [([], counts.open as f64)],
        );
        self.counter(
            "tallyd_admin_connections_accepted_total",
            "Accepted connections to the admin endpoint",
            [([], counts.accepted)],
        );
        let cut = [("full", counts.cut_full), ("timeout", counts.cut_slow)];
        self.counter(
            "tallyd_admin_connections_cut_total",
            "Connections that the admin endpoint closed before their client was finished",
            cut.map(|(reason, count)| ([(REASON, reason.to_owned())], count)),
        );
        self.counter(
            "tallyd_admin_accept_errors_total",
            "Failed attempts to accept a connection to the admin endpoint",
            [([], counts.accept_errors)],
        );
        self.counter(
            "tallyd_admin_requests_refused_total",
            "Requests to the admin endpoint under a foreign host name or by another site",
            [([], counts.refused_requests)],
        );
        self.counter(
            "tallyd_admin_requests_denied_total",
            "Requests to the admin endpoint without valid credentials or beyond a bound on them, and open ones that lost their access",
            counts.denied_requests.map(|(reason, count)| ([(REASON, reason.to_owned())], count)),
        );
        self.counter(
            "tallyd_admin_handshakes_failed_total",
            "Failed TLS handshakes with the admin endpoint",
            counts.failed_handshakes.map(|(reason, count)| ([(REASON, reason.to_owned())], count)),
        );
    }

    pub(super) fn values(&mut self, status: &ValuesStatus) {
        self.counter(
            "tallyd_values_requests_total",
            "Requests for current values by outcome",
            [("answered", status.answered), ("refused", status.refused)]
                .map(|(outcome, count)| ([("outcome", outcome.to_owned())], count)),
        );
        self.gauge(
            "tallyd_values_window_bytes",
            "Estimated memory of the last window, kept for requests for current values, in bytes",
            [([], status.window_bytes as f64)],
        );
        self.counter(
            "tallyd_values_windows_not_kept_total",
            "Windows too large to be kept for requests for current values",
            [([], status.windows_not_kept)],
        );
        self.gauge(
            "tallyd_values_watched_series",
            "Series recorded because a chart of them is watched",
            [([], status.watched as f64)],
        );
        self.counter(
            "tallyd_values_watches_refused_total",
            "Requests for a chart refused because too many series were watched",
            [([], status.watches_refused)],
        );
    }
}
