//! JSON replies that are safe to show in a terminal.

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use basics::escape::visible;
use serde::Serialize;

/// A JSON reply with escapes for the characters of senders that a terminal would obey.
pub(super) struct VisibleJson<T>(pub(super) T);

impl<T: Serialize> IntoResponse for VisibleJson<T> {
    fn into_response(self) -> Response {
        match serde_json::to_string(&self.0) {
            Ok(json) => {
                ([(CONTENT_TYPE, "application/json")], visible(&json).into_owned()).into_response()
            }
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        }
    }
}
