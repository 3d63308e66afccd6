//! Drives a backlog and the naive model with the same events, and compares them after each event.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use model::testing::snapshot_of_counters;
use model::{PointRanges, Snapshot};

use super::naive::{Naive, NaiveNext, NaiveWork, PointId, point_id, points_of};
use super::{LossReason, ModelEvent, ModelLimits, ReadOutcome};
use crate::config::DeliveryConfig;
use crate::delivery::backlog::{
    Backlog, DebtStep, NextWindow, ReadRetry, SpoolWork, Wakes, WindowSource,
};
use crate::delivery::payload::Settled;
use crate::delivery::reason;
use crate::spool::{DiscardedFiles, FileName, FoundWindows, RefusedPoints, WriteJob};

/// The time between two windows.
const STEP_MS: u64 = 1_000;

/// A backlog with simulated tasks and a simulated disk, and the naive model that it must match.
pub(super) struct Harness {
    backlog: Backlog,
    naive: Naive,
    delivery: DeliveryConfig,
    has_spool: bool,
    disk: BTreeMap<FileName, Snapshot>,
    /// Whether this run has opened the folder.
    is_open: bool,
    removed_by_others: BTreeSet<FileName>,
    flight: Option<Flight>,
    work: Work,
    /// The end of the next window.
    next_id: u64,
    /// The points that the destination received, in all runs.
    got: Vec<PointId>,
    /// Whether points may be delivered twice: a run crashed, or could not write the rest of a window.
    may_repeat: bool,
    waits: Waits,
}

/// The window in flight, as the delivery loop sees it.
enum Flight {
    Reading(FileName),
    /// The snapshot, and the indexes of the points that are not settled.
    Sending(Arc<Snapshot>, Vec<usize>),
}

/// The current work of the spool loop.
enum Work {
    None,
    Opening,
    Probing,
    Removing(DiscardedFiles),
    Packed(PackedFile),
    Writing(PackedFile),
    Syncing(Vec<FileName>),
    Quarantining(RefusedPoints),
}

struct PackedFile {
    seq: u64,
    name: FileName,
    content: Snapshot,
}

/// The tasks that wait until they are woken.
#[derive(Default)]
struct Waits {
    delivery: bool,
    spool: bool,
    stop: bool,
}

fn ranges_of(places: &[usize]) -> PointRanges {
    let mut ranges = PointRanges::default();
    places.iter().for_each(|place| ranges.add(*place..place + 1));
    ranges
}

fn pack(job: &WriteJob) -> PackedFile {
    let content = job.snapshot.only(&job.points);
    let points = content.points.len() as u64;
    let start_ms = content.window.end_ms - content.window.length.as_millis() as u64;
    let name = FileName { seq: job.seq, start_ms, points, bytes: 20 + 10 * points };
    PackedFile { seq: job.seq, name, content }
}

fn shown(work: &SpoolWork) -> NaiveWork {
    match work {
        SpoolWork::Open => NaiveWork::Open,
        SpoolWork::Discard(DebtStep::Remove(files)) => {
            let set_aside = files.set_aside.iter().map(|(file, _)| *file).collect();
            NaiveWork::Remove(files.remove.clone(), set_aside)
        }
        SpoolWork::Write(job) => NaiveWork::Write(points_of(&pack(job).content)),
        SpoolWork::Quarantine(refused) => {
            let mut all = Vec::new();
            for (reason, places) in &refused.points {
                let points = places.of(&refused.snapshot.points);
                all.extend(points.map(|point| (*reason, point_id(&refused.snapshot, point))));
            }
            all.sort_unstable();
            NaiveWork::Quarantine(all)
        }
        SpoolWork::Probe => NaiveWork::Probe,
        SpoolWork::Discard(DebtStep::Record(_)) => panic!("no removal is slow, or of many files"),
        SpoolWork::Sync(files) => NaiveWork::Sync(files.clone()),
        SpoolWork::Tidy => panic!("the folder contains only windows"),
        SpoolWork::Wait => NaiveWork::Wait,
        SpoolWork::End => NaiveWork::End,
    }
}

impl Harness {
    pub(super) fn new(limits: ModelLimits, has_spool: bool) -> Self {
        let delivery = limits.delivery();
        Self {
            backlog: Backlog::new(&delivery, has_spool),
            naive: Naive::new(&delivery, has_spool),
            delivery,
            has_spool,
            disk: BTreeMap::new(),
            is_open: false,
            removed_by_others: BTreeSet::new(),
            flight: None,
            work: Work::None,
            next_id: 1_000_000,
            got: Vec::new(),
            may_repeat: false,
            waits: Waits::default(),
        }
    }

    /// Applies an event to the backlog and to the model.
    #[allow(clippy::needless_pass_by_value, reason = "an event happens once")]
    pub(super) fn apply(&mut self, event: ModelEvent) {
        match event {
            ModelEvent::Push(points) => self.push(points),
            ModelEvent::Next => self.next(),
            ModelEvent::Read(outcome) => self.read(outcome),
            ModelEvent::Settle { delivered, refused, reason, are_places_known } => {
                self.settle(delivered, refused, reason, are_places_known);
            }
            ModelEvent::AttemptFails => self.attempt_fails(),
            ModelEvent::AttemptSucceeds => self.attempt_succeeds(),
            ModelEvent::Late => self.late(),
            ModelEvent::ReplaceForwarder => self.replace_forwarder(),
            ModelEvent::TakeRevoked => self.take_revoked(),
            ModelEvent::SpoolStep { may_write, fails } => self.spool_step(may_write, fails),
            ModelEvent::Expire { windows_left } => self.expire(windows_left),
            ModelEvent::RemoveFile(index) => self.remove_file(&index),
            ModelEvent::List => self.list(),
            ModelEvent::SetLimits(limits) => self.set_limits(limits),
            ModelEvent::Close => self.close(),
            ModelEvent::EndDelivery => self.end_delivery(),
            ModelEvent::Stop => self.stop(),
            ModelEvent::Crash => self.crash(),
        }
    }

    // ---- The flush ----------------------------------------------------------------------------

    fn push(&mut self, points: usize) {
        if self.naive.is_closed {
            return;
        }
        self.next_id += STEP_MS;
        let mut snapshot = snapshot_of_counters(points);
        snapshot.window.end_ms = self.next_id;
        let evicted = self.naive.push(&snapshot);
        assert_eq!(self.backlog.push(Arc::new(snapshot), None), evicted);
        self.check();
    }

    fn set_limits(&mut self, limits: ModelLimits) {
        self.delivery = limits.delivery();
        self.backlog.set_limits(&self.delivery);
        self.naive.set_limits(&self.delivery);
        self.check();
    }

    fn close(&mut self) {
        self.backlog.close();
        self.naive.close();
        self.check();
    }

    // ---- The delivery loop --------------------------------------------------------------------

    fn next(&mut self) {
        if self.flight.is_some() || self.naive.has_ended {
            return;
        }
        let expected = self.naive.next();
        match self.backlog.next_window() {
            NextWindow::Wait | NextWindow::WaitForGate(_) => {
                assert_eq!(expected, NaiveNext::Wait);
            }
            NextWindow::End => {
                assert_eq!(expected, NaiveNext::End);
                self.end_delivery();
            }
            NextWindow::Deliver(source) => {
                self.begin(source);
                let id = self.naive.flight.as_ref().unwrap().window.id;
                let is_in_memory = matches!(self.flight, Some(Flight::Sending(..)));
                assert_eq!(expected, NaiveNext::Deliver { id, is_in_memory });
            }
        }
        self.check();
        self.waits.delivery = expected == NaiveNext::Wait;
    }

    fn begin(&mut self, source: WindowSource) {
        self.flight = Some(match source {
            WindowSource::File(file) => Flight::Reading(file),
            WindowSource::Memory(snapshot) => {
                let left = &self.naive.flight.as_ref().unwrap().window.left;
                assert_eq!(&points_of(&snapshot), left, "the points to deliver");
                let places = (0..snapshot.points.len()).collect();
                Flight::Sending(snapshot, places)
            }
        });
    }

    fn read(&mut self, outcome: ReadOutcome) {
        let Some(Flight::Reading(file)) = &self.flight else { return };
        let content = self.disk.get(file).cloned();
        let (reason, suffix) = match (content, outcome) {
            (Some(content), ReadOutcome::Fine) => {
                let snapshot = Arc::new(content);
                self.backlog.window_read(&snapshot);
                self.naive.read(&snapshot);
                self.begin(WindowSource::Memory(snapshot));
                return self.check();
            }
            (Some(_), ReadOutcome::Fails) => return self.read_fails(),
            (Some(_), ReadOutcome::Corrupt) => (reason::SPOOL_CORRUPT, Some("corrupt")),
            (None, _) => (reason::REMOVED, None),
        };
        self.backlog.window_unreadable(reason, suffix);
        self.naive.unreadable(reason, suffix.is_some());
        self.flight = None;
        self.check();
    }

    fn read_fails(&mut self) {
        let retry = self.backlog.read_failed();
        let stays = self.naive.read_failed();
        assert_eq!(retry == ReadRetry::AtOnce, stays);
        self.flight.take_if(|_| !stays);
        self.check();
    }

    fn settle(
        &mut self,
        delivered: usize,
        refused: usize,
        reason: LossReason,
        are_places_known: bool,
    ) {
        let Some(Flight::Sending(snapshot, left)) = &mut self.flight else { return };
        let (refused, reason) = (refused.min(left.len()), reason.word());
        let delivered = delivered.min(left.len() - refused);
        let mut settled = Settled::default();
        settled.delivered = delivered as u64;
        settled.refused.insert(reason, refused as u64);
        if are_places_known {
            settled.places.insert(reason, ranges_of(&left[delivered..delivered + refused]));
        }
        for place in left.drain(..delivered + refused).take(delivered) {
            let point = point_id(snapshot, &snapshot.points[place]);
            assert!(self.may_repeat || !self.got.contains(&point), "{point:?} came twice");
            self.got.push(point);
        }
        let is_done = left.is_empty();
        self.backlog.settle(settled, ranges_of(left), is_done);
        self.naive.settle(delivered, refused, reason, are_places_known);
        if is_done {
            self.flight = None;
        }
        let this_run = &self.got[self.got.len() - self.naive.delivered.len()..];
        assert_eq!(this_run, self.naive.delivered, "in the order of the model");
        self.check();
    }

    /// Whether the delivery loop is making an attempt. Without one it has no result to report.
    fn is_sending(&self) -> bool {
        matches!(self.flight, Some(Flight::Sending(..)))
    }

    fn attempt_fails(&mut self) {
        if self.is_sending() {
            assert_eq!(self.backlog.attempt_failed(), self.naive.attempt_failed());
            self.check();
        }
    }

    fn attempt_succeeds(&mut self) {
        if self.is_sending() {
            assert_eq!(self.backlog.attempt_succeeded(), self.naive.attempt_succeeded());
            self.check();
        }
    }

    fn late(&mut self) {
        if self.is_sending() {
            self.backlog.mark_late();
            self.naive.late();
            self.check();
        }
    }

    fn replace_forwarder(&mut self) {
        if self.naive.has_ended {
            return;
        }
        if self.has_spool {
            self.naive.restart();
            let source = self.backlog.restart_in_flight();
            assert_eq!(source.is_some(), self.flight.is_some());
            if let Some(WindowSource::Memory(snapshot)) = &source {
                self.naive.read(snapshot);
            }
            source.into_iter().for_each(|source| self.begin(source));
        } else {
            let lost = self.naive.give_up(reason::REPLACED);
            assert_eq!(self.backlog.give_up_in_flight(reason::REPLACED), lost);
            self.flight = None;
        }
        self.check();
    }

    fn take_revoked(&mut self) {
        if self.naive.has_ended {
            return;
        }
        let is_revoked = self.naive.take_revoked();
        assert_eq!(self.backlog.take_revoked(), is_revoked);
        self.flight.take_if(|_| is_revoked);
        self.check();
    }

    fn end_delivery(&mut self) {
        if !self.naive.has_ended {
            self.backlog.end_delivery();
            self.naive.end_delivery();
            self.flight = None;
            self.check();
        }
    }

    // ---- The spool loop -----------------------------------------------------------------------

    fn spool_step(&mut self, may_write: bool, fails: bool) {
        match std::mem::replace(&mut self.work, Work::None) {
            Work::None => self.ask_for_work(may_write),
            Work::Opening | Work::Probing if fails => self.fail(),
            Work::Writing(packed) if fails => self.fail_to_write(&packed),
            Work::Opening => self.open(may_write),
            Work::Probing => self.probe(),
            Work::Removing(files) => self.removal_ended(files, fails),
            Work::Packed(packed) => self.make_room(packed),
            Work::Writing(packed) => self.write(packed),
            Work::Syncing(files) => self.sync(&files, fails),
            Work::Quarantining(refused) => self.quarantine(&refused, fails),
        }
        self.check();
    }

    fn ask_for_work(&mut self, may_write: bool) {
        let work = self.backlog.next_spool_work(may_write);
        let expected = self.naive.next_work(may_write);
        assert_eq!(shown(&work), expected);
        self.work = match work {
            SpoolWork::Open => Work::Opening,
            SpoolWork::Discard(DebtStep::Remove(files) | DebtStep::Record(files)) => {
                Work::Removing(files)
            }
            SpoolWork::Probe => Work::Probing,
            SpoolWork::Write(job) => Work::Packed(pack(&job)),
            SpoolWork::Sync(files) => Work::Syncing(files),
            SpoolWork::Quarantine(refused) => Work::Quarantining(refused),
            SpoolWork::Tidy | SpoolWork::Wait | SpoolWork::End => Work::None,
        };
        self.check();
        self.waits.spool = may_write && expected == NaiveWork::Wait;
    }

    fn fail(&mut self) {
        self.backlog.write_failed(None);
        self.naive.write_failed();
    }

    fn fail_to_write(&mut self, PackedFile { seq, content, .. }: &PackedFile) {
        self.backlog.write_of_failed(*seq, None);
        self.naive.write_of_failed(content.window.end_ms);
    }

    fn sync(&mut self, files: &[FileName], fails: bool) {
        self.backlog.sync_ended(if fails { files } else { &[] });
        self.naive.sync_ended(fails);
    }

    /// Opens the folder and syncs the windows in it.
    fn open(&mut self, is_synced: bool) {
        // If a window has several files, the one with the fewest points is the newest one.
        let is_replaced = |file: &FileName| {
            let mut others = self.disk.keys().filter(|other| other.is_of_same_window(file));
            others.any(|other| other.points < file.points)
        };
        let (replaced, windows): (Vec<FileName>, Vec<FileName>) =
            self.disk.keys().copied().partition(is_replaced);
        let first_seq = windows.iter().map(|file| file.seq + 1).max().unwrap_or_default();
        let found = windows.iter().map(|file| (*file, points_of(&self.disk[file]))).collect();
        self.naive.opened(found, &replaced, is_synced);
        self.backlog.opened(&FoundWindows {
            first_seq,
            windows,
            replaced,
            ..FoundWindows::default()
        });
        self.backlog.found_synced(is_synced);
        self.is_open = true;
    }

    fn probe(&mut self) {
        self.backlog.probed();
        self.naive.probed();
    }

    fn removal_ended(&mut self, files: DiscardedFiles, fails: bool) {
        if fails {
            self.backlog.removal_ended(Some(files));
        } else {
            self.remove(&files);
            self.backlog.removal_ended(Some(DiscardedFiles::default()));
        }
        self.naive.removal_ended(fails);
    }

    fn remove(&mut self, files: &DiscardedFiles) {
        let set_aside = files.set_aside.iter().map(|(file, _)| file);
        for file in files.remove.iter().chain(set_aside) {
            self.disk.remove(file);
        }
    }

    fn make_room(&mut self, packed: PackedFile) {
        let bytes = packed.name.bytes;
        if bytes > self.delivery.spool.max_bytes.get() {
            return self.fail_to_write(&packed);
        }
        assert_eq!(self.backlog.make_room(bytes), self.naive.make_room(bytes));
        let count = self.naive.begin_removal_for_write();
        match self.backlog.next_debt_step(false) {
            Some(DebtStep::Remove(files)) => {
                assert_eq!(count, files.len());
                self.removal_ended(files, false);
            }
            None => assert_eq!(count, 0),
            Some(DebtStep::Record(_)) => panic!("no removal is slow"),
        }
        self.work = Work::Writing(packed);
    }

    fn write(&mut self, packed: PackedFile) {
        let PackedFile { seq, name, content } = packed;
        let id = content.window.end_ms;
        self.removed_by_others.remove(&name);
        let before = self.disk.insert(name, content);
        assert!(before.is_none(), "{name} is there already");
        let is_synced = !self.naive.has_ended;
        self.backlog.written(seq, name, is_synced);
        self.naive.written(id, name, is_synced);
    }

    fn quarantine(&mut self, refused: &RefusedPoints, fails: bool) {
        let all: u64 = refused.points.values().map(PointRanges::count).sum();
        let kept = if fails { 0 } else { all };
        self.backlog.quarantined(kept, all - kept);
        self.naive.quarantined.0 += kept;
        self.naive.quarantined.1 += all - kept;
    }

    /// Advances the time until only the `windows_left` newest windows have not expired.
    fn expire(&mut self, windows_left: u64) {
        let max_age_ms = self.delivery.spool.max_age.get().as_millis() as u64;
        let now_ms = self.next_id + max_age_ms - 10_000 - windows_left * STEP_MS;
        assert_eq!(self.backlog.expire(now_ms), self.naive.expire(now_ms));
        self.waits.spool = false;
        self.check();
    }

    fn remove_file(&mut self, index: &proptest::sample::Index) {
        if !self.disk.is_empty() {
            let file = *self.disk.keys().nth(index.index(self.disk.len())).unwrap();
            self.disk.remove(&file);
            self.removed_by_others.insert(file);
            // The next run then delivers the file that it has replaced.
            self.may_repeat |= self.disk.keys().any(|other| other.is_of_same_window(&file));
        }
    }

    fn list(&mut self) {
        let present: Vec<FileName> = self.disk.keys().copied().collect();
        let names: HashSet<FileName> = present.iter().copied().collect();
        assert_eq!(self.backlog.files_listed(&names), self.naive.listed(&present));
        self.waits.spool = false;
        self.check();
    }

    // ---- The life of a daemon -----------------------------------------------------------------

    fn stop(&mut self) {
        self.close();
        self.end_delivery();
        while self.has_spool_work() {
            self.spool_step(true, false);
        }
        let lost = self.naive.drop_unsaved();
        assert_eq!(self.backlog.drop_unsaved(), lost);
        self.check();
        // The file of a window whose rest could not be written contains points that are settled.
        let repeated = self.naive.settled_on_disk();
        assert_eq!(self.backlog.settled_on_disk(), repeated);
        if !self.may_repeat {
            self.check_that_files_hold(self.naive.ledger().spooled + repeated);
        }
        self.may_repeat |= repeated > 0;
        self.restart();
    }

    /// Points in the file of the window in flight that are settled.
    pub(super) fn settled_on_disk(&self) -> u64 {
        self.naive.settled_on_disk()
    }

    fn has_spool_work(&self) -> bool {
        self.naive.peek_work(true) != NaiveWork::End || !matches!(self.work, Work::None)
    }

    fn crash(&mut self) {
        self.may_repeat = true;
        self.restart();
    }

    fn restart(&mut self) {
        self.backlog = Backlog::new(&self.delivery, self.has_spool);
        self.naive = Naive::new(&self.delivery, self.has_spool);
        self.removed_by_others.clear();
        self.is_open = false;
        (self.flight, self.work, self.waits) = (None, Work::None, Waits::default());
        self.check();
    }

    // ---- Comparison ---------------------------------------------------------------------------

    fn check(&mut self) {
        self.check_counts();
        self.check_disk();
        let wakes = self.backlog.take_wakes();
        self.check_wakes(wakes);
    }

    fn check_counts(&self) {
        let ledger = self.backlog.ledger();
        assert_eq!(*ledger, self.naive.ledger());
        assert_eq!(self.backlog.memory_bytes(), self.naive.memory_bytes());
        assert!(ledger.is_balanced(), "{ledger:?}");
        let (came, are) = self.naive.all_points();
        assert_eq!(came, are, "every point is in one place");
        assert!(came.windows(2).all(|pair| pair[0] != pair[1]), "{came:?}");
        let Some(usage) = self.backlog.spool_usage() else { return assert!(!self.has_spool) };
        let files = [self.naive.files(), self.naive.files_to_go()].concat();
        let bytes: u64 = files.iter().map(|file| file.bytes).sum();
        assert_eq!((usage.files, usage.bytes), (files.len() as u64, bytes));
        assert_eq!(usage.oldest_ms, self.naive.oldest_ms());
        let quarantine = (usage.quarantine.kept, usage.quarantine.not_kept);
        assert_eq!(quarantine, self.naive.quarantined);
    }

    /// Checks that exactly the files that a window needs or that are being removed are on disk, and
    /// that each contains the points of its window.
    fn check_disk(&self) {
        if !self.is_open {
            return;
        }
        let mut expected: BTreeSet<FileName> = self.naive.files().into_iter().collect();
        expected.extend(self.naive.files_to_go());
        expected.retain(|file| !self.removed_by_others.contains(file));
        assert_eq!(self.disk.keys().copied().collect::<BTreeSet<_>>(), expected);
        for window in self.naive.windows() {
            if let Some(content) = window.file.and_then(|file| self.disk.get(&file)) {
                let content = points_of(content);
                assert!(window.left.iter().all(|point| content.contains(point)), "{window:?}");
            }
        }
    }

    fn check_that_files_hold(&self, points: u64) {
        let outdated = self.naive.outdated();
        let needed = self.disk.iter().filter(|(file, _)| !outdated.contains(file));
        let on_disk: u64 = needed.map(|(_, content)| content.points.len() as u64).sum();
        let removed: u64 = self.removed_by_others.iter().map(|file| file.points).sum();
        assert!(on_disk <= points && points <= on_disk + removed, "{on_disk} of {points}");
    }

    /// Checks that an event that gives a waiting task something to do also wakes it.
    fn check_wakes(&mut self, wakes: Wakes) {
        self.waits.delivery &= !wakes.delivery;
        self.waits.spool &= !wakes.spool;
        if self.waits.delivery && self.flight.is_none() && !self.naive.has_ended {
            assert_eq!(self.naive.peek(), NaiveNext::Wait, "the delivery loop was not woken");
        }
        if self.waits.spool {
            assert_eq!(self.naive.peek_work(true), NaiveWork::Wait, "the spool loop was not woken");
        }
        let is_stop_wanted = self.naive.is_stop_wanted();
        assert_eq!(self.backlog.is_stop_wanted(), is_stop_wanted);
        assert!(!is_stop_wanted || self.waits.stop || wakes.stop, "the stop was not noticed");
        self.waits.stop = is_stop_wanted;
    }
}
