//! The values of a file by their paths, to compare two versions of the file and show the
//! differences without secrets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::document;
use crate::messages::error::ConfigError;
use crate::messages::source::Source;
use crate::read::scalar::YamlScalar;
use crate::read::tree::YamlNode;
use crate::values::interpolate::Env;
use crate::values::quote::MASK;

/// All values by their paths, such as `forwarders.kafka.kafka_topic` or `listeners[0].address`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Leaves(BTreeMap<String, Leaf>);

#[derive(Clone, PartialEq, Eq)]
struct Leaf {
    /// The text after expansion.
    text: String,
    /// The text as a message may show it, without secrets.
    shown: String,
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
        let paths: BTreeSet<&String> = self.0.keys().chain(new.0.keys()).collect();
        let change = |path: &String| change(path, self.0.get(path), new.0.get(path));
        paths.into_iter().filter_map(change).collect()
    }

    fn add(&mut self, path: &str, node: &YamlNode) {
        if let Some(scalar) = node.scalar() {
            let path = path.strip_prefix('.').unwrap_or(path).escape_debug().to_string();
            self.0.insert(path, Leaf::of(scalar));
        }
        for (step, _, child) in node.children() {
            self.add(&format!("{path}{step}"), child);
        }
    }
}

impl Leaf {
    fn of(scalar: &YamlScalar) -> Self {
        let shown = match &scalar.references {
            Some(references) => references.clone(),
            None if scalar.is_secret => MASK.to_owned(),
            None => scalar.text.escape_debug().to_string(),
        };
        Self { text: scalar.text.clone(), shown }
    }
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
        let shown = self.0.iter().map(|(path, leaf)| (path, &leaf.shown));
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
    fn secrets_and_expanded_references_are_not_shown() {
        let text = "apikey: CANARY-1\nurl: ${VAR}\n";
        let old = leaves(text, "CANARY-2");
        let new = leaves(&text.replace("CANARY-1", "CANARY-3"), "CANARY-4");
        let changes = old.changes(&new);
        assert_eq!(changes, ["apikey: *** has another value", "url: ${VAR} has another value"]);
        assert!(!format!("{old:?}").contains("CANARY"));
    }
}
