//! Rates of windows that a test's start and stop of the daemon cut short.
//!
//! A rate is a count divided by the length of its window. These functions check that all rates belong to one
//! length, and replace them by those of a window of full length, which are the same in every run.

use std::collections::BTreeMap;

/// How much longer than its interval a window may be on a busy machine, in seconds.
const LATE: f64 = 5.0;

/// Replaces the rates in lines of text, JSON or line protocol, and the length of the window in JSON.
pub fn full_windows(text: &str, interval_s: f64) -> String {
    let mut length = WindowLength::of(interval_s);
    let mut lines = String::new();
    for line in text.lines() {
        lines += &full_window(line, &mut length);
        lines.push('\n');
    }
    lines
}

fn full_window(line: &str, length: &mut WindowLength) -> String {
    let line = match number_after(line, "\"interval\":") {
        Some((place, _)) => {
            format!("{}{}{}", &line[..place.start], length.interval_s, &line[place.end..])
        }
        None => line.to_owned(),
    };
    full_rate(&line, length).unwrap_or(line)
}

/// The line with the rate of a full window; `None` if it has no rate.
fn full_rate(line: &str, length: &mut WindowLength) -> Option<String> {
    let (_, count) =
        ["count=", "\"count\":"].into_iter().find_map(|key| number_after(line, key))?;
    let (place, rate) =
        [" rate=", ",rate=", "\"rate\":"].into_iter().find_map(|key| number_after(line, key))?;
    let full = length.full_rate(count.parse().unwrap(), rate.parse().unwrap(), line);
    Some(format!("{}{full}{}", &line[..place.start], &line[place.end..]))
}

fn number_after<'a>(line: &'a str, key: &str) -> Option<(std::ops::Range<usize>, &'a str)> {
    let start = line.find(key)? + key.len();
    let is_number = |byte: &u8| byte.is_ascii_digit() || b"-.".contains(byte);
    let digits = line[start..].bytes().take_while(is_number).count();
    Some((start..start + digits, &line[start..start + digits]))
}

/// Replaces the rates among the values of one window in Graphite, by path.
pub fn full_window_in_graphite(values: &mut BTreeMap<String, f64>, interval_s: f64) {
    let mut length = WindowLength::of(interval_s);
    let full: Vec<(String, f64)> = values
        .iter()
        .filter_map(|(path, rate)| {
            let count = counts_of(path).into_iter().find_map(|path| values.get(&path).copied())?;
            Some((path.clone(), length.full_rate(count, *rate, path)))
        })
        .collect();
    values.extend(full);
}

/// The paths that the count of a rate may have; none for other fields.
fn counts_of(path: &str) -> Vec<String> {
    if let Some(name) = path.strip_prefix("stats.") {
        let legacy = format!("stats_counts.{name}");
        if !name.starts_with("counters.") && !name.starts_with("timers.") {
            return vec![legacy];
        }
    }
    let name = path.split(';').next().unwrap();
    let tags = &path[name.len()..];
    // A suffix of all paths, such as the host, can follow the field.
    let rate = [".rate", ".count_ps"].into_iter().find_map(|field| {
        let (name, suffix) = name.rsplit_once(field)?;
        (suffix.is_empty() || suffix.starts_with('.')).then_some((name, suffix))
    });
    rate.map_or(vec![], |(name, suffix)| {
        vec![format!("{name}.count{suffix}{tags}"), format!("{name}{suffix}{tags}")]
    })
}

/// The length of the window, known from its first rate.
struct WindowLength {
    interval_s: f64,
    length_s: Option<f64>,
}

impl WindowLength {
    fn of(interval_s: f64) -> Self {
        Self { interval_s, length_s: None }
    }

    /// Checks a rate, and returns that of a full window.
    fn full_rate(&mut self, count: f64, rate: f64, place: &str) -> f64 {
        if count == 0.0 {
            assert_eq!(rate, 0.0, "{place}");
            return 0.0;
        }
        let length_s = *self.length_s.get_or_insert(count / rate);
        assert!(0.0 < length_s && length_s < self.interval_s + LATE, "{place}: {length_s} s");
        assert!((rate * length_s / count - 1.0).abs() < 1e-9, "{place}: not per {length_s} s");
        count / self.interval_s
    }
}
