//! A run: a daemon, its senders and destinations, and the faults of a plan.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::config::{REFUSED, Settings, Site};
use crate::graphite::Graphite;
use crate::host::Host;
use crate::influx::Influx;
use crate::monitor::{Health, Monitor, Poll};
use crate::options::Options;
use crate::plan::{Action, DiskFault, LookupFault, Name, Plan};
use crate::process::{Drops, Process};
use crate::report::Report;
use crate::restarts::Restart;
use crate::senders::{SENDERS, Senders};
use crate::statsd::Statsd;
use crate::statsd_tcp::StatsdTcp;

/// How long a wait may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How long the destinations may take to get everything after the last fault.
const DRAIN_PATIENCE: Duration = Duration::from_secs(180);

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

/// The destinations of a daemon, and the notes on its runs.
pub(crate) struct Scene {
    pub(crate) site: Arc<Site>,
    pub(crate) report: Arc<Report>,
    pub(crate) influx: Influx,
    pub(crate) graphite: Graphite,
    pub(crate) statsd: Statsd,
    pub(crate) statsd_tcp: StatsdTcp,
}

/// A daemon and everything around it.
pub(crate) struct Run {
    pub(crate) scene: Scene,
    pub(crate) settings: Settings,
    pub(crate) host: Option<Host>,
    pub(crate) senders: Senders,
    pub(crate) monitor: Monitor,
    pub(crate) process: Process,
    pub(crate) is_log_read: Arc<AtomicBool>,
    /// The number of the daemon's run, from 1.
    pub(crate) number: u64,
    /// The last step of each sender before this run.
    pub(crate) base: Vec<u64>,
    /// The same for messages that are rejected.
    pub(crate) base_rejected: Vec<(u64, u64)>,
    pub(crate) disk: DiskFault,
    /// Whether the disk of `state_dir` failed at some time of this run.
    pub(crate) disk_failed: bool,
    /// Since when it works.
    pub(crate) disk_works_since: Instant,
    pub(crate) rotated: u64,
    pub(crate) outcome: Outcome,
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
        // Before the daemon, which connects to them.
        let scene = Scene {
            influx: Influx::start(site.influx),
            graphite: Graphite::start(site.graphite),
            statsd: Statsd::start(site.statsd),
            statsd_tcp: StatsdTcp::start(site.statsd_tcp),
            site,
            report,
        };
        let mut run = Self {
            senders: Senders::start(&scene.site),
            monitor: Monitor::start(&scene.site, &scene.report, options.health),
            process: Process::start(&scene.site, host.as_ref(), &is_log_read),
            number: 1,
            base: vec![0; SENDERS.len()],
            base_rejected: vec![(0, 0); SENDERS.len()],
            disk: DiskFault::None,
            disk_failed: false,
            disk_works_since: Instant::now(),
            rotated: 0,
            outcome: Outcome { kernel_drops: vec![0; SENDERS.len()], ..Outcome::default() },
            scene,
            settings,
            host,
            is_log_read,
        };
        run.scene.influx.set_run(1);
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
            self.scene.report.event(&format!("{action:?}"));
            self.scene.report.count(action.kind());
            self.act(&action);
            if let Some(status) = self.process.has_ended() {
                let log = self.end_log();
                self.scene
                    .report
                    .finding(format!("the daemon ended by itself: {status}, {:#?}", log.tail));
                return;
            }
        }
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Influx(mode) => self.scene.influx.set(*mode),
            Action::Graphite(mode) => self.scene.graphite.set(*mode),
            Action::Statsd(mode) => self.scene.statsd.set(*mode),
            Action::StatsdTcp(mode) => self.scene.statsd_tcp.set(*mode),
            Action::Heal => self.heal(),
            Action::Freeze { ms } => self.freeze(Duration::from_millis(*ms)),
            Action::Stop { quiet, reload, between } => self.stop(*quiet, *reload, *between),
            Action::Kill { quiet, between } => self.kill(*quiet, *between),
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

    /// Lets the senders pause, and waits until the daemon has received everything.
    pub(crate) fn settle(&mut self) {
        self.senders.close();
        let sent = self.senders.sent();
        let of_run: Vec<u64> =
            sent.iter().zip(&self.base).map(|(sent, base)| sent - base).collect();
        let in_doubt = self.senders.in_doubt();
        let doubts = in_doubt.iter().zip(&self.base);
        let doubts: Vec<u64> = doubts
            .map(|(steps, base)| steps.iter().filter(|step| *step > base).count() as u64)
            .collect();
        let is_met = |poll: &Poll| poll.has_received(&of_run, &doubts);
        match self.monitor.wait_for(self.number, PATIENCE, is_met) {
            Ok(poll) => self.check_rejected(&poll),
            Err(latest) => {
                let steps = latest.map(|poll| poll.steps().to_vec());
                self.scene
                    .report
                    .finding(format!("received {steps:?} steps of {of_run:?} in this run"));
            }
        }
    }

    /// A sender sends the messages that are rejected before steps that have been received.
    fn check_rejected(&self, poll: &Poll) {
        for (sender, (sent, doubts)) in self.senders.rejected().into_iter().enumerate() {
            let of_run = sent - self.base_rejected[sender].0;
            let (rejected, drops) = (poll.rejected[sender], poll.kernel_drops[sender]);
            if !(of_run.saturating_sub(drops)..=of_run + doubts).contains(&rejected) {
                let name = SENDERS[sender];
                self.scene
                    .report
                    .finding(format!("{name}: rejected {rejected} messages of {of_run}"));
            }
        }
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
            self.scene.report.event("draining");
            self.drain();
            self.outcome.memory_kib.1 = self.process.memory_kib();
            self.outcome.descriptors.1 = self.process.descriptors();
            self.monitor.set_run(0);
            self.process.signal(Signal::TERM);
            if !self.process.wait(PATIENCE).is_some_and(|status| status.success()) {
                self.scene.report.finding("the last stop failed");
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
        Finished { scene: self.scene, outcome: self.outcome }
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
            self.scene.report.finding(format!(
                "not drained {DRAIN_PATIENCE:?} after the last fault: {waiting:?}"
            ));
        }
        // The page is looked at less often.
        thread::sleep(Duration::from_millis(1_600));
    }
}

/// A run after its end.
pub(crate) struct Finished {
    pub(crate) scene: Scene,
    pub(crate) outcome: Outcome,
}

/// Whether the disk of `state_dir` fails.
pub(crate) fn fails_state(fault: DiskFault) -> bool {
    match fault {
        DiskFault::None | DiskFault::Slow { .. } => false,
        DiskFault::Full { state, .. }
        | DiskFault::Broken { state, .. }
        | DiskFault::ReadOnly { state, .. } => state,
    }
}

impl Outcome {
    /// Whether a window may have the timestamp of an earlier one: a run that was killed, or could not save
    /// its state, left none of its timestamps to the next one, and the clock was set back.
    pub(crate) fn may_overwrite(&self) -> bool {
        self.clock_went_back && self.restarts.iter().any(|restart| restart.may_reset)
    }

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
