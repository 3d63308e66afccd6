//! What a reload would do at this moment: the daemon reads its configuration, and changes nothing.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::Semaphore;

use super::Shared;
use crate::runtime::running_config::{ReloadPlan, RunningConfig};

/// One look at a time: each reads files and looks up names.
static LOOKS: Semaphore = Semaphore::const_new(1);

/// What `/api/v1/reload` says.
#[derive(Debug, Serialize)]
struct Forecast {
    file: Option<String>,
    /// What would be different, a line for each key.
    changes: Vec<String>,
    /// Why it would be refused.
    error: Option<String>,
}

pub(super) async fn show(State(Shared { observed, .. }): State<Shared>) -> Response {
    let Ok(_looking) = LOOKS.try_acquire() else {
        let words = "somebody else asks at the moment: try again\n";
        return (StatusCode::SERVICE_UNAVAILABLE, words).into_response();
    };
    let configured = Arc::clone(&observed.config);
    match tokio::task::spawn_blocking(move || Forecast::of(&configured)).await {
        Ok(forecast) => Json(forecast).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

impl Forecast {
    fn of(configured: &RunningConfig) -> Self {
        let file = configured.file().map(|file| file.display().to_string());
        match configured.plan_reload() {
            Ok(ReloadPlan { changes, .. }) => Self { file, changes, error: None },
            Err(unfit) => Self { file, changes: Vec::new(), error: Some(unfit.to_string()) },
        }
    }
}
