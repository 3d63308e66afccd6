//! Draws the model on the screen.

use ratatui::Frame;
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};

use super::canvas::{ABOVE, ScreenStyle, put};
use super::grid::draw_table;
use super::header::header;
use super::help;
use super::model::Model;
use super::tables::Mood;
use super::views::View;
use crate::commands::client::shown::{cut, cut_end, printable, width};

/// The smallest terminal on which anything is drawn: columns and lines.
const SMALLEST: (u16, u16) = (24, 10);

/// Draws the screen; sets the page size of the model.
pub(super) fn draw(frame: &mut Frame<'_>, model: &mut Model, style: ScreenStyle) {
    let area = frame.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        let words = cut_end("too small; q quits", area.width.into());
        return put(frame, 0, Line::raw(words));
    }
    let columns = usize::from(area.width);
    for (y, line) in header(model, style, columns).into_iter().enumerate() {
        put(frame, y, line);
    }
    put(frame, ABOVE - 2, tabs(model.view, style, columns));
    if model.shows_help {
        draw_help(frame, model.view, style);
    } else {
        draw_table(frame, model, style);
    }
    put(frame, usize::from(area.height) - 1, footer(model, columns));
}

fn tabs(current: View, style: ScreenStyle, columns: usize) -> Line<'static> {
    let needed: usize = View::ALL.iter().map(|view| view.title().len() + 5).sum();
    let mut spans = Vec::new();
    for view in View::ALL {
        let title = if needed <= columns + 2 || view == current { view.title() } else { "" };
        let label = format!(" {} {title} ", view.number() + 1);
        let style =
            if view == current { Modifier::REVERSED.into() } else { style.mood(Mood::Plain) };
        spans.push(Span::styled(label, style));
        spans.push(Span::raw(" "));
    }
    spans.into()
}

fn footer(model: &Model, columns: usize) -> Line<'static> {
    if let Some(typed) = &model.typed {
        // The end stays visible.
        let room = columns.saturating_sub(30);
        let text = printable(typed);
        let shown = if width(&text) > room { cut(&text, room) } else { text };
        return Line::from(vec![
            Span::styled(format!("/{shown}"), Modifier::BOLD),
            Span::styled(" ", Modifier::REVERSED),
            Span::raw("  Enter applies, Esc cancels"),
        ]);
    }
    let mut spans = Vec::new();
    if model.is_paused {
        spans.push(Span::styled(" PAUSED, p resumes ", Modifier::REVERSED));
        spans.push(Span::raw(" "));
    }
    let clear = if model.filter.is_empty() { "" } else { "Esc all rows  " };
    let keys = format!("q quit  ? help  {clear}1-6 view  s sort  r reverse  / filter  p pause");
    let room = columns.saturating_sub(spans.iter().map(Span::width).sum());
    spans.push(Span::raw(cut_end(&keys, room)));
    spans.into()
}

fn draw_help(frame: &mut Frame<'_>, view: View, style: ScreenStyle) {
    let columns = usize::from(frame.area().width);
    let line = |(key, words): &(&str, &str)| {
        let words = cut_end(words, columns.saturating_sub(13));
        Line::from(vec![Span::styled(format!(" {key:<12}"), Modifier::BOLD), Span::raw(words)])
    };
    let mut lines: Vec<Line<'_>> = help::KEYS.iter().map(line).collect();
    lines.push(Line::styled(view.title(), style.mood(Mood::Quiet)));
    lines.extend(help::columns(view).iter().map(line));
    let room = usize::from(frame.area().height) - ABOVE + 1 - 1;
    for (y, line) in lines.into_iter().take(room).enumerate() {
        put(frame, ABOVE - 1 + y, line);
    }
}
