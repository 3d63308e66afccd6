//! What is known of the daemon, and what was chosen with keys.

use std::cmp::Ordering;
use std::time::{Duration, Instant, SystemTime};

use super::asker::Question;
use super::looks::Looks;
use super::replies::Reply;
use super::tables::{self, Key, Row, Table};
use super::views::View;
use basics::time::rfc3339;

/// Rows to ask for, of which the first are on the screen.
const ROWS: usize = 200;
/// As many as the daemon tells: what a filter is looked for in.
const ROWS_MAX: usize = 1_000;
/// A daemon that is asked and has not answered for so long gets mentioned.
const LATE: Duration = Duration::from_secs(3);

/// By what a view is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sorting {
    pub(super) column: usize,
    pub(super) is_reversed: bool,
}

/// A daemon that does not answer.
#[derive(Clone, Debug)]
pub(super) struct Gone {
    /// Since when, as a time of day in UTC.
    pub(super) since: String,
    pub(super) why: String,
}

#[derive(Debug)]
pub(super) struct Model {
    /// Where the daemon is.
    pub(super) url: String,
    pub(super) looks: Looks,
    pub(super) view: View,
    sorting: [Sorting; View::ALL.len()],
    /// In lower case; empty for none.
    pub(super) filter: String,
    /// The filter while it is written, as it is written.
    pub(super) typed: Option<String>,
    /// The first row on the screen.
    pub(super) top_row: usize,
    /// Rows that the screen had room for, when it was drawn last.
    pub(super) page: usize,
    pub(super) is_paused: bool,
    pub(super) shows_help: bool,
    pub(super) gone: Option<Gone>,
    answered: Instant,
}

impl Model {
    /// Nothing is known yet.
    pub(super) fn new(url: &str, view: View, filter: Option<String>) -> Self {
        let sorting =
            View::ALL.map(|view| Sorting { column: tables::sorted_by(view), is_reversed: false });
        Self {
            url: url.to_owned(),
            looks: Looks::new(Duration::from_secs(1)),
            view,
            sorting,
            filter: filter.unwrap_or_default().to_lowercase(),
            typed: None,
            top_row: 0,
            page: 1,
            is_paused: false,
            shows_help: false,
            gone: None,
            answered: Instant::now(),
        }
    }

    /// Says how far the looks are going to be apart.
    pub(super) fn with_interval(self, interval: Duration) -> Self {
        Self { looks: Looks::new(interval), ..self }
    }

    /// What to ask the daemon next.
    pub(super) fn question(&self) -> Question {
        let is_filtered = !self.filter.is_empty() || self.typed.is_some();
        Question {
            parts: self.view.part().map(str::to_owned),
            sort: tables::order_of_metrics(self.sorting[View::Metrics.number()].column),
            limit: if is_filtered { ROWS_MAX } else { ROWS },
            wants_rejected: self.view == View::Rejected,
            wants_history: self.looks.latest().is_none() || self.gone.is_some(),
        }
    }

    /// Takes an answer, or why there is none. While paused nothing on the screen changes; what a view
    /// needs that was not shown before is added.
    pub(super) fn take(&mut self, answer: Result<Reply, String>, now: SystemTime) {
        self.answered = Instant::now();
        match answer {
            Ok(reply) => {
                self.gone = None;
                if self.is_paused {
                    self.looks.complete(reply);
                } else {
                    self.looks.add(reply);
                }
            }
            Err(why) => match &mut self.gone {
                Some(gone) => gone.why = why,
                None => {
                    let since = super::shown::time_of_day(&rfc3339(now)).to_owned();
                    self.gone = Some(Gone { since, why });
                }
            },
        }
    }

    /// For how long there was neither an answer nor an error, if that is longer than it should be.
    pub(super) fn silent_for(&self, interval: Duration) -> Option<Duration> {
        let silent = self.answered.elapsed();
        (silent > interval + LATE).then_some(silent)
    }

    /// By what the view is sorted.
    pub(super) fn sorting(&self) -> Sorting {
        self.sorting[self.view.number()]
    }

    /// Goes to a view.
    pub(super) fn show(&mut self, view: View) {
        if view != self.view {
            (self.view, self.top_row) = (view, 0);
        }
    }

    /// Sorts by the column so many places further, round and round.
    pub(super) fn sort_by_next(&mut self, places: usize) {
        let columns = tables::columns(self.view).len();
        let sorting = &mut self.sorting[self.view.number()];
        *sorting = Sorting { column: (sorting.column + places) % columns, is_reversed: false };
        self.top_row = 0;
    }

    /// Sorts by this column.
    pub(super) fn sort_by(&mut self, column: usize) {
        self.sorting[self.view.number()] = Sorting { column, is_reversed: false };
    }

    /// Turns the order round.
    pub(super) fn reverse(&mut self) {
        let sorting = &mut self.sorting[self.view.number()];
        sorting.is_reversed = !sorting.is_reversed;
        self.top_row = 0;
    }

    /// Moves by so many rows.
    pub(super) fn scroll(&mut self, rows: isize) {
        self.top_row = self.top_row.saturating_add_signed(rows);
    }

    /// What rows are looked through for: the filter, or what is typed of it so far.
    pub(super) fn wanted(&self) -> String {
        self.typed.as_ref().map_or_else(|| self.filter.clone(), |typed| typed.to_lowercase())
    }

    /// The rows of the view that the filter lets through, sorted.
    pub(super) fn table(&self) -> Table {
        let mut table = tables::table(self.view, &self.looks);
        let wanted = self.wanted();
        table.rows.retain(|row| has(row, &wanted));
        let Sorting { column, is_reversed } = self.sorting();
        table.rows.sort_by(|one, other| {
            let order = order(one, other, column);
            let order = if is_reversed { order.reverse() } else { order };
            one.is_rest.cmp(&other.is_rest).then(order)
        });
        table
    }
}

fn has(row: &Row, wanted: &str) -> bool {
    let texts = row.cells.iter().filter(|cell| matches!(cell.key, Key::Text(_)));
    wanted.is_empty() || texts.into_iter().any(|cell| cell.text.to_lowercase().contains(wanted))
}

/// By a column; what is equal in it by name.
fn order(one: &Row, other: &Row, column: usize) -> Ordering {
    let by = |column: usize| match (&one.cells[column].key, &other.cells[column].key) {
        (Key::Number(one), Key::Number(other)) => other.total_cmp(one),
        (Key::Text(one), Key::Text(other)) => one.cmp(other),
        // A column has one sort of keys.
        (Key::Number(_), Key::Text(_)) | (Key::Text(_), Key::Number(_)) => Ordering::Equal,
    };
    by(column).then_with(|| by(0))
}
