//! One poll of a server on request, without state: for `/probe` of the page for Prometheus.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use binrpc::{BinrpcClient, BinrpcEndpoint, CallError, CallTimeouts, ClientOptions, DecodeLimits};
use model::{MetricKind, Point, Series, Sum, TotalValue, Value};

use crate::method_state::MethodState;
use crate::methods::{self, KnownMethod};
use crate::poll_metrics;
use crate::reading::{Reading, ReadingValue, Readings};

/// Maximum length of a reply, in bytes: the default of `kamailio[].max_reply`.
const REPLY_BYTES_MAX: usize = 8 << 20;

/// The result of a poll.
#[derive(Debug)]
pub struct ScrapedServer {
    /// The points, at most one for each series.
    pub points: Vec<Point>,
    /// Why the poll failed; `None` if all calls were answered. The points are then those received
    /// before.
    pub failure: Option<String>,
}

/// Polls the default methods of a server once, within `limit`. Totals are as the server reports them.
pub async fn scrape(endpoint: BinrpcEndpoint, limit: Duration) -> ScrapedServer {
    let started = Instant::now();
    let mut readings = Readings::default();
    let failure = match tokio::time::timeout(limit, call(endpoint, limit, &mut readings)).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("the poll took longer than {}s", limit.as_secs_f64())),
    };
    let is_up = f64::from(u8::from(failure.is_none()));
    readings.level(poll_metrics::UP, &[], is_up);
    readings.level(poll_metrics::COMPLETE, &[], is_up);
    readings.level(poll_metrics::DURATION, &[], started.elapsed().as_secs_f64());
    // A reply may contain a series twice: as in polls, the first total counts.
    let mut known = HashSet::new();
    let mut points: Vec<Point> = readings.0.into_iter().map(point).collect();
    points.retain(|point| known.insert(Arc::clone(&point.series)));
    ScrapedServer { points, failure }
}

/// Calls each default method. A method that the server lacks has no readings.
async fn call(
    endpoint: BinrpcEndpoint,
    limit: Duration,
    readings: &mut Readings,
) -> Result<(), CallError> {
    let options = ClientOptions {
        timeouts: CallTimeouts::all(limit),
        limits: DecodeLimits { bytes: REPLY_BYTES_MAX, ..DecodeLimits::default() },
    };
    let mut client = BinrpcClient::new(endpoint, options);
    for method in methods::defaults().map(KnownMethod::default_call).map(MethodState::new) {
        match client.call(method.request()).await {
            Ok(reply) => methods::map_reply(method.call(), &reply.records, readings),
            Err(CallError::Fault { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn point(reading: Reading) -> Point {
    let Reading { name, mut tags, value } = reading;
    tags.retain(|(_, value)| !value.is_empty());
    tags.sort();
    tags.dedup_by(|later, earlier| later.0 == earlier.0);
    let (kind, value) = match value {
        ReadingValue::Level(value) => (MetricKind::Gauge, Value::Gauge { value, arrival_ns: 0 }),
        ReadingValue::Total { total, .. } | ReadingValue::Growth { total, .. } => {
            let added = Sum::of(total);
            (MetricKind::Counter, Value::Total(Box::new(TotalValue { added, total })))
        }
        ReadingValue::Increment(count) => (MetricKind::Counter, Value::Counter(Sum::of(count))),
    };
    Point { series: Arc::new(Series::new(kind, &name, &tags)), value }
}
