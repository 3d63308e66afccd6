//! Plain text, printed once: for scripts and for reports.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::thread;
use std::time::SystemTime;

use api::forwarders::ForwarderStatus;
use api::sum;
use api::top::{MetricRanking, ROWS_MAX, TopPart, TopQuery, TopSort};

use super::error::TopError;
use super::grid::widths;
use super::model::Model;
use super::options::TopArgs;
use super::poller::{PollRequest, TopPoller};
use super::reply::TopReply;
use super::tables::{TableRow, TopTable};
use super::views::View;
use crate::commands::client::numbers::{bytes, grouped, short, span};
use crate::commands::client::shown::{padded, printable};

/// Orders of metrics: the daemon's, the column, and the title.
const ORDERS: [(TopSort, usize, &str); 3] = [
    (TopSort::Samples, 1, "Metrics by samples"),
    (TopSort::Series, 3, "Metrics by series"),
    (TopSort::NewSeries, 4, "Metrics by new series"),
];

/// Polls twice and prints.
///
/// # Errors
/// When the daemon does not answer, or standard output cannot be written.
pub(super) fn run(args: &TopArgs, poller: &TopPoller, model: Model) -> Result<(), TopError> {
    let interval = args.interval.get();
    let mut model = model.with_interval(interval);
    let request = request(args);
    let first = poller.poll(&PollRequest { wants_history: true, ..request.clone() })?;
    model.take(Ok(first), SystemTime::now());
    thread::sleep(interval);
    let second = poller.poll(&request)?;
    let mut by_order = Vec::new();
    if shows(args, View::Metrics) {
        for (sort, ..) in ORDERS {
            let query = query(TopPart::Metrics.as_str(), sort);
            let request =
                PollRequest { top: Some(query), wants_rejected: false, wants_history: false };
            by_order.push(poller.poll(&request)?.top.metrics);
        }
    }
    let text = write(args, &mut model, second, &by_order);
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // The reader has closed the pipe.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.map_err(TopError::Output),
    }
}

fn shows(args: &TopArgs, view: View) -> bool {
    args.view.is_none_or(|only| only == view)
}

fn query(parts: &str, sort: TopSort) -> TopQuery {
    TopQuery { parts: parts.to_owned(), sort, limit: ROWS_MAX }
}

/// The request for all views but the metrics, which are polled in each order.
fn request(args: &TopArgs) -> PollRequest {
    let parts: Vec<&str> = View::ALL
        .into_iter()
        .filter(|view| shows(args, *view) && *view != View::Metrics)
        .filter_map(View::part)
        .map(TopPart::as_str)
        .collect();
    PollRequest {
        top: (!parts.is_empty()).then(|| query(&parts.join(","), TopSort::Samples)),
        wants_rejected: shows(args, View::Rejected),
        wants_history: false,
    }
}

fn write(
    args: &TopArgs,
    model: &mut Model,
    second: TopReply,
    by_order: &[Option<MetricRanking>],
) -> String {
    let mut text = String::new();
    model.take(Ok(second), SystemTime::now());
    header(model, &mut text);
    for view in View::ALL.into_iter().filter(|view| shows(args, *view)) {
        model.show(view);
        if view != View::Metrics {
            section(view.title(), model.table(), args.limit, &mut text);
            continue;
        }
        for ((_, column, title), metrics) in ORDERS.into_iter().zip(by_order) {
            model.polls.replace_metrics(metrics.clone());
            model.sort_by(column);
            section(title, model.table(), args.limit, &mut text);
        }
    }
    text
}

/// Writing into a string cannot fail.
fn header(model: &Model, text: &mut String) {
    let Some(TopReply { status, .. }) = model.polls.latest() else { return };
    let rate = |rate: Option<f64>| rate.map_or("?".to_owned(), short);
    let all = |of: fn(&ForwarderStatus) -> u64| status.forwarders.values().map(of).sum::<u64>();
    let memory = status.process.resident_bytes;
    let cpu = model.polls.cpu().map_or("?".to_owned(), |share| format!("{:.1}", share * 100.0));
    let _infallible = writeln!(
        text,
        "tallyd {} at {}, up {}, pid {}, cpu {cpu} %, memory {}",
        printable(&status.version),
        printable(&model.url),
        span(status.uptime_s),
        status.process.pid,
        memory.map_or("?".to_owned(), |resident| bytes(resident as f64)),
    );
    let received = model.polls.rate(|reply| Some(reply.status.ledger.received));
    let _infallible = writeln!(
        text,
        "in {}/s, out {}/s, series {}, samples overflowed {}",
        rate(received),
        rate(model.polls.delivered()),
        grouped(status.series.total),
        grouped(status.series.overflowed),
    );
    let _infallible = writeln!(
        text,
        "messages: received {} = aggregated {} + rejected {}; kernel drops {}, refused {}",
        grouped(status.ledger.received),
        grouped(status.ledger.aggregated),
        grouped(sum(&status.ledger.rejected)),
        grouped(status.ledger.kernel_drops),
        grouped(status.refused()),
    );
    let _infallible = writeln!(
        text,
        "points: flushed {} + recovered {} = delivered {} + queued {} + spooled {} + dropped {}",
        grouped(all(|one| one.flushed)),
        grouped(all(|one| one.recovered)),
        grouped(all(|one| one.delivered)),
        grouped(all(|one| one.queued)),
        grouped(all(|one| one.spooled)),
        grouped(all(|one| sum(&one.dropped))),
    );
}

fn section(title: &str, mut table: TopTable, limit: u16, text: &mut String) {
    let about = if table.about.is_empty() { String::new() } else { format!(": {}", table.about) };
    let _infallible = writeln!(text, "\n{title}{about}");
    let all = table.rows.len();
    let rest = table.rows.pop_if(|row| row.is_rest);
    table.rows.truncate(limit.into());
    table.rows.extend(rest);
    if table.rows.is_empty() {
        return;
    }
    let widths = widths(&table, None);
    let titles = table.columns.iter().map(|column| column.title);
    line(titles, &table, &widths, text);
    for row in &table.rows {
        line(row.cells.iter().map(|cell| cell.text.as_str()), &table, &widths, text);
        note(row, text);
    }
    let left_out = all - table.rows.len();
    if left_out > 0 {
        let _infallible = writeln!(text, "  and {} more, see --limit", grouped(left_out as u64));
    }
}

fn line<'a>(
    cells: impl Iterator<Item = &'a str>,
    table: &TopTable,
    widths: &[usize],
    text: &mut String,
) {
    let cells = cells.zip(&table.columns).zip(widths);
    let cells = cells.map(|((cell, column), width)| padded(cell, *width, column.is_number));
    let line = cells.collect::<Vec<_>>().join("  ");
    text.push_str("  ");
    text.push_str(line.trim_end());
    text.push('\n');
}

fn note(row: &TableRow, text: &mut String) {
    if let Some((_, words)) = &row.note {
        let _infallible = writeln!(text, "      {words}");
    }
}
