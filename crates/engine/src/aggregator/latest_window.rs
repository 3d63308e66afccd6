//! The last closed window and the live series at its end, for clients that ask for current values.
//!
//! The snapshot costs the aggregator a pointer for each window. The list of live series is made only
//! for a request, at most once a window, because it takes a look at every series.

use std::sync::Arc;
use std::time::Duration;

use model::{Series, Snapshot};
use parking_lot::Mutex;

/// The last closed window. The receiver of windows replaces the snapshot, and the aggregator adds the
/// list of series when it is requested.
#[derive(Debug, Default)]
pub struct LatestWindow(Mutex<KeptWindow>);

/// The kept parts of a window. Dropping it may take a while, because it refers to every series.
#[derive(Clone, Debug, Default)]
pub struct KeptWindow {
    snapshot: Option<Arc<Snapshot>>,
    live: Option<Arc<LiveList>>,
}

/// The live series between two windows.
#[derive(Debug)]
pub struct LiveList {
    /// The points of the window that was closed last; `None` before the first, and if it was not kept.
    pub snapshot: Option<Arc<Snapshot>>,
    /// Length of a window.
    pub interval: Duration,
    /// The series, in no particular order.
    pub series: Vec<ListedSeries>,
}

/// A live series.
#[derive(Clone, Debug)]
pub struct ListedSeries {
    /// The series.
    pub series: Arc<Series>,
    /// The value of a gauge; 0 for other kinds.
    pub level: f64,
    /// Windows closed since the latest one with samples; 0 if the last window has a point.
    pub idle_windows: u32,
    /// Windows closed since the first one with samples.
    pub age_windows: u32,
}

impl LatestWindow {
    /// Replaces the kept window, and returns the previous one: the caller decides which thread drops it. The aggregator's
    /// thread calls this for each window.
    #[must_use]
    pub fn replace(&self, snapshot: Option<Arc<Snapshot>>) -> KeptWindow {
        std::mem::replace(&mut self.0.lock(), KeptWindow { snapshot, live: None })
    }

    /// Forgets this snapshot if it is still the last one; returns the kept window.
    #[must_use]
    pub fn forget(&self, snapshot: &Arc<Snapshot>) -> Option<KeptWindow> {
        let mut kept = self.0.lock();
        let is_last = kept.snapshot.as_ref().is_some_and(|last| Arc::ptr_eq(last, snapshot));
        is_last.then(|| std::mem::take(&mut *kept))
    }

    /// The last window, if it is kept.
    #[must_use]
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.0.lock().snapshot.clone()
    }

    /// The list of live series, which `list` makes unless it was made since the last window.
    pub(super) fn live(
        &self,
        interval: Duration,
        list: impl FnOnce() -> Vec<ListedSeries>,
    ) -> Arc<LiveList> {
        let mut kept = self.0.lock();
        let snapshot = kept.snapshot.clone();
        let live = kept
            .live
            .get_or_insert_with(|| Arc::new(LiveList { snapshot, interval, series: list() }));
        Arc::clone(live)
    }

    /// Forgets the list of live series, because some were removed.
    pub(super) fn forget_live(&self) {
        self.0.lock().live = None;
    }
}

#[cfg(test)]
mod tests {
    use model::testing::snapshot_of;

    use super::*;

    #[test]
    fn a_list_is_made_once_for_each_window() {
        let last = LatestWindow::default();
        let made = std::cell::Cell::new(0);
        let live = || {
            last.live(Duration::from_secs(1), || {
                made.set(made.get() + 1);
                Vec::new()
            })
        };
        assert!(live().snapshot.is_none());
        drop(live());
        assert_eq!(made.get(), 1);
        let snapshot = Arc::new(snapshot_of(vec![]));
        assert!(last.replace(Some(Arc::clone(&snapshot))).snapshot.is_none());
        assert!(live().snapshot.is_some());
        assert!(last.snapshot().is_some_and(|kept| Arc::ptr_eq(&kept, &snapshot)));
        last.forget_live();
        drop(live());
        assert_eq!(made.get(), 3);
        assert!(last.forget(&Arc::new(snapshot_of(vec![]))).is_none(), "another window");
        assert!(last.forget(&snapshot).is_some() && last.snapshot().is_none());
    }
}
