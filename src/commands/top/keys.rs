//! What keys do.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::model::Model;
use super::views::View;

/// What is left to do after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Draw.
    Draw,
    /// End.
    Quit,
    /// Give the terminal back to the shell for a while.
    Suspend,
}

/// Longest filter.
const FILTER_MAX: usize = 200;

/// Does what a key is for.
pub(super) fn press(model: &mut Model, key: KeyEvent) -> Outcome {
    if key.modifiers.contains(KeyModifiers::ALT) {
        // Escape and a key that came together: over a slow line, or typed fast.
        press(model, KeyEvent::new(KeyCode::Esc, KeyModifiers::NONE));
        return press(model, KeyEvent { modifiers: key.modifiers - KeyModifiers::ALT, ..key });
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        match key.code {
            KeyCode::Char('c') => return Outcome::Quit,
            KeyCode::Char('z') => return Outcome::Suspend,
            KeyCode::Char('u') if model.typed.is_some() => {
                model.typed = Some(String::new());
                return Outcome::Draw;
            }
            // `l` draws everything anew, which happens anyway.
            _ => return Outcome::Draw,
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
            return Outcome::Draw;
        }
    }
    command(model, key.code)
}

fn command(model: &mut Model, code: KeyCode) -> Outcome {
    let page = model.page.max(1) as isize;
    match code {
        KeyCode::Char('q') => return Outcome::Quit,
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
        // Drawing knows where the end is.
        KeyCode::End | KeyCode::Char('G') => model.top_row = usize::MAX,
        _ => {}
    }
    Outcome::Draw
}

fn write_filter(model: &mut Model, code: KeyCode) -> Outcome {
    let Some(typed) = &mut model.typed else { return Outcome::Draw };
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
        // One can look around while writing.
        KeyCode::Down => model.scroll(1),
        KeyCode::Up => model.scroll(-1),
        _ => return Outcome::Draw,
    }
    if !matches!(code, KeyCode::Down | KeyCode::Up) {
        model.top_row = 0;
    }
    Outcome::Draw
}
