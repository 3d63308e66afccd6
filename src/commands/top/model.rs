//! The state of the screen: the polls of the daemon, and the choices made with keys.

use std::cmp::Ordering;
use std::time::{Duration, Instant, SystemTime};

use super::poller::PollRequest;
use super::polls::Polls;
use super::reply::TopReply;
use super::tables::{self, SortKey, TableRow, TopTable};
use super::views::View;
use api::top::{ROWS_MAX, TopPart, TopQuery};
use basics::time::rfc3339;

/// Rows of a list, of which the first are on the screen. With a filter it is [`ROWS_MAX`].
const ROWS: usize = 200;
/// How long a poll may take before the screen mentions it.
const LATE: Duration = Duration::from_secs(3);

/// The order of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sorting {
    pub(super) column: usize,
    pub(super) is_reversed: bool,
}

/// A time without replies.
#[derive(Clone, Debug)]
pub(super) struct Outage {
    /// Its beginning, as a time of day in UTC.
    pub(super) since: String,
    pub(super) why: String,
}

#[derive(Debug)]
pub(super) struct Model {
    /// The URL of the daemon.
    pub(super) url: String,
    pub(super) polls: Polls,
    pub(super) view: View,
    sorting: [Sorting; View::ALL.len()],
    /// In lower case; empty without a filter.
    pub(super) filter: String,
    /// The filter while it is typed.
    pub(super) typed: Option<String>,
    /// The first row on the screen.
    pub(super) top_row: usize,
    /// Rows that the latest drawing had room for.
    pub(super) page: usize,
    pub(super) is_paused: bool,
    pub(super) shows_help: bool,
    pub(super) outage: Option<Outage>,
    answered: Instant,
}

impl Model {
    /// A model without polls.
    pub(super) fn new(url: &str, view: View, filter: Option<String>) -> Self {
        let sorting =
            View::ALL.map(|view| Sorting { column: tables::sorted_by(view), is_reversed: false });
        Self {
            url: url.to_owned(),
            polls: Polls::new(Duration::from_secs(1)),
            view,
            sorting,
            filter: filter.unwrap_or_default().to_lowercase(),
            typed: None,
            top_row: 0,
            page: 1,
            is_paused: false,
            shows_help: false,
            outage: None,
            answered: Instant::now(),
        }
    }

    /// Sets the time between two polls.
    pub(super) fn with_interval(self, interval: Duration) -> Self {
        Self { polls: Polls::new(interval), ..self }
    }

    /// The request of the next poll.
    pub(super) fn request(&self) -> PollRequest {
        let is_filtered = !self.filter.is_empty() || self.typed.is_some();
        let limit = if is_filtered { ROWS_MAX } else { ROWS };
        let sort = tables::order_of_metrics(self.sorting[View::Metrics.number()].column);
        let query = |part: TopPart| TopQuery { parts: part.as_str().to_owned(), sort, limit };
        PollRequest {
            top: self.view.part().map(query),
            wants_rejected: self.view == View::Rejected,
            wants_history: self.polls.latest().is_none() || self.outage.is_some(),
        }
    }

    /// Takes the outcome of a poll. While paused, the screen does not change, except that a view that
    /// was not shown before gets its rows.
    pub(super) fn take(&mut self, reply: Result<TopReply, String>, now: SystemTime) {
        self.answered = Instant::now();
        match reply {
            Ok(reply) => {
                self.outage = None;
                if self.is_paused {
                    self.polls.complete(reply);
                } else {
                    self.polls.add(reply);
                }
            }
            Err(why) => match &mut self.outage {
                Some(outage) => outage.why = why,
                None => {
                    let since =
                        crate::commands::client::shown::time_of_day(&rfc3339(now)).to_owned();
                    self.outage = Some(Outage { since, why });
                }
            },
        }
    }

    /// The time since the latest outcome of a poll, if it is too long.
    pub(super) fn silent_for(&self, interval: Duration) -> Option<Duration> {
        let silent = self.answered.elapsed();
        (silent > interval + LATE).then_some(silent)
    }

    /// The order of the view.
    pub(super) fn sorting(&self) -> Sorting {
        self.sorting[self.view.number()]
    }

    /// Switches to a view.
    pub(super) fn show(&mut self, view: View) {
        if view != self.view {
            (self.view, self.top_row) = (view, 0);
        }
    }

    /// Sorts by the column `places` to the right, wrapping around.
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

    /// Reverses the order.
    pub(super) fn reverse(&mut self) {
        let sorting = &mut self.sorting[self.view.number()];
        sorting.is_reversed = !sorting.is_reversed;
        self.top_row = 0;
    }

    /// Scrolls by this number of rows.
    pub(super) fn scroll(&mut self, rows: isize) {
        self.top_row = self.top_row.saturating_add_signed(rows);
    }

    /// The text that rows have to contain: the filter, or the part of it typed so far.
    pub(super) fn wanted(&self) -> String {
        self.typed.as_ref().map_or_else(|| self.filter.clone(), |typed| typed.to_lowercase())
    }

    /// The rows of the view that match the filter, sorted.
    pub(super) fn table(&self) -> TopTable {
        let mut table = tables::table(self.view, &self.polls);
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

fn has(row: &TableRow, wanted: &str) -> bool {
    let texts = row.cells.iter().filter(|cell| matches!(cell.key, SortKey::Text(_)));
    wanted.is_empty() || texts.into_iter().any(|cell| cell.text.to_lowercase().contains(wanted))
}

/// Orders rows by a column, and equal ones by name.
fn order(one: &TableRow, other: &TableRow, column: usize) -> Ordering {
    let by = |column: usize| match (&one.cells[column].key, &other.cells[column].key) {
        (SortKey::Number(one), SortKey::Number(other)) => other.total_cmp(one),
        (SortKey::Text(one), SortKey::Text(other)) => one.cmp(other),
        // All keys of a column are of one kind.
        (SortKey::Number(_), SortKey::Text(_)) | (SortKey::Text(_), SortKey::Number(_)) => {
            Ordering::Equal
        }
    };
    by(column).then_with(|| by(0))
}
