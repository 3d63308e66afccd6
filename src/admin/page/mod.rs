//! The status page at `/`: one document, assembled from the files in this folder.
//!
//! It shows data of clients, so nothing of that may become markup. The script writes text only, and a
//! policy forbids the browser to run any other script.

use std::hash::{BuildHasher, Hasher, RandomState};

use axum::http::HeaderValue;
use axum::http::header::CONTENT_SECURITY_POLICY;
use axum::response::{Html, IntoResponse, Response};

const HTML: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The page, with a nonce: the browser runs only the script that carries it.
pub(super) async fn show() -> Response {
    let nonce = format!("{:016x}{:016x}", random(), random());
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
         connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    let html =
        HTML.replace("NONCE", &nonce).replace("/* STYLE */", STYLE).replace("/* SCRIPT */", SCRIPT);
    let mut response = Html(html).into_response();
    // Never fails: letters, digits and quotes are valid in a header.
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// An unpredictable number.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use api::path::AdminPath;

    use super::*;

    #[test]
    fn the_page_explains_every_reason_of_a_rejection_and_of_a_drop() {
        let rejections =
            engine::protocol::RejectReason::ALL.map(engine::protocol::RejectReason::as_str);
        let reasons = rejections.into_iter().chain(forwarders::delivery::reason::ALL);
        for reason in reasons {
            assert!(SCRIPT.contains(&format!("\n  {reason}: \"")), "{reason}");
        }
    }

    #[test]
    fn the_page_asks_for_paths_of_the_endpoint() {
        let mut found = 0;
        for text in [HTML, SCRIPT] {
            for (start, _) in text.match_indices("api/v1/") {
                let rest = &text[start..];
                let is_end = |c: char| !(c.is_ascii_alphanumeric() || c == '/');
                let path = format!("/{}", &rest[..rest.find(is_end).unwrap()]);
                assert!(AdminPath::ALL.iter().any(|one| one.as_str() == path), "{path}");
                found += 1;
            }
        }
        assert!(found > 5);
    }
}
