//! The status page at `/`: one document, put together from the files beside this one.
//!
//! What it shows comes from clients, so nothing in it may be markup. The script writes text only,
//! and the browser is told to run nothing but this script.

use std::hash::{BuildHasher, Hasher, RandomState};

use axum::http::HeaderValue;
use axum::http::header::CONTENT_SECURITY_POLICY;
use axum::response::{Html, IntoResponse, Response};

const HTML: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The page, with a word in it that nobody else knows: what does not carry it is not run.
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
    // Letters, digits and quotes: it is a value of a header.
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// A number that cannot be guessed.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
