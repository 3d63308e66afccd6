//! `/api/v1/tap`: sends the messages that listeners receive, or the points that leave destinations, as
//! server-sent events, for as long as the client reads.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::{CONNECTION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use httpserver::LongReply;
use hyper::body::{Body as HttpBody, Bytes, Frame};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::output_tap::{self, OutputQuery, OutputSubscription};
use super::state::AdminState;
use crate::runtime::RuntimeState;
use engine::listener::tap::TapConfig;
use engine::listener::tap::event;
use engine::listener::tap::filter::TapQuery;
use engine::listener::tap::taps::{Subscription, TapCounts, TapRefused};

/// Pause between two frames: events that wait are sent together.
const TICK: Duration = Duration::from_millis(50);
/// Pause between two counts events. They also show the client that the daemon is alive, and the
/// daemon that the client is.
const COUNTS: Duration = Duration::from_secs(1);
/// The points a second that a client of output is shown at most: as many as its queue holds.
const OUTPUT_RATE: u64 = 8_192;
/// Size at which a frame takes no further event.
const FRAME_BYTES: usize = 64 << 10;

pub(super) async fn stream(
    State(AdminState { runtime, .. }): State<AdminState>,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    match OutputQuery::parse(&query) {
        Some(Ok(query)) => return stream_output(&runtime, query),
        Some(Err(words)) => return refusal(StatusCode::BAD_REQUEST, &words),
        None => {}
    }
    let parameters: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    let query = match TapQuery::parse(parameters.iter().map(|(key, value)| (&**key, &**value))) {
        Ok(query) => query,
        Err(words) => return refusal(StatusCode::BAD_REQUEST, &words),
    };
    match runtime.taps.join(query) {
        Ok(subscription) => {
            let rate = subscription.rate();
            events(TapSource::Listeners(subscription), &runtime.instance, rate)
        }
        Err(refused) => turn_away(refused),
    }
}

/// Shows what leaves destinations.
fn stream_output(runtime: &Arc<RuntimeState>, query: OutputQuery) -> Response {
    let TapConfig { max_clients, .. } = runtime.config.current().config.admin.tap;
    if runtime.taps.is_closing() {
        return turn_away(TapRefused::Stopping);
    }
    if !output_tap::exists(&runtime.components.now(), &query) {
        let names: Vec<_> =
            runtime.components.now().forwarders.iter().map(|one| one.name.clone()).collect();
        let words = format!("no forwarder has this name: expected one of {}", names.join(", "));
        return refusal(StatusCode::BAD_REQUEST, &words);
    }
    match OutputSubscription::join(runtime, query, max_clients) {
        Some(subscription) => {
            events(TapSource::Output(subscription), &runtime.instance, OUTPUT_RATE)
        }
        None => turn_away(TapRefused::TooMany(max_clients)),
    }
}

/// Where the events of a client come from.
enum TapSource {
    Listeners(Subscription),
    Output(OutputSubscription),
}

impl TapSource {
    fn next(&self) -> Option<Bytes> {
        match self {
            Self::Listeners(subscription) => subscription.next(),
            Self::Output(subscription) => subscription.next(),
        }
    }

    fn counts(&self) -> TapCounts {
        match self {
            Self::Listeners(subscription) => subscription.counts(),
            Self::Output(subscription) => subscription.counts(),
        }
    }

    fn is_closing(&self) -> bool {
        match self {
            Self::Listeners(subscription) => subscription.is_closing(),
            Self::Output(subscription) => subscription.is_closing(),
        }
    }

    /// Once a second.
    fn refresh(&self) {
        if let Self::Output(subscription) = self {
            subscription.watch_new_forwarders();
        }
    }
}

/// The reply that lasts as long as the client reads it.
fn events(source: TapSource, instance: &str, rate: u64) -> Response {
    let start = event::start(instance, rate);
    let body = Body::new(TapBody::new(source, start));
    // The connection ends with this reply.
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CONNECTION, "close")];
    let mut response = (headers, body).into_response();
    response.extensions_mut().insert(LongReply);
    response
}

fn turn_away(refused: TapRefused) -> Response {
    match refused {
        TapRefused::TooMany(0) => {
            let words = "taps are turned off: see `admin: {tap: {max_clients}}`";
            refusal(StatusCode::FORBIDDEN, words)
        }
        TapRefused::TooMany(max) => {
            let words = format!(
                "the limit of open taps is reached (`admin: {{tap: {{max_clients}}}}`): {max}"
            );
            refusal(StatusCode::TOO_MANY_REQUESTS, &words)
        }
        TapRefused::Stopping => refusal(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping"),
    }
}

fn refusal(status: StatusCode, words: &str) -> Response {
    (status, format!("{words}\n")).into_response()
}

/// The events for one client.
struct TapBody {
    source: TapSource,
    tick: Interval,
    /// The first event, until it is sent.
    start: Option<Bytes>,
    /// Whether events are left that did not fit into the latest frame.
    has_more: bool,
    counted: TapCounts,
    counted_at: Instant,
    has_ended: bool,
}

impl TapBody {
    fn new(source: TapSource, start: Bytes) -> Self {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            source,
            tick,
            start: Some(start),
            has_more: false,
            counted: TapCounts::default(),
            counted_at: Instant::now(),
            has_ended: false,
        }
    }

    /// The next frame: the events that wait, and the counts when they are due.
    fn gather(&mut self) -> Vec<u8> {
        // Read before the queue, so that the queue contains every event that is counted as shown or that
        // precedes the end.
        let is_closing = self.source.is_closing();
        let counts = self.source.counts();
        let mut frame = Vec::new();
        self.has_more = true;
        while frame.len() < FRAME_BYTES {
            let Some(event) = self.source.next() else {
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
            self.source.refresh();
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
