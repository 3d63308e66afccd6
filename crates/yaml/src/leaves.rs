//! A file as a list of what it says: every single value and the way to it. So that two versions of a
//! file can be compared, and the difference be shown without a secret.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use super::error::ConfigError;
use super::interpolate::Env;
use super::source::Source;
use super::tree::{self, Kind, Node, Scalar};

/// Every value by the way to it, such as `forwarders.kafka.kafka_topic` or `listeners[0].address`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Leaves(BTreeMap<String, Leaf>);

#[derive(Clone, PartialEq, Eq)]
struct Leaf {
    /// What counts, after expansion.
    text: String,
    shown: Shown,
}

/// How a value may be shown.
#[derive(Clone, PartialEq, Eq)]
enum Shown {
    /// As it is.
    Plain,
    /// As the `${…}` that it comes from.
    Reference(String),
    /// Not at all.
    Secret,
}

impl Leaves {
    /// What a file says; nothing for one without content.
    ///
    /// # Errors
    /// When it is no valid YAML, or a `${…}` cannot be expanded.
    pub fn of(source: &Source, env: Env<'_>) -> Result<Self, ConfigError> {
        let mut leaves = Self::default();
        leaves.add(String::new(), &tree::build(source, env)?);
        Ok(leaves)
    }

    /// What is different in `new`, a line each: `interval: 10s -> 5s`, or with `not set` on one side.
    #[must_use]
    pub fn changes(&self, new: &Self) -> Vec<String> {
        let mut paths: Vec<&String> = self.0.keys().chain(new.0.keys()).collect();
        paths.sort();
        paths.dedup();
        let change = |path: &&String| {
            let (old, new) = (self.0.get(*path), new.0.get(*path));
            let is_same = old.map(|leaf| &leaf.text) == new.map(|leaf| &leaf.text);
            (!is_same).then(|| change(path, old, new))
        };
        paths.iter().filter_map(change).collect()
    }

    fn add(&mut self, path: String, node: &Rc<Node>) {
        match &node.kind {
            Kind::Scalar(scalar) => {
                self.0.insert(path, Leaf::of(scalar));
            }
            Kind::Sequence(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.add(format!("{path}[{index}]"), item);
                }
            }
            Kind::Mapping(entries) => {
                for (key, value) in entries {
                    let dot = if path.is_empty() { "" } else { "." };
                    self.add(format!("{path}{dot}{}", key.text().escape_debug()), value);
                }
            }
        }
    }
}

impl Leaf {
    fn of(scalar: &Scalar) -> Self {
        let shown = match &scalar.expanded_from {
            Some(reference) => Shown::Reference(reference.to_string()),
            None if scalar.is_secret => Shown::Secret,
            None => Shown::Plain,
        };
        Self { text: scalar.text.to_string(), shown }
    }
}

impl fmt::Display for Leaf {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.shown {
            Shown::Plain => write!(formatter, "{}", self.text.escape_debug()),
            Shown::Reference(reference) => formatter.write_str(reference),
            Shown::Secret => formatter.write_str("***"),
        }
    }
}

fn change(path: &str, old: Option<&Leaf>, new: Option<&Leaf>) -> String {
    let side = |leaf: Option<&Leaf>| leaf.map_or("not set".to_owned(), ToString::to_string);
    let (old, new) = (side(old), side(new));
    if old == new {
        format!("{path}: {old} has another value")
    } else {
        format!("{path}: {old} -> {new}")
    }
}

/// As little as errors give away.
impl fmt::Debug for Leaves {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.iter().map(|(path, leaf)| (path, leaf.to_string()));
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
    fn what_differs_is_told_by_its_way_and_nothing_else_is() {
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
    fn a_secret_and_what_a_reference_stands_for_are_not_shown() {
        let text = "apikey: CANARY-1\nurl: ${VAR}\n";
        let old = leaves(text, "CANARY-2");
        let new = leaves(&text.replace("CANARY-1", "CANARY-3"), "CANARY-4");
        let changes = old.changes(&new);
        assert_eq!(changes, ["apikey: *** has another value", "url: ${VAR} has another value"]);
        assert!(!format!("{old:?}").contains("CANARY"));
    }
}
