//! The HTTP client: one request, one bounded reply, within a time.

use std::error::Error;
use std::sync::Once;
use std::time::{Duration, SystemTime};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER,
    USER_AGENT,
};
use hyper::{Method, Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use thiserror::Error;
use tracing::warn;

use super::reply::Reply;
use super::retry_after;
use super::tls::{self, TlsConfig, TlsError};
use super::url::HttpUrl;
use super::veil::Veil;
use crate::forwarder::SendError;
use basics::text::Secret;

/// How long a connection may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// What is kept of the body of a reply to what was sent.
const BODY_MAX: usize = 64 << 10;
/// What the head of a reply may have: servers repeat in headers what they complain of.
const HEAD_MAX: usize = 512 << 10;

/// What a client has to know.
#[derive(Debug)]
pub struct HttpSettings<'a> {
    /// What the log calls the destination.
    pub name: &'a str,
    /// Where the server is.
    pub url: &'a HttpUrl,
    /// Whom to trust.
    pub tls: &'a TlsConfig,
    /// The header `Authorization` of every request.
    pub authorization: Option<Secret>,
    /// How long a request may take, from the connection to the end of the reply.
    pub timeout: Duration,
}

/// Sends requests to one server, over a connection that it keeps.
#[derive(Debug)]
pub struct HttpClient {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    headers: HeaderMap,
    timeout: Duration,
    name: String,
    /// What the log has to warn of, once.
    doubts: Vec<&'static str>,
    warned: Once,
}

/// Why there can be no client.
#[derive(Debug, Error)]
pub enum SetupError {
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The credentials cannot be sent.
    #[error("the credentials hold a character that cannot be in an HTTP header")]
    Authorization,
}

/// Why there is no reply.
#[derive(Debug, Error)]
pub enum HttpError {
    /// No connection came about: nobody listens, the name is unknown, the certificate is wrong.
    #[error("cannot connect to {to}")]
    Connect {
        /// Scheme, host and port.
        to: String,
        /// What the system or the TLS library says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The connection broke before the reply was complete.
    #[error("no complete reply from {to}")]
    Broken {
        /// Scheme, host and port.
        to: String,
        /// What happened to it.
        source: Box<dyn Error + Send + Sync>,
    },
    /// It took too long.
    #[error("no reply from {to} within {limit:?} ({key})")]
    TimedOut {
        /// Scheme, host and port.
        to: String,
        /// How long was waited.
        limit: Duration,
        /// The key of the configuration that says so.
        key: &'static str,
    },
}

impl From<HttpError> for SendError {
    /// Whatever keeps a reply from coming may be over the next time.
    fn from(error: HttpError) -> Self {
        Self::transient(error)
    }
}

impl HttpClient {
    /// A client that connects with its first request.
    ///
    /// # Errors
    /// When a file of `tls` cannot be used, or the credentials cannot be in a header.
    pub fn new(settings: HttpSettings<'_>) -> Result<Self, SetupError> {
        let HttpSettings { name, url, tls, authorization, timeout } = settings;
        let config = if url.is_https() { tls.client_config()? } else { tls::unused()? };
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(CONNECT_MAX));
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(1)
            .http1_max_buf_size(HEAD_MAX)
            .build(connector);
        let mut doubts = Vec::new();
        if url.is_https() && tls.insecure_skip_verify {
            doubts.push("tls.insecure_skip_verify is on: whoever is in between can read along");
        }
        if authorization.is_some() && !url.is_https() && !url.is_loopback() {
            doubts.push("credentials go over the network unencrypted: use an https:// url");
        }
        let headers = headers(authorization.as_ref())?;
        Ok(Self { client, headers, timeout, name: name.to_owned(), doubts, warned: Once::new() })
    }

    /// Sends `body` to `uri` with these headers besides the client's own.
    ///
    /// # Errors
    /// When no complete reply came.
    pub async fn post(
        &self,
        uri: &Uri,
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
    ) -> Result<Reply, HttpError> {
        self.warned.call_once(|| {
            for doubt in &self.doubts {
                warn!(forwarder = self.name, "{doubt}");
            }
        });
        let mut request = self.request(Method::POST, uri, body);
        request.headers_mut().extend(headers.iter().cloned());
        self.within(request, BODY_MAX, "delivery.timeout").await
    }

    /// Fetches what is at `uri`, up to so many bytes of it.
    ///
    /// # Errors
    /// When no complete reply came.
    #[cfg(feature = "prometheus")]
    pub async fn get(&self, uri: &Uri, body_max: usize) -> Result<Reply, HttpError> {
        self.within(self.request(Method::GET, uri, Bytes::new()), body_max, "timeout").await
    }

    /// A request with the client's own headers.
    fn request(&self, method: Method, uri: &Uri, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }

    async fn within(
        &self,
        request: Request<Full<Bytes>>,
        body_max: usize,
        key: &'static str,
    ) -> Result<Reply, HttpError> {
        let to = origin(request.uri());
        tokio::time::timeout(self.timeout, self.exchange(request, body_max))
            .await
            .unwrap_or_else(|_| Err(HttpError::TimedOut { to, limit: self.timeout, key }))
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        body_max: usize,
    ) -> Result<Reply, HttpError> {
        let uri = &request.uri().clone();
        let veil = Veil::over(request.headers());
        let response = self.client.request(request).await.map_err(|error| {
            let to = origin(uri);
            let is_connect = error.is_connect();
            // The outermost error only says that there is one.
            let source = cause(error);
            if is_connect {
                HttpError::Connect { to, source }
            } else {
                HttpError::Broken { to, source }
            }
        })?;
        let asked = format!("{}{}", origin(uri), uri.path());
        let mut reply = reply_of(&response, asked);
        read_body(response.into_body(), body_max, &mut reply)
            .await
            .map_err(|error| HttpError::Broken { to: origin(uri), source: error.into() })?;
        reply.body = veil.hide(reply.body);
        reply.location = reply.location.map(|location| veil.hide_in(location));
        Ok(reply)
    }
}

fn headers(authorization: Option<&Secret>) -> Result<HeaderMap, SetupError> {
    let mut headers = HeaderMap::new();
    let agent = concat!("tallyd/", env!("CARGO_PKG_VERSION"));
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    if let Some(secret) = authorization {
        let mut value =
            HeaderValue::from_str(secret.reveal()).map_err(|_| SetupError::Authorization)?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

fn reply_of(response: &Response<Incoming>, asked: String) -> Reply {
    let header = |name: HeaderName| {
        let value = response.headers().get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    Reply {
        status: response.status(),
        retry_after: header(RETRY_AFTER)
            .and_then(|text| retry_after::parse(&text, SystemTime::now())),
        location: header(LOCATION),
        content_type: header(CONTENT_TYPE),
        body: Vec::new(),
        is_cut: false,
        asked,
    }
}

/// Reads what there is room for. The connection of a longer body is given up with it.
async fn read_body(
    mut body: Incoming,
    body_max: usize,
    reply: &mut Reply,
) -> Result<(), hyper::Error> {
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let room = body_max - reply.body.len();
        reply.body.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            reply.is_cut = true;
            return Ok(());
        }
    }
    Ok(())
}

/// Scheme, host and port.
fn origin(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    format!("{}://{authority}", uri.scheme_str().unwrap_or_default())
}

/// What an error of the library is about.
fn cause(error: hyper_util::client::legacy::Error) -> Box<dyn Error + Send + Sync> {
    match error.source() {
        Some(source) => chain(source).into(),
        None => error.into(),
    }
}

/// An error and its causes, innermost last.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Some layers repeat what is below them.
        if !words.ends_with(&next) {
            words.push_str(": ");
            words.push_str(&next);
        }
        cause = error.source();
    }
    words
}
