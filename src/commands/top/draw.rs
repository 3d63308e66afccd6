//! The screen: from the model to characters. Nothing is asked and nothing is decided here.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::help;
use super::model::{Model, Sorting};
use super::replies::{Forwarder, Status, sum};
use super::shown::{cut, cut_end, padded, printable, width};
use super::tables::{Column, Mood, Row, Table};
use super::views::View;
use crate::commands::client::numbers::{bytes, grouped, short, span};

/// Lines above the rows, and below them.
const ABOVE: usize = 7;
const BELOW: usize = 2;
/// Below this there is nothing to see.
const SMALLEST: (u16, u16) = (24, 10);
/// Columns of the terminal between two of the table.
const GAP: usize = 1;
/// A column of text has at least so much.
const TEXT_MIN: usize = 10;
/// Eighths of a line, for rates.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// How things look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) has_colours: bool,
    /// How far the looks at the daemon are apart.
    pub(super) interval: Duration,
}

impl Look {
    /// Without colours, what matters is bold.
    fn mood(self, mood: Mood) -> Style {
        let colour = |colour| {
            if self.has_colours { Style::new().fg(colour) } else { Style::new() }
        };
        match mood {
            Mood::Plain => Style::new(),
            Mood::Good => colour(Color::Green),
            Mood::Warn => colour(Color::Yellow).add_modifier(Modifier::BOLD),
            Mood::Bad => colour(Color::Red).add_modifier(Modifier::BOLD),
            Mood::Quiet => Style::new().add_modifier(Modifier::DIM),
        }
    }
}

/// Draws everything; notes in the model how many rows there was room for.
pub(super) fn draw(frame: &mut Frame<'_>, model: &mut Model, look: Look) {
    let area = frame.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        let words = cut_end("tallyd top: too small; q quits", area.width.into());
        return put(frame, 0, Line::raw(words));
    }
    let columns = usize::from(area.width);
    for (y, line) in header(model, look, columns).into_iter().enumerate() {
        put(frame, y, line);
    }
    put(frame, ABOVE - 2, tabs(model.view, look, columns));
    if model.shows_help {
        draw_help(frame, model.view, look);
    } else {
        draw_table(frame, model, look);
    }
    put(frame, usize::from(area.height) - 1, footer(model, columns));
}

fn put(frame: &mut Frame<'_>, y: usize, line: Line<'_>) {
    let area = frame.area();
    if y < usize::from(area.height) {
        frame.render_widget(line, Rect { y: area.y + y as u16, height: 1, ..area });
    }
}

// ---- Above the table ----

fn header(model: &Model, look: Look, columns: usize) -> Vec<Line<'static>> {
    let notice = notice(model, look, columns);
    let Some(reply) = model.looks.latest() else {
        let title = Span::styled("tallyd", Modifier::BOLD);
        let first = Line::from(vec![title, Span::raw(format!("  {}", printable(&model.url)))]);
        return vec![first, Line::default(), Line::default(), Line::default(), notice];
    };
    let status = &reply.status;
    vec![
        about(model, status, columns),
        rates(model, status, look, columns),
        messages(status, look),
        points(status, look),
        notice,
    ]
}

fn about(model: &Model, status: &Status, columns: usize) -> Line<'static> {
    let place = printable(model.url.trim_start_matches("http://"));
    let left = format!(" {}  {place}  up {}", printable(&status.version), span(status.uptime_s));
    let cpu = model.looks.cpu().map_or("…".to_owned(), |share| format!("{:.1} %", share * 100.0));
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

fn rates(model: &Model, status: &Status, look: Look, columns: usize) -> Line<'static> {
    let shown =
        |rate: Option<f64>| rate.map_or("…".to_owned(), |rate| format!("{}/s", short(rate)));
    let received = model.looks.rate(|reply| Some(reply.status.ledger.received));
    let into = format!("in {:<9}", shown(received));
    let windows = &status.windows;
    let late = windows.lag_s.map_or(String::new(), |lag| format!(", late {:.0} ms", lag * 1e3));
    let points = windows
        .points
        .map_or("no window yet".to_owned(), |points| format!("{} points{late}", grouped(points)));
    let out = format!(
        "  out {:<9} window {}: {points}",
        shown(model.looks.delivered()),
        seconds(windows.interval_s)
    );
    let room = columns.saturating_sub(width(&into) + width(&out)).min(60);
    let style = look.mood(Mood::Good);
    Line::from(vec![
        Span::styled(into, Modifier::BOLD),
        Span::styled(spark(&model.looks.received(), room), style),
        Span::raw(out),
    ])
}

fn seconds(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1e3) } else { span(seconds) }
}

/// The last rates as bars, the largest as high as a line.
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

/// `received = aggregated + rejected`, and what is in none of these.
fn messages(status: &Status, look: Look) -> Line<'static> {
    let ledger = &status.ledger;
    let mut parts = Parts::new(look);
    parts.plain("messages ").count(ledger.received, Mood::Plain).plain(" = ");
    parts.count(ledger.aggregated, Mood::Plain).plain(" aggregated + ");
    parts.count(sum(&ledger.rejected), Mood::Warn).plain(" rejected   kernel drops ");
    parts.count(ledger.kernel_drops, Mood::Bad);
    if status.refused() > 0 {
        parts.plain("  refused ").count(status.refused(), Mood::Warn);
    }
    parts.line()
}

fn points(status: &Status, look: Look) -> Line<'static> {
    let all = |of: fn(&Forwarder) -> u64| status.forwarders.values().map(of).sum::<u64>();
    let mut parts = Parts::new(look);
    parts.plain("points ").count(all(|one| one.flushed + one.recovered), Mood::Plain);
    parts.plain(" = ").count(all(|one| one.delivered), Mood::Plain).plain(" delivered + ");
    parts.count(all(|one| one.queued + one.spooled), Mood::Plain).plain(" waiting + ");
    let mood = if all(Forwarder::lost) > 0 { Mood::Bad } else { Mood::Plain };
    parts.count(all(|one| sum(&one.dropped)), mood).plain(" dropped   series ");
    parts.count(status.series.total, Mood::Plain);
    if status.series.overflowed > 0 {
        parts.plain("  folded ").count(status.series.overflowed, Mood::Warn);
    }
    parts.line()
}

struct Parts {
    look: Look,
    spans: Vec<Span<'static>>,
}

impl Parts {
    fn new(look: Look) -> Self {
        Self { look, spans: Vec::new() }
    }

    fn plain(&mut self, words: &'static str) -> &mut Self {
        self.spans.push(Span::raw(words));
        self
    }

    /// A number, in this mood if it is not 0.
    fn count(&mut self, number: u64, mood: Mood) -> &mut Self {
        let style = match mood {
            _ if number == 0 => Style::new(),
            Mood::Plain => Modifier::BOLD.into(),
            mood => self.look.mood(mood),
        };
        self.spans.push(Span::styled(grouped(number), style));
        self
    }

    fn line(self) -> Line<'static> {
        self.spans.into()
    }
}

/// The one thing that an operator should know first.
fn notice(model: &Model, look: Look, columns: usize) -> Line<'static> {
    let (mood, words) = first_to_know(model, look);
    let words = cut_end(&printable(&words), columns);
    match mood {
        Mood::Bad if !look.has_colours => Line::styled(words, Modifier::REVERSED),
        mood => Line::styled(words, look.mood(mood)),
    }
}

fn first_to_know(model: &Model, look: Look) -> (Mood, String) {
    if let Some(gone) = &model.gone {
        let words = format!("no answer since {} UTC, asking again: {}", gone.since, gone.why);
        return (Mood::Bad, words);
    }
    if let Some(silent) = model.silent_for(look.interval) {
        return (Mood::Bad, format!("no answer for {}", span(silent.as_secs_f64())));
    }
    let Some(reply) = model.looks.latest() else {
        return (Mood::Quiet, "asking the daemon".to_owned());
    };
    let (bad, warn) = complaints(model, &reply.status);
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

/// What goes wrong now, and what is not as it should be.
fn complaints(model: &Model, status: &Status) -> (Vec<String>, Vec<String>) {
    let (mut bad, mut warn) = (Vec::new(), Vec::new());
    let grows = |of: fn(&Status) -> u64| {
        model.looks.rate(|reply| Some(of(&reply.status))).filter(|rate| *rate > 0.0)
    };
    if let Some(rate) = grows(|status| status.ledger.kernel_drops) {
        bad.push(format!("the kernel drops {} datagrams a second: a buffer is full", short(rate)));
    }
    for (name, one) in &status.forwarders {
        let words = one.last_error.as_deref().unwrap_or("no reason is known");
        if !one.up {
            bad.push(format!("{name} is down: {words}"));
        }
        if let Some(words) = one.spool.as_ref().and_then(|spool| spool.degraded.as_ref()) {
            bad.push(format!("the spool of {name} cannot be written: {words}"));
        }
    }
    if grows(|status| status.forwarders.values().map(Forwarder::lost).sum()).is_some() {
        bad.push("points are dropped: see the view Forwarders".to_owned());
    }
    for one in status.kamailio.iter().filter(|one| !one.up && one.polls > 0) {
        bad.push(format!("{} cannot be polled: see the view Listeners", one.endpoint));
    }
    if let Some(rate) = grows(|status| sum(&status.ledger.rejected)) {
        warn.push(format!("{} messages a second are rejected: see the view Rejected", short(rate)));
    }
    if grows(|status| status.series.overflowed).is_some() {
        warn.push("samples are folded: there are too many series, see NEW in Metrics".to_owned());
    }
    (bad, warn)
}

fn tabs(current: View, look: Look, columns: usize) -> Line<'static> {
    let needed: usize = View::ALL.iter().map(|view| view.title().len() + 5).sum();
    let mut spans = Vec::new();
    for view in View::ALL {
        let title = if needed <= columns + 2 || view == current { view.title() } else { "" };
        let label = format!(" {} {title} ", view.number() + 1);
        let style =
            if view == current { Modifier::REVERSED.into() } else { look.mood(Mood::Plain) };
        spans.push(Span::styled(label, style));
        spans.push(Span::raw(" "));
    }
    spans.into()
}

// ---- The table ----

fn draw_table(frame: &mut Frame<'_>, model: &mut Model, look: Look) {
    let (columns, height) = (usize::from(frame.area().width), usize::from(frame.area().height));
    let table = model.table();
    let room = height - ABOVE - BELOW;
    let lines_of = |row: &Row| 1 + usize::from(row.note.is_some());
    // The last page is full.
    let mut last_top = table.rows.len();
    let mut used = 0;
    while last_top > 0 && used + lines_of(&table.rows[last_top - 1]) <= room {
        last_top -= 1;
        used += lines_of(&table.rows[last_top]);
    }
    model.top_row = model.top_row.min(last_top);
    let widths = widths(&table, Some(columns));
    put(frame, ABOVE - 1, headings(&table, &widths, model.sorting(), look));
    let (mut y, mut shown) = (0, 0);
    for row in &table.rows[model.top_row..] {
        if y + lines_of(row) > room {
            break;
        }
        put(frame, ABOVE + y, row_line(row, &table.columns, &widths, look));
        if let Some((mood, words)) = &row.note {
            let words = cut_end(&format!("  {words}"), columns);
            put(frame, ABOVE + y + 1, Line::styled(words, look.mood(*mood)));
        }
        y += lines_of(row);
        shown += 1;
    }
    model.page = shown.max(1);
    let place = place(model, &table, shown);
    let room = columns.saturating_sub(width(&place) + 2);
    let about = padded(&cut_end(&table.about, room), room, false);
    let line = format!("{about}  {place}");
    put(frame, height - BELOW, Line::styled(line, look.mood(Mood::Quiet)));
}

/// Which rows are on the screen.
fn place(model: &Model, table: &Table, shown: usize) -> String {
    let filter = model.wanted();
    let filter = if filter.is_empty() {
        String::new()
    } else {
        format!(" with \"{}\"", cut(&printable(&filter), 20))
    };
    let all = table.rows.len();
    if all == 0 {
        return format!("no rows{filter}");
    }
    let first = model.top_row + 1;
    format!("{first}-{} of {all}{filter}", model.top_row + shown)
}

/// How wide each column is; 0 for one that there is no room for. Without a limit all have what they
/// need.
pub(super) fn widths(table: &Table, columns: Option<usize>) -> Vec<usize> {
    let needs: Vec<usize> = table
        .columns
        .iter()
        .enumerate()
        .map(|(place, column)| {
            // The mark of the sorted column is behind its title.
            let title = column.title.len() + 1;
            let cells = table.rows.iter().map(|row| width(&row.cells[place].text));
            cells.max().unwrap_or(0).max(title)
        })
        .collect();
    let Some(columns) = columns else { return needs };
    let mut widths = needs.clone();
    let is_text = |place: usize| !table.columns[place].is_number;
    let least =
        |place: usize| if is_text(place) { needs[place].min(TEXT_MIN) } else { needs[place] };
    let taken = |widths: &[usize]| -> usize {
        let shown = (0..widths.len()).filter(|place| widths[*place] > 0);
        shown.map(|place| least(place) + GAP).sum::<usize>().saturating_sub(GAP)
    };
    // What may go goes first, then from the right; the first column stays.
    while taken(&widths) > columns {
        let shown = |place: &usize| widths[*place] > 0;
        let last = |may_go: bool| {
            (1..widths.len())
                .rev()
                .filter(shown)
                .find(|place| table.columns[*place].may_go == may_go)
        };
        let Some(place) = last(true).or_else(|| last(false)) else { break };
        widths[place] = 0;
    }
    share(&mut widths, columns, is_text);
    widths
}

/// Gives the columns of text what is left, each as much as it needs as long as there is any: the
/// shorter ones first.
fn share(widths: &mut [usize], columns: usize, is_text: impl Fn(usize) -> bool) {
    let shown = widths.iter().filter(|width| **width > 0).count();
    let mut texts: Vec<usize> =
        (0..widths.len()).filter(|place| widths[*place] > 0 && is_text(*place)).collect();
    let numbers: usize =
        (0..widths.len()).filter(|place| !is_text(*place)).map(|p| widths[p]).sum();
    let mut left = columns.saturating_sub(numbers + GAP * shown.saturating_sub(1));
    texts.sort_by_key(|place| widths[*place]);
    for (done, place) in texts.iter().enumerate() {
        let part = left / (texts.len() - done);
        widths[*place] = widths[*place].min(part);
        left -= widths[*place];
    }
    // Numbers stand at the right edge: the first column takes what nobody needs.
    if let Some(first) = widths.first_mut()
        && is_text(0)
    {
        *first += left;
    }
}

fn headings(table: &Table, widths: &[usize], sorting: Sorting, look: Look) -> Line<'static> {
    let mut spans = Vec::new();
    for (place, column) in shown_columns(&table.columns, widths) {
        let is_sorted = place == sorting.column;
        // The largest number comes first, and the first word.
        let falls = column.is_number != sorting.is_reversed;
        let mark = match is_sorted {
            false => " ",
            true if falls => "▼",
            true => "▲",
        };
        let title = cut_end(&format!("{}{mark}", column.title), widths[place]);
        let style = if is_sorted { Modifier::BOLD.into() } else { look.mood(Mood::Plain) };
        separate(&mut spans);
        let style: Style = style;
        spans.push(Span::styled(
            padded(&title, widths[place], column.is_number),
            style.add_modifier(Modifier::UNDERLINED),
        ));
    }
    spans.into()
}

fn row_line(row: &Row, columns: &[Column], widths: &[usize], look: Look) -> Line<'static> {
    let mut spans = Vec::new();
    for (place, column) in shown_columns(columns, widths) {
        let cell = &row.cells[place];
        // A number stands below its title, beside the mark's place.
        let room = widths[place] - usize::from(column.is_number);
        let text = padded(&cut(&cell.text, room), room, column.is_number);
        separate(&mut spans);
        spans.push(Span::styled(text, look.mood(cell.mood)));
        if column.is_number {
            spans.push(Span::raw(" "));
        }
    }
    spans.into()
}

fn separate(spans: &mut Vec<Span<'static>>) {
    if !spans.is_empty() {
        spans.push(Span::raw(" ".repeat(GAP)));
    }
}

fn shown_columns<'a>(
    columns: &'a [Column],
    widths: &'a [usize],
) -> impl Iterator<Item = (usize, &'a Column)> {
    columns.iter().enumerate().filter(|(place, _)| widths[*place] > 0)
}

// ---- Below the table ----

fn footer(model: &Model, columns: usize) -> Line<'static> {
    if let Some(typed) = &model.typed {
        // Its end is what is being written.
        let room = columns.saturating_sub(30);
        let text = printable(typed);
        let shown = if width(&text) > room { cut(&text, room) } else { text };
        return Line::from(vec![
            Span::styled(format!("/{shown}"), Modifier::BOLD),
            Span::styled(" ", Modifier::REVERSED),
            Span::raw("  Enter keeps it, Esc does not"),
        ]);
    }
    let mut spans = Vec::new();
    if model.is_paused {
        spans.push(Span::styled(" PAUSED, p goes on ", Modifier::REVERSED));
        spans.push(Span::raw(" "));
    }
    let clear = if model.filter.is_empty() { "" } else { "Esc all rows  " };
    let keys = format!("q quit  ? help  {clear}1-6 view  s sort  r reverse  / filter  p pause");
    let room = columns.saturating_sub(spans.iter().map(Span::width).sum());
    spans.push(Span::raw(cut_end(&keys, room)));
    spans.into()
}

fn draw_help(frame: &mut Frame<'_>, view: View, look: Look) {
    let columns = usize::from(frame.area().width);
    let line = |(key, words): &(&str, &str)| {
        let words = cut_end(words, columns.saturating_sub(13));
        Line::from(vec![Span::styled(format!(" {key:<12}"), Modifier::BOLD), Span::raw(words)])
    };
    let mut lines: Vec<Line<'_>> = help::KEYS.iter().map(line).collect();
    lines.push(Line::styled(view.title(), look.mood(Mood::Quiet)));
    lines.extend(help::columns(view).iter().map(line));
    let room = usize::from(frame.area().height) - ABOVE + 1 - 1;
    for (y, line) in lines.into_iter().take(room).enumerate() {
        put(frame, ABOVE - 1 + y, line);
    }
}
