//! Headers from a configuration, such as the credentials of a proxy.

use std::collections::BTreeMap;

use super::header::{HeaderMap, HeaderName, HeaderValue};
use basics::text::Secret;

/// Headers that the HTTP client sets, or that are about the connection and not the request. A second
/// header with such a name could contradict the first, so that servers disagree on the request's end.
const MANAGED: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Adds configured headers to those that each request has anyway.
///
/// # Errors
/// The rest of a sentence that begins with the key of the headers, if one cannot be sent or is set by
/// tallyd itself.
pub(crate) fn add_configured(
    headers: &mut HeaderMap,
    configured: &BTreeMap<String, Secret>,
) -> Result<(), String> {
    for (name, value) in configured {
        let wrong =
            || format!("has `{name}`, which is not a header name, or whose value is not valid");
        let key: HeaderName = name.parse().map_err(|_| wrong())?;
        if headers.contains_key(&key) || MANAGED.contains(&key.as_str()) {
            return Err(format!("has `{name}`, which tallyd sets itself"));
        }
        let mut value = HeaderValue::from_str(value.reveal()).map_err(|_| wrong())?;
        // Keeps the value out of debug output, and marks it for the redaction of replies.
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    Ok(())
}
