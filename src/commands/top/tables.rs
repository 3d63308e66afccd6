//! The rows of each view, not sorted yet.

use super::looks::Looks;
use super::replies::{Forwarder, Listener, Metric, Reply, Sender, sum};
use super::shown::{printable, time_of_day};
use super::views::View;
use crate::commands::client::ledger::Rejected;
use crate::commands::client::numbers::{bytes, grouped, short, span};

/// What a cell says of how it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mood {
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// To be looked at.
    Warn,
    /// Something is lost or down.
    Bad,
    /// Nothing to see.
    Quiet,
}

/// By what a cell is sorted.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Key {
    /// The largest first.
    Number(f64),
    /// The first by the alphabet first.
    Text(String),
}

#[derive(Clone, Debug)]
pub(super) struct Cell {
    /// Printable.
    pub(super) text: String,
    pub(super) key: Key,
    pub(super) mood: Mood,
}

#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) cells: Vec<Cell>,
    /// A line below it.
    pub(super) note: Option<(Mood, String)>,
    /// It stands for all that are not told apart, below all others.
    pub(super) is_rest: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) is_number: bool,
    /// Whether it goes first where there is little room.
    pub(super) may_go: bool,
}

#[derive(Debug)]
pub(super) struct Table {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Row>,
    /// What it is of.
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
                    extra("FOLDED"),
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

/// The column that a view is sorted by unless somebody wants another.
pub(super) const fn sorted_by(view: View) -> usize {
    match view {
        View::Metrics | View::Tags | View::Listeners => 1,
        View::Senders => 2,
        View::Forwarders | View::Rejected => 0,
    }
}

/// The order of metrics to ask the daemon for, of which only the first are told.
pub(super) fn order_of_metrics(column: usize) -> &'static str {
    match columns(View::Metrics).get(column).map(|column| column.title) {
        Some("SERIES") => "series",
        Some("NEW") => "new_series",
        _ => "samples",
    }
}

/// The rows of a view; none before there is an answer.
pub(super) fn table(view: View, looks: &Looks) -> Table {
    let mut table =
        Table { columns: columns(view).to_vec(), rows: Vec::new(), about: String::new() };
    let Some(reply) = looks.latest() else { return table };
    match view {
        View::Metrics => metrics(reply, &mut table),
        View::Tags => tags(reply, &mut table),
        View::Senders => senders(reply, looks, &mut table),
        View::Forwarders => forwarders(reply, &mut table),
        View::Listeners => listeners(reply, looks, &mut table),
        View::Rejected => rejected(reply, &mut table),
    }
    table
}

fn metrics(reply: &Reply, table: &mut Table) {
    let Some(metrics) = &reply.top.metrics else { return };
    table.about = match &metrics.window_end {
        None => "no window has ended yet".to_owned(),
        Some(end) => format!(
            "{}, window to {} UTC; NEW: in {}",
            counted(metrics.total, "metric"),
            time_of_day(end),
            span(metrics.new_within_s)
        ),
    };
    let row = |one: &Metric| {
        let folded = cell_of_loss(one.overflowed, Mood::Warn);
        row([
            name(&one.name),
            rate(Some(one.window_samples as f64 / metrics.interval_s), short),
            count(one.samples),
            count(one.series),
            count(one.new_series),
            folded,
        ])
    };
    table.rows = metrics.top.iter().map(row).collect();
}

fn tags(reply: &Reply, table: &mut Table) {
    let Some(tags) = &reply.top.tag_keys else { return };
    let others = match tags.other_keys {
        0 => String::new(),
        others => format!(" and {} more", grouped(others)),
    };
    table.about = format!(
        "{}{others} in {}{}, looked at {} ago",
        counted(tags.top.len() as u64, "key"),
        if tags.is_complete { "" } else { "the first " },
        counted_series(tags.series),
        span(tags.age_s)
    );
    let rows = tags.top.iter();
    table.rows =
        rows.map(|one| row([name(&one.key), count(one.values), count(one.series)])).collect();
}

fn senders(reply: &Reply, looks: &Looks, table: &mut Table) {
    let Some(senders) = &reply.top.senders else { return };
    table.about = format!(
        "counted for {}, as long as somebody looks; others: {}",
        span(senders.counted_for_s),
        counted(senders.others.messages, "message")
    );
    let row = |one: &Sender| {
        let then = |reply: &Reply, of: fn(&Sender) -> u64| {
            let senders = reply.top.senders.as_ref()?;
            // One that is new had sent nothing.
            let is_it =
                |other: &&Sender| other.sender == one.sender && other.listener == one.listener;
            Some(senders.top.iter().find(is_it).map_or(0, of))
        };
        row([
            name(&one.sender),
            name(&one.listener),
            rate(looks.rate(|reply| then(reply, |one| one.sent.messages)), short),
            rate(looks.rate(|reply| then(reply, |one| one.sent.bytes)), bytes),
            count(one.sent.messages),
            cell_of_loss(one.sent.rejected, Mood::Warn),
        ])
    };
    table.rows = senders.top.iter().map(row).collect();
    let others = &senders.others;
    if others.messages > 0 {
        let rest = |reply: &Reply, bytes: bool| {
            let others = &reply.top.senders.as_ref()?.others;
            Some(if bytes { others.bytes } else { others.messages })
        };
        let cells = [
            name("(all others)"),
            name(""),
            rate(looks.rate(|reply| rest(reply, false)), short),
            rate(looks.rate(|reply| rest(reply, true)), bytes),
            count(others.messages),
            cell_of_loss(others.rejected, Mood::Warn),
        ];
        table.rows.push(Row { is_rest: true, ..self::row(cells) });
    }
}

fn forwarders(reply: &Reply, table: &mut Table) {
    let row = |(called, one): (&String, &Forwarder)| {
        let shown =
            if *called == one.kind { called.clone() } else { format!("{called} ({})", one.kind) };
        let (state, mood) = if one.up { ("up", Mood::Good) } else { ("down", Mood::Bad) };
        let waits = if one.up { Mood::Plain } else { Mood::Warn };
        let dropped = if one.lost() > 0 { Mood::Bad } else { Mood::Plain };
        let cells = [
            name(&shown),
            Cell { mood, ..name(state) },
            count(one.delivered),
            cell_of_loss(one.queued, waits),
            cell_of_loss(one.spooled, waits),
            cell_of_loss(sum(&one.dropped), dropped),
            cell_of_loss(one.failures, Mood::Plain),
        ];
        let degraded = one.spool.as_ref().and_then(|spool| spool.degraded.as_ref());
        let note = match (degraded, &one.last_error) {
            (Some(words), _) => Some((Mood::Bad, format!("spool cannot be written: {words}"))),
            (None, Some(words)) => {
                let at = one.last_error_at.as_deref().map_or("?", time_of_day);
                let mood = if one.up { Mood::Quiet } else { Mood::Bad };
                Some((mood, format!("{at} UTC {words}")))
            }
            (None, None) => None,
        };
        let note = note.map(|(mood, words)| (mood, printable(&words)));
        Row { note, ..self::row(cells) }
    };
    table.rows = reply.status.forwarders.iter().map(row).collect();
    table.about = counted(table.rows.len() as u64, "forwarder");
}

fn listeners(reply: &Reply, looks: &Looks, table: &mut Table) {
    let listeners = &reply.status.listeners;
    let row = |(place, one): (usize, &Listener)| {
        // Threads that share an address share the name too: the place tells them apart.
        let received = |reply: &Reply| {
            let same = reply.status.listeners.get(place)?;
            (same.listener == one.listener).then_some(same.ledger.received)
        };
        let connections = match &one.connections {
            Some(connections) => count(connections.open),
            None => Cell { mood: Mood::Quiet, key: Key::Number(-1.0), ..name("-") },
        };
        let cells = [
            name(&one.listener),
            rate(looks.rate(received), short),
            count(one.ledger.received),
            cell_of_loss(sum(&one.ledger.rejected), Mood::Warn),
            cell_of_loss(one.ledger.kernel_drops, Mood::Bad),
            cell_of_loss(sum(&one.refused), Mood::Warn),
            connections,
        ];
        Row { note: complaint(reply, &one.listener), ..self::row(cells) }
    };
    table.rows = listeners.iter().enumerate().map(row).collect();
    let read: u64 = listeners.iter().map(|one| one.ledger.bytes).sum();
    let listeners = counted(table.rows.len() as u64, "listener");
    table.about = format!("{listeners}, {} read", bytes(read as f64));
}

/// Why a Kamailio that is polled under this name cannot be.
fn complaint(reply: &Reply, listener: &str) -> Option<(Mood, String)> {
    let endpoint = listener.strip_prefix("kamailio ")?;
    let polled = reply.status.kamailio.iter().find(|one| one.endpoint == endpoint)?;
    let words = polled.last_error.as_ref().filter(|_| !polled.up && polled.polls > 0)?;
    Some((Mood::Bad, printable(words)))
}

fn rejected(reply: &Reply, table: &mut Table) {
    let Some(rejected) = &reply.rejected else { return };
    table.about = match rejected.len() {
        0 => "none since the start".to_owned(),
        some => format!("the latest {some}"),
    };
    let row = |(place, one): (usize, &Rejected)| {
        // The newest first.
        let key = Key::Number(-(place as f64));
        let cells = [
            Cell { key, ..name(time_of_day(&one.time)) },
            Cell { mood: Mood::Warn, ..name(&one.reason) },
            name(&one.sender),
            name(&one.excerpt),
        ];
        let words = format!("at byte {} should be: {}", one.offset, one.expected);
        Row { note: Some((Mood::Quiet, printable(&words))), ..self::row(cells) }
    };
    table.rows = rejected.iter().enumerate().map(row).collect();
}

fn row<const N: usize>(cells: [Cell; N]) -> Row {
    Row { cells: cells.into(), note: None, is_rest: false }
}

fn name(text: &str) -> Cell {
    let text = printable(text);
    Cell { key: Key::Text(text.to_lowercase()), text, mood: Mood::Plain }
}

fn count(number: u64) -> Cell {
    let mood = if number == 0 { Mood::Quiet } else { Mood::Plain };
    Cell { text: grouped(number), key: Key::Number(number as f64), mood }
}

/// A count that means something when it is not 0.
fn cell_of_loss(number: u64, mood: Mood) -> Cell {
    let plain = count(number);
    if number == 0 { plain } else { Cell { mood, ..plain } }
}

fn rate(a_second: Option<f64>, shown: fn(f64) -> String) -> Cell {
    match a_second {
        Some(0.0) => Cell { text: shown(0.0), key: Key::Number(0.0), mood: Mood::Quiet },
        Some(rate) => Cell { text: shown(rate), key: Key::Number(rate), mood: Mood::Plain },
        None => Cell { text: "…".to_owned(), key: Key::Number(-1.0), mood: Mood::Quiet },
    }
}

fn counted(number: u64, one: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {one}{plural}", grouped(number))
}

fn counted_series(number: u64) -> String {
    format!("{} series", grouped(number))
}
