//! The table: columns that fit the terminal, and the rows that fit the screen.

use ratatui::Frame;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

use super::canvas::{ABOVE, BELOW, ScreenStyle, put};
use super::model::{Model, Sorting};
use super::tables::{Column, Mood, SortKey, TableRow, TopTable};
use crate::commands::client::shown::{cut, cut_end, padded, printable, width};

/// Columns of the terminal between two columns of the table.
const GAP: usize = 1;
/// The least width of a column of text.
const TEXT_MIN: usize = 10;

/// Draws the table; sets the page size of the model.
pub(super) fn draw_table(frame: &mut Frame<'_>, model: &mut Model, style: ScreenStyle) {
    let (columns, height) = (usize::from(frame.area().width), usize::from(frame.area().height));
    let table = model.table();
    let room = height - ABOVE - BELOW;
    let lines_of = |row: &TableRow| 1 + usize::from(row.note.is_some());
    // The last page is full.
    let mut last_top = table.rows.len();
    let mut used = 0;
    while last_top > 0 && used + lines_of(&table.rows[last_top - 1]) <= room {
        last_top -= 1;
        used += lines_of(&table.rows[last_top]);
    }
    model.top_row = model.top_row.min(last_top);
    let widths = widths(&table, Some(columns));
    put(frame, ABOVE - 1, headings(&table, &widths, model.sorting(), style));
    let bars = RowBars::new(&table, model.sorting(), &widths);
    let (mut y, mut shown) = (0, 0);
    for row in &table.rows[model.top_row..] {
        if y + lines_of(row) > room {
            break;
        }
        let bar = bars.as_ref().map(|bars| bars.of(row));
        put(frame, ABOVE + y, row_line(row, &table.columns, &widths, style, bar.as_deref()));
        if let Some((mood, words)) = &row.note {
            let words = cut_end(&format!("  {words}"), columns);
            put(frame, ABOVE + y + 1, Line::styled(words, style.mood(*mood)));
        }
        y += lines_of(row);
        shown += 1;
    }
    model.page = shown.max(1);
    let place = place(model, &table, shown);
    let room = columns.saturating_sub(width(&place) + 2);
    let about = padded(&cut_end(&table.about, room), room, false);
    let line = format!("{about}  {place}");
    put(frame, height - BELOW, Line::styled(line, style.mood(Mood::Quiet)));
}

/// Which rows are on the screen.
fn place(model: &Model, table: &TopTable, shown: usize) -> String {
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

/// The width of each column; 0 for one that does not fit. Without a limit, every column is as wide as
/// its widest cell.
pub(super) fn widths(table: &TopTable, columns: Option<usize>) -> Vec<usize> {
    let needs: Vec<usize> = table
        .columns
        .iter()
        .enumerate()
        .map(|(place, column)| {
            // Room for the mark of the sorted column.
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
    // First the columns that may be left out, then others, from the right; the first column stays.
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

/// Shares the rest of the width between the columns of text, up to their needs; the narrow ones come
/// first.
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
    // Numbers are at the right edge: the first column takes the rest of the width. Without numbers, the
    // last one does.
    let is_all_text = (0..widths.len()).all(&is_text);
    let last = widths.iter().rposition(|width| *width > 0).unwrap_or_default();
    let widest = if is_all_text { last } else { 0 };
    if widest < widths.len() && is_text(widest) {
        widths[widest] += left;
    }
}

fn headings(
    table: &TopTable,
    widths: &[usize],
    sorting: Sorting,
    style: ScreenStyle,
) -> Line<'static> {
    let mut spans = Vec::new();
    for (place, column) in shown_columns(&table.columns, widths) {
        let is_sorted = place == sorting.column;
        // By default the largest number comes first, or the first word.
        let falls = column.is_number != sorting.is_reversed;
        let mark = match is_sorted {
            false => " ",
            true if falls => "▼",
            true => "▲",
        };
        let title = cut_end(&format!("{}{mark}", column.title), widths[place]);
        let style: Style = if is_sorted { Modifier::BOLD.into() } else { style.mood(Mood::Plain) };
        separate(&mut spans);
        spans.push(Span::styled(
            padded(&title, widths[place], column.is_number),
            style.add_modifier(Modifier::UNDERLINED),
        ));
    }
    spans.into()
}

fn row_line(
    row: &TableRow,
    columns: &[Column],
    widths: &[usize],
    style: ScreenStyle,
    bar: Option<&str>,
) -> Line<'static> {
    let mut spans = Vec::new();
    for (place, column) in shown_columns(columns, widths) {
        let cell = &row.cells[place];
        let bar = bar.filter(|_| place == 0);
        // A number is aligned with its title, so it leaves the place of the mark empty.
        let room = widths[place] - usize::from(column.is_number) - bar.map_or(0, width);
        let text = padded(&cut(&cell.text, room), room, column.is_number);
        separate(&mut spans);
        spans.push(Span::styled(text, style.mood(cell.mood)));
        if let Some(bar) = bar {
            spans.push(Span::styled(bar.to_owned(), style.mood(Mood::Good)));
        }
        if column.is_number {
            spans.push(Span::raw(" "));
        }
    }
    spans.into()
}

/// Bars that fill the room between the names and the numbers on a wide screen. They show the number
/// by which the rows are sorted, as a share of the largest.
struct RowBars {
    column: usize,
    largest: f64,
    /// Columns of the terminal for the largest bar.
    room: usize,
}

impl RowBars {
    /// The least and the greatest length of the largest bar.
    const ROOM: std::ops::RangeInclusive<usize> = 12..=100;
    const MARGIN: usize = 2;

    /// `None` if there is no room, or the rows are not sorted by a number above 0.
    fn new(table: &TopTable, sorting: Sorting, widths: &[usize]) -> Option<Self> {
        let names = table.rows.iter().map(|row| width(&row.cells[0].text)).max()?;
        let room = widths.first()?.checked_sub(names + 2 * Self::MARGIN)?;
        let numbers = table.rows.iter().filter_map(|row| number(row, sorting.column));
        let largest = numbers.fold(0.0, f64::max);
        let has_room = room >= *Self::ROOM.start() && largest > 0.0 && sorting.column > 0;
        has_room.then_some(Self {
            column: sorting.column,
            largest,
            room: room.min(*Self::ROOM.end()),
        })
    }

    /// The bar of a row, padded.
    fn of(&self, row: &TableRow) -> String {
        let share = number(row, self.column).unwrap_or(0.0).max(0.0) / self.largest;
        let bar = "▪".repeat((share * self.room as f64).round() as usize);
        padded(&bar, self.room + Self::MARGIN, false)
    }
}

fn number(row: &TableRow, column: usize) -> Option<f64> {
    match row.cells.get(column)?.key {
        SortKey::Number(number) => Some(number),
        SortKey::Text(_) => None,
    }
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
