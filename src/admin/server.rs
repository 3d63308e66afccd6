//! The endpoint's HTTP server: whoever connects can hold little, and not for long.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
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
/// After this long a connection gets no further request. A browser opens another one.
const CONNECTION_MAX: Duration = Duration::from_secs(60);
/// How long its last reply may take.
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
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = tokio::time::sleep(CONNECTION_MAX) => {
            connection.as_mut().graceful_shutdown();
            // Whoever does not read is cut off.
            tokio::time::timeout(LAST_REPLY_MAX, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection to the admin endpoint");
    }
}
