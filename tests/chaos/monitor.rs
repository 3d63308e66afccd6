//! Looks at the daemon all the time: its ledger, its health, its page.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use serde_json::Value;

use crate::config::Site;
use crate::ledger::{ledger_faults, number};
use crate::process::Drops;
use crate::report::Report;
use crate::senders::{SAMPLES, SENDERS};

/// The state of the daemon at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Poll {
    pub(crate) run: u64,
    /// Windows closed.
    closed: u64,
    /// Steps received from each sender.
    steps: Vec<u64>,
    /// Messages of each sender that were rejected.
    pub(crate) rejected: Vec<u64>,
    /// Datagrams that the kernel dropped, by sender.
    pub(crate) kernel_drops: Vec<u64>,
    /// Points by destination that are only in memory.
    queued: BTreeMap<String, u64>,
    /// Points by destination that wait in memory or on disk.
    pub(crate) waiting: BTreeMap<String, u64>,
    /// Whether each spool can be written, and its content is known.
    pub(crate) has_spools: bool,
    pub(crate) dropped: BTreeMap<String, Drops>,
    pub(crate) lines_dropped: u64,
}

type Look = fn(&Shared, &Client);

/// The threads that look.
pub(crate) struct Monitor {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    site: Arc<Site>,
    report: Arc<Report>,
    patience: Duration,
    /// The run of the daemon that should answer, 0 for none.
    run: AtomicU64,
    /// Changes at the begin and at the end of each fault that may delay an answer; odd within one.
    excuses: AtomicU64,
    is_over: AtomicBool,
    polls: Mutex<Vec<Poll>>,
    health: Mutex<Health>,
}

/// How long the replies of `/healthz` took.
#[derive(Clone, Debug, Default)]
pub(crate) struct Health {
    pub(crate) replies: u64,
    pub(crate) over_100_ms: u64,
    pub(crate) slowest: Duration,
}

impl Monitor {
    pub(crate) fn start(site: &Arc<Site>, report: &Arc<Report>, patience: Duration) -> Self {
        let (site, report) = (Arc::clone(site), Arc::clone(report));
        let (run, excuses, is_over, polls, health) = Default::default();
        let shared = Shared { site, report, patience, run, excuses, is_over, polls, health };
        let shared = Arc::new(shared);
        let looks: [(Look, u64); 3] =
            [(Shared::poll, 40), (Shared::check_health, 60), (Shared::check_page, 700)];
        let threads = looks.map(|(look, pause_ms)| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.repeat(look, Duration::from_millis(pause_ms)))
        });
        Self { shared, threads: threads.into() }
    }

    /// Sets the run that should answer, 0 for none.
    pub(crate) fn set_run(&self, run: u64) {
        self.shared.run.store(run, Ordering::SeqCst);
    }

    /// Begins or ends a fault that may delay an answer.
    pub(crate) fn excuse(&self) {
        self.shared.excuses.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn health(&self) -> Health {
        self.shared.health.lock().unwrap().clone()
    }

    /// The latest poll of this run.
    pub(crate) fn latest(&self, run: u64) -> Option<Poll> {
        self.polls().last().filter(|poll| poll.run == run).cloned()
    }

    /// Waits for a poll of this run that begins from now on and meets a condition.
    pub(crate) fn wait_for(
        &self,
        run: u64,
        patience: Duration,
        is_met: impl Fn(&Poll) -> bool,
    ) -> Result<Poll, Box<Option<Poll>>> {
        let deadline = Instant::now() + patience;
        // The poll that is in progress began earlier.
        let seen = self.polls().len() + 1;
        loop {
            let latest = {
                let polls = self.polls();
                (polls.len() > seen).then(|| polls.last().cloned()).flatten()
            };
            match latest {
                Some(poll) if poll.run == run && is_met(&poll) => return Ok(poll),
                latest if Instant::now() > deadline => return Err(Box::new(latest)),
                _ => thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// The steps of each sender that a kill at this moment can no longer cost a destination, because
    /// they were in windows that had left memory.
    pub(crate) fn safe_steps(&self, run: u64, destination: &str) -> Vec<u64> {
        let polls = self.polls();
        let of_run = || polls.iter().rev().filter(|poll| poll.run == run);
        let none = || vec![0; SENDERS.len()];
        let is_empty = |poll: &&Poll| poll.queued.get(destination) == Some(&0);
        let Some(left) = of_run().find(is_empty).map(|poll| poll.closed) else { return none() };
        // A sample that was received before a poll is in the window that was open then, or, if that one
        // was just ending, in the next. The numbers of a poll are read one after the other.
        let is_closed = |poll: &&Poll| poll.closed + 3 <= left;
        of_run().find(is_closed).map_or_else(none, |poll| poll.steps.clone())
    }

    /// Forgets the polls of earlier runs.
    pub(crate) fn forget(&self) {
        self.polls().clear();
    }

    fn polls(&self) -> MutexGuard<'_, Vec<Poll>> {
        self.shared.polls.lock().unwrap()
    }

    pub(crate) fn stop(self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

impl Shared {
    fn repeat(&self, look: Look, pause: Duration) {
        let client = common::http().timeout(self.patience).build().unwrap();
        while !self.is_over.load(Ordering::SeqCst) {
            if self.run.load(Ordering::SeqCst) > 0 {
                look(self, &client);
            }
            thread::sleep(pause);
        }
    }

    /// The run, if it should answer, and the excuses.
    fn moment(&self) -> (u64, u64) {
        (self.run.load(Ordering::SeqCst), self.excuses.load(Ordering::SeqCst))
    }

    /// Gets a page of a daemon that has no excuse. Returns its text and how long it took.
    fn get(&self, client: &Client, port: u16, path: &str) -> Option<(String, Duration)> {
        let (before, began) = (self.moment(), Instant::now());
        let reply = client.get(format!("http://127.0.0.1:{port}{path}")).send();
        let reply = reply.and_then(|reply| reply.error_for_status()?.text());
        let took = began.elapsed();
        let is_excused = before != self.moment() || before.0 == 0 || before.1 % 2 == 1;
        match reply {
            Ok(text) if before.0 == self.moment().0 => {
                if !is_excused && took > self.patience {
                    self.report.finding(format!("{path} took {took:?}"));
                }
                Some((text, if is_excused { Duration::ZERO } else { took }))
            }
            Err(error) if !is_excused => {
                self.report.finding(format!("{path} failed after {took:?}: {error:?}"));
                None
            }
            _ => None,
        }
    }

    fn poll(&self, client: &Client) {
        let run = self.moment().0;
        let Some((text, _)) = self.get(client, self.site.admin, "/api/v1/status") else { return };
        let status: Value = serde_json::from_str(&text).unwrap();
        for fault in ledger_faults(&status) {
            self.report.finding(format!("the ledger does not balance: {fault}"));
        }
        let mut poll = Poll::from_status(&status);
        poll.run = run;
        self.polls.lock().unwrap().push(poll);
    }

    fn check_health(&self, client: &Client) {
        let Some((_, took)) = self.get(client, self.site.admin, "/healthz") else { return };
        let mut health = self.health.lock().unwrap();
        health.replies += 1;
        health.over_100_ms += u64::from(took > Duration::from_millis(100));
        health.slowest = health.slowest.max(took);
    }

    fn check_page(&self, client: &Client) {
        let Some((text, _)) = self.get(client, self.site.page, "/metrics") else { return };
        self.report.page(self.moment().0, &text);
    }
}

impl Poll {
    fn from_status(status: &Value) -> Self {
        let listeners = status["listeners"].as_array().unwrap();
        let listeners = &listeners[..SENDERS.len()];
        let of_sender = |key: &str| -> Vec<u64> {
            (0..SENDERS.len()).map(|place| number(&listeners[place][key])).collect()
        };
        let forwarders = || status["forwarders"].as_object().unwrap().iter();
        let of_destination = |count: &dyn Fn(&Value) -> u64| {
            forwarders().map(|(name, one)| (name.clone(), count(one))).collect()
        };
        let dropped = forwarders().map(|(name, one)| {
            (name.clone(), serde_json::from_value(one["dropped"].clone()).unwrap())
        });
        Self {
            run: 0,
            closed: number(&status["windows"]["closed"]),
            steps: of_sender("aggregated").into_iter().map(|samples| samples / SAMPLES).collect(),
            rejected: listeners.iter().map(|listener| rejected(&listener["rejected"])).collect(),
            kernel_drops: of_sender("kernel_drops"),
            queued: of_destination(&|one| number(&one["queued"])),
            waiting: of_destination(&|one| number(&one["queued"]) + number(&one["spooled"])),
            has_spools: forwarders().all(|(_, one)| one["spool"]["degraded"].is_null()),
            dropped: dropped.collect(),
            lines_dropped: number(&status["log"]["dropped"]),
        }
    }

    /// Whether everything that was sent in a run has been received, apart from `doubts` of each sender
    /// and from datagrams that the kernel dropped.
    pub(crate) fn has_received(&self, sent: &[u64], doubts: &[u64]) -> bool {
        let mut counts = self.steps.iter().zip(&self.kernel_drops).zip(sent).zip(doubts);
        counts.all(|(((steps, drops), sent), doubts)| steps + drops + doubts >= *sent)
    }

    pub(crate) fn closed(&self) -> u64 {
        self.closed
    }

    pub(crate) fn steps(&self) -> &[u64] {
        &self.steps
    }
}

/// The rejected messages, without the ends of messages that were cut when their connection broke.
fn rejected(reasons: &Value) -> u64 {
    let reasons = reasons.as_object().unwrap().iter();
    reasons.filter(|(reason, _)| *reason != "unfinished").map(|(_, count)| number(count)).sum()
}
