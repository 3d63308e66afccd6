//! The place of an offset in a message. The text before it is valid; the rest need not be JSON.

use crate::listener::Protocol;

/// A container around the offset.
enum JsonLevel<'a> {
    /// With its latest key, in quotes.
    Object {
        key: Option<&'a [u8]>,
        is_key_next: bool,
    },
    Array {
        index: usize,
    },
}

/// The JSON Pointer to the value at `offset`, or to the latest one before it.
pub(super) fn pointer(message: &[u8], offset: usize) -> String {
    let mut levels = Vec::new();
    let mut at = 0;
    while at < offset {
        let end = if message[at] == b'"' { string_end(message, at) } else { at + 1 };
        match (message[at], levels.last_mut()) {
            (b'{', _) => levels.push(JsonLevel::Object { key: None, is_key_next: true }),
            (b'[', _) => levels.push(JsonLevel::Array { index: 0 }),
            (b'}' | b']', _) => drop(levels.pop()),
            (b',', Some(JsonLevel::Array { index })) => *index += 1,
            (b',', Some(JsonLevel::Object { key, is_key_next })) => {
                (*key, *is_key_next) = (None, true);
            }
            (b'"', Some(JsonLevel::Object { key, is_key_next: is_key_next @ true })) => {
                (*key, *is_key_next) = (Some(&message[at..end]), false);
            }
            _ => {}
        }
        at = end;
    }
    // The error may be in a key.
    if let Some(JsonLevel::Object { key, is_key_next: true }) = levels.last_mut()
        && at == offset
        && message.get(at) == Some(&b'"')
    {
        *key = Some(&message[at..string_end(message, at)]);
    }
    levels.iter().map_while(step).collect()
}

/// The token at `offset`: a word, a number, a string with its quotes, or a bracket.
pub(super) fn token(protocol: Protocol, message: &[u8], offset: usize) -> Vec<u8> {
    let rest = &message[offset..];
    let quoted = |quote: u8| {
        let length = rest[1..].iter().position(|byte| *byte == quote);
        length.map_or(rest.len(), |length| length + 2)
    };
    let end = match (protocol, rest.first()) {
        (_, None) => 0,
        // A quote here ends the string, and does not begin one.
        (Protocol::Json, Some(_)) if is_in_string(message, offset) => {
            ends_before(rest, b" \t\r\n,:{}[]\"\\").max(1)
        }
        (Protocol::Json, Some(b'"')) => string_end(rest, 0),
        (Protocol::Json, Some(b'\'')) => quoted(b'\''),
        (Protocol::Json, Some(b'{' | b'[' | b'}' | b']' | b',' | b':')) => 1,
        (Protocol::Json, Some(_)) => ends_before(rest, b" \t\r\n,:{}[]\""),
        (Protocol::Statsd, Some(_)) => ends_before(rest, b"|:\n"),
    };
    rest[..end].to_vec()
}

fn ends_before(rest: &[u8], stops: &[u8]) -> usize {
    rest.iter().position(|byte| stops.contains(byte)).unwrap_or(rest.len())
}

/// Whether a string begins before `offset` and does not end before it.
fn is_in_string(message: &[u8], offset: usize) -> bool {
    let mut at = 0;
    while at < offset {
        at = if message[at] == b'"' { string_end(message, at) } else { at + 1 };
    }
    at > offset
}

/// The offset after the closing quote of a string that starts at `start`, or the end of the message.
fn string_end(message: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = message.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    message.len()
}

fn step(level: &JsonLevel<'_>) -> Option<String> {
    match level {
        JsonLevel::Array { index } => Some(format!("/{index}")),
        JsonLevel::Object { key, .. } => {
            let quoted = (*key)?;
            let key = serde_json::from_slice::<String>(quoted)
                .unwrap_or_else(|_| String::from_utf8_lossy(quoted).into_owned());
            Some(format!("/{}", key.replace('~', "~0").replace('/', "~1")))
        }
    }
}
