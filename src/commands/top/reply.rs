//! What one poll of the daemon returns.

use api::history::HistoryTotals;
use api::rejected::RejectedEntry;
use api::status::Status;
use api::top::Top;

/// The replies of one poll.
#[derive(Clone, Debug)]
pub(super) struct TopReply {
    pub(super) status: Status,
    pub(super) top: Top,
    /// `None` unless the view of rejected messages is shown.
    pub(super) rejected: Option<Vec<RejectedEntry<'static>>>,
    /// `None` except in the first reply of a daemon.
    pub(super) history: Option<Vec<HistoryTotals>>,
}

impl TopReply {
    /// The totals of this moment, as the history has them.
    pub(super) fn totals(&self) -> HistoryTotals {
        let Status { uptime_s, ledger, forwarders, .. } = &self.status;
        HistoryTotals {
            uptime_s: *uptime_s,
            received: ledger.received,
            delivered: forwarders.values().map(|one| one.delivered).sum(),
            ..HistoryTotals::default()
        }
    }
}
