//! Decodes JSON messages: one object, several objects on separate lines, or an array of objects.
//!
//! This is a parser for exactly these messages. A general parser builds a tree or calls a visitor
//! for each value, and loses the original text of numbers, which becomes the value of a tag. The
//! tests compare it with `serde_json` on generated input.

use std::borrow::Cow;

use model::MetricKind;

mod elements;
mod split;

pub use self::split::split;
use super::split::NumberPlaces;
use super::{
    MessageLimits, RejectReason, Rejection, Sample, SampleValue, TagValue, Tags, is_blank, lines,
    normalize_tags, parse_finite, weight_at,
};

/// Maximum nesting of a message, including its own level. No message needs more.
const DEPTH_MAX: usize = 64;

/// Decodes a datagram and passes each message to `each`, in order.
///
/// An invalid message does not affect the others. An array in which it is unclear where the
/// elements end is one rejection.
pub fn decode<'a>(
    datagram: &'a [u8],
    limits: &MessageLimits,
    each: &mut impl FnMut(Result<Sample<'a>, Rejection>),
) {
    if is_array(datagram) {
        return decode_array(datagram, limits, each);
    }
    for line in lines(datagram) {
        let message = decode_line(&datagram[line.clone()], limits);
        each(message.map(|(sample, _)| sample).map_err(|bad| bad.shifted_by(line.start)));
    }
}

/// Decodes one line that is not an array. Also returns the places of the numbers that may change from
/// line to line.
///
/// # Errors
/// The reason why the line is not a sample.
pub fn decode_line<'a>(
    line: &'a [u8],
    limits: &MessageLimits,
) -> Result<(Sample<'a>, NumberPlaces), Rejection> {
    match std::str::from_utf8(line) {
        Ok(text) => MessageParser::new(text, 0, limits).whole_message(),
        Err(error) => Err(not_utf8(error.valid_up_to())),
    }
}

/// Whether the datagram must be parsed as an array.
#[must_use]
pub fn is_array(datagram: &[u8]) -> bool {
    datagram.iter().find(|byte| !is_blank(**byte)) == Some(&b'[')
}

fn decode_array<'a>(
    datagram: &'a [u8],
    limits: &MessageLimits,
    each: &mut impl FnMut(Result<Sample<'a>, Rejection>),
) {
    // Scanned to its end first, so that no message of a truncated array is counted.
    match elements::elements(datagram) {
        Ok(elements) => {
            for element in elements {
                let message = decode_line(&datagram[element.clone()], limits);
                each(
                    message.map(|(sample, _)| sample).map_err(|bad| bad.shifted_by(element.start)),
                );
            }
        }
        Err(rejection) => each(Err(rejection)),
    }
}

fn not_utf8(offset: usize) -> Rejection {
    Rejection { reason: RejectReason::BadJson, offset, expected: "UTF-8" }
}

/// A parsed value; numbers keep their text.
enum RawJson<'a> {
    String(Cow<'a, str>),
    Number(&'a str),
    Bool(bool),
    Null,
    Nested,
}

/// A parsed value with the offset at which it starts.
struct JsonValue<'a> {
    raw: RawJson<'a>,
    offset: usize,
}

/// The members of a message that are not tags. The last of equal keys wins.
#[derive(Default)]
struct Reserved<'a> {
    name: Option<JsonValue<'a>>,
    kind: Option<JsonValue<'a>>,
    value: Option<JsonValue<'a>>,
    count: Option<JsonValue<'a>>,
    sample_rate: Option<JsonValue<'a>>,
    /// The place of the value.
    timestamp: Option<usize>,
}

/// Parses `text` from `at`; all offsets refer to `text`.
struct MessageParser<'a, 'l> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    start: usize,
    /// Nesting around the current value, for the limit in `skip_nested`.
    depth: usize,
    limits: &'l MessageLimits,
}

impl<'a, 'l> MessageParser<'a, 'l> {
    fn new(text: &'a str, at: usize, limits: &'l MessageLimits) -> Self {
        Self { text, bytes: text.as_bytes(), at, start: at, depth: 0, limits }
    }

    /// Parses a message that takes up the rest of the text. Also returns the places of its numbers.
    fn whole_message(mut self) -> Result<(Sample<'a>, NumberPlaces), Rejection> {
        if self.peek() != Some(b'{') {
            // Parsed to its end: JSON of another kind is a different mistake than text that is not
            // JSON.
            self.skip_value()?;
            self.end()?;
            return Err(reject(RejectReason::NotAnObject, self.start, "an object"));
        }
        let (mut reserved, mut tags) = (Reserved::default(), Tags::new());
        self.message(&mut reserved, &mut tags)?;
        self.end()?;
        let place = |value: &Option<JsonValue<'_>>| value.as_ref().map(|value| value.offset);
        let (value, count) = (place(&reserved.value), place(&reserved.count));
        let (rate, time) = (place(&reserved.sample_rate), reserved.timestamp);
        let sample = self.sample(reserved)?;
        let value = match sample.value {
            SampleValue::Counter(_) => count.or(value),
            SampleValue::Trace => None,
            _ => value,
        };
        // Last, so that the tags of a rejected message are not sorted.
        normalize_tags(&mut tags);
        Ok((Sample { tags, ..sample }, NumberPlaces { value, rate, time }))
    }

    fn message(
        &mut self,
        reserved: &mut Reserved<'a>,
        tags: &mut Tags<'a>,
    ) -> Result<(), Rejection> {
        self.depth = 1;
        // The tags that the latest `tags` member added. Another `tags` member replaces them.
        let mut from_tags = 0..0;
        self.members(|parser, key, offset| {
            let field = match key.as_ref() {
                "metric_name" => &mut reserved.name,
                "metric_type" => &mut reserved.kind,
                "value" => &mut reserved.value,
                "count" => &mut reserved.count,
                "sample_rate" => &mut reserved.sample_rate,
                // A sample counts in the window in which it arrives, so clocks of senders need not
                // be right.
                "timestamp" => {
                    reserved.timestamp = Some(parser.at);
                    return parser.skip_value();
                }
                "tags" => {
                    tags.drain(from_tags.clone());
                    let start = tags.len();
                    if parser.peek() == Some(b'{') {
                        parser.members(|parser, key, offset| parser.tag(key, offset, tags))?;
                    } else {
                        parser.tag(key, offset, tags)?;
                    }
                    from_tags = start..tags.len();
                    return Ok(());
                }
                _ => return parser.tag(key, offset, tags),
            };
            *field = Some(parser.value()?);
            Ok(())
        })
    }

    /// Parses an object, and calls `each` at the start of each member's value.
    fn members(
        &mut self,
        mut each: impl FnMut(&mut Self, Cow<'a, str>, usize) -> Result<(), Rejection>,
    ) -> Result<(), Rejection> {
        self.at += 1;
        self.blanks();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
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
            each(self, key, offset)?;
            self.blanks();
            match self.next() {
                Some(b',') => {}
                Some(b'}') => return Ok(()),
                _ => return Err(self.bad_json_before("`,` or `}`")),
            }
        }
    }

    fn tag(
        &mut self,
        key: Cow<'a, str>,
        offset: usize,
        tags: &mut Tags<'a>,
    ) -> Result<(), Rejection> {
        let value = match self.peek() {
            Some(b'{' | b'[') => {
                return Err(reject(
                    RejectReason::NestedTag,
                    self.at,
                    "a string, number, boolean or null as a tag's value",
                ));
            }
            _ => self.value()?.raw,
        };
        if key.is_empty() {
            return Err(reject(RejectReason::BadTag, offset, "a name for the tag"));
        }
        // Before the tag is kept: equal keys are merged later, so they must count here.
        if tags.len() == self.limits.max_tags {
            return Err(reject(RejectReason::TooManyTags, offset, "fewer tags (limits.max_tags)"));
        }
        let value = match value {
            RawJson::String(text) => TagValue::Text(text),
            RawJson::Number(text) => TagValue::Literal(text),
            RawJson::Bool(true) => TagValue::Literal("true"),
            RawJson::Bool(false) => TagValue::Literal("false"),
            // An empty value for now: it may override an earlier tag with the same key.
            RawJson::Null | RawJson::Nested => "".into(),
        };
        tags.push((key, value));
        Ok(())
    }

    /// Creates the sample, still without tags.
    fn sample(&self, reserved: Reserved<'a>) -> Result<Sample<'a>, Rejection> {
        let at_start = |reason, expected| reject(reason, self.start, expected);
        let name = match reserved.name {
            Some(JsonValue { raw: RawJson::String(name), .. }) if !name.is_empty() => name,
            Some(other) => {
                return Err(reject(RejectReason::BadName, other.offset, "a string with a name"));
            }
            None => return Err(at_start(RejectReason::MissingName, "`metric_name`")),
        };
        let (kind, kind_offset) = match &reserved.kind {
            Some(JsonValue { raw: RawJson::String(word), offset }) => {
                (MetricKind::from_json_word(word), *offset)
            }
            Some(other) => {
                return Err(reject(RejectReason::UnknownType, other.offset, KNOWN_TYPES));
            }
            None => return Err(at_start(RejectReason::MissingType, "`metric_type`")),
        };
        // Checked even for kinds that ignore it: an invalid rate is a mistake of the sender.
        let weight = weight(reserved.sample_rate)?;
        let needed = |value: Option<JsonValue<'a>>| {
            value.ok_or_else(|| at_start(RejectReason::MissingValue, "`value`"))
        };
        let value = match kind {
            Some(MetricKind::Counter) => match reserved.count.or(reserved.value) {
                Some(count) => SampleValue::Counter(number(&count)?),
                None => SampleValue::Counter(1.0),
            },
            Some(MetricKind::Gauge) => gauge(&needed(reserved.value)?)?,
            Some(MetricKind::Timer) => SampleValue::Timer(number(&needed(reserved.value)?)?),
            Some(MetricKind::Set) => SampleValue::Set(member(needed(reserved.value)?)?),
            Some(MetricKind::Trace) => SampleValue::Trace,
            None => return Err(reject(RejectReason::UnknownType, kind_offset, KNOWN_TYPES)),
        };
        let is_weighed = matches!(value, SampleValue::Counter(_) | SampleValue::Timer(_));
        let weight = if is_weighed { weight } else { 1.0 };
        Ok(Sample { name, value, weight, tags: Tags::new() })
    }

    fn value(&mut self) -> Result<JsonValue<'a>, Rejection> {
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

    fn skip_value(&mut self) -> Result<(), Rejection> {
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
        if self.peek() != Some(b'"') {
            return Err(self.bad_json("a key in quotes"));
        }
        self.string()?;
        self.blanks();
        match self.next() {
            Some(b':') => Ok(()),
            _ => Err(self.bad_json_before("`:`")),
        }
    }

    /// Parses a string, starting at its opening quote.
    fn string(&mut self) -> Result<Cow<'a, str>, Rejection> {
        let start = self.at + 1;
        self.at = plain_until(self.bytes, start);
        match self.peek() {
            Some(b'"') => {
                let text = &self.text[start..self.at];
                self.at += 1;
                Ok(Cow::Borrowed(text))
            }
            Some(b'\\') => self.escaped_string(start).map(Cow::Owned),
            _ => Err(self.bad_json("a closing quote")),
        }
    }

    /// Parses the rest of a string that has an escape at `self.at`.
    // Cold, so that it stays out of `string`: inlined, it takes registers from the loop that each
    // plain string runs through.
    #[cold]
    fn escaped_string(&mut self, start: usize) -> Result<String, Rejection> {
        let mut unescaped = String::from(&self.text[start..self.at]);
        loop {
            match self.next() {
                Some(b'"') => return Ok(unescaped),
                Some(b'\\') => {
                    unescaped.push(self.escape()?);
                    let plain = self.at;
                    self.at = plain_until(self.bytes, plain);
                    unescaped.push_str(&self.text[plain..self.at]);
                }
                _ => return Err(self.bad_json_before("a closing quote")),
            }
        }
    }

    /// Parses an escape after its backslash.
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

    /// Parses `XXXX` or `XXXX\uXXXX` after `\u`. Half of a pair is rejected: most likely, text was
    /// cut within a character.
    fn unicode_escape(&mut self) -> Result<char, Rejection> {
        let escape = self.at - 2;
        let first = self.hex()?;
        let code = match first {
            0xd800..0xdc00 => {
                // The position at which the other half should begin.
                let missing = reject(RejectReason::BadJson, self.at, SECOND_HALF);
                if !self.bytes[self.at..].starts_with(b"\\u") {
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
        let digits = self.bytes.get(self.at..self.at + 4).unwrap_or_default();
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

    /// Parses a number and returns its text.
    fn number(&mut self) -> Result<&'a str, Rejection> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            // JSON has no leading zeros. A digit after this one fails at the check for the end of
            // the value.
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
        Ok(&self.text[start..self.at])
    }

    fn digits(&mut self) -> Result<(), Rejection> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { Err(self.bad_json("a digit")) } else { Ok(()) }
    }

    fn word(&mut self, word: &'static str) -> Result<(), Rejection> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(())
        } else {
            Err(self.bad_json("a value"))
        }
    }

    fn end(&mut self) -> Result<(), Rejection> {
        self.blanks();
        if self.at == self.bytes.len() {
            Ok(())
        } else {
            Err(self.bad_json("nothing more on the line"))
        }
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(is_blank) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        // At the end of the text, this moves one byte too far, which `bad_json_before` takes into
        // account.
        let byte = self.peek();
        self.at += 1;
        byte
    }

    fn bad_json(&self, expected: &'static str) -> Rejection {
        reject(RejectReason::BadJson, self.at.min(self.bytes.len()), expected)
    }

    /// Rejects the byte that [`MessageParser::next`] has just consumed.
    fn bad_json_before(&self, expected: &'static str) -> Rejection {
        reject(RejectReason::BadJson, (self.at - 1).min(self.bytes.len()), expected)
    }
}

/// Finds the first byte from `start` that does not stand for itself in a string: a quote, a
/// backslash or a control character. Returns the end of `bytes` if there is none.
///
/// Strings are most of a message, so eight bytes are tested at a time. The subtraction may borrow
/// from the byte above a hit and make it look like another hit, so only the lowest hit is reliable;
/// no other is used.
fn plain_until(bytes: &[u8], start: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    const fn zeros(word: u64) -> u64 {
        word.wrapping_sub(ONES) & !word & HIGHS
    }
    let mut at = start;
    while let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*eight);
        let quotes = zeros(word ^ (ONES * u64::from(b'"')));
        let backslashes = zeros(word ^ (ONES * u64::from(b'\\')));
        let controls = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let hits = quotes | backslashes | controls;
        if hits != 0 {
            return at + hits.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    let hit = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
    at + hit.unwrap_or(rest.len())
}

/// The canonical words of all kinds; a test compares them with the table.
const KNOWN_TYPES: &str = "`trace`, `gauge`, `counter`, `timer` or `set`";

/// Expected after half of a surrogate pair.
pub const SECOND_HALF: &str = "the second half of a surrogate pair";
/// Expected before half of a surrogate pair.
pub const FIRST_HALF: &str = "the first half of a surrogate pair";

fn reject(reason: RejectReason, offset: usize, expected: &'static str) -> Rejection {
    Rejection { reason, offset, expected }
}

const fn closing(bracket: u8) -> u8 {
    if bracket == b'{' { b'}' } else { b']' }
}

fn number(value: &JsonValue<'_>) -> Result<f64, Rejection> {
    match &value.raw {
        RawJson::Number(text) => parse_finite(text),
        RawJson::String(text) => parse_finite(text),
        RawJson::Bool(_) | RawJson::Null | RawJson::Nested => None,
    }
    .ok_or_else(|| reject(RejectReason::BadValue, value.offset, "a finite number"))
}

fn gauge<'a>(value: &JsonValue<'_>) -> Result<SampleValue<'a>, Rejection> {
    let number = number(value)?;
    let is_delta = matches!(&value.raw, RawJson::String(text) if text.starts_with(['+', '-']));
    Ok(if is_delta { SampleValue::GaugeAdd(number) } else { SampleValue::GaugeSet(number) })
}

fn member(value: JsonValue<'_>) -> Result<Cow<'_, str>, Rejection> {
    match value.raw {
        RawJson::String(text) => Ok(text),
        RawJson::Number(text) => Ok(Cow::Borrowed(text)),
        RawJson::Bool(_) | RawJson::Null | RawJson::Nested => {
            Err(reject(RejectReason::BadValue, value.offset, "a string or a number"))
        }
    }
}

fn weight(sample_rate: Option<JsonValue<'_>>) -> Result<f64, Rejection> {
    let Some(value) = sample_rate else { return Ok(1.0) };
    number(&value).ok().and_then(weight_at).ok_or_else(|| {
        reject(RejectReason::BadSampleRate, value.offset, "a number greater than 0 and at most 1")
    })
}

#[cfg(test)]
mod tests;
