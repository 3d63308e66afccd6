//! Tests of each transition of a backlog.

mod delivery_side;
mod flush;
mod removal;
mod spool_side;

use std::collections::HashSet;
use std::sync::Arc;

use model::testing::snapshot_of_counters;
use model::{PointRanges, Snapshot};

use super::limits::QueueBound;
use super::{Backlog, DebtStep, EvictedPoints, NextWindow, ReadRetry, SpoolWork, WindowSource};
use crate::config::{DeliveryConfig, QueueConfig, SpoolConfig, SpoolOrder, SpoolWrite};
use crate::delivery::payload::Settled;
use crate::delivery::reason;
use crate::spool::{DiscardedFiles, FileName, FoundWindows};
use basics::units::{ByteSize, Span};

// ---- The table --------------------------------------------------------------------------------

/// An event, or several in a row.
type Step = fn(&mut Backlog);

/// A transition: the events before it, the event itself, and the resulting state as text. Parts of
/// the text that are zero or empty are left out:
///
/// - the ledger;
/// - `disk` and `memory`: the waiting windows, each as `number:points`;
/// - `flight`: the window in flight, as `number:points left@file`;
/// - `discard`: files to remove or, with `!`, to set aside;
/// - `wake`: the tasks to wake.
struct Transition<'a> {
    case: &'a str,
    given: &'a [Step],
    when: Step,
    then: &'a str,
}

fn row<'a>(case: &'a str, given: &'a [Step], when: Step, then: &'a str) -> Transition<'a> {
    Transition { case, given, when, then }
}

fn limits() -> DeliveryConfig {
    let spool = SpoolConfig {
        max_bytes: ByteSize::from_bytes(1_000),
        max_files: 3.try_into().unwrap(),
        max_age: Span::from_secs(100),
        ..SpoolConfig::default()
    };
    DeliveryConfig {
        spool,
        queue: QueueConfig { max_points: 10, ..QueueConfig::default() },
        ..DeliveryConfig::default()
    }
}

fn check(has_spool: bool, rows: &[Transition<'_>]) {
    for Transition { case, given, when, then } in rows {
        let mut backlog = Backlog::new(&limits(), has_spool);
        given.iter().for_each(|step| step(&mut backlog));
        backlog.take_wakes();
        when(&mut backlog);
        assert_eq!(shown(&mut backlog), *then, "{case}");
        assert!(backlog.ledger().is_balanced(), "{case}");
    }
}

fn shown(backlog: &mut Backlog) -> String {
    let mut parts = Vec::new();
    let ledger = backlog.ledger();
    for (name, points) in [
        ("flushed", ledger.flushed),
        ("recovered", ledger.recovered),
        ("delivered", ledger.delivered),
        ("queued", ledger.queued),
        ("spooled", ledger.spooled),
    ] {
        parts.extend((points > 0).then(|| format!("{name} {points}")));
    }
    parts.extend(ledger.dropped.iter().map(|(reason, points)| format!("{reason} {points}")));
    parts.extend(shown_windows(backlog));
    let discarded = match backlog.next_debt_step(true) {
        Some(DebtStep::Remove(files) | DebtStep::Record(files)) => files,
        None => DiscardedFiles::default(),
    };
    let removed = discarded.remove.iter().map(|file| file.seq.to_string());
    let set_aside = discarded.set_aside.iter().map(|(file, _)| format!("{}!", file.seq));
    parts.extend(list("discard", removed.chain(set_aside)));
    let wakes = backlog.take_wakes();
    let wakes = [("delivery", wakes.delivery), ("spool", wakes.spool), ("stop", wakes.stop)];
    parts
        .extend(list("wake", wakes.into_iter().filter(|(_, is)| *is).map(|(name, _)| name.into())));
    parts.join(", ")
}

fn shown_windows(backlog: &Backlog) -> Vec<String> {
    let disk = backlog.waiting.spooled().iter();
    let disk = disk.map(|window| format!("{}:{}", window.file.seq, window.file.points));
    let memory = backlog.waiting.queued().iter();
    let memory = memory.map(|window| format!("{}:{}", window.seq, window.points()));
    let flight = backlog.in_flight.iter().map(|window| {
        let file = window.file.map(|file| format!("@{}", file.points));
        format!("{}:{}{}", window.seq, window.left.count(), file.unwrap_or_default())
    });
    [list("disk", disk), list("memory", memory), list("flight", flight)]
        .into_iter()
        .flatten()
        .collect()
}

fn list(name: &str, words: impl Iterator<Item = String>) -> Option<String> {
    let words: Vec<String> = words.collect();
    (!words.is_empty()).then(|| format!("{name} {}", words.join(" ")))
}

// ---- Events -----------------------------------------------------------------------------------

/// The end of the first window, in milliseconds.
const START_MS: u64 = 1_000_000;

/// The name of a window's file. Each file takes 200 bytes.
fn file(seq: u64, points: u64) -> FileName {
    FileName { seq, start_ms: START_MS + seq * 1_000, points, bytes: 200 }
}

fn push(backlog: &mut Backlog, points: usize) {
    let _evicted = backlog.push(Arc::new(snapshot_of_counters(points)), None);
}

fn push_3(backlog: &mut Backlog) {
    push(backlog, 3);
}

fn push_4(backlog: &mut Backlog) {
    push(backlog, 4);
}

fn open(backlog: &mut Backlog) {
    backlog.opened(&FoundWindows::default());
    backlog.found_synced(true);
}

/// Opens a folder that contains these windows.
fn open_with(backlog: &mut Backlog, windows: Vec<FileName>) {
    let first_seq = windows.iter().map(|file| file.seq + 1).max().unwrap_or_default();
    backlog.opened(&FoundWindows { first_seq, windows, ..FoundWindows::default() });
    backlog.found_synced(true);
}

/// Opens a folder in which an earlier run left windows of 1 and 2 points.
fn open_with_2(backlog: &mut Backlog) {
    open_with(backlog, vec![file(6, 1), file(7, 2)]);
}

fn next(backlog: &mut Backlog) {
    assert!(matches!(backlog.next_window(), NextWindow::Deliver(_)));
}

fn late(backlog: &mut Backlog) {
    backlog.mark_late();
}

fn down(backlog: &mut Backlog) {
    backlog.attempt_failed();
}

fn write_to_be(backlog: &mut Backlog) -> FileName {
    match backlog.next_spool_work(true) {
        SpoolWork::Write(job) => file(job.seq, job.points.count()),
        other => panic!("{other:?}"),
    }
}

/// Writes the next window as the spool loop does, without making room for it.
fn write(backlog: &mut Backlog) {
    let file = write_to_be(backlog);
    backlog.written(file.seq, file, true);
}

/// Writes the next window as the spool loop does after the end of delivery.
fn write_unsynced(backlog: &mut Backlog) -> FileName {
    let file = write_to_be(backlog);
    backlog.written(file.seq, file, false);
    file
}

fn write_fails(backlog: &mut Backlog) {
    backlog.write_failed(None);
}

/// Removes the files that are no longer needed.
fn remove(backlog: &mut Backlog) {
    while let Some(DebtStep::Remove(_)) = backlog.next_debt_step(true) {
        backlog.removal_ended(Some(DiscardedFiles::default()));
    }
}

/// Tries to remove the files that are no longer needed, on a disk that refuses it.
fn fail_to_remove(backlog: &mut Backlog) {
    let Some(DebtStep::Remove(files)) = backlog.next_debt_step(true) else { panic!() };
    backlog.removal_ended(Some(files));
}

fn settle(backlog: &mut Backlog, delivered: u64, refused: &[(&'static str, u64)]) {
    let window = backlog.in_flight.as_ref().unwrap();
    let count = delivered + refused.iter().map(|(_, points)| points).sum::<u64>();
    let left: Vec<usize> = window.left.ranges().iter().cloned().flatten().collect();
    let (gone, left) = left.split_at(count as usize);
    let mut settled = Settled::default();
    settled.delivered = delivered;
    let mut places = gone[delivered as usize..].iter();
    for (reason, points) in refused {
        settled.refused.insert(reason, *points);
        settled.places.insert(reason, ranges(places.by_ref().take(*points as usize)));
    }
    backlog.settle(settled, ranges(left.iter()), left.is_empty());
}

fn ranges<'a>(places: impl Iterator<Item = &'a usize>) -> PointRanges {
    let mut ranges = PointRanges::default();
    places.for_each(|place| ranges.add(*place..place + 1));
    ranges
}

fn make_room(backlog: &mut Backlog, bytes: u64) {
    let _dropped = backlog.make_room(bytes);
}

/// Reports that another program removed the file of the window `seq`.
fn lose(backlog: &mut Backlog, seq: u64) {
    let waiting = backlog.waiting.spooled().iter().map(|window| window.file);
    let in_flight = backlog.in_flight.iter().filter_map(|window| window.file);
    let present: HashSet<_> = waiting.chain(in_flight).filter(|file| file.seq != seq).collect();
    let _points = backlog.files_listed(&present);
}

/// Expires windows that start before the window `seq`.
fn expire_before(backlog: &mut Backlog, seq: u64) {
    let _points = backlog.expire(START_MS + seq * 1_000 + 100_000);
}

fn in_order(backlog: &mut Backlog) {
    let mut delivery = limits();
    delivery.spool.order = SpoolOrder::Oldest;
    backlog.set_limits(&delivery);
}

fn write_always(backlog: &mut Backlog) {
    let mut delivery = limits();
    delivery.spool.write = SpoolWrite::Always;
    backlog.set_limits(&delivery);
}
