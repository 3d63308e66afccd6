//! The result of a measurement.

use std::collections::BTreeMap;

use api::CountsByReason;
use api::status::{ProcessStatus, Status};
use serde::Serialize;

use super::options::Load;
use super::sender::SentLoad;
use crate::commands::client::endpoint::SendEndpoint;
use crate::commands::client::scope::Scope;
use crate::commands::client::watched::WatchedDaemon;

/// The report. Its members in JSON are documented in docs/bench.md.
#[derive(Debug, Serialize)]
pub(super) struct BenchReport {
    pub(super) endpoint: String,
    pub(super) protocol: &'static str,
    pub(super) load: LoadFacts,
    pub(super) sent: SentFacts,
    /// The outcome of the messages; `None` without a ledger.
    pub(super) ledger: Option<LedgerFacts>,
    pub(super) daemon: Option<DaemonFacts>,
    /// Whether the ledger has every message sent, and no others.
    pub(super) accounted: bool,
}

/// The options that made the load.
#[derive(Debug, Serialize)]
pub(super) struct LoadFacts {
    pub(super) types: BTreeMap<&'static str, u32>,
    pub(super) series: u32,
    pub(super) tags: u16,
    pub(super) values: u32,
    pub(super) batch: u32,
    pub(super) seed: u64,
    pub(super) sockets: u16,
    pub(super) gso: bool,
    /// Messages a second; `None` for no limit.
    pub(super) rate: Option<u64>,
}

/// The messages sent.
#[derive(Debug, Serialize)]
pub(super) struct SentFacts {
    pub(super) messages: u64,
    /// `None` for streams.
    pub(super) datagrams: Option<u64>,
    pub(super) bytes: u64,
    /// Whether datagrams of one size shared a packet.
    pub(super) gso: bool,
    pub(super) seconds: f64,
    pub(super) messages_a_second: f64,
    /// Messages that the system refused, by reason.
    pub(super) errors: BTreeMap<&'static str, u64>,
    /// Messages skipped because the sender was late.
    pub(super) slipped: u64,
    pub(super) interrupted: bool,
    pub(super) broken: Option<String>,
    pub(super) cpu_s: f64,
    pub(super) cpu_s_per_million: Option<f64>,
}

/// The increase of the daemon's ledger.
#[derive(Debug, Serialize)]
pub(super) struct LedgerFacts {
    /// The listeners that the ledger covers; empty for all listeners.
    pub(super) listeners: Vec<String>,
    pub(super) received: u64,
    /// `aggregated` in the daemon's ledger.
    pub(super) accepted: u64,
    pub(super) rejected: CountsByReason,
    /// Datagrams, or packets of several if the listener has `gro`.
    pub(super) kernel_drops: u64,
    /// Whether a listener has `gro`.
    pub(super) gro: bool,
    /// Datagrams or connections.
    pub(super) refused: CountsByReason,
    /// Messages sent that are in none of these counts; negative if other clients sent too.
    pub(super) unaccounted: i64,
    pub(super) overflowed: u64,
    pub(super) receive_buffer: Option<u64>,
}

/// The daemon's cost of the load.
#[derive(Debug, Serialize)]
pub(super) struct DaemonFacts {
    pub(super) version: String,
    pub(super) instance: String,
    pub(super) pid: u32,
    pub(super) cpu_s: f64,
    /// CPU time of a million received messages.
    pub(super) cpu_s_per_million: Option<f64>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) resident_peak_bytes: Option<u64>,
}

/// The status of a daemon before the first message and after the last, both of one run.
#[derive(Debug)]
pub(super) struct StatusPair {
    pub(super) watched: WatchedDaemon,
    pub(super) after: Status,
}

impl BenchReport {
    /// Assembles the report.
    pub(super) fn new(
        endpoint: &SendEndpoint,
        load: &Load,
        (sockets, rate): (u16, Option<u64>),
        sent: SentLoad,
        pair: Option<&StatusPair>,
    ) -> Self {
        let sent = SentFacts::of(sent, load);
        let ledger = pair.map(|pair| LedgerFacts::of(pair, &sent, load.batch));
        let daemon = pair.zip(ledger.as_ref());
        let daemon = daemon.map(|(pair, ledger)| DaemonFacts::of(pair, ledger.received));
        Self {
            endpoint: endpoint.to_string(),
            protocol: load.protocol.as_str(),
            load: LoadFacts {
                types: load.types.shares().iter().map(|(kind, n)| (kind.as_str(), *n)).collect(),
                series: load.series,
                tags: load.tags,
                values: load.values,
                batch: load.batch,
                seed: load.seed,
                sockets,
                gso: load.gso,
                rate,
            },
            accounted: ledger.as_ref().is_some_and(|ledger| ledger.unaccounted == 0),
            sent,
            ledger,
            daemon,
        }
    }

    /// Messages known to be lost.
    pub(super) fn lost(&self) -> u64 {
        self.ledger.as_ref().map_or(0, |ledger| {
            let dropped = ledger.dropped_messages(self.sent.datagrams, self.load.batch);
            api::sum(&ledger.rejected) + dropped
        })
    }

    /// Whether the exit status is 0. Without `ledger_required`, the daemon's ledger may be missing;
    /// with `strict`, a loss that is accounted for is a failure too.
    pub(super) fn is_success(&self, ledger_required: bool, strict: bool) -> bool {
        let went_out = self.sent.messages > 0 && self.sent.broken.is_none();
        let got_through = self.lost() == 0 && self.sent.errors.is_empty();
        went_out && (self.accounted || !ledger_required) && (got_through || !strict)
    }
}

impl SentFacts {
    fn of(sent: SentLoad, load: &Load) -> Self {
        let batch = u64::from(load.batch);
        let messages = sent.payloads * batch;
        let seconds = sent.elapsed.as_secs_f64();
        let errors = sent.errors.into_iter().map(|(reason, count)| (reason, count * batch));
        Self {
            messages,
            datagrams: load.is_datagram.then_some(sent.payloads),
            bytes: sent.bytes,
            gso: sent.gso,
            seconds,
            messages_a_second: if seconds > 0.0 { messages as f64 / seconds } else { 0.0 },
            errors: errors.collect(),
            slipped: sent.slipped * batch,
            interrupted: sent.interrupted,
            broken: sent.broken,
            cpu_s: sent.cpu.as_secs_f64(),
            cpu_s_per_million: per_million(sent.cpu.as_secs_f64(), messages),
        }
    }
}

impl LedgerFacts {
    fn of(pair: &StatusPair, sent: &SentFacts, batch: u32) -> Self {
        let StatusPair { watched, after } = pair;
        let grown = watched.grown(after);
        let mut facts = Self {
            listeners: match &watched.scope {
                Scope::Listeners(names) => names.clone(),
                Scope::All => Vec::new(),
            },
            received: grown.received,
            accepted: grown.aggregated,
            rejected: grown.rejected,
            kernel_drops: grown.kernel_drops,
            gro: grown.gro,
            refused: grown.refused,
            unaccounted: 0,
            overflowed: watched.overflowed(after),
            receive_buffer: grown.receive_buffer,
        };
        let accounted = facts.received + facts.dropped_messages(sent.datagrams, batch);
        facts.unaccounted = sent.messages.cast_signed() - accounted.cast_signed();
        facts
    }

    /// Messages in unread datagrams. A refused connection has no messages.
    fn dropped_messages(&self, datagrams: Option<u64>, batch: u32) -> u64 {
        let unread = self.kernel_drops + api::sum(&self.refused);
        datagrams.map_or(0, |_| unread * u64::from(batch))
    }
}

impl DaemonFacts {
    /// The cost of a number of received messages.
    fn of(pair: &StatusPair, received: u64) -> Self {
        let StatusPair { watched, after } = pair;
        let ProcessStatus { pid, cpu_s, resident_bytes, resident_peak_bytes } = after.process;
        let cpu_s = cpu_s - watched.before.process.cpu_s;
        Self {
            version: after.version.clone(),
            instance: after.instance.clone(),
            pid,
            cpu_s,
            cpu_s_per_million: per_million(cpu_s, received),
            resident_bytes,
            resident_peak_bytes,
        }
    }
}

/// CPU time of a million messages; `None` without messages.
fn per_million(seconds: f64, messages: u64) -> Option<f64> {
    (messages > 0).then(|| seconds * 1e6 / messages as f64)
}
