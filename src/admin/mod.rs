//! The daemon's own HTTP endpoint: is it well, and where did everything go.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Query, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tracing::info;

use crate::config::admin::{AdminConfig, AdminListen};
use crate::runtime::RuntimeState;
use crate::runtime::self_metrics;

use self::history::History;
use self::hosts::Hosts;
use self::top::{Asked, TopView};

mod health;
mod history;
mod hosts;
mod page;
mod reload;
mod server;
pub(crate) mod status;
mod tap;
pub mod top;

/// Why the endpoint cannot be bound.
#[derive(Debug, Error)]
#[error("cannot listen on {address} for the admin endpoint: {source}; change `admin: {{listen}}`")]
pub struct AdminError {
    address: SocketAddr,
    #[source]
    source: io::Error,
}

/// A bound socket that nobody answers on yet, or none where none is wanted.
#[derive(Debug)]
pub struct Bound(Option<TcpListener>);

/// The endpoint.
#[derive(Debug)]
pub struct Admin {
    listen: AdminListen,
    hosts: Hosts,
    shared: Shared,
    serving: Option<JoinHandle<()>>,
}

impl Bound {
    /// Binds what is configured.
    ///
    /// # Errors
    /// When the address is taken or not of this host.
    pub async fn new(listen: AdminListen) -> Result<Self, AdminError> {
        let AdminListen::Address(address) = listen else { return Ok(Self(None)) };
        let socket =
            TcpListener::bind(address).await.map_err(|source| AdminError { address, source })?;
        Ok(Self(Some(socket)))
    }
}

impl Admin {
    /// Answers there until it is dropped.
    #[must_use]
    pub fn start(config: &AdminConfig, bound: Bound, observed: Arc<RuntimeState>) -> Self {
        let shared = Shared { observed, history: Arc::default(), top: Arc::default() };
        let hosts = Hosts::new(&config.hosts);
        let mut admin = Self { listen: config.listen, hosts, shared, serving: None };
        admin.serve(bound);
        admin
    }

    /// Binds another address if another is configured; what is answered now goes on.
    ///
    /// # Errors
    /// When the address is taken or not of this host.
    pub async fn prepare(&self, config: &AdminConfig) -> Result<Option<Bound>, AdminError> {
        if config.listen == self.listen {
            Ok(None)
        } else {
            Bound::new(config.listen).await.map(Some)
        }
    }

    /// Goes on with other settings, and at another address if one was bound.
    pub fn apply(&mut self, config: &AdminConfig, bound: Option<Bound>) {
        self.hosts.replace(&config.hosts);
        self.listen = config.listen;
        if let Some(bound) = bound {
            self.serve(bound);
        }
    }

    fn serve(&mut self, Bound(socket): Bound) {
        self.stop();
        let Some(socket) = socket else { return };
        if let Ok(address) = socket.local_addr() {
            info!(%address, "admin endpoint: / /healthz /readyz /metrics /api/v1/status /api/v1/rejected /api/v1/top /api/v1/tap");
        }
        let Shared { observed, history, .. } = self.shared.clone();
        let router = router(&self.hosts, self.shared.clone());
        self.serving = Some(tokio::spawn(async move {
            tokio::select! {
                () = server::serve(socket, router) => {}
                () = history.keep(observed) => {}
            }
        }));
    }

    fn stop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
        }
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What the paths show.
#[derive(Clone, Debug)]
struct Shared {
    observed: Arc<RuntimeState>,
    history: Arc<History>,
    top: Arc<TopView>,
}

fn router(hosts: &Hosts, shared: Shared) -> Router {
    // What clients sent is in these.
    let guarded = Router::new()
        .route("/", get(page::show))
        .route("/api/v1/status", get(status))
        .route("/api/v1/rejected", get(rejected))
        .route("/api/v1/history", get(history))
        .route("/api/v1/reload", get(reload::show))
        .route("/api/v1/top", get(top))
        .route("/api/v1/tap", get(tap::stream))
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
    let page = self_metrics::page::write(&self_metrics::collect(&shared.observed));
    ([(CONTENT_TYPE, self_metrics::page::CONTENT_TYPE)], page).into_response()
}

async fn rejected(State(shared): State<Shared>) -> Json<status::Rejected> {
    Json(status::Rejected::of(&shared.observed))
}

async fn history(State(Shared { observed, history, .. }): State<Shared>) -> Json<history::Shown> {
    Json(history.show(&observed))
}

async fn top(
    State(Shared { observed, top, .. }): State<Shared>,
    Query(asked): Query<Asked>,
) -> Response {
    match top.answer(&asked, &observed).await {
        Ok(answer) => Json(answer).into_response(),
        Err(refused) => refused.into_response(),
    }
}

async fn not_found() -> (StatusCode, &'static str) {
    let paths = "try /, /healthz, /readyz, /metrics, /api/v1/status, /api/v1/rejected, \
                 /api/v1/history, /api/v1/reload, /api/v1/top or /api/v1/tap\n";
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
