//! The metrics of a busy host, for benchmarks: realistic names, tags and values, identical in each
//! run.

use std::sync::Arc;

use super::snapshot_of;
use model::{MetricKind, Point, Series, Snapshot, Sum, Timer, Value};

/// Number of samples of a series in a window.
const SAMPLES_PER_POINT: usize = 20;

const COUNTERS: [&str; 8] = [
    "api.requests",
    "api.errors",
    "cache.hits",
    "cache.misses",
    "db.queries",
    "queue.pushed",
    "auth.logins",
    "http.bytes",
];
const GAUGES: [&str; 4] = ["queue.depth", "mem.used", "conn.open", "disk.free"];
const TIMERS: [&str; 4] = ["api.latency", "db.latency", "render.time", "rpc.time"];

const ENVIRONMENTS: [&str; 4] = ["prod", "prod", "prod", "staging"];
const STAGES: [&str; 5] = ["login", "search", "checkout", "browse", "logout"];
const REGIONS: [&str; 3] = ["eu-west-1", "us-east-1", "ap-south-1"];

/// One metric of a program. Of ten metrics, eight are counters, one is a gauge and one a timer.
#[derive(Clone, Debug)]
pub struct Metric {
    number: usize,
    /// Counter, gauge or timer.
    pub kind: MetricKind,
    /// One of a few names.
    pub name: &'static str,
    /// The tags in the order in which the program writes them, which is not sorted.
    pub tags: [(&'static str, String); 4],
}

impl Metric {
    /// Creates metric `number`; the tags differ for each number.
    #[must_use]
    pub fn new(number: usize) -> Self {
        let (kind, names) = match number % 10 {
            3 => (MetricKind::Gauge, &GAUGES[..]),
            7 => (MetricKind::Timer, &TIMERS[..]),
            _ => (MetricKind::Counter, &COUNTERS[..]),
        };
        let pick = |list: &[&'static str], place: usize| list[place % list.len()];
        let tags = [
            ("host", format!("web-{number}")),
            ("env", pick(&ENVIRONMENTS, number / 7).to_owned()),
            ("stage", pick(&STAGES, number / 3).to_owned()),
            ("region", pick(&REGIONS, number / 11).to_owned()),
        ];
        Self { number, kind, name: pick(names, number / 10), tags }
    }

    /// Creates timer `number`.
    #[must_use]
    pub fn timer(number: usize) -> Self {
        Self::new(10 * number + 7)
    }

    /// Returns the series, without an agent's tags.
    #[must_use]
    pub fn series(&self) -> Series {
        let mut tags = self.tags.clone();
        tags.sort();
        Series::new(self.kind, self.name, &tags)
    }

    /// Returns the value of sample `round`: mostly 1 for a counter, a level for a gauge,
    /// milliseconds with a long tail for a timer.
    #[must_use]
    pub fn value(&self, round: usize) -> f64 {
        let random = scramble((self.number as u64) << 32 | round as u64);
        // 53 bits, so that the double is exact; greater than 0 and at most 1, so that its logarithm
        // is finite.
        let share = ((random >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        match self.kind {
            MetricKind::Gauge => (share * 2_000.0).floor() / 2.0,
            MetricKind::Timer => ((2.0 - 12.0 * share.ln()) * 100.0).floor() / 100.0,
            _ if share < 0.8 => 1.0,
            _ => (share * 50.0).floor(),
        }
    }
}

/// Creates a window with this number of metrics.
#[must_use]
pub fn snapshot(points: usize) -> Snapshot {
    snapshot_of_metrics((0..points).map(Metric::new))
}

/// Creates a window with this number of timers and no other metrics.
#[must_use]
pub fn snapshot_of_timers(points: usize) -> Snapshot {
    snapshot_of_metrics((0..points).map(Metric::timer))
}

fn snapshot_of_metrics(metrics: impl Iterator<Item = Metric>) -> Snapshot {
    let empty = snapshot_of(Vec::new());
    let point = |metric: Metric| {
        let values = (0..SAMPLES_PER_POINT).map(|round| metric.value(round));
        let value = match metric.kind {
            MetricKind::Gauge => {
                Value::Gauge { value: metric.value(SAMPLES_PER_POINT), arrival_ns: 0 }
            }
            MetricKind::Timer => {
                let mut timer = Timer::default();
                values.for_each(|value| timer.record(value, 1.0, empty.exact_samples));
                Value::timer(timer, &empty.percentiles)
            }
            _ => Value::Counter(Sum::of(values.sum())),
        };
        Point { series: Arc::new(metric.series()), value }
    };
    Snapshot { points: metrics.map(point).collect(), ..empty.clone() }
}

/// Turns consecutive numbers into pseudorandom ones (SplitMix64).
#[must_use]
pub fn scramble(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ mixed >> 31
}
