//! The daemon's own HTTP endpoint: is it well, and where did everything go.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use forwarders::address::Listen;
use serde::Deserialize;
use thiserror::Error;
use tokio::net::TcpListener;
use tracing::{error, info};

use crate::observed::Observed;
use crate::own::{self, page};

mod status;

/// `admin`: the HTTP endpoint.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// `host:port`, or `none` for no endpoint. It has no password: on another address than loopback
    /// everybody who reaches it can read it. Defaults to `127.0.0.1:9495`.
    pub listen: AdminListen,
}

/// Where the endpoint listens.
pub type AdminListen = Listen<9495>;

/// Why the endpoint cannot be bound.
#[derive(Debug, Error)]
#[error("cannot listen on {address} for the admin endpoint: {source}; change `admin: {{listen}}`")]
pub struct AdminError {
    address: SocketAddr,
    #[source]
    source: io::Error,
}

/// The bound endpoint, not serving yet.
#[derive(Debug)]
pub struct Admin {
    socket: Option<TcpListener>,
}

impl Admin {
    /// Binds it.
    ///
    /// # Errors
    /// When the address is taken or not of this host.
    pub async fn bind(config: &AdminConfig) -> Result<Self, AdminError> {
        let AdminListen::Address(address) = config.listen else { return Ok(Self { socket: None }) };
        let socket =
            TcpListener::bind(address).await.map_err(|source| AdminError { address, source })?;
        if let Ok(address) = socket.local_addr() {
            info!(%address, "admin endpoint: /healthz /readyz /metrics /api/v1/status /api/v1/rejected");
        }
        Ok(Self { socket: Some(socket) })
    }

    /// Answers until the task is aborted.
    pub async fn serve(self, observed: Arc<Observed>) {
        let Some(socket) = self.socket else { return };
        let router = Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .route("/api/v1/status", get(status))
            .route("/api/v1/rejected", get(rejected))
            .fallback(not_found)
            .with_state(observed);
        if let Err(error) = axum::serve(socket, router).await {
            error!(%error, "the admin endpoint ended");
        }
    }
}

/// Ready while every listener is bound and read.
async fn readyz(State(observed): State<Arc<Observed>>) -> Response {
    if observed.is_ready.load(Ordering::Acquire) {
        (StatusCode::OK, "ready\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping: the listeners are not read any more\n")
            .into_response()
    }
}

async fn status(State(observed): State<Arc<Observed>>) -> Json<status::Status> {
    Json(status::Status::of(&observed))
}

async fn metrics(State(observed): State<Arc<Observed>>) -> Response {
    ([(CONTENT_TYPE, page::CONTENT_TYPE)], page::write(&own::gather(&observed))).into_response()
}

async fn rejected(State(observed): State<Arc<Observed>>) -> Json<status::Rejected> {
    Json(status::Rejected::of(&observed))
}

async fn not_found() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "try /healthz, /readyz, /metrics, /api/v1/status or /api/v1/rejected\n")
}
