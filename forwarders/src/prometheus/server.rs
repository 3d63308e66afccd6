//! The replies of the page's HTTP server, which reads only the head of a request.

use parking_lot::RwLock;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use httpserver::{HttpLimits, PathAccess, SiteService};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName,
    HeaderValue, SERVER, VARY,
};
use hyper::{Method, Request, Response, StatusCode};

use super::config::{PROBE_PATH, PrometheusConfig};
use super::foreign::{Merge, Relay};
use super::negotiate;
use super::page::{Page, PageFormat};
use super::probe::{self, Probe};

/// Value of the `Server` header, by which `tallyd check --connect` recognises the page.
pub(super) const SERVER_NAME: &str = "tallyd";
/// Minimum size of samples to compress, in bytes: a smaller page fits into one packet anyway.
const GZIP_MIN: usize = 1024;

/// The page that scrapes get, always a complete one.
#[derive(Clone, Debug, Default)]
pub(super) struct CurrentPage(Arc<RwLock<Arc<Page>>>);

impl CurrentPage {
    /// Publishes `page` for all replies from now on. Returns the previous page, which other
    /// connections may still read.
    pub(super) fn replace(&self, page: Page) -> Arc<Page> {
        let mut current = self.0.write();
        std::mem::replace(&mut current, Arc::new(page))
    }

    fn get(&self) -> Arc<Page> {
        Arc::clone(&self.0.read())
    }
}

/// The pages of the server.
pub(super) struct Site {
    /// Path of tallyd's page.
    pub(super) path: String,
    /// The page of the latest window.
    pub(super) current: CurrentPage,
    /// Another program's page that is appended to tallyd's.
    pub(super) merge: Option<Merge>,
    /// Another program's page at its own path.
    pub(super) relay: Option<Relay>,
    /// Polls targets that requests name.
    pub(super) probe: Option<Probe>,
}

impl Site {
    /// Creates a site with one page, which is still empty.
    pub(super) fn new(path: &str) -> Self {
        let current = CurrentPage::default();
        Self { path: path.to_owned(), current, merge: None, relay: None, probe: None }
    }
}

/// A body in two pieces: the page, which all its readers share, and the metrics appended for one
/// reply.
#[derive(Debug, Default)]
pub(super) struct Pieces([Bytes; 2]);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.0.iter_mut().find(|piece| !piece.is_empty()).map(std::mem::take);
        Poll::Ready(next.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.iter().all(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|piece| piece.len() as u64).sum())
    }
}

impl From<Bytes> for Pieces {
    fn from(piece: Bytes) -> Self {
        Self([piece, Bytes::new()])
    }
}

/// The limits of the server: a connection has one request, one reply and one time limit, so that no
/// client can occupy a connection for longer.
pub(super) fn limits(config: &PrometheusConfig) -> HttpLimits {
    let request_max = config.request_timeout.get();
    HttpLimits {
        connections_max: config.max_connections as usize,
        head_max: request_max,
        head_bytes_max: config.max_request.get() as usize,
        stall_max: request_max,
        last_reply_after: Duration::ZERO,
        age_max: request_max,
    }
}

/// The site, as the server uses it.
#[derive(Clone)]
pub(super) struct PageService(pub(super) Arc<Site>);

impl SiteService for PageService {
    type Body = Pieces;

    /// By name, because the tags of series are senders' data, which a foreign web page must not
    /// read. A probe polls another program, which such a page must not start either.
    fn access(&self, path: &str) -> PathAccess {
        if path == PROBE_PATH { PathAccess::OwnSite } else { PathAccess::ByName }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Pieces> {
        reply(&request, &self.0).await
    }
}

async fn reply(request: &Request<Incoming>, site: &Site) -> Response<Pieces> {
    let asked = request.uri().path();
    let relay = site.relay.as_ref().filter(|relay| relay.path == asked);
    let probe = site.probe.as_ref().filter(|_| asked == PROBE_PATH);
    let mut response = if asked != site.path && relay.is_none() && probe.is_none() {
        words(StatusCode::NOT_FOUND, format!("the page is at {}\n", site.path))
    } else if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refusal = words(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n".to_owned());
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        refusal
    } else if let Some(relay) = relay {
        hand_on(relay).await
    } else if let Some(probe) = probe {
        probed(probe.answer(request.uri().query(), request.headers()).await)
    } else {
        show(request.headers(), site).await
    };
    response.headers_mut().insert(SERVER, HeaderValue::from_static(SERVER_NAME));
    response
}

fn words(status: StatusCode, text: String) -> Response<Pieces> {
    let mut response = Response::new(Pieces::from(Bytes::from(text)));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

fn probed(answer: Result<Bytes, (StatusCode, String)>) -> Response<Pieces> {
    match answer {
        Ok(page) => {
            let mut response = Response::new(Pieces::from(page));
            let text = HeaderValue::from_static(probe::FORMAT.content_type());
            response.headers_mut().insert(CONTENT_TYPE, text);
            response
        }
        Err((status, reason)) => words(status, format!("{reason}\n")),
    }
}

async fn hand_on(relay: &Relay) -> Response<Pieces> {
    match relay.page().await {
        Ok((body, content_type)) => {
            let mut response = Response::new(Pieces::from(body));
            response.headers_mut().insert(CONTENT_TYPE, content_type);
            response
        }
        Err(error) => words(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}

async fn show(headers: &HeaderMap, site: &Site) -> Response<Pieces> {
    let page = site.current.get();
    let accept = list(headers, &ACCEPT);
    let mut format = negotiate::format(&accept, page.has_protobuf());
    let is_text_only = format == PageFormat::OpenMetrics
        && page.breaks_openmetrics()
        && negotiate::accepts_text(&accept);
    // The merged metrics are in text format, and the two formats cannot be mixed on a page.
    if is_text_only || site.merge.is_some() {
        format = PageFormat::Text;
    }
    let merged = match &site.merge {
        Some(merge) => merge.metrics(&page).await,
        None => Bytes::new(),
    };
    // A compressed page is shared by all scrapes; with merged metrics, each scrape would have to
    // compress it again.
    let is_gzip = site.merge.is_none()
        && page.sample_bytes() >= GZIP_MIN
        && negotiate::gzip(&list(headers, &ACCEPT_ENCODING));
    let body = body(page, format, is_gzip).await;
    let mut response = Response::new(Pieces([body, merged]));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    if is_gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// Returns the page's bytes. Assembling a page of many series takes a while and must not delay the
/// forwarders that share the thread.
async fn body(page: Arc<Page>, format: PageFormat, is_gzip: bool) -> Bytes {
    let is_at_hand = page.is_at_hand(format, is_gzip);
    let take = move || if is_gzip { page.gzip(format) } else { page.plain(format) };
    if is_at_hand {
        return take();
    }
    // The task fails only when the runtime shuts down, and the connection with it.
    tokio::task::spawn_blocking(take).await.unwrap_or_default()
}

/// Joins the lines of a header that may occur several times.
fn list(headers: &HeaderMap, name: &HeaderName) -> String {
    let lines: Vec<&str> =
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    lines.join(",")
}
