//! Builds write requests: address, headers and body.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::outcome;
use super::timestamp::{Precision, timestamp};
use crate::delivery::forwarder::SendError;
use crate::format::influx::{self, LineNaming};
use crate::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use crate::http::{HttpProtocol, HttpReply, HttpRequest, RequestOutcome, Url};
use basics::text::Secret;
use model::{Point, Snapshot, Window};

/// Addresses and credentials of the HTTP API that `version` selects.
#[derive(Debug)]
pub(crate) struct WriteApi {
    /// Address for timestamps in seconds.
    pub(super) in_seconds: Url,
    /// Address for timestamps in milliseconds.
    pub(super) in_millis: Url,
    /// Value of the `Authorization` header.
    pub(super) authorization: Option<Secret>,
}

/// Most lines of a newer window that are sent before their turn.
const SAMPLES_MAX: usize = 4;

/// Builds requests from lines.
#[derive(Clone, Debug)]
pub(super) struct LineProtocol {
    pub(super) in_seconds: Url,
    pub(super) in_millis: Url,
    /// The unit of the timestamps in the current window.
    pub(super) precision: Precision,
    pub(super) gzip: bool,
    pub(super) naming: LineNaming,
}

impl LineProtocol {
    /// Starts a window: keeps the unit of its timestamps and returns the timestamp.
    pub(super) fn start_window(&mut self, window: Window) -> u64 {
        let (precision, timestamp) = timestamp(window);
        self.precision = precision;
        timestamp
    }

    /// Returns requests with one line each of another window. A repeated line replaces the first, so
    /// each may be sent before its turn.
    pub(super) fn samples(&self, snapshot: &Snapshot) -> Vec<HttpRequest> {
        // A copy, because the unit of its timestamps can be another one.
        let mut protocol = self.clone();
        let timestamp = protocol.start_window(snapshot.window);
        let step = snapshot.points.len().div_ceil(SAMPLES_MAX).max(1);
        let points = snapshot.points.iter().step_by(step);
        let request = |point: &Point| {
            let mut line = Vec::new();
            let naming = &protocol.naming;
            if !influx::write_unshared_point(&mut line, snapshot, point, timestamp, naming) {
                return None;
            }
            line.push(b'\n');
            protocol.request(&[&line]).ok()
        };
        points.filter_map(request).collect()
    }

    /// Returns a request without lines.
    pub(super) fn probe(&self) -> HttpRequest {
        HttpRequest { url: self.in_seconds.clone(), headers: headers(false), body: Bytes::new() }
    }
}

impl HttpProtocol for LineProtocol {
    fn request(&self, lines: &[&[u8]]) -> Result<HttpRequest, SendError> {
        let url = match self.precision {
            Precision::Seconds => &self.in_seconds,
            Precision::Milliseconds => &self.in_millis,
        };
        let body = if self.gzip { gzip(lines) } else { Ok(lines.concat()) };
        Ok(HttpRequest {
            url: url.clone(),
            headers: headers(self.gzip),
            body: body.map_err(SendError::transient)?.into(),
        })
    }

    fn outcome(&self, reply: &HttpReply, lines: &[&[u8]]) -> RequestOutcome {
        outcome::of(reply, lines)
    }
}

fn headers(gzip: bool) -> HeaderMap {
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, text)]);
    if gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    headers
}

/// Compresses lines. At a higher level, line protocol would hardly become smaller.
fn gzip(lines: &[&[u8]]) -> io::Result<Vec<u8>> {
    let bytes: usize = lines.iter().map(|line| line.len()).sum();
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes / 8), Compression::fast());
    for line in lines {
        encoder.write_all(line)?;
    }
    encoder.finish()
}
