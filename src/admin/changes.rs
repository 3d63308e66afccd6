//! Requests that change something: `DELETE /api/v1/series` and `POST /api/v1/reload`. They are answered
//! only for senders whom [`operators`] admits.

use std::time::Duration;

use api::reload::LastReload;
use api::series::{SeriesRemoved, parameter};
use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use basics::log_throttle::LogThrottle;
use basics::time::rfc3339;
use engine::series_filter::SeriesFilter;
use httpserver::{Identity, PeerUser};
use parking_lot::Mutex;
use rustix::process::{Signal, getpid, kill_process};
use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::{info, warn};

use super::json::VisibleJson;
use super::operators::{self, Requester};
use super::series::refusal;
use super::state::AdminState;
use crate::runtime::RuntimeState;

/// Most requests that change something at a time: each may wait for the end of a window.
const CHANGES_MAX: usize = 4;
static CHANGES: Semaphore = Semaphore::const_new(CHANGES_MAX);
static REFUSED: Mutex<LogThrottle> = Mutex::new(LogThrottle::new());
/// Maximum duration of a reload, which looks up names and drains the listeners that it removes.
const RELOAD_MAX: Duration = Duration::from_secs(60);
/// Pause between two looks at the outcomes of reloads.
const PAUSE: Duration = Duration::from_millis(20);

/// Removes the series that the parameters select.
pub(super) async fn remove_series(
    State(AdminState { runtime, .. }): State<AdminState>,
    RawQuery(query): RawQuery,
    user: Option<Extension<PeerUser>>,
    identity: Option<Extension<Identity>>,
) -> Response {
    let (sender, permit) = match authorise(&runtime, user, identity).await {
        Ok(authorised) => authorised,
        Err(refused) => return refused,
    };
    let query = query.unwrap_or_default();
    let filter = match parse(&query) {
        Ok(filter) => filter,
        Err(words) => return refusal(StatusCode::BAD_REQUEST, &words),
    };
    // Until the series are removed, even if the client does not wait for the answer.
    let done = move |removed| {
        info!(%sender, query, removed, "series removed");
        drop(permit);
    };
    let Ok(removed) = runtime.values.remove(filter, done).await else {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping");
    };
    VisibleJson(SeriesRemoved { removed: removed as u64 }).into_response()
}

/// The series to remove. Without a condition, a mistake would remove all of them.
fn parse(query: &str) -> Result<SeriesFilter, String> {
    let (mut names, mut tags, mut types) = (Vec::new(), Vec::new(), Vec::new());
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            parameter::MATCH => names.push(value.into_owned()),
            parameter::TAG => tags.push(value.into_owned()),
            parameter::TYPE => types.push(value.into_owned()),
            _ => return Err(format!("unknown parameter `{key}`: expected match, tag or type")),
        }
    }
    if names.is_empty() {
        return Err("`match` is missing: use `match=*` to remove series of every name".to_owned());
    }
    SeriesFilter::new(&names, &tags, &types)
}

/// Reloads the configuration, and answers with the outcome.
pub(super) async fn reload(
    State(AdminState { runtime, .. }): State<AdminState>,
    user: Option<Extension<PeerUser>>,
    identity: Option<Extension<Identity>>,
) -> Response {
    let (sender, permit) = match authorise(&runtime, user, identity).await {
        Ok(authorised) => authorised,
        Err(refused) => return refused,
    };
    let _permit = permit;
    info!(%sender, "reload requested");
    // Not the outcome of one that is running: it may have read the file before its latest change.
    let started = runtime.config.reloads().started;
    // The same way as from outside: reloads have one queue, and one order with a stop.
    if let Err(error) = kill_process(getpid(), Signal::HUP) {
        return refusal(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string());
    }
    let outcome = async {
        loop {
            if let Some(outcome) = runtime.config.outcome_after(started) {
                return outcome;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    match tokio::time::timeout(RELOAD_MAX, outcome).await {
        Ok(last) => {
            let (at, changes) = (rfc3339(last.at), last.changes);
            VisibleJson(LastReload { at, changes, error: last.error }).into_response()
        }
        Err(_) => refusal(StatusCode::GATEWAY_TIMEOUT, "the reload has not ended yet: see the log"),
    }
}

fn busy() -> Response {
    let words = "too many changes at a time: try again when the open window has ended";
    refusal(StatusCode::TOO_MANY_REQUESTS, words)
}

/// The sender of the request, if it may change something, and a place among the changes.
async fn authorise(
    runtime: &RuntimeState,
    user: Option<Extension<PeerUser>>,
    identity: Option<Extension<Identity>>,
) -> Result<(Requester, SemaphorePermit<'static>), Response> {
    let (user, identity) = (user.map(|Extension(user)| user), identity.map(|Extension(one)| one));
    let Some(sender) = Requester::of(user, identity) else {
        return Err(refused(None, operators::ANONYMOUS));
    };
    // Before the question, and until its answer: a directory of users may take its time.
    let Ok(permit) = CHANGES.try_acquire() else { return Err(busy()) };
    let operators = runtime.config.current().config.admin.operators.clone();
    let asked = sender.clone();
    let check = move || (operators::check(&asked, &operators), permit);
    match tokio::task::spawn_blocking(check).await {
        Ok((Ok(()), permit)) => Ok((sender, permit)),
        Ok((Err(words), _)) => Err(refused(Some(&sender), &words)),
        Err(error) => Err(refused(Some(&sender), &error.to_string())),
    }
}

/// Refuses a request. Everyone who can connect may send one, so the log gets a bounded number of lines.
fn refused(sender: Option<&Requester>, words: &str) -> Response {
    if let Some(count) = REFUSED.lock().count(1) {
        let sender = sender.map(tracing::field::display);
        warn!(count, sender, "requests to change something refused: {words}");
    }
    refusal(StatusCode::FORBIDDEN, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removal_needs_a_name() {
        assert!(parse("match=a.*&type=gauge&tag=host=a").is_ok());
        assert!(parse("type=gauge").unwrap_err().contains("match=*"));
        assert!(parse("match=a&limit=1").unwrap_err().contains("unknown parameter"));
    }
}
