//! Finds the elements of an array without parsing them.
//!
//! An error inside an element, such as invalid UTF-8 in a string, must cost only this element. So
//! this module looks only at the characters that delimit elements: brackets, quotes and commas. An
//! array in which they do not match is rejected as a whole: it may be truncated, and half of a
//! message could be mistaken for a complete one.

use std::ops::Range;

use super::super::scan::plain_until;
use super::super::{RejectReason, Rejection, is_blank};
use super::cursor::{DEPTH_MAX, reject};

/// Returns the ranges of the elements.
///
/// # Errors
/// The array is unreadable: where its elements end is unclear.
pub(super) fn elements(datagram: &[u8]) -> Result<Vec<Range<usize>>, Rejection> {
    let mut scanner = Scanner { bytes: datagram, at: 0, too_deep: None };
    // An array that is both too deep and truncated is most likely an attack, so the depth is the
    // reason.
    scanner.elements().map_err(|rejection| match scanner.too_deep {
        Some(at) => reject(RejectReason::TooDeep, at, "less nesting"),
        None => rejection,
    })
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The first bracket that is too deep.
    too_deep: Option<usize>,
}

impl Scanner<'_> {
    fn elements(&mut self) -> Result<Vec<Range<usize>>, Rejection> {
        let mut elements = Vec::new();
        self.blanks();
        self.at += 1;
        self.blanks();
        if self.peek() == Some(b']') {
            return self.end().map(|()| elements);
        }
        loop {
            self.blanks();
            let start = self.at;
            self.element()?;
            elements.push(start..self.at);
            self.blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => return self.end().map(|()| elements),
                _ => return Err(self.bad("`,` or `]`")),
            }
        }
    }

    /// Skips an element.
    fn element(&mut self) -> Result<(), Rejection> {
        match self.peek() {
            Some(b'{' | b'[') => self.nested(),
            Some(b'"') => self.string(),
            _ => self.word(),
        }
    }

    /// Skips a number, or another text without blanks.
    fn word(&mut self) -> Result<(), Rejection> {
        let start = self.at;
        let is_end = |byte: u8| is_blank(byte) || b",{}[]\"".contains(&byte);
        while self.peek().is_some_and(|byte| !is_end(byte)) {
            self.at += 1;
        }
        if self.at == start { Err(self.bad("a value")) } else { Ok(()) }
    }

    /// Skips an object or array, up to the bracket that matches its first one.
    fn nested(&mut self) -> Result<(), Rejection> {
        // A bit for each open bracket, 1 for a brace; those beyond `DEPTH_MAX` are only counted.
        let (mut braces, mut depth) = (0_u64, 0_usize);
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.string()?;
                    continue;
                }
                Some(open @ (b'{' | b'[')) => {
                    if depth < DEPTH_MAX {
                        braces = braces << 1 | u64::from(open == b'{');
                    } else {
                        self.too_deep.get_or_insert(self.at);
                    }
                    depth += 1;
                }
                Some(close @ (b'}' | b']')) => {
                    if depth <= DEPTH_MAX {
                        if (braces & 1 == 1) != (close == b'}') {
                            return Err(self.bad("a closing bracket of the other kind"));
                        }
                        braces >>= 1;
                    }
                    depth -= 1;
                    if depth == 0 {
                        self.at += 1;
                        return Ok(());
                    }
                }
                Some(_) => {}
                None => return Err(self.bad("a closing bracket")),
            }
            self.at += 1;
        }
    }

    /// Skips a string.
    fn string(&mut self) -> Result<(), Rejection> {
        self.at += 1;
        loop {
            self.at = plain_until(self.bytes, self.at);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                // The escaped character may be a quote.
                Some(b'\\') => self.at += 2,
                Some(_) => self.at += 1,
                None => return Err(self.bad("a closing quote")),
            }
        }
    }

    /// Skips the closing bracket of the array. Nothing may follow it.
    fn end(&mut self) -> Result<(), Rejection> {
        self.at += 1;
        self.blanks();
        if self.peek().is_some() { Err(self.bad("nothing more after the array")) } else { Ok(()) }
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(is_blank) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn bad(&self, expected: &'static str) -> Rejection {
        // After an escape at the end, the position is one too far.
        reject(RejectReason::BadJson, self.at.min(self.bytes.len()), expected)
    }
}
