//! The simplest possible backlog: lists of windows and points. Every count is computed from the
//! lists.

use model::{Point, Snapshot};

use crate::config::{DeliveryConfig, QueueConfig, SpoolConfig, SpoolOrder, SpoolWrite};
use crate::delivery::backlog::EvictedPoints;
use crate::delivery::backlog::limits::QueueBound;
use crate::delivery::ledger::PointLedger;
use crate::delivery::reason;
use crate::spool::FileName;

/// Identifies a point: the end of its window and its number in the window.
pub(super) type PointId = (u64, usize);

pub(super) fn point_id(snapshot: &Snapshot, point: &Point) -> PointId {
    (snapshot.window.end_ms, point.series.tag("n").unwrap().parse().unwrap())
}

pub(super) fn points_of(snapshot: &Snapshot) -> Vec<PointId> {
    snapshot.points.iter().map(|point| point_id(snapshot, point)).collect()
}

/// A window that is neither delivered nor dropped.
#[derive(Clone, Debug)]
pub(super) struct NaiveWindow {
    /// The end of the window, which increases from window to window.
    pub(super) id: u64,
    /// Points that are neither delivered nor dropped.
    pub(super) left: Vec<PointId>,
    pub(super) file: Option<FileName>,
    /// Whether the snapshot is in memory.
    pub(super) is_in_memory: bool,
    /// The size of the snapshot in memory.
    pub(super) bytes: u64,
    start_ms: u64,
    is_from_earlier_run: bool,
    /// Attempts to read the file that failed.
    failed_reads: u32,
}

/// The window in flight.
#[derive(Clone, Debug)]
pub(super) struct NaiveFlight {
    pub(super) window: NaiveWindow,
    refused: Vec<(&'static str, PointId)>,
    is_late: bool,
    gave_way: bool,
    revoked: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NaiveHealth {
    Unopened,
    Unavailable,
    Ready,
    Degraded,
}

/// An answer of [`Naive::next`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NaiveNext {
    Deliver { id: u64, is_in_memory: bool },
    Wait,
    End,
}

/// An answer of [`Naive::next_work`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NaiveWork {
    Open,
    Remove(Vec<FileName>, Vec<FileName>),
    Probe,
    Write(Vec<PointId>),
    Sync(Vec<FileName>),
    Quarantine(Vec<(&'static str, PointId)>),
    Wait,
    End,
}

/// A naive backlog.
#[derive(Clone, Debug)]
pub(super) struct Naive {
    pub(super) has_spool: bool,
    queue: QueueConfig,
    spool: SpoolConfig,
    /// The waiting windows, the oldest first.
    waiting: Vec<NaiveWindow>,
    pub(super) flight: Option<NaiveFlight>,
    health: NaiveHealth,
    pub(super) is_closed: bool,
    pub(super) has_ended: bool,
    is_down: bool,
    /// The windows that were taken: `None` for the oldest, or the id of one taken before its turn.
    taken: Vec<Option<u64>>,
    flushed: Vec<PointId>,
    recovered: Vec<PointId>,
    /// The id of the first window of this run.
    first_pushed: Option<u64>,
    pub(super) delivered: Vec<PointId>,
    dropped: Vec<(&'static str, PointId)>,
    to_remove: Vec<FileName>,
    to_set_aside: Vec<FileName>,
    /// Files that are being removed and set aside.
    removing: (Vec<FileName>, Vec<FileName>),
    removal_failed: bool,
    /// Files that were replaced by files that are not synced.
    outdated: Vec<FileName>,
    /// Files that no sync has begun for.
    to_sync: Vec<FileName>,
    not_synced: Vec<FileName>,
    /// Windows whose write has failed since the end of delivery.
    failed_writes: Vec<u64>,
    to_quarantine: Vec<(&'static str, PointId)>,
    pub(super) quarantined: (u64, u64),
}

impl NaiveWindow {
    fn is_on_disk(&self) -> bool {
        self.file.is_some()
    }
}

impl Naive {
    pub(super) fn new(delivery: &DeliveryConfig, has_spool: bool) -> Self {
        Self {
            has_spool,
            queue: delivery.queue.clone(),
            spool: delivery.spool,
            waiting: Vec::new(),
            flight: None,
            health: NaiveHealth::Unopened,
            is_closed: false,
            has_ended: false,
            is_down: false,
            taken: Vec::new(),
            flushed: Vec::new(),
            recovered: Vec::new(),
            first_pushed: None,
            delivered: Vec::new(),
            dropped: Vec::new(),
            to_remove: Vec::new(),
            to_set_aside: Vec::new(),
            removing: (Vec::new(), Vec::new()),
            removal_failed: false,
            outdated: Vec::new(),
            to_sync: Vec::new(),
            not_synced: Vec::new(),
            failed_writes: Vec::new(),
            to_quarantine: Vec::new(),
            quarantined: (0, 0),
        }
    }

    // ---- Counts -------------------------------------------------------------------------------

    pub(super) fn windows(&self) -> impl Iterator<Item = &NaiveWindow> {
        self.flight.iter().map(|flight| &flight.window).chain(&self.waiting)
    }

    fn count(&self, is_wanted: impl Fn(&NaiveWindow) -> bool) -> u64 {
        self.windows()
            .filter(|window| is_wanted(window))
            .map(|window| window.left.len() as u64)
            .sum()
    }

    pub(super) fn ledger(&self) -> PointLedger {
        let mut ledger = PointLedger {
            flushed: self.flushed.len() as u64,
            recovered: self.recovered.len() as u64,
            delivered: self.delivered.len() as u64,
            queued: self.count(|window| !window.is_on_disk()),
            spooled: self.count(NaiveWindow::is_on_disk),
            ..PointLedger::default()
        };
        for (reason, _) in &self.dropped {
            *ledger.dropped.entry(reason).or_default() += 1;
        }
        ledger
    }

    /// All points of this run, first by origin and then by location. The two lists must be equal.
    pub(super) fn all_points(&self) -> (Vec<PointId>, Vec<PointId>) {
        let mut came = [self.flushed.clone(), self.recovered.clone()].concat();
        let mut are = self.delivered.clone();
        are.extend(self.dropped.iter().map(|(_, point)| *point));
        are.extend(self.windows().flat_map(|window| window.left.clone()));
        came.sort_unstable();
        are.sort_unstable();
        (came, are)
    }

    pub(super) fn files(&self) -> Vec<FileName> {
        let mut files: Vec<_> = self.windows().filter_map(|window| window.file).collect();
        files.sort_unstable();
        files
    }

    /// Files that may still be on disk although no window needs them.
    pub(super) fn files_to_go(&self) -> Vec<FileName> {
        let (remove, set_aside) = self.removing.clone();
        let outdated = self.outdated.clone();
        [self.to_remove.clone(), self.to_set_aside.clone(), remove, set_aside, outdated].concat()
    }

    pub(super) fn oldest_ms(&self) -> Option<u64> {
        Some(self.windows().find_map(|window| window.file)?.start_ms)
    }

    fn drop_all(&mut self, reason: &'static str, points: Vec<PointId>) -> u64 {
        let count = points.len() as u64;
        self.dropped.extend(points.into_iter().map(|point| (reason, point)));
        count
    }

    // ---- The flush ----------------------------------------------------------------------------

    /// An estimate of the memory that the queued windows and the one in flight occupy.
    pub(super) fn memory_bytes(&self) -> u64 {
        let queued = self.waiting.iter().filter(|window| !window.is_on_disk());
        let flight = self.flight.iter().map(|flight| &flight.window);
        let in_memory = queued.chain(flight).filter(|window| window.is_in_memory);
        in_memory.map(|window| window.bytes).sum()
    }

    fn exceeded_bound(&self, new: &Snapshot) -> Option<QueueBound> {
        let points = self.count(|window| !window.is_on_disk()) + new.points.len() as u64;
        if points > self.queue.max_points {
            return Some(QueueBound::Points);
        }
        let bytes = self.memory_bytes() + new.heap_bytes();
        (bytes > self.queue.max_bytes.get()).then_some(QueueBound::Bytes)
    }

    pub(super) fn push(&mut self, snapshot: &Snapshot) -> Option<EvictedPoints> {
        let left = points_of(snapshot);
        let mut evicted: Option<EvictedPoints> = None;
        while let Some(bound) = self.exceeded_bound(snapshot) {
            let oldest = self.waiting.iter().position(|window| !window.is_on_disk());
            let Some(oldest) = oldest else { break };
            let window = self.waiting.remove(oldest);
            let points = self.drop_all(reason::QUEUE_FULL, window.left);
            evicted.get_or_insert(EvictedPoints { points: 0, bound }).points += points;
        }
        self.flushed.extend(&left);
        let id = snapshot.window.end_ms;
        self.first_pushed.get_or_insert(id);
        self.waiting.push(NaiveWindow {
            id,
            left,
            file: None,
            is_in_memory: true,
            bytes: snapshot.heap_bytes(),
            start_ms: id - snapshot.window.length.as_millis() as u64,
            is_from_earlier_run: false,
            failed_reads: 0,
        });
        evicted
    }

    pub(super) fn close(&mut self) {
        self.is_closed = true;
    }

    pub(super) fn set_limits(&mut self, delivery: &DeliveryConfig) {
        self.queue = delivery.queue.clone();
        self.spool = delivery.spool;
    }

    // ---- The delivery loop --------------------------------------------------------------------

    fn writes_ahead(&self) -> bool {
        self.spool.write == SpoolWrite::Always
    }

    /// The index of the oldest window: windows that could not be read come last.
    fn oldest(&self) -> usize {
        let key = |place: &usize| (self.waiting[*place].failed_reads, *place);
        let free = (0..self.waiting.len()).filter(|place| !self.is_held(*place));
        free.min_by_key(key).unwrap()
    }

    /// Whether the window is the first of this run, and windows of an earlier run wait.
    fn is_held(&self, place: usize) -> bool {
        let is_first = self.first_pushed == Some(self.waiting[place].id);
        is_first && self.waiting.iter().any(|window| window.is_from_earlier_run)
    }

    /// The index of the next window, and whether it is taken before its turn.
    fn choose(&self) -> Result<(usize, bool), NaiveNext> {
        let nothing = if self.is_closed { NaiveNext::End } else { NaiveNext::Wait };
        if !self.has_spool {
            return if self.waiting.is_empty() { Err(nothing) } else { Ok((0, false)) };
        }
        let is_strict = self.spool.order == SpoolOrder::Oldest;
        if self.health == NaiveHealth::Unopened {
            let overtook = self.taken.iter().flatten().max().copied();
            let is_fresh = |newest: &NaiveWindow| {
                Some(newest.id) != self.first_pushed && Some(newest.id) > overtook
            };
            let may_start = !is_strict && !self.writes_ahead();
            let newest = self.waiting.last().filter(|newest| may_start && is_fresh(newest));
            return newest.map(|_| (self.waiting.len() - 1, true)).ok_or(NaiveNext::Wait);
        }
        if self.waiting.is_empty() {
            return Err(nothing);
        }
        let (oldest_place, newest_place) = (self.oldest(), self.waiting.len() - 1);
        let (oldest, newest) = (&self.waiting[oldest_place], &self.waiting[newest_place]);
        let is_ready = self.health == NaiveHealth::Ready;
        let has_points = !oldest.left.is_empty();
        if self.writes_ahead() && is_ready && !oldest.is_on_disk() && has_points {
            return Err(NaiveNext::Wait);
        }
        if self.is_closed && is_ready && (!oldest.is_in_memory || self.is_down) {
            return Err(NaiveNext::End);
        }
        let old_in_a_row = self.taken.iter().rev().take_while(|taken| taken.is_none()).count();
        let overtook = self.taken.iter().flatten().max().copied().unwrap_or(0);
        let may_complete = !self.recovered.is_empty() && self.first_pushed == Some(newest.id);
        let is_fresh = !newest.is_from_earlier_run && !may_complete && newest.id > overtook;
        let may_overtake = !self.writes_ahead() || newest.is_on_disk();
        let is_turn = !is_strict && old_in_a_row >= 4;
        let is_newest = is_turn && is_fresh && may_overtake && self.waiting.len() > 1;
        let place = if is_newest { newest_place } else { oldest_place };
        if self.waiting[place].is_on_disk() && self.has_debt() {
            let mut places = 0..self.waiting.len();
            let in_memory =
                places.find(|place| !self.waiting[*place].is_on_disk() && !self.is_held(*place));
            return match in_memory.filter(|_| self.removal_failed) {
                Some(place) => Ok((place, false)),
                None if self.removal_failed => Err(nothing),
                None => Err(NaiveNext::Wait),
            };
        }
        Ok((place, is_newest))
    }

    fn has_debt(&self) -> bool {
        !self.to_remove.is_empty() || !self.removing.0.is_empty()
    }

    /// The next action of the delivery loop, without taking the window.
    pub(super) fn peek(&self) -> NaiveNext {
        match self.choose() {
            Err(next) => next,
            Ok((place, _)) => {
                let NaiveWindow { id, is_in_memory, .. } = self.waiting[place];
                NaiveNext::Deliver { id, is_in_memory }
            }
        }
    }

    pub(super) fn next(&mut self) -> NaiveNext {
        let next = self.peek();
        if let Ok((place, is_fresh)) = self.choose() {
            let window = self.waiting.remove(place);
            self.taken.push(is_fresh.then_some(window.id));
            self.flight = Some(NaiveFlight {
                window,
                refused: Vec::new(),
                is_late: false,
                gave_way: false,
                revoked: None,
            });
        }
        next
    }

    /// Records that the window in flight was read, or copied to a smaller snapshot.
    pub(super) fn read(&mut self, snapshot: &Snapshot) {
        if let Some(flight) = &mut self.flight {
            flight.window.is_in_memory = true;
            flight.window.bytes = snapshot.heap_bytes();
        }
    }

    /// Returns whether the window stays in flight.
    pub(super) fn read_failed(&mut self) -> bool {
        if self.take_revoked() {
            return false;
        }
        let is_strict = self.spool.order == SpoolOrder::Oldest;
        let Some(flight) = &mut self.flight else { return false };
        flight.window.failed_reads += 1;
        if is_strict && flight.window.failed_reads < 60 {
            return true;
        }
        if let Some(flight) = self.flight.take() {
            let file = flight.window.file;
            let is_older = |window: &NaiveWindow| window.is_on_disk() && window.file < file;
            let place = self.waiting.iter().position(|window| !is_older(window));
            self.waiting.insert(place.unwrap_or(self.waiting.len()), flight.window);
        }
        false
    }

    pub(super) fn unreadable(&mut self, reason: &'static str, is_set_aside: bool) {
        let Some(flight) = self.flight.take() else { return };
        let start_ms = flight.window.start_ms;
        if is_set_aside {
            let outdated = self.outdated.extract_if(.., |file| file.start_ms == start_ms);
            self.to_set_aside.extend(outdated);
            self.to_set_aside.extend(flight.window.file);
        }
        self.release(|outdated| outdated.start_ms == start_ms);
        self.drop_all(reason, flight.window.left);
    }

    pub(super) fn attempt_failed(&mut self) -> bool {
        !std::mem::replace(&mut self.is_down, true)
    }

    pub(super) fn attempt_succeeded(&mut self) -> bool {
        std::mem::replace(&mut self.is_down, false)
    }

    pub(super) fn late(&mut self) {
        if let Some(flight) = &mut self.flight {
            flight.is_late = true;
        }
    }

    /// Settles points: the first ones are delivered, the following ones refused.
    pub(super) fn settle(
        &mut self,
        delivered: usize,
        refused: usize,
        reason: &'static str,
        are_places_known: bool,
    ) {
        let Some(flight) = &mut self.flight else { return };
        let refused: Vec<_> = flight.window.left.drain(delivered..delivered + refused).collect();
        self.delivered.extend(flight.window.left.drain(..delivered));
        let is_for_quarantine = [reason::REFUSED, reason::TOO_LARGE].contains(&reason);
        if self.has_spool && is_for_quarantine {
            if are_places_known {
                flight.refused.extend(refused.iter().map(|point| (reason, *point)));
            } else {
                self.quarantined.1 += refused.len() as u64;
            }
        }
        let is_done = flight.window.left.is_empty();
        self.drop_all(reason, refused);
        if is_done {
            self.hand_over_refused();
            self.end_flight();
        }
    }

    fn end_flight(&mut self) {
        let flight = self.flight.take();
        self.discard(flight.and_then(|flight| flight.window.file));
    }

    /// Discards a file, after the files that it has replaced.
    fn discard(&mut self, file: Option<FileName>) {
        if let Some(file) = file {
            self.release(|outdated| outdated.start_ms == file.start_ms);
            self.to_remove.push(file);
        }
    }

    fn release(&mut self, is_due: impl Fn(&FileName) -> bool) {
        self.to_remove.extend(self.outdated.extract_if(.., |file| is_due(file)));
    }

    fn hand_over_refused(&mut self) {
        let Some(flight) = &mut self.flight else { return };
        let refused = std::mem::take(&mut flight.refused);
        let is_ready = [NaiveHealth::Unopened, NaiveHealth::Ready].contains(&self.health);
        if self.to_quarantine.is_empty() && is_ready && flight.window.is_in_memory {
            self.to_quarantine = refused;
            self.to_quarantine.sort_unstable();
        } else {
            self.quarantined.1 += refused.len() as u64;
        }
    }

    pub(super) fn restart(&mut self) {
        self.hand_over_refused();
    }

    pub(super) fn give_up(&mut self, reason: &'static str) -> u64 {
        let flight = self.flight.take_if(|flight| !flight.window.is_on_disk());
        flight.map_or(0, |flight| self.drop_all(reason, flight.window.left))
    }

    pub(super) fn take_revoked(&mut self) -> bool {
        let Some(reason) = self.flight.as_ref().and_then(|flight| flight.revoked) else {
            return false;
        };
        self.hand_over_refused();
        let left = self.flight.as_ref().map(|flight| flight.window.left.clone());
        self.drop_all(reason, left.unwrap_or_default());
        self.end_flight();
        true
    }

    pub(super) fn is_stop_wanted(&self) -> bool {
        self.has_spool && self.is_closed && self.is_down && self.health == NaiveHealth::Ready
    }

    pub(super) fn end_delivery(&mut self) {
        self.take_revoked();
        self.hand_over_refused();
        self.has_ended = true;
    }

    /// Points in the file of the window in flight that are settled.
    pub(super) fn settled_on_disk(&self) -> u64 {
        let window = self.flight.as_ref().map(|flight| &flight.window);
        let settled =
            window.and_then(|window| Some(window.file?.points - window.left.len() as u64));
        settled.unwrap_or_default()
    }

    pub(super) fn drop_unsaved(&mut self) -> u64 {
        self.take_revoked();
        let mut lost = self.give_up(reason::SHUTDOWN);
        self.quarantined.1 += std::mem::take(&mut self.to_quarantine).len() as u64;
        let (kept, unsaved) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition::<Vec<_>, _>(NaiveWindow::is_on_disk);
        self.waiting = kept;
        for window in unsaved {
            lost += self.drop_all(reason::SHUTDOWN, window.left);
        }
        lost
    }

    // ---- The spool loop -----------------------------------------------------------------------

    fn is_behind(&self) -> bool {
        let is_late = self.flight.as_ref().is_some_and(|flight| flight.is_late);
        is_late || self.waiting.len() > 1 || self.has_ended
    }

    /// Windows without points are not written: those before the oldest with points are dropped.
    fn drop_idle(&mut self) {
        if !self.is_behind() {
            return;
        }
        // A later window may be on disk already, if the write of an earlier one has failed.
        while let Some(oldest) = self.waiting.iter().position(|window| !window.is_on_disk())
            && self.waiting[oldest].left.is_empty()
        {
            self.waiting.remove(oldest);
        }
    }

    /// Whether no file of the window is about to be removed, and no write of it has failed at the end.
    fn may_write(&self, window: &NaiveWindow) -> bool {
        let mut to_go = self.to_remove.iter();
        let has_name = to_go.any(|file| file.start_ms == window.start_ms);
        !has_name && !self.failed_writes.contains(&window.id)
    }

    fn to_write(&self) -> Option<Vec<PointId>> {
        if let Some(NaiveFlight { window, is_late, gave_way, revoked: None, .. }) = &self.flight
            && window.is_in_memory
            && !window.left.is_empty()
            && self.may_write(window)
        {
            let is_missing = !window.is_on_disk() && (self.has_ended || (*is_late && !*gave_way));
            let is_outdated =
                window.file.is_some_and(|file| file.points != window.left.len() as u64);
            if is_missing || (is_outdated && self.has_ended) {
                return Some(window.left.clone());
            }
        }
        if !self.is_behind() && !self.writes_ahead() {
            return None;
        }
        let in_memory = self.waiting.iter().filter(|window| !window.is_on_disk());
        let most = if self.has_ended { usize::MAX } else { 1 };
        let is_due = |window: &&NaiveWindow| !window.left.is_empty() && self.may_write(window);
        in_memory.take(most).find(is_due).map(|window| window.left.clone())
    }

    fn is_open(&self) -> bool {
        [NaiveHealth::Ready, NaiveHealth::Degraded].contains(&self.health)
    }

    pub(super) fn peek_work(&self, may_write: bool) -> NaiveWork {
        let nothing = if self.has_ended { NaiveWork::End } else { NaiveWork::Wait };
        if !self.has_spool {
            return NaiveWork::End;
        }
        if !self.is_open() {
            return if may_write { NaiveWork::Open } else { nothing };
        }
        if self.may_remove(may_write) {
            return NaiveWork::Remove(self.to_remove.clone(), self.to_set_aside.clone());
        }
        match self.to_write().filter(|_| may_write || self.has_ended) {
            Some(points) => NaiveWork::Write(points),
            _ if self.has_ended && !self.files_to_sync().is_empty() => {
                NaiveWork::Sync(self.files_to_sync())
            }
            _ if !self.to_quarantine.is_empty() => {
                NaiveWork::Quarantine(self.to_quarantine.clone())
            }
            _ if self.has_ended => NaiveWork::End,
            _ if may_write && self.health == NaiveHealth::Degraded => NaiveWork::Probe,
            _ => NaiveWork::Wait,
        }
    }

    /// The files that windows have and that no sync has begun for.
    fn files_to_sync(&self) -> Vec<FileName> {
        let mut files = self.files();
        files.retain(|file| self.to_sync.contains(file));
        files
    }

    /// Records the end of a sync of all files.
    pub(super) fn sync_ended(&mut self, fails: bool) {
        let synced = std::mem::take(&mut self.to_sync);
        self.not_synced.extend(synced.into_iter().filter(|_| fails));
        self.release_synced();
    }

    /// Releases the files that were replaced by files that are synced now.
    fn release_synced(&mut self) {
        let mut unsynced = self.files();
        unsynced.retain(|file| self.not_synced.contains(file) || self.to_sync.contains(file));
        self.release(|outdated| !unsynced.iter().any(|file| file.start_ms == outdated.start_ms));
    }

    /// Whether outdated files stay because a sync has failed.
    pub(super) fn outdated(&self) -> &[FileName] {
        &self.outdated
    }

    fn may_remove(&self, may_retry: bool) -> bool {
        let has_some = !self.to_remove.is_empty() || !self.to_set_aside.is_empty();
        has_some && (may_retry || !self.removal_failed)
    }

    pub(super) fn next_work(&mut self, may_write: bool) -> NaiveWork {
        if self.has_spool && self.is_open() && !self.may_remove(may_write) {
            self.drop_idle();
        }
        let work = self.peek_work(may_write);
        match work {
            NaiveWork::Remove(..) => self.begin_removal(),
            NaiveWork::Quarantine(_) => self.to_quarantine.clear(),
            _ => {}
        }
        work
    }

    /// Begins to remove files before a write. Returns their number.
    pub(super) fn begin_removal_for_write(&mut self) -> usize {
        if !self.may_remove(false) {
            return 0;
        }
        self.begin_removal();
        self.removing.0.len() + self.removing.1.len()
    }

    fn begin_removal(&mut self) {
        self.removing =
            (std::mem::take(&mut self.to_remove), std::mem::take(&mut self.to_set_aside));
    }

    pub(super) fn removal_ended(&mut self, fails: bool) {
        let (remove, set_aside) = std::mem::take(&mut self.removing);
        self.removal_failed = fails;
        self.failed_writes.clear();
        if fails {
            self.to_remove.extend(remove);
            self.to_set_aside.extend(set_aside);
        }
    }

    pub(super) fn probed(&mut self) {
        self.health = NaiveHealth::Ready;
    }

    /// Opens the spool with these windows in it, in order, and the files that they replaced. Then
    /// syncs them.
    pub(super) fn opened(
        &mut self,
        found: Vec<(FileName, Vec<PointId>)>,
        replaced: &[FileName],
        is_synced: bool,
    ) {
        self.outdated.extend(replaced);
        self.not_synced.extend(found.iter().map(|(file, _)| *file).filter(|_| !is_synced));
        let found = found.into_iter().map(|(file, left)| {
            self.recovered.extend(&left);
            let id = left[0].0;
            NaiveWindow {
                id,
                left,
                file: Some(file),
                is_in_memory: false,
                bytes: 0,
                start_ms: file.start_ms,
                is_from_earlier_run: true,
                failed_reads: 0,
            }
        });
        let found: Vec<_> = found.collect();
        self.waiting.splice(0..0, found);
        self.release_synced();
        self.health = NaiveHealth::Ready;
    }

    pub(super) fn write_failed(&mut self) {
        self.health = if self.is_open() { NaiveHealth::Degraded } else { NaiveHealth::Unavailable };
    }

    pub(super) fn write_of_failed(&mut self, id: u64) {
        if self.has_ended {
            self.failed_writes.push(id);
        }
        self.write_failed();
    }

    fn has_room(&self, bytes: u64) -> bool {
        let files = self.files();
        let used: u64 = files.iter().map(|file| file.bytes).sum();
        files.len() < self.spool.max_files.get() as usize
            && used + bytes <= self.spool.max_bytes.get()
    }

    pub(super) fn make_room(&mut self, bytes: u64) -> u64 {
        let mut dropped = 0;
        while !self.has_room(bytes) {
            if let Some(flight) = &mut self.flight
                && let Some(file) = flight.window.file
                && flight.window.is_in_memory
                && !self.has_ended
            {
                flight.window.file = None;
                flight.gave_way = true;
                self.discard(Some(file));
                continue;
            }
            let oldest = self.waiting.iter().position(NaiveWindow::is_on_disk);
            let Some(oldest) = oldest else { break };
            let window = self.waiting.remove(oldest);
            self.discard(window.file);
            dropped += self.drop_all(reason::SPOOL_FULL, window.left);
        }
        dropped
    }

    /// Records that a file of the window `id` was written.
    pub(super) fn written(&mut self, id: u64, file: FileName, is_synced: bool) {
        self.to_sync.extend((!is_synced).then_some(file));
        let is_first = !self.waiting.iter().any(NaiveWindow::is_on_disk);
        let keeps = self.writes_ahead() && is_first;
        let waiting =
            self.waiting.iter_mut().find(|window| window.id == id && !window.is_on_disk());
        if let Some(flight) = self.flight.as_mut().filter(|flight| flight.window.id == id) {
            if let Some(outdated) = flight.window.file.replace(file) {
                flight.revoked = None;
                match is_synced {
                    true => self.discard(Some(outdated)),
                    false => self.outdated.push(outdated),
                }
            }
        } else if let Some(window) = waiting {
            window.file = Some(file);
            window.is_in_memory = keeps;
        } else {
            self.to_remove.push(file);
        }
        self.health = NaiveHealth::Ready;
    }

    /// Drops windows on disk whose file `is_void`.
    fn void(&mut self, reason: &'static str, is_void: impl Fn(&FileName) -> bool) -> Vec<FileName> {
        let (void, kept) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition::<Vec<_>, _>(|window| window.file.as_ref().is_some_and(&is_void));
        self.waiting = kept;
        let files = void.iter().filter_map(|window| window.file).collect();
        for window in void {
            self.drop_all(reason, window.left);
        }
        files
    }

    fn revoke(&mut self, reason: &'static str, is_void: impl Fn(&FileName) -> bool) -> u64 {
        match &mut self.flight {
            Some(NaiveFlight { window, revoked: revoked @ None, .. })
                if window.file.as_ref().is_some_and(is_void) =>
            {
                *revoked = Some(reason);
                window.left.len() as u64
            }
            _ => 0,
        }
    }

    pub(super) fn expire(&mut self, now_ms: u64) -> u64 {
        let max_age_ms = self.spool.max_age.get().as_millis() as u64;
        let is_old = |file: &FileName| file.start_ms + max_age_ms < now_ms;
        let files = self.void(reason::SPOOL_EXPIRED, is_old);
        let dropped: u64 = files.iter().map(|file| file.points).sum();
        files.into_iter().for_each(|file| self.discard(Some(file)));
        dropped + if self.has_ended { 0 } else { self.revoke(reason::SPOOL_EXPIRED, is_old) }
    }

    pub(super) fn listed(&mut self, present: &[FileName]) -> u64 {
        let is_gone = |file: &FileName| !present.contains(file);
        let files = self.void(reason::REMOVED, is_gone);
        let dropped: u64 = files.iter().map(|file| file.points).sum();
        for file in files {
            self.release(|outdated| outdated.start_ms == file.start_ms);
        }
        dropped + self.revoke(reason::REMOVED, is_gone)
    }
}
