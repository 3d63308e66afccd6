//! A window of which one daemon received only a part.

/// The first or the last window of a daemon, which received a part of it.
#[derive(Debug)]
pub(super) struct PartialWindow {
    /// In Unix milliseconds.
    pub(super) end: i64,
    /// Whether the old daemon received the part.
    pub(super) is_old: bool,
}
