//! Removes credentials from replies: some servers repeat the request that they refuse, and their text
//! goes to the log and the status.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use httpclient::reqwest::header::{HeaderMap, HeaderValue};
use memchr::memmem;

/// The text that replaces a secret.
const MASK: &[u8] = b"***";
/// Shorter texts are not treated as secrets: they would match everywhere.
const SECRET_MIN: usize = 4;

/// The secrets of a request.
pub(super) struct Redaction(Vec<Vec<u8>>);

impl Redaction {
    /// The values of the headers that are marked as sensitive, and the parts of these values.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let sensitive = headers.values().filter(|value| value.is_sensitive());
        let mut secrets: Vec<Vec<u8>> = sensitive.flat_map(parts).collect();
        secrets.retain(|secret| secret.len() >= SECRET_MIN);
        // The longest first: one secret may contain another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self(secrets)
    }

    /// The text without the secrets.
    pub(super) fn redact(&self, text: Vec<u8>) -> Vec<u8> {
        self.0.iter().fold(text, |text, secret| replaced(text, secret))
    }

    /// [`Redaction::redact`] for a string.
    pub(super) fn redact_text(&self, text: String) -> String {
        String::from_utf8_lossy(&self.redact(text.into_bytes())).into_owned()
    }
}

/// `Basic` and base 64 of `user:password`, or a scheme and a token, or a value as it is.
fn parts(value: &HeaderValue) -> Vec<Vec<u8>> {
    let whole = value.as_bytes();
    let credentials = whole.rsplit(|byte| *byte == b' ').next().unwrap_or(whole);
    let decoded = BASE64_STANDARD.decode(credentials).ok().filter(|_| whole.starts_with(b"Basic "));
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
