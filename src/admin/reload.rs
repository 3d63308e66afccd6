//! `/api/v1/reload`: previews a reload. Reads the configuration and reports the changes that a reload
//! would make, without applying them.

use std::sync::Arc;

use api::reload::ReloadForecast;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use super::json::VisibleJson;
use super::state::AdminState;
use crate::runtime::running_config::{ReloadPlan, RunningConfig};

/// One forecast at a time: each reads files and looks up names.
static FORECASTS: Semaphore = Semaphore::const_new(1);

pub(super) async fn show(State(AdminState { runtime, .. }): State<AdminState>) -> Response {
    let Ok(_permit) = FORECASTS.try_acquire() else {
        let words = "another request is being answered: try again\n";
        return (StatusCode::SERVICE_UNAVAILABLE, words).into_response();
    };
    let config = Arc::clone(&runtime.config);
    match tokio::task::spawn_blocking(move || forecast(&config)).await {
        Ok(forecast) => VisibleJson(forecast).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn forecast(config: &RunningConfig) -> ReloadForecast {
    let file = config.file().map(|file| file.display().to_string());
    match config.plan_reload() {
        Ok(ReloadPlan { changes, .. }) => ReloadForecast { file, changes, error: None },
        Err(error) => ReloadForecast { file, changes: Vec::new(), error: Some(error.to_string()) },
    }
}
