//! HTTP for destinations: a client, a classification of replies, and the delivery of a batch.
//!
//! [`HttpClient`] sends a request and returns an [`HttpReply`]. Its size and the time for it are
//! bounded, even if the server misbehaves. [`StatusClass`] is the meaning of a status for the data
//! that was sent. [`HttpSender`] delivers a batch: it groups payloads into requests, makes requests
//! smaller if a server refuses their size, finds the payload that makes a server refuse a request, and
//! the one because of which a server keeps failing.
//!
//! A destination supplies an encoder (`Forwarder::encode`) and an [`HttpProtocol`]: it builds the
//! request for a group of payloads and, if the status alone is not enough, interprets the reply.
//!
//! # Deliberate omissions
//!
//! - No redirects: credentials must not be sent to a server that only a reply names. The error names
//!   the target, and an operator decides.
//! - No proxy from the environment: `HTTP_PROXY` of a shell must not divert the metrics and
//!   credentials of a daemon.
//! - No cookies, no compression of replies, and HTTP/1.1 only, except for gRPC: there is one request
//!   at a time.

mod acknowledgement;
mod answer;
pub mod authorization;
mod bisect;
mod client;
mod content_words;
mod culprit;
mod error;
mod error_text;
mod group;
mod grpc_status;
#[cfg(any(feature = "otlp", feature = "prometheus"))]
pub mod header_config;
mod outcome;
mod plan;
mod pool;
mod redaction;
mod reply;
mod request_size;
mod retry_after;
#[cfg(any(test, feature = "test-util"))]
pub mod scripted;
#[cfg(any(test, feature = "test-util"))]
mod scripted_exchange;
#[cfg(any(test, feature = "test-util"))]
mod scripted_http2;
mod sender;
mod settings;
mod stall;
mod status_class;
mod temporary_words;
#[cfg(test)]
mod tests;
mod tls;
mod url;

pub use client::{HttpClient, HttpRequest};
pub use content_words::{dropped, is_about_content};
pub use error::{HttpError, HttpSetupError};
pub use group::RequestLimits;
pub use grpc_status::GrpcStatus;
pub use httpclient::reqwest::{StatusCode, Url, header};
pub use outcome::RequestOutcome;
pub use reply::HttpReply;
pub use sender::{HttpProtocol, HttpSender};
pub use settings::HttpSettings;
pub use status_class::StatusClass;
pub use tls::{TlsConfig, TlsError};
pub use url::HttpUrl;
