//! The self-metrics of the polls of Kamailio servers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{SelfMetricFamilies, SelfMetricLabels, flag, unix_seconds};
use kamailio::stats::PollerStats;

const ENDPOINT: &str = "endpoint";

/// The polls of an endpoint, combined over the sections of the configuration that name it.
struct EndpointPolls {
    is_up: bool,
    polls: u64,
    failures: u64,
    duration: Duration,
    last_success: Option<SystemTime>,
}

/// Combines the polls of each endpoint.
fn by_endpoint(pollers: &[Arc<PollerStats>]) -> BTreeMap<&str, EndpointPolls> {
    let mut by_endpoint: BTreeMap<&str, EndpointPolls> = BTreeMap::new();
    for poller in pollers {
        let state = poller.state();
        let now = by_endpoint.entry(poller.endpoint()).or_insert(EndpointPolls {
            is_up: true,
            polls: 0,
            failures: 0,
            duration: Duration::ZERO,
            last_success: None,
        });
        now.is_up &= state.up;
        now.polls += state.polls;
        now.failures += state.failures;
        now.duration = now.duration.max(state.duration);
        now.last_success = now.last_success.max(state.last_success);
    }
    by_endpoint
}

impl SelfMetricFamilies {
    pub(super) fn kamailio(&mut self, pollers: &[Arc<PollerStats>]) {
        let endpoints = by_endpoint(pollers);
        let each = || endpoints.iter().map(|(endpoint, now)| (label(endpoint), now));
        self.gauge(
            "tallyd_kamailio_up",
            "1 if the latest poll received all replies, otherwise 0",
            each().map(|(label, now)| (label, flag(now.is_up))),
        );
        self.counter(
            "tallyd_kamailio_polls_total",
            "Polls, including failed ones",
            each().map(|(label, now)| (label, now.polls)),
        );
        self.counter(
            "tallyd_kamailio_failures_total",
            "Polls that failed",
            each().map(|(label, now)| (label, now.failures)),
        );
        self.gauge(
            "tallyd_kamailio_poll_duration_seconds",
            "Duration of the latest poll, in seconds",
            each().map(|(label, now)| (label, now.duration.as_secs_f64())),
        );
        self.gauge(
            "tallyd_kamailio_last_success_timestamp_seconds",
            "Time of the last poll that received all replies, in Unix seconds",
            each().filter_map(|(label, now)| Some((label, unix_seconds(now.last_success?)))),
        );
    }
}

fn label(endpoint: &str) -> SelfMetricLabels<1> {
    [(ENDPOINT, endpoint.to_owned())]
}
