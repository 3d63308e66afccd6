//! The HTTP client: sends one request at a time and reads one bounded reply within a time limit.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use httpclient::reqwest::header::{
    AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderValue, USER_AGENT,
};
use httpclient::reqwest::{self, Method, Request, Url};
use tracing::warn;

use super::error::{HttpError, HttpSetupError};
use super::pool::{ClientPool, HttpVersion};
use super::redaction::Redaction;
use super::reply::HttpReply;
use super::settings::HttpSettings;
use super::tls::TlsConfig;
use super::url::{HttpUrl, origin};
use basics::text::Secret;

/// Most bytes that are kept of the body of a reply to a POST.
const BODY_MAX: usize = 64 << 10;

/// A POST request. The client adds `User-Agent` and `Authorization`.
#[derive(Clone, Debug)]
pub struct HttpRequest {
    /// The URL with its parameters.
    pub url: Url,
    /// The headers. Values that are marked as sensitive are redacted in replies.
    pub headers: HeaderMap,
    /// The body, compressed if the headers say so.
    pub body: Bytes,
}

/// Sends requests to one server and reuses its connection.
#[derive(Debug)]
pub struct HttpClient {
    pool: ClientPool,
    /// The headers of every request.
    headers: HeaderMap,
    timeout: Duration,
    name: String,
    /// Warnings about the settings, logged with the first POST.
    doubts: Vec<&'static str>,
    warned: Once,
    /// Whether the previous exchange left a connection that the next request may reuse.
    has_connection: AtomicBool,
}

impl HttpClient {
    /// A client that connects with its first request.
    ///
    /// # Errors
    /// When a file of `tls` is unusable, or the credentials contain a character that a header
    /// cannot.
    pub fn new(settings: HttpSettings<'_>) -> Result<Self, HttpSetupError> {
        Self::with_version(settings, HttpVersion::One)
    }

    /// A client like [`HttpClient::new`] that speaks HTTP/2 without negotiation, for gRPC.
    ///
    /// # Errors
    /// As [`HttpClient::new`].
    #[cfg(feature = "otlp")]
    pub fn http2(settings: HttpSettings<'_>) -> Result<Self, HttpSetupError> {
        Self::with_version(settings, HttpVersion::Two)
    }

    pub(super) fn with_version(
        settings: HttpSettings<'_>,
        version: HttpVersion,
    ) -> Result<Self, HttpSetupError> {
        let pool = ClientPool::new(&settings, version)?;
        let HttpSettings { name, url, tls, authorization, timeout, .. } = settings;
        Ok(Self {
            pool,
            headers: headers(authorization.as_ref())?,
            timeout,
            name: name.to_owned(),
            doubts: doubts(url, tls, authorization.is_some()),
            warned: Once::new(),
            has_connection: AtomicBool::new(false),
        })
    }

    /// The same client for a server with another name.
    #[cfg(test)]
    pub(super) fn with_host(self, host: std::sync::Arc<crate::network::host::Host>) -> Self {
        Self { pool: self.pool.with_host(host), ..self }
    }

    /// The destination's name in the log.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sends a POST request.
    ///
    /// # Errors
    /// When no complete reply arrived.
    pub async fn post(&self, request: HttpRequest) -> Result<HttpReply, HttpError> {
        // Not in `new`, which also runs for a configuration that is only checked or not applied.
        self.warned.call_once(|| {
            for doubt in &self.doubts {
                warn!(forwarder = self.name, "{doubt}");
            }
        });
        let HttpRequest { url, headers, body } = request;
        let mut request = Request::new(Method::POST, url);
        *request.headers_mut() = headers;
        if body.is_empty() {
            // The HTTP library leaves the length of an empty body out, and some servers and proxies
            // then answer a POST with 411.
            request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        *request.body_mut() = Some(body.into());
        self.within(request, BODY_MAX, "delivery.timeout").await
    }

    /// Fetches a page; keeps up to `body_max` bytes of it.
    ///
    /// # Errors
    /// When no complete reply arrived.
    #[cfg(feature = "prometheus")]
    pub async fn get(&self, url: &Url, body_max: usize) -> Result<HttpReply, HttpError> {
        self.within(Request::new(Method::GET, url.clone()), body_max, "timeout").await
    }

    /// Sends a request within the time limit. `key` is the configuration key of the limit, for the
    /// error.
    async fn within(
        &self,
        mut request: Request,
        body_max: usize,
        key: &'static str,
    ) -> Result<HttpReply, HttpError> {
        // In this order, so that a header of the request replaces the client's header of that name.
        let own = self.headers.clone();
        let headers = std::mem::replace(request.headers_mut(), own);
        request.headers_mut().extend(headers);
        let to = origin(request.url());
        // Covers the body of the reply too: a server that sends a byte from time to time is cut
        // off.
        tokio::time::timeout(self.timeout, self.exchange(request, body_max))
            .await
            .unwrap_or(Err(HttpError::TimedOut { to, limit: self.timeout, key }))
    }

    async fn exchange(&self, request: Request, body_max: usize) -> Result<HttpReply, HttpError> {
        let to = origin(request.url());
        let redaction = Redaction::of(request.headers());
        let reply = self.reply(request, body_max).await;
        let mut reply = reply.map_err(|error| HttpError::of(to, &error))?;
        // Here, because all texts of a server pass through here on their way to log and status.
        reply.body = if reply.is_binary() {
            redaction.redact_binary(reply.body)
        } else {
            redaction.redact(reply.body)
        };
        reply.location = reply.location.map(|location| redaction.redact_text(location));
        if let Some(grpc) = &mut reply.grpc {
            grpc.message = redaction.redact_text(std::mem::take(&mut grpc.message));
        }
        reply.redaction = redaction;
        Ok(reply)
    }

    /// Sends a request, and once again if the server closed the connection on which it was sent.
    async fn reply(&self, request: Request, body_max: usize) -> Result<HttpReply, reqwest::Error> {
        let is_reused = self.has_connection.swap(false, Ordering::Relaxed);
        // The body is shared, not copied.
        let again = is_reused.then(|| request.try_clone()).flatten();
        match (self.reply_once(request, body_max).await, again) {
            // A server may close an idle connection at the moment at which a request arrives on it.
            // That says nothing about the server, and a new connection does not have the problem.
            (Err(error), Some(again)) if error.is_request() && httpclient::is_closed(&error) => {
                self.reply_once(again, body_max).await
            }
            (reply, _) => reply,
        }
    }

    async fn reply_once(&self, request: Request, max: usize) -> Result<HttpReply, reqwest::Error> {
        let exchange = self.pool.begin();
        let reply = HttpReply::read(self.pool.execute(request).await?, max).await?;
        exchange.complete();
        self.has_connection.store(true, Ordering::Relaxed);
        Ok(reply)
    }
}

fn headers(authorization: Option<&Secret>) -> Result<HeaderMap, HttpSetupError> {
    let mut headers = HeaderMap::new();
    let agent = concat!("tallyd/", env!("CARGO_PKG_VERSION"));
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    if let Some(secret) = authorization {
        let mut value =
            HeaderValue::from_str(secret.reveal()).map_err(|_| HttpSetupError::Authorization)?;
        // Hides the value in debug output, and marks it for the redaction of replies.
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

fn doubts(url: &HttpUrl, tls: &TlsConfig, has_credentials: bool) -> Vec<&'static str> {
    let mut doubts = Vec::new();
    if url.is_https() && tls.insecure_skip_verify {
        doubts.push("tls.insecure_skip_verify is on: anyone on the network path can read the data");
    }
    if has_credentials && !url.is_https() && !url.is_loopback() {
        doubts.push("credentials are sent over the network unencrypted: use an https:// url");
    }
    doubts
}
