//! Samples and rejected messages as text: a line each, wrapped at the width of the terminal, without
//! anything that a terminal would obey.

use api::rejected::RejectedEntry;
use api::tap::{PayloadEvent, PointEvent, SampleEvent};
use basics::escape::escaped;

/// Widest columns for names and values; a longer text shifts the rest of its line.
const NAME_COLUMN_MAX: usize = 32;
const VALUE_COLUMN_MAX: usize = 12;
/// The first column: a time of day in UTC, with milliseconds.
const TIME_COLUMN: usize = 12;
const TYPE_COLUMN: usize = 8;
/// The indentation of a wrapped line.
const INDENT: usize = TIME_COLUMN + 1;

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const CYAN: &str = "\x1b[36m";
const PLAIN: &str = "\x1b[0m";
const NO_COLOUR: &str = "";

/// Writes lines whose columns are as wide as their widest text so far.
#[derive(Debug)]
pub(super) struct TapLines {
    with_colours: bool,
    /// Whether the agent's tags are shown, which are the same on every line.
    with_agent_tags: bool,
    /// Columns of the terminal; `None` where lines are not wrapped.
    width: Option<usize>,
    name_column: usize,
    value_column: usize,
}

impl TapLines {
    pub(super) fn new(with_colours: bool, with_agent_tags: bool, width: Option<usize>) -> Self {
        Self { with_colours, with_agent_tags, width, name_column: 0, value_column: 0 }
    }

    /// The line of a sample, with its newline.
    pub(super) fn sample(&mut self, sample: &SampleEvent<'_>) -> String {
        let name = escaped(sample.name.as_bytes());
        let value = value(sample);
        let is_wide = |text: &str, max| if chars(text) <= max { chars(text) } else { 0 };
        self.name_column = self.name_column.max(is_wide(&name, NAME_COLUMN_MAX));
        self.value_column = self.value_column.max(is_wide(&value, VALUE_COLUMN_MAX));
        let mut line = WrappedLine::new(self.with_colours, self.width);
        line.add(&time_of_day(&sample.time), TIME_COLUMN, DIM);
        line.add(&escaped(sample.r#type.as_bytes()), TYPE_COLUMN, CYAN);
        line.add(&name, self.name_column, BOLD);
        let fill = self.value_column.saturating_sub(chars(&value));
        line.add(&format!("{:fill$}{value}", ""), 0, NO_COLOUR);
        if sample.sample_rate < 1.0 {
            line.add(&format!("@{}", sample.sample_rate), 0, NO_COLOUR);
        }
        for (key, value) in sample.tags.iter() {
            let is_agents = sample.agent_tags.iter().any(|agents| agents == key);
            let tag = escaped(format!("{key}={value}").as_bytes());
            match sample.replaced.get(key) {
                Some(own) => {
                    let own = escaped(own.as_bytes());
                    line.add(&format!("+{tag} (not {own})"), 0, NO_COLOUR);
                }
                None if !is_agents => line.add(&tag, 0, NO_COLOUR),
                None if self.with_agent_tags => line.add(&format!("+{tag}"), 0, DIM),
                None => {}
            }
        }
        if sample.cut {
            line.add("(cut)", 0, RED);
        }
        if let Some(sent_name) = &sample.sent_name {
            let sent_name = escaped(sent_name.as_bytes());
            line.add(&format!("(was {sent_name}, {})", rule_lines(&sample.rules)), 0, DIM);
        }
        line.add(&format!("from {}", escaped(sample.sender.as_bytes())), 0, DIM);
        line.finish()
    }

    /// The line of a point that has left a destination.
    pub(super) fn point(&mut self, point: &PointEvent<'_>) -> String {
        let shown = |text: &str| escaped(text.as_bytes());
        let name = shown(&point.name);
        if chars(&name) <= NAME_COLUMN_MAX {
            self.name_column = self.name_column.max(chars(&name));
        }
        let mut line = WrappedLine::new(self.with_colours, self.width);
        line.add(&time_of_day(&point.time), TIME_COLUMN, DIM);
        line.add(&shown(&point.r#type), TYPE_COLUMN, CYAN);
        line.add(&name, self.name_column, BOLD);
        for (field, number) in &point.fields {
            line.add(&format!("{}={number}", shown(field)), 0, NO_COLOUR);
        }
        for (key, value) in point.tags.iter() {
            line.add(&shown(&format!("{key}={value}")), 0, DIM);
        }
        self.end(line, &point.forwarder, point.refused.as_deref())
    }

    /// The lines of a payload that has left a destination: the facts, and its text below.
    pub(super) fn payload(&self, payload: &PayloadEvent<'_>) -> String {
        let shown = |text: &str| escaped(text.as_bytes());
        let mut line = WrappedLine::new(self.with_colours, self.width);
        line.add(&time_of_day(&payload.time), TIME_COLUMN, DIM);
        line.add("payload", TYPE_COLUMN, CYAN);
        line.add(&format!("{} points", payload.points), 0, NO_COLOUR);
        line.add(&format!("{} bytes", payload.size), 0, NO_COLOUR);
        if !payload.key.is_empty() {
            line.add(&format!("key {}", shown(&payload.key)), 0, NO_COLOUR);
        }
        if payload.cut {
            line.add("(cut)", 0, RED);
        }
        let mut text = self.end(line, &payload.forwarder, payload.refused.as_deref());
        for row in payload.text.lines() {
            text.push_str(&format!("{:INDENT$}{}\n", "", shown(row)));
        }
        text
    }

    fn end(&self, mut line: WrappedLine, forwarder: &str, refused: Option<&str>) -> String {
        if let Some(reason) = refused {
            line.add(&format!("refused: {}", escaped(reason.as_bytes())), 0, RED);
        }
        line.add(&format!("to {}", escaped(forwarder.as_bytes())), 0, DIM);
        line.finish()
    }

    /// The two lines of a rejected message: the reason and the excerpt.
    pub(super) fn rejection(&self, rejection: &RejectedEntry<'_>) -> String {
        let RejectedEntry { time, sender, reason, offset, expected, excerpt, .. } = rejection;
        let shown = |text: &str| escaped(text.as_bytes());
        let mut line = WrappedLine::new(self.with_colours, self.width);
        line.add(&time_of_day(time), TIME_COLUMN, DIM);
        line.add("rejected", TYPE_COLUMN, RED);
        line.add(&shown(reason), 0, BOLD);
        for word in format!("at byte {offset}: expected {}", shown(expected)).split(' ') {
            line.add(word, 0, NO_COLOUR);
        }
        line.add(&format!("from {}", shown(sender)), 0, DIM);
        let mut text = line.finish();
        if !excerpt.is_empty() {
            text.push_str(&format!("{:INDENT$}{}\n", "", shown(excerpt)));
        }
        text
    }
}

/// `rule in line 3`, or `rules in lines 3, 7`.
fn rule_lines(lines: &[usize]) -> String {
    let listed: Vec<String> = lines.iter().map(usize::to_string).collect();
    let words = if lines.len() == 1 { "rule in line" } else { "rules in lines" };
    format!("{words} {}", listed.join(", "))
}

/// A line that is wrapped at the width of the terminal.
struct WrappedLine {
    text: String,
    column: usize,
    with_colours: bool,
    width: Option<usize>,
}

impl WrappedLine {
    fn new(with_colours: bool, width: Option<usize>) -> Self {
        Self { text: String::new(), column: 0, with_colours, width }
    }

    /// Adds a word, padded to the width of its column.
    fn add(&mut self, word: &str, column: usize, colour: &str) {
        let length = chars(word);
        if self.width.is_some_and(|width| self.column + 1 + length > width) && self.column > INDENT
        {
            self.text.truncate(self.text.trim_end().len());
            self.text.push_str(&format!("\n{:INDENT$}", ""));
            self.column = INDENT;
        } else if self.column > 0 {
            self.text.push(' ');
            self.column += 1;
        }
        if self.with_colours && !colour.is_empty() {
            self.text.push_str(&format!("{colour}{word}{PLAIN}"));
        } else {
            self.text.push_str(word);
        }
        let fill = column.saturating_sub(length);
        self.text.push_str(&" ".repeat(fill));
        self.column += length + fill;
    }

    fn finish(mut self) -> String {
        self.text.truncate(self.text.trim_end().len());
        self.text.push('\n');
        self.text
    }
}

fn value(sample: &SampleEvent<'_>) -> String {
    use serde_json::Value;

    match (&sample.value, &*sample.means) {
        (Value::Null, _) => "1".to_owned(),
        (Value::String(member), _) => format!("\"{}\"", escaped(member.as_bytes())),
        // Marked as a change: a level may be negative too.
        (number, "add") if number.as_f64() >= Some(0.0) => format!("by +{number}"),
        (number, "add") => format!("by {number}"),
        (number, _) => escaped(number.to_string().as_bytes()),
    }
}

/// The time of day in a time such as `2026-01-31T12:00:03.191Z`.
fn time_of_day(time: &str) -> String {
    let time = time.split_once('T').map_or(time, |(_, time)| time);
    escaped(time.trim_end_matches('Z').as_bytes())
}

fn chars(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sample(name: &str, means: &str, value: &serde_json::Value) -> SampleEvent<'static> {
        serde_json::from_value(json!({
            "time": "2026-01-31T12:00:03.191Z", "listener": "json/udp 127.0.0.1:5090",
            "sender": "127.0.0.1:54975", "type": "gauge", "name": name, "means": means,
            "value": value, "sample_rate": 1.0, "tags": { "role": "web", "stage": "login" },
            "agent_tags": ["role"], "replaced": {},
        }))
        .unwrap()
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_text() {
        let mut lines = TapLines::new(false, false, None);
        let mut written = lines.sample(&sample("queue.depth", "set", &json!(12.75)));
        written += &lines.sample(&sample("q", "add", &json!(-3)));
        written += &lines.sample(&sample("q", "set", &json!(1)));
        assert_eq!(
            written,
            "12:00:03.191 gauge    queue.depth 12.75 stage=login from 127.0.0.1:54975\n\
             12:00:03.191 gauge    q           by -3 stage=login from 127.0.0.1:54975\n\
             12:00:03.191 gauge    q               1 stage=login from 127.0.0.1:54975\n"
        );
    }

    #[test]
    fn only_agent_tags_that_replace_a_tag_of_the_message_are_shown() {
        let mut changed = sample("q", "set", &json!(1));
        changed.tags.0.insert(0, ("env".into(), "stage".into()));
        changed.agent_tags.push("env".into());
        changed.replaced.0.push(("role".into(), "db".into()));
        let tags = |with_agent_tags| {
            let line = TapLines::new(false, with_agent_tags, None).sample(&changed);
            line.split_once(" q 1 ").unwrap().1.split_once(" from ").unwrap().0.to_owned()
        };
        assert_eq!(tags(false), "+role=web (not db) stage=login");
        assert_eq!(tags(true), "+env=stage +role=web (not db) stage=login");
    }

    #[test]
    fn a_long_line_continues_on_the_next_row() {
        let mut lines = TapLines::new(false, true, Some(60));
        let written = lines.sample(&sample("queue.depth", "add", &json!(3)));
        assert_eq!(
            written,
            "12:00:03.191 gauge    queue.depth by +3 +role=web\n             \
             stage=login from 127.0.0.1:54975\n"
        );
        let mut lines = TapLines::new(false, true, Some(20));
        let long = lines.sample(&sample(&"x".repeat(100), "set", &json!(1)));
        assert!(long.lines().any(|line| line.ends_with(&"x".repeat(100))), "{long}");
    }

    #[test]
    fn client_data_contains_no_terminal_controls() {
        let mut bad = sample("a\x1b[31m", "member", &json!("\x1b]0;title\x07"));
        bad.tags.0.push(("k\r".into(), "\u{9b}1m".into()));
        bad.sender = "\x1b[2J".into();
        let written = TapLines::new(false, true, None).sample(&bad);
        assert!(!written.trim_end().contains(char::is_control), "{written:?}");
        let rejection = RejectedEntry {
            time: "2026-01-31T12:00:03.191Z".into(),
            listener: "".into(),
            sender: "127.0.0.1:1".into(),
            reason: "bad_json".into(),
            offset: 6,
            expected: "a value".into(),
            advice: None,
            excerpt: "{\"a\": \\u{1b}".into(),
        };
        assert_eq!(
            TapLines::new(false, true, None).rejection(&rejection),
            "12:00:03.191 rejected bad_json at byte 6: expected a value from 127.0.0.1:1\n             \
             {\"a\": \\u{1b}\n"
        );
    }

    #[test]
    fn a_sample_rate_is_shown() {
        let mut sampled = sample("a", "count", &json!(1));
        sampled.sample_rate = 0.1;
        let written = TapLines::new(false, true, None).sample(&sampled);
        assert!(written.contains(" a 1 @0.1 +role=web stage=login"), "{written}");
    }
}
