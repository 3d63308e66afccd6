//! The report as text.

use std::fmt::Write;

use super::report::{BenchReport, DaemonFacts, LedgerFacts, SentFacts};
use crate::commands::client::numbers::grouped;

/// Minimum number of messages for an estimate of the cost of a million.
const FEW: u64 = 100_000;

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const PLAIN: &str = "\x1b[0m";

/// Writes the report; `unknown` is the reason why there is no ledger.
pub(super) fn write(report: &BenchReport, unknown: Option<&str>, with_colours: bool) -> String {
    let mut text = String::new();
    let mut row = |label: &str, value: String| {
        // Writing into a string cannot fail.
        let _infallible = writeln!(text, "{label:<13} {value}");
    };
    row("to", destination(report));
    row("sent", sent(&report.sent));
    if let Some(ledger) = &report.ledger {
        let share = |count: u64| share_of(count, report.sent.messages);
        row("received", count(ledger.received));
        row("accepted", format!("{}{}", count(ledger.accepted), share(ledger.accepted)));
        row("rejected", count_by_reason(&ledger.rejected));
        row("kernel drops", drops(ledger, report));
        if !ledger.refused.is_empty() {
            row("refused", count_by_reason(&ledger.refused));
        }
        row("unaccounted", signed(ledger.unaccounted));
    }
    if let Some(daemon) = &report.daemon {
        row("daemon", cost(daemon, report));
    }
    if let Some(seconds) = report.sent.cpu_s_per_million {
        row("sender", format!("{seconds:.2} CPU seconds per million messages"));
    }
    for note in notes(report) {
        let _infallible = writeln!(text, "note: {note}");
    }
    let (colour, verdict) = verdict(report, unknown);
    let (on, off) = if with_colours { (colour, PLAIN) } else { ("", "") };
    let _infallible = writeln!(text, "{on}{verdict}{off}");
    text
}

fn destination(report: &BenchReport) -> String {
    let load = &report.load;
    let rate = match load.rate {
        Some(rate) => format!("{} messages a second", grouped(rate)),
        None => "as fast as possible".to_owned(),
    };
    let batch = match (report.sent.datagrams, load.batch) {
        (None, _) => String::new(),
        (_, 1) => ", 1 message a datagram".to_owned(),
        (_, batch) => format!(", {batch} messages a datagram"),
    };
    format!(
        "{} {}, {rate}, {} series, {} tags{batch}",
        report.protocol,
        report.endpoint,
        grouped(u64::from(load.series)),
        load.tags
    )
}

fn sent(sent: &SentFacts) -> String {
    let datagrams = match sent.datagrams {
        Some(datagrams) if datagrams != sent.messages => {
            format!(" in {} datagrams", grouped(datagrams))
        }
        _ => String::new(),
    };
    format!(
        "{} messages{datagrams}, {:.1} MB in {:.1} s: {} a second",
        count(sent.messages),
        sent.bytes as f64 / 1e6,
        sent.seconds,
        grouped(sent.messages_a_second.round() as u64)
    )
}

fn drops(ledger: &LedgerFacts, report: &BenchReport) -> String {
    let mut text = count(ledger.kernel_drops);
    if ledger.kernel_drops > 0 {
        let messages = ledger.kernel_drops * u64::from(report.load.batch);
        text += &share_of(messages, report.sent.messages);
    }
    text
}

fn cost(daemon: &DaemonFacts, report: &BenchReport) -> String {
    let Some(seconds) = daemon.cpu_s_per_million else { return "received nothing".to_owned() };
    let mut text = format!("{seconds:.2} CPU seconds per million messages");
    if let Some(peak) = daemon.resident_peak_bytes {
        text += &format!(", at most {:.1} MiB of memory", peak as f64 / f64::from(1 << 20));
    }
    if report.ledger.as_ref().is_some_and(|ledger| ledger.received < FEW) {
        text += " (a rough estimate from few messages)";
    }
    text
}

/// Notes on the numbers.
fn notes(report: &BenchReport) -> Vec<String> {
    let (sent, mut notes) = (&report.sent, Vec::new());
    if sent.interrupted {
        notes
            .push("interrupted by a signal; the numbers cover the messages sent until then".into());
    }
    if let Some(error) = &sent.broken {
        notes.push(format!("sending ended early: {error}"));
    }
    for (reason, messages) in &sent.errors {
        let messages = grouped(*messages);
        notes.push(match *reason {
            "refused" => {
                format!("{messages} messages were not sent because no program listened there")
            }
            _ => format!("{messages} messages were not sent: the system had no buffers"),
        });
    }
    if report.load.gso && !sent.gso {
        notes
            .push("the system refused packets of several datagrams, so --gso had no effect".into());
    }
    if sent.slipped > 0 {
        notes.push(format!(
            "{} messages were due and not sent: the sender did not get the CPU in time, or the \
             socket made it wait; lower --rate, or pin the sender to a free core with --pin",
            grouped(sent.slipped)
        ));
    }
    if let Some(ledger) = &report.ledger {
        ledger_notes(ledger, &mut notes);
    }
    notes
}

fn ledger_notes(ledger: &LedgerFacts, notes: &mut Vec<String>) {
    if ledger.listeners.is_empty() {
        notes.push(
            "the daemon has no listener at this address, so the numbers cover all its listeners"
                .into(),
        );
    }
    if ledger.kernel_drops > 0 {
        let buffer = ledger.receive_buffer.unwrap_or_default();
        notes.push(format!(
            "the kernel drops datagrams that do not fit into the receive buffer ({} bytes) while \
             the daemon waits for the CPU; lower the rate, or enlarge `receive_buffer` and \
             net.core.rmem_max",
            grouped(buffer)
        ));
    }
    if ledger.kernel_drops > 0 && ledger.gro {
        notes.push(
            "the listener has `gro`: a dropped packet counts once, however many datagrams it has"
                .into(),
        );
    }
    if !ledger.rejected.is_empty() {
        notes.push("/api/v1/rejected shows the rejected messages and the expected input".into());
    }
    if !ledger.refused.is_empty() {
        notes.push("refused: see `allow` and `max_connections` of the listener".into());
    }
    if ledger.overflowed > 0 {
        notes.push(format!(
            "{} samples overflowed because `aggregation` limits the number of series",
            grouped(ledger.overflowed)
        ));
    }
}

fn verdict(report: &BenchReport, unknown: Option<&str>) -> (&'static str, String) {
    let rate = grouped(report.sent.messages_a_second.round() as u64);
    let Some(ledger) = &report.ledger else {
        let why = unknown.unwrap_or("no status was read");
        return (YELLOW, format!("The fate of the messages is unknown: {why}."));
    };
    match (ledger.unaccounted, report.lost()) {
        (0, 0) => (GREEN, format!("All messages were accepted, at {rate} a second.")),
        (0, lost) => (
            YELLOW,
            format!(
                "All messages are accounted for, but {}{} were lost or rejected, at {rate} a \
                 second.",
                grouped(lost),
                share_of(lost, report.sent.messages)
            ),
        ),
        (1.., _) if ledger.gro && ledger.kernel_drops > 0 => (
            RED,
            format!(
                "{} messages are missing, perhaps in the {} dropped packets: with `gro`, the \
                 kernel does not count the datagrams of a packet.",
                signed(ledger.unaccounted).trim(),
                grouped(ledger.kernel_drops)
            ),
        ),
        (1.., _) => (
            RED,
            format!(
                "{} messages are missing: no counter of the daemon includes them. They were lost \
                 on the network, or another daemon has that address.",
                signed(ledger.unaccounted)
            ),
        ),
        _ => (
            RED,
            format!(
                "The daemon received {} more messages than were sent: other programs send to it \
                 as well. For exact numbers, use a separate listener for the load.",
                grouped(ledger.unaccounted.unsigned_abs())
            ),
        ),
    }
}

fn count_by_reason(counts: &std::collections::BTreeMap<String, u64>) -> String {
    let reasons: Vec<_> =
        counts.iter().map(|(reason, count)| format!("{reason} {}", grouped(*count))).collect();
    let total = count(counts.values().sum());
    if reasons.is_empty() { total } else { format!("{total} ({})", reasons.join(", ")) }
}

/// ` (12.3 %)`.
fn share_of(part: u64, whole: u64) -> String {
    if whole == 0 {
        return String::new();
    }
    let percent = part as f64 * 100.0 / whole as f64;
    // A few of a million are neither 0 % nor 100 %.
    if part > 0 && part < whole {
        format!(" ({:.3} %)", percent.clamp(0.001, 99.999))
    } else {
        format!(" ({percent:.0} %)")
    }
}

/// A number in a column.
fn count(number: u64) -> String {
    format!("{:>12}", grouped(number))
}

fn signed(number: i64) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("{:>12}", format!("{sign}{}", grouped(number.unsigned_abs())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_number_has_its_sign_before_its_groups() {
        assert_eq!(signed(-1234).trim(), "-1,234");
    }

    #[test]
    fn a_share_is_never_rounded_to_all_or_nothing() {
        assert_eq!(share_of(1, 10_000_000), " (0.001 %)");
        assert_eq!(share_of(9_999_999, 10_000_000), " (99.999 %)");
        assert_eq!(share_of(5, 5), " (100 %)");
        assert_eq!(share_of(0, 5), " (0 %)");
        assert_eq!(share_of(0, 0), "");
    }
}
