//! The lines above the table: rates, ledger, and the most important problem.

use api::forwarders::ForwarderStatus;
use api::status::Status;
use api::{mistakes, sum};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

use super::canvas::ScreenStyle;
use super::model::{Model, Outage};
use super::tables::Mood;
use crate::commands::client::numbers::{bytes, grouped, short, span};
use crate::commands::client::shown::{cut_end, padded, printable, width};

/// The bars of a sparkline, from one to eight eighths of the height of a line.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// All lines.
pub(super) fn header(model: &Model, style: ScreenStyle, columns: usize) -> Vec<Line<'static>> {
    let notice = notice(model, style, columns);
    let Some(reply) = model.polls.latest() else {
        let title = Span::styled("tallyd", Modifier::BOLD);
        let first = Line::from(vec![title, Span::raw(format!("  {}", printable(&model.url)))]);
        return vec![first, Line::default(), Line::default(), Line::default(), notice];
    };
    let status = &reply.status;
    vec![
        about(model, status, columns),
        rates(model, status, style, columns),
        messages(status).line(style, columns),
        points(status).line(style, columns),
        notice,
    ]
}

fn about(model: &Model, status: &Status, columns: usize) -> Line<'static> {
    let place = printable(model.url.trim_start_matches("http://"));
    let left = format!(" {}  {place}  up {}", printable(&status.version), span(status.uptime_s));
    let cpu = model.polls.cpu().map_or("…".to_owned(), |share| format!("{:.1} %", share * 100.0));
    let memory = status.process.resident_bytes;
    let memory = memory.map_or("?".to_owned(), |resident| bytes(resident as f64));
    let right = format!("pid {}  cpu {cpu}  mem {memory}", status.process.pid);
    let right = cut_end(&right, columns.saturating_sub(6 + 2));
    let room = columns.saturating_sub(6 + 2 + width(&right));
    let left = padded(&cut_end(&left, room), room, false);
    Line::from(vec![
        Span::styled("tallyd", Modifier::BOLD),
        Span::raw(left),
        Span::raw(format!("  {right}")),
    ])
}

fn rates(model: &Model, status: &Status, style: ScreenStyle, columns: usize) -> Line<'static> {
    let shown =
        |rate: Option<f64>| rate.map_or("…".to_owned(), |rate| format!("{}/s", short(rate)));
    let received = model.polls.rate(|reply| Some(reply.status.ledger.received));
    let into = format!("in {:<9}", shown(received));
    let windows = &status.windows;
    let late = windows.lag_s.map_or(String::new(), |lag| format!(", late {:.0} ms", lag * 1e3));
    let points = windows
        .points
        .map_or("no window yet".to_owned(), |points| format!("{} points{late}", grouped(points)));
    let out = format!(
        "  out {:<9} window {}: {points}",
        shown(model.polls.delivered()),
        seconds(windows.interval_s)
    );
    let out = cut_end(&out, columns.saturating_sub(width(&into)));
    let room = columns.saturating_sub(width(&into) + width(&out));
    let style = style.mood(Mood::Good);
    Line::from(vec![
        Span::styled(into, Modifier::BOLD),
        Span::styled(spark(&model.polls.received(), room), style),
        Span::raw(out),
    ])
}

fn seconds(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1e3) } else { span(seconds) }
}

/// The latest rates as bars, the largest as high as a line.
fn spark(rates: &[f64], columns: usize) -> String {
    let shown = &rates[rates.len().saturating_sub(columns)..];
    let most = shown.iter().copied().fold(0.0, f64::max);
    let bar = |rate: &f64| {
        if *rate <= 0.0 {
            return ' ';
        }
        let height = (rate / most * (BARS.len() - 1) as f64).round();
        BARS[(height as usize).min(BARS.len() - 1)]
    };
    let bars: String = shown.iter().map(bar).collect();
    padded(&bars, columns, true)
}

/// `received = aggregated + rejected`, and the datagrams that were not received.
fn messages(status: &Status) -> LedgerLine {
    let ledger = &status.ledger;
    let rejected = sum(&ledger.rejected);
    let mood = if mistakes(&ledger.rejected) > 0 { Mood::Warn } else { Mood::Plain };
    let mut parts = vec![
        LedgerPart::new("messages ", ledger.received, "", Mood::Plain),
        LedgerPart::new(" = ", ledger.aggregated, " aggregated", Mood::Plain),
        LedgerPart::new(" + ", rejected, " rejected", mood),
        LedgerPart::new("   kernel drops ", ledger.kernel_drops, "", Mood::Bad),
    ];
    if status.refused() > 0 {
        parts.push(LedgerPart::new("  refused ", status.refused(), "", Mood::Warn));
    }
    LedgerLine(parts)
}

fn points(status: &Status) -> LedgerLine {
    let all = |of: fn(&ForwarderStatus) -> u64| status.forwarders.values().map(of).sum::<u64>();
    let mood = if all(ForwarderStatus::lost) > 0 { Mood::Bad } else { Mood::Plain };
    let series = LedgerPart::new("   series ", status.series.total, "", Mood::Plain);
    let mut parts = vec![
        LedgerPart::new("points ", all(|one| one.flushed + one.recovered), "", Mood::Plain),
        LedgerPart::new(" = ", all(|one| one.delivered), " delivered", Mood::Plain),
        LedgerPart::new(" + ", all(|one| one.queued + one.spooled), " waiting", Mood::Plain),
        LedgerPart::new(" + ", all(|one| sum(&one.dropped)), " dropped", mood),
        LedgerPart { may_go: true, ..series },
    ];
    if status.series.overflowed > 0 {
        parts.push(LedgerPart::new("  overflowed ", status.series.overflowed, "", Mood::Warn));
    }
    LedgerLine(parts)
}

/// A line of numbers that is never cut inside a number.
struct LedgerLine(Vec<LedgerPart>);

/// A number with its words.
struct LedgerPart {
    before: &'static str,
    number: u64,
    after: &'static str,
    mood: Mood,
    /// Whether it is left out first where there is little room.
    may_go: bool,
}

impl LedgerPart {
    const fn new(before: &'static str, number: u64, after: &'static str, mood: Mood) -> Self {
        Self { before, number, after, mood, may_go: false }
    }

    /// The words and the number, with a mood unless it is 0.
    fn spans(&self, style: ScreenStyle, shown: fn(u64) -> String) -> [Span<'static>; 3] {
        let style = match self.mood {
            _ if self.number == 0 => Style::new(),
            Mood::Plain => Modifier::BOLD.into(),
            mood => style.mood(mood),
        };
        let number = Span::styled(shown(self.number), style);
        [Span::raw(self.before), number, Span::raw(self.after)]
    }
}

impl LedgerLine {
    /// The line in at most this number of columns: with exact numbers, else with short ones, else
    /// without some parts, marked with `…`.
    fn line(mut self, style: ScreenStyle, columns: usize) -> Line<'static> {
        const CUT: &str = " …";
        let spans = |parts: &[LedgerPart], shown: fn(u64) -> String| -> Line<'static> {
            parts.iter().flat_map(|part| part.spans(style, shown)).collect()
        };
        let exact = spans(&self.0, grouped);
        if exact.width() <= columns {
            return exact;
        }
        let in_short = |number: u64| short(number as f64);
        let mut line = spans(&self.0, in_short);
        while line.width() > columns && !self.0.is_empty() {
            let place = self.0.iter().rposition(|part| part.may_go).unwrap_or(self.0.len() - 1);
            self.0.remove(place);
            line = spans(&self.0, in_short);
            line.push_span(CUT);
        }
        line
    }
}

/// The most important problem, if there is one.
fn notice(model: &Model, style: ScreenStyle, columns: usize) -> Line<'static> {
    let (mood, words) = most_important(model, style);
    let words = cut_end(&printable(&words), columns);
    match mood {
        Mood::Bad if !style.has_colours => Line::styled(words, Modifier::REVERSED),
        mood => Line::styled(words, style.mood(mood)),
    }
}

fn most_important(model: &Model, style: ScreenStyle) -> (Mood, String) {
    if let Some(Outage { since, why }) = &model.outage {
        let words = format!("no answer since {since} UTC, retrying: {why}");
        return (Mood::Bad, words);
    }
    if let Some(silent) = model.silent_for(style.interval) {
        return (Mood::Bad, format!("no answer for {}", span(silent.as_secs_f64())));
    }
    let Some(reply) = model.polls.latest() else {
        return (Mood::Quiet, "waiting for the daemon's status".to_owned());
    };
    let (bad, warn) = problems(model, &reply.status);
    let more = (bad.len() + warn.len()).saturating_sub(1);
    let more = if more > 0 { format!("  (and {more} more)") } else { String::new() };
    let first = |list: Vec<String>| list.into_iter().next().unwrap_or_default() + &more;
    if !bad.is_empty() {
        (Mood::Bad, first(bad))
    } else if !warn.is_empty() {
        (Mood::Warn, first(warn))
    } else {
        (Mood::Good, "all is well".to_owned())
    }
}

/// Problems that lose data, and warnings.
fn problems(model: &Model, status: &Status) -> (Vec<String>, Vec<String>) {
    let (mut bad, mut warn) = (Vec::new(), Vec::new());
    let grows = |of: fn(&Status) -> u64| {
        model.polls.rate(|reply| Some(of(&reply.status))).filter(|rate| *rate > 0.0)
    };
    if let Some(rate) = grows(|status| status.ledger.kernel_drops) {
        bad.push(format!("the kernel drops {} datagrams a second: a buffer is full", short(rate)));
    }
    for (name, one) in &status.forwarders {
        let words = one.last_error.as_deref().unwrap_or("reason unknown");
        if !one.up {
            bad.push(format!("{name} is down: {words}"));
        }
        if let Some(words) = one.spool.as_ref().and_then(|spool| spool.degraded.as_ref()) {
            bad.push(format!("the spool of {name} cannot be used: {words}"));
        }
    }
    // A destination that hangs counts as up until its first attempt has failed.
    let window = status.windows.points.unwrap_or(0);
    for (name, one) in status.forwarders.iter().filter(|(_, one)| one.up) {
        let waiting = one.queued + one.spooled;
        if waiting > 2 * window {
            warn.push(format!(
                "{} points wait for {name}: see the view Forwarders",
                grouped(waiting)
            ));
        }
    }
    if grows(|status| status.forwarders.values().map(ForwarderStatus::lost).sum()).is_some() {
        bad.push("points are dropped: see the view Forwarders".to_owned());
    }
    for one in status.kamailio.iter().filter(|one| !one.up && one.polls > 0) {
        bad.push(format!("{} cannot be polled: see the view Listeners", one.endpoint));
    }
    if let Some(rate) = grows(|status| mistakes(&status.ledger.rejected)) {
        warn.push(format!("{} messages a second are rejected: see the view Rejected", short(rate)));
    }
    if grows(|status| status.series.overflowed).is_some() {
        warn.push("samples overflow: a limit on series is reached, see NEW in Metrics".to_owned());
    }
    (bad, warn)
}
