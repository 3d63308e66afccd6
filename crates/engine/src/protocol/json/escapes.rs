//! Reads JSON strings with escapes.

use super::super::scan::plain_until;
use super::super::{RejectReason, Rejection};
use super::cursor::{Cursor, reject};

/// The expected input after the first half of a surrogate pair.
pub const SECOND_HALF: &str = "the second half of a surrogate pair";
/// The expected input before the second half of a surrogate pair.
pub const FIRST_HALF: &str = "the first half of a surrogate pair";

impl Cursor<'_> {
    /// Reads the rest of a string that does not end at `self.at`: there is an escape, or the string is
    /// invalid.
    // Cold, so that it stays out of `string`: inlined, it takes registers from the loop that each
    // plain string runs through.
    #[cold]
    pub(super) fn unusual_string(&mut self, start: usize) -> Result<String, Rejection> {
        if self.peek() != Some(b'\\') {
            return Err(self.bad_json("a closing quote"));
        }
        let mut unescaped = String::from(self.text.part(start..self.at));
        loop {
            match self.next() {
                Some(b'"') => return Ok(unescaped),
                Some(b'\\') => {
                    unescaped.push(self.escape()?);
                    let plain = self.at;
                    self.at = plain_until(self.bytes(), plain);
                    unescaped.push_str(self.text.part(plain..self.at));
                }
                _ => return Err(self.bad_json_before("a closing quote")),
            }
        }
    }

    /// Reads an escape after its backslash.
    fn escape(&mut self) -> Result<char, Rejection> {
        Ok(match self.next() {
            Some(plain @ (b'"' | b'\\' | b'/')) => char::from(plain),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(),
            _ => return Err(self.bad_json_before("a valid JSON escape")),
        })
    }

    /// Reads `XXXX` or `XXXX\uXXXX` after `\u`. Half of a pair is rejected: most likely, text was
    /// cut within a character.
    fn unicode_escape(&mut self) -> Result<char, Rejection> {
        let escape = self.at - 2;
        let first = self.hex()?;
        let code = match first {
            0xd800..0xdc00 => {
                // The position at which the other half should begin.
                let missing = reject(RejectReason::BadJson, self.at, SECOND_HALF);
                if !self.bytes()[self.at..].starts_with(b"\\u") {
                    return Err(missing);
                }
                self.at += 2;
                match self.hex()? {
                    second @ 0xdc00..0xe000 => {
                        0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
                    }
                    _ => return Err(missing),
                }
            }
            code => code,
        };
        char::from_u32(code).ok_or_else(|| reject(RejectReason::BadJson, escape, FIRST_HALF))
    }

    fn hex(&mut self) -> Result<u32, Rejection> {
        let digits = self.bytes().get(self.at..self.at + 4).unwrap_or_default();
        let mut code = 0;
        for digit in digits {
            match char::from(*digit).to_digit(16) {
                Some(digit) => code = code << 4 | digit,
                None => return Err(self.bad_json("four hexadecimal digits")),
            }
        }
        if digits.len() < 4 {
            return Err(self.bad_json("four hexadecimal digits"));
        }
        self.at += 4;
        Ok(code)
    }
}
