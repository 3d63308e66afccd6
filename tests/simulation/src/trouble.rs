//! The faults of a simulation: which kinds a seed has, and the behavior of the disk at the moment.

use std::path::Path;
use std::time::Duration;

use forwarders::testing::simulation::Operation;
use rand::RngExt;
use rand::rngs::StdRng;

use crate::mode::Mode;

/// The kinds of faults that a simulation has. Each seed has some of them, because faults that happen
/// all the time hide what one of them causes.
#[derive(Clone, Debug)]
pub(crate) struct Faults {
    pub(crate) modes: Vec<Mode>,
    pub(crate) disk: Vec<DiskFault>,
    pub(crate) kill: bool,
    pub(crate) power_failure: bool,
    pub(crate) clock_steps: bool,
    pub(crate) pauses: bool,
    pub(crate) reloads: bool,
    pub(crate) tampering: bool,
    pub(crate) lost_saves: bool,
    /// Whether runs have windows of different lengths.
    pub(crate) interval_changes: bool,
}

/// A way in which the disk fails for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiskFault {
    /// Every operation that changes something fails.
    ReadOnly,
    /// Any operation fails now and then.
    Errors,
    /// Reads fail, as without file descriptors.
    Reads,
    /// Removals and appends fail.
    Removals,
    /// Only removals fail.
    Stuck,
    /// Syncs fail, except of files that are being created.
    Syncs,
    /// The disk is full.
    Full,
    /// Each access takes up to three seconds.
    Slow,
    /// A removal takes seconds. No guarantee but the bounds of the spool depends on their duration.
    SlowRemovals,
    /// A sync takes seconds. No guarantee depends on their duration.
    SlowSyncs,
    /// Each access takes a minute.
    Hangs,
}

const DISK_FAULTS: [DiskFault; 11] = [
    DiskFault::ReadOnly,
    DiskFault::Errors,
    DiskFault::Reads,
    DiskFault::Removals,
    DiskFault::Stuck,
    DiskFault::Syncs,
    DiskFault::Full,
    DiskFault::Slow,
    DiskFault::SlowRemovals,
    DiskFault::SlowSyncs,
    DiskFault::Hangs,
];

/// The behavior of the disk at the moment.
#[derive(Debug, Default)]
pub(crate) struct DiskTrouble {
    pub(crate) fault: Option<DiskFault>,
    /// The time that the operations of the current access have taken.
    pub(crate) owed: Duration,
    /// Whether an operation of the current access failed.
    pub(crate) has_failed: bool,
    pub(crate) failing_second: u64,
    pub(crate) failed_in_second: u32,
    /// Whether a removal was slow in the current run.
    pub(crate) had_slow_removal: bool,
    /// When the latest slow operation ended or ends.
    pub(crate) slow_until: Option<Duration>,
}

impl Faults {
    pub(crate) fn choose(random: &mut StdRng) -> Self {
        let is_calm = random.random_bool(0.1);
        let mut some = |probability: f64| !is_calm && random.random_bool(probability);
        let modes = Mode::FAULTY.into_iter().filter(|_| some(0.5)).collect();
        let has_disk_faults = some(0.6);
        let disk = DISK_FAULTS.into_iter().filter(|_| has_disk_faults && some(0.4)).collect();
        Self {
            modes,
            disk,
            kill: some(0.6),
            power_failure: some(0.3),
            clock_steps: some(0.3),
            pauses: some(0.2),
            reloads: some(0.3),
            tampering: some(0.15),
            lost_saves: some(0.2),
            interval_changes: some(0.4),
        }
    }

    /// No faults at all.
    pub(crate) fn none(&self) -> Self {
        Self {
            modes: Vec::new(),
            disk: Vec::new(),
            kill: false,
            power_failure: false,
            clock_steps: false,
            pauses: false,
            reloads: false,
            tampering: false,
            lost_saves: false,
            interval_changes: self.interval_changes,
        }
    }
}

impl DiskFault {
    /// The name in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "disk: read-only",
            Self::Errors => "disk: errors",
            Self::Reads => "disk: reads fail",
            Self::Removals => "disk: removals and appends fail",
            Self::Stuck => "disk: removals fail",
            Self::Syncs => "disk: folder syncs fail",
            Self::Full => "disk: full",
            Self::Slow => "disk: slow",
            Self::SlowRemovals => "disk: slow removals",
            Self::SlowSyncs => "disk: slow syncs",
            Self::Hangs => "disk: hangs",
        }
    }

    pub(crate) fn fails(self, operation: Operation) -> bool {
        use Operation as O;
        let is_read = matches!(operation, O::List | O::Status | O::Read);
        match self {
            Self::ReadOnly => !is_read,
            Self::Errors => true,
            Self::Reads => operation == O::Read,
            Self::Removals => matches!(operation, O::Remove | O::Append),
            Self::Stuck => operation == O::Remove,
            Self::Syncs => matches!(operation, O::SyncFolder | O::SyncFile | O::SyncAll),
            Self::Full | Self::Slow | Self::SlowRemovals | Self::SlowSyncs | Self::Hangs => false,
        }
    }

    /// Whether the operation takes long.
    pub(crate) fn is_slow(self, operation: Operation, path: &Path) -> bool {
        use Operation as O;
        // Most files in `tmp` that are removed do not exist.
        let is_removal =
            operation == O::Remove && path.parent().is_none_or(|folder| !folder.ends_with("tmp"));
        let syncs = matches!(operation, O::Create | O::SyncFile | O::SyncFolder | O::SyncAll);
        match self {
            Self::SlowRemovals => is_removal,
            Self::SlowSyncs => syncs,
            _ => false,
        }
    }

    /// Whether a guarantee may not hold because of it.
    pub(crate) fn is_excuse(self) -> bool {
        ![Self::SlowSyncs, Self::SlowRemovals].contains(&self)
    }

    pub(crate) fn probability(self) -> f64 {
        match self {
            Self::Errors => 0.15,
            Self::Syncs => 0.5,
            _ => 1.0,
        }
    }
}
