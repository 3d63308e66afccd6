//! The keys.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::model::Model;
use super::views::View;

/// What the screen has to do after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyOutcome {
    /// Draw.
    Draw,
    /// End.
    Quit,
    /// Suspend the process.
    Suspend,
}

/// Longest filter.
const FILTER_MAX: usize = 200;

/// Applies a key.
pub(super) fn press(model: &mut Model, key: KeyEvent) -> KeyOutcome {
    if key.modifiers.contains(KeyModifiers::ALT) {
        // Escape and a key that arrived together: over a slow line, or typed fast.
        press(model, KeyEvent::new(KeyCode::Esc, KeyModifiers::NONE));
        return press(model, KeyEvent { modifiers: key.modifiers - KeyModifiers::ALT, ..key });
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        match key.code {
            KeyCode::Char('c') => return KeyOutcome::Quit,
            KeyCode::Char('z') => return KeyOutcome::Suspend,
            KeyCode::Char('u') if model.typed.is_some() => {
                model.typed = Some(String::new());
                return KeyOutcome::Draw;
            }
            // `l` redraws the screen, which happens after every key.
            _ => return KeyOutcome::Draw,
        }
    }
    if model.typed.is_some() {
        return write_filter(model, key.code);
    }
    if model.shows_help {
        model.shows_help = false;
        let only_closes = matches!(
            key.code,
            KeyCode::Esc | KeyCode::Enter | KeyCode::Char('?' | 'h' | 'q' | ' ')
        );
        if only_closes {
            return KeyOutcome::Draw;
        }
    }
    command(model, key.code)
}

fn command(model: &mut Model, code: KeyCode) -> KeyOutcome {
    let page = model.page.max(1) as isize;
    match code {
        KeyCode::Char('q') => return KeyOutcome::Quit,
        KeyCode::Char('?' | 'h') => model.shows_help = true,
        KeyCode::Char('p' | ' ') => {
            model.is_paused = !model.is_paused;
        }
        KeyCode::Char('/') => {
            model.typed = Some(model.filter.clone());
        }
        KeyCode::Esc if !model.filter.is_empty() => {
            model.filter.clear();
        }
        KeyCode::Char(digit @ '1'..='6') => {
            model.show(View::ALL[digit as usize - '1' as usize]);
        }
        KeyCode::Tab => model.show(model.view.step(1)),
        KeyCode::BackTab => model.show(model.view.step(View::ALL.len() - 1)),
        KeyCode::Char('s' | '>') | KeyCode::Right => model.sort_by_next(1),
        KeyCode::Char('S' | '<') | KeyCode::Left => {
            let columns = super::tables::columns(model.view).len();
            model.sort_by_next(columns - 1);
        }
        KeyCode::Char('r') => model.reverse(),
        KeyCode::Down | KeyCode::Char('j') => model.scroll(1),
        KeyCode::Up | KeyCode::Char('k') => model.scroll(-1),
        KeyCode::PageDown => model.scroll(page),
        KeyCode::PageUp => model.scroll(-page),
        KeyCode::Home | KeyCode::Char('g') => model.top_row = 0,
        // The drawing limits it to the last page.
        KeyCode::End | KeyCode::Char('G') => model.top_row = usize::MAX,
        _ => {}
    }
    KeyOutcome::Draw
}

fn write_filter(model: &mut Model, code: KeyCode) -> KeyOutcome {
    let Some(typed) = &mut model.typed else { return KeyOutcome::Draw };
    match code {
        KeyCode::Enter => {
            model.filter = typed.trim().to_lowercase();
            model.typed = None;
        }
        KeyCode::Esc => model.typed = None,
        KeyCode::Backspace => {
            typed.pop();
        }
        KeyCode::Char(c) if typed.len() < FILTER_MAX => typed.push(c),
        // The rows can be scrolled while the filter is typed.
        KeyCode::Down => model.scroll(1),
        KeyCode::Up => model.scroll(-1),
        _ => return KeyOutcome::Draw,
    }
    if !matches!(code, KeyCode::Down | KeyCode::Up) {
        model.top_row = 0;
    }
    KeyOutcome::Draw
}
