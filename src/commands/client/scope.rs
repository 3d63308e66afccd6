//! The part of a daemon's ledger that belongs to the messages of a command.

use api::CountsByReason;
use api::status::Status;

use super::endpoint::SendEndpoint;
use engine::listener::Protocol;

/// The messages and datagrams of some listeners, added up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ScopeLedger {
    /// Messages.
    pub(crate) received: u64,
    /// Messages.
    pub(crate) aggregated: u64,
    /// Messages by reason.
    pub(crate) rejected: CountsByReason,
    /// Datagrams, or packets of several if a listener has `gro`.
    pub(crate) kernel_drops: u64,
    /// Whether a listener has `gro`.
    pub(crate) gro: bool,
    /// Datagrams or connections by reason.
    pub(crate) refused: CountsByReason,
    /// The smallest buffer of the sockets that drop, in bytes.
    pub(crate) receive_buffer: Option<u64>,
}

/// The listeners of a daemon that messages go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The listeners of these names.
    Listeners(Vec<String>),
    /// All listeners, because none is known to be at the endpoint.
    All,
}

impl Scope {
    /// The listeners at an endpoint.
    ///
    /// # Errors
    /// The protocol of the listener there, when messages will be in another one.
    pub(crate) fn of(
        status: &Status,
        endpoint: &SendEndpoint,
        protocol: Protocol,
    ) -> Result<Self, Protocol> {
        let there: Vec<_> = status
            .listeners
            .iter()
            .filter_map(|listener| Some((listener, SendEndpoint::of_listener(&listener.listener)?)))
            .filter(|(_, (_, listener))| endpoint.leads_to(listener))
            .collect();
        let Some((_, (first, _))) = there.first() else { return Ok(Self::All) };
        if there.iter().all(|(_, (spoken, _))| *spoken != protocol) {
            return Err(*first);
        }
        Ok(Self::Listeners(there.iter().map(|(found, _)| found.listener.clone()).collect()))
    }

    fn has(&self, name: &str) -> bool {
        match self {
            Self::Listeners(names) => names.iter().any(|other| other == name),
            Self::All => true,
        }
    }
}

impl ScopeLedger {
    /// The listeners of a scope, added up.
    pub(crate) fn of(status: &Status, scope: &Scope) -> Self {
        let mut ledger = Self::default();
        for listener in status.listeners.iter().filter(|one| scope.has(&one.listener)) {
            ledger.received += listener.ledger.received;
            ledger.aggregated += listener.ledger.aggregated;
            ledger.kernel_drops += listener.ledger.kernel_drops;
            ledger.gro |= listener.gro == Some(true);
            for (sum, counts) in [
                (&mut ledger.rejected, &listener.ledger.rejected),
                (&mut ledger.refused, &listener.refused),
            ] {
                for (reason, count) in counts {
                    *sum.entry(reason.clone()).or_default() += count;
                }
            }
            let buffers = [ledger.receive_buffer, listener.receive_buffer];
            ledger.receive_buffer = buffers.into_iter().flatten().min();
        }
        ledger
    }

    /// The increase since an earlier ledger of the same run.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let grown = |now: &CountsByReason, before: &CountsByReason| {
            now.iter()
                .map(|(reason, count)| {
                    let before = before.get(reason).copied().unwrap_or_default();
                    (reason.clone(), count.saturating_sub(before))
                })
                .filter(|(_, count)| *count > 0)
                .collect()
        };
        Self {
            received: self.received.saturating_sub(before.received),
            aggregated: self.aggregated.saturating_sub(before.aggregated),
            rejected: grown(&self.rejected, &before.rejected),
            kernel_drops: self.kernel_drops.saturating_sub(before.kernel_drops),
            gro: self.gro,
            refused: grown(&self.refused, &before.refused),
            receive_buffer: self.receive_buffer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        serde_json::from_str(
            r#"{
              "version": "0.1.0", "instance": "a", "uptime_s": 1.5,
              "process": { "pid": 1, "cpu_s": 0.5, "resident_bytes": null, "resident_peak_bytes": 7 },
              "reload": { "file": null, "applied": 0, "refused": 0, "last": null },
              "series": { "total": 1, "overflowed": 0, "by_metric": {} },
              "listeners": [
                { "listener": "json/udp 0.0.0.0:5090", "receive_buffer": 8, "received": 5,
                  "aggregated": 3, "rejected": { "bad_json": 2 }, "kernel_drops": 1, "refused": {} },
                { "listener": "json/udp 0.0.0.0:5090", "receive_buffer": 4, "received": 10,
                  "aggregated": 10, "rejected": {}, "kernel_drops": 0, "refused": {} },
                { "listener": "statsd/tcp [::]:8125", "received": 100, "aggregated": 100,
                  "rejected": {}, "kernel_drops": 0, "refused": { "too_many": 1 } }
              ]
            }"#,
        )
        .unwrap()
    }

    #[test]
    fn the_listeners_at_the_endpoint_are_added_up_and_no_others() {
        let status = status();
        let udp: SendEndpoint = "udp://127.0.0.1:5090".parse().unwrap();
        let scope = Scope::of(&status, &udp, Protocol::Json).unwrap();
        let ledger = ScopeLedger::of(&status, &scope);
        assert_eq!((ledger.received, ledger.aggregated, ledger.kernel_drops), (15, 13, 1));
        assert_eq!(ledger.rejected, [("bad_json".to_owned(), 2)].into());
        assert_eq!(ledger.receive_buffer, Some(4));
        let elsewhere: SendEndpoint = "udp://127.0.0.1:1".parse().unwrap();
        let scope = Scope::of(&status, &elsewhere, Protocol::Json).unwrap();
        assert_eq!(scope, Scope::All);
        assert_eq!(ScopeLedger::of(&status, &scope).received, 115);
    }

    #[test]
    fn a_listener_that_speaks_something_else_is_found() {
        let tcp: SendEndpoint = "tcp://127.0.0.1:8125".parse().unwrap();
        assert_eq!(Scope::of(&status(), &tcp, Protocol::Json), Err(Protocol::Statsd));
        assert!(Scope::of(&status(), &tcp, Protocol::Statsd).is_ok());
    }

    #[test]
    fn earlier_counts_are_subtracted() {
        let before = ScopeLedger::of(&status(), &Scope::All);
        let mut now = before.clone();
        now.received += 7;
        now.rejected.insert("bad_line".to_owned(), 1);
        let since = now.since(&before);
        assert_eq!((since.received, since.aggregated, since.kernel_drops), (7, 0, 0));
        assert_eq!(since.rejected, [("bad_line".to_owned(), 1)].into());
    }
}
