//! The metrics of TLS.

use std::collections::BTreeMap;

use basics::time::unix_ms;
use engine::listener::tls_stats::TlsCounts;
use tlsserver::HandshakeFailure;

use super::{ListenerNow, SelfMetricFamilies, by_reason, label_of};

impl SelfMetricFamilies {
    pub(super) fn tls(&mut self, listeners: &BTreeMap<&str, ListenerNow>) {
        let with_tls =
            listeners.iter().filter_map(|(label, now)| Some((*label, now.tls.as_ref()?)));
        let with_tls: Vec<(&str, &TlsCounts)> = with_tls.collect();
        self.gauge(
            "tallyd_tls_handshakes_open",
            "TLS handshakes in progress",
            with_tls.iter().map(|(label, now)| (label_of(label), now.open as f64)),
        );
        self.counter(
            "tallyd_tls_handshakes_completed_total",
            "Completed TLS handshakes",
            with_tls.iter().map(|(label, now)| (label_of(label), now.completed)),
        );
        self.counter(
            "tallyd_tls_handshakes_failed_total",
            "Failed TLS handshakes",
            with_tls.iter().flat_map(|(label, now)| {
                let words = HandshakeFailure::ALL.map(HandshakeFailure::as_str);
                by_reason(&label_of(label), words, &now.failed)
            }),
        );
        self.gauge(
            "tallyd_tls_certificate_expiry_timestamp_seconds",
            "End of the validity of the certificate that new connections get, in Unix seconds",
            with_tls.iter().filter_map(|(label, now)| {
                let end = now.certificate.as_ref()?.not_after;
                Some((label_of(label), unix_ms(end) as f64 / 1e3))
            }),
        );
    }
}
