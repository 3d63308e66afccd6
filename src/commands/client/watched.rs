//! A daemon that is watched while a command sends messages to it.

use std::thread;
use std::time::{Duration, Instant};

use api::status::Status;
use engine::listener::Protocol;

use super::endpoint::SendEndpoint;
use super::ledger::{AdminClient, LedgerError};
use super::scope::{Scope, ScopeLedger};

/// Pause between two requests for the status.
const PAUSE: Duration = Duration::from_millis(10);
/// When the ledger has not changed for this long, it will not: the missing messages are not on their
/// way.
const QUIET: Duration = Duration::from_secs(1);

/// A daemon, and its status before the first message.
#[derive(Debug)]
pub(crate) struct WatchedDaemon {
    pub(crate) admin: AdminClient,
    /// The listeners that the messages go to.
    pub(crate) scope: Scope,
    pub(crate) before: Status,
}

/// Messages whose fate the daemon has to report.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AwaitedMessages {
    pub(crate) messages: u64,
    /// Messages in a datagram, which the kernel may drop or a listener refuse; 0 for streams.
    pub(crate) a_datagram: u64,
}

impl WatchedDaemon {
    /// Watches a daemon from its status `before` on.
    ///
    /// # Errors
    /// The protocol of the listener at `endpoint`, when messages will be in another one.
    pub(crate) fn new(
        admin: AdminClient,
        before: Status,
        endpoint: &SendEndpoint,
        protocol: Protocol,
    ) -> Result<Self, Protocol> {
        let scope = Scope::of(&before, endpoint, protocol)?;
        Ok(Self { admin, scope, before })
    }

    /// The increase of the ledger until another status of the same run.
    pub(crate) fn grown(&self, after: &Status) -> ScopeLedger {
        let before = ScopeLedger::of(&self.before, &self.scope);
        ScopeLedger::of(after, &self.scope).since(&before)
    }

    /// Samples that overflowed until another status of the same run.
    pub(crate) fn overflowed(&self, after: &Status) -> u64 {
        after.series.overflowed.saturating_sub(self.before.series.overflowed)
    }

    /// Whether a status is of the same run of the process.
    pub(crate) fn is_same_run(&self, after: &Status) -> bool {
        after.instance == self.before.instance
    }

    /// Waits until the daemon accounts for every message, or its ledger has not changed for a while;
    /// gives `watch` the number of messages that are missing.
    ///
    /// # Errors
    /// When the daemon stops answering.
    pub(crate) fn settle(
        &self,
        awaited: AwaitedMessages,
        mut watch: impl FnMut(u64),
    ) -> Result<Status, LedgerError> {
        let (mut last, mut changed) = (0, Instant::now());
        loop {
            let status = self.admin.status()?;
            let accounted = awaited.accounted(&self.grown(&status));
            if accounted != last {
                (last, changed) = (accounted, Instant::now());
            }
            if accounted >= awaited.messages || changed.elapsed() > QUIET {
                return Ok(status);
            }
            watch(awaited.messages - accounted);
            thread::sleep(PAUSE);
        }
    }
}

impl AwaitedMessages {
    /// Messages whose fate is in a ledger.
    fn accounted(self, grown: &ScopeLedger) -> u64 {
        let datagrams = grown.kernel_drops + api::sum(&grown.refused);
        grown.received + datagrams * self.a_datagram
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_datagram_accounts_for_its_messages() {
        let grown = ScopeLedger {
            received: 5,
            kernel_drops: 2,
            refused: [("not_allowed".to_owned(), 1)].into(),
            ..ScopeLedger::default()
        };
        assert_eq!(AwaitedMessages { messages: 40, a_datagram: 10 }.accounted(&grown), 35);
        assert_eq!(AwaitedMessages { messages: 40, a_datagram: 0 }.accounted(&grown), 5);
    }
}
