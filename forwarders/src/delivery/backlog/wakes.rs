//! The tasks that have to ask a backlog for their next action again.

/// The tasks that an event concerns. An unnecessary wake costs one question to the backlog; a
/// missing wake leaves windows waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wakes {
    /// The delivery loop may have a window to take.
    pub(crate) delivery: bool,
    /// The spool loop may have files to write or remove.
    pub(crate) spool: bool,
    /// Further attempts may have become useless, see
    /// [`Backlog::is_stop_wanted`](super::Backlog::is_stop_wanted).
    pub(crate) stop: bool,
}
