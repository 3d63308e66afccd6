//! `/api/v1/tap`: what listeners receive, as server-sent events, for as long as the client reads.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::header::{CONNECTION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::body::{Body as HttpBody, Bytes, Frame};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::Shared;
use super::server::LongReply;
use engine::listener::tap::event;
use engine::listener::tap::filter::TapQuery;
use engine::listener::tap::taps::{Subscription, TapCounts, TapRefused};

/// How often waiting events are sent, those of one moment together.
const TICK: Duration = Duration::from_millis(50);
/// How often it is told what became of the messages. So a client also notices that the daemon is
/// gone, and the daemon that the client is.
const COUNTS: Duration = Duration::from_secs(1);
/// Most bytes that are sent together, and an event.
const FRAME_BYTES: usize = 64 << 10;
/// Browsers say where a script is from that asks: those of other sites have no business here, even
/// where they cannot read what is answered.
const SITE: &str = "sec-fetch-site";

pub(super) async fn stream(
    State(Shared { observed, .. }): State<Shared>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    if headers.get(SITE).is_some_and(|site| site == "cross-site") {
        return refusal(StatusCode::FORBIDDEN, "not for other sites");
    }
    let query = query.unwrap_or_default();
    let parameters: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    let query = match TapQuery::parse(parameters.iter().map(|(key, value)| (&**key, &**value))) {
        Ok(query) => query,
        Err(words) => return refusal(StatusCode::BAD_REQUEST, &words),
    };
    let subscription = match observed.taps.join(query) {
        Ok(subscription) => subscription,
        Err(TapRefused::TooMany(0)) => {
            let words = "taps are turned off: see `admin: {tap: {max_clients}}`";
            return refusal(StatusCode::FORBIDDEN, words);
        }
        Err(TapRefused::TooMany(max)) => {
            let words = format!(
                "there are as many taps as `admin: {{tap: {{max_clients}}}}` allows: {max}"
            );
            return refusal(StatusCode::TOO_MANY_REQUESTS, &words);
        }
        Err(TapRefused::Stopping) => {
            return refusal(StatusCode::SERVICE_UNAVAILABLE, "the daemon stops");
        }
    };
    let start = event::start(&observed.instance, subscription.rate());
    let reply = LongReply::new();
    let body = Body::new(TapBody::new(subscription, start, reply.clone()));
    // A connection is given to this alone: nothing comes behind it.
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CONNECTION, "close")];
    let mut response = (headers, body).into_response();
    response.extensions_mut().insert(reply);
    response
}

fn refusal(status: StatusCode, words: &str) -> Response {
    (status, format!("{words}\n")).into_response()
}

/// The events of a client, as long as it reads them.
struct TapBody {
    subscription: Subscription,
    reply: LongReply,
    tick: Interval,
    /// The first event, until it is sent.
    start: Option<Bytes>,
    /// Whether more waits than was sent together.
    has_more: bool,
    counted: TapCounts,
    counted_at: Instant,
    has_ended: bool,
}

impl TapBody {
    fn new(subscription: Subscription, start: Bytes, reply: LongReply) -> Self {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            subscription,
            reply,
            tick,
            start: Some(start),
            has_more: false,
            counted: TapCounts::default(),
            counted_at: Instant::now(),
            has_ended: false,
        }
    }

    /// What waits, up to the bytes of a frame.
    fn gather(&mut self) -> Vec<u8> {
        // Asked first: what comes before the end, or is counted as shown, is in the queue then.
        let is_closing = self.subscription.is_closing();
        let counts = self.subscription.counts();
        let mut frame = Vec::new();
        self.has_more = true;
        while frame.len() < FRAME_BYTES {
            let Some(event) = self.subscription.next() else {
                self.has_more = false;
                break;
            };
            frame.extend_from_slice(&event);
        }
        let passed = self.counted_at.elapsed();
        let is_last = is_closing && !self.has_more;
        if (passed >= COUNTS && !self.has_more) || is_last {
            let since = counts.since(&self.counted);
            frame.extend_from_slice(&event::counts(passed.as_secs_f64(), &since));
            (self.counted, self.counted_at) = (counts, Instant::now());
        }
        if is_last {
            frame.extend_from_slice(&event::end());
            self.has_ended = true;
        }
        frame
    }
}

impl HttpBody for TapBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        // It is asked for more when there is room, that is when the client reads.
        self.reply.progress();
        if let Some(start) = self.start.take() {
            return Poll::Ready(Some(Ok(Frame::data(start))));
        }
        if self.has_ended {
            return Poll::Ready(None);
        }
        loop {
            if !self.has_more {
                ready!(self.tick.poll_tick(context));
            }
            let frame = self.gather();
            if !frame.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(frame.into()))));
            }
        }
    }
}
