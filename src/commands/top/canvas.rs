//! The style of the screen, and its lines.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;

use super::tables::Mood;

/// Lines above the rows of the table, and below them.
pub(super) const ABOVE: usize = 7;
pub(super) const BELOW: usize = 2;

/// The style of the screen.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScreenStyle {
    pub(super) has_colours: bool,
    /// The time between two polls.
    pub(super) interval: Duration,
}

impl ScreenStyle {
    /// The style of a mood: without colours, important cells are bold.
    pub(super) fn mood(self, mood: Mood) -> Style {
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

/// Puts a line on the screen.
pub(super) fn put(frame: &mut Frame<'_>, y: usize, line: Line<'_>) {
    let area = frame.area();
    if y < usize::from(area.height) {
        frame.render_widget(line, Rect { y: area.y + y as u16, height: 1, ..area });
    }
}
