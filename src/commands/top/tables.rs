//! The rows of each view, unsorted.

use api::forwarders::ForwarderStatus;
use api::listeners::ListenerStatus;
use api::rejected::RejectedEntry;
use api::top::{TopMetric, TopSender, TopSort};
use api::{mistakes, sum};

use super::polls::Polls;
use super::reply::TopReply;
use super::views::View;
use crate::commands::client::numbers::{bytes, grouped, short, span};
use crate::commands::client::shown::{printable, time_of_day};

/// The importance of a cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mood {
    #[default]
    Plain,
    /// Fine.
    Good,
    /// Worth a look.
    Warn,
    /// Data is lost, or a part is down.
    Bad,
    /// Nothing of interest.
    Quiet,
}

/// The key by which a cell is sorted.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum SortKey {
    /// The largest number first.
    Number(f64),
    /// In alphabetical order.
    Text(String),
}

#[derive(Clone, Debug)]
pub(super) struct TableCell {
    /// Without characters that a terminal would obey.
    pub(super) text: String,
    pub(super) key: SortKey,
    pub(super) mood: Mood,
}

#[derive(Clone, Debug)]
pub(super) struct TableRow {
    pub(super) cells: Vec<TableCell>,
    /// A line below it.
    pub(super) note: Option<(Mood, String)>,
    /// Whether it stands for all others together; then it is the last.
    pub(super) is_rest: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) is_number: bool,
    /// Whether it is left out where there is little room.
    pub(super) may_go: bool,
}

#[derive(Debug)]
pub(super) struct TopTable {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<TableRow>,
    /// A summary.
    pub(super) about: String,
}

const fn text(title: &'static str) -> Column {
    Column { title, is_number: false, may_go: false }
}

const fn number(title: &'static str) -> Column {
    Column { title, is_number: true, may_go: false }
}

const fn extra(title: &'static str) -> Column {
    Column { title, is_number: true, may_go: true }
}

/// The columns of a view.
pub(super) const fn columns(view: View) -> &'static [Column] {
    match view {
        View::Metrics => {
            &const {
                [
                    text("METRIC"),
                    number("SAMPLES/s"),
                    number("SAMPLES"),
                    number("SERIES"),
                    number("NEW"),
                    extra("OVERFLOWED"),
                ]
            }
        }
        View::Tags => &const { [text("TAG KEY"), number("VALUES"), number("SERIES")] },
        View::Senders => {
            &const {
                [
                    text("SENDER"),
                    text("LISTENER"),
                    number("MSG/s"),
                    number("BYTES/s"),
                    number("MESSAGES"),
                    extra("REJECTED"),
                ]
            }
        }
        View::Forwarders => {
            &const {
                [
                    text("FORWARDER"),
                    text("STATE"),
                    number("DELIVERED"),
                    number("QUEUED"),
                    number("SPOOLED"),
                    number("DROPPED"),
                    extra("FAILURES"),
                ]
            }
        }
        View::Listeners => {
            &const {
                [
                    text("LISTENER"),
                    number("IN/s"),
                    number("RECEIVED"),
                    number("REJECTED"),
                    number("DROPS"),
                    extra("REFUSED"),
                    extra("CONNS"),
                ]
            }
        }
        View::Rejected => {
            &const { [text("TIME"), text("REASON"), text("SENDER"), text("MESSAGE")] }
        }
    }
}

/// The column by which a view is sorted by default.
pub(super) const fn sorted_by(view: View) -> usize {
    match view {
        View::Metrics | View::Tags | View::Listeners => 1,
        View::Senders => 2,
        View::Forwarders | View::Rejected => 0,
    }
}

/// The order of metrics to ask for when the view is sorted by `column`: the daemon returns only the
/// first rows.
pub(super) fn order_of_metrics(column: usize) -> TopSort {
    match columns(View::Metrics).get(column).map(|column| column.title) {
        Some("SERIES") => TopSort::Series,
        Some("NEW") => TopSort::NewSeries,
        _ => TopSort::Samples,
    }
}

/// The rows of a view; none before the first poll.
pub(super) fn table(view: View, polls: &Polls) -> TopTable {
    let mut table =
        TopTable { columns: columns(view).to_vec(), rows: Vec::new(), about: String::new() };
    let Some(reply) = polls.latest() else { return table };
    match view {
        View::Metrics => metrics(reply, &mut table),
        View::Tags => tags(reply, &mut table),
        View::Senders => senders(reply, polls, &mut table),
        View::Forwarders => forwarders(reply, &mut table),
        View::Listeners => listeners(reply, polls, &mut table),
        View::Rejected => rejected(reply, &mut table),
    }
    table
}

fn metrics(reply: &TopReply, table: &mut TopTable) {
    let Some(metrics) = &reply.top.metrics else { return };
    table.about = match &metrics.window_end {
        None => "no window has ended yet".to_owned(),
        Some(end) => format!(
            "{}, window until {} UTC; NEW: within {}",
            counted(metrics.total, "metric"),
            time_of_day(end),
            span(metrics.new_within_s)
        ),
    };
    let row = |one: &TopMetric| {
        let overflowed = cell_of_loss(one.overflowed, Mood::Warn);
        row([
            name(&one.name),
            rate(Some(one.window_samples as f64 / metrics.interval_s), short),
            count(one.samples),
            count(one.series),
            count(one.new_series),
            overflowed,
        ])
    };
    table.rows = metrics.top.iter().map(row).collect();
}

fn tags(reply: &TopReply, table: &mut TopTable) {
    let Some(tags) = &reply.top.tag_keys else { return };
    let others = match tags.other_keys {
        0 => String::new(),
        others => format!(" and {} more", grouped(others)),
    };
    table.about = format!(
        "{}{others} in {}{}, counted {} ago",
        counted(tags.top.len() as u64, "key"),
        if tags.is_complete { "" } else { "the first " },
        counted_series(tags.series),
        span(tags.age_s)
    );
    let rows = tags.top.iter();
    table.rows =
        rows.map(|one| row([name(&one.key), count(one.values), count(one.series)])).collect();
}

fn senders(reply: &TopReply, polls: &Polls, table: &mut TopTable) {
    let Some(senders) = &reply.top.senders else { return };
    table.about = format!(
        "counted for {}, while the view is open; others: {}",
        span(senders.counted_for_s),
        counted(senders.others.messages, "message")
    );
    let row = |one: &TopSender| {
        let then = |reply: &TopReply, of: fn(&TopSender) -> u64| {
            let senders = reply.top.senders.as_ref()?;
            // A new sender had sent nothing.
            let is_it =
                |other: &&TopSender| other.sender == one.sender && other.listener == one.listener;
            Some(senders.top.iter().find(is_it).map_or(0, of))
        };
        row([
            name(&one.sender),
            name(&one.listener),
            rate(polls.rate(|reply| then(reply, |one| one.sent.messages)), short),
            rate(polls.rate(|reply| then(reply, |one| one.sent.bytes)), bytes),
            count(one.sent.messages),
            cell_of_loss(one.sent.rejected, Mood::Warn),
        ])
    };
    table.rows = senders.top.iter().map(row).collect();
    let others = &senders.others;
    if others.messages > 0 {
        let rest = |reply: &TopReply, bytes: bool| {
            let others = &reply.top.senders.as_ref()?.others;
            Some(if bytes { others.bytes } else { others.messages })
        };
        let cells = [
            name("(all others)"),
            name(""),
            rate(polls.rate(|reply| rest(reply, false)), short),
            rate(polls.rate(|reply| rest(reply, true)), bytes),
            count(others.messages),
            cell_of_loss(others.rejected, Mood::Warn),
        ];
        table.rows.push(TableRow { is_rest: true, ..self::row(cells) });
    }
}

fn forwarders(reply: &TopReply, table: &mut TopTable) {
    let row = |(called, one): (&String, &ForwarderStatus)| {
        let shown =
            if *called == one.kind { called.clone() } else { format!("{called} ({})", one.kind) };
        let (state, mood) = if one.up { ("up", Mood::Good) } else { ("down", Mood::Bad) };
        let waits = if one.up { Mood::Plain } else { Mood::Warn };
        let dropped = if one.lost() > 0 { Mood::Bad } else { Mood::Plain };
        let cells = [
            name(&shown),
            TableCell { mood, ..name(state) },
            count(one.delivered),
            cell_of_loss(one.queued, waits),
            cell_of_loss(one.spooled, waits),
            cell_of_loss(sum(&one.dropped), dropped),
            cell_of_loss(one.failures, Mood::Plain),
        ];
        let degraded = one.spool.as_ref().and_then(|spool| spool.degraded.as_ref());
        let note = match (degraded, &one.last_error) {
            (Some(words), _) => Some((Mood::Bad, format!("spool cannot be used: {words}"))),
            (None, Some(words)) => {
                let at = one.last_error_at.as_deref().map_or("?", time_of_day);
                let mood = if one.up { Mood::Quiet } else { Mood::Bad };
                Some((mood, format!("{at} UTC {words}")))
            }
            (None, None) => None,
        };
        let note = note.map(|(mood, words)| (mood, printable(&words)));
        TableRow { note, ..self::row(cells) }
    };
    table.rows = reply.status.forwarders.iter().map(row).collect();
    table.about = counted(table.rows.len() as u64, "forwarder");
}

fn listeners(reply: &TopReply, polls: &Polls, table: &mut TopTable) {
    let listeners = &reply.status.listeners;
    let row = |(place, one): (usize, &ListenerStatus)| {
        // Threads that share an address have the same name, so the place identifies them.
        let received = |reply: &TopReply| {
            let same = reply.status.listeners.get(place)?;
            (same.listener == one.listener).then_some(same.ledger.received)
        };
        let connections = match &one.connections {
            Some(connections) => count(connections.open),
            None => TableCell { mood: Mood::Quiet, key: SortKey::Number(-1.0), ..name("-") },
        };
        let is_mistake = mistakes(&one.ledger.rejected) > 0;
        let rejected = if is_mistake { Mood::Warn } else { Mood::Plain };
        let cells = [
            name(&one.listener),
            rate(polls.rate(received), short),
            count(one.ledger.received),
            cell_of_loss(sum(&one.ledger.rejected), rejected),
            cell_of_loss(one.ledger.kernel_drops, Mood::Bad),
            cell_of_loss(sum(&one.refused), Mood::Warn),
            connections,
        ];
        TableRow { note: complaint(reply, &one.listener), ..self::row(cells) }
    };
    table.rows = listeners.iter().enumerate().map(row).collect();
    let read: u64 = listeners.iter().map(|one| one.ledger.bytes).sum();
    let listeners = counted(table.rows.len() as u64, "listener");
    table.about = format!("{listeners}, {} read", bytes(read as f64));
}

/// Why the Kamailio server of this listener cannot be polled.
fn complaint(reply: &TopReply, listener: &str) -> Option<(Mood, String)> {
    let endpoint = listener.strip_prefix("kamailio ")?;
    let polled = reply.status.kamailio.iter().find(|one| one.endpoint == endpoint)?;
    let words = polled.last_error.as_ref().filter(|_| !polled.up && polled.polls > 0)?;
    Some((Mood::Bad, printable(words)))
}

fn rejected(reply: &TopReply, table: &mut TopTable) {
    let Some(rejected) = &reply.rejected else { return };
    table.about = match rejected.len() {
        0 => "none since the start".to_owned(),
        some => format!("the latest {some}"),
    };
    let row = |(place, one): (usize, &RejectedEntry<'_>)| {
        // Newest first.
        let key = SortKey::Number(-(place as f64));
        let cells = [
            TableCell { key, ..name(time_of_day(&one.time)) },
            TableCell { mood: Mood::Warn, ..name(&one.reason) },
            name(&one.sender),
            name(&one.excerpt),
        ];
        let mut words = format!("at byte {}: expected {}", one.offset, one.expected);
        words.extend(one.advice.iter().map(|advice| format!("; {advice}")));
        TableRow { note: Some((Mood::Quiet, printable(&words))), ..self::row(cells) }
    };
    table.rows = rejected.iter().enumerate().map(row).collect();
}

fn row<const N: usize>(cells: [TableCell; N]) -> TableRow {
    TableRow { cells: cells.into(), note: None, is_rest: false }
}

fn name(text: &str) -> TableCell {
    let text = printable(text);
    TableCell { key: SortKey::Text(text.to_lowercase()), text, mood: Mood::Plain }
}

fn count(number: u64) -> TableCell {
    let mood = if number == 0 { Mood::Quiet } else { Mood::Plain };
    TableCell { text: grouped(number), key: SortKey::Number(number as f64), mood }
}

/// A count with a mood unless it is 0.
fn cell_of_loss(number: u64, mood: Mood) -> TableCell {
    let plain = count(number);
    if number == 0 { plain } else { TableCell { mood, ..plain } }
}

fn rate(a_second: Option<f64>, shown: fn(f64) -> String) -> TableCell {
    match a_second {
        Some(0.0) => TableCell { text: shown(0.0), key: SortKey::Number(0.0), mood: Mood::Quiet },
        Some(rate) => {
            TableCell { text: shown(rate), key: SortKey::Number(rate), mood: Mood::Plain }
        }
        None => TableCell { text: "…".to_owned(), key: SortKey::Number(-1.0), mood: Mood::Quiet },
    }
}

fn counted(number: u64, one: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {one}{plural}", grouped(number))
}

fn counted_series(number: u64) -> String {
    format!("{} series", grouped(number))
}
