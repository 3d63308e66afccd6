//! Takes credentials out of what a server says: some repeat the request that they complain of, and
//! their words go to log and status.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{HeaderMap, HeaderValue};
use memchr::memmem;

/// What stands in their place.
const MASK: &[u8] = b"***";
/// A shorter text is no secret, and would be found everywhere.
const SECRET_MIN: usize = 4;

/// The secrets of a request.
pub(super) struct Veil(Vec<Vec<u8>>);

impl Veil {
    /// Of the headers that are marked as sensitive: their values, and what these are made of.
    pub(super) fn over(headers: &HeaderMap) -> Self {
        let sensitive = headers.values().filter(|value| value.is_sensitive());
        let mut secrets: Vec<Vec<u8>> = sensitive.flat_map(parts).collect();
        secrets.retain(|secret| secret.len() >= SECRET_MIN);
        // The longest first: one may be in another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self(secrets)
    }

    /// The text without them.
    pub(super) fn hide(&self, text: Vec<u8>) -> Vec<u8> {
        self.0.iter().fold(text, |text, secret| replaced(text, secret))
    }

    /// The same of a text.
    pub(super) fn hide_in(&self, text: String) -> String {
        String::from_utf8_lossy(&self.hide(text.into_bytes())).into_owned()
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
    let mut hidden = Vec::new();
    for at in memmem::find_iter(&text, secret) {
        hidden.extend_from_slice(&text[rest..at]);
        hidden.extend_from_slice(MASK);
        rest = at + secret.len();
    }
    if rest == 0 {
        return text;
    }
    hidden.extend_from_slice(&text[rest..]);
    hidden
}

#[cfg(test)]
mod tests {
    use hyper::header::{AUTHORIZATION, COOKIE, USER_AGENT};

    use super::*;

    fn sensitive(text: &str) -> HeaderValue {
        let mut value = HeaderValue::from_str(text).unwrap();
        value.set_sensitive(true);
        value
    }

    #[test]
    fn what_a_server_repeats_of_credentials_is_hidden_and_the_rest_stays() {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, sensitive("Basic dXNlcjpodW50ZXIy"));
        headers.insert(COOKIE, sensitive("s3cret"));
        headers.insert(USER_AGENT, HeaderValue::from_static("tallyd"));
        let veil = Veil::over(&headers);
        let said =
            "tallyd: user with hunter2 (Basic dXNlcjpodW50ZXIy, dXNlcjpodW50ZXIy), s3crets3cret";
        assert_eq!(veil.hide_in(said.to_owned()), "tallyd: user with *** (***, ***), ******");
        assert_eq!(veil.hide(b"nothing \xff".to_vec()), b"nothing \xff");
    }

    #[test]
    fn a_token_is_hidden_with_and_without_its_scheme_and_a_short_text_is_no_secret() {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, sensitive("Token abcdef"));
        headers.insert(COOKIE, sensitive("x"));
        let veil = Veil::over(&headers);
        assert_eq!(veil.hide_in("Token abcdef, abcdef, x".into()), "***, ***, x");
    }
}
