//! The tags of a line.

use super::super::scan::Marks;
use super::super::{MessageLimits, RejectReason, Rejection, TextTags, normalize_tags};
use super::text::LineText;
use crate::sys::lanes::equal_to;

/// Collects the tags from all parts of a line.
pub(super) struct TagReader<'a, 'l> {
    tags: TextTags<'a>,
    pub(super) limits: &'l MessageLimits,
}

impl<'a, 'l> TagReader<'a, 'l> {
    #[inline]
    pub(super) fn new(limits: &'l MessageLimits) -> Self {
        Self { tags: TextTags::new(), limits }
    }

    /// Starts with another line.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.tags.clear();
    }

    /// Sorts the tags of the line, and removes those that an equal key or an empty value removes.
    #[inline]
    pub(super) fn normalized(&mut self) -> &TextTags<'a> {
        if !self.tags.is_empty() {
            normalize_tags(&mut self.tags);
        }
        &self.tags
    }

    /// Reads tags with `NEXT` between them from `start` up to the first `END`. Returns the place of this
    /// end, or of the line's end.
    pub(super) fn read<const SEPARATOR: u8, const NEXT: u8, const END: u8>(
        &mut self,
        line: LineText<'a>,
        mut start: usize,
    ) -> Result<usize, Rejection> {
        let bytes = line.bytes();
        let mut ends = Marks::new(bytes, start, |lanes| equal_to(lanes, [NEXT, SEPARATOR, END]));
        loop {
            // In a `#` section, each tag may begin with the `#` again. In the other dialects, a `#`
            // is part of the key.
            while SEPARATOR == b':' && bytes.get(start) == Some(&b'#') {
                start += 1;
            }
            let key_end = ends.next_place();
            let (mut tag_end, mut value) = (key_end, "true");
            if bytes.get(key_end) == Some(&SEPARATOR) {
                // Further separators belong to the value.
                while bytes.get(tag_end) == Some(&SEPARATOR) {
                    tag_end = ends.next_place();
                }
                value = line.part(key_end + 1..tag_end);
            }
            if start < tag_end {
                self.push(line.part(start..key_end), value, line.at + start)?;
            }
            if bytes.get(tag_end) != Some(&NEXT) {
                return Ok(tag_end);
            }
            start = tag_end + 1;
        }
    }

    #[inline]
    fn push(&mut self, key: &'a str, value: &'a str, at: usize) -> Result<(), Rejection> {
        let reject = |reason, expected| Err(Rejection { reason, offset: at, expected });
        if key.is_empty() {
            return reject(RejectReason::BadTag, "a name for the tag");
        }
        if self.tags.len() == self.limits.max_tags {
            return reject(RejectReason::TooManyTags, "fewer tags (limits.max_tags)");
        }
        self.tags.push((key, value));
        Ok(())
    }
}
