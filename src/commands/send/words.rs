//! Reads the words of the command line and makes messages of them.

use model::MetricKind;
use serde_json::Value;

use super::options::SendArgs;
use engine::listener::Protocol;
use engine::protocol::{MessageLimits, SampleValue};

/// Keys of a message that are not tags.
const RESERVED: [&str; 7] =
    ["metric_name", "metric_type", "value", "count", "sample_rate", "timestamp", "tags"];

/// The error for options that belong to a metric, with whole messages.
const ONLY_FOR_METRICS: &str = "--sample-rate and --delta need NAME TYPE VALUE; a whole message \
     contains its own rate and sign";

/// The source of the messages.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SendInput {
    /// The command line.
    Messages(Vec<Vec<u8>>),
    /// Standard input.
    Lines,
}

/// A metric as written on the command line.
struct MetricWords<'a> {
    name: &'a str,
    /// The type as written, and its kind if it is known.
    word: &'a str,
    kind: Option<MetricKind>,
    value: Option<&'a str>,
    tags: Vec<(&'a str, &'a str)>,
    sample_rate: Option<&'a str>,
    is_delta: bool,
}

/// Reads the words.
///
/// # Errors
/// A sentence about words or options that contradict each other.
pub(super) fn read(args: &SendArgs) -> Result<SendInput, String> {
    let words: Vec<&str> = args.words.iter().map(String::as_str).collect();
    let is_message = |word: &str| match args.protocol() {
        Protocol::Json => word.trim_start().starts_with(['{', '[']),
        Protocol::Statsd => word.contains('|'),
    };
    let made_of_words = args.sample_rate.is_some() || args.delta;
    match words.as_slice() {
        ["-"] | [] if !made_of_words => Ok(SendInput::Lines),
        [first, ..] if is_message(first) && !made_of_words => {
            Ok(SendInput::Messages(words.iter().map(|word| word.as_bytes().to_vec()).collect()))
        }
        ["-"] | [] => Err(ONLY_FOR_METRICS.to_owned()),
        [first, ..] if is_message(first) => Err(ONLY_FOR_METRICS.to_owned()),
        [_] => Err(format!(
            "a metric is NAME TYPE [VALUE] [KEY=VALUE]…: the type is missing ({})",
            MetricKind::listed()
        )),
        [name, kind, rest @ ..] => {
            let metric = MetricWords::read(name, kind, rest, args)?;
            let message = match args.protocol() {
                Protocol::Json => metric.json(),
                Protocol::Statsd => metric.statsd()?,
            };
            Ok(SendInput::Messages(vec![message]))
        }
    }
}

impl<'a> MetricWords<'a> {
    fn read(
        name: &'a str,
        word: &'a str,
        rest: &[&'a str],
        args: &'a SendArgs,
    ) -> Result<Self, String> {
        let kind = MetricKind::from_json_word(word).or(MetricKind::from_statsd_type(word));
        // A member of a set may contain any character; other values have no `=`, but tags have.
        let has_value = match rest.first() {
            Some(first) => match kind {
                Some(MetricKind::Trace) => false,
                Some(MetricKind::Set) => true,
                _ => !first.contains('='),
            },
            None => false,
        };
        let (value, tags) = rest.split_at(usize::from(has_value));
        let mut metric = Self {
            name,
            word,
            kind,
            value: value.first().copied(),
            tags: Vec::new(),
            sample_rate: args.sample_rate.as_deref(),
            is_delta: args.delta,
        };
        for word in tags {
            let (key, value) = word.split_once('=').ok_or_else(|| {
                format!("`{word}` is not a tag: tags follow the value, as KEY=VALUE")
            })?;
            if RESERVED.contains(&key) {
                return Err(format!(
                    "`{key}` is a reserved key and not a tag: the value is the third word, and \
                     --sample-rate sets the rate; put a tag of this name into `tags` of a JSON message"
                ));
            }
            metric.tags.push((key, value));
        }
        if args.delta && kind != Some(MetricKind::Gauge) {
            return Err("--delta is for gauges".to_owned());
        }
        Ok(metric)
    }

    /// The metric as JSON. Errors in it are left to the decoder.
    fn json(&self) -> Vec<u8> {
        let mut message = format!(
            "{{\"metric_name\": {}, \"metric_type\": {}",
            quoted(self.name),
            quoted(self.word)
        );
        if let Some(value) = self.value {
            let value = if self.is_delta && !value.starts_with(['+', '-']) {
                quoted(&format!("+{value}"))
            } else if self.is_delta || self.kind == Some(MetricKind::Set) {
                quoted(value)
            } else {
                number(value)
            };
            message += &format!(", \"value\": {value}");
        }
        if let Some(rate) = self.sample_rate {
            message += &format!(", \"sample_rate\": {}", number(rate));
        }
        for (key, value) in &self.tags {
            message += &format!(", {}: {}", quoted(key), quoted(value));
        }
        message.push('}');
        message.into_bytes()
    }

    /// The metric as a statsd line.
    ///
    /// # Errors
    /// When a line cannot express the metric.
    fn statsd(&self) -> Result<Vec<u8>, String> {
        let statsd_type = self.statsd_type()?;
        let mut value = self.value.map(str::to_owned).unwrap_or_default();
        if self.kind == Some(MetricKind::Counter) && self.value.is_none() {
            value.push('1');
        }
        if self.kind == Some(MetricKind::Gauge) {
            let has_sign = value.starts_with(['+', '-']);
            if self.is_delta && !has_sign {
                value.insert(0, '+');
            } else if !self.is_delta && value.starts_with('-') {
                return Err(
                    "statsd cannot set a gauge below zero: a sign means a change; send it \
                            as JSON, or add --delta"
                        .to_owned(),
                );
            }
        }
        let mut line = format!("{}:{value}|{statsd_type}", self.name);
        if let Some(rate) = self.sample_rate {
            line += &format!("|@{rate}");
        }
        for (index, (key, value)) in self.tags.iter().enumerate() {
            let mark = if index == 0 { "|#" } else { "," };
            line += &format!("{mark}{key}:{value}");
        }
        self.is_carried_by(&line)?;
        Ok(line.into_bytes())
    }

    /// The type of the line: the statsd type for a JSON word, else the word as written.
    fn statsd_type(&self) -> Result<&'a str, String> {
        let Some(kind) = self.kind else { return Ok(self.word) };
        let words = kind.words();
        let alias = words.json_aliases.iter().find(|alias| alias.word == self.word);
        match (alias, kind.statsd_type()) {
            (_, None) => Err("statsd has no traces: send it as JSON".to_owned()),
            (Some(alias), _) => Ok(alias.statsd),
            (None, Some(usual)) if self.word == words.word => Ok(usual),
            (None, Some(_)) => Ok(self.word),
        }
    }

    /// Checks that the decoder reads the same metric from the line, which has no escapes for characters
    /// of a name, a member or a tag. A line that is rejected passes: the caller reports why.
    fn is_carried_by(&self, line: &str) -> Result<(), String> {
        let (mut samples, mut is_same) = (0, true);
        let mut tags: Vec<_> = self.tags.iter().filter(|(_, value)| !value.is_empty()).collect();
        tags.sort();
        let mut each = |message: Result<engine::protocol::Sample<'_>, _>| {
            let Ok(sample) = message else { return };
            samples += 1;
            let read = sample.tags.iter().map(|(key, value)| (key.as_ref(), value.as_ref()));
            is_same &= sample.name == self.name && read.eq(tags.iter().map(|tag| **tag));
            if let SampleValue::Set(member) = &sample.value {
                is_same &= self.value == Some(member.as_ref());
            }
        };
        let skipped =
            Protocol::Statsd.decode(line.as_bytes(), &MessageLimits::default(), &mut each);
        let breaks_line = |text: &str| text.contains(['|', '\n']);
        let is_cut = breaks_line(self.name) || self.value.is_some_and(breaks_line);
        if !is_cut && skipped == 0 && (samples == 0 || (samples == 1 && is_same)) {
            return Ok(());
        }
        Err(format!(
            "a statsd line cannot carry this: `{line}` means something else; send it as JSON"
        ))
    }
}

/// A number as written if it is valid JSON, else a string: `+4` for a gauge is a change.
fn number(text: &str) -> String {
    let is_number = serde_json::from_str::<serde_json::Number>(text).is_ok();
    if is_number && text.trim() == text { text.to_owned() } else { quoted(text) }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn made(words: &[&str]) -> Result<String, String> {
        let line = ["tallyd", "send"].iter().chain(words);
        let Command::Send(args) = Cli::try_parse_from(line).unwrap().command else { panic!() };
        read(&args).map(|input| match input {
            SendInput::Lines => "-".to_owned(),
            SendInput::Messages(messages) => {
                let shown = messages.iter().map(|message| String::from_utf8_lossy(message));
                shown.collect::<Vec<_>>().join("\n")
            }
        })
    }

    #[test]
    fn words_become_a_json_message() {
        for (words, message) in [
            (
                &["user.latency", "timer", "12.50", "stage=login"][..],
                r#"{"metric_name": "user.latency", "metric_type": "timer", "value": 12.50, "stage": "login"}"#,
            ),
            (&["a", "counter"], r#"{"metric_name": "a", "metric_type": "counter"}"#),
            (
                &["a", "counter", "x=1=2", "--sample-rate", "0.1"],
                r#"{"metric_name": "a", "metric_type": "counter", "sample_rate": 0.1, "x": "1=2"}"#,
            ),
            (&["a", "gauge", "-4"], r#"{"metric_name": "a", "metric_type": "gauge", "value": -4}"#),
            (
                &["a", "gauge", "+4"],
                r#"{"metric_name": "a", "metric_type": "gauge", "value": "+4"}"#,
            ),
            (
                &["a", "gauge", "--delta", "-4"],
                r#"{"metric_name": "a", "metric_type": "gauge", "value": "-4"}"#,
            ),
            (
                &["a", "gauge", "4", "--delta"],
                r#"{"metric_name": "a", "metric_type": "gauge", "value": "+4"}"#,
            ),
            (
                &["a", "set", "k=v", "x=\"\n"],
                r#"{"metric_name": "a", "metric_type": "set", "value": "k=v", "x": "\"\n"}"#,
            ),
            (
                &["a", "timer", "stage=login"],
                r#"{"metric_name": "a", "metric_type": "timer", "stage": "login"}"#,
            ),
            (
                &["a", "trace", "stage=login"],
                r#"{"metric_name": "a", "metric_type": "trace", "stage": "login"}"#,
            ),
            (&["{\"a\": 1}", "[]"], "{\"a\": 1}\n[]"),
            (&["-"], "-"),
        ] {
            assert_eq!(made(words).as_deref(), Ok(message), "{words:?}");
        }
    }

    #[test]
    fn words_become_a_line_of_statsd() {
        for (words, line) in [
            (&["a", "timer", "1.5", "k=v", "x=y"][..], "a:1.5|ms|#k:v,x:y"),
            (&["a", "counter", "--sample-rate", "0.1"], "a:1|c|@0.1"),
            (&["a", "gauge", "4", "--delta"], "a:+4|g"),
            (&["a", "set", "k=v:1"], "a:k=v:1|s"),
            (&["a", "h", "7"], "a:7|h"),
            (&["a", "meter", "7"], "a:7|meter"),
            (&["a:1|c", "b:2|c"], "a:1|c\nb:2|c"),
        ] {
            assert_eq!(made(&[words, &["--statsd"]].concat()).as_deref(), Ok(line), "{words:?}");
        }
    }

    #[test]
    fn contradictory_arguments_are_wrong_usage() {
        for (words, told) in [
            (&["a"][..], "the type is missing"),
            (&["a", "counter", "1", "stage"], "`stage` is not a tag"),
            (&["a", "counter", "value=3"], "`value` is a reserved key"),
            (&["a", "timer", "1", "--delta"], "--delta is for gauges"),
            (&["-", "--delta"], "need NAME TYPE VALUE"),
            (&["{}", "--sample-rate", "1"], "need NAME TYPE VALUE"),
            (&["a", "trace", "--statsd"], "statsd has no traces"),
            (&["a", "gauge", "-4", "--statsd"], "cannot set a gauge below zero"),
            (&["a:b", "counter", "1", "--statsd"], "means something else"),
            (&["a", "counter", "1", "k=v,w", "--statsd"], "means something else"),
            (&["a", "set", "x|y", "--statsd"], "means something else"),
        ] {
            let error = made(words).unwrap_err();
            assert!(error.contains(told), "{words:?}: {error}");
        }
    }
}
