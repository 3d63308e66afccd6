//! JSON replies that are safe to show in a terminal.

use std::any::Any;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use basics::escape::visible;
use hyper::body::{Frame, SizeHint};
use serde::Serialize;

/// Bytes of a long reply that are written at a time.
const CHUNK_BYTES: usize = 64 << 10;

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

/// A long JSON reply that holds a place among those at a time until its client has received it: slow
/// clients cannot make the daemon keep more of them.
pub(super) struct LongJson {
    json: Vec<u8>,
    /// Bytes of `json` that were passed on.
    written: usize,
    /// The place.
    _permit: Box<dyn Any + Send>,
}

impl LongJson {
    /// Writes a value. Blocks for long values.
    pub(super) fn new<T: Serialize>(
        value: &T,
        permit: impl Any + Send,
    ) -> Result<Self, serde_json::Error> {
        let json = visible(&serde_json::to_string(value)?).into_owned().into_bytes();
        Ok(Self { json, written: 0, _permit: Box::new(permit) })
    }
}

impl IntoResponse for LongJson {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, "application/json")], Body::new(self)).into_response()
    }
}

impl HttpBody for LongJson {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let rest = &self.json[self.written..];
        // A copy, because the server drops this body while the last chunk waits to be sent.
        let chunk = Bytes::copy_from_slice(&rest[..rest.len().min(CHUNK_BYTES)]);
        self.written += chunk.len();
        Poll::Ready((!chunk.is_empty()).then(|| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.written == self.json.len()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact((self.json.len() - self.written) as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_long_reply_holds_its_place_until_its_last_chunk() {
        let place = Arc::new(());
        let text = "x".repeat(2 * CHUNK_BYTES);
        let mut reply = LongJson::new(&text, Arc::clone(&place)).unwrap();
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut received = Vec::new();
        while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut reply).poll_frame(&mut context) {
            assert_eq!(Arc::strong_count(&place), 2);
            let chunk = frame.into_data().unwrap();
            assert!(chunk.len() <= CHUNK_BYTES);
            received.extend_from_slice(&chunk);
        }
        assert_eq!(received, format!("\"{text}\"").into_bytes());
        assert!(reply.is_end_stream());
        drop(reply);
        assert_eq!(Arc::strong_count(&place), 1);
    }
}
