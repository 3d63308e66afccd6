//! Builds requests over HTTP and gRPC.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use basics::log_throttle::LogThrottle;
use flate2::write::GzEncoder;
use parking_lot::Mutex;
use tracing::warn;

use super::config::{Compression, OtlpConfig};
use super::endpoint::OtlpTransport;
use super::frame::frame;
use super::reply::{self, Interpreted};
use crate::delivery::forwarder::SendError;
use crate::format::otlp::{RequestPrefix, is_increment, marker, write_request};
use crate::http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE,
};
use crate::http::header_config::add_configured;
use crate::http::{HttpProtocol, HttpReply, HttpRequest, RequestOutcome, Url};
use basics::text::Secret;

/// The header with the compression of a message of gRPC.
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// Turns payloads into requests to one server.
pub(super) struct OtlpProtocol {
    name: String,
    transport: OtlpTransport,
    url: Url,
    headers: HeaderMap,
    compression: Compression,
    prefix: RequestPrefix,
    /// Identifies this forwarder's marker among those of other daemons.
    run: u64,
    warnings: Mutex<LogThrottle>,
}

impl OtlpProtocol {
    pub(super) fn new(config: &OtlpConfig, name: &str, prefix: RequestPrefix) -> Self {
        Self {
            name: name.to_owned(),
            transport: config.endpoint.transport,
            url: config.endpoint.url().clone(),
            headers: headers(config).unwrap_or_default(),
            compression: config.compression,
            prefix,
            run: rand::random(),
            warnings: Mutex::default(),
        }
    }

    /// A request without points, which every server accepts.
    pub(super) fn probe(&self) -> Result<HttpRequest, SendError> {
        self.request(&[])
    }

    fn body(&self, payloads: &[&[u8]]) -> io::Result<Vec<u8>> {
        let mut message = Vec::new();
        write_request(&mut message, &self.prefix, payloads);
        let is_compressed = self.compression == Compression::Gzip;
        let message = if is_compressed { gzip(&message)? } else { message };
        Ok(match self.transport {
            OtlpTransport::Http => message,
            OtlpTransport::Grpc => frame(&message, is_compressed)?,
        })
    }
}

impl HttpProtocol for OtlpProtocol {
    fn request(&self, payloads: &[&[u8]]) -> Result<HttpRequest, SendError> {
        Ok(HttpRequest {
            url: self.url.clone(),
            headers: self.headers.clone(),
            body: self.body(payloads).map_err(SendError::operator)?.into(),
        })
    }

    fn answer(&self, reply: HttpReply, payloads: &[&[u8]]) -> (HttpReply, RequestOutcome) {
        let Interpreted { reply, outcome, warning } =
            reply::interpret(reply, self.transport, payloads.len());
        if let Some(warning) = warning
            && let Some(requests) = self.warnings.lock().count(1)
        {
            let forwarder = &self.name;
            warn!(forwarder, requests, "the server accepted all points with a warning: {warning}");
        }
        (reply, outcome)
    }

    /// A server adds up increments: it would count a repeated one twice. The level of a gauge and a
    /// total are the same however often they arrive.
    fn may_repeat(&self, payloads: &[&[u8]]) -> bool {
        payloads.iter().all(|payload| !is_increment(payload))
    }

    /// The end of a series that never had a value: valid data that no query shows.
    fn harmless(&self) -> Option<HttpRequest> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.request(&[&marker(self.run, now.as_nanos() as u64)]).ok()
    }
}

/// The headers of each request, except `authorization`.
///
/// # Errors
/// The rest of a sentence that begins with `headers`, if one of these cannot be sent.
pub(super) fn headers(config: &OtlpConfig) -> Result<HeaderMap, String> {
    let is_compressed = config.compression == Compression::Gzip;
    let gzip = || HeaderValue::from_static("gzip");
    let mut headers = HeaderMap::new();
    match config.endpoint.transport {
        OtlpTransport::Http => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
            if is_compressed {
                headers.insert(CONTENT_ENCODING, gzip());
            }
        }
        OtlpTransport::Grpc => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            // Servers use it to recognise proxies that drop trailers.
            headers.insert(TE, HeaderValue::from_static("trailers"));
            if is_compressed {
                headers.insert(GRPC_ENCODING, gzip());
            }
        }
    }
    add_configured(&mut headers, &config.headers)?;
    headers.remove(AUTHORIZATION);
    Ok(headers)
}

/// The credentials among the configured headers, which the HTTP client warns of on an unencrypted
/// connection.
pub(super) fn authorization(config: &OtlpConfig) -> Option<Secret> {
    let is_it = |name: &String| name.eq_ignore_ascii_case(AUTHORIZATION.as_str());
    config.headers.iter().find(|(name, _)| is_it(name)).map(|(_, value)| value.clone())
}

/// Compresses a message. At a higher level, it would hardly become smaller.
fn gzip(message: &[u8]) -> io::Result<Vec<u8>> {
    let buffer = Vec::with_capacity(message.len() / 8);
    let mut encoder = GzEncoder::new(buffer, flate2::Compression::fast());
    encoder.write_all(message)?;
    encoder.finish()
}
