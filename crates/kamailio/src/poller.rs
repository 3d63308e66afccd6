//! Asks one instance, again and again.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use binrpc::{
    BinrpcClient, BinrpcValue, CallError, CallReply, CallRequest, CallTimeouts, ClientOptions,
    DecodeLimits, Fault,
};
use tokio::sync::watch;
use tracing::{info, warn};

use super::config::{KamailioSection, Method};
use super::intake::{Batch, IntakeSender, Source};
use super::mapping;
use super::reading::{Measured, Readings};
use super::stats::PollerStats;
use super::totals::Totals;
use basics::time::unix_ms;

/// Asks one instance and sends on what it says.
#[derive(Debug)]
pub struct Poller {
    source: Arc<Source>,
    /// Other settings for the same instance, with the same tags.
    changes: watch::Receiver<KamailioSection>,
    config: KamailioSection,
    methods: Vec<Asked>,
    totals: Totals,
    stats: Arc<PollerStats>,
    intake: IntakeSender,
}

/// A method and whether it is answered.
#[derive(Debug)]
struct Asked {
    method: Method,
    request: CallRequest,
    /// Not asked before, because it was not answered.
    not_before: Option<Instant>,
    /// Whether it was told of.
    is_told: bool,
}

/// What one poll came to.
#[derive(Debug, Default)]
struct Polled {
    readings: Readings,
    replies: u64,
    bytes: u64,
}

impl Poller {
    /// Asks nothing yet; `config` is what `changes` holds.
    #[must_use]
    pub fn new(
        mut changes: watch::Receiver<KamailioSection>,
        source: Arc<Source>,
        stats: Arc<PollerStats>,
        intake: IntakeSender,
    ) -> Self {
        let config = changes.borrow_and_update().clone();
        let methods = methods(&config);
        Self { source, changes, config, methods, totals: Totals::default(), stats, intake }
    }

    /// Polls at once, and then in the middle of each interval of the wall clock until it is dropped:
    /// so that, where the interval is that of the windows, each has one poll.
    pub async fn run(mut self) {
        loop {
            self.poll().await;
            self.rest().await;
        }
    }

    /// Waits for the next poll, with other settings if they come meanwhile.
    async fn rest(&mut self) {
        loop {
            let now_ms = unix_ms(SystemTime::now());
            tokio::select! {
                () = tokio::time::sleep(until_middle(now_ms, self.config.interval.get())) => return,
                Ok(()) = self.changes.changed() => self.follow(),
            }
        }
    }

    /// What is known of methods that were not answered is asked anew; totals go on where they were.
    fn follow(&mut self) {
        self.config = self.changes.borrow_and_update().clone();
        self.methods = methods(&self.config);
        self.stats.lock().faults.clear();
    }

    async fn poll(&mut self) {
        let started = Instant::now();
        let limit = self.config.timeout.get();
        let mut polled = Polled::default();
        let asked = tokio::time::timeout(limit, self.ask(&mut polled)).await;
        let took = started.elapsed();
        let failure = match asked {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!(
                "the poll took longer than {}s (kamailio[].timeout)",
                limit.as_secs_f64()
            )),
        };
        let Polled { mut readings, replies, bytes } = polled;
        readings.level("kamailio.up", &[], f64::from(u8::from(failure.is_none())));
        readings.level("kamailio.poll.duration_seconds", &[], took.as_secs_f64());
        readings.increment("kamailio.poll.count", &[], 1.0);
        let failures = f64::from(u8::from(failure.is_some()));
        readings.increment("kamailio.poll.failures", &[], failures);
        let is_complete = failure.is_none() && !self.misses_a_method();
        readings.level("kamailio.poll.complete", &[], f64::from(u8::from(is_complete)));
        let incomplete = f64::from(u8::from(!is_complete));
        readings.increment("kamailio.poll.incomplete", &[], incomplete);
        self.differences(&mut readings);
        let Readings(readings) = readings;
        let source = Arc::clone(&self.source);
        self.intake.send(Batch { source, readings, replies, bytes }).await;
        self.note(failure, took);
    }

    /// Asks for everything that is due, over one connection. What was answered before a failure is
    /// in `polled`.
    async fn ask(&mut self, polled: &mut Polled) -> Result<(), CallError> {
        let timeouts = CallTimeouts::all(self.config.timeout.get());
        let bytes = self.config.max_reply.get() as usize;
        let limits = DecodeLimits { bytes, ..DecodeLimits::default() };
        let mut client =
            BinrpcClient::new(self.config.endpoint.clone(), ClientOptions { timeouts, limits });
        // First, because it tells a restart. It is part of what is asked for only where it is listed.
        let uptime = match client.call(&CallRequest::new("core.uptime")).await {
            Ok(reply) => Some(reply),
            Err(CallError::Fault { .. }) => None,
            Err(error) => return Err(error),
        };
        let started = uptime.as_ref().and_then(up_since);
        if self.totals.begin(started) {
            info!(endpoint = %self.config.endpoint, "Kamailio was started anew");
            // Perhaps with other modules.
            self.methods.iter_mut().for_each(|asked| asked.not_before = None);
        }
        for index in 0..self.methods.len() {
            let asked = &mut self.methods[index];
            if asked.not_before.is_some_and(|time| Instant::now() < time) {
                continue;
            }
            let answer = match (&uptime, asked.method.name()) {
                (Some(reply), "core.uptime") => Ok(reply.clone()),
                _ => client.call(&asked.request).await,
            };
            match answer {
                Ok(reply) => {
                    polled.replies += 1;
                    polled.bytes += reply.bytes as u64;
                    mapping::map(&asked.method, &reply.records, &mut polled.readings);
                    self.answered(index);
                }
                Err(CallError::Fault { fault }) => self.refused(index, &fault, polled),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether Kamailio refuses a method that an operator listed.
    fn misses_a_method(&self) -> bool {
        self.methods.iter().any(|asked| asked.method.is_listed() && asked.not_before.is_some())
    }

    fn answered(&mut self, index: usize) {
        let asked = &mut self.methods[index];
        if asked.not_before.take().is_some() || asked.is_told {
            asked.is_told = false;
            let method = asked.method.to_string();
            info!(endpoint = %self.config.endpoint, method, "Kamailio answers the method now");
            self.stats.lock().faults.remove(&method);
        }
    }

    fn refused(&mut self, index: usize, fault: &Fault, polled: &mut Polled) {
        let pause = self.config.retry_methods;
        let asked = &mut self.methods[index];
        asked.not_before = Some(Instant::now() + pause.get());
        let method = asked.method.to_string();
        let reason = format!("{} ({})", fault.reason.to_str().trim(), fault.code);
        if !std::mem::replace(&mut asked.is_told, true) {
            let endpoint = &self.config.endpoint;
            // Some of the default methods are of modules that few servers load.
            if fault.is_unknown_method() {
                info!(%endpoint, method, "Kamailio has no such method; asking again every {pause}");
            } else {
                warn!(%endpoint, method, reason, "Kamailio refuses; asking again every {pause}");
            }
        }
        polled.readings.increment("kamailio.method.faults", &[("method", &method)], 1.0);
        self.stats.lock().faults.insert(method, reason);
    }

    /// Totals get what they grew by; those that this poll had twice go.
    fn differences(&mut self, readings: &mut Readings) {
        let now = Instant::now();
        readings.0.retain_mut(|reading| {
            let Measured::Total { total, wraps } = reading.value else { return true };
            let Some(added) = self.totals.increase(reading, total, wraps, now) else {
                return false;
            };
            reading.value = Measured::Growth { added, total };
            true
        });
    }

    /// Notes how it went; the log hears of it when it changes.
    fn note(&self, failure: Option<String>, took: Duration) {
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
                    info!(%endpoint, failures = state.failures, "Kamailio answers again");
                }
            }
            Some(error) => {
                state.failures += 1;
                if was_up || is_first {
                    warn!(%endpoint, error, "Kamailio does not answer; asking on");
                }
                state.last_error = Some((SystemTime::now(), error));
            }
        }
    }
}

fn methods(config: &KamailioSection) -> Vec<Asked> {
    let asked = |method: &Method| Asked {
        method: method.clone(),
        request: method.request(),
        not_before: None,
        is_told: false,
    };
    config.methods.iter().map(asked).collect()
}

/// When Kamailio started, in its own words. They stay the same while it runs, also where the clock of
/// the host is set.
fn up_since(reply: &CallReply) -> Option<String> {
    let since = reply.records.first()?.member("up_since")?;
    since.text().filter(|text| !text.is_empty()).map(Into::into)
}

/// How long it is until the next middle of an interval on the wall clock.
fn until_middle(now_ms: u64, interval: Duration) -> Duration {
    let interval_ms = (interval.as_millis() as u64).max(1);
    let into = (now_ms + interval_ms / 2) % interval_ms;
    Duration::from_millis(interval_ms - into)
}

/// Whether an instance answers at all: its version, in its own words.
///
/// # Errors
/// Why it does not.
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
