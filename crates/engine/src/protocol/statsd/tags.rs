//! The tags of a line.

use super::super::scan::Marks;
use super::super::{MessageLimits, RejectReason, Rejection, TextTag, TextTags, normalize_tags};
use super::text::LineText;
use crate::sys::lanes::equal_to;

/// As many tags are sorted one by one.
const FEW: usize = 16;

/// Collects the tags from all parts of a line.
pub(super) struct TagReader<'a, 'l> {
    /// Sorted while they are read, which takes less time than another pass over them.
    tags: TextTags<'a>,
    /// Whether the tags may contain a key twice or an empty value, or are too many to be sorted yet.
    is_unusual: bool,
    pub(super) limits: &'l MessageLimits,
}

impl<'a, 'l> TagReader<'a, 'l> {
    #[inline]
    pub(super) fn new(limits: &'l MessageLimits) -> Self {
        Self { tags: TextTags::new(), is_unusual: false, limits }
    }

    /// Starts with another line.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.tags.clear();
        self.is_unusual = false;
    }

    /// The tags of the line: sorted, without those that an equal key or an empty value removes.
    #[inline]
    pub(super) fn normalized(&mut self) -> &TextTags<'a> {
        if self.is_unusual {
            normalize_tags(&mut self.tags);
        }
        &self.tags
    }

    /// Reads tags from `start` up to the first `END`. Returns the place of this end, or of the line's
    /// end.
    pub(super) fn read<const SEPARATOR: u8, const END: u8>(
        &mut self,
        line: LineText<'a>,
        mut start: usize,
    ) -> Result<usize, Rejection> {
        let bytes = line.bytes();
        let mut ends = Marks::new(bytes, start, |lanes| equal_to(lanes, [b',', SEPARATOR, END]));
        loop {
            // In a `#` section, each tag may begin with the `#` again. In the other dialects, a `#`
            // is part of the key.
            while SEPARATOR == b':' && bytes.get(start) == Some(&b'#') {
                start += 1;
            }
            let key_end = ends.next_place();
            let mut tag_end = key_end;
            // Further separators belong to the value.
            while bytes.get(tag_end) == Some(&SEPARATOR) {
                tag_end = ends.next_place();
            }
            if start < tag_end {
                let tag = TextTag::new(line.part(start..tag_end), key_end - start);
                self.push(tag, line.at + start)?;
            }
            if bytes.get(tag_end) != Some(&b',') {
                return Ok(tag_end);
            }
            start = tag_end + 1;
        }
    }

    #[inline]
    fn push(&mut self, tag: TextTag<'a>, at: usize) -> Result<(), Rejection> {
        let reject = |reason, expected| Err(Rejection { reason, offset: at, expected });
        if tag.is_without_key() {
            return reject(RejectReason::BadTag, "a name for the tag");
        }
        if self.tags.len() == self.limits.max_tags {
            return reject(RejectReason::TooManyTags, "fewer tags (limits.max_tags)");
        }
        let is_in_order = self.tags.last().is_none_or(|last| last.precedes(tag));
        self.is_unusual |= tag.is_empty();
        self.tags.push(tag);
        if !is_in_order {
            self.move_last();
        }
        Ok(())
    }

    /// Moves the last tag to its place in the order.
    #[inline(never)]
    fn move_last(&mut self) {
        let Self { tags, is_unusual, .. } = self;
        let tags = tags.as_mut_slice();
        // More than a few are sorted at the end: moving each of many would take too long.
        if tags.len() > FEW {
            *is_unusual = true;
            return;
        }
        for place in (1..tags.len()).rev() {
            if tags[place - 1].precedes(tags[place]) {
                break;
            }
            if !tags[place].precedes(tags[place - 1]) {
                // Equal keys keep their order.
                *is_unusual = true;
                break;
            }
            tags.swap(place - 1, place);
        }
    }
}
