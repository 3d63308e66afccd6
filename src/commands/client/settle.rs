//! Waits until the daemon has read what was sent.

use std::thread;
use std::time::{Duration, Instant};

use super::ledger::{Admin, Ledger, LedgerError, Scope, Status};

/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(10);
/// When nothing has changed for so long, nothing will: what is missing then is not on its way.
const QUIET: Duration = Duration::from_secs(1);

/// What is waited for.
pub(crate) struct Awaited<'a> {
    pub(crate) scope: &'a Scope,
    /// The ledger before the first message.
    pub(crate) before: &'a Ledger,
    /// Messages that were sent.
    pub(crate) messages: u64,
    /// Messages in what the kernel drops or a listener refuses; 0 for streams.
    pub(crate) messages_a_datagram: u64,
}

impl Awaited<'_> {
    /// Messages whose fate is known.
    fn accounted(&self, status: &Status) -> u64 {
        let since = Ledger::of(status, self.scope).since(self.before);
        let datagrams = since.kernel_drops + since.refused.values().sum::<u64>();
        since.received + datagrams * self.messages_a_datagram
    }
}

/// Looks until every message is accounted for or nothing has changed for a while; `watch` is told of
/// the messages that are not accounted for yet.
///
/// # Errors
/// When the daemon does not answer any more.
pub(crate) fn settle(
    admin: &Admin,
    awaited: &Awaited<'_>,
    mut watch: impl FnMut(u64),
) -> Result<Status, LedgerError> {
    let (mut last, mut changed) = (0, Instant::now());
    loop {
        let status = admin.status()?;
        let accounted = awaited.accounted(&status);
        if accounted != last {
            (last, changed) = (accounted, Instant::now());
        }
        if accounted >= awaited.messages || changed.elapsed() > QUIET {
            return Ok(status);
        }
        watch(awaited.messages - accounted);
        thread::sleep(LOOK);
    }
}
