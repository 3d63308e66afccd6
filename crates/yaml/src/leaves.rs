//! The values of a file by their paths, to compare two versions of the file and show the
//! differences without secrets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use crate::document;
use crate::messages::error::ConfigError;
use crate::messages::source::Source;
use crate::read::scalar::{YamlScalar, boolean};
use crate::read::tree::{NodeContent, YamlNode};
use crate::values::interpolate::Env;
use crate::values::quote::MASK;
use crate::values::secrets::{credentials, looks_like_a_secret_line, secret_words};

/// The reference to the name of the host, which is no secret.
const HOSTNAME: &str = "${hostname}";
/// Maximum length of an inserted number that is shown: a longer one may be an identifier or a secret.
const HARMLESS_DIGITS_MAX: usize = 6;
/// Maximum length of the unit of an inserted number that is shown, such as `MiB`.
const HARMLESS_UNIT_MAX: usize = 3;

/// All values by their paths, such as `forwarders.kafka.kafka_topic` or `listeners[0].address`.
#[derive(Clone, Default)]
pub struct Leaves {
    values: BTreeMap<String, Leaf>,
    /// Sections and lists without content.
    empty: BTreeMap<String, EmptyNode>,
}

#[derive(Clone)]
struct Leaf {
    /// The text after expansion.
    text: String,
    /// The text as a message may show it, without secrets and without inserted values.
    shown: String,
    /// The text with inserted values that are harmless, without secrets.
    effective: String,
    /// The `${…}` in it.
    references: Option<String>,
    line: usize,
}

#[derive(Clone)]
struct EmptyNode {
    shown: &'static str,
    line: usize,
}

/// A value of a file, or a section or list without content, which is shown as `{}` or `[]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileValue<'a> {
    /// The path of its key.
    pub path: &'a str,
    /// The value. A secret is masked. Of a `${…}`, the inserted text is shown if it is a boolean, a short
    /// number, an address or the name of the host, otherwise the reference.
    pub effective: &'a str,
    /// The line, from 1.
    pub line: usize,
    /// The `${…}` in the value, without their defaults.
    pub references: Option<&'a str>,
}

impl Leaves {
    /// Reads the values of a file; none if it has no content.
    ///
    /// # Errors
    /// If the file is not valid YAML, or a `${…}` cannot be expanded.
    pub fn of(source: &Source, env: Env<'_>) -> Result<Self, ConfigError> {
        let (mut leaves, mut errors) = (Self::default(), Vec::new());
        let root = document::read(source, env, &mut errors)?;
        errors.into_iter().next().map_or(Ok(()), Err)?;
        leaves.add("", &root);
        Ok(leaves)
    }

    /// Returns the differences to `new`, one line each: `interval: 10s -> 5s`, or with `not set` on
    /// one side.
    #[must_use]
    pub fn changes(&self, new: &Self) -> Vec<String> {
        let (old, new) = (&self.values, &new.values);
        let paths: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        let change = |path: &String| change(path, old.get(path), new.get(path));
        paths.into_iter().filter_map(change).collect()
    }

    /// The values, and the sections and lists without content.
    pub fn all(&self) -> impl Iterator<Item = FileValue<'_>> {
        let values = self.values.iter().map(|(path, leaf)| FileValue {
            path,
            effective: &leaf.effective,
            line: leaf.line,
            references: leaf.references.as_deref(),
        });
        let empty = self.empty.iter().map(|(path, node)| FileValue {
            path,
            effective: node.shown,
            line: node.line,
            references: None,
        });
        values.chain(empty)
    }

    fn add(&mut self, path: &str, node: &YamlNode) {
        let children = node.children();
        let name = || path.strip_prefix('.').unwrap_or(path).escape_debug().to_string();
        let line = node.span.start.line;
        match &node.content {
            NodeContent::Scalar(scalar) => drop(self.values.insert(name(), Leaf::of(scalar, line))),
            NodeContent::List(items) if items.is_empty() => {
                self.empty.insert(name(), EmptyNode { shown: "[]", line });
            }
            NodeContent::Section(entries) if entries.is_empty() && !path.is_empty() => {
                self.empty.insert(name(), EmptyNode { shown: "{}", line });
            }
            NodeContent::List(_) | NodeContent::Section(_) => {}
        }
        for (step, _, child) in children {
            self.add(&format!("{path}{step}"), child);
        }
    }
}

impl Leaf {
    fn of(scalar: &YamlScalar, line: usize) -> Self {
        let shown = match &scalar.references {
            Some(references) => references.clone(),
            None => literal(scalar),
        };
        let references = scalar.references.clone();
        Self { text: scalar.text.clone(), shown, effective: effective(scalar), references, line }
    }
}

/// The text of a scalar without secrets. Of inserted texts, only harmless ones are shown.
fn effective(scalar: &YamlScalar) -> String {
    let Some(references) = &scalar.references else { return literal(scalar) };
    if scalar.is_secret || secret_words(references).next().is_some() {
        return MASK.to_owned();
    }
    let is_of_file = references.contains("${file:") || references.contains("${credential:");
    if !is_of_file && (references == HOSTNAME || is_harmless(&scalar.text)) {
        return literal(scalar);
    }
    references.clone()
}

/// The text of a scalar, in which secrets are masked.
fn literal(scalar: &YamlScalar) -> String {
    let text = &scalar.text;
    let shown = match credentials(text) {
        _ if scalar.is_secret => MASK.to_owned(),
        Some(start) => format!("{}{MASK}", &text[..start]),
        None if looks_like_a_secret_line(text) => MASK.to_owned(),
        None => text.clone(),
    };
    shown.escape_debug().to_string()
}

/// Whether no secret looks like an inserted text: a boolean, a short number with or without a unit, or
/// an address. The name of a variable does not show whether its value is a secret.
fn is_harmless(text: &str) -> bool {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '%');
    let unit = &text[digits.len()..];
    let is_number = (1..=HARMLESS_DIGITS_MAX).contains(&digits.len())
        && digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    boolean(text).is_some()
        || is_number && unit.len() <= HARMLESS_UNIT_MAX
        || text.parse::<SocketAddr>().is_ok()
        || text.parse::<Ipv4Addr>().is_ok()
}

fn change(path: &str, old: Option<&Leaf>, new: Option<&Leaf>) -> Option<String> {
    if old.map(|leaf| &leaf.text) == new.map(|leaf| &leaf.text) {
        return None;
    }
    let side = |leaf: Option<&Leaf>| leaf.map_or("not set".to_owned(), |leaf| leaf.shown.clone());
    let (old, new) = (side(old), side(new));
    Some(if old == new {
        format!("{path}: {old} has another value")
    } else {
        format!("{path}: {old} -> {new}")
    })
}

/// Shows the same texts as errors, without secrets.
impl fmt::Debug for Leaves {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.values.iter().map(|(path, leaf)| (path, &leaf.shown));
        formatter.debug_map().entries(shown).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(text: &str, variable: &str) -> Leaves {
        let env = |name: &str| (name == "VAR").then(|| variable.to_owned());
        Leaves::of(&Source::new("f", text), &env).unwrap()
    }

    #[test]
    fn exactly_the_differing_keys_are_listed_by_path() {
        let old =
            leaves("interval: 10s\nlisteners:\n  - {address: a, threads: 2}\nx: {y: 1}\n", "");
        let new = leaves("x: {y: 1}\ninterval: 5s\nlisteners: [{address: a}, {address: b}]", "");
        assert_eq!(
            old.changes(&new),
            [
                "interval: 10s -> 5s",
                "listeners[0].threads: 2 -> not set",
                "listeners[1].address: not set -> b",
            ]
        );
        assert!(old.changes(&old.clone()).is_empty());
        assert!(leaves("", "").changes(&Leaves::default()).is_empty());
    }

    #[test]
    fn all_values_have_their_lines_and_no_secrets() {
        let text = "interval: ${VAR}\nx: { password: CANARY-1, hosts: [], y: {} }\n\
                    list:\n  - url: http://me:CANARY-2@h/\n  - a ${VAR}\ntoken: ${VAR}\n\
                    other: ${VAR_TOKEN:-CANARY-3}\n";
        let leaves = leaves(text, "5s");
        let all: Vec<_> =
            leaves.all().map(|one| (one.path, one.effective, one.line, one.references)).collect();
        assert_eq!(
            all,
            [
                ("interval", "5s", 1, Some("${VAR}")),
                ("list[0].url", "http://***", 4, None),
                ("list[1]", "${VAR}", 5, Some("${VAR}")),
                ("other", "***", 7, Some("${VAR_TOKEN}")),
                ("token", "***", 6, Some("${VAR}")),
                ("x.password", "***", 2, None),
                ("x.hosts", "[]", 2, None),
                ("x.y", "{}", 2, None),
            ]
        );
    }

    #[test]
    fn an_inserted_text_is_shown_only_if_no_secret_looks_like_it() {
        for (text, is_shown) in [
            ("10s", true),
            ("99.9", true),
            ("512MiB", true),
            ("true", true),
            ("127.0.0.1:8125", true),
            ("10.0.0.1", true),
            ("[::1]:80", true),
            ("1234567", false),
            ("12abcd", false),
            ("s", false),
            ("stage", false),
            ("broker:9092", false),
            ("https://host/write/CANARY", false),
        ] {
            let leaves = leaves("x: ${VAR}\n", text);
            let shown = leaves.all().next().unwrap().effective;
            assert_eq!(shown, if is_shown { text } else { "${VAR}" }, "{text}");
        }
    }

    #[test]
    fn the_query_of_a_url_is_not_shown() {
        for key in ["X-License-Key", "api_key", "key", "auth", "sig", "pass", "x"] {
            let text = format!("url: https://host/write?{key}=CANARY-1\n");
            let old = leaves(&text, "");
            assert_eq!(old.all().next().unwrap().effective, "https://host/write***", "{key}");
            let changes = old.changes(&leaves(&text.replace('1', "2"), ""));
            assert_eq!(changes, ["url: https://host/write*** has another value"]);
        }
    }

    #[test]
    fn secrets_and_expanded_references_are_not_shown() {
        let text = "apikey: CANARY-1\nurl: ${VAR}\n";
        let old = leaves(text, "CANARY-2");
        let new = leaves(&text.replace("CANARY-1", "CANARY-3"), "CANARY-4");
        let changes = old.changes(&new);
        assert_eq!(changes, ["apikey: *** has another value", "url: ${VAR} has another value"]);
        assert!(!format!("{old:?}").contains("CANARY"));
    }
}
