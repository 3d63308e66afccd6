//! The choice between names for the series of the Prometheus page.
//!
//! This crate knows only the choices. The daemon provides the names themselves, so that nothing here
//! depends on where the series come from.

use std::sync::Arc;

use model::SeriesNaming;
use serde::Deserialize;

/// `forwarders.prometheus.naming`: how series are named on the page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PageNaming {
    /// The metric's own name, with `_` in place of characters that Prometheus does not accept.
    #[default]
    Tallyd,
    /// The names of the exporter that calls methods: `kamailio_tm_stats_current`.
    Callr,
    /// The names of the exporter that reads statistics: `kamailio_core_request_total{method="rcv"}`.
    Pascom,
    /// The names of the exporter that reads statistics and calls methods:
    /// `kamailio_dispatcher_list_target{set_id="1"}`.
    Voiplens,
}

/// Returns the names for a choice; `None` for tallyd's own.
pub type NamingProvider = fn(PageNaming) -> Option<Arc<dyn SeriesNaming>>;
