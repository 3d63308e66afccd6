//! Series as a table that fits the width of a terminal.

use api::series::{SeriesList, SeriesValue};

use crate::commands::client::numbers::{grouped, short, span};
use crate::commands::client::shown::{cut, padded, printable, time_of_day, width};

/// Fewest columns of names. A terminal that is too narrow even for these breaks the lines.
const NAMES_MIN: usize = 24;
/// Width from which the table shows more than the value.
const WIDE: usize = 100;
/// A smaller number is shown with an exponent.
const SMALL: f64 = 0.01;
/// Width of a pipe or file, which has no columns.
const UNLIMITED: usize = usize::MAX;

/// A column of numbers.
struct Column {
    title: String,
    cells: Vec<String>,
    /// Whether only wide terminals have room for it.
    is_extra: bool,
}

/// The series of a reply, in rows.
pub(super) struct Table {
    names: Vec<String>,
    columns: Vec<Column>,
}

impl Table {
    pub(super) fn new(list: &SeriesList) -> Self {
        let column = |title: &str, is_extra, cell: &dyn Fn(&SeriesValue) -> String| Column {
            title: title.to_owned(),
            cells: list.series.iter().map(cell).collect(),
            is_extra,
        };
        let field = |name: &str| {
            let name = name.to_owned();
            move |series: &SeriesValue| number(series.fields.get(&name).copied())
        };
        let mut columns = vec![
            column("TYPE", false, &|series| series.kind.clone()),
            column("VALUE", false, &|series| number(series.value)),
            column("RATE/s", false, &field("rate")),
        ];
        for name in ["count", "min", "max"] {
            columns.push(column(&name.to_uppercase(), true, &field(name)));
        }
        if let Some(percentile) = largest_percentile(list) {
            columns.push(column(&percentile.replace('_', "."), true, &field(&percentile)));
        }
        columns.push(column("IDLE", false, &|series| span(series.idle_s)));
        columns.push(column("AGE", true, &|series| span(series.age_s)));
        Self { names: list.series.iter().map(name).collect(), columns }
    }

    /// The rows in lines of at most `columns`; without a terminal, in whole.
    pub(super) fn write(&self, columns: Option<usize>) -> String {
        let columns = columns.unwrap_or(UNLIMITED);
        let shown: Vec<(&Column, usize)> = self
            .columns
            .iter()
            .filter(|column| !column.is_extra || columns >= WIDE)
            // An empty column would cost names their room, and two series could look alike.
            .filter(|column| !column.is_extra || columns == UNLIMITED || column.has_values())
            .map(|column| (column, column.width()))
            .collect();
        let numbers: usize = shown.iter().map(|(_, width)| width + 2).sum();
        let longest = self.names.iter().map(|name| width(name)).max().unwrap_or(0);
        let room = columns.saturating_sub(numbers).max(NAMES_MIN).min(longest.max(6));
        let mut text = padded("SERIES", room, false);
        for (column, width) in &shown {
            text += "  ";
            text += &padded(&column.title, *width, column.is_number());
        }
        text = text.trim_end().to_owned() + "\n";
        for (row, name) in self.names.iter().enumerate() {
            let mut line = padded(&cut(name, room), room, false);
            for (column, width) in &shown {
                line += "  ";
                line += &padded(&column.cells[row], *width, column.is_number());
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}

impl Column {
    fn width(&self) -> usize {
        let cells = self.cells.iter().map(|cell| width(cell));
        cells.max().unwrap_or(0).max(width(&self.title))
    }

    fn has_values(&self) -> bool {
        self.cells.iter().any(|cell| cell != "-")
    }

    fn is_number(&self) -> bool {
        self.title != "TYPE"
    }
}

/// One line about the reply.
pub(super) fn caption(list: &SeriesList, is_watching: bool) -> String {
    let shown = list.series.len() as u64;
    let mut text = format!(
        "{} of {} matching, {} live",
        grouped(shown),
        grouped(list.matched),
        grouped(list.live)
    );
    text += &match &list.window_end {
        Some(end) => format!("; window of {} s to {} UTC", list.interval_s, time_of_day(end)),
        None => "; no window yet, or none kept (admin.series.max_window)".to_owned(),
    };
    if is_watching {
        text += "; Ctrl-C ends";
    }
    text
}

/// Name and tags.
fn name(series: &SeriesValue) -> String {
    let mut text = printable(&series.name);
    for (key, value) in &series.tags {
        text += &format!(" {}={}", printable(key), printable(value));
    }
    text
}

fn number(number: Option<f64>) -> String {
    let Some(number) = number else { return "-".to_owned() };
    let size = number.abs();
    let sign = if number < 0.0 { "-" } else { "" };
    // A latency in seconds would be shown as 0.
    let is_small = 0.0 < size && size < SMALL;
    if is_small { format!("{sign}{size:.2e}") } else { format!("{sign}{}", short(size)) }
}

/// The field of the largest percentile that a timer has.
fn largest_percentile(list: &SeriesList) -> Option<String> {
    let fields = list.series.iter().flat_map(|series| series.fields.keys());
    let ranked = fields.filter_map(|field| {
        let rank: f64 = field.strip_prefix('p')?.replace('_', ".").parse().ok()?;
        Some((rank, field))
    });
    ranked.max_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, field)| field.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> SeriesList {
        let series = |name: &str, kind: &str, value, fields: &[(&str, f64)]| SeriesValue {
            name: name.to_owned(),
            kind: kind.to_owned(),
            tags: [("stage".to_owned(), "login".to_owned())].into(),
            value,
            fields: fields.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
            age_s: 3_700.0,
            ..SeriesValue::default()
        };
        let long = "a.very.long.name.that.does.not.fit.into.a.line.of.eighty.columns";
        SeriesList {
            window_end: Some("2026-01-31T12:00:10.000Z".to_owned()),
            interval_s: 10.0,
            live: 1_234,
            matched: 4,
            series: vec![
                series("queue.depth", "gauge", Some(-12.5), &[]),
                series(
                    "logins",
                    "counter",
                    Some(1234567.0),
                    &[("count", 1234567.0), ("rate", 1e5)],
                ),
                series(long, "counter", None, &[]),
                series("t", "timer", Some(2.0), &[("count", 3.0), ("p50", 2.0), ("p99_9", 7.5)]),
            ],
            ..SeriesList::default()
        }
    }

    #[test]
    fn a_narrow_table_fits_80_columns_and_cuts_names_in_the_middle() {
        let text = Table::new(&list()).write(Some(80));
        assert!(text.lines().all(|line| width(line) <= 80), "{text}");
        assert!(text.contains("a.very") && text.contains("…"), "{text}");
        assert!(text.contains("-12.5") && text.contains("1.23M"), "{text}");
        assert!(!text.contains("AGE"), "{text}");
    }

    #[test]
    fn a_wide_table_shows_the_statistics_and_the_age() {
        for columns in [Some(120), Some(200), None] {
            let text = Table::new(&list()).write(columns);
            let head = text.lines().next().unwrap();
            assert!(head.contains("p99.9") && head.ends_with("AGE"), "{text}");
            assert!(columns.is_none_or(|most| text.lines().all(|line| width(line) <= most)));
            assert!(text.contains("7.5") && text.contains("1h 1m"), "{text}");
        }
        let mut gauges = list();
        gauges.series.truncate(1);
        assert!(!Table::new(&gauges).write(Some(120)).contains("COUNT"));
        assert!(Table::new(&gauges).write(None).contains("COUNT"));
        assert!(Table::new(&list()).write(None).contains("eighty.columns stage=login"));
    }

    #[test]
    fn small_numbers_keep_three_digits() {
        let cases = [(0.0, "0"), (0.25, "0.25"), (0.000_052_34, "5.23e-5"), (-0.002, "-2.00e-3")];
        for (value, text) in cases {
            assert_eq!(number(Some(value)), text);
        }
    }

    #[test]
    fn the_caption_says_how_many_there_are() {
        let text = caption(&list(), false);
        assert_eq!(text, "4 of 4 matching, 1,234 live; window of 10 s to 12:00:10 UTC");
        assert!(width(&caption(&list(), true)) <= 80);
    }
}
