//! `/probe?target=…`: polls one target during a scrape and answers with its metrics, like exporters for
//! several targets.
//!
//! A request makes tallyd connect to an address that the client names. So only configured targets are
//! polled, a few at a time, and each within a time limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::HeaderMap;
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use tokio::sync::Semaphore;
use tracing::warn;

use super::config::ProbeConfig;
use super::page::{Page, PageFormat};
use super::state::State;
use crate::target_poll::{PolledTarget, TargetPoller};
use basics::escape::escaped;
use basics::log_throttle::LogThrottle;
use basics::time::unix_ms;
use model::{Snapshot, Window};

/// The format of the page.
pub(super) const FORMAT: PageFormat = PageFormat::Text;
/// The header in which Prometheus sends its timeout, in seconds.
const SCRAPE_TIMEOUT: &str = "x-prometheus-scrape-timeout-seconds";
/// The part of Prometheus' timeout that is left for the reply.
const REPLY_TIME: Duration = Duration::from_millis(500);
/// The shortest time for a poll.
const POLL_MIN: Duration = Duration::from_millis(100);

/// Creates an empty state with the settings of the page.
pub(super) type NewState = Box<dyn Fn() -> State + Send + Sync>;

/// Polls targets on request.
pub(super) struct Probe {
    forwarder: String,
    config: ProbeConfig,
    poll_target: TargetPoller,
    /// Creates an empty state for the page of a target.
    new_state: NewState,
    /// A place for each poll that may run at the same time.
    places: Semaphore,
    counts: ProbeCounts,
    log: Mutex<LogThrottle>,
}

/// The outcomes of requests, apart from successes.
#[derive(Clone, Debug, Default)]
pub(super) struct ProbeCounts {
    /// Polls whose target did not answer all calls.
    pub(super) failed: Arc<AtomicU64>,
    /// Requests for a target that is not allowed or not valid, or above `max_concurrent`.
    pub(super) refused: Arc<AtomicU64>,
}

impl Probe {
    pub(super) fn new(
        forwarder: &str,
        config: &ProbeConfig,
        poll_target: TargetPoller,
        new_state: NewState,
    ) -> Self {
        Self {
            forwarder: forwarder.to_owned(),
            config: config.clone(),
            poll_target,
            new_state,
            places: Semaphore::new(config.max_concurrent),
            counts: ProbeCounts::default(),
            log: Mutex::default(),
        }
    }

    pub(super) fn counts(&self) -> &ProbeCounts {
        &self.counts
    }

    /// Answers a request with this query.
    ///
    /// # Errors
    /// If the request is refused: the status, and the reason.
    pub(super) async fn answer(
        &self,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<Bytes, (StatusCode, String)> {
        let answer = self.poll(query.unwrap_or_default(), headers).await;
        if answer.is_err() {
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }

    async fn poll(&self, query: &str, headers: &HeaderMap) -> Result<Bytes, (StatusCode, String)> {
        let Some(target) = target(query) else {
            let words = "name one target: /probe?target=unix:/run/kamailio/kamailio_ctl";
            return Err((StatusCode::BAD_REQUEST, words.to_owned()));
        };
        if !self.allows(&target) {
            self.report(&target);
            let words = "the target is not among `prometheus: {probe: {targets: […]}}`";
            return Err((StatusCode::FORBIDDEN, words.to_owned()));
        }
        let Ok(_place) = self.places.try_acquire() else {
            let most = self.config.max_concurrent;
            let words = format!("{most} targets are being polled (max_concurrent)");
            return Err((StatusCode::SERVICE_UNAVAILABLE, words));
        };
        let limit = poll_limit(self.config.timeout.get(), headers);
        let polled = (self.poll_target)(target, limit).await;
        Ok(self.page(polled.map_err(|words| (StatusCode::BAD_REQUEST, words))?))
    }

    /// Returns whether a target may be polled. A path with `..` could leave the folder of a glob.
    fn allows(&self, target: &str) -> bool {
        let leaves_folder = target.split('/').any(|part| part == "..");
        !leaves_folder && self.config.targets.matches(target) == Some(true)
    }

    /// Logs a target that is not allowed, at most once a minute.
    fn report(&self, target: &str) {
        let Some(requests) = self.log.lock().count(1) else { return };
        let (forwarder, target) = (&self.forwarder, escaped(target.as_bytes()));
        warn!(forwarder, target, requests, "refused to probe a target that is not in `targets`");
    }

    /// Renders the points of a target as a page of its own.
    fn page(&self, polled: PolledTarget) -> Bytes {
        let PolledTarget { points, failure } = polled;
        if failure.is_some() {
            self.counts.failed.fetch_add(1, Ordering::Relaxed);
        }
        let mut state = (self.new_state)();
        let end_ms = unix_ms(std::time::SystemTime::now());
        state.apply(&Snapshot {
            window: Window { end_ms, length: Duration::ZERO },
            start_ms: None,
            percentiles: Arc::new([]),
            exact_samples: 0,
            instance: None,
            points: points.into_iter().collect(),
        });
        Page::of(&state, &[], Vec::new()).plain(FORMAT)
    }
}

/// The target in a query; `None` if there is none, or more than one.
fn target(query: &str) -> Option<String> {
    let mut values = query.split('&').filter_map(|pair| pair.strip_prefix("target="));
    let value = values.next().filter(|value| !value.is_empty())?.replace('+', " ");
    let is_alone = values.next().is_none();
    let target = percent_decode_str(&value).decode_utf8().ok()?;
    is_alone.then(|| target.into_owned())
}

/// The time for a poll: the configured one, or a little less than Prometheus waits.
fn poll_limit(configured: Duration, headers: &HeaderMap) -> Duration {
    let seconds = headers.get(SCRAPE_TIMEOUT).and_then(|value| value.to_str().ok()?.parse().ok());
    let scrape = seconds.and_then(|seconds: f64| Duration::try_from_secs_f64(seconds).ok());
    let left = scrape.map(|timeout| timeout.saturating_sub(REPLY_TIME).max(POLL_MIN));
    left.map_or(configured, |left| left.min(configured))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_one_target() {
        let unix = Some("unix:/run/k".to_owned());
        assert_eq!(target("target=unix%3A%2Frun%2Fk"), unix);
        assert_eq!(target("module=x&target=unix:/run/k"), unix);
        for wrong in ["", "target=", "targets=unix:/run/k", "target=a&target=b", "target=%ff"] {
            assert_eq!(target(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_poll_ends_before_the_scrape_and_after_the_timeout() {
        let limit = |header: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(value) = header {
                headers.insert(SCRAPE_TIMEOUT, value.parse().unwrap());
            }
            poll_limit(Duration::from_secs(5), &headers).as_millis()
        };
        assert_eq!(limit(None), 5_000);
        assert_eq!(limit(Some("10")), 5_000);
        assert_eq!(limit(Some("2.5")), 2_000);
        assert_eq!(limit(Some("0.2")), 100);
        for wrong in ["", "x", "-1", "inf", "nan"] {
            assert_eq!(limit(Some(wrong)), 5_000, "{wrong}");
        }
    }
}
