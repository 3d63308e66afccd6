//! Lines that wait, so that they are looked up together.

use smallvec::SmallVec;

use crate::aggregator::shapes::ShapeLookup;
use crate::protocol::split::Split;

/// Number of lines that are looked up together: enough that their waits for memory overlap, few
/// enough that prefetched data is still in the cache when it is used.
pub(super) const PENDING_MAX: usize = 16;

/// Lines whose lookup has started, but which are not recorded yet.
pub struct PendingLines<'b, S> {
    pub(super) lines: SmallVec<[PendingLine<'b, S>; PENDING_MAX]>,
    /// Whether lines wait even if that gains nothing.
    pub(super) always: bool,
}

/// A received line and its lookup in the line cache.
pub(super) struct PendingLine<'b, S> {
    /// The bytes that a rejection shows: the line, or its datagram.
    pub(super) shown: &'b [u8],
    pub(super) sender: S,
    /// Has the line itself.
    pub(super) split: Split<'b>,
    /// Whether the line can be in the cache.
    pub(super) is_split: bool,
    pub(super) lookup: ShapeLookup,
}

impl<'b, S> PendingLine<'b, S> {
    /// The start of the line in `shown`, which contains it.
    pub(super) fn at(&self) -> usize {
        self.split.line.as_ptr().addr() - self.shown.as_ptr().addr()
    }

    /// The line and its lookup, if it can be in the cache.
    pub(super) fn shape(&self) -> Option<(&Split<'b>, ShapeLookup)> {
        self.is_split.then_some((&self.split, self.lookup))
    }
}

impl<S> PendingLines<'_, S> {
    /// Creates an empty list.
    #[must_use]
    pub fn new() -> Self {
        Self { lines: SmallVec::new(), always: false }
    }

    /// Creates an empty list for lines that wait even if the table is small.
    #[cfg(any(test, feature = "test-util"))]
    #[must_use]
    pub fn for_any_table() -> Self {
        Self { lines: SmallVec::new(), always: true }
    }
}

impl<S> Default for PendingLines<'_, S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Drop for PendingLines<'_, S> {
    fn drop(&mut self) {
        debug_assert!(self.lines.is_empty(), "a line was not recorded");
    }
}
