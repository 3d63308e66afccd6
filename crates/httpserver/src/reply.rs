//! Bodies of replies.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Response, StatusCode};

use crate::access::Denial;
use crate::activity::Activity;

/// An extension that marks a reply without a time limit, which lasts as long as its client reads.
/// Such a reply has to be the last of its connection.
#[derive(Clone, Copy, Debug)]
pub struct LongReply;

/// The body of a reply, which notes the progress of its connection.
#[derive(Debug)]
pub struct ReplyBody<B> {
    content: ReplyContent<B>,
    activity: Arc<Activity>,
}

#[derive(Debug)]
enum ReplyContent<B> {
    /// A line of text from the server itself.
    Words(Option<Bytes>),
    /// The body of the service.
    Served(B),
}

/// Wraps the reply of the service.
pub(crate) fn served<B>(reply: Response<B>, activity: Arc<Activity>) -> Response<ReplyBody<B>> {
    reply.map(|body| ReplyBody { content: ReplyContent::Served(body), activity })
}

/// A reply to a request that the client may not make.
pub(crate) fn denied<B>(denial: &Denial, activity: Arc<Activity>) -> Response<ReplyBody<B>> {
    let mut reply = words(denial.status(), denial.words(), activity);
    denial.add_headers(reply.headers_mut());
    reply
}

/// A reply with a line of text.
pub(crate) fn words<B>(
    status: StatusCode,
    text: &str,
    activity: Arc<Activity>,
) -> Response<ReplyBody<B>> {
    let content = ReplyContent::Words(Some(format!("{text}\n").into()));
    let mut reply = Response::new(ReplyBody { content, activity });
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}

impl<B: Body<Data = Bytes> + Unpin> Body for ReplyBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Self { content, activity } = &mut *self;
        // The server polls when its buffer has room, which means that the client has read, unless the kernel
        // has no room.
        activity.note_poll();
        match content {
            ReplyContent::Words(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            ReplyContent::Served(_) if activity.must_end() => Poll::Ready(None),
            ReplyContent::Served(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            ReplyContent::Words(text) => text.is_none(),
            ReplyContent::Served(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            ReplyContent::Words(text) => {
                SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64))
            }
            ReplyContent::Served(body) => body.size_hint(),
        }
    }
}
