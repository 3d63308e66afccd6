//! The result of a flush, for destinations of both kinds.

use std::sync::Arc;

use super::{IdleLimits, IdlePoints, Series, Snapshot};

/// A closed window in the two forms that destinations need.
///
/// They differ only where a window is divided between two runs of the daemon: in the last flush of a
/// run, and in the flush of the next run whose window has the same end.
#[derive(Clone, Debug)]
pub struct ClosedWindow {
    /// The samples since the previous flush, for destinations that add up points. The
    /// last flush of a run has the time of the stop as its timestamp, so that no two flushes share
    /// one.
    pub increment: Arc<Snapshot>,
    /// All samples of the window so far, those of an earlier run included, for destinations that keep
    /// the last write of each timestamp. The timestamp is the planned end of the window, also in the
    /// last flush of a run: the next run writes the complete window over it.
    pub whole: Arc<Snapshot>,
    /// The points of the increment with those of idle series; `None` if no destination wants these,
    /// or if no series is idle.
    pub idle: Option<IdlePoints>,
}

impl ClosedWindow {
    /// A window that one run recorded from beginning to end.
    #[must_use]
    pub fn undivided(snapshot: Snapshot) -> Self {
        let snapshot = Arc::new(snapshot);
        Self { increment: Arc::clone(&snapshot), whole: snapshot, idle: None }
    }

    /// The window with the points of idle series.
    #[must_use]
    pub fn with_idle(self, idle: Option<IdlePoints>) -> Self {
        Self { idle, ..self }
    }

    /// The form that a destination needs, with the points of the idle series that it wants.
    #[must_use]
    pub fn form(&self, keeps_last_write: bool, limits: &IdleLimits) -> Arc<Snapshot> {
        let form = if keeps_last_write { &self.whole } else { &self.increment };
        match &self.idle {
            Some(idle) if !limits.is_none() => {
                let is_divided = !Arc::ptr_eq(form, &self.increment);
                Arc::new(idle.added_to(form, is_divided, limits))
            }
            _ => Arc::clone(form),
        }
    }
}

/// The value of a gauge that changes start from.
#[derive(Clone, Debug)]
pub struct GaugeLevel {
    /// The gauge.
    pub series: Arc<Series>,
    /// Its value.
    pub value: f64,
    /// Time since it was last set or changed, in milliseconds.
    pub idle_ms: u64,
}

/// A window whose first part an earlier run of the daemon recorded and delivered.
#[derive(Clone, Debug)]
pub struct PartialWindow {
    /// When the window began, in Unix milliseconds.
    pub start_ms: u64,
    /// All samples of that part. The timestamp is the planned end of the window.
    pub snapshot: Snapshot,
}

/// Windows that the last flush of a run leaves unfinished, for the next run.
#[derive(Clone, Debug, Default)]
pub struct UnfinishedWindows {
    /// The times at which windows have ended, which are no timestamps for other windows.
    pub used: Vec<UsedRange>,
    /// The windows whose ends lie in the future, in the order of their ends.
    pub windows: Vec<PartialWindow>,
}

/// A range of the wall clock in which windows have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsedRange {
    /// The first end, in Unix milliseconds.
    pub first_ms: u64,
    /// The last end, and a millisecond for each earlier pass: these are timestamps too.
    pub last_ms: u64,
    /// How often the clock has passed.
    pub times: u64,
}
