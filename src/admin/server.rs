//! The endpoint's HTTP server: whoever connects can hold little, and not for long.

use std::convert::Infallible;
use std::sync::Arc;
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

/// Connections at a time. Further ones wait in the kernel until one of these ends.
const CONNECTIONS_MAX: usize = 64;
/// How long a request's head may take, and a connection wait for its next request.
const HEAD_MAX: Duration = Duration::from_secs(5);
/// How long a request's head may be.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// After this long the next reply is the last one of its connection. A browser opens another.
const CONNECTION_MAX: Duration = Duration::from_secs(60);
/// How long that may take.
const LAST_REPLY_MAX: Duration = Duration::from_secs(5);
/// How long not to accept after an error, such as no descriptor being left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until it is dropped, with all its connections.
pub(super) async fn serve(socket: TcpListener, router: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    // It is never closed, so there always comes a place.
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
    let service = service_fn(move |request: Request<Incoming>| {
        let reply = router.call(request);
        async move {
            let mut reply = reply.await?;
            if began.elapsed() > CONNECTION_MAX {
                // Said with a reply and not by closing, which could cross the next request.
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
    // Whoever does not read is cut off.
    match tokio::time::timeout(CONNECTION_MAX + HEAD_MAX + LAST_REPLY_MAX, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "a connection to the admin endpoint"),
        Err(_) => debug!("a connection to the admin endpoint took too long"),
    }
}
