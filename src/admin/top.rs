//! The reply of `/api/v1/top`: the metrics, tag keys and senders with the most samples, values and
//! messages.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::top::{
    MetricRanking, ROWS_MAX, SenderRanking, SentCounts, TagKeyRanking, Top, TopMetric, TopPart,
    TopQuery, TopSender, TopSort, TopTagKey,
};
use tokio::sync::Mutex;
use tracing::error;

use crate::config::admin::TopConfig;
use crate::runtime::RuntimeState;
use basics::largest::largest;
use basics::time::rfc3339_ms;
use engine::aggregator::activity::{
    GROWTH_WINDOWS, MetricActivity, TOP_METRICS_MAX, WindowTopMetrics,
};
use engine::aggregator::registry::Registry;
use engine::aggregator::tags::TagCardinality;
use engine::listener::senders::SenderTraffic;

/// How long a scan of the tags is used at least: scanning a million series takes a while.
const SCAN_KEPT: Duration = Duration::from_secs(10);
/// How long it is used as a multiple of the time that it took.
const SCAN_KEPT_TIMES: u32 = 20;
/// A scan ends after this time, complete or not.
const SCAN_MAX: Duration = Duration::from_secs(5);

// The aggregator keeps as many metrics as a query may ask for.
const _: () = assert!(ROWS_MAX == TOP_METRICS_MAX);

/// Answers queries, and keeps the latest scan of the tags.
#[derive(Debug, Default)]
pub(super) struct TopView {
    /// The lock is held during a scan, so that only one runs at a time.
    scan: Mutex<Option<TagScan>>,
}

#[derive(Debug)]
struct TagScan {
    at: Instant,
    took: Duration,
    keys: TagKeyRanking,
}

impl TagScan {
    fn is_old(&self) -> bool {
        self.at.elapsed() > SCAN_KEPT.max(self.took * SCAN_KEPT_TIMES)
    }
}

impl TopView {
    /// Answers a query.
    ///
    /// # Errors
    /// A sentence that names the wrong parameter and its valid values.
    pub(super) async fn answer(
        &self,
        query: &TopQuery,
        runtime: &RuntimeState,
    ) -> Result<Top, String> {
        let limit = query.limit;
        if limit == 0 || limit > ROWS_MAX {
            return Err(format!("limit must be 1 to {ROWS_MAX}"));
        }
        let running = runtime.config.current();
        let TopConfig { max_tag_keys, max_senders } = running.config.admin.top;
        let uptime_s = runtime.started.elapsed().as_secs_f64();
        let mut top = Top { instance: runtime.instance.clone(), uptime_s, ..Top::default() };
        for part in query.parts.split(',') {
            let part = TopPart::from_word(part)
                .ok_or("parts must be metrics, tag_keys or senders, separated by commas")?;
            match part {
                TopPart::Metrics => top.metrics = Some(metrics(runtime, query)),
                TopPart::TagKeys => {
                    let keys = self.tag_keys(&runtime.registry, max_tag_keys, limit).await;
                    top.tag_keys = Some(keys);
                }
                TopPart::Senders => top.senders = Some(senders(runtime, max_senders, limit)),
            }
        }
        Ok(top)
    }

    async fn tag_keys(&self, registry: &Arc<Registry>, most: usize, limit: usize) -> TagKeyRanking {
        let mut kept = self.scan.lock().await;
        if kept.as_ref().is_none_or(TagScan::is_old) {
            let registry = Arc::clone(registry);
            // The threads of the runtime have forwarders to run.
            match tokio::task::spawn_blocking(move || scan_tags(&registry, most)).await {
                Ok(scan) => *kept = Some(scan),
                Err(error) => error!(%error, "cannot scan the tags"),
            }
        }
        let Some(scan) = &*kept else { return TagKeyRanking::default() };
        let age_s = scan.at.elapsed().as_secs_f64();
        let top = scan.keys.top.iter().take(limit).cloned().collect();
        TagKeyRanking { age_s, top, ..scan.keys }
    }
}

/// Scans all series, some at a time: a listener that meets a new series does not wait for the scan.
fn scan_tags(registry: &Registry, most: usize) -> TagScan {
    let at = Instant::now();
    let (mut keys, mut next) = (TagCardinality::new(most), Some(0));
    while let Some(from) = next
        && at.elapsed() < SCAN_MAX
    {
        let (some, then) = registry.series_page(from);
        some.iter().for_each(|series| keys.add(series));
        next = then;
    }
    let top = keys.by_values().into_iter();
    let took = at.elapsed();
    let keys = TagKeyRanking {
        age_s: 0.0,
        took_s: took.as_secs_f64(),
        series: keys.series(),
        is_complete: next.is_none(),
        other_keys: keys.other_keys(),
        top: top
            .map(|one| TopTagKey { key: one.key, values: one.values, series: one.series })
            .collect(),
    };
    TagScan { at, took, keys }
}

/// Counts by listener and sender.
type BySender<'a> = BTreeMap<(&'a str, String), SenderTraffic>;

fn senders(runtime: &RuntimeState, most: usize, limit: usize) -> SenderRanking {
    let components = runtime.components.now();
    let (mut counted_for, mut others) = (Duration::ZERO, SenderTraffic::default());
    let mut by_sender = BySender::new();
    if most > 0 {
        for stats in &components.listeners {
            let seen = stats.senders().report(most);
            counted_for = counted_for.max(seen.counted_for);
            others.add(&seen.others);
            for (sender, sent) in seen.by_sender {
                // The threads of one listener share its name, and may share a sender.
                by_sender.entry((stats.label(), sender.to_string())).or_default().add(&sent);
            }
        }
    }
    let counted = by_sender.iter().map(|(key, sent)| (sent.messages, key));
    let first: Vec<_> = largest(counted, limit).into_iter().map(|(_, key)| key.clone()).collect();
    let mut top = Vec::new();
    for key in first {
        if let Some(sent) = by_sender.remove(&key) {
            let (listener, sender) = (key.0.to_owned(), key.1);
            top.push(TopSender { listener, sender, sent: counts(&sent) });
        }
    }
    by_sender.values().for_each(|sent| others.add(sent));
    SenderRanking { counted_for_s: counted_for.as_secs_f64(), top, others: counts(&others) }
}

fn counts(sent: &SenderTraffic) -> SentCounts {
    let SenderTraffic { datagrams, bytes, messages, rejected } = *sent;
    SentCounts { datagrams, bytes, messages, rejected }
}

fn metrics(runtime: &RuntimeState, query: &TopQuery) -> MetricRanking {
    let counts = runtime.windows.counts();
    let length = counts.last.map_or(counts.interval, |last| last.length);
    let window = runtime.windows.top_metrics();
    let window = window.as_deref();
    let mut rows = window.map_or_else(Vec::new, |window| sorted(window, query.sort));
    rows.truncate(query.limit);
    let overflowed = runtime.registry.overflowed(rows.iter().map(|row| row.name()));
    MetricRanking {
        window_end: window.map(|window| rfc3339_ms(window.end_ms)),
        interval_s: length.as_secs_f64(),
        new_within_s: counts.interval.as_secs_f64() * GROWTH_WINDOWS as f64,
        total: window.map_or(0, |window| window.metrics),
        window_samples: window.map_or(0, |window| window.window_samples),
        sort: query.sort.as_str().to_owned(),
        top: rows.iter().zip(overflowed).map(|(row, overflowed)| metric(row, overflowed)).collect(),
    }
}

fn sorted(window: &WindowTopMetrics, sort: TopSort) -> Vec<&MetricActivity> {
    match sort {
        TopSort::Samples => window.by_samples(),
        TopSort::Series => window.by_series(),
        TopSort::NewSeries => window.by_new_series(),
    }
}

fn metric(metric: &MetricActivity, overflowed: u64) -> TopMetric {
    TopMetric {
        name: metric.name().to_owned(),
        samples: metric.samples,
        window_samples: metric.window_samples,
        series: metric.series,
        new_series: metric.new_series,
        overflowed,
    }
}
