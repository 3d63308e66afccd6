//! Removes credentials from replies. Some servers repeat the request that they refuse, and their
//! text is shown in the log and the status.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use httpclient::reqwest::header::{HeaderMap, HeaderValue};
use memchr::memmem;

/// The text that replaces a secret.
const MASK: &[u8] = b"***";
/// Shortest secret, in bytes. Shorter texts would match everywhere in a reply.
const SECRET_MIN: usize = 4;

/// The secrets of a request.
#[derive(Clone, Default)]
pub(super) struct Redaction(Vec<Vec<u8>>);

/// Without the secrets.
impl fmt::Debug for Redaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redaction({})", self.0.len())
    }
}

impl Redaction {
    /// The secrets in the headers that are marked as sensitive: their values, and parts of these.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let sensitive = headers.values().filter(|value| value.is_sensitive());
        let mut secrets: Vec<Vec<u8>> = sensitive.flat_map(parts).collect();
        secrets.retain(|secret| secret.len() >= SECRET_MIN);
        // The longest first: a secret that is masked inside a longer one would leave the rest of
        // it.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self(secrets)
    }

    /// Replaces the secrets in a text.
    pub(super) fn redact(&self, text: Vec<u8>) -> Vec<u8> {
        self.0.iter().fold(text, |text, secret| replaced(text, secret))
    }

    /// Overwrites the secrets in a message whose parts have lengths, such as one of protobuf. Its size
    /// stays the same: with a shorter text, it could not be decoded.
    pub(super) fn redact_binary(&self, mut message: Vec<u8>) -> Vec<u8> {
        for secret in &self.0 {
            let found: Vec<usize> = memmem::find_iter(&message, secret).collect();
            for at in found {
                message[at..at + secret.len()].fill(MASK[0]);
            }
        }
        message
    }

    /// [`Redaction::redact`] for a string.
    pub(super) fn redact_text(&self, text: String) -> String {
        String::from_utf8_lossy(&self.redact(text.into_bytes())).into_owned()
    }
}

/// The secrets in the value of a header: the value itself, its credentials without the scheme, and
/// the password in `Basic` credentials.
fn parts(value: &HeaderValue) -> Vec<Vec<u8>> {
    let whole = value.as_bytes();
    // The last word: a value without a scheme has only one.
    let credentials = whole.rsplit(|byte| *byte == b' ').next().unwrap_or(whole);
    let decoded = BASE64_STANDARD.decode(credentials).ok().filter(|_| whole.starts_with(b"Basic "));
    // Not the user: it is no secret, and helps to find a wrong account.
    let password = decoded.and_then(|both| {
        let colon = memchr::memchr(b':', &both)?;
        Some(both[colon + 1..].to_vec())
    });
    [Some(credentials.to_vec()), password, Some(whole.to_vec())].into_iter().flatten().collect()
}

fn replaced(text: Vec<u8>, secret: &[u8]) -> Vec<u8> {
    let mut rest = 0;
    let mut redacted = Vec::new();
    for at in memmem::find_iter(&text, secret) {
        redacted.extend_from_slice(&text[rest..at]);
        redacted.extend_from_slice(MASK);
        rest = at + secret.len();
    }
    if rest == 0 {
        return text;
    }
    redacted.extend_from_slice(&text[rest..]);
    redacted
}

#[cfg(test)]
mod tests {
    use httpclient::reqwest::header::{AUTHORIZATION, COOKIE, USER_AGENT};

    use super::*;

    fn sensitive(text: &str) -> HeaderValue {
        let mut value = HeaderValue::from_str(text).unwrap();
        value.set_sensitive(true);
        value
    }

    #[test]
    fn a_binary_message_keeps_its_length() {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, sensitive("s3cret"));
        let redaction = Redaction::of(&headers);
        let message = b"\x0a\x08a s3cret\xff".to_vec();
        assert_eq!(redaction.redact_binary(message), b"\x0a\x08a ******\xff");
        assert!(!format!("{redaction:?}").contains("s3cret"));
    }

    #[test]
    fn credentials_in_a_reply_are_redacted_and_the_rest_stays() {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, sensitive("Basic dXNlcjpodW50ZXIy"));
        headers.insert(COOKIE, sensitive("s3cret"));
        headers.insert(USER_AGENT, HeaderValue::from_static("tallyd"));
        let redaction = Redaction::of(&headers);
        let reply =
            "tallyd: user with hunter2 (Basic dXNlcjpodW50ZXIy, dXNlcjpodW50ZXIy), s3crets3cret";
        assert_eq!(
            redaction.redact_text(reply.to_owned()),
            "tallyd: user with *** (***, ***), ******"
        );
        assert_eq!(redaction.redact(b"nothing \xff".to_vec()), b"nothing \xff");
    }

    #[test]
    fn a_token_is_redacted_with_and_without_its_scheme_and_a_short_text_is_not() {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, sensitive("Token abcdef"));
        headers.insert(COOKIE, sensitive("x"));
        let redaction = Redaction::of(&headers);
        assert_eq!(redaction.redact_text("Token abcdef, abcdef, x".into()), "***, ***, x");
    }
}
