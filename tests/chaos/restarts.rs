//! The ends and the starts of the daemon.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::host::Host;
use crate::plan::DiskFault;
use crate::process::{Log, Process};
use crate::run::{PATIENCE, Run, fails_state};

/// How long a stop may take: `shutdown_timeout`, and the slowness of a busy machine.
const STOP_PATIENCE: Duration = Duration::from_secs(15);

/// How long the removal of restart state may take after the disk works again.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(5);

/// The end of one run of the daemon, and the start of the next.
#[derive(Clone, Debug)]
pub(crate) struct Restart {
    pub(crate) is_kill: bool,
    /// The next run.
    pub(crate) next: u64,
    /// The daemon's wall clock when the run had ended.
    pub(crate) ended_ms: u64,
    /// The last step of each sender before the signal.
    pub(crate) signalled: Vec<u64>,
    /// The last step of each sender before the next run was ready.
    pub(crate) resumed: Vec<u64>,
    /// By destination: the last step of each sender that had left memory before.
    pub(crate) safe: BTreeMap<String, Vec<u64>>,
    /// The destinations whose ledger the log showed at the stop.
    pub(crate) told: Vec<String>,
    /// Whether the disk of `state_dir` failed at some time of the run that ended.
    pub(crate) disk_failed: bool,
    /// Whether totals and levels may be reset, because the run was killed or its disk failed at the end.
    pub(crate) may_reset: bool,
    /// Whether the next run found totals of an earlier run, which no disk allowed to remove.
    pub(crate) is_stale: bool,
}

impl Run {
    pub(crate) fn stop(&mut self, quiet: bool, reload: bool, between: Option<DiskFault>) {
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
            Some(status) => self.scene.report.finding(format!("a stop ended with {status}")),
            None => {
                self.scene.report.finding(format!("a stop takes more than {STOP_PATIENCE:?}"));
                self.process.signal(Signal::ABORT);
                self.process.wait(PATIENCE);
            }
        }
        self.scene.report.event(&format!("stopped after {:?}", began.elapsed()));
        self.start_again(restart, between);
    }

    pub(crate) fn kill(&mut self, quiet: bool, between: Option<DiskFault>) {
        if quiet {
            self.settle();
        }
        let restart = self.ending(true);
        self.process.signal(Signal::KILL);
        self.process.wait(PATIENCE);
        self.start_again(restart, between);
    }

    /// The state just before the end of a run.
    pub(crate) fn ending(&mut self, is_kill: bool) -> Restart {
        self.monitor.set_run(0);
        let names = self.monitor.latest(self.number).map(|poll| poll.waiting).unwrap_or_default();
        let safe = |name: &String| {
            let steps = self.monitor.safe_steps(self.number, name);
            let numbers = steps.iter().zip(&self.base).map(|(steps, base)| steps + base);
            (name.clone(), numbers.collect())
        };
        Restart {
            is_kill,
            next: self.number + 1,
            ended_ms: 0,
            safe: names.keys().map(safe).collect(),
            signalled: self.senders.sent(),
            resumed: Vec::new(),
            told: Vec::new(),
            disk_failed: self.disk_failed,
            may_reset: is_kill || fails_state(self.disk),
            is_stale: false,
        }
    }

    /// Starts the next run of the daemon, on a disk that may have another fault.
    pub(crate) fn start_again(&mut self, mut restart: Restart, between: Option<DiskFault>) {
        self.senders.close();
        let log = self.end_log();
        restart.ended_ms = self.host.as_ref().map_or(u64::MAX, Host::now_ms);
        restart.told = log.dropped.keys().cloned().collect();
        restart.resumed = self.senders.sent();
        self.base.clone_from(&restart.resumed);
        self.base_rejected = self.senders.rejected();
        restart.is_stale = restart.may_reset && self.has_saved_state();
        self.check_removal(&restart);
        if let Some(fault) = between {
            self.set_disk(fault);
        }
        self.disk_failed = fails_state(self.disk);
        if restart.may_reset {
            self.scene.report.reset_page(self.number + 1);
        }
        self.outcome.restarts.push(restart);
        self.number += 1;
        self.monitor.forget();
        self.scene.influx.set_run(self.number);
        self.write_config(&self.scene.site.config(&self.settings));
        self.process = Process::start(&self.scene.site, self.host.as_ref(), &self.is_log_read);
        self.wait_ready();
        self.senders.open(self.number);
    }

    /// Whether there are levels or totals for the next run.
    fn has_saved_state(&self) -> bool {
        let folder = self.scene.site.folder.join("state/restart");
        ["levels", "totals-prometheus"].iter().any(|name| folder.join(name).exists())
    }

    /// A run that is killed leaves no levels and totals, unless its disk did not allow their removal.
    fn check_removal(&self, restart: &Restart) {
        let works_for = self.disk_works_since.elapsed();
        if restart.is_kill && restart.is_stale && works_for > REMOVAL_PATIENCE {
            self.scene.report.finding(format!(
                "a killed run leaves totals of an earlier run, and the disk worked for {works_for:?}"
            ));
        }
    }

    /// Reads the log of a run that has ended, and adds its numbers to the outcome.
    pub(crate) fn end_log(&mut self) -> Log {
        let was_read = self.is_log_read.swap(true, Ordering::SeqCst);
        let log = self.process.log();
        self.is_log_read.store(was_read, Ordering::SeqCst);
        for panic in &log.panics {
            self.scene.report.finding(format!("a panic: {panic}"));
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

    pub(crate) fn wait_ready(&mut self) {
        let url = format!("http://127.0.0.1:{}/readyz", self.scene.site.admin);
        let client = common::http().timeout(Duration::from_secs(5)).build().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while !client.get(&url).send().is_ok_and(|reply| reply.status() == 200) {
            if let Some(status) = self.process.has_ended() {
                self.is_log_read.store(true, Ordering::SeqCst);
                let log = self.process.log();
                panic!(
                    "a start ended with {status}: {:#?}\n{}",
                    log.tail,
                    self.scene.report.latest()
                );
            }
            assert!(Instant::now() < deadline, "not ready in time\n{}", self.scene.report.latest());
            thread::sleep(Duration::from_millis(3));
        }
        self.monitor.set_run(self.number);
    }
}
