//! The probable intention behind an error.

use model::METRIC_WORDS;
use serde_json::{Map, Value};

use super::Advice;
use super::other_protocol;
use crate::listener::Protocol;
use crate::protocol::json::{FIRST_HALF, SECOND_HALF};
use crate::protocol::{RejectReason, Rejection, parse_finite};
use yaml::nearest;

/// Predefined keys, which cannot be misspellings of another key.
const MEANINGFUL: [&str; 6] =
    ["metric_name", "metric_type", "value", "sample_rate", "tags", "timestamp"];

/// Advice on a rejection; `rest` is the message from the offset on, `token` the token at the offset.
pub(super) fn advice(
    protocol: Protocol,
    rest: &[u8],
    token: &[u8],
    rejection: &Rejection,
) -> Option<Advice> {
    let text = token_text(token);
    match rejection.reason {
        RejectReason::UnknownType => known_type(protocol, &text),
        RejectReason::MissingName => key(rest, "metric_name", &["name", "metric"]),
        RejectReason::MissingType => key(rest, "metric_type", &["type", "kind"]),
        RejectReason::MissingValue => key(rest, "value", &["count", "val", "v"]),
        RejectReason::BadValue => number(&text),
        RejectReason::BadSampleRate => sample_rate(&text),
        RejectReason::BadJson => json(token, rejection.expected),
        RejectReason::NestedTag => Some(plain("make a tag of each part")),
        _ => None,
    }
}

/// Advice on a message of another protocol.
pub(super) fn redirected(other: Protocol, redirect: &str) -> Advice {
    plain(format!("this is a {}: {redirect}", other_protocol::name(other)))
}

/// Advice on the first message of a TLS client.
pub(super) fn tls() -> Advice {
    plain("this looks like a TLS handshake: send without TLS, or add `tls` to the listener")
}

fn plain(words: impl Into<String>) -> Advice {
    Advice { nearest: None, words: words.into() }
}

fn meant(word: &str, shown: &str) -> Advice {
    Advice { nearest: Some(word.to_owned()), words: format!("did you mean {shown}?") }
}

/// A token as text: a string without its quotes.
fn token_text(token: &[u8]) -> String {
    serde_json::from_slice::<String>(token)
        .unwrap_or_else(|_| String::from_utf8_lossy(token).into_owned())
}

fn known_type(protocol: Protocol, word: &str) -> Option<Advice> {
    let types = match protocol {
        Protocol::Json => json_types(),
        Protocol::Statsd => statsd_types(),
    };
    let words: Vec<&str> = types.iter().map(|(word, _)| *word).collect();
    let found = nearest(word, &words)?;
    let (_, right) = types.iter().find(|(word, _)| *word == found)?;
    let shown = match protocol {
        Protocol::Json => format!("\"{right}\""),
        Protocol::Statsd => format!("`{right}`"),
    };
    Some(meant(right, &shown))
}

/// A word for a type, and the word that the protocol has for it.
type TypeWord = (&'static str, &'static str);

/// The words for types of JSON messages, the canonical ones first: the first of equally near words
/// wins.
fn json_types() -> Vec<TypeWord> {
    let canonical = METRIC_WORDS.iter().map(|words| (words.word, words.word));
    let others = METRIC_WORDS.iter().flat_map(|words| {
        let aliases = words.aliases().map(|alias| alias.word);
        aliases.chain(words.statsd.iter().copied()).map(|word| (word, words.word))
    });
    canonical.chain(others).collect()
}

/// The words for types of statsd lines, the accepted ones first.
fn statsd_types() -> Vec<TypeWord> {
    let accepted = METRIC_WORDS.iter().flat_map(|words| words.statsd).map(|word| (*word, *word));
    let others = METRIC_WORDS.iter().flat_map(|words| {
        let canonical = words.statsd.first().map(|statsd| (words.word, *statsd));
        canonical.into_iter().chain(words.aliases().map(|alias| (alias.word, alias.statsd)))
    });
    accepted.chain(others).collect()
}

/// The key that a message has in place of a missing one.
fn key(rest: &[u8], wanted: &str, others: &[&str]) -> Option<Advice> {
    let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<Map<String, Value>>();
    let members = values.next()?.ok()?;
    let is_another = |key: &&String| others.contains(&key.as_str());
    let is_near =
        |key: &&String| !MEANINGFUL.contains(&key.as_str()) && nearest(key, &[wanted]).is_some();
    let found = members.keys().find(is_another).or_else(|| members.keys().find(is_near))?;
    Some(meant(wanted, &format!("`{wanted}` instead of `{found}`")))
}

/// The number in a text that has blanks, a decimal comma or a unit.
fn number(text: &str) -> Option<Advice> {
    let text = text.trim().replace(',', ".");
    let bare = text.trim_end_matches(|c: char| c.is_alphabetic() || matches!(c, '%' | ' ' | 'µ'));
    let found = [text.as_str(), bare].into_iter().find(|text| parse_finite(text).is_some())?;
    Some(meant(found, found))
}

fn sample_rate(text: &str) -> Option<Advice> {
    let rate = parse_finite(text).filter(|rate| *rate > 1.0)?;
    let right = rate.recip().to_string();
    Some(Advice {
        words: format!("did you mean {right}, for one in {rate}?"),
        nearest: Some(right),
    })
}

fn json(token: &[u8], expected: &str) -> Option<Advice> {
    if [FIRST_HALF, SECOND_HALF].contains(&expected) {
        return Some(plain(
            "a text was cut within a character, such as an emoji: cut it between characters",
        ));
    }
    Some(match token {
        b"" => plain("the message ends here: it must be on one line"),
        b"True" => meant("true", "true"),
        b"False" => meant("false", "false"),
        b"None" | b"nil" | b"undefined" => meant("null", "null"),
        b"NaN" | b"nan" | b"Infinity" | b"-Infinity" | b"inf" | b"-inf" => {
            plain("JSON has neither NaN nor infinity")
        }
        [b'\'', ..] => plain("JSON strings need double quotes"),
        [b'}'] if expected == "a key in quotes" => plain("remove the comma before it"),
        [b']'] if expected == "a value" => plain("remove the comma before it"),
        [b'{'] if expected.starts_with("nothing more") => plain("put each message on its own line"),
        _ => return None,
    })
}
