//! A server's reply, and what it means for the data that was sent.

use std::fmt;
use std::time::Duration;

use hyper::StatusCode;
use serde::Deserialize;

use crate::forwarder::SendError;

/// Most characters of a server's words that log and status repeat.
const WORDS_CHARS_MAX: usize = 300;

/// A reply, cut to a bounded size.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// How long the server asks to wait.
    pub retry_after: Option<Duration>,
    /// Where a redirect points to.
    pub location: Option<String>,
    /// What its body is.
    pub content_type: Option<String>,
    /// The body, or as much of it as was asked for: 64 KiB of what a server says to what it was sent.
    pub body: Vec<u8>,
    /// Whether there was more of it.
    pub is_cut: bool,
    /// What was asked, without its parameters.
    pub(super) asked: String,
}

/// How to go on after a status. What is not known to be final is never dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The server has the data.
    Done,
    /// The server refuses the data for its content: it will never take it as it is.
    Content,
    /// The request is too large: smaller ones may pass.
    TooLarge,
    /// The server is away or busy: the same request may pass later.
    Transient,
    /// Somebody has to change something first, here or there.
    Operator,
}

impl Verdict {
    /// Judges a status.
    #[must_use]
    pub fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            200..=299 => Self::Done,
            400 | 422 => Self::Content,
            413 => Self::TooLarge,
            408 | 425 | 429 => Self::Transient,
            // The server does not know the method, or the version of HTTP: it is another server.
            501 | 505 => Self::Operator,
            500..=599 => Self::Transient,
            // Redirects, credentials, a wrong path: all of it is in the configuration, here or
            // there, and none of it in the data.
            _ => Self::Operator,
        }
    }
}

/// The members in which servers put the reason of an error.
#[derive(Deserialize)]
struct ErrorBody {
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

impl Reply {
    /// A reply without a body, for tests.
    #[cfg(test)]
    pub(crate) fn of(status: StatusCode) -> Self {
        Self {
            status,
            retry_after: None,
            location: None,
            content_type: None,
            body: Vec::new(),
            is_cut: false,
            asked: "http://eu:8086/write".to_owned(),
        }
    }

    /// What the status means.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        Verdict::of(self.status)
    }

    /// The reason that the server gives: member `error` or `message` of a JSON body, or a body that
    /// is text. Empty when there is none, and for a page for browsers.
    #[must_use]
    pub fn reason(&self) -> String {
        if let Ok(ErrorBody { error, message }) = serde_json::from_slice(&self.body) {
            return error.or(message).unwrap_or_default();
        }
        let text = String::from_utf8_lossy(&self.body);
        if text.trim_start().starts_with('<') { String::new() } else { text.trim().to_owned() }
    }

    /// Status and reason for people: on one line, cut, nothing in it that a terminal would act on.
    #[must_use]
    pub fn words(&self) -> String {
        let mut words = format!("{} from {}", self.status, self.asked);
        if let Some(location) = &self.location
            && self.status.is_redirection()
        {
            words.push_str(", which points to ");
            words.push_str(&one_line(location));
        }
        let reason = one_line(&self.reason());
        if !reason.is_empty() {
            words.push_str(": ");
            words.push_str(&reason);
        }
        words
    }

    /// The error for a reply after which the data is kept. `unit` is a random number from 0 to 1:
    /// hosts that were told to wait equally long must not all come back in the same moment.
    #[must_use]
    pub fn into_error(self, verdict: Verdict, unit: f64) -> SendError {
        let words = self.words();
        match verdict {
            Verdict::Transient => {
                let jitter = 1.0 + unit.clamp(0.0, 1.0) / 4.0;
                SendError::transient_after(words, self.retry_after.map(|at| at.mul_f64(jitter)))
            }
            Verdict::Operator | Verdict::Done | Verdict::Content | Verdict::TooLarge => {
                SendError::operator(words)
            }
        }
    }
}

/// Text from outside on one line, cut.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for (count, char) in text.trim().chars().enumerate() {
        if count == WORDS_CHARS_MAX {
            line.push('…');
            break;
        }
        line.push(if char.is_control() { ' ' } else { char });
    }
    line
}

impl fmt::Display for Reply {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.words())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forwarder::ErrorClass;

    fn reply(status: u16, body: &str) -> Reply {
        let mut reply = Reply::of(StatusCode::from_u16(status).unwrap());
        reply.body = body.as_bytes().to_vec();
        reply
    }

    #[test]
    fn every_status_has_its_verdict() {
        for (statuses, verdict) in [
            (&[200, 202, 204][..], Verdict::Done),
            (&[400, 422], Verdict::Content),
            (&[413], Verdict::TooLarge),
            (&[408, 425, 429, 500, 502, 503, 504, 507, 599], Verdict::Transient),
            (
                &[301, 302, 307, 308, 401, 403, 404, 405, 407, 410, 411, 415, 431, 501, 505],
                Verdict::Operator,
            ),
        ] {
            for status in statuses {
                assert_eq!(reply(*status, "").verdict(), verdict, "{status}");
            }
        }
    }

    #[test]
    fn the_reason_is_found_where_servers_put_it() {
        for (body, reason) in [
            (r#"{"error":"database not found: \"nope\""}"#, r#"database not found: "nope""#),
            (
                r#"{"code":"invalid","message":"writing requires points"}"#,
                "writing requires points",
            ),
            ("404 page not found\n", "404 page not found"),
            ("<html><h1>413 Request Entity Too Large</h1></html>", ""),
            ("", ""),
            ("{}", ""),
            ("\u{fffd}", "\u{fffd}"),
        ] {
            assert_eq!(reply(400, body).reason(), reason, "{body}");
        }
    }

    #[test]
    fn words_are_one_bounded_line() {
        let long = format!("{{\"error\":\"a\\nb\\u001b[31m{}\"}}", "x".repeat(70_000));
        let words = reply(400, &long).words();
        assert!(words.starts_with("400 Bad Request from http://eu:8086/write: a b [31mxx"));
        assert!(words.chars().count() < 400 && !words.contains(['\n', '\u{1b}']), "{words}");
    }

    #[test]
    fn a_redirect_says_where_to() {
        let mut reply = reply(307, "");
        reply.location = Some("https://eu/write".into());
        let words = reply.words();
        assert!(
            words.ends_with("http://eu:8086/write, which points to https://eu/write"),
            "{words}"
        );
    }

    #[test]
    fn a_pause_that_the_server_asks_for_gets_longer_by_chance_and_never_shorter() {
        for (unit, millis) in [(0.0, 2000), (0.5, 2250), (1.0, 2500)] {
            let mut reply = reply(503, "");
            reply.retry_after = Some(Duration::from_secs(2));
            let after = Some(Duration::from_millis(millis));
            let error = reply.into_error(Verdict::Transient, unit);
            assert_eq!(error.class(), ErrorClass::Transient { after });
        }
    }
}
