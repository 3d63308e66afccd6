//! `/api/v1/chart`: the values of one series in the latest windows, recorded while a client requests them.

use std::time::Instant;

use api::series::{ChartPoint, SeriesChart, parameter};
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use basics::time::rfc3339_ms;
use engine::series_filter::parse_kind;

use super::json::VisibleJson;
use super::series::refusal;
use super::state::AdminState;
use crate::runtime::series_watches::WatchedName;

/// The name of the parameter with the exact name of the metric.
const NAME: &str = "name";
/// Longest query: a series may have many tags.
const QUERY_BYTES_MAX: usize = 12 << 10;

pub(super) async fn show(
    State(AdminState { runtime, .. }): State<AdminState>,
    RawQuery(query): RawQuery,
) -> Response {
    let name = match parse(&query.unwrap_or_default()) {
        Ok(name) => name,
        Err(words) => return refusal(StatusCode::BAD_REQUEST, &words),
    };
    let max = runtime.config.current().config.admin.series.max_watched as usize;
    let Some(points) = runtime.values.watches().ask(&name, max, Instant::now()) else {
        let words = "too many series are watched (`admin: {series: {max_watched}}`): close a chart";
        return refusal(StatusCode::TOO_MANY_REQUESTS, words);
    };
    let points = points
        .into_iter()
        .map(|point| ChartPoint { end: rfc3339_ms(point.end_ms), value: point.value })
        .collect();
    let interval_s = runtime.windows.counts().interval.as_secs_f64();
    VisibleJson(SeriesChart { interval_s, points }).into_response()
}

fn parse(query: &str) -> Result<WatchedName, String> {
    if query.len() > QUERY_BYTES_MAX {
        return Err("the name and tags are too long for a chart".to_owned());
    }
    let (mut name, mut kind, mut tags) = (None, None, Vec::new());
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            NAME => name = Some(value.into_owned()),
            parameter::TYPE => kind = Some(parse_kind(&value)?),
            parameter::TAG => {
                let tag = value.split_once('=').ok_or("`tag` must be KEY=VALUE")?;
                tags.push((tag.0.to_owned(), tag.1.to_owned()));
            }
            _ => return Err(format!("unknown parameter `{key}`: expected name, type or tag")),
        }
    }
    tags.sort();
    match (name, kind) {
        (Some(name), Some(kind)) => Ok(WatchedName { kind, name, tags }),
        _ => Err("`name` and `type` are required".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use model::MetricKind;

    use super::*;

    #[test]
    fn a_chart_needs_the_exact_series() {
        let name = parse("type=gauge&name=a%2Ab&tag=z%3D1%3D2&tag=b%3D").unwrap();
        assert_eq!((name.kind, name.name.as_str()), (MetricKind::Gauge, "a*b"));
        let tags = [("b", ""), ("z", "1=2")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(name.tags, tags);
        for (query, words) in [
            ("name=a", "required"),
            ("name=a&type=x", "unknown type"),
            ("name=a&type=set&tag=b", "KEY=VALUE"),
            ("nam=a", "unknown parameter"),
        ] {
            assert!(parse(query).unwrap_err().contains(words), "{query}");
        }
    }
}
