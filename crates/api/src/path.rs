//! Where the endpoint answers.

use std::fmt;

/// The port of the endpoint unless `admin.listen` names another.
pub const DEFAULT_PORT: u16 = 9495;
/// The endpoint of a daemon with the default configuration.
pub const DEFAULT_URL: &str = "http://127.0.0.1:9495";

/// A path that the endpoint answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminPath {
    /// The status page, as HTML.
    Index,
    /// 200 while windows are closed, else 503 with the reason; text.
    Healthz,
    /// 200 while every listener is bound and read, 503 during a stop; text.
    Readyz,
    /// The daemon's self-metrics, for Prometheus.
    Metrics,
    /// [`Status`](crate::status::Status).
    Status,
    /// [`RejectedList`](crate::rejected::RejectedList).
    Rejected,
    /// [`History`](crate::history::History).
    History,
    /// [`ReloadForecast`](crate::reload::ReloadForecast).
    Reload,
    /// [`EffectiveConfig`](crate::config::EffectiveConfig).
    Config,
    /// [`Top`](crate::top::Top), asked with a [`TopQuery`](crate::top::TopQuery).
    Top,
    /// [`SeriesList`](crate::series::SeriesList), asked with the
    /// [`parameter`](crate::series::parameter)s of that module.
    Series,
    /// [`SeriesChart`](crate::series::SeriesChart), asked with the exact `name`, `type` and `tag`s of a
    /// series.
    Chart,
    /// The events of [`tap`](crate::tap), asked with its [`parameter`](crate::tap::parameter)s.
    Tap,
}

impl AdminPath {
    /// Every path, in the order in which the log and the reply to an unknown path list them.
    pub const ALL: [Self; 13] = [
        Self::Index,
        Self::Healthz,
        Self::Readyz,
        Self::Metrics,
        Self::Status,
        Self::Rejected,
        Self::History,
        Self::Reload,
        Self::Config,
        Self::Top,
        Self::Series,
        Self::Chart,
        Self::Tap,
    ];

    /// The path as a request has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Index => "/",
            Self::Healthz => "/healthz",
            Self::Readyz => "/readyz",
            Self::Metrics => "/metrics",
            Self::Status => "/api/v1/status",
            Self::Rejected => "/api/v1/rejected",
            Self::History => "/api/v1/history",
            Self::Reload => "/api/v1/reload",
            Self::Config => "/api/v1/config",
            Self::Top => "/api/v1/top",
            Self::Series => "/api/v1/series",
            Self::Chart => "/api/v1/chart",
            Self::Tap => "/api/v1/tap",
        }
    }
}

impl fmt::Display for AdminPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_url_has_the_default_port() {
        assert_eq!(DEFAULT_URL, format!("http://127.0.0.1:{DEFAULT_PORT}"));
    }

    #[test]
    fn the_document_on_the_endpoint_has_a_row_for_each_path() {
        let document = include_str!("../../../docs/admin.md");
        let rows = document.lines().filter_map(|line| line.strip_prefix("| `/"));
        let mut documented: Vec<_> = rows
            .filter_map(|row| row.split_once('`'))
            .map(|(path, _)| format!("/{path}"))
            .collect();
        // One row for each method.
        documented.dedup();
        assert_eq!(documented, AdminPath::ALL.map(|path| path.to_string()));
    }
}
