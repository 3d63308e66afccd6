//! Reads JSON values of a line, one after the other.

use std::borrow::Cow;

use super::super::scan::plain_until;
use super::super::{RejectReason, Rejection, is_blank};
use crate::sys::ascii::CutText;

/// Maximum nesting of a message, including its own level. No message needs more.
pub(super) const DEPTH_MAX: usize = 64;

/// A parsed value; numbers keep their text.
pub(super) enum RawJson<'a> {
    String(Cow<'a, str>),
    Number(&'a str),
    Bool(bool),
    Null,
    /// An object or an array, whose content was skipped.
    Nested,
}

/// A parsed value with the offset at which it starts.
pub(super) struct JsonValue<'a> {
    pub(super) raw: RawJson<'a>,
    pub(super) offset: usize,
}

/// A position in a line, up to which the line has been read.
pub(super) struct Cursor<'a> {
    pub(super) text: CutText<'a>,
    pub(super) at: usize,
    /// Nesting around the current value, for the limit in `skip_nested`.
    pub(super) depth: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: CutText<'a>) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    /// Reads the opening brace of an object, which the caller has seen. If the object is empty,
    /// also reads its closing brace and returns true.
    pub(super) fn begins_empty_object(&mut self) -> bool {
        self.at += 1;
        self.blanks();
        let is_empty = self.peek() == Some(b'}');
        self.at += usize::from(is_empty);
        is_empty
    }

    /// Reads the key of a member up to the start of its value. Also returns the position of the key.
    pub(super) fn key(&mut self) -> Result<(Cow<'a, str>, usize), Rejection> {
        self.blanks();
        let offset = self.at;
        if self.peek() != Some(b'"') {
            return Err(self.bad_json("a key in quotes"));
        }
        let key = self.string()?;
        self.blanks();
        if self.next() != Some(b':') {
            return Err(self.bad_json_before("`:`"));
        }
        self.blanks();
        Ok((key, offset))
    }

    /// Reads the comma or the closing brace after a member. Returns whether the object ends.
    pub(super) fn ends_object(&mut self) -> Result<bool, Rejection> {
        self.blanks();
        match self.next() {
            Some(b',') => Ok(false),
            Some(b'}') => Ok(true),
            _ => Err(self.bad_json_before("`,` or `}`")),
        }
    }

    /// Reads a value. The content of an object or array is skipped.
    pub(super) fn value(&mut self) -> Result<JsonValue<'a>, Rejection> {
        let offset = self.at;
        let raw = match self.peek() {
            Some(b'"') => RawJson::String(self.string()?),
            Some(b'-' | b'0'..=b'9') => RawJson::Number(self.number()?),
            Some(b't') => self.word("true").map(|()| RawJson::Bool(true))?,
            Some(b'f') => self.word("false").map(|()| RawJson::Bool(false))?,
            Some(b'n') => self.word("null").map(|()| RawJson::Null)?,
            Some(b'{' | b'[') => self.skip_nested().map(|()| RawJson::Nested)?,
            _ => return Err(self.bad_json("a value")),
        };
        Ok(JsonValue { raw, offset })
    }

    pub(super) fn skip_value(&mut self) -> Result<(), Rejection> {
        self.value().map(|_| ())
    }

    /// Skips an object or array. Not recursive, because the sender determines the depth.
    fn skip_nested(&mut self) -> Result<(), Rejection> {
        // On the stack, a byte for each level: hostile messages must not cause allocations.
        let mut open = [0_u8; DEPTH_MAX];
        let mut depth = 0;
        loop {
            self.blanks();
            // A value starts here.
            match self.peek() {
                Some(bracket @ (b'{' | b'[')) => {
                    if self.depth + depth == DEPTH_MAX {
                        return Err(reject(RejectReason::TooDeep, self.at, "less nesting"));
                    }
                    open[depth] = bracket;
                    depth += 1;
                    self.at += 1;
                    self.blanks();
                    if self.peek() != Some(closing(bracket)) {
                        self.key_if_object(bracket)?;
                        continue;
                    }
                }
                _ => self.skip_value()?,
            }
            // A value has ended here, or an empty container ends.
            loop {
                self.blanks();
                let Some(bracket) = depth.checked_sub(1).map(|top| open[top]) else {
                    return Ok(());
                };
                match self.next() {
                    Some(byte) if byte == closing(bracket) => {
                        depth -= 1;
                        if depth == 0 {
                            return Ok(());
                        }
                    }
                    Some(b',') => {
                        self.blanks();
                        self.key_if_object(bracket)?;
                        break;
                    }
                    _ => return Err(self.bad_json_before("`,` or a closing bracket")),
                }
            }
        }
    }

    fn key_if_object(&mut self, bracket: u8) -> Result<(), Rejection> {
        if bracket == b'[' {
            return Ok(());
        }
        self.key().map(|_| ())
    }

    /// Reads a string, starting at its opening quote.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>, Rejection> {
        let start = self.at + 1;
        let end = plain_until(self.bytes(), start);
        if self.bytes().get(end) == Some(&b'"') {
            self.at = end + 1;
            return Ok(Cow::Borrowed(self.text.part(start..end)));
        }
        self.at = end;
        self.unusual_string(start).map(Cow::Owned)
    }

    #[inline]
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.text.as_str().as_bytes()
    }

    /// Reads a number and returns its text.
    fn number(&mut self) -> Result<&'a str, Rejection> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            // JSON has no leading zeros. A digit after this one is an error where the caller
            // expects the end of the value.
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(self.text.part(start..self.at))
    }

    fn digits(&mut self) -> Result<(), Rejection> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { Err(self.bad_json("a digit")) } else { Ok(()) }
    }

    fn word(&mut self, word: &'static str) -> Result<(), Rejection> {
        if self.bytes()[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(())
        } else {
            Err(self.bad_json("a value"))
        }
    }

    /// Checks that only blanks follow.
    pub(super) fn end(&mut self) -> Result<(), Rejection> {
        self.blanks();
        if self.at == self.bytes().len() {
            Ok(())
        } else {
            Err(self.bad_json("nothing more on the line"))
        }
    }

    #[inline]
    pub(super) fn blanks(&mut self) {
        while self.peek().is_some_and(is_blank) {
            self.at += 1;
        }
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes().get(self.at).copied()
    }

    #[inline]
    pub(super) fn next(&mut self) -> Option<u8> {
        // At the end of the text, this moves one byte too far, which `bad_json_before` takes into
        // account.
        let byte = self.peek();
        self.at += 1;
        byte
    }

    pub(super) fn bad_json(&self, expected: &'static str) -> Rejection {
        reject(RejectReason::BadJson, self.at.min(self.bytes().len()), expected)
    }

    /// Rejects the byte that [`Cursor::next`] has just consumed.
    pub(super) fn bad_json_before(&self, expected: &'static str) -> Rejection {
        reject(RejectReason::BadJson, (self.at - 1).min(self.bytes().len()), expected)
    }
}

pub(super) fn reject(reason: RejectReason, offset: usize, expected: &'static str) -> Rejection {
    Rejection { reason, offset, expected }
}

const fn closing(bracket: u8) -> u8 {
    if bracket == b'{' { b'}' } else { b']' }
}
