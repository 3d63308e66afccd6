//! The lines above the table: rates, ledger, and the most important problem.

use api::forwarders::ForwarderStatus;
use api::status::Status;
use api::sum;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

use super::canvas::ScreenStyle;
use super::model::{Model, Outage};
use super::shown::{cut_end, padded, printable, width};
use super::tables::Mood;
use crate::commands::client::numbers::{bytes, grouped, short, span};

/// Bars of a sparkline, in eighths of a line.
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
        messages(status, style),
        points(status, style),
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
    let room = columns.saturating_sub(width(&into) + width(&out)).min(60);
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
fn messages(status: &Status, style: ScreenStyle) -> Line<'static> {
    let ledger = &status.ledger;
    let mut parts = LineParts::new(style);
    parts.plain("messages ").count(ledger.received, Mood::Plain).plain(" = ");
    parts.count(ledger.aggregated, Mood::Plain).plain(" aggregated + ");
    parts.count(sum(&ledger.rejected), Mood::Warn).plain(" rejected   kernel drops ");
    parts.count(ledger.kernel_drops, Mood::Bad);
    if status.refused() > 0 {
        parts.plain("  refused ").count(status.refused(), Mood::Warn);
    }
    parts.line()
}

fn points(status: &Status, style: ScreenStyle) -> Line<'static> {
    let all = |of: fn(&ForwarderStatus) -> u64| status.forwarders.values().map(of).sum::<u64>();
    let mut parts = LineParts::new(style);
    parts.plain("points ").count(all(|one| one.flushed + one.recovered), Mood::Plain);
    parts.plain(" = ").count(all(|one| one.delivered), Mood::Plain).plain(" delivered + ");
    parts.count(all(|one| one.queued + one.spooled), Mood::Plain).plain(" waiting + ");
    let mood = if all(ForwarderStatus::lost) > 0 { Mood::Bad } else { Mood::Plain };
    parts.count(all(|one| sum(&one.dropped)), mood).plain(" dropped   series ");
    parts.count(status.series.total, Mood::Plain);
    if status.series.overflowed > 0 {
        parts.plain("  overflowed ").count(status.series.overflowed, Mood::Warn);
    }
    parts.line()
}

struct LineParts {
    style: ScreenStyle,
    spans: Vec<Span<'static>>,
}

impl LineParts {
    fn new(style: ScreenStyle) -> Self {
        Self { style, spans: Vec::new() }
    }

    fn plain(&mut self, words: &'static str) -> &mut Self {
        self.spans.push(Span::raw(words));
        self
    }

    /// A number, with a mood unless it is 0.
    fn count(&mut self, number: u64, mood: Mood) -> &mut Self {
        let style = match mood {
            _ if number == 0 => Style::new(),
            Mood::Plain => Modifier::BOLD.into(),
            mood => self.style.mood(mood),
        };
        self.spans.push(Span::styled(grouped(number), style));
        self
    }

    fn line(self) -> Line<'static> {
        self.spans.into()
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
            bad.push(format!("the spool of {name} cannot be written: {words}"));
        }
    }
    if grows(|status| status.forwarders.values().map(ForwarderStatus::lost).sum()).is_some() {
        bad.push("points are dropped: see the view Forwarders".to_owned());
    }
    for one in status.kamailio.iter().filter(|one| !one.up && one.polls > 0) {
        bad.push(format!("{} cannot be polled: see the view Listeners", one.endpoint));
    }
    if let Some(rate) = grows(|status| sum(&status.ledger.rejected)) {
        warn.push(format!("{} messages a second are rejected: see the view Rejected", short(rate)));
    }
    if grows(|status| status.series.overflowed).is_some() {
        warn.push("samples overflow: a limit on series is reached, see NEW in Metrics".to_owned());
    }
    (bad, warn)
}
