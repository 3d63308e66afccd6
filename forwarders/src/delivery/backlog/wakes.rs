//! Which of the tasks around a backlog have to look at it again.

/// The tasks that an event concerns. Waking a task without need costs one look at the backlog;
/// not waking it leaves windows waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wakes {
    /// The delivery loop may have a window to take.
    pub(crate) delivery: bool,
    /// The spool loop may have files to write or remove.
    pub(crate) spool: bool,
    /// It may be time to stop delivering.
    pub(crate) stop: bool,
}
