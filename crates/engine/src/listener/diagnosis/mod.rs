//! Explains a rejected message to its author: the place of the error, the token there, and the
//! probable intention.
//!
//! A listener only notes a [`Rejection`], because rejected messages may come by the million. The daemon
//! asks for [`advice`] on the few that it shows.

use std::fmt;

use crate::listener::Protocol;
use crate::protocol::{RejectReason, Rejection};
use basics::escape::escaped;

mod advice;
mod other_protocol;
mod place;
pub(crate) mod signature;

/// Bytes that an excerpt shows before and after the place.
const SHOWN_BEFORE: usize = 48;
const SHOWN_BEHIND: usize = 32;
/// Characters of the token that are shown.
const GOT_CHARS_MAX: usize = 40;

/// A rejection with its context. Displayed, it is one sentence, safe for a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// The rejection as the daemon notes it.
    pub rejection: Rejection,
    /// The JSON Pointer (RFC 6901) to the value, as far as the text can be parsed; empty for the whole
    /// message.
    pub pointer: Option<String>,
    /// The token at the offset, escaped; `None` where something is missing.
    pub got: Option<String>,
    /// Advice.
    pub advice: Option<Advice>,
}

/// The probable intention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// The nearest valid word, if one is near.
    pub nearest: Option<String>,
    /// The same as a clause.
    pub words: String,
}

impl Diagnosis {
    /// Examines a rejected message: a line or a whole array, which the offset is into. `redirect` says
    /// how to send a message of this other protocol.
    #[must_use]
    pub fn of(
        protocol: Protocol,
        message: &[u8],
        rejection: Rejection,
        redirect: &dyn Fn(Protocol) -> String,
    ) -> Self {
        let offset = rejection.offset.min(message.len());
        let pointer = (protocol == Protocol::Json).then(|| place::pointer(message, offset));
        let token = place::token(protocol, message, offset);
        let is_missing = matches!(
            rejection.reason,
            RejectReason::MissingName | RejectReason::MissingType | RejectReason::MissingValue
        );
        let got = (!is_missing).then(|| got(protocol, &token));
        let advice = advice_at(protocol, message, &token, rejection, redirect);
        Self { rejection, pointer, got, advice }
    }

    /// The text around the place, and a line with a mark below it.
    #[must_use]
    pub fn excerpt(&self, message: &[u8]) -> [String; 2] {
        let offset = self.rejection.offset.min(message.len());
        let is_boundary = |at: &usize| message.get(*at).is_none_or(|byte| byte & 0xc0 != 0x80);
        let start = (0..=offset.saturating_sub(SHOWN_BEFORE)).rev().find(is_boundary);
        let end = (offset.saturating_add(SHOWN_BEHIND)..message.len()).find(is_boundary);
        let (start, end) = (start.unwrap_or(0), end.unwrap_or(message.len()));
        let before = escaped(&message[start..offset]);
        let mark = format!("{}^", " ".repeat(before.chars().count()));
        [before + &escaped(&message[offset..end]), mark]
    }
}

/// The advice on a rejected message, see [`Diagnosis::of`].
#[must_use]
pub fn advice(
    protocol: Protocol,
    message: &[u8],
    rejection: Rejection,
    redirect: &dyn Fn(Protocol) -> String,
) -> Option<Advice> {
    let token = place::token(protocol, message, rejection.offset.min(message.len()));
    advice_at(protocol, message, &token, rejection, redirect)
}

fn advice_at(
    protocol: Protocol,
    message: &[u8],
    token: &[u8],
    rejection: Rejection,
    redirect: &dyn Fn(Protocol) -> String,
) -> Option<Advice> {
    if other_protocol::is_tls(message) {
        return Some(advice::tls());
    }
    if let Some(words) = signature::advice(message, rejection.reason) {
        return Some(Advice { nearest: None, words: words.to_owned() });
    }
    if let Some(other) = other_protocol::of(protocol, message, rejection.reason) {
        return Some(advice::redirected(other, &redirect(other)));
    }
    let rest = &message[rejection.offset.min(message.len())..];
    advice::advice(protocol, rest, token, &rejection)
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rejection { reason, offset, expected } = self.rejection;
        write!(formatter, "{} at byte {offset}", reason.as_str())?;
        if let Some(pointer) = self.pointer.as_ref().filter(|pointer| !pointer.is_empty()) {
            write!(formatter, " ({})", escaped(pointer.as_bytes()))?;
        }
        write!(formatter, ": expected {expected}")?;
        if let Some(got) = &self.got {
            write!(formatter, ", got {got}")?;
        }
        if let Some(advice) = &self.advice {
            write!(formatter, "; {}", escaped(advice.words.as_bytes()))?;
        }
        Ok(())
    }
}

fn got(protocol: Protocol, token: &[u8]) -> String {
    match (protocol, token.first()) {
        (_, None) => return "the end".to_owned(),
        (Protocol::Json, Some(b'{')) => return "an object".to_owned(),
        (Protocol::Json, Some(b'[')) => return "an array".to_owned(),
        _ => {}
    }
    let shown = escaped(token);
    if shown.chars().count() <= GOT_CHARS_MAX {
        return shown;
    }
    shown.chars().take(GOT_CHARS_MAX).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::MessageLimits;

    /// The diagnosis of the one message in `text`.
    fn said(protocol: Protocol, text: &str) -> String {
        let mut said = Vec::new();
        protocol.decode(text.as_bytes(), &MessageLimits::default(), &mut |message| {
            if let Err(rejection) = message {
                let diagnosis = Diagnosis::of(protocol, text.as_bytes(), rejection, &|other| {
                    format!("send it as {}", other.as_str())
                });
                let [_, mark] = diagnosis.excerpt(text.as_bytes());
                assert!(mark.ends_with('^'));
                said.push(diagnosis.to_string());
            }
        });
        assert_eq!(said.len(), 1, "{text}: {said:?}");
        said.remove(0)
    }

    #[test]
    fn a_rejected_json_message_gets_a_position_and_a_suggestion() {
        for (message, told) in [
            (
                r#"{"metric_name": "m", "metric_type": "timr", "value": 1}"#,
                "unknown_type at byte 36 (/metric_type): expected `trace`, `gauge`, `counter`, \
                 `timer` or `set`, got \"timr\"; did you mean \"timer\"?",
            ),
            (
                r#"{"metricName": "m", "metric_type": "trace"}"#,
                "missing_name at byte 0: expected `metric_name`; did you mean `metric_name` instead \
                 of `metricName`?",
            ),
            (
                r#"{"metric_name": "m", "type": "trace"}"#,
                "missing_type at byte 0: expected `metric_type`; did you mean `metric_type` instead \
                 of `type`?",
            ),
            (
                r#"{"metric_name": "m", "metric_type": "gauge", "count": 1}"#,
                "missing_value at byte 0: expected `value`; did you mean `value` instead of \
                 `count`?",
            ),
            (
                r#"[{"metric_name": "m", "metric_type": "gauge", "value": "1,5"}]"#,
                "bad_value at byte 55 (/0/value): expected a finite number, got \"1,5\"; did you mean \
                 1.5?",
            ),
            (
                r#"{"metric_name": "m", "metric_type": "timer", "value": "12ms"}"#,
                "bad_value at byte 54 (/value): expected a finite number, got \"12ms\"; did you mean \
                 12?",
            ),
            (
                r#"{"metric_name": "m", "metric_type": "counter", "sample_rate": 10}"#,
                "bad_sample_rate at byte 62 (/sample_rate): expected a number greater than 0 and at \
                 most 1, got 10; did you mean 0.1, for one in 10?",
            ),
            (
                r#"{"metric_name": "m", "metric_type": "trace", "tags": {"a/b~": [1]}}"#,
                "nested_tag at byte 62 (/tags/a~1b~0): expected a string, number, boolean or null as \
                 a tag's value, got an array; make a tag of each part",
            ),
            (
                "{'metric_name': 'm'}",
                "bad_json at byte 1: expected a key in quotes, got 'metric_name'; JSON strings \
                 need double quotes",
            ),
            (
                r#"{"metric_name": "m", "ok": True}"#,
                "bad_json at byte 27 (/ok): expected a value, got True; did you mean true?",
            ),
            (
                r#"{"metric_name": "m","#,
                "bad_json at byte 20: expected a key in quotes, got the end; the message ends here: \
                 it must be on one line",
            ),
            (
                r#"{"metric_name": "m", }"#,
                "bad_json at byte 21: expected a key in quotes, got }; remove the comma before it",
            ),
            (
                r#"{"metric_name": "m", "value": }"#,
                "bad_json at byte 30 (/value): expected a value, got }",
            ),
            (r#"{"a": "\x"}"#, "bad_json at byte 8 (/a): expected a valid JSON escape, got x"),
            (
                r#"[{"metric_name": "m", "metric_type": "trace"}, {"a": "\ud83d"}]"#,
                "bad_json at byte 60 (/1/a): expected the second half of a surrogate pair, got \"; a \
                 text was cut within a character, such as an emoji: cut it between characters",
            ),
            (
                r#"{"a": "\u12"}"#,
                "bad_json at byte 9 (/a): expected four hexadecimal digits, got 12",
            ),
            (
                "page.views:1|c",
                "bad_json at byte 0: expected a value, got page.views; this is a statsd line: send it \
                 as statsd",
            ),
            (
                "5xx:1|c|#a:b",
                "bad_json at byte 1: expected nothing more on the line, got xx; this is a statsd \
                 line: send it as statsd",
            ),
            (
                "_e{5,4}:title|text",
                "bad_json at byte 0: expected a value, got _e; this is a statsd line: send it as statsd",
            ),
            (
                "\u{16}\u{3}\u{1}\u{2}",
                "bad_json at byte 0: expected a value, got \\u{16}\\u{3}\\u{1}\\u{2}; this looks like a \
                 TLS handshake: send without TLS, or add `tls` to the listener",
            ),
            ("42", "not_an_object at byte 0: expected an object, got 42"),
        ] {
            assert_eq!(said(Protocol::Json, message), told, "{message}");
        }
    }

    #[test]
    fn a_rejected_statsd_line_gets_a_position_and_a_suggestion() {
        for (line, told) in [
            ("a[k=v:1|c", "bad_line at byte 1: expected `]` after the tags, before `:`, got [k=v"),
            (
                "page.views:1|counter",
                "unknown_type at byte 13: expected `c`, `g`, `ms`, `h`, `d` or `s`, got counter; did \
                 you mean `c`?",
            ),
            (
                "page.views:1,5|c",
                "bad_value at byte 11: expected a finite number, got 1,5; did you mean 1.5?",
            ),
            (
                r#"{"metric_name": "m", "metric_type": "trace"}"#,
                "bad_line at byte 44: expected `|` and a type, got the end; this is a JSON message: send \
                 it as json",
            ),
            ("page.views", "bad_line at byte 10: expected `:` and a value, got the end"),
            (
                "page.views:1|c|@5",
                "bad_sample_rate at byte 16: expected a number greater than 0 and at most 1, got 5; \
                 did you mean 0.2, for one in 5?",
            ),
        ] {
            assert_eq!(said(Protocol::Statsd, line), told, "{line}");
        }
    }

    #[test]
    fn control_characters_of_a_message_do_not_reach_a_terminal() {
        let message = "{\"\u{1b}[31m\": [\u{1b}";
        for offset in 0..=message.len() {
            let rejection = Rejection { reason: RejectReason::BadJson, offset, expected: "x" };
            let redirect = |_| String::new();
            let diagnosis = Diagnosis::of(Protocol::Json, message.as_bytes(), rejection, &redirect);
            let shown = format!("{diagnosis} {:?}", diagnosis.excerpt(message.as_bytes()));
            assert!(!shown.contains('\u{1b}'), "{shown}");
        }
    }
}
