//! What destinations share that are reached over HTTP: one client, and one judgement of replies.
//!
//! [`HttpClient`] sends a request and brings back a [`Reply`], within a time and within bounds,
//! whatever the server does. [`Verdict`] says what a status means for the data that was sent.
//!
//! # What it deliberately does not do
//!
//! - It follows no redirect: an `Authorization` header must not go where a server points to. The
//!   reply says where that is, and an operator decides.
//! - It takes no proxy out of the environment: `HTTP_PROXY` of a shell must not lead a daemon's
//!   metrics and credentials somewhere else.
//! - It speaks HTTP/1.1 only: there is one request at a time.

mod client;
mod reply;
mod retry_after;
#[cfg(any(test, feature = "test-util"))]
pub mod scripted;
#[cfg(test)]
mod tests;
mod tls;
mod url;
mod veil;

pub use client::{HttpClient, HttpError, HttpSettings, SetupError};
pub use reply::{Reply, Verdict};
pub use tls::{TlsConfig, TlsError};
pub use url::HttpUrl;
