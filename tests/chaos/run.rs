//! A run: a daemon, its senders and destinations, and the faults of a plan.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Rlimit, Signal};

use crate::config::{REFUSED, Settings, Site};
use crate::graphite::{Graphite, GraphiteMode};
use crate::host::Host;
use crate::influx::{Influx, InfluxMode};
use crate::monitor::{Health, Monitor, Poll};
use crate::options::Options;
use crate::plan::{Action, DiskFault, LookupFault, Name, Plan};
use crate::process::{Drops, Log, Process};
use crate::report::Report;
use crate::senders::{SENDERS, Senders};
use crate::statsd::{Statsd, StatsdMode};

/// How long a wait may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a stop may take: `shutdown_timeout`, and the slowness of a busy machine.
const STOP_PATIENCE: Duration = Duration::from_secs(15);
/// How long the destinations may take to get everything after the last fault.
const DRAIN_PATIENCE: Duration = Duration::from_secs(180);

/// The end of one run of the daemon, and the start of the next.
#[derive(Clone, Debug)]
pub(crate) struct Restart {
    pub(crate) is_kill: bool,
    /// The last step of each sender before the signal.
    pub(crate) signalled: Vec<u64>,
    /// The last step of each sender before the next run was ready.
    pub(crate) resumed: Vec<u64>,
    /// By destination: the last step of each sender that had left memory before.
    pub(crate) safe: BTreeMap<String, Vec<u64>>,
    /// The destinations whose ledger the log showed at the stop.
    pub(crate) told: Vec<String>,
    /// Whether the disk failed at some time of the run that ended.
    pub(crate) disk_failed: bool,
    /// Whether totals and levels may start anew, because the disk failed at an end or a start.
    pub(crate) may_reset: bool,
}

/// Everything that a run leaves to the account.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) restarts: Vec<Restart>,
    /// The last step of each sender.
    pub(crate) sent: Vec<u64>,
    pub(crate) in_doubt: Vec<Vec<u64>>,
    /// Points that the destinations dropped, in all runs.
    pub(crate) dropped: BTreeMap<String, Drops>,
    /// Datagrams that the kernel dropped, by sender.
    pub(crate) kernel_drops: Vec<u64>,
    /// Whether the wall clock was set back.
    pub(crate) clock_went_back: bool,
    pub(crate) lines_dropped: u64,
    pub(crate) health: Health,
    pub(crate) memory_kib: (u64, u64),
    pub(crate) descriptors: (u64, u64),
}

/// A daemon and everything around it.
pub(crate) struct Run {
    pub(crate) site: Arc<Site>,
    pub(crate) report: Arc<Report>,
    pub(crate) influx: Influx,
    pub(crate) graphite: Graphite,
    pub(crate) statsd: Statsd,
    settings: Settings,
    host: Option<Host>,
    senders: Senders,
    monitor: Monitor,
    process: Process,
    is_log_read: Arc<AtomicBool>,
    /// The number of the daemon's run, from 1.
    number: u64,
    /// The last step of each sender before this run.
    base: Vec<u64>,
    disk: DiskFault,
    disk_failed: bool,
    rotated: u64,
    outcome: Outcome,
}

impl Run {
    /// Starts a daemon in a folder, and sends to it.
    pub(crate) fn start(folder: &Path, options: &Options) -> Self {
        let site = Arc::new(Site::new(folder));
        let report = Arc::new(Report::new());
        let host = Host::new(folder);
        let settings = Settings::default();
        fs::write(folder.join("tallyd.yaml"), site.config(&settings)).unwrap();
        let is_log_read = Arc::new(AtomicBool::new(true));
        let mut run = Self {
            influx: Influx::start(site.influx),
            graphite: Graphite::start(site.graphite),
            statsd: Statsd::start(site.statsd),
            senders: Senders::start(&site),
            monitor: Monitor::start(&site, &report, options.health),
            process: Process::start(&site, host.as_ref(), &is_log_read),
            number: 1,
            base: vec![0; SENDERS.len()],
            disk: DiskFault::None,
            disk_failed: false,
            rotated: 0,
            outcome: Outcome { kernel_drops: vec![0; SENDERS.len()], ..Outcome::default() },
            site,
            report,
            settings,
            host,
            is_log_read,
        };
        run.wait_ready();
        run.outcome.memory_kib.0 = run.process.memory_kib();
        run.outcome.descriptors.0 = run.process.descriptors();
        run.senders.open(run.number);
        run
    }

    /// Injects faults until the time is over or the daemon has ended by itself.
    pub(crate) fn inject(&mut self, plan: Plan, length: Duration) {
        let began = Instant::now();
        for (pause, action) in plan {
            if began.elapsed() + pause > length {
                return;
            }
            thread::sleep(pause);
            self.report.event(&format!("{action:?}"));
            self.report.count(action.kind());
            self.act(&action);
            if let Some(status) = self.process.has_ended() {
                let log = self.end_log();
                self.report.finding(format!("the daemon ended by itself: {status}, {:#?}", log.tail));
                return;
            }
        }
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Influx(mode) => self.influx.set(*mode),
            Action::Graphite(mode) => self.graphite.set(*mode),
            Action::Statsd(mode) => self.statsd.set(*mode),
            Action::Heal => self.heal(),
            Action::Freeze { ms } => self.freeze(Duration::from_millis(*ms)),
            Action::Stop { quiet, reload } => self.stop(*quiet, *reload),
            Action::Kill { quiet } => self.kill(*quiet),
            Action::Reload(settings) => self.reload(settings),
            Action::RefusedReload(which) => self.refused_reload(REFUSED[which % REFUSED.len()]),
            Action::ReloadStorm(count) => self.reload_storm(*count),
            Action::Clock { by_ms } => self.step_clock(*by_ms),
            Action::Disk(fault) => self.set_disk(*fault),
            Action::Log { is_read } => self.is_log_read.store(*is_read, Ordering::SeqCst),
            Action::Descriptors { spare, ms } => {
                self.exhaust_descriptors(*spare, Duration::from_millis(*ms));
            }
            Action::Move { name } => self.relocate(*name),
            Action::Lookup { name, fault } => self.set_lookup(*name, *fault),
            Action::Rotate => self.rotate(),
            Action::Settle => {
                self.settle();
                self.senders.open(self.number);
            }
        }
    }

    fn heal(&mut self) {
        self.set_disk(DiskFault::None);
        self.influx.set(InfluxMode::Works);
        self.graphite.set(GraphiteMode::Works);
        self.statsd.set(StatsdMode::Works);
    }

    fn freeze(&self, length: Duration) {
        self.monitor.excuse();
        self.process.freeze();
        thread::sleep(length);
        self.process.signal(Signal::CONT);
        self.monitor.excuse();
    }

    /// Lets the senders pause, and waits until the daemon has received everything.
    fn settle(&mut self) {
        self.senders.close();
        let sent = self.senders.sent();
        let of_run: Vec<u64> = sent.iter().zip(&self.base).map(|(sent, base)| sent - base).collect();
        let in_doubt = self.senders.in_doubt();
        let doubts = in_doubt.iter().zip(&self.base);
        let doubts: Vec<u64> = doubts
            .map(|(steps, base)| steps.iter().filter(|step| *step > base).count() as u64)
            .collect();
        let is_met = |poll: &Poll| poll.has_received(&of_run, &doubts);
        if let Err(latest) = self.monitor.wait_for(self.number, PATIENCE, is_met) {
            let steps = latest.map(|poll| poll.steps().to_vec());
            self.report.finding(format!("received {steps:?} steps of {of_run:?} in this run"));
        }
    }

    fn stop(&mut self, quiet: bool, reload: bool) {
        if quiet {
            self.settle();
        }
        let restart = self.ending(false);
        self.process.signal(Signal::TERM);
        if reload {
            self.process.signal(Signal::HUP);
        }
        let began = Instant::now();
        match self.process.wait(STOP_PATIENCE) {
            Some(status) if status.success() => {}
            Some(status) => self.report.finding(format!("a stop ended with {status}")),
            None => {
                self.report.finding(format!("a stop takes more than {STOP_PATIENCE:?}"));
                self.process.signal(Signal::ABORT);
                self.process.wait(PATIENCE);
            }
        }
        self.report.event(&format!("stopped after {:?}", began.elapsed()));
        self.start_again(restart);
    }

    fn kill(&mut self, quiet: bool) {
        if quiet {
            self.settle();
        }
        let restart = self.ending(true);
        self.process.signal(Signal::KILL);
        self.process.wait(PATIENCE);
        self.start_again(restart);
    }

    /// The state just before the end of a run.
    fn ending(&mut self, is_kill: bool) -> Restart {
        self.monitor.set_run(0);
        let names = self.monitor.latest(self.number).map(|poll| poll.waiting).unwrap_or_default();
        let safe = |name: &String| {
            let steps = self.monitor.safe_steps(self.number, name);
            let numbers = steps.iter().zip(&self.base).map(|(steps, base)| steps + base);
            (name.clone(), numbers.collect())
        };
        Restart {
            is_kill,
            safe: names.keys().map(safe).collect(),
            signalled: self.senders.sent(),
            resumed: Vec::new(),
            told: Vec::new(),
            disk_failed: self.disk_failed,
            may_reset: is_kill || self.disk_failed,
        }
    }

    /// Starts the next run of the daemon.
    fn start_again(&mut self, mut restart: Restart) {
        self.senders.close();
        let log = self.end_log();
        restart.told = log.dropped.keys().cloned().collect();
        restart.resumed = self.senders.sent();
        self.base.clone_from(&restart.resumed);
        self.disk_failed = is_failure(self.disk);
        restart.may_reset |= self.disk_failed;
        if restart.may_reset {
            self.report.reset_page(self.number + 1);
        }
        self.outcome.restarts.push(restart);
        self.number += 1;
        self.monitor.forget();
        self.write_config(&self.site.config(&self.settings));
        self.process = Process::start(&self.site, self.host.as_ref(), &self.is_log_read);
        self.wait_ready();
        self.senders.open(self.number);
    }

    /// Reads the log of a run that has ended, and adds its numbers to the outcome.
    fn end_log(&mut self) -> Log {
        let was_read = self.is_log_read.swap(true, Ordering::SeqCst);
        let log = self.process.log();
        self.is_log_read.store(was_read, Ordering::SeqCst);
        for panic in &log.panics {
            self.report.finding(format!("a panic: {panic}"));
        }
        let latest = self.monitor.latest(self.number).unwrap_or_default();
        let mut dropped = latest.dropped;
        dropped.extend(log.dropped.clone());
        for (name, reasons) in dropped {
            let total = self.outcome.dropped.entry(name).or_default();
            for (reason, points) in reasons {
                *total.entry(reason).or_default() += points;
            }
        }
        self.outcome.lines_dropped += latest.lines_dropped;
        for (total, drops) in self.outcome.kernel_drops.iter_mut().zip(&latest.kernel_drops) {
            *total += drops;
        }
        log
    }

    fn wait_ready(&mut self) {
        let url = format!("http://127.0.0.1:{}/readyz", self.site.admin);
        let client = common::http().timeout(Duration::from_secs(5)).build().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while !client.get(&url).send().is_ok_and(|reply| reply.status() == 200) {
            if let Some(status) = self.process.has_ended() {
                self.is_log_read.store(true, Ordering::SeqCst);
                let log = self.process.log();
                panic!("a start ended with {status}: {:#?}\n{}", log.tail, self.report.latest());
            }
            assert!(Instant::now() < deadline, "not ready in time\n{}", self.report.latest());
            thread::sleep(Duration::from_millis(3));
        }
        self.monitor.set_run(self.number);
    }

    fn write_config(&self, text: &str) {
        let path = self.site.folder.join("tallyd.yaml");
        fs::write(path.with_extension("new"), text).unwrap();
        fs::rename(path.with_extension("new"), path).unwrap();
    }

    fn reload(&mut self, settings: &Settings) {
        self.settings = settings.clone();
        self.write_config(&self.site.config(&self.settings));
        self.process.signal(Signal::HUP);
    }

    fn refused_reload(&self, text: &str) {
        let good = self.site.config(&self.settings);
        self.write_config(&format!("{good}{text}"));
        self.process.signal(Signal::HUP);
        thread::sleep(Duration::from_millis(50));
        self.write_config(&good);
    }

    fn reload_storm(&self, count: u64) {
        let good = self.site.config(&self.settings);
        for number in 0..count {
            let more = if number % 2 == 0 { "" } else { REFUSED[0] };
            self.write_config(&format!("{good}{more}"));
            self.process.signal(Signal::HUP);
            thread::sleep(Duration::from_millis(5));
        }
        self.write_config(&good);
        self.process.signal(Signal::HUP);
    }

    fn step_clock(&mut self, by_ms: i64) {
        if let Some(host) = &mut self.host {
            host.step_clock(by_ms);
            self.outcome.clock_went_back |= by_ms < 0;
        }
    }

    fn set_disk(&mut self, fault: DiskFault) {
        if let Some(host) = &self.host {
            host.set_disk(fault);
            self.disk = fault;
            self.disk_failed |= is_failure(fault);
        }
    }

    fn exhaust_descriptors(&self, spare: u64, length: Duration) {
        self.monitor.excuse();
        let before = self.process.descriptor_limit();
        self.process.limit_descriptors(Rlimit {
            current: Some(self.process.descriptors() + spare),
            maximum: before.maximum,
        });
        thread::sleep(length);
        self.process.limit_descriptors(before);
        self.monitor.excuse();
    }

    fn relocate(&self, name: Name) {
        let Some(host) = &self.host else { return };
        let last = match name {
            Name::Influx => self.influx.relocate(),
            Name::Graphite => self.graphite.relocate(),
        };
        host.set_address(name, last);
    }

    fn set_lookup(&self, name: Name, fault: LookupFault) {
        if let Some(host) = &self.host {
            host.set_lookup(name, fault);
        }
    }

    fn rotate(&mut self) {
        self.rotated += 1;
        let to = self.site.folder.join(format!("rotated.{}", self.rotated));
        // Fails before the first window.
        let _is_moved = fs::rename(self.site.folder.join("out"), to);
    }

    /// Ends all faults, waits until all destinations have everything, and stops.
    pub(crate) fn finish(mut self) -> Finished {
        self.heal();
        self.set_lookup(Name::Influx, LookupFault::None);
        self.set_lookup(Name::Graphite, LookupFault::None);
        self.is_log_read.store(true, Ordering::SeqCst);
        if self.process.has_ended().is_none() {
            self.reload(&Settings::default());
            self.settle();
            self.report.event("draining");
            self.drain();
            self.outcome.memory_kib.1 = self.process.memory_kib();
            self.outcome.descriptors.1 = self.process.descriptors();
            self.monitor.set_run(0);
            self.process.signal(Signal::TERM);
            if !self.process.wait(PATIENCE).is_some_and(|status| status.success()) {
                self.report.finding("the last stop failed");
            }
            self.end_log();
        }
        self.outcome.sent = self.senders.sent();
        self.outcome.in_doubt = self.senders.in_doubt();
        self.outcome.health = self.monitor.health();
        self.senders.stop();
        self.monitor.stop();
        // What the kernel still holds for the stand-ins.
        thread::sleep(Duration::from_millis(500));
        Finished {
            site: self.site,
            report: self.report,
            influx: self.influx,
            graphite: self.graphite,
            statsd: self.statsd,
            outcome: self.outcome,
        }
    }

    /// Waits until all destinations have everything that was received.
    fn drain(&self) {
        let closed = self.monitor.latest(self.number).map_or(0, |poll| poll.closed());
        let is_drained = |poll: &Poll| {
            let is_empty = poll.waiting.values().all(|waiting| *waiting == 0);
            is_empty && poll.has_spools && poll.closed() > closed + 2
        };
        if let Err(latest) = self.monitor.wait_for(self.number, DRAIN_PATIENCE, is_drained) {
            let waiting = latest.map(|poll| poll.waiting);
            self.report.finding(format!("not drained {DRAIN_PATIENCE:?} after the last fault: {waiting:?}"));
        }
        // The page is looked at less often.
        thread::sleep(Duration::from_millis(1_600));
    }
}

/// A run after its end.
pub(crate) struct Finished {
    pub(crate) site: Arc<Site>,
    pub(crate) report: Arc<Report>,
    pub(crate) influx: Influx,
    pub(crate) graphite: Graphite,
    pub(crate) statsd: Statsd,
    pub(crate) outcome: Outcome,
}

fn is_failure(fault: DiskFault) -> bool {
    !matches!(fault, DiskFault::None | DiskFault::Slow { .. })
}

impl Outcome {
    /// One line with numbers that no promise covers.
    pub(crate) fn summary(&self) -> String {
        let kills = self.restarts.iter().filter(|restart| restart.is_kill).count();
        format!(
            "{} steps sent, {} stops, {kills} kills, {} replies of /healthz ({} over 100 ms, slowest {:?}), \
             {} lines of the log dropped, kernel drops {:?}, resident memory {:?} KiB, descriptors {:?}",
            self.sent.iter().sum::<u64>(),
            self.restarts.len() - kills,
            self.health.replies,
            self.health.over_100_ms,
            self.health.slowest,
            self.lines_dropped,
            self.kernel_drops,
            self.memory_kib,
            self.descriptors,
        )
    }
}
