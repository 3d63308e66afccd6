//! The error inside of deserialization: it collects its place and path on the way out.
//!
//! Serde lets a visitor fail without knowing where it reads. Each reader that such a failure
//! passes adds what it knows: the innermost one the place and what was found there, each section
//! and list around it one step of the path.

use std::fmt::{self, Write};

use serde::de::{self, Expected, Unexpected};

use super::error::ConfigError;
use super::excerpt::MASK;
use super::secrets;
use super::source::{Source, Span};
use super::suggest::nearest;
use super::tree::{Kind, Node, Scalar};

/// The most characters of a value that a message repeats.
const QUOTED_CHARS_MAX: usize = 60;
/// A value of fewer characters than this is too common a word to look for within others.
const TELLING_CHARS: usize = 4;

/// Why a tree does not fit a type.
#[derive(Debug)]
pub(super) struct Failure {
    // Boxed, because a `Result` of each value read should stay small.
    details: Box<Details>,
}

#[derive(Debug)]
struct Details {
    problem: Problem,
    place: Option<Place>,
    /// The way from the root, innermost step first.
    path: Vec<Step>,
}

/// A list of words as serde's derive gives it.
pub(super) type Words = &'static [&'static str];

/// What is wrong.
#[derive(Debug)]
pub(super) enum Problem {
    /// Someone's own words.
    Custom(String),
    UnknownKey {
        key: String,
        allowed: Words,
    },
    /// A word that is not among the allowed ones.
    UnknownWord {
        word: String,
        allowed: Words,
    },
    Missing(&'static str),
    Repeated(&'static str),
    /// A value of another type or out of range. `found` is what a visitor saw.
    Mismatch {
        expected: String,
        found: Option<String>,
        hint: Option<String>,
    },
    Length {
        expected: String,
        found: usize,
    },
}

#[derive(Debug)]
struct Place {
    span: Span,
    found: Found,
}

/// What stands at the place, as a message may show it.
#[derive(Debug)]
enum Found {
    Nothing,
    Shown(String),
    Hidden(String),
}

/// One step of a path.
#[derive(Debug)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

impl Failure {
    pub(super) fn new(problem: Problem) -> Self {
        Self { details: Box::new(Details { problem, place: None, path: Vec::new() }) }
    }

    /// A value that is not what is `expected`.
    pub(super) fn mismatch(expected: impl Into<String>) -> Self {
        Self::new(Problem::Mismatch { expected: expected.into(), found: None, hint: None })
    }

    /// A value that is not what is `expected`, and what to do about it.
    pub(super) fn mismatch_with_hint(expected: &str, hint: impl Into<String>) -> Self {
        let (expected, hint) = (expected.to_owned(), Some(hint.into()));
        Self::new(Problem::Mismatch { expected, found: None, hint })
    }

    /// Says that it happened while `node` was read, unless a reader further in has said so.
    /// `is_secret` tells whether the node is used below a key named like a secret.
    #[must_use]
    pub(super) fn at(mut self, node: &Node, is_secret: bool) -> Self {
        let details = &mut *self.details;
        if details.place.is_some() {
            return self;
        }
        let is_missing = matches!(details.problem, Problem::Missing(_));
        let span = if is_missing { node.owner } else { node.span };
        let mut found = Found::of(node, is_secret);
        match &mut details.problem {
            Problem::Custom(message) => *message = without_hidden(message, node, is_secret),
            // A visitor that read a whole section may complain about one value of it.
            Problem::Mismatch { found: Some(seen), .. }
                if !matches!(node.kind, Kind::Scalar(_)) =>
            {
                found = Found::Shown(without_hidden(seen, node, is_secret));
            }
            _ => {}
        }
        details.place = Some(Place { span, found });
        self
    }

    /// Says that it is about `key`, the last one read, if it has no place yet and complains of a
    /// key. Serde notices a repeated key, perhaps under another name of its field, only then.
    #[must_use]
    pub(super) fn at_key(self, key: &Node) -> Self {
        let is_about_key = match &self.details.problem {
            Problem::UnknownKey { key: name, .. } => name == key.text(),
            Problem::Repeated(_) => true,
            _ => false,
        };
        if is_about_key { self.at(key, false) } else { self }
    }

    /// Adds a step in front of the path.
    #[must_use]
    pub(super) fn within(mut self, step: Step) -> Self {
        self.details.path.push(step);
        self
    }

    /// Whether the message names the key itself, so that the path must not.
    pub(super) fn names_its_key(&self) -> bool {
        matches!(self.details.problem, Problem::UnknownKey { .. } | Problem::Repeated(_))
    }

    /// The error that a user reads.
    pub(super) fn into_error(self, source: &Source) -> ConfigError {
        let span = self.details.place.as_ref().map_or(Span::START, |place| place.span);
        let error = source.error_at(span, self.message());
        self.help().into_iter().fold(error, ConfigError::with_help)
    }

    fn message(&self) -> String {
        let Details { problem, place, .. } = &*self.details;
        let subject = self.subject();
        let nothing = Found::Nothing;
        let found = place.as_ref().map_or(&nothing, |place| &place.found);
        match (problem, found) {
            (Problem::Custom(message), _) if self.details.path.is_empty() => message.clone(),
            (Problem::Custom(message), _) => format!("{subject}: {message}"),
            (Problem::UnknownKey { key, .. }, _) => format!("unknown key {}", self.path_to(key)),
            (Problem::Missing(key), _) => format!("{} is missing", self.path_to(key)),
            (Problem::Repeated(key), _) => format!("{} is given twice", self.path_to(key)),
            (Problem::UnknownWord { .. }, Found::Nothing) => format!("{subject} needs a value"),
            (Problem::UnknownWord { .. }, Found::Shown(found) | Found::Hidden(found)) => {
                format!("{subject} cannot be {found}")
            }
            (Problem::Mismatch { expected, .. }, Found::Nothing) if expected == "text" => {
                format!("{subject} needs a value")
            }
            (Problem::Mismatch { expected, .. }, Found::Nothing) => {
                format!("{subject} needs a value: {expected}")
            }
            (Problem::Mismatch { expected, .. }, Found::Shown(found) | Found::Hidden(found)) => {
                format!("{subject} must be {expected}, not {found}")
            }
            (Problem::Length { expected, found }, _) => {
                format!("{subject} must be {expected}, not a list of {found}")
            }
        }
    }

    fn help(&self) -> Vec<String> {
        let is_hidden =
            self.details.place.as_ref().is_some_and(|p| matches!(p.found, Found::Hidden(_)));
        match &self.details.problem {
            Problem::UnknownKey { key, allowed } => choices(key, allowed),
            // How near a secret is to a word says something about the secret.
            Problem::UnknownWord { allowed, .. } if is_hidden => choices("", allowed),
            Problem::UnknownWord { word, allowed } => choices(word, allowed),
            Problem::Mismatch { hint, .. } => hint.iter().cloned().collect(),
            _ => Vec::new(),
        }
    }

    /// What the message is about, such as `` `forwarders.kafka[0].kafka_topic` ``.
    fn subject(&self) -> String {
        if self.details.path.is_empty() { "the file".to_owned() } else { quoted_path(&self.path()) }
    }

    /// The path of a key in the section that the path leads to.
    fn path_to(&self, key: &str) -> String {
        let path = self.path();
        if path.is_empty() { quoted(key) } else { quoted_path(&format!("{path}.{key}")) }
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for step in self.details.path.iter().rev() {
            match step {
                Step::Index(index) => {
                    // To write to a `String` cannot fail.
                    let _ = write!(path, "[{index}]");
                }
                Step::Key(key) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(key);
                }
            }
        }
        path
    }
}

impl Found {
    fn of(node: &Node, is_secret: bool) -> Self {
        let scalar = match &node.kind {
            Kind::Mapping(_) => return Self::Shown("a section".to_owned()),
            Kind::Sequence(_) => return Self::Shown("a list".to_owned()),
            Kind::Scalar(scalar) => scalar,
        };
        if scalar.is_null() {
            return Self::Nothing;
        }
        replacement(scalar, is_secret)
            .map_or_else(|| Self::Shown(quoted(&scalar.text)), Self::Hidden)
    }
}

/// What to say instead of a value that must not be shown.
fn replacement(scalar: &Scalar, is_secret: bool) -> Option<String> {
    if let Some(from) = &scalar.expanded_from {
        return Some(format!("the value of {from}"));
    }
    let is_secret = is_secret || scalar.is_secret;
    (is_secret || secrets::looks_like_a_secret_line(&scalar.text)).then(|| format!("`{MASK}`"))
}

/// Someone's own message without the values that it may repeat but we must not show.
fn without_hidden(message: &str, node: &Node, is_secret: bool) -> String {
    let mut hidden = Vec::new();
    collect_hidden(node, is_secret, &mut hidden);
    // Longer values first: one may be part of another.
    hidden.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
    let mut message = message.to_owned();
    for (text, replacement) in &hidden {
        for quote in ["`", "\"", "'"] {
            message = message.replace(&format!("{quote}{text}{quote}"), replacement);
        }
        message = replace_words(&message, text, replacement);
    }
    let is_told = |(text, replacement): &(&str, String)| {
        gives_away(&message.replace(replacement.as_str(), ""), text)
    };
    match hidden.first() {
        // A message may also hold a part of the value. That shows only when it is compared.
        Some(first) if matches!(node.kind, Kind::Scalar(_)) && is_told(first) => {
            format!("{} does not fit", first.1)
        }
        _ => message,
    }
}

fn collect_hidden<'a>(node: &'a Node, is_secret: bool, hidden: &mut Vec<(&'a str, String)>) {
    match &node.kind {
        Kind::Scalar(scalar) => {
            let text = scalar.text.trim();
            if let Some(replacement) = replacement(scalar, is_secret).filter(|_| !text.is_empty()) {
                hidden.push((text, replacement));
            }
        }
        Kind::Sequence(items) => {
            for item in items {
                collect_hidden(item, is_secret, hidden);
            }
        }
        Kind::Mapping(entries) => {
            for (key, value) in entries {
                let is_secret = is_secret || secrets::is_secret_key(key.text());
                collect_hidden(value, is_secret, hidden);
            }
        }
    }
}

/// Replaces `text` wherever it stands; a short one only where it is a word of its own.
fn replace_words(message: &str, text: &str, replacement: &str) -> String {
    if text.chars().count() >= TELLING_CHARS {
        return message.replace(text, replacement);
    }
    let is_part = |c: char| c.is_alphanumeric();
    let mut replaced = String::new();
    let mut rest = message;
    while let Some(at) = rest.find(text) {
        let (before, behind) = (&rest[..at], &rest[at + text.len()..]);
        replaced.push_str(before);
        let is_word = !before.ends_with(is_part) && !behind.starts_with(is_part);
        replaced.push_str(if is_word { replacement } else { text });
        rest = behind;
    }
    replaced + rest
}

/// Whether a message repeats some part of a value.
fn gives_away(message: &str, text: &str) -> bool {
    let (message, text) = (message.to_lowercase(), text.to_lowercase());
    let letters: Vec<char> = text.chars().collect();
    letters.windows(TELLING_CHARS).any(|part| message.contains(&part.iter().collect::<String>()))
}

/// The lines that say what is allowed and what was probably meant.
fn choices(word: &str, allowed: Words) -> Vec<String> {
    if allowed.is_empty() {
        return Vec::new();
    }
    let suggestion = nearest(word, allowed).map(|meant| format!("did you mean `{meant}`?"));
    std::iter::once(format!("allowed: {}", allowed.join(", "))).chain(suggestion).collect()
}

/// A text from the file as a message shows it: in backticks, on one line, not too long.
pub(super) fn quoted(text: &str) -> String {
    if secrets::looks_like_a_secret_line(text) { format!("`{MASK}`") } else { quoted_path(text) }
}

fn quoted_path(text: &str) -> String {
    let mut quoted = String::from("`");
    for (count, character) in text.chars().enumerate() {
        match character {
            _ if count == QUOTED_CHARS_MAX => {
                quoted.push('…');
                break;
            }
            c if c.is_control() => quoted.extend(c.escape_default()),
            c => quoted.push(c),
        }
    }
    quoted + "`"
}

/// What serde's own types call themselves, in the words of someone who writes YAML.
fn in_plain_words(expected: &str) -> String {
    let range = |low: i128, high: i128| format!("a whole number from {low} to {high}");
    match expected {
        "u8" => range(0, u8::MAX.into()),
        "u16" => range(0, u16::MAX.into()),
        "u32" => range(0, u32::MAX.into()),
        "u64" | "usize" => range(0, u64::MAX.into()),
        "i8" => range(i8::MIN.into(), i8::MAX.into()),
        "i16" => range(i16::MIN.into(), i16::MAX.into()),
        "i32" => range(i32::MIN.into(), i32::MAX.into()),
        "i64" | "isize" => range(i64::MIN.into(), i64::MAX.into()),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" | "a borrowed string" | "string" => "text".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a section".to_owned(),
        "unit" => "empty".to_owned(),
        _ if expected.starts_with("struct ") => "a section".to_owned(),
        _ => match expected.strip_prefix("a nonzero ") {
            Some(inner) => in_plain_words(inner).replacen("from 0", "from 1", 1),
            None => expected.to_owned(),
        },
    }
}

/// What a visitor wants, in plain words.
pub(super) fn wish(expected: &dyn Expected) -> String {
    in_plain_words(&expected.to_string())
}

fn seen(unexpected: &Unexpected<'_>) -> Option<String> {
    match unexpected {
        Unexpected::Bool(value) => Some(format!("`{value}`")),
        Unexpected::Unsigned(value) => Some(format!("`{value}`")),
        Unexpected::Signed(value) => Some(format!("`{value}`")),
        Unexpected::Float(value) => Some(format!("`{value}`")),
        Unexpected::Char(value) => Some(quoted(&value.to_string())),
        Unexpected::Str(value) => Some(quoted(value)),
        _ => None,
    }
}

impl de::Error for Failure {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Problem::Custom(message.to_string()))
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let (expected, found) = (wish(expected), seen(&unexpected));
        Self::new(Problem::Mismatch { expected, found, hint: None })
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(unexpected, expected)
    }

    fn invalid_length(found: usize, expected: &dyn Expected) -> Self {
        Self::new(Problem::Length { expected: wish(expected), found })
    }

    fn unknown_variant(word: &str, allowed: Words) -> Self {
        Self::new(Problem::UnknownWord { word: word.to_owned(), allowed })
    }

    fn unknown_field(key: &str, allowed: Words) -> Self {
        Self::new(Problem::UnknownKey { key: key.to_owned(), allowed })
    }

    fn missing_field(key: &'static str) -> Self {
        Self::new(Problem::Missing(key))
    }

    fn duplicate_field(key: &'static str) -> Self {
        Self::new(Problem::Repeated(key))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message())
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_text_is_short_and_on_one_line() {
        assert_eq!(quoted("a\nb\u{1b}"), "`a\\nb\\u{1b}`");
        assert_eq!(quoted(&"x".repeat(99)), format!("`{}…`", "x".repeat(QUOTED_CHARS_MAX)));
        assert_eq!(quoted("kafka_apikey:0123"), "`***`");
    }

    #[test]
    fn a_short_value_is_replaced_only_as_a_word() {
        assert_eq!(replace_words("5 of 15 in `5`", "5", "X"), "X of 15 in `X`");
        assert_eq!(replace_words("abcd in xabcdx", "abcd", "X"), "X in xXx");
    }

    #[test]
    fn a_part_of_a_value_gives_it_away_in_any_case() {
        assert!(gives_away("cannot parse HUNT", "hunter2"));
        assert!(!gives_away("must be longer than 8", "hunter2"));
    }

    #[test]
    fn the_words_of_serde_become_plain() {
        assert_eq!(in_plain_words("u16"), "a whole number from 0 to 65535");
        assert_eq!(in_plain_words("a nonzero u8"), "a whole number from 1 to 255");
        assert_eq!(in_plain_words("struct Config"), "a section");
        assert_eq!(in_plain_words("a duration such as `10s`"), "a duration such as `10s`");
    }
}
