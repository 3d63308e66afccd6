//! Decides whether a reply whose status is a success acknowledges the data.
//!
//! A status of 2xx alone proves nothing: login pages, captive portals and gateways answer any
//! request with 200. Servers that take writes answer with an empty body, or a few words.

use serde_json::Value;

use super::error_text;

/// Longest body of an acknowledgement, in bytes. A longer one belongs to another program.
const BODY_BYTES_MAX: usize = 1 << 10;

/// Parts of a plain text that report a failure, in lower case.
const COMPLAINTS: [&str; 11] = [
    "error",
    "fail",
    "invalid",
    "denied",
    "forbidden",
    "unauthorized",
    "unauthorised",
    "not found",
    "not allowed",
    "unavailable",
    "log in",
];

/// Returns why the body of a successful reply does not acknowledge the data; `None` if it does.
pub(super) fn objection(content_type: Option<&str>, body: &[u8], is_cut: bool) -> Option<String> {
    let body = without_mark(body).trim_ascii();
    if body.is_empty() {
        return None;
    }
    if is_page(content_type, body) {
        return Some(
            "the reply is a web page: a login page or another program answers there".into(),
        );
    }
    if let Ok(value) = serde_json::from_slice::<Value>(body)
        && let Some(error) = error_text::error(&value)
    {
        return Some(format!("the reply reports an error: {error}"));
    }
    if is_cut || body.len() > BODY_BYTES_MAX {
        return Some("the reply is too long for one: another program answers there".into());
    }
    let text = String::from_utf8_lossy(body).to_lowercase();
    let complains = COMPLAINTS.iter().any(|complaint| text.contains(complaint));
    // The members of JSON are known; a word such as "errors" may only be the name of a count.
    (complains && !is_json(body)).then(|| format!("the reply says: {}", text.trim()))
}

/// Whether a body is a page for browsers.
pub(super) fn is_page(content_type: Option<&str>, body: &[u8]) -> bool {
    let is_html = |media: &str| media.to_ascii_lowercase().contains("html");
    if without_mark(body).trim_ascii_start().starts_with(b"<") {
        return true;
    }
    // Frameworks call every text HTML that a program does not label.
    content_type.is_some_and(is_html) && !body.is_empty() && !is_json(body)
}

/// A text without the byte order mark with which some programs begin their pages.
fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body)
}

fn is_json(body: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(content_type: &str, body: &str) -> Option<String> {
        objection(Some(content_type).filter(|text| !text.is_empty()), body.as_bytes(), false)
    }

    #[test]
    fn bodies_of_servers_that_take_writes_are_acknowledgements() {
        for (content_type, body) in [
            ("", ""),
            ("text/html", ""),
            ("", "\r\n"),
            ("application/json", "{}"),
            ("text/html", "{}"),
            ("application/json", r#"{"results":[{"statement_id":0}]}"#),
            ("application/json", r#"{"results":[{}]}"#),
            ("application/json", r#"{"status":"success","errors":[]}"#),
            ("application/json", r#"{"error":null}"#),
            ("application/json", r#"{"error":""}"#),
            ("application/json", r#"{"error":false,"err":0}"#),
            ("application/json", r#"{"code":0,"message":"ok"}"#),
            ("application/json", r#"{"code":204,"message":"written"}"#),
            ("application/json", r#"{"failed":0,"written":3}"#),
            ("text/plain", "ok"),
            ("text/plain", "OK\n"),
            ("", "[]"),
        ] {
            assert_eq!(says(content_type, body), None, "{content_type} {body}");
        }
    }

    #[test]
    fn pages_and_errors_are_not() {
        let long = "# HELP up\nup 1\n".repeat(100);
        for (content_type, body, words) in [
            ("text/html", "Please log in", "web page"),
            ("text/HTML; charset=utf-8", "hello", "web page"),
            ("application/xhtml+xml", "x", "web page"),
            ("", " \n<!DOCTYPE html><title>Log in</title>", "web page"),
            ("application/json", "<html>", "web page"),
            ("", "\u{feff}<!doctype html>", "web page"),
            ("", "\u{feff}{\"error\":\"no\"}", "error: no"),
            ("application/xml", "<?xml version=\"1.0\"?><Error/>", "web page"),
            ("application/json", r#"{"error":"no such database"}"#, "no such database"),
            ("", r#"{"results":[{},{"error":"timeout"}]}"#, "timeout"),
            ("", r#"{"errors":["a","b"]}"#, "error: a"),
            ("", r#"{"errors":[{"message":"bad tenant"}]}"#, "bad tenant"),
            ("", r#"{"error":{"code":7}}"#, r#"{"code":7}"#),
            ("", r#"{"error":true}"#, "true"),
            ("", r#"{"error":{"message":"no"}}"#, "error: no"),
            (
                "",
                r#"{"code":"unauthorized","message":"unauthorized access"}"#,
                "unauthorized access",
            ),
            ("", r#"{"code":401,"message":"token is missing"}"#, "token is missing"),
            ("", r#"{"status":"Error","message":"rejected"}"#, "rejected"),
            ("", r#"{"status":500}"#, "500"),
            ("", r#"{"success":false}"#, "success"),
            ("text/plain", "database not found: m", "database not found"),
            ("text/plain", "Access denied", "access denied"),
            ("text/plain", long.as_str(), "too long"),
        ] {
            let said = says(content_type, body).unwrap_or_default();
            assert!(said.contains(words), "{content_type} {body}: {said}");
        }
        assert!(objection(None, b"ok", true).unwrap().contains("too long"));
    }
}
