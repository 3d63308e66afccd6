//! Polls one server at an interval.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use basics::time::unix_ms;
use binrpc::{
    BinrpcClient, BinrpcValue, CallError, CallReply, CallRequest, CallTimeouts, ClientOptions,
    DecodeLimits, Fault,
};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::config::KamailioSection;
use crate::intake::{IntakeSender, PolledServer, ServerReadings};
use crate::mapping::dispatcher;
use crate::method_state::MethodState;
use crate::methods;
use crate::poll_metrics;
use crate::reading::{ReadingValue, Readings};
use crate::stats::PollerStats;
use crate::totals::RunningTotals;

/// Polls one server and sends its readings to the intake.
#[derive(Debug)]
pub struct Poller {
    server: Arc<PolledServer>,
    /// Other settings for the same server and tags.
    changes: watch::Receiver<KamailioSection>,
    config: KamailioSection,
    methods: Vec<MethodState>,
    totals: RunningTotals,
    stats: Arc<PollerStats>,
    intake: IntakeSender,
}

/// The replies of one poll.
#[derive(Debug, Default)]
struct PollReplies {
    readings: Readings,
    replies: u64,
    bytes: u64,
}

impl Poller {
    /// Creates a poller with the current settings of `changes`, without polling.
    #[must_use]
    pub fn new(
        mut changes: watch::Receiver<KamailioSection>,
        server: Arc<PolledServer>,
        stats: Arc<PollerStats>,
        intake: IntakeSender,
    ) -> Self {
        let config = changes.borrow_and_update().clone();
        let methods = method_states(&config);
        let totals = RunningTotals::default();
        Self { server, changes, config, methods, totals, stats, intake }
    }

    /// Polls at once, and then in the middle of each interval of the wall clock until dropped. So if the
    /// interval is the length of a window, each window has exactly one poll.
    pub async fn run(mut self) {
        loop {
            self.poll().await;
            self.wait_for_next_poll().await;
        }
    }

    /// Waits for the next poll, and applies changes of the settings in the meantime.
    async fn wait_for_next_poll(&mut self) {
        loop {
            let now_ms = unix_ms(SystemTime::now());
            tokio::select! {
                () = tokio::time::sleep(until_middle(now_ms, self.config.interval.get())) => return,
                Ok(()) = self.changes.changed() => self.apply_changes(),
            }
        }
    }

    /// Applies other settings. Forgets which methods Kamailio refused, but keeps the totals.
    fn apply_changes(&mut self) {
        self.config = self.changes.borrow_and_update().clone();
        self.methods = method_states(&self.config);
        self.stats.lock().faults.clear();
    }

    async fn poll(&mut self) {
        let started = Instant::now();
        let mut poll = PollReplies::default();
        let failure = self.call_within_timeout(&mut poll).await;
        let took = started.elapsed();
        let PollReplies { mut readings, replies, bytes } = poll;
        self.add_poll_metrics(&mut readings, failure.is_some(), took);
        self.resolve_totals(&mut readings);
        let (server, Readings(readings)) = (Arc::clone(&self.server), readings);
        self.intake.send(ServerReadings { server, readings, replies, bytes }).await;
        self.record_outcome(failure, took);
    }

    /// Calls the methods. Returns why the poll failed, if it did.
    async fn call_within_timeout(&mut self, poll: &mut PollReplies) -> Option<String> {
        let limit = self.config.timeout.get();
        match tokio::time::timeout(limit, self.call_methods(poll)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!(
                "the poll took longer than {}s (kamailio[].timeout)",
                limit.as_secs_f64()
            )),
        }
    }

    /// Calls every method that is due, over one connection. After a failure, or when the future is
    /// dropped, `poll` has the replies received so far.
    async fn call_methods(&mut self, poll: &mut PollReplies) -> Result<(), CallError> {
        let bytes = self.config.max_reply.get() as usize;
        let options = ClientOptions {
            timeouts: CallTimeouts::all(self.config.timeout.get()),
            limits: DecodeLimits { bytes, ..DecodeLimits::default() },
        };
        let mut client = BinrpcClient::new(self.config.endpoint.clone(), options);
        let uptime = self.detect_restart(&mut client).await?;
        for index in 0..self.methods.len() {
            let method = &self.methods[index];
            if !method.is_due(Instant::now()) {
                continue;
            }
            let reply = match &uptime {
                Some(reply) if method.call().name() == methods::UPTIME => Ok(reply.clone()),
                _ => client.call(method.request()).await,
            };
            match reply {
                Ok(reply) => self.handle_reply(index, &reply, poll),
                Err(CallError::Fault { fault }) => self.handle_fault(index, &fault, poll),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Finds out whether Kamailio restarted since the previous poll. Called before all other methods,
    /// because it decides how their totals are understood. Its reply becomes readings only if the method
    /// is among the polled ones.
    async fn detect_restart(
        &mut self,
        client: &mut BinrpcClient,
    ) -> Result<Option<CallReply>, CallError> {
        let uptime = match client.call(&CallRequest::new(methods::UPTIME)).await {
            Ok(reply) => Some(reply),
            Err(CallError::Fault { .. }) => None,
            Err(error) => return Err(error),
        };
        if self.totals.begin_poll(uptime.as_ref().and_then(start_time)) {
            info!(endpoint = %self.config.endpoint, "Kamailio restarted");
            // It may have loaded other modules.
            self.methods.iter_mut().for_each(MethodState::end_pause);
        }
        Ok(uptime)
    }

    fn handle_reply(&mut self, index: usize, reply: &CallReply, poll: &mut PollReplies) {
        let method = &mut self.methods[index];
        poll.replies += 1;
        poll.bytes += reply.bytes as u64;
        let before = poll.readings.0.len();
        methods::map_reply(method.call(), &reply.records, &mut poll.readings);
        dispatcher::name_sets(&mut poll.readings.0[before..], &self.config.set_names);
        if method.note_reply() {
            let method = method.call().to_string();
            info!(endpoint = %self.config.endpoint, method, "Kamailio now accepts the method");
            self.stats.lock().faults.remove(&method);
        }
    }

    fn handle_fault(&mut self, index: usize, fault: &Fault, poll: &mut PollReplies) {
        let pause = self.config.retry_methods;
        let has_failed = fault.is_internal_error();
        let is_news = self.methods[index].note_refusal(Instant::now() + pause.get(), has_failed);
        let method = self.methods[index].call().to_string();
        let reason = format!("{} ({})", fault.reason.to_str().trim(), fault.code);
        if is_news {
            let endpoint = &self.config.endpoint;
            // Not a warning: few servers load the modules of all default methods.
            if fault.is_unknown_method() {
                info!(%endpoint, method, "Kamailio does not have the method; will retry every {pause}");
            } else if has_failed {
                warn!(
                    %endpoint, method, reason,
                    "Kamailio failed on the method and its metrics are missing; its reply may exceed \
                     binrpc_max_body_size or binrpc_struct_max_body_size of the module ctl: raise \
                     them; will retry every {pause}"
                );
            } else {
                warn!(%endpoint, method, reason, "Kamailio refused the method; will retry every {pause}");
            }
        }
        poll.readings.increment(poll_metrics::FAULTS, &[("method", &method)], 1.0);
        self.stats.lock().faults.insert(method, reason);
    }

    fn add_poll_metrics(&self, readings: &mut Readings, has_failed: bool, took: Duration) {
        let flag = |is_true: bool| f64::from(u8::from(is_true));
        let is_incomplete = has_failed || self.methods.iter().any(MethodState::is_missed);
        readings.level(poll_metrics::UP, &[], flag(!has_failed));
        readings.level(poll_metrics::DURATION, &[], took.as_secs_f64());
        readings.increment(poll_metrics::COUNT, &[], 1.0);
        readings.increment(poll_metrics::FAILURES, &[], flag(has_failed));
        readings.level(poll_metrics::COMPLETE, &[], flag(!is_incomplete));
        readings.increment(poll_metrics::INCOMPLETE, &[], flag(is_incomplete));
    }

    /// Adds to each total its increase, and drops totals that this poll already had.
    fn resolve_totals(&mut self, readings: &mut Readings) {
        let now = Instant::now();
        readings.0.retain_mut(|reading| {
            let ReadingValue::Total { total, wraps } = reading.value else { return true };
            let Some(added) = self.totals.increase(reading, total, wraps, now) else {
                return false;
            };
            reading.value = ReadingValue::Growth { added, total };
            true
        });
    }

    /// Records the outcome for the status, and logs it if it differs from that of the previous poll.
    fn record_outcome(&self, failure: Option<String>, took: Duration) {
        let endpoint = &self.config.endpoint;
        let mut state = self.stats.lock();
        let (was_up, is_first) = (state.up, state.polls == 0);
        state.polls += 1;
        state.duration = took;
        state.up = failure.is_none();
        match failure {
            None => {
                state.last_success = Some(SystemTime::now());
                if !was_up && !is_first {
                    info!(%endpoint, failures = state.failures, "Kamailio responding again");
                }
            }
            Some(error) => {
                state.failures += 1;
                if was_up || is_first {
                    warn!(%endpoint, error, "Kamailio not responding; will keep polling");
                }
                state.last_error = Some((SystemTime::now(), error));
            }
        }
    }
}

fn method_states(config: &KamailioSection) -> Vec<MethodState> {
    config.methods.iter().cloned().map(MethodState::new).collect()
}

/// The start time of Kamailio as it prints it. It identifies a run: it does not change while Kamailio
/// runs, even when the clock of the host is set.
fn start_time(reply: &CallReply) -> Option<String> {
    let since = reply.records.first()?.member("up_since")?;
    since.text().filter(|text| !text.is_empty()).map(Into::into)
}

/// The time until the next middle of an interval of the wall clock.
fn until_middle(now_ms: u64, interval: Duration) -> Duration {
    let interval_ms = (interval.as_millis() as u64).max(1);
    let into = (now_ms + interval_ms / 2) % interval_ms;
    Duration::from_millis(interval_ms - into)
}

/// Calls a server once and returns its version, as Kamailio prints it.
///
/// # Errors
/// When the server does not reply.
pub async fn probe(config: &KamailioSection) -> Result<String, CallError> {
    let timeouts = CallTimeouts::all(config.timeout.get());
    let options = ClientOptions { timeouts, ..ClientOptions::default() };
    let mut client = BinrpcClient::new(config.endpoint.clone(), options);
    let reply = client.call(&CallRequest::new("core.version")).await?;
    let version = reply.records.first().and_then(BinrpcValue::text).unwrap_or_default();
    Ok(version.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_are_in_the_middle_of_intervals_and_never_twice_in_one() {
        let interval = Duration::from_secs(10);
        let wait = |now_ms| until_middle(now_ms, interval).as_millis();
        assert_eq!(wait(20_000), 5_000);
        assert_eq!(wait(24_999), 1);
        assert_eq!(wait(25_000), 10_000);
        assert_eq!(wait(29_000), 6_000);
        assert_eq!(until_middle(7, Duration::from_nanos(1)), Duration::from_millis(1));
    }
}
