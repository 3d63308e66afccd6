//! `/api/v1/series`: the current values of live series.

use std::collections::HashMap;
use std::sync::Arc;

use api::series::{LIMIT_DEFAULT, LIMIT_MAX, SeriesList, SeriesSort, SeriesValue, parameter};
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use basics::escape::visible;
use basics::time::rfc3339_ms;
use engine::aggregator::latest_window::{ListedSeries, LiveList};
use engine::series_filter::SeriesFilter;
use model::{MetricKind, Point, Series, Snapshot, Value};

use super::json::LongJson;
use super::state::AdminState;

/// Size at which a reply takes no further series, in bytes of JSON.
const REPLY_BYTES_MAX: usize = 4 << 20;

/// The parameters of a request.
#[derive(Clone, Debug)]
struct SeriesQuery {
    filter: SeriesFilter,
    sort: SeriesSort,
    is_reversed: bool,
    limit: usize,
    offset: usize,
}

pub(super) async fn list(
    State(AdminState { runtime, .. }): State<AdminState>,
    RawQuery(query): RawQuery,
) -> Response {
    let query = match SeriesQuery::parse(&query.unwrap_or_default()) {
        Ok(query) => query,
        Err(words) => return refusal(StatusCode::BAD_REQUEST, &words),
    };
    let max = runtime.config.current().config.admin.series.max_requests;
    let Some(permit) = runtime.values.admit(max) else {
        return refusal(
            StatusCode::TOO_MANY_REQUESTS,
            "too many requests for series at a time (`admin: {series: {max_requests}}`): try again",
        );
    };
    let Ok(live) = runtime.values.list().await else {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping");
    };
    let instance = runtime.instance.clone();
    // The threads of the runtime have forwarders to run.
    let answered = tokio::task::spawn_blocking(move || {
        LongJson::new(&SeriesList { instance, ..answer(&live, &query) }, permit)
    });
    match answered.await {
        Ok(Ok(json)) => json.into_response(),
        Ok(Err(error)) => refusal(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        Err(error) => refusal(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

pub(super) fn refusal(status: StatusCode, words: &str) -> Response {
    (status, format!("{words}\n")).into_response()
}

impl SeriesQuery {
    fn parse(query: &str) -> Result<Self, String> {
        let (mut names, mut tags, mut types) = (Vec::new(), Vec::new(), Vec::new());
        let (mut sort, mut limit, mut offset) = ((SeriesSort::Name, false), LIMIT_DEFAULT, 0);
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                parameter::MATCH => names.push(value.into_owned()),
                parameter::TAG => tags.push(value.into_owned()),
                parameter::TYPE => types.push(value.into_owned()),
                parameter::SORT => {
                    sort = SeriesSort::from_word(&value).ok_or_else(|| {
                        let words = SeriesSort::ALL.map(SeriesSort::as_str).join(", ");
                        format!("`sort` must be one of {words}, with - in front for the reverse")
                    })?;
                }
                parameter::LIMIT => {
                    let number = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
                    limit = number.ok_or_else(|| format!("`limit` must be 1 to {LIMIT_MAX}"))?;
                }
                parameter::OFFSET => {
                    offset = value.parse().map_err(|_| "`offset` must be a whole number")?;
                }
                _ => {
                    return Err(format!(
                        "unknown parameter `{key}`: expected match, tag, type, sort, limit or offset"
                    ));
                }
            }
        }
        let filter = SeriesFilter::new(&names, &tags, &types)?;
        Ok(Self { filter, sort: sort.0, is_reversed: sort.1, limit, offset })
    }
}

/// The points of a window by the address of their series, which live series share with it.
struct PointsBySeries<'a> {
    snapshot: Option<&'a Snapshot>,
    by_address: HashMap<*const Series, &'a Point>,
}

impl<'a> PointsBySeries<'a> {
    fn new(snapshot: Option<&'a Snapshot>) -> Self {
        let points = snapshot.map(|snapshot| snapshot.points.iter()).into_iter().flatten();
        let by_address = points.map(|point| (Arc::as_ptr(&point.series), point)).collect();
        Self { snapshot, by_address }
    }

    fn of(&self, listed: &ListedSeries) -> Option<&'a Point> {
        // The list holds both, so an address belongs to one series.
        self.by_address.get(&Arc::as_ptr(&listed.series)).copied()
    }

    fn value(&self, listed: &ListedSeries) -> Option<f64> {
        if listed.series.kind() == MetricKind::Gauge {
            return Some(listed.level);
        }
        self.of(listed).map(|point| point.value.headline())
    }
}

/// Answers a query. Takes a look at every series.
fn answer(live: &LiveList, query: &SeriesQuery) -> SeriesList {
    let mut matching: Vec<&ListedSeries> =
        live.series.iter().filter(|listed| query.filter.selects(&listed.series)).collect();
    let points = PointsBySeries::new(live.snapshot.as_deref());
    let matched = matching.len();
    let first = query.offset.min(matched);
    let end = first.saturating_add(query.limit).min(matched);
    sort(&mut matching, end, query, &points);
    let (mut series, mut bytes) = (Vec::new(), 0);
    for listed in &matching[first..end] {
        let row = row(listed, &points, live);
        bytes += json_bytes(&row);
        // One series always fits: a message has a maximum length.
        if bytes > REPLY_BYTES_MAX && !series.is_empty() {
            break;
        }
        series.push(row);
    }
    let next = first + series.len();
    SeriesList {
        instance: String::new(),
        window_end: live.snapshot.as_ref().map(|snapshot| rfc3339_ms(snapshot.window.end_ms)),
        interval_s: live.interval.as_secs_f64(),
        live: live.series.len() as u64,
        matched: matched as u64,
        offset: first as u64,
        next_offset: (next < matched).then_some(next as u64),
        series,
    }
}

/// The size of a series in a reply. Escapes can make it a multiple of its text.
fn json_bytes(row: &SeriesValue) -> usize {
    serde_json::to_string(row).map_or(0, |json| visible(&json).len())
}

/// Sorts the first `end` of the matching series; the others follow in no order.
fn sort(
    matching: &mut [&ListedSeries],
    end: usize,
    query: &SeriesQuery,
    points: &PointsBySeries<'_>,
) {
    let text = |listed: &ListedSeries, other: &ListedSeries| {
        let (one, other) = (&listed.series, &other.series);
        let names = one.name().cmp(other.name()).then_with(|| one.tags().cmp(other.tags()));
        names.then_with(|| one.kind().cmp(&other.kind()))
    };
    let value = |listed: &ListedSeries| points.value(listed).unwrap_or(f64::NEG_INFINITY);
    let by_sort = |one: &ListedSeries, other: &ListedSeries| match query.sort {
        SeriesSort::Name => text(one, other),
        SeriesSort::Value => value(other).total_cmp(&value(one)),
        SeriesSort::Idle => one.idle_windows.cmp(&other.idle_windows),
        SeriesSort::Age => one.age_windows.cmp(&other.age_windows),
    };
    let order = |one: &&ListedSeries, other: &&ListedSeries| {
        let ordering = by_sort(one, other);
        let ordering = if query.is_reversed { ordering.reverse() } else { ordering };
        ordering.then_with(|| text(one, other))
    };
    if end < matching.len() && end > 0 {
        let _selected = matching.select_nth_unstable_by(end - 1, order);
    }
    matching[..end].sort_unstable_by(order);
}

fn row(listed: &ListedSeries, points: &PointsBySeries<'_>, live: &LiveList) -> SeriesValue {
    let series = &listed.series;
    let mut value = SeriesValue {
        name: series.name().to_owned(),
        kind: series.kind().as_str().to_owned(),
        tags: series.tags().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        value: points.value(listed),
        idle_s: live.interval.as_secs_f64() * f64::from(listed.idle_windows),
        age_s: live.interval.as_secs_f64() * f64::from(listed.age_windows),
        ..SeriesValue::default()
    };
    if let (Some(point), Some(snapshot)) = (points.of(listed), points.snapshot) {
        point.value.for_each_field(snapshot, |field, number| {
            value.fields.insert(field.to_owned(), number);
        });
        if let Value::Total(total) = &point.value {
            value.total = Some(total.total);
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::testing::{counter, snapshot_of};

    use super::*;

    fn listed(point: &Point, idle_windows: u32, age_windows: u32) -> ListedSeries {
        ListedSeries { series: Arc::clone(&point.series), level: 0.0, idle_windows, age_windows }
    }

    /// Three counters with points, and one without.
    fn live() -> LiveList {
        let points =
            [("b", 1.0), ("a", 3.0), ("c", 2.0)].map(|(name, count)| counter(name, &[], count));
        let idle = counter("d", &[], 0.0);
        let mut series: Vec<_> = points.iter().map(|point| listed(point, 0, 5)).collect();
        series.push(listed(&idle, 4, 9));
        LiveList {
            snapshot: Some(Arc::new(snapshot_of(points.to_vec()))),
            interval: Duration::from_secs(10),
            series,
        }
    }

    fn names(query: &str) -> (Vec<String>, u64, Option<u64>) {
        let list = answer(&live(), &SeriesQuery::parse(query).unwrap());
        (list.series.into_iter().map(|one| one.name).collect(), list.matched, list.next_offset)
    }

    #[test]
    fn a_reply_has_the_part_of_the_order_that_the_query_asks_for() {
        let owned =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for (query, expected, matched, next) in [
            ("", &["a", "b", "c", "d"][..], 4, None),
            ("sort=-name&limit=2", &["d", "c"], 4, Some(2)),
            ("sort=value", &["a", "c", "b", "d"], 4, None),
            ("sort=-value&limit=1", &["d"], 4, Some(1)),
            ("sort=idle&limit=3&offset=2", &["c", "d"], 4, None),
            ("sort=-age&limit=1", &["d"], 4, Some(1)),
            ("match=[ab]&limit=1&offset=1", &["b"], 2, None),
            ("offset=9", &[], 4, None),
            ("type=gauge", &[], 0, None),
        ] {
            assert_eq!(names(query), (owned(expected), matched, next), "{query}");
        }
    }

    #[test]
    fn a_series_without_samples_has_no_value() {
        let list = answer(&live(), &SeriesQuery::parse("sort=-idle&limit=2").unwrap());
        let [idle, other] = &list.series[..] else { panic!("two series") };
        assert_eq!((idle.value, idle.fields.len(), idle.idle_s, idle.age_s), (None, 0, 40.0, 90.0));
        assert_eq!((other.value, other.fields["count"], other.idle_s), (Some(3.0), 3.0, 0.0));
    }

    #[test]
    fn a_reply_is_bounded_in_bytes() {
        let name = "n".repeat(64 << 10);
        let points: Vec<_> =
            (0..100).map(|number| counter(&format!("{number}{name}"), &[], 1.0)).collect();
        let series = points.iter().map(|point| listed(point, 0, 0)).collect();
        let live = LiveList { snapshot: None, interval: Duration::from_secs(1), series };
        let list = answer(&live, &SeriesQuery::parse("").unwrap());
        assert_eq!(list.next_offset, Some(list.series.len() as u64));
        assert!((60..64).contains(&list.series.len()));
    }

    #[test]
    fn a_reply_is_bounded_in_bytes_after_escapes() {
        let name = "\u{200d}".repeat(10 << 10);
        let points: Vec<_> =
            (0..200).map(|number| counter(&format!("{number}{name}"), &[], 1.0)).collect();
        let series = points.iter().map(|point| listed(point, 0, 0)).collect();
        let live = LiveList { snapshot: None, interval: Duration::from_secs(1), series };
        let list = answer(&live, &SeriesQuery::parse("").unwrap());
        let json = serde_json::to_string(&list).unwrap();
        assert!(list.series.len() > 10 && visible(&json).len() < REPLY_BYTES_MAX + 1_000);
    }

    #[test]
    fn a_wrong_parameter_is_named() {
        for (query, words) in [
            ("limit=0", "1 to 10000"),
            ("limit=10001", "1 to 10000"),
            ("offset=-1", "whole number"),
            ("sort=size", "name, value, idle, age"),
            ("type=x", "unknown type"),
            ("mtch=a", "expected match"),
        ] {
            assert!(SeriesQuery::parse(query).unwrap_err().contains(words), "{query}");
        }
    }
}
