//! Whether a daemon accepted the messages: by its ledger before and after, and by its rejected
//! messages.

use std::fmt::Write;

use api::rejected::RejectedEntry;

use super::error::SendCommandError;
use super::target::SendTarget;
use crate::commands::client::ledger::{AdminClient, LedgerError};
use crate::commands::client::scope::{Scope, ScopeLedger};
use crate::commands::client::terminal::ProgressLine;
use crate::commands::client::watched::{AwaitedMessages, WatchedDaemon};
use basics::escape::escaped;
use engine::listener::Protocol;

/// Rejected messages that are shown.
const SHOWN_MAX: usize = 5;

/// A daemon, with its ledger and its rejected messages before the first message.
pub(super) struct Verification {
    watched: WatchedDaemon,
    rejected_before: Vec<RejectedEntry<'static>>,
}

/// The messages sent.
pub(super) struct SentMessages {
    /// Samples and messages that will be rejected, as this side decoded them.
    pub(super) messages: u64,
    /// Datagrams; 0 over a stream.
    pub(super) datagrams: u64,
    /// The address of this end; `None` for a Unix socket.
    pub(super) sender: Option<String>,
}

/// The fate of the messages.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SendVerdict {
    /// Whether all were accepted, as far as the daemon can tell.
    pub(super) is_good: bool,
    /// The same as a sentence.
    pub(super) words: String,
}

impl Verification {
    /// Asks for the status and for the rejected messages.
    ///
    /// # Errors
    /// When the daemon does not answer, or the listener speaks another protocol.
    pub(super) fn start(to: &SendTarget, protocol: Protocol) -> Result<Self, SendCommandError> {
        let admin = AdminClient::new(to.admin.as_ref().ok_or(SendCommandError::NoAdmin)?)?;
        let before = admin.status()?;
        let watched =
            WatchedDaemon::new(admin, before, &to.endpoint, protocol).map_err(|spoken| {
                SendCommandError::Protocol {
                    endpoint: to.endpoint.clone(),
                    spoken: spoken.as_str(),
                }
            })?;
        let rejected_before = watched.admin.rejected()?;
        Ok(Self { watched, rejected_before })
    }

    /// Waits until the daemon has read the messages or reads no more, and judges.
    ///
    /// # Errors
    /// When the daemon stops answering.
    pub(super) fn verdict(
        &self,
        sent: &SentMessages,
        progress: &mut ProgressLine,
    ) -> Result<SendVerdict, LedgerError> {
        let a_datagram = sent.messages.checked_div(sent.datagrams).unwrap_or(0);
        let awaited = AwaitedMessages { messages: sent.messages, a_datagram };
        let after = self.watched.settle(awaited, |missing| {
            progress.show(|| format!("waiting: the daemon has not read {missing} messages yet"));
        })?;
        progress.clear();
        if !self.watched.is_same_run(&after) {
            return Ok(SendVerdict {
                is_good: false,
                words: "unknown: the daemon restarted during the check".to_owned(),
            });
        }
        let grown = self.watched.grown(&after);
        let rejected = self.watched.admin.rejected()?;
        // The daemon does not remove the oldest one in all cases, so the order says too little.
        let new = rejected.iter().filter(|one| !self.rejected_before.contains(one));
        let ours: Vec<_> = new.filter(|one| may_be_ours(one, sent)).collect();
        let overflowed = self.watched.overflowed(&after);
        Ok(judge(sent, &grown, &ours, &self.watched.scope, overflowed))
    }
}

fn may_be_ours(rejected: &RejectedEntry<'_>, sent: &SentMessages) -> bool {
    let sender = sent.sender.as_deref();
    // A busy listener does not always look up the sender.
    sender.is_none_or(|sender| rejected.sender == sender || rejected.sender == "unknown")
}

/// Judges by the ledger and by the rejected messages of this sender. Where others send to the same
/// listener, the ledger counts their messages too.
fn judge(
    sent: &SentMessages,
    since: &ScopeLedger,
    ours: &[&RejectedEntry<'_>],
    scope: &Scope,
    overflowed: u64,
) -> SendVerdict {
    let lost = since.received < sent.messages;
    let others = since.received > sent.messages;
    let is_rejected = if others { !ours.is_empty() } else { api::sum(&since.rejected) > 0 };
    let dropped = since.kernel_drops + api::sum(&since.refused);
    // The daemon lists only the first sample of a name that a rule drops, so none of this sender may be
    // in the list although all are dropped.
    let by_rules = since.rejected.get(api::RULE).copied().unwrap_or(0);
    let is_good = !lost && !is_rejected && dropped == 0 && by_rules == 0;
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
    } else if by_rules > 0 {
        format!(
            "unknown: rules of the daemon dropped {by_rules} samples, perhaps of other senders; \
             `tallyd explain` shows the effect of the rules on a message"
        )
    } else {
        format!(
            "unknown: the daemon lost {dropped} datagrams or connections, perhaps of other senders"
        )
    };
    add_counts(&mut words, sent, since);
    if *scope == Scope::All {
        words +=
            "; the daemon has no listener at this address, so the counts cover all its listeners";
    }
    if overflowed > 0 {
        // Writing into a string cannot fail.
        let _infallible = write!(
            words,
            "; samples that went to an overflow series, see `aggregation`: {overflowed}"
        );
    }
    add_rejected(&mut words, ours);
    SendVerdict { is_good, words }
}

/// Appends the counts of the ledger that explain the verdict.
fn add_counts(words: &mut String, sent: &SentMessages, since: &ScopeLedger) {
    let lost = since.received < sent.messages;
    let others = since.received > sent.messages;
    let rejected = api::sum(&since.rejected);
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
        *words += "; other programs sent as well, so a lost message may go unnoticed";
    }
}

/// Appends the rejected messages of this sender, each with its error.
fn add_rejected(words: &mut String, ours: &[&RejectedEntry<'_>]) {
    for RejectedEntry { reason, offset, expected, advice, excerpt, .. } in
        ours.iter().take(SHOWN_MAX)
    {
        let (reason, expected) = (escaped(reason.as_bytes()), escaped(expected.as_bytes()));
        let _infallible = write!(
            words,
            "\n  {reason} at byte {offset}: expected {expected}{}\n    {}",
            advice
                .iter()
                .map(|advice| format!("; {}", escaped(advice.as_bytes())))
                .collect::<String>(),
            escaped(excerpt.as_bytes())
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent() -> SentMessages {
        SentMessages { messages: 2, datagrams: 2, sender: Some("127.0.0.1:1".to_owned()) }
    }

    fn scope() -> Scope {
        Scope::Listeners(vec!["json/udp 127.0.0.1:5090".to_owned()])
    }

    fn ledger(received: u64, rejected: u64, kernel_drops: u64) -> ScopeLedger {
        let reasons = (rejected > 0).then(|| ("bad_json".to_owned(), rejected));
        ScopeLedger {
            received,
            aggregated: received - rejected,
            rejected: reasons.into_iter().collect(),
            kernel_drops,
            ..ScopeLedger::default()
        }
    }

    fn rejected(sender: &str) -> RejectedEntry<'_> {
        RejectedEntry {
            time: "".into(),
            listener: "".into(),
            sender: sender.into(),
            reason: "bad_json".into(),
            offset: 1,
            expected: "a value".into(),
            advice: None,
            excerpt: "{x\u{1b}".into(),
        }
    }

    #[test]
    fn verification_succeeds_only_if_every_message_was_accepted() {
        for (since, is_good, words) in [
            (ledger(2, 0, 0), true, "accepted by json/udp 127.0.0.1:5090"),
            (ledger(2, 1, 0), false, "1 accepted; rejected as bad_json: 1"),
            (
                ledger(1, 0, 1),
                false,
                "1 of 2 messages did not arrive; 1 accepted; datagrams dropped by the kernel: 1",
            ),
            (ledger(0, 0, 0), false, "2 of 2 messages did not arrive"),
            (ledger(7, 0, 0), true, "other programs sent as well"),
            // The rejected message is of another sender.
            (ledger(7, 1, 0), true, "other programs sent as well"),
            (ledger(7, 0, 1), false, "unknown"),
        ] {
            let verdict = judge(&sent(), &since, &[], &scope(), 0);
            assert_eq!(verdict.is_good, is_good, "{verdict:?}");
            assert!(verdict.words.contains(words), "{verdict:?}");
        }
    }

    #[test]
    fn messages_that_rules_may_have_dropped_are_not_called_accepted() {
        let by_rules = |since: ScopeLedger, count| ScopeLedger {
            rejected: [(api::RULE.to_owned(), count)].into(),
            ..since
        };
        for (since, words) in [
            (by_rules(ledger(7, 2, 0), 2), "unknown: rules of the daemon dropped 2 samples"),
            (by_rules(ledger(2, 2, 0), 2), "rejected by json/udp 127.0.0.1:5090; rejected as rule"),
        ] {
            let verdict = judge(&sent(), &since, &[], &scope(), 0);
            assert!(!verdict.is_good, "{verdict:?}");
            assert!(verdict.words.starts_with(words), "{verdict:?}");
        }
    }

    #[test]
    fn a_rejected_message_is_found_among_those_of_other_senders() {
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
