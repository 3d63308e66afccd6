//! What `/api/v1/top` says: which metrics, tag keys and senders there is most of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tracing::error;

use crate::config::admin::TopConfig;
use crate::runtime::Observed;
use basics::largest::largest;
use basics::time::rfc3339_ms;
use engine::aggregator::activity::{GROWTH_WINDOWS, MetricActivity, TOP_METRICS_MAX, TopMetrics};
use engine::aggregator::registry::Registry;
use engine::aggregator::tags;
use engine::listener::senders::SenderTraffic;

/// Rows of each list unless somebody asks for another number, at most [`TOP_METRICS_MAX`].
const LIMIT: usize = 100;
/// What the tags were is told again for so long: to look at a million series takes a while.
const TAGS_KEPT: Duration = Duration::from_secs(10);
/// And for so many times as long as the look took.
const TAGS_KEPT_TIMES: u32 = 20;
/// A look at the tags ends after this long, wherever it is.
const TAGS_LOOK_MAX: Duration = Duration::from_secs(5);

/// What stands behind the `?`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Asked {
    limit: usize,
    sort: Sort,
    parts: String,
}

impl Default for Asked {
    fn default() -> Self {
        Self { limit: LIMIT, sort: Sort::default(), parts: "metrics,tag_keys,senders".to_owned() }
    }
}

/// By what metrics are sorted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Sort {
    /// Samples in the last window.
    #[default]
    Samples,
    /// Series.
    Series,
    /// Series that are new.
    NewSeries,
}

/// All that was asked for.
#[derive(Debug, Serialize)]
pub(super) struct Top {
    instance: String,
    uptime_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics: Option<Metrics>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag_keys: Option<TagKeys>,
    #[serde(skip_serializing_if = "Option::is_none")]
    senders: Option<Senders>,
}

/// As of the last window.
#[derive(Debug, Serialize)]
struct Metrics {
    window_end: Option<String>,
    interval_s: f64,
    new_within_s: f64,
    total: u64,
    window_samples: u64,
    sort: Sort,
    top: Vec<Metric>,
}

#[derive(Debug, Serialize)]
struct Metric {
    name: String,
    samples: u64,
    window_samples: u64,
    series: u64,
    new_series: u64,
    overflowed: u64,
}

/// As of the latest look at all series.
#[derive(Clone, Debug, Serialize)]
struct TagKeys {
    age_s: f64,
    took_s: f64,
    series: u64,
    is_complete: bool,
    other_keys: u64,
    top: Vec<TagKey>,
}

#[derive(Clone, Debug, Serialize)]
struct TagKey {
    key: String,
    values: u64,
    series: u64,
}

/// Since somebody began to ask for them.
#[derive(Debug, Serialize)]
struct Senders {
    counted_for_s: f64,
    top: Vec<Sender>,
    others: Row,
}

#[derive(Debug, Serialize)]
struct Sender {
    listener: String,
    sender: String,
    #[serde(flatten)]
    row: Row,
}

#[derive(Debug, Serialize)]
struct Row {
    datagrams: u64,
    bytes: u64,
    messages: u64,
    rejected: u64,
}

/// Answers, and keeps what the tags were for a while.
#[derive(Debug, Default)]
pub(super) struct TopView {
    /// The lock is held during a look, so that there is one at a time.
    tags: Mutex<Option<TagsLook>>,
}

#[derive(Debug)]
struct TagsLook {
    at: Instant,
    took: Duration,
    tags: TagKeys,
}

/// What is wrong with a question.
type Refused = (StatusCode, String);

impl TopView {
    pub(super) async fn answer(&self, asked: &Asked, observed: &Observed) -> Result<Top, Refused> {
        if asked.limit == 0 || asked.limit > TOP_METRICS_MAX {
            return Err(refused(&format!("limit must be 1 to {TOP_METRICS_MAX}")));
        }
        let running = observed.configured.running();
        let TopConfig { max_tag_keys, max_senders } = running.config.admin.top;
        let (mut metrics, mut tag_keys, mut senders) = (None, None, None);
        for part in asked.parts.split(',') {
            match part {
                "metrics" => metrics = Some(Metrics::of(observed, asked)),
                "tag_keys" => {
                    tag_keys = Some(self.tags(&observed.registry, max_tag_keys, asked.limit).await);
                }
                "senders" => senders = Some(senders_of(observed, max_senders, asked.limit)),
                _ => return Err(refused("parts are metrics, tag_keys and senders, with commas")),
            }
        }
        let uptime_s = observed.started.elapsed().as_secs_f64();
        Ok(Top { instance: observed.instance.clone(), uptime_s, metrics, tag_keys, senders })
    }

    async fn tags(&self, registry: &Arc<Registry>, most: usize, limit: usize) -> TagKeys {
        let mut kept = self.tags.lock().await;
        let is_old =
            |look: &TagsLook| look.at.elapsed() > TAGS_KEPT.max(look.took * TAGS_KEPT_TIMES);
        if kept.as_ref().is_none_or(is_old) {
            let registry = Arc::clone(registry);
            // The runtime's threads have forwarders to run.
            match tokio::task::spawn_blocking(move || look_at_tags(&registry, most)).await {
                Ok(look) => *kept = Some(look),
                Err(error) => error!(%error, "cannot look at the tags"),
            }
        }
        let Some(look) = &*kept else { return TagKeys::none() };
        let age_s = look.at.elapsed().as_secs_f64();
        let top = look.tags.top.iter().take(limit).cloned().collect();
        TagKeys { age_s, top, ..look.tags }
    }
}

fn senders_of(observed: &Observed, most: usize, limit: usize) -> Senders {
    let parts = observed.parts.now();
    let (mut counted_for, mut others) = (Duration::ZERO, SenderTraffic::default());
    let mut by_sender: BTreeMap<(&str, String), SenderTraffic> = BTreeMap::new();
    if most > 0 {
        for stats in &parts.listeners {
            let seen = stats.senders().report(most);
            counted_for = counted_for.max(seen.counted_for);
            others.add(&seen.others);
            for (who, sent) in seen.by_sender {
                // Threads of one listener share its name, and may share a sender.
                by_sender.entry((stats.label(), who.to_string())).or_default().add(&sent);
            }
        }
    }
    let counted = by_sender.iter().map(|(who, sent)| (sent.messages, (who, sent)));
    let most = largest(counted, limit, |(who, sent)| (who, sent.bytes));
    let top: Vec<_> = most
        .into_iter()
        .filter_map(|(_, (who, _))| Some((who.clone(), by_sender.get(who)?)))
        .map(|((listener, sender), sent)| Sender {
            listener: listener.to_owned(),
            sender,
            row: Row::of(sent),
        })
        .collect();
    if by_sender.len() > top.len() {
        for (who, sent) in &by_sender {
            let is_shown = top.iter().any(|one| one.listener == who.0 && one.sender == who.1);
            if !is_shown {
                others.add(sent);
            }
        }
    }
    Senders { counted_for_s: counted_for.as_secs_f64(), top, others: Row::of(&others) }
}

fn refused(words: &str) -> Refused {
    (StatusCode::BAD_REQUEST, format!("{words}\n"))
}

/// Looks at all series, some at a time: a listener that meets a new one waits for none of this.
fn look_at_tags(registry: &Registry, most: usize) -> TagsLook {
    let at = Instant::now();
    let (mut keys, mut next) = (tags::TagCardinality::new(most), Some(0));
    while let Some(from) = next
        && at.elapsed() < TAGS_LOOK_MAX
    {
        let (some, then) = registry.series_page(from);
        some.iter().for_each(|series| keys.add(series));
        next = then;
    }
    let top = keys.by_values().into_iter();
    let took = at.elapsed();
    let tags = TagKeys {
        took_s: took.as_secs_f64(),
        series: keys.series(),
        is_complete: next.is_none(),
        other_keys: keys.other_keys(),
        top: top
            .map(|one| TagKey { key: one.key, values: one.values, series: one.series })
            .collect(),
        ..TagKeys::none()
    };
    TagsLook { at, took, tags }
}

impl Metrics {
    fn of(observed: &Observed, asked: &Asked) -> Self {
        let interval_s = observed.windows.counts().interval.as_secs_f64();
        let busiest = observed.windows.top_metrics();
        let rows = busiest.as_deref().map_or(&[][..], |busiest| sorted(busiest, asked.sort));
        let rows = &rows[..rows.len().min(asked.limit)];
        let overflowed = observed.registry.overflowed(rows.iter().map(MetricActivity::name));
        let busiest = busiest.as_deref();
        Self {
            window_end: busiest.map(|busiest| rfc3339_ms(busiest.end_ms)),
            interval_s,
            new_within_s: interval_s * GROWTH_WINDOWS as f64,
            total: busiest.map_or(0, |busiest| busiest.metrics),
            window_samples: busiest.map_or(0, |busiest| busiest.window_samples),
            sort: asked.sort,
            top: rows.iter().zip(overflowed).map(|(row, folded)| Metric::of(row, folded)).collect(),
        }
    }
}

fn sorted(busiest: &TopMetrics, sort: Sort) -> &[MetricActivity] {
    match sort {
        Sort::Samples => &busiest.by_samples,
        Sort::Series => &busiest.by_series,
        Sort::NewSeries => &busiest.by_new_series,
    }
}

impl Metric {
    fn of(metric: &MetricActivity, overflowed: u64) -> Self {
        Self {
            name: metric.name().to_owned(),
            samples: metric.samples,
            window_samples: metric.window_samples,
            series: metric.series,
            new_series: metric.new_series,
            overflowed,
        }
    }
}

impl TagKeys {
    /// As long as nobody has looked.
    fn none() -> Self {
        let top = Vec::new();
        Self { age_s: 0.0, took_s: 0.0, series: 0, is_complete: false, other_keys: 0, top }
    }
}

impl Row {
    fn of(sent: &SenderTraffic) -> Self {
        let SenderTraffic { datagrams, bytes, messages, rejected } = *sent;
        Self { datagrams, bytes, messages, rejected }
    }
}
