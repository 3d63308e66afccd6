//! The HTTP server of the page. It reads nothing but the head of a request, and a connection has
//! one request, one reply and one time limit: so whoever connects can hold little, and not for long.

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

/// What the reply calls the program; `tallyd check --connect` knows its page by it.
pub(super) const SERVER_NAME: &str = "tallyd";
/// How long not to accept after an error, such as no descriptor being left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The smallest buffer that hyper works with.
const BUFFER_MIN: usize = 8192;
/// A smaller page is not worth compressing: it is one packet anyway.
const GZIP_MIN: usize = 1024;

/// What a scrape is answered with: always one whole page.
#[derive(Clone, Debug, Default)]
pub(super) struct CurrentPage(Arc<RwLock<Arc<Page>>>);

impl CurrentPage {
    /// Replies that begin from now on have this page. Returns the one before, which others may
    /// still be reading.
    pub(super) fn replace(&self, page: Page) -> Arc<Page> {
        let mut current = self.0.write();
        std::mem::replace(&mut current, Arc::new(page))
    }

    fn get(&self) -> Arc<Page> {
        Arc::clone(&self.0.read())
    }
}

/// How much a scraper may cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServerLimits {
    /// Most connections at a time.
    pub(super) connections_max: usize,
    /// From the first byte of a connection to its last one.
    pub(super) request_max: Duration,
    /// Longest head of a request.
    pub(super) head_bytes_max: usize,
}

/// What there is to see.
pub(super) struct Site {
    /// Where the page is.
    pub(super) path: String,
    /// The page of the latest window.
    pub(super) current: CurrentPage,
    /// What is put behind it.
    pub(super) merge: Option<Merge>,
    /// Another page beside it.
    pub(super) relay: Option<Relay>,
    /// How much a scraper may cost.
    pub(super) limits: ServerLimits,
    /// Connections for which there was no place.
    pub(super) turned_away: Arc<AtomicU64>,
}

impl Site {
    /// A page alone, empty yet.
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

/// Pieces of a body, one after the other: the page is shared by all who read it, and what is put
/// behind it is not.
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

/// Serves the pages until it is dropped, with all its connections.
pub(super) async fn serve(socket: TcpListener, site: Arc<Site>) {
    let places = Arc::new(Semaphore::new(site.limits.connections_max));
    let mut connections = JoinSet::new();
    let mut refused = LogThrottle::default();
    let mut failed = LogThrottle::default();
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
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
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One connection: one request and its reply.
async fn exchange(stream: TcpStream, site: Arc<Site>) {
    let limits = site.limits;
    let service = service_fn(move |request: Request<Incoming>| {
        let site = Arc::clone(&site);
        async move { Ok::<_, Infallible>(reply(&request, &site).await) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(limits.request_max)
        .max_buf_size(limits.head_bytes_max.max(BUFFER_MIN))
        .max_header_size(limits.head_bytes_max)
        .serve_connection(TokioIo::new(stream), service);
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
    // What is merged is in text format, and nobody but the scraper could take it apart again.
    if is_text_only || site.merge.is_some() {
        format = PageFormat::Text;
    }
    let merged = match &site.merge {
        Some(merge) => merge.metrics(&page).await,
        None => Bytes::new(),
    };
    // Compressed once for all who ask; with something of one scrape behind it, it would be for each.
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

/// The bytes of a page. To put them together takes a while where there are many series, which must
/// not hold up the forwarders that share the thread.
async fn body(page: Arc<Page>, format: PageFormat, is_gzip: bool) -> Bytes {
    let is_at_hand = page.is_at_hand(format, is_gzip);
    let take = move || if is_gzip { page.gzip(format) } else { page.plain(format) };
    if is_at_hand {
        return take();
    }
    // It fails only when the runtime ends, and this connection with it.
    tokio::task::spawn_blocking(take).await.unwrap_or_default()
}

/// A header that may come in several lines, as one.
fn list(headers: &HeaderMap, name: &HeaderName) -> String {
    let lines: Vec<&str> =
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    lines.join(",")
}
