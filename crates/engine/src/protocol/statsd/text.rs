//! Parts of a datagram as text.

use std::ops::Range;

use super::super::scan::find;
use super::super::{RejectReason, Rejection};
use crate::sys::ascii::CutText;

/// A line, with its position in the datagram.
#[derive(Clone, Copy)]
pub(super) struct LineText<'a> {
    pub(super) text: CutText<'a>,
    pub(super) at: usize,
}

impl<'a> LineText<'a> {
    #[inline]
    pub(super) fn bytes(self) -> &'a [u8] {
        self.text.as_str().as_bytes()
    }

    /// The text in this range, which must be between two ASCII characters.
    #[inline]
    pub(super) fn part(self, range: Range<usize>) -> &'a str {
        self.text.part(range)
    }

    /// The same with its position in the datagram.
    #[inline]
    pub(super) fn between(self, range: Range<usize>) -> TextPart<'a> {
        TextPart { at: self.at + range.start, text: self.part(range) }
    }

    /// Rejects the line because of the text at this place.
    pub(super) fn reject(
        self,
        place: usize,
        reason: RejectReason,
        expected: &'static str,
    ) -> Rejection {
        Rejection { reason, offset: self.at + place, expected }
    }
}

/// A part of a line, with its position in the datagram.
#[derive(Clone, Copy)]
pub(super) struct TextPart<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
}

impl<'a> TextPart<'a> {
    /// Splits at the first separator, an ASCII character. The second part is `None` if there is no
    /// separator.
    pub(super) fn cut(self, separator: u8) -> (Self, Option<Self>) {
        match find(self.bytes(), 0, [separator]) {
            place if place < self.text.len() => (self.before(place), Some(self.from(place + 1))),
            _ => (self, None),
        }
    }

    #[inline]
    pub(super) fn bytes(self) -> &'a [u8] {
        self.text.as_bytes()
    }

    fn before(self, place: usize) -> Self {
        Self { text: &self.text[..place], at: self.at }
    }

    pub(super) fn from(self, place: usize) -> Self {
        Self { text: &self.text[place..], at: self.at + place }
    }

    pub(super) fn end(self) -> Self {
        self.from(self.text.len())
    }

    pub(super) fn reject(self, reason: RejectReason, expected: &'static str) -> Rejection {
        Rejection { reason, offset: self.at, expected }
    }
}
