//! `/api/v1/config`: every key of the running configuration.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use super::json::LongJson;
use super::series::refusal;
use super::state::AdminState;
use crate::config::effective;

/// Maximum number of replies at a time: with 200,000 keys, each has some ten megabytes.
const REPLIES_MAX: usize = 2;
static REPLIES: Semaphore = Semaphore::const_new(REPLIES_MAX);

pub(super) async fn show(State(AdminState { runtime, .. }): State<AdminState>) -> Response {
    let Ok(permit) = REPLIES.try_acquire() else {
        let words = "too many requests for the configuration at a time: try again";
        return refusal(StatusCode::TOO_MANY_REQUESTS, words);
    };
    // The threads of the runtime have forwarders to run.
    let answered = tokio::task::spawn_blocking(move || {
        LongJson::new(&effective::of(&runtime.config.current()), permit)
    });
    match answered.await {
        Ok(Ok(json)) => json.into_response(),
        Ok(Err(error)) => refusal(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        Err(error) => refusal(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}
