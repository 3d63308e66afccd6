//! Whether a daemon has what was sent: its ledger before and after, and its rejected messages.

use std::fmt::Write;

use super::SendError;
use super::destination::Destination;
use crate::commands::client::ledger::{Admin, Ledger, LedgerError, Rejected, Scope, Status};
use crate::commands::client::settle::{Awaited, settle};
use crate::commands::client::terminal::ProgressLine;
use basics::escape::escaped;
use engine::listener::Protocol;

/// Rejected messages that are shown.
const SHOWN_MAX: usize = 5;

/// A daemon before the first message.
pub(super) struct Watched {
    admin: Admin,
    scope: Scope,
    before: Status,
    rejected_before: Vec<Rejected>,
}

/// What was sent.
pub(super) struct Sent {
    /// Samples and messages that will be rejected, as this side decoded them.
    pub(super) messages: u64,
    /// Datagrams; 0 of a stream.
    pub(super) datagrams: u64,
    /// This end's address; none of a Unix socket.
    pub(super) sender: Option<String>,
}

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Whether all was accepted, as far as can be known.
    pub(super) is_good: bool,
    /// The same in words.
    pub(super) words: String,
}

impl Watched {
    /// Looks at the daemon.
    ///
    /// # Errors
    /// When it does not answer, or the listener there speaks something else.
    pub(super) fn look(to: &Destination, protocol: Protocol) -> Result<Self, SendError> {
        let admin = Admin::new(&to.admin)?;
        let before = admin.status()?;
        let scope = Scope::of(&before, &to.endpoint, protocol).map_err(|spoken| {
            SendError::Protocol { endpoint: to.endpoint.clone(), spoken: spoken.as_str() }
        })?;
        let rejected_before = admin.rejected()?;
        Ok(Self { admin, scope, before, rejected_before })
    }

    /// Waits until the daemon has read so much or reads no more, and judges.
    ///
    /// # Errors
    /// When the daemon does not answer any more.
    pub(super) fn verdict(
        &self,
        sent: &Sent,
        progress: &mut ProgressLine,
    ) -> Result<Verdict, LedgerError> {
        let ledger = Ledger::of(&self.before, &self.scope);
        let messages_a_datagram = sent.messages.checked_div(sent.datagrams).unwrap_or(0);
        let awaited = Awaited {
            scope: &self.scope,
            before: &ledger,
            messages: sent.messages,
            messages_a_datagram,
        };
        let after = settle(&self.admin, &awaited, |missing| {
            progress.show(|| format!("waiting: the daemon has not read {missing} messages yet"));
        })?;
        progress.clear();
        if after.instance != self.before.instance {
            return Ok(Verdict {
                is_good: false,
                words: "not known: the daemon was started anew meanwhile".to_owned(),
            });
        }
        let since = Ledger::of(&after, &self.scope).since(&ledger);
        let rejected = self.admin.rejected()?;
        let new = rejected.iter().take_while(|one| self.rejected_before.first() != Some(one));
        let ours: Vec<_> = new.filter(|one| may_be_ours(one, sent)).collect();
        let overflowed = after.series.overflowed.saturating_sub(self.before.series.overflowed);
        Ok(judge(sent, &since, &ours, &self.scope, overflowed))
    }
}

fn may_be_ours(rejected: &Rejected, sent: &Sent) -> bool {
    let sender = sent.sender.as_deref();
    // A busy listener does not always know who sent.
    sender.is_none_or(|sender| rejected.sender == sender || rejected.sender == "unknown")
}

/// Puts together what the daemon tells. Others may send to it as well: then its counters are of all.
fn judge(
    sent: &Sent,
    since: &Ledger,
    ours: &[&Rejected],
    scope: &Scope,
    overflowed: u64,
) -> Verdict {
    let lost = since.received < sent.messages;
    let rejected: u64 = since.rejected.values().sum();
    let others = since.received > sent.messages;
    let is_rejected = if others { !ours.is_empty() } else { rejected > 0 };
    let dropped = since.kernel_drops + since.refused.values().sum::<u64>();
    let is_good = !lost && !is_rejected && dropped == 0;
    let by = match scope {
        Scope::Listeners(names) => {
            names.first().map_or_else(String::new, |name| format!(" by {name}"))
        }
        Scope::All => " by the daemon".to_owned(),
    };
    let mut words = if is_good {
        format!("accepted{by}")
    } else if lost {
        format!("{} of {} messages did not arrive", sent.messages - since.received, sent.messages)
    } else if is_rejected {
        format!("rejected{by}")
    } else {
        format!("not known: the daemon lost {dropped} datagrams or connections, perhaps of others")
    };
    if lost && since.received > 0 {
        // Writing into a string cannot fail.
        let _infallible = write!(words, "; {} accepted", since.aggregated);
    }
    if !others && rejected > 0 && since.aggregated > 0 {
        let _infallible = write!(words, "; {} accepted", since.aggregated);
    }
    for (reason, count) in since.rejected.iter().filter(|_| !others) {
        let _infallible = write!(words, "; rejected as {reason}: {count}");
    }
    if since.kernel_drops > 0 {
        let _infallible =
            write!(words, "; datagrams dropped by the kernel: {}", since.kernel_drops);
    }
    for (reason, count) in &since.refused {
        let _infallible = write!(words, "; refused as {reason}: {count}");
    }
    if others {
        words += "; others sent as well, so what became of these is told by what is not wrong";
    }
    if *scope == Scope::All {
        words += "; the daemon has no listener of this address, so this is of all its listeners";
    }
    if overflowed > 0 {
        let _infallible = write!(
            words,
            "; samples folded into an overflow series, see `aggregation`: {overflowed}"
        );
    }
    for Rejected { reason, offset, expected, excerpt, .. } in ours.iter().take(SHOWN_MAX) {
        let (reason, expected) = (escaped(reason.as_bytes()), escaped(expected.as_bytes()));
        let _infallible = write!(
            words,
            "\n  {reason} at byte {offset}: expected {expected}\n    {}",
            escaped(excerpt.as_bytes())
        );
    }
    Verdict { is_good, words }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent() -> Sent {
        Sent { messages: 2, datagrams: 2, sender: Some("127.0.0.1:1".to_owned()) }
    }

    fn scope() -> Scope {
        Scope::Listeners(vec!["json/udp 127.0.0.1:5090".to_owned()])
    }

    fn ledger(received: u64, rejected: u64, kernel_drops: u64) -> Ledger {
        let reasons = (rejected > 0).then(|| ("bad_json".to_owned(), rejected));
        Ledger {
            received,
            aggregated: received - rejected,
            rejected: reasons.into_iter().collect(),
            kernel_drops,
            ..Ledger::default()
        }
    }

    fn rejected(sender: &str) -> Rejected {
        Rejected {
            time: String::new(),
            listener: String::new(),
            sender: sender.to_owned(),
            reason: "bad_json".to_owned(),
            offset: 1,
            expected: "a value".to_owned(),
            excerpt: "{x\u{1b}".to_owned(),
        }
    }

    #[test]
    fn only_what_is_all_accepted_is_good() {
        for (since, is_good, words) in [
            (ledger(2, 0, 0), true, "accepted by json/udp 127.0.0.1:5090"),
            (ledger(2, 1, 0), false, "1 accepted; rejected as bad_json: 1"),
            (
                ledger(1, 0, 1),
                false,
                "1 of 2 messages did not arrive; 1 accepted; datagrams dropped by the kernel: 1",
            ),
            (ledger(0, 0, 0), false, "2 of 2 messages did not arrive"),
            (ledger(7, 0, 0), true, "others sent as well"),
            // Somebody else's.
            (ledger(7, 1, 0), true, "others sent as well"),
            (ledger(7, 0, 1), false, "not known"),
        ] {
            let verdict = judge(&sent(), &since, &[], &scope(), 0);
            assert_eq!(verdict.is_good, is_good, "{verdict:?}");
            assert!(verdict.words.contains(words), "{verdict:?}");
        }
    }

    #[test]
    fn a_rejected_message_of_this_sender_is_told_of_amid_those_of_others() {
        assert!(may_be_ours(&rejected("127.0.0.1:1"), &sent()));
        assert!(!may_be_ours(&rejected("127.0.0.1:2"), &sent()));
        let verdict = judge(&sent(), &ledger(7, 1, 0), &[&rejected("127.0.0.1:1")], &scope(), 0);
        assert!(!verdict.is_good);
        assert!(
            verdict.words.contains("at byte 1: expected a value\n    {x\\u{1b}"),
            "{verdict:?}"
        );
    }
}
