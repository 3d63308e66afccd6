//! Connects the router with the HTTP server.

use api::path::AdminPath;
use axum::Router;
use axum::body::Body;
use httpserver::{Access, HttpLimits, HttpServer, PathAccess, SiteService};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;

use crate::config::admin::AdminConfig;

/// Longest head of a request.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Age from which the next reply is the last of its connection. A browser opens another one.
const LAST_REPLY_AFTER: Duration = Duration::from_secs(60);

/// Creates the server of the endpoint, with at most `connections_max` connections.
#[must_use]
pub fn http_server(
    config: &AdminConfig,
    access: Arc<Access>,
    connections_max: usize,
) -> HttpServer {
    let limits = limits(config, connections_max);
    HttpServer::new("admin".to_owned(), limits, "admin: {hosts: […]}", &config.hosts, access)
}

pub(super) fn limits(config: &AdminConfig, connections_max: usize) -> HttpLimits {
    let (head_max, stall_max) = (config.request_timeout.get(), config.write_timeout.get());
    HttpLimits {
        connections_max,
        head_max,
        head_bytes_max: HEAD_BYTES_MAX,
        stall_max,
        last_reply_after: LAST_REPLY_AFTER,
        age_max: LAST_REPLY_AFTER + head_max + stall_max,
    }
}

/// The paths of the endpoint.
#[derive(Clone, Debug)]
pub(super) struct AdminService(TowerToHyperService<Router>);

impl AdminService {
    pub(super) fn new(router: Router) -> Self {
        Self(TowerToHyperService::new(router))
    }
}

impl SiteService for AdminService {
    type Body = Body;

    fn access(&self, path: &str) -> PathAccess {
        let path = AdminPath::ALL.into_iter().find(|known| known.as_str() == path);
        path.map_or(PathAccess::Open, access)
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        match self.0.call(request).await {
            Ok(reply) => reply,
            Err(never) => match never {},
        }
    }
}

/// Returns who may request a path. Replies with data of clients, and costly ones, are restricted.
fn access(path: AdminPath) -> PathAccess {
    match path {
        AdminPath::Healthz | AdminPath::Readyz => PathAccess::Health,
        AdminPath::Metrics => PathAccess::Open,
        AdminPath::Index | AdminPath::Status | AdminPath::Rejected | AdminPath::History => {
            PathAccess::ByName
        }
        AdminPath::Reload
        | AdminPath::Config
        | AdminPath::Top
        | AdminPath::Series
        | AdminPath::Chart
        | AdminPath::Tap => PathAccess::OwnSite,
    }
}
