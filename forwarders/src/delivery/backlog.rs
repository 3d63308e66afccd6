//! What waits for one destination, in memory or on disk: the one place that knows, and counts.
//!
//! Three sides meet here, and none waits for another. The flush pushes windows. The courier takes
//! one after the other and delivers it. The keeper, where there is a spool, writes to disk what has
//! to be there and removes what no longer has to. Nothing is read or written here.

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use tokio::sync::Notify;

use crate::config::{DeliveryConfig, SpoolConfig, SpoolOrder, SpoolWrite};
use crate::delivery::payload::Settled;
use crate::delivery::stats::{ForwarderStats, Place, reason};
use crate::spool::{Directory, FileName, Found};
use model::PointRanges;
use model::Snapshot;

/// Most windows that wait in memory; a bound of its own because an empty window has no points.
const WINDOWS_MAX: usize = 4_096;
/// How many old windows go before a fresh one has its turn.
const OLD_IN_A_ROW: u32 = 4;

/// See the module.
#[derive(Debug)]
pub(crate) struct Backlog {
    /// Whether windows may go to disk.
    has_spool: bool,
    state: Mutex<State>,
    stats: Arc<ForwarderStats>,
    /// The courier has something to look at.
    for_courier: Notify,
    /// The keeper has something to look at.
    for_keeper: Notify,
    /// It may be time to stop trying.
    for_stop: Notify,
}

#[derive(Debug, Default)]
struct State {
    points_max: u64,
    /// Of effect only where there is one.
    spool: SpoolConfig,
    /// By number. What is on disk comes before what is not.
    waiting: VecDeque<Waiting>,
    /// What the courier has.
    current: Option<Current>,
    next_seq: u64,
    /// Windows below were flushed by an earlier run.
    first_seq: u64,
    /// The last fresh window that went before its turn.
    freshest: Option<u64>,
    old_in_a_row: u32,
    disk: Disk,
    /// What is on disk, files that are to be removed left out.
    files: u64,
    bytes: u64,
    tidy: Tidy,
    /// What a destination has refused of a window, until the keeper takes it.
    refused: Option<Refused>,
    /// No further window comes.
    is_closed: bool,
    /// The courier has ended: what is left has to go to disk.
    is_leaving: bool,
}

#[derive(Debug)]
struct Waiting {
    seq: u64,
    points: u64,
    /// In memory, unless it is on disk.
    snapshot: Option<Arc<Snapshot>>,
    file: Option<FileName>,
}

#[derive(Debug)]
struct Current {
    seq: u64,
    /// Kept until it is delivered, where there is a spool: what is left of it may have to be written.
    snapshot: Option<Arc<Snapshot>>,
    /// What is not delivered, as far as the courier has said.
    left: PointRanges,
    /// What the destination has refused of it, by reason, as long as it is not the keeper's.
    refused: BTreeMap<&'static str, PointRanges>,
    file: Option<FileName>,
    /// It cannot be delivered at once.
    is_late: bool,
    /// Its file had to make room; it is not written again.
    gave_way: bool,
    /// It is to be given up, and why.
    revoked: Option<&'static str>,
}

/// Whether windows can go to disk.
#[derive(Debug, Default)]
enum Disk {
    /// Not yet tried.
    #[default]
    Unopened,
    /// They can.
    Ready(Arc<Directory>),
    /// Not at the moment.
    Degraded(Option<Arc<Directory>>),
}

/// Files that are to go.
#[derive(Debug, Default)]
pub(crate) struct Tidy {
    /// Delivered or dropped.
    pub(crate) remove: Vec<FileName>,
    /// Of no use, with the reason.
    pub(crate) set_aside: Vec<(FileName, &'static str)>,
}

/// What a destination has refused of a window, for the quarantine. One at a time waits, so that at
/// most one window is held for it.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) seq: u64,
    pub(crate) snapshot: Arc<Snapshot>,
    /// By reason.
    pub(crate) points: BTreeMap<&'static str, PointRanges>,
}

/// A window for the courier. Without the snapshot it has to be read from the file.
#[derive(Debug)]
pub(crate) enum Taken {
    Window(Arc<Snapshot>),
    File(Arc<Directory>, FileName),
}

/// Something to do for the keeper.
#[derive(Debug)]
pub(crate) enum Chore {
    /// Open the folder.
    Open,
    /// Remove files.
    Tidy(Arc<Directory>, Tidy),
    /// Write these points of a window.
    Write { directory: Arc<Directory>, seq: u64, snapshot: Arc<Snapshot>, points: PointRanges },
    /// Put points into the quarantine.
    Quarantine(Arc<Directory>, Refused),
    /// Nothing at the moment.
    Rest,
    /// Nothing any more.
    End,
}

enum Next {
    Window(Taken),
    Wait,
    End,
}

impl Tidy {
    fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set_aside.is_empty()
    }
}

impl Current {
    fn place(&self) -> Place {
        if self.file.is_some() { Place::Disk } else { Place::Memory }
    }
}

impl Disk {
    fn directory(&self) -> Option<Arc<Directory>> {
        match self {
            Self::Unopened => None,
            Self::Ready(directory) => Some(Arc::clone(directory)),
            Self::Degraded(directory) => directory.clone(),
        }
    }
}

impl Backlog {
    /// An empty one; `spool` says whether there may be a spool.
    pub(crate) fn new(delivery: &DeliveryConfig, spool: bool, stats: Arc<ForwarderStats>) -> Self {
        let state = State {
            points_max: delivery.queue.max_points,
            spool: delivery.spool,
            ..State::default()
        };
        Self {
            has_spool: spool,
            state: Mutex::new(state),
            stats,
            for_courier: Notify::new(),
            for_keeper: Notify::new(),
            for_stop: Notify::new(),
        }
    }

    /// Takes other bounds; what is beyond them goes when the next window comes.
    pub(crate) fn set_limits(&self, delivery: &DeliveryConfig) {
        let mut state = self.lock();
        state.points_max = delivery.queue.max_points;
        state.spool = delivery.spool;
        drop(state);
        self.for_courier.notify_one();
        self.for_keeper.notify_one();
    }

    // ---- The flush's side -------------------------------------------------------------------

    /// Adds a window and drops the oldest ones in memory that no longer fit; returns how many
    /// points these had. Never waits: for metrics fresh data is worth more than old.
    #[must_use = "a drop is worth a line in the log"]
    pub(crate) fn push(&self, snapshot: Arc<Snapshot>) -> u64 {
        let points = snapshot.points.len() as u64;
        if points == 0 && self.has_spool {
            return 0;
        }
        let mut state = self.lock();
        let mut evicted = 0;
        let first = state.first_in_memory();
        while state.waiting.len() > first
            && (self.stats.queued() + points > state.points_max
                || state.waiting.len() - first >= WINDOWS_MAX)
        {
            let Some(oldest) = state.waiting.remove(first) else { break };
            self.stats.dropped(Place::Memory, reason::QUEUE_FULL, oldest.points);
            evicted += oldest.points;
        }
        self.stats.flushed(points);
        let seq = state.next_seq;
        state.next_seq += 1;
        state.waiting.push_back(Waiting { seq, points, snapshot: Some(snapshot), file: None });
        drop(state);
        self.for_courier.notify_one();
        self.for_keeper.notify_one();
        evicted
    }

    /// No further window comes.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.for_courier.notify_one();
        self.for_keeper.notify_one();
        self.for_stop.notify_one();
    }

    // ---- The courier's side -----------------------------------------------------------------

    /// The next window to deliver, which is the current one from then on; `None` when the input
    /// has ended and what is left is better on disk, or nothing is.
    pub(crate) async fn next(&self) -> Option<Taken> {
        loop {
            match self.take_next() {
                Next::Window(taken) => return Some(taken),
                Next::End => return None,
                Next::Wait => self.for_courier.notified().await,
            }
        }
    }

    fn take_next(&self) -> Next {
        let mut state = self.lock();
        if !self.has_spool {
            return match state.waiting.pop_front() {
                Some(window) => Next::Window(state.begin(window, false)),
                None if state.is_closed => Next::End,
                None => Next::Wait,
            };
        }
        let spool = state.spool;
        let is_ready = matches!(state.disk, Disk::Ready(_));
        let Some(oldest) = state.waiting.front() else {
            let is_over = state.is_closed && !matches!(state.disk, Disk::Unopened);
            return if is_over { Next::End } else { Next::Wait };
        };
        // Before an attempt to open it, nobody knows whether there are older ones.
        let unsafe_yet = spool.write == SpoolWrite::Always && is_ready && oldest.file.is_none();
        if matches!(state.disk, Disk::Unopened) || unsafe_yet {
            return Next::Wait;
        }
        let waits_well = oldest.snapshot.is_none() || self.stats.is_down();
        if state.is_closed && is_ready && waits_well {
            return Next::End;
        }
        let window = if state.is_fresh_ones_turn(&spool) {
            state.old_in_a_row = 0;
            let newest = state.waiting.pop_back();
            state.freshest = newest.as_ref().map(|window| window.seq);
            newest
        } else {
            state.old_in_a_row += 1;
            state.waiting.pop_front()
        };
        match window {
            Some(window) => Next::Window(state.begin(window, true)),
            None => Next::Wait,
        }
    }

    /// The current window once more, for another forwarder: what is left of it, as a window of its
    /// own.
    pub(crate) fn current_again(&self) -> Option<Taken> {
        let mut state = self.lock();
        self.hand_over_refused(&mut state);
        let directory = state.disk.directory();
        let current = state.current.as_mut()?;
        match (&mut current.snapshot, current.file, directory) {
            (Some(snapshot), ..) => {
                if current.left.count() < snapshot.points.len() as u64 {
                    *snapshot = Arc::new(snapshot.only(&current.left));
                    current.left = PointRanges::first(snapshot.points.len());
                }
                Some(Taken::Window(Arc::clone(snapshot)))
            }
            (None, Some(file), Some(directory)) => Some(Taken::File(directory, file)),
            (None, ..) => None,
        }
    }

    /// Gives up what is left of the current window, if it is in memory only.
    pub(crate) fn give_up(&self, reason: &'static str) -> u64 {
        let current = self.lock().current.take_if(|current| current.file.is_none());
        let left = current.map_or(0, |current| current.left.count());
        self.stats.dropped(Place::Memory, reason, left);
        left
    }

    /// Whether windows may go to disk.
    pub(crate) fn has_spool(&self) -> bool {
        self.has_spool
    }

    /// The current window was read from its file.
    pub(crate) fn has_read(&self, snapshot: &Arc<Snapshot>) {
        if let Some(current) = &mut self.lock().current {
            current.snapshot = Some(Arc::clone(snapshot));
        }
    }

    /// The current window's file is of no use; `reason` is for the ledger. With a suffix it goes to
    /// the quarantine, without it is gone.
    pub(crate) fn cannot_read(&self, reason: &'static str, suffix: Option<&'static str>) {
        let mut state = self.lock();
        let Some(current) = state.current.take() else { return };
        self.stats.dropped(current.place(), reason, current.left.count());
        if let Some(file) = current.file {
            state.forget(file);
            state.tidy.set_aside.extend(suffix.map(|suffix| (file, suffix)));
        }
        self.tell(&state);
        drop(state);
        self.for_keeper.notify_one();
    }

    /// The current window cannot be delivered at once: it and all behind it should be on disk.
    pub(crate) fn late(&self) {
        if let Some(current) = &mut self.lock().current {
            current.is_late = true;
        }
        self.for_keeper.notify_one();
        self.for_stop.notify_one();
    }

    /// What became of points of the current window, and which are left.
    pub(crate) fn settle(&self, mut settled: Settled, left: PointRanges, is_done: bool) {
        let mut state = self.lock();
        let Some(current) = &mut state.current else { return };
        if self.has_spool {
            for (reason, points) in &settled.refused {
                if reason::is_refusal(reason) {
                    let places = settled.places.remove(reason).unwrap_or_default();
                    // Of some it is known only how many they are.
                    self.quarantined(0, points - places.count());
                    if places.count() > 0 {
                        current.refused.entry(reason).or_default().join(places);
                    }
                }
            }
        }
        self.stats.settled(current.place(), settled);
        current.left = left;
        if is_done {
            let file = current.file;
            self.hand_over_refused(&mut state);
            state.current = None;
            if let Some(file) = file {
                state.discard(file);
                self.tell(&state);
                drop(state);
                self.for_keeper.notify_one();
            }
        }
    }

    /// Gives the keeper what the destination has refused of the current window.
    fn hand_over_refused(&self, state: &mut State) {
        let Some(current) = &mut state.current else { return };
        let points = std::mem::take(&mut current.refused);
        if points.is_empty() {
            return;
        }
        let is_free = state.refused.is_none() && matches!(state.disk, Disk::Ready(_));
        match current.snapshot.clone() {
            Some(snapshot) if is_free => {
                state.refused = Some(Refused { seq: current.seq, snapshot, points });
                self.for_keeper.notify_one();
            }
            _ => self.quarantined(0, points.values().map(PointRanges::count).sum()),
        }
    }

    /// Whether the current window is to be given up. If so, it is gone.
    pub(crate) fn is_revoked(&self) -> bool {
        let mut state = self.lock();
        let Some(reason) = state.current.as_ref().and_then(|current| current.revoked) else {
            return false;
        };
        self.hand_over_refused(&mut state);
        if let Some(current) = state.current.take() {
            self.stats.dropped(current.place(), reason, current.left.count());
            if let Some(file) = current.file {
                state.discard(file);
            }
        }
        self.tell(&state);
        drop(state);
        self.for_keeper.notify_one();
        true
    }

    /// Returns when to try on is of no use: the input has ended, the destination is down, and there
    /// is a disk to keep what is left.
    pub(crate) async fn no_use_trying(&self) {
        loop {
            {
                let state = self.lock();
                let keeps = self.has_spool && matches!(state.disk, Disk::Ready(_));
                if state.is_closed && keeps && self.stats.is_down() {
                    return;
                }
            }
            self.for_stop.notified().await;
        }
    }

    /// The courier has ended.
    pub(crate) fn leave(&self) {
        self.is_revoked();
        let mut state = self.lock();
        self.hand_over_refused(&mut state);
        state.is_leaving = true;
        drop(state);
        self.for_keeper.notify_one();
    }

    /// Drops what is not on disk, at the very end; returns how many points these are.
    pub(crate) fn abandon(&self) -> u64 {
        self.is_revoked();
        let mut state = self.lock();
        let mut points = 0;
        if let Some(current) = state.current.take_if(|current| current.file.is_none()) {
            points += current.left.count();
        }
        state.waiting.retain(|window| {
            points += if window.file.is_none() { window.points } else { 0 };
            window.file.is_some()
        });
        self.stats.dropped(Place::Memory, reason::SHUTDOWN, points);
        points
    }

    /// How many points are on disk.
    pub(crate) fn spooled(&self) -> u64 {
        self.stats.counts().spooled
    }

    // ---- The keeper's side ------------------------------------------------------------------

    /// Bounds of the spool; `None` where there is none.
    pub(crate) fn spool(&self) -> Option<SpoolConfig> {
        self.has_spool.then(|| self.lock().spool)
    }

    /// What to do now; nothing is written unless `may_write`.
    pub(crate) fn chore(&self, may_write: bool) -> Chore {
        if !self.has_spool {
            return Chore::End;
        }
        let mut state = self.lock();
        let Some(directory) = state.disk.directory() else {
            return match (may_write, state.is_leaving) {
                (true, _) => Chore::Open,
                (false, true) => Chore::End,
                (false, false) => Chore::Rest,
            };
        };
        if !state.tidy.is_empty() {
            return Chore::Tidy(directory, std::mem::take(&mut state.tidy));
        }
        match state.to_write() {
            Some((seq, snapshot, points)) if may_write => {
                Chore::Write { directory, seq, snapshot, points }
            }
            _ => match state.refused.take() {
                Some(refused) => Chore::Quarantine(directory, refused),
                None if state.is_leaving => Chore::End,
                None => Chore::Rest,
            },
        }
    }

    /// Files that are to go, where there are any.
    pub(crate) fn to_tidy(&self) -> Option<(Arc<Directory>, Tidy)> {
        let mut state = self.lock();
        let directory = state.disk.directory().filter(|_| !state.tidy.is_empty())?;
        Some((directory, std::mem::take(&mut state.tidy)))
    }

    /// So many refused points are in the quarantine, and so many are not.
    pub(crate) fn quarantined(&self, points: u64, not: u64) {
        self.stats.spool(|spool| {
            spool.quarantined += points;
            spool.not_quarantined += not;
        });
    }

    /// Returns when [`Backlog::chore`] may have something new.
    pub(crate) async fn new_chore(&self) {
        self.for_keeper.notified().await;
    }

    /// The folder is open, with what an earlier run left in it.
    pub(crate) fn opened(&self, directory: Directory, found: &Found) {
        let mut state = self.lock();
        let base = found.names.last().map_or(0, |name| name.seq + 1);
        state.count_from(base);
        for name in found.names.iter().rev() {
            let FileName { seq, points, bytes, .. } = *name;
            state.files += 1;
            state.bytes += bytes;
            state.waiting.push_front(Waiting { seq, points, snapshot: None, file: Some(*name) });
        }
        self.stats.recovered(found.names.iter().map(|name| name.points).sum());
        state.disk = Disk::Ready(Arc::new(directory));
        self.stats.spool(|spool| spool.degraded = None);
        self.tell(&state);
        drop(state);
        self.for_courier.notify_one();
    }

    /// Makes room on disk for a file of so many bytes; returns how many points were dropped for it.
    #[must_use = "a drop is worth a line in the log"]
    pub(crate) fn make_room(&self, bytes: u64) -> u64 {
        let mut state = self.lock();
        let SpoolConfig { max_files, max_bytes, .. } = state.spool;
        let (files_max, bytes_max) = (u64::from(max_files.get()), max_bytes.get());
        let mut dropped = 0;
        while state.files + 1 > files_max || state.bytes + bytes > bytes_max {
            if !state.is_leaving && state.current_gives_way(&self.stats) {
                continue;
            }
            let Some(oldest) = state.waiting.pop_front_if(|window| window.file.is_some()) else {
                break;
            };
            self.stats.dropped(Place::Disk, reason::SPOOL_FULL, oldest.points);
            dropped += oldest.points;
            if let Some(file) = oldest.file {
                state.discard(file);
            }
        }
        self.tell(&state);
        dropped
    }

    /// A window, or what was left of it, is on disk.
    pub(crate) fn written(&self, seq: u64, name: FileName) {
        let mut state = self.lock();
        state.files += 1;
        state.bytes += name.bytes;
        let keeps_snapshot = self.has_spool && state.spool.write == SpoolWrite::Always;
        let mut was = None;
        if let Some(current) = state.current.as_mut().filter(|current| current.seq == seq) {
            was = current.file.replace(name);
            if was.is_none() {
                self.stats.moved(Place::Memory, Place::Disk, current.left.count());
            }
        } else if let Ok(place) = state.waiting.binary_search_by_key(&seq, |window| window.seq) {
            let is_next = place == 0;
            let window = &mut state.waiting[place];
            window.file = Some(name);
            if !(keeps_snapshot && is_next) {
                window.snapshot = None;
            }
            self.stats.moved(Place::Memory, Place::Disk, window.points);
        } else {
            // It was delivered, or had to make room, meanwhile.
            was = Some(name);
        }
        if let Some(file) = was {
            state.discard(file);
        }
        if let Disk::Degraded(Some(directory)) = &state.disk {
            state.disk = Disk::Ready(Arc::clone(directory));
            self.stats.spool(|spool| spool.degraded = None);
        }
        self.tell(&state);
        drop(state);
        self.for_courier.notify_one();
    }

    /// Nothing can be written at the moment.
    pub(crate) fn degraded(&self, words: String) {
        let mut state = self.lock();
        state.disk = Disk::Degraded(state.disk.directory());
        self.stats.spool(|spool| {
            spool.failures += 1;
            spool.degraded = Some(words);
        });
        drop(state);
        self.for_courier.notify_one();
    }

    /// The folder, once it is open.
    pub(crate) fn directory(&self) -> Option<Arc<Directory>> {
        self.lock().disk.directory()
    }

    /// Drops what is too old on disk, as of `now_ms`; returns how many points these were.
    #[must_use = "a drop is worth a line in the log"]
    pub(crate) fn expire(&self, now_ms: u64) -> u64 {
        let mut state = self.lock();
        let max_age_ms = state.spool.max_age.get().as_millis() as u64;
        let is_old = |file: &FileName| file.start_ms.saturating_add(max_age_ms) < now_ms;
        let mut expired = 0;
        while let Some(oldest) =
            state.waiting.pop_front_if(|window| window.file.as_ref().is_some_and(is_old))
        {
            self.stats.dropped(Place::Disk, reason::SPOOL_EXPIRED, oldest.points);
            expired += oldest.points;
            if let Some(file) = oldest.file {
                state.discard(file);
            }
        }
        if !state.is_leaving
            && let Some(current) = &mut state.current
            && current.file.as_ref().is_some_and(is_old)
            && current.revoked.is_none()
        {
            expired += current.left.count();
            current.revoked = Some(reason::SPOOL_EXPIRED);
        }
        self.tell(&state);
        expired
    }

    /// Drops what somebody removed: these files are there. Returns how many points are gone.
    #[must_use = "a drop is worth a line in the log"]
    pub(crate) fn missing(&self, there: &HashSet<FileName>) -> u64 {
        let is_gone = |file: &FileName| !there.contains(file);
        let mut state = self.lock();
        let (mut removed, mut gone) = (0, Vec::new());
        state.waiting.retain(|window| match window.file.filter(is_gone) {
            Some(file) => {
                removed += window.points;
                gone.push(file);
                false
            }
            None => true,
        });
        self.stats.dropped(Place::Disk, reason::REMOVED, removed);
        gone.into_iter().for_each(|file| state.forget(file));
        if let Some(current) = &mut state.current
            && current.file.as_ref().is_some_and(is_gone)
            && current.revoked.is_none()
        {
            removed += current.left.count();
            current.revoked = Some(reason::REMOVED);
        }
        self.tell(&state);
        removed
    }

    /// Has the status show what is on disk.
    fn tell(&self, state: &State) {
        if !self.has_spool {
            return;
        }
        let current = state.current.as_ref().and_then(|current| current.file);
        let oldest = current.or_else(|| state.waiting.front().and_then(|window| window.file));
        self.stats.spool(|spool| {
            spool.files = state.files;
            spool.bytes = state.bytes;
            spool.oldest_ms = oldest.map(|file| file.start_ms);
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every update leaves it whole, so a panic elsewhere does not spoil it.
        self.state.lock()
    }
}

impl State {
    /// Where the windows begin that are not on disk.
    fn first_in_memory(&self) -> usize {
        self.waiting.iter().rposition(|window| window.file.is_some()).map_or(0, |last| last + 1)
    }

    /// Makes a window the current one.
    fn begin(&mut self, window: Waiting, keeps_snapshot: bool) -> Taken {
        let Waiting { seq, points, snapshot, file } = window;
        self.current = Some(Current {
            seq,
            snapshot: snapshot.clone().filter(|_| keeps_snapshot),
            left: PointRanges::first(points as usize),
            refused: BTreeMap::new(),
            file,
            is_late: false,
            gave_way: false,
            revoked: None,
        });
        match (snapshot, file, self.disk.directory()) {
            (Some(snapshot), ..) => Taken::Window(snapshot),
            (None, Some(file), Some(directory)) => Taken::File(directory, file),
            _ => unreachable!("a window is in memory or on disk"),
        }
    }

    /// Whether a window that was flushed just now goes before those that have waited.
    fn is_fresh_ones_turn(&self, spool: &SpoolConfig) -> bool {
        let is_fresh = |newest: &Waiting| {
            newest.seq >= self.first_seq && self.freshest.is_none_or(|last| newest.seq > last)
        };
        let is_safe = |newest: &Waiting| spool.write != SpoolWrite::Always || newest.file.is_some();
        spool.order == SpoolOrder::Fair
            && self.waiting.len() > 1
            && self.old_in_a_row >= OLD_IN_A_ROW
            && self.waiting.back().is_some_and(|newest| is_fresh(newest) && is_safe(newest))
    }

    /// What has to be on disk and is not, the oldest first.
    fn to_write(&self) -> Option<(u64, Arc<Snapshot>, PointRanges)> {
        let is_late = self.current.as_ref().is_some_and(|current| current.is_late);
        if let Some(current) = &self.current
            && let Some(snapshot) = &current.snapshot
            && current.revoked.is_none()
            && current.left.count() > 0
        {
            let on_disk = current.file.map(|file| file.points);
            let wants_file = self.is_leaving || (current.is_late && !current.gave_way);
            let is_outdated = self.is_leaving && on_disk != Some(current.left.count());
            if is_outdated || (wants_file && on_disk.is_none()) {
                return Some((current.seq, Arc::clone(snapshot), current.left.clone()));
            }
        }
        let is_behind = is_late || self.waiting.len() > 1;
        if !is_behind && !self.is_leaving && self.spool.write != SpoolWrite::Always {
            return None;
        }
        let window = self.waiting.get(self.first_in_memory())?;
        let snapshot = window.snapshot.as_ref()?;
        Some((window.seq, Arc::clone(snapshot), PointRanges::first(window.points as usize)))
    }

    /// Gives up the current window's file; it stays in memory. Returns whether there was one.
    fn current_gives_way(&mut self, stats: &ForwarderStats) -> bool {
        let Some(current) = &mut self.current else { return false };
        let Some(file) = current.file.take() else { return false };
        current.gave_way = true;
        stats.moved(Place::Disk, Place::Memory, current.left.count());
        self.discard(file);
        true
    }

    /// A file is of no more use.
    fn discard(&mut self, file: FileName) {
        self.forget(file);
        self.tidy.remove.push(file);
    }

    /// A file is not counted any more.
    fn forget(&mut self, file: FileName) {
        self.files -= 1;
        self.bytes -= file.bytes;
    }

    /// Numbers are higher than those of windows that an earlier run left.
    fn count_from(&mut self, base: u64) {
        self.next_seq += base;
        self.first_seq = base;
        self.waiting.iter_mut().for_each(|window| window.seq += base);
        if let Some(current) = &mut self.current {
            current.seq += base;
        }
        if let Some(freshest) = &mut self.freshest {
            *freshest += base;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::QueueConfig;
    use model::testing::snapshot_of_counters;

    fn in_memory(points_max: u64) -> (Backlog, Arc<ForwarderStats>) {
        let queue = QueueConfig { max_points: points_max };
        let delivery = DeliveryConfig { queue, ..DeliveryConfig::default() };
        let stats = Arc::<ForwarderStats>::default();
        (Backlog::new(&delivery, false, Arc::clone(&stats)), stats)
    }

    fn push(backlog: &Backlog, points: usize) -> u64 {
        backlog.push(Arc::new(snapshot_of_counters(points)))
    }

    async fn next(backlog: &Backlog) -> Option<usize> {
        match backlog.next().await? {
            Taken::Window(snapshot) => Some(snapshot.points.len()),
            Taken::File(..) => None,
        }
    }

    #[tokio::test]
    async fn the_oldest_in_memory_go_first_and_are_counted() {
        let (backlog, stats) = in_memory(10);
        assert_eq!(push(&backlog, 4), 0);
        assert_eq!(push(&backlog, 5), 0);
        assert_eq!(push(&backlog, 3), 4);
        let counts = stats.counts();
        assert_eq!((counts.flushed, counts.queued), (12, 8));
        assert_eq!(counts.dropped[reason::QUEUE_FULL], 4);
        assert_eq!(next(&backlog).await, Some(5));
        backlog.close();
        assert_eq!(next(&backlog).await, Some(3));
        assert_eq!(next(&backlog).await, None);
    }

    #[tokio::test]
    async fn a_window_larger_than_the_bound_still_gets_its_turn() {
        let (backlog, _) = in_memory(10);
        assert_eq!(push(&backlog, 1), 0);
        assert_eq!(push(&backlog, 50), 1);
        assert_eq!(next(&backlog).await, Some(50));
    }

    #[test]
    fn windows_without_points_are_bounded_too() {
        let (backlog, _) = in_memory(10);
        (0..2 * WINDOWS_MAX).for_each(|_| assert_eq!(push(&backlog, 0), 0));
        assert_eq!(backlog.lock().waiting.len(), WINDOWS_MAX);
    }
}
