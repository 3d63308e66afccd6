//! Polls the daemon, on a separate thread: a slow reply must not delay the keys.

use std::time::{Duration, Instant};

use api::history::History;
use api::path::AdminPath;
use api::status::Status;
use api::top::{Top, TopQuery};

use super::reply::TopReply;
use crate::commands::client::ledger::{AdminClient, LedgerError};

/// The parts that a poll requests in addition to the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PollRequest {
    pub(super) top: Option<TopQuery>,
    pub(super) wants_rejected: bool,
    pub(super) wants_history: bool,
}

/// Polls a daemon.
#[derive(Debug)]
pub(super) struct TopPoller {
    admin: AdminClient,
}

impl TopPoller {
    pub(super) fn new(admin: AdminClient) -> Self {
        Self { admin }
    }

    /// The URL of the daemon.
    pub(super) fn url(&self) -> &str {
        self.admin.url()
    }

    /// Polls once.
    ///
    /// # Errors
    /// When there is no reply, or none of a compatible daemon.
    pub(super) fn poll(&self, request: &PollRequest) -> Result<TopReply, LedgerError> {
        let PollRequest { top, wants_rejected, wants_history } = request;
        let top = match top {
            Some(query) => self.admin.get(&format!("{}?{query}", AdminPath::Top))?,
            None => Top::default(),
        };
        let rejected = wants_rejected.then(|| self.admin.rejected()).transpose()?;
        let history: Option<History> =
            wants_history.then(|| self.admin.get(AdminPath::History.as_str())).transpose()?;
        // Last, so that the status is not older than the rows below it.
        let status: Status = self.admin.status()?;
        Ok(TopReply { status, top, rejected, history: history.map(|history| history.totals) })
    }

    /// Polls an interval after the previous poll began, or at once for another request, until `reply`
    /// returns false. The caller has just polled `first`.
    pub(super) fn run(
        self,
        interval: Duration,
        first: PollRequest,
        requests: &flume::Receiver<PollRequest>,
        reply: impl Fn(Result<TopReply, String>) -> bool,
    ) {
        let (mut request, mut next) = (first, Instant::now() + interval);
        loop {
            match requests.recv_deadline(next) {
                Ok(another) => request = requests.drain().last().unwrap_or(another),
                Err(flume::RecvTimeoutError::Timeout) => {}
                Err(flume::RecvTimeoutError::Disconnected) => return,
            }
            let began = Instant::now();
            if !reply(self.poll(&request).map_err(shortened)) {
                return;
            }
            // A daemon that takes longer than the interval gets a pause as well.
            next = (began + interval).max(Instant::now() + began.elapsed().min(interval));
        }
    }
}

/// The reason without the address, which is on the screen.
fn shortened(error: LedgerError) -> String {
    match error {
        LedgerError::Request { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}
