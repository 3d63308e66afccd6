//! The settings of an HTTP client.

use std::time::Duration;

use basics::text::Secret;

use super::tls::TlsConfig;
use super::url::HttpUrl;

/// The settings of a client.
#[derive(Debug)]
pub struct HttpSettings<'a> {
    /// The destination's name in the log.
    pub name: &'a str,
    /// The server's address.
    pub url: &'a HttpUrl,
    /// The trusted certificates and this host's certificate.
    pub tls: &'a TlsConfig,
    /// The value of the header `Authorization` of every request.
    pub authorization: Option<Secret>,
    /// Time limit for a request, from the connection to the end of the reply.
    pub timeout: Duration,
    /// Age from which the addresses of the server's name are looked up again.
    pub resolve_every: Duration,
}
