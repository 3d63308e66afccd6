//! The daemon's own HTTP endpoint: is it well, and where did everything go.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use forwarders::address::Listen;
use serde::Deserialize;
use thiserror::Error;
use tokio::net::TcpListener;
use tracing::info;

use crate::observed::Observed;
use crate::own;

use self::history::History;
use self::hosts::Hosts;

mod health;
mod history;
mod hosts;
mod page;
mod server;
mod status;

/// `admin`: the HTTP endpoint.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// `host:port`, or `none` for no endpoint. It has no password: on another address than loopback
    /// everybody who reaches it can read it. Defaults to `127.0.0.1:9495`.
    pub listen: AdminListen,
    /// Names of this host by which a browser may ask for the status page and for what clients sent,
    /// besides addresses, `localhost` and the system's own name. Others are refused: any web page
    /// could point a name of its own at this address. Defaults to none.
    pub hosts: Vec<String>,
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
    hosts: Hosts,
}

impl Admin {
    /// Binds it.
    ///
    /// # Errors
    /// When the address is taken or not of this host.
    pub async fn bind(config: &AdminConfig) -> Result<Self, AdminError> {
        let hosts = Hosts::new(&config.hosts);
        let AdminListen::Address(address) = config.listen else {
            return Ok(Self { socket: None, hosts });
        };
        let socket =
            TcpListener::bind(address).await.map_err(|source| AdminError { address, source })?;
        if let Ok(address) = socket.local_addr() {
            info!(%address, "admin endpoint: / /healthz /readyz /metrics /api/v1/status /api/v1/rejected");
        }
        Ok(Self { socket: Some(socket), hosts })
    }

    /// Answers until the task is aborted.
    pub async fn serve(self, observed: Arc<Observed>) {
        let Some(socket) = self.socket else { return };
        let history = Arc::<History>::default();
        let keeping = Arc::clone(&history).keep(Arc::clone(&observed));
        let router = router(&self.hosts, Shared { observed, history });
        tokio::select! {
            () = server::serve(socket, router) => {}
            () = keeping => {}
        }
    }
}

/// What the paths show.
#[derive(Clone)]
struct Shared {
    observed: Arc<Observed>,
    history: Arc<History>,
}

fn router(hosts: &Hosts, shared: Shared) -> Router {
    // What clients sent is in these.
    let guarded = Router::new()
        .route("/", get(page::show))
        .route("/api/v1/status", get(status))
        .route("/api/v1/rejected", get(rejected))
        .route("/api/v1/history", get(history))
        .layer(middleware::from_fn_with_state(hosts.clone(), hosts::check));
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .merge(guarded)
        .fallback(not_found)
        .layer(middleware::map_response(harden))
        .with_state(shared)
}

/// Well as long as windows are closed. During a stop the last one is.
async fn healthz(State(Shared { observed, .. }): State<Shared>) -> Response {
    let complaint = health::complaint(&observed.windows.counts());
    match complaint.filter(|_| observed.is_ready.load(Ordering::Acquire)) {
        Some(complaint) => (StatusCode::SERVICE_UNAVAILABLE, complaint).into_response(),
        None => "ok\n".into_response(),
    }
}

/// Ready while every listener is bound and read.
async fn readyz(State(Shared { observed, .. }): State<Shared>) -> Response {
    if observed.is_ready.load(Ordering::Acquire) {
        (StatusCode::OK, "ready\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping: the listeners are not read any more\n")
            .into_response()
    }
}

async fn status(State(shared): State<Shared>) -> Json<status::Status> {
    Json(status::Status::of(&shared.observed))
}

async fn metrics(State(shared): State<Shared>) -> Response {
    let page = own::page::write(&own::gather(&shared.observed));
    ([(CONTENT_TYPE, own::page::CONTENT_TYPE)], page).into_response()
}

async fn rejected(State(shared): State<Shared>) -> Json<status::Rejected> {
    Json(status::Rejected::of(&shared.observed))
}

async fn history(State(Shared { observed, history }): State<Shared>) -> Json<history::Shown> {
    Json(history.show(&observed))
}

async fn not_found() -> (StatusCode, &'static str) {
    let paths = "try /, /healthz, /readyz, /metrics, /api/v1/status, /api/v1/rejected or \
                 /api/v1/history\n";
    (StatusCode::NOT_FOUND, paths)
}

/// Says to browsers that it is what it says it is, of this moment, and for no other site.
async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let policy = HeaderName::from_static("cross-origin-resource-policy");
    headers.insert(policy, HeaderValue::from_static("same-origin"));
    response
}
