//! HTTP for destinations: one client, one classification of replies, one way to deliver a batch.
//!
//! [`HttpClient`] sends a request and returns a bounded [`HttpReply`] within a time limit,
//! however the server behaves. [`StatusClass`] is the meaning of a status for the data that was sent.
//! [`HttpSender`] delivers a batch: it groups payloads into requests, makes requests smaller where a
//! server refuses their size, and finds the payload for which a server refuses a request.
//!
//! A destination supplies an encoder, which is its `Forwarder::encode`, and an [`HttpProtocol`]: the
//! request that carries some payloads and, where a status says too little, the meaning of a reply for
//! them.
//!
//! # Deliberate omissions
//!
//! - No redirects: an `Authorization` header must not follow a server's pointer. The error names the
//!   target, and an operator decides.
//! - No proxy from the environment: `HTTP_PROXY` of a shell must not divert a daemon's metrics and
//!   credentials.
//! - No cookies, no compression of replies, and HTTP/1.1 only: there is one request at a time.

pub mod authorization;
mod bisect;
mod client;
mod error;
mod group;
mod outcome;
mod plan;
mod redaction;
mod reply;
mod request_size;
mod retry_after;
#[cfg(any(test, feature = "test-util"))]
pub mod scripted;
mod sender;
mod status_class;
#[cfg(test)]
mod tests;
mod tls;
mod url;

pub use client::{HttpClient, HttpRequest, HttpSettings};
pub use error::{HttpError, HttpSetupError};
pub use group::RequestLimits;
pub use httpclient::reqwest::{StatusCode, Url, header};
pub use outcome::RequestOutcome;
pub use reply::HttpReply;
pub use sender::{HttpProtocol, HttpSender};
pub use status_class::StatusClass;
pub use tls::{TlsConfig, TlsError};
pub use url::HttpUrl;
