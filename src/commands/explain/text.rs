//! The explanation of a message as text, with escapes for control characters.

use std::fmt::Write;

use super::report::{
    Bytes, DropFacts, Explained, ExplainedTag, ExplainedWindow, ForwarderFacts, MessageOutcome,
    PayloadFacts, PointFacts, RejectionFacts, RuleFacts, SampleFacts, SeriesFacts, WindowFacts,
};
use basics::escape::escaped;
use forwarders::delivery::explained::{ExplainedHistogram, ExplainedNativeBucket};

/// Bytes of a message that are shown.
const MESSAGE_BYTES: usize = 200;
/// Bytes of a line of hexadecimal digits.
const HEX_BYTES: usize = 32;

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const PLAIN: &str = "\x1b[0m";

/// Writes an explanation and a blank line.
pub(super) fn write(explained: &Explained, with_colours: bool) -> String {
    let Explained { source, line, text, outcomes, skipped, window, .. } = explained;
    let mut lines = ExplainLines { text: String::new(), with_colours };
    let end = text.floor_char_boundary(MESSAGE_BYTES);
    let more = if end < text.len() { "…" } else { "" };
    let shown = escaped(&text.as_bytes()[..end]);
    lines.add(0, &format!("{}:{line}: {shown}{more}", escaped(source.as_bytes())));
    for outcome in outcomes {
        match outcome {
            MessageOutcome::Sample(sample) => lines.sample(sample),
            MessageOutcome::Rejected(rejection) => lines.rejection(rejection),
            MessageOutcome::Dropped(dropped) => lines.dropped(dropped),
        }
    }
    if *skipped > 0 {
        lines.add(2, "skipped: an event or a service check, not a sample");
    } else if outcomes.is_empty() {
        lines.add(2, "nothing: it contains no message");
    }
    lines.window(window);
    lines.text.push('\n');
    lines.text
}

/// Writes the window of several messages, and a blank line.
pub(super) fn write_window(explained: &ExplainedWindow, with_colours: bool) -> String {
    let ExplainedWindow { messages, source, window } = explained;
    let mut lines = ExplainLines { text: String::new(), with_colours };
    let source = escaped(source.as_bytes());
    let messages =
        if *messages == 1 { "1 message".to_owned() } else { format!("{messages} messages") };
    lines.add(0, &format!("window of {source}, {messages}:"));
    lines.window(window);
    if window.points.is_empty() {
        lines.add(2, "nothing: no message was accepted");
    }
    lines.text.push('\n');
    lines.text
}

struct ExplainLines {
    text: String,
    with_colours: bool,
}

impl ExplainLines {
    fn add(&mut self, indent: usize, line: &str) {
        // Writing into a string cannot fail.
        let _infallible = writeln!(self.text, "{:indent$}{line}", "");
    }

    fn coloured(&self, word: &str, colour: &str) -> String {
        if self.with_colours { format!("{colour}{word}{PLAIN}") } else { word.to_owned() }
    }

    fn window(&mut self, window: &WindowFacts) {
        window.points.iter().for_each(|point| self.point(point));
        window.forwarders.iter().for_each(|forwarder| self.forwarder(forwarder));
    }

    fn sample(&mut self, sample: &SampleFacts) {
        let SampleFacts { series, means, value, weight, agent_tags, folded, rules } = sample;
        let value = match value {
            serde_json::Value::Null => "1".to_owned(),
            serde_json::Value::String(member) => format!("\"{}\"", escaped(member.as_bytes())),
            // As in the line of the point: `1`, where JSON has `1.0`.
            number => {
                number.as_f64().map_or_else(|| number.to_string(), |number| number.to_string())
            }
        };
        let weight =
            if *weight > 1.0 { format!(", counted as {weight} samples") } else { String::new() };
        let accepted = self.coloured("accepted", GREEN);
        self.add(2, &format!("{accepted}: {}, {means} {value}{weight}", named(series)));
        if let Some(rules) = rules {
            self.add(4, &ruled(rules));
        }
        if !agent_tags.is_empty() {
            let tags: Vec<_> = agent_tags.iter().map(agent_tag).collect();
            self.add(4, &format!("tags of the agent: {}", tags.join(", ")));
        }
        if *folded {
            self.add(4, "overflowed into another series: a limit is reached, see `aggregation`");
        }
    }

    fn dropped(&mut self, dropped: &DropFacts) {
        let DropFacts { reason, expected, r#type, rules } = dropped;
        let rejected = self.coloured("rejected", RED);
        let name = rules.as_ref().map_or("", |rules| &rules.sent_name);
        let name = escaped(name.as_bytes());
        self.add(2, &format!("{rejected}: {reason}: {type} {name}: expected {expected}"));
        if let Some(rules) = rules {
            self.add(4, &ruled(rules));
        }
    }

    fn rejection(&mut self, rejection: &RejectionFacts) {
        let rejected = self.coloured("rejected", RED);
        let (sentence, [excerpt, mark]) = &rejection.shown;
        self.add(2, &format!("{rejected}: {sentence}"));
        self.add(4, excerpt);
        self.add(4, mark);
    }

    fn point(&mut self, point: &PointFacts) {
        let fields = point.fields.iter().map(|(field, value)| format!("{field}={value}"));
        let fields: Vec<_> = fields.collect();
        self.add(2, &format!("point: {}: {}", named(&point.series), fields.join(" ")));
    }

    fn forwarder(&mut self, forwarder: &ForwarderFacts) {
        let name = escaped(forwarder.name.as_bytes());
        if !forwarder.selected {
            return self.add(2, &format!("{name}: nothing, `select` leaves it out"));
        }
        if let Some(page) = &forwarder.page {
            self.add(2, &format!("{name}: a page of {} bytes", page.count()));
            self.bytes(page);
        } else if forwarder.payloads.is_empty() {
            self.add(
                2,
                &format!("{name}: nothing, its format or its settings leave this point out"),
            );
        }
        self.payloads(&name, &forwarder.payloads);
        self.payloads(&format!("{name}, in a window without samples"), &forwarder.idle);
        forwarder.histograms.iter().for_each(|histogram| self.histogram(histogram));
    }

    fn payloads(&mut self, what: &str, payloads: &[PayloadFacts]) {
        for payload in payloads {
            let key = payload.key.as_ref().map_or(String::new(), |key| match key {
                Bytes::Text(text) => format!(", key \"{}\"", escaped(text.as_bytes())),
                Bytes::Hex(digits) => format!(", key {digits}"),
            });
            self.add(2, &format!("{what}: {} bytes{key}", payload.body.count()));
            match &payload.readable {
                Some(content) => self.lines_of(content),
                None => self.bytes(&payload.body),
            }
        }
    }

    fn histogram(&mut self, histogram: &ExplainedHistogram) {
        let series = escaped(histogram.series.as_bytes());
        for bucket in histogram.classic.iter().flatten() {
            let (le, samples) = (&bucket.le, bucket.samples);
            self.add(4, &format!("{series}: {samples} in the bucket le=\"{le}\""));
        }
        let Some(native) = &histogram.native else { return };
        for bucket in &native.buckets {
            let (samples, schema) = (bucket.samples, native.schema);
            let bucket = native_bucket(bucket);
            self.add(4, &format!("{series}: {samples} in {bucket} of schema {schema}"));
        }
    }

    fn lines_of(&mut self, text: &str) {
        text.split_terminator('\n').for_each(|line| self.add(4, &escaped(line.as_bytes())));
    }

    fn bytes(&mut self, bytes: &Bytes) {
        match bytes {
            Bytes::Text(text) => self.lines_of(text),
            Bytes::Hex(digits) => {
                let digits: Vec<char> = digits.chars().collect();
                for row in digits.chunks(2 * HEX_BYTES) {
                    let pairs: Vec<String> =
                        row.chunks(2).map(|pair| pair.iter().collect()).collect();
                    self.add(4, &pairs.join(" "));
                }
            }
        }
    }
}

fn native_bucket(bucket: &ExplainedNativeBucket) -> String {
    let ExplainedNativeBucket { index, lower, upper, .. } = bucket;
    match index {
        None => "the native bucket of zeros".to_owned(),
        Some(index) if *upper <= 0.0 => {
            format!("the negative native bucket {index} [{lower}, {upper})")
        }
        Some(index) => format!("the native bucket {index} ({lower}, {upper}]"),
    }
}

/// The rules of a sample: `rule in line 3, for the name web.a.requests`.
fn ruled(rules: &RuleFacts) -> String {
    let RuleFacts { sent_name, lines } = rules;
    let listed: Vec<String> = lines.iter().map(usize::to_string).collect();
    let words = if lines.len() == 1 { "rule in line" } else { "rules in lines" };
    let sent_name = escaped(sent_name.as_bytes());
    format!("{words} {}, for the name {sent_name}", listed.join(", "))
}

fn named(series: &SeriesFacts) -> String {
    let mut name = format!("{} {}", series.r#type, escaped(series.name.as_bytes()));
    for (key, value) in &series.tags {
        // Writing into a string cannot fail.
        let _infallible =
            write!(name, " {}={}", escaped(key.as_bytes()), escaped(value.as_bytes()));
    }
    name
}

fn agent_tag(tag: &ExplainedTag) -> String {
    let ExplainedTag { key, value, message, wins } = tag;
    let shown = escaped(format!("{key}={value}").as_bytes());
    match message {
        Some(message) if message != value => {
            let message = escaped(message.as_bytes());
            if *wins {
                format!("{shown} (replaces {message} of the message)")
            } else {
                format!("not {shown}: {message} of the message wins")
            }
        }
        _ => shown,
    }
}
