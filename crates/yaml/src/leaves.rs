//! The values of a file by their paths, to compare two versions of the file and show the
//! differences without secrets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::document;
use crate::messages::error::ConfigError;
use crate::messages::source::Source;
use crate::read::scalar::YamlScalar;
use crate::read::tree::{NodeContent, YamlNode};
use crate::values::interpolate::Env;
use crate::values::quote::MASK;
use crate::values::secrets::{credentials, looks_like_a_secret_line, secret_words};

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
    /// The text with inserted values, without secrets.
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
    /// The value with the inserted `${…}`. A secret is masked; of a file or credential, the reference is
    /// shown.
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
            None if scalar.is_secret => MASK.to_owned(),
            None => scalar.text.escape_debug().to_string(),
        };
        let references = scalar.references.clone();
        Self { text: scalar.text.clone(), shown, effective: effective(scalar), references, line }
    }
}

/// The text of a scalar with inserted values, but without secrets.
fn effective(scalar: &YamlScalar) -> String {
    let references = scalar.references.as_deref().unwrap_or_default();
    let names_secret = secret_words(references).next().is_some();
    if scalar.is_secret || names_secret {
        return MASK.to_owned();
    }
    if references.contains("${file:") || references.contains("${credential:") {
        return references.to_owned();
    }
    let text = &scalar.text;
    let shown = match credentials(text) {
        Some(start) => format!("{}{MASK}", &text[..start]),
        None if looks_like_a_secret_line(text) => MASK.to_owned(),
        None => text.clone(),
    };
    shown.escape_debug().to_string()
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
                ("list[1]", "a 5s", 5, Some("${VAR}")),
                ("other", "***", 7, Some("${VAR_TOKEN}")),
                ("token", "***", 6, Some("${VAR}")),
                ("x.password", "***", 2, None),
                ("x.hosts", "[]", 2, None),
                ("x.y", "{}", 2, None),
            ]
        );
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
