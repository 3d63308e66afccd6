//! The HTTP server of the endpoint. It bounds what a client can hold, and for how long.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::{debug, error};

/// Most open connections. Further ones wait in the kernel until one of these ends.
const CONNECTIONS_MAX: usize = 64;
/// How long the head of a request may take, and a connection may wait for its next request.
const HEAD_MAX: Duration = Duration::from_secs(5);
/// Longest head of a request.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Age from which the next reply is the last of its connection. A browser opens another one.
const CONNECTION_MAX: Duration = Duration::from_secs(60);
/// How long that reply may take.
const LAST_REPLY_MAX: Duration = Duration::from_secs(5);
/// How long the client of a long reply may read nothing.
const STALL_MAX: Duration = Duration::from_secs(10);
/// Pause between two checks of the age of a connection.
const LOOK: Duration = Duration::from_secs(1);
/// Pause after a failed accept, such as for lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// An extension of a reply that may take as long as its client reads. The reply is the last of its
/// connection.
#[derive(Clone, Debug)]
pub(super) struct LongReply(Arc<ReplyProgress>);

#[derive(Debug)]
struct ReplyProgress {
    began: Instant,
    /// When the client last made room, in milliseconds since the beginning.
    latest_ms: AtomicU64,
}

impl LongReply {
    pub(super) fn new() -> Self {
        Self(Arc::new(ReplyProgress { began: Instant::now(), latest_ms: AtomicU64::new(0) }))
    }

    /// Notes that the client has made room.
    pub(super) fn progress(&self) {
        let now_ms = self.0.began.elapsed().as_millis() as u64;
        self.0.latest_ms.store(now_ms, Ordering::Relaxed);
    }

    fn stalls(&self) -> bool {
        let latest = Duration::from_millis(self.0.latest_ms.load(Ordering::Relaxed));
        self.0.began.elapsed().saturating_sub(latest) > STALL_MAX
    }
}

/// Serves until the future is dropped, and closes all connections then.
pub(super) async fn serve(socket: TcpListener, router: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    // The semaphore is never closed, so this never fails.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        while connections.try_join_next().is_some() {}
        match socket.accept().await {
            Ok((stream, _)) => {
                let connection = connection(stream, router.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                error!(%error, "the admin endpoint cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, router: Router) {
    let began = Instant::now();
    let router = TowerToHyperService::new(router);
    let long: OnceLock<LongReply> = OnceLock::new();
    let service = service_fn(|request: Request<Incoming>| {
        let (reply, long) = (router.call(request), &long);
        async move {
            let mut reply = reply.await?;
            if let Some(reply) = reply.extensions_mut().remove::<LongReply>() {
                let _is_the_only_one = long.set(reply);
            }
            if began.elapsed() > CONNECTION_MAX {
                // In a header: a close without notice could cross the next request.
                reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(reply)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    // Cuts off a client that does not read.
    let too_long = async {
        loop {
            tokio::time::sleep(LOOK).await;
            let is_over = match long.get() {
                Some(reply) => reply.stalls(),
                None => began.elapsed() > CONNECTION_MAX + HEAD_MAX + LAST_REPLY_MAX,
            };
            if is_over {
                return;
            }
        }
    };
    tokio::select! {
        ended = connection => if let Err(error) = ended {
            debug!(%error, "a connection to the admin endpoint");
        },
        () = too_long => debug!("a connection to the admin endpoint took too long"),
    }
}
