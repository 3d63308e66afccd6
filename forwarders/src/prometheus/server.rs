//! The HTTP server of the page. It reads only the head of a request, and each connection has one
//! request, one reply and one time limit. This bounds the memory that a client can occupy, and the time.

use parking_lot::RwLock;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName,
    HeaderValue, SERVER, VARY,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::foreign::{Merge, Relay};
use super::negotiate;
use super::page::{Page, PageFormat};
use basics::log_throttle::LogThrottle;

/// Value of the `Server` header, by which `tallyd check --connect` recognises the page.
pub(super) const SERVER_NAME: &str = "tallyd";
/// Pause after a failed `accept`, such as for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Minimum size of hyper's buffer, in bytes; hyper panics below it.
const BUFFER_MIN: usize = 8192;
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

/// The limits of connections and requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServerLimits {
    /// Maximum number of simultaneous connections.
    pub(super) connections_max: usize,
    /// Time limit from the first byte of a connection to its last.
    pub(super) request_max: Duration,
    /// Maximum size of the head of a request, in bytes.
    pub(super) head_bytes_max: usize,
}

/// The pages of the server and its limits.
pub(super) struct Site {
    /// Path of tallyd's page.
    pub(super) path: String,
    /// The page of the latest window.
    pub(super) current: CurrentPage,
    /// Another program's page that is appended to tallyd's.
    pub(super) merge: Option<Merge>,
    /// Another program's page at its own path.
    pub(super) relay: Option<Relay>,
    /// The limits of connections and requests.
    pub(super) limits: ServerLimits,
    /// Number of connections that were closed because too many were open.
    pub(super) turned_away: Arc<AtomicU64>,
}

impl Site {
    /// Creates a site with one page, which is still empty.
    pub(super) fn new(path: &str, limits: ServerLimits) -> Self {
        Self {
            path: path.to_owned(),
            current: CurrentPage::default(),
            merge: None,
            relay: None,
            limits,
            turned_away: Arc::default(),
        }
    }
}

/// A body in two pieces: the page, which all its readers share, and the metrics appended for one
/// reply.
#[derive(Debug, Default)]
struct Pieces([Bytes; 2]);

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

/// Serves the pages until the future is dropped, which also closes all connections.
pub(super) async fn serve(socket: TcpListener, site: Arc<Site>) {
    let places = Arc::new(Semaphore::new(site.limits.connections_max));
    let mut connections = JoinSet::new();
    let mut refused = LogThrottle::default();
    let mut failed = LogThrottle::default();
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            // Removes finished connections from the set, which would otherwise grow forever.
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, peer)) => match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => {
                    let exchange = exchange(stream, Arc::clone(&site));
                    connections.spawn(async move {
                        exchange.await;
                        drop(place);
                    });
                }
                Err(_) => {
                    // Dropping the stream closes the connection.
                    site.turned_away.fetch_add(1, Ordering::Relaxed);
                    if let Some(times) = refused.count(1) {
                        warn!(%peer, times, "too many connections to the Prometheus page (max_connections)");
                    }
                }
            },
            Err(error) => {
                if let Some(times) = failed.count(1) {
                    warn!(%error, times, "the Prometheus page cannot accept");
                }
                // Without a pause, a lasting failure would turn the loop into a busy one.
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection: one request and its reply.
async fn exchange(stream: TcpStream, site: Arc<Site>) {
    let limits = site.limits;
    let service = service_fn(move |request: Request<Incoming>| {
        let site = Arc::clone(&site);
        async move { Ok::<_, Infallible>(reply(&request, &site).await) }
    });
    let connection = http1::Builder::new()
        // A kept connection would hold a place that another scraper needs.
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(limits.request_max)
        .max_buf_size(limits.head_bytes_max.max(BUFFER_MIN))
        .max_header_size(limits.head_bytes_max)
        .serve_connection(TokioIo::new(stream), service);
    // The timeout of hyper ends with the request's head; this one covers a slow reader of the
    // reply.
    match tokio::time::timeout(limits.request_max, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "a connection to the Prometheus page"),
        Err(_) => debug!("a connection to the Prometheus page took too long (request_timeout)"),
    }
}

async fn reply(request: &Request<Incoming>, site: &Site) -> Response<Pieces> {
    let asked = request.uri().path();
    let relay = site.relay.as_ref().filter(|relay| relay.path == asked);
    let mut response = if asked != site.path && relay.is_none() {
        words(StatusCode::NOT_FOUND, format!("the page is at {}\n", site.path))
    } else if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refusal = words(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n".to_owned());
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        refusal
    } else if let Some(relay) = relay {
        hand_on(relay).await
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
    let mut format = negotiate::format(&accept);
    let is_text_only = page.breaks_openmetrics() && negotiate::accepts_text(&accept);
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
