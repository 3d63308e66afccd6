//! The contract with the keeper of the state that outlives an orderly stop.

use model::{GaugeLevel, UnfinishedWindows};

/// Keeps the state that an orderly stop leaves to the next run. The aggregator knows no file.
pub trait RestartStore: Send {
    /// Saves the windows that the stop cuts. Returns whether the next run will find them: only then
    /// does it continue them, and only then may their first part be delivered with the timestamp of
    /// the planned end, which the next run writes again.
    fn save_windows(&mut self, unfinished: UnfinishedWindows) -> bool;

    /// Saves the values of gauges.
    fn save_levels(&mut self, levels: Vec<GaugeLevel>);

    /// The ends of all windows that an earlier run left have passed. Must not block.
    fn remove_windows(&mut self);
}
