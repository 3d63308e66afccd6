//! The paths of the endpoint, each with its handler.

use std::sync::atomic::Ordering;

use api::history::History;
use api::path::AdminPath;
use api::rejected::RejectedList;
use api::status::Status;
use api::top::TopQuery;
use axum::extract::{Query, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use axum::{Router, middleware};

use super::json::VisibleJson;
use super::state::AdminState;
use super::{changes, chart, config, health, page, rejected, reload, series, status, tap};
use crate::runtime::self_metrics;

/// All paths of the endpoint.
pub(super) fn router(state: AdminState) -> Router {
    let paths = AdminPath::ALL.into_iter();
    paths
        .fold(Router::new(), |router, path| router.route(path.as_str(), handler(path)))
        .fallback(not_found)
        .layer(middleware::map_response(harden))
        .with_state(state)
}

fn handler(path: AdminPath) -> MethodRouter<AdminState> {
    match path {
        AdminPath::Index => get(page::show),
        AdminPath::Healthz => get(healthz),
        AdminPath::Readyz => get(readyz),
        AdminPath::Metrics => get(metrics),
        AdminPath::Status => get(status),
        AdminPath::Rejected => get(rejected),
        AdminPath::History => get(history),
        AdminPath::Reload => get(reload::show).post(changes::reload),
        AdminPath::Config => get(config::show),
        AdminPath::Top => get(top),
        AdminPath::Series => get(series::list).delete(changes::remove_series),
        AdminPath::Chart => get(chart::show),
        AdminPath::Tap => get(tap::stream),
    }
}

/// Healthy while windows are closed. A stop closes the last one.
async fn healthz(State(AdminState { runtime, .. }): State<AdminState>) -> Response {
    let complaint = health::complaint(&runtime.windows.counts());
    match complaint.filter(|_| runtime.is_ready.load(Ordering::Acquire)) {
        Some(complaint) => (StatusCode::SERVICE_UNAVAILABLE, complaint).into_response(),
        None => "ok\n".into_response(),
    }
}

/// Ready while every listener is bound and read.
async fn readyz(State(AdminState { runtime, .. }): State<AdminState>) -> Response {
    if runtime.is_ready.load(Ordering::Acquire) {
        (StatusCode::OK, "ready\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping: the listeners are no longer read\n")
            .into_response()
    }
}

async fn status(State(AdminState { runtime, .. }): State<AdminState>) -> VisibleJson<Status> {
    VisibleJson(status::of(&runtime))
}

async fn metrics(State(AdminState { runtime, .. }): State<AdminState>) -> Response {
    let page = self_metrics::page::write(&self_metrics::collect(&runtime));
    ([(CONTENT_TYPE, self_metrics::page::CONTENT_TYPE)], page).into_response()
}

async fn rejected(
    State(AdminState { runtime, .. }): State<AdminState>,
) -> VisibleJson<RejectedList> {
    VisibleJson(rejected::latest(&runtime))
}

async fn history(
    State(AdminState { runtime, history, .. }): State<AdminState>,
) -> VisibleJson<History> {
    VisibleJson(history.show(&runtime))
}

async fn top(
    State(AdminState { runtime, top, .. }): State<AdminState>,
    Query(query): Query<TopQuery>,
) -> Response {
    match top.answer(&query, &runtime).await {
        Ok(answer) => VisibleJson(answer).into_response(),
        Err(words) => (StatusCode::BAD_REQUEST, format!("{words}\n")).into_response(),
    }
}

async fn not_found() -> (StatusCode, String) {
    (StatusCode::NOT_FOUND, try_these())
}

/// All paths, as a sentence.
fn try_these() -> String {
    let [first @ .., last] = AdminPath::ALL.map(AdminPath::as_str);
    format!("try {} or {last}\n", first.join(", "))
}

/// Forbids browsers to guess the type of a reply, to cache it, and to give it to other sites.
async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let policy = HeaderName::from_static("cross-origin-resource-policy");
    headers.insert(policy, HeaderValue::from_static("same-origin"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_path_is_answered_with_all_paths() {
        assert_eq!(
            try_these(),
            "try /, /healthz, /readyz, /metrics, /api/v1/status, /api/v1/rejected, \
             /api/v1/history, /api/v1/reload, /api/v1/config, /api/v1/top, /api/v1/series, \
             /api/v1/chart or /api/v1/tap\n"
        );
    }
}
