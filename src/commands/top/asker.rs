//! Asks the daemon, on a thread of its own: a daemon that answers late must not keep keys waiting.

use std::time::{Duration, Instant};

use super::replies::{History, Reply, Status, Top};
use crate::commands::client::ledger::{Admin, LedgerError};

/// What the screen needs next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// Of `/api/v1/top`, with commas; nothing of it if `None`.
    pub(super) parts: Option<String>,
    /// The order of metrics.
    pub(super) sort: &'static str,
    /// Rows.
    pub(super) limit: usize,
    pub(super) wants_rejected: bool,
    pub(super) wants_history: bool,
}

/// A daemon's endpoint.
#[derive(Debug)]
pub(super) struct Asker {
    admin: Admin,
}

impl Asker {
    pub(super) fn new(admin: Admin) -> Self {
        Self { admin }
    }

    /// Where the daemon is.
    pub(super) fn url(&self) -> &str {
        self.admin.url()
    }

    /// Asks it.
    ///
    /// # Errors
    /// When there is no answer, or none that can be understood.
    pub(super) fn ask(&self, question: &Question) -> Result<Reply, LedgerError> {
        let top = match &question.parts {
            Some(parts) => {
                let Question { sort, limit, .. } = question;
                self.admin.get(&format!("/api/v1/top?parts={parts}&sort={sort}&limit={limit}"))?
            }
            None => Top::default(),
        };
        let rejected = question.wants_rejected.then(|| self.admin.rejected()).transpose()?;
        let history: Option<History> =
            question.wants_history.then(|| self.admin.get("/api/v1/history")).transpose()?;
        // Last: what the status says is not older than what stands below it.
        let status: Status = self.admin.get("/api/v1/status")?;
        Ok(Reply { status, top, rejected, history: history.map(|history| history.totals) })
    }

    /// Asks again and again, an interval after it asked last, or at once when there is another question;
    /// until nobody listens. The first question has just been asked.
    pub(super) fn run(
        self,
        interval: Duration,
        first: Question,
        questions: &flume::Receiver<Question>,
        answer: impl Fn(Result<Reply, String>) -> bool,
    ) {
        let (mut question, mut next) = (first, Instant::now() + interval);
        loop {
            match questions.recv_deadline(next) {
                Ok(another) => question = questions.drain().last().unwrap_or(another),
                Err(flume::RecvTimeoutError::Timeout) => {}
                Err(flume::RecvTimeoutError::Disconnected) => return,
            }
            let asked = Instant::now();
            if !answer(self.ask(&question).map_err(shortened)) {
                return;
            }
            // A daemon that takes longer than the interval has a pause all the same.
            next = (asked + interval).max(Instant::now() + asked.elapsed().min(interval));
        }
    }
}

/// Why there is no answer, without the address: that is on the screen.
fn shortened(error: LedgerError) -> String {
    match error {
        LedgerError::Request { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}
