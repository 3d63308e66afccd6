//! Finds the rules whose patterns match a name, without trying each of them.

use std::collections::HashMap;

use regex::{RegexSet, RegexSetBuilder};

use super::glob::{GlobPart, NameGlob};

/// The number of a rule in the configuration, from 0.
pub type RuleNumber = u32;

/// Maximum size of all regular expressions together when compiled, in bytes.
const REGEXES_BYTES_MAX: usize = 256 << 20;
/// Memory for the states of the regular expressions that a thread has met, in bytes. With too little, a
/// search for many expressions falls back to a slower method.
const REGEX_STATES_BYTES: usize = 16 << 20;

/// The globs of all rules as a trie over their parts, and their regular expressions as one automaton.
#[derive(Clone, Debug)]
pub(super) struct RuleIndex {
    /// The first is the root.
    nodes: Vec<TrieNode>,
    /// `None` without regular expressions: even an empty set takes tens of kilobytes of stack to build.
    regexes: Option<RegexSet>,
    /// The rule of each of `regexes`.
    regex_rules: Vec<RuleNumber>,
}

type NodeNumber = u32;

/// The end of the same parts of several globs.
#[derive(Clone, Debug, Default)]
struct TrieNode {
    literals: HashMap<Box<str>, NodeNumber>,
    one: Option<NodeNumber>,
    many: Option<NodeNumber>,
    /// Whether the last part is `**`, after which any part leads to this node again.
    is_many: bool,
    /// The rules whose globs end here.
    rules: Vec<RuleNumber>,
}

/// A part of a name, or of a glob all of whose names are looked for at once.
#[derive(Clone, Copy)]
enum Step<'a> {
    Literal(&'a str),
    AnyPart,
    AnyParts,
}

impl Default for RuleIndex {
    fn default() -> Self {
        let (nodes, regex_rules) = (vec![TrieNode::default()], Vec::new());
        Self { nodes, regexes: None, regex_rules }
    }
}

impl RuleIndex {
    /// Creates an index of the regular expressions.
    ///
    /// # Errors
    /// When they are too large together.
    pub(super) fn of_regexes<'r>(
        regexes: impl Iterator<Item = (RuleNumber, &'r str)>,
    ) -> Result<Self, String> {
        let (regex_rules, texts): (Vec<_>, Vec<_>) = regexes.unzip();
        if texts.is_empty() {
            return Ok(Self::default());
        }
        let set = RegexSetBuilder::new(texts)
            .size_limit(REGEXES_BYTES_MAX)
            .dfa_size_limit(REGEX_STATES_BYTES)
            .build();
        let regexes = set.map_err(|_| {
            format!(
                "all `match_regex` together take more than {} MiB when compiled; use `match` where it \
                 is enough",
                REGEXES_BYTES_MAX >> 20
            )
        })?;
        Ok(Self { regexes: Some(regexes), regex_rules, ..Self::default() })
    }

    /// Adds the glob of a rule, in the order of the rules.
    pub(super) fn add_glob(&mut self, rule: RuleNumber, glob: &NameGlob) {
        let mut node = 0;
        for part in glob.parts() {
            let new = self.nodes.len() as NodeNumber;
            let from = &mut self.nodes[node as usize];
            let next = match part {
                GlobPart::Literal(text) => *from.literals.entry(text.clone()).or_insert(new),
                GlobPart::One => *from.one.get_or_insert(new),
                GlobPart::Many => *from.many.get_or_insert(new),
            };
            if next == new {
                let is_many = *part == GlobPart::Many;
                self.nodes.push(TrieNode { is_many, ..TrieNode::default() });
            }
            node = next;
        }
        self.nodes[node as usize].rules.push(rule);
    }

    /// Returns the rules whose patterns match a name, in their order.
    pub(super) fn matches(&self, name: &str) -> Vec<RuleNumber> {
        let mut rules = self.walk(name.split('.').map(Step::Literal));
        if let Some(regexes) = &self.regexes {
            let found = regexes.matches(name);
            rules.extend(found.into_iter().map(|index| self.regex_rules[index]));
        }
        rules.sort_unstable();
        rules
    }

    /// Returns rules whose globs match every name that the glob matches, in their order: that of the
    /// glob itself, and those of more general globs.
    pub(super) fn covers(&self, glob: &NameGlob) -> Vec<RuleNumber> {
        let mut rules = self.walk(glob.parts().iter().map(|part| match part {
            GlobPart::Literal(text) => Step::Literal(text),
            GlobPart::One => Step::AnyPart,
            GlobPart::Many => Step::AnyParts,
        }));
        rules.sort_unstable();
        rules
    }

    /// Returns the rules whose globs match every name, in their order.
    pub(super) fn covers_all(&self) -> Vec<RuleNumber> {
        let mut rules = self.walk(std::iter::once(Step::AnyParts));
        rules.sort_unstable();
        rules
    }

    /// Follows all paths at once, so that the time is limited by the number of steps times that of the
    /// nodes that are reached.
    fn walk<'a>(&self, steps: impl Iterator<Item = Step<'a>>) -> Vec<RuleNumber> {
        let (mut reached, mut next) = (Vec::new(), Vec::new());
        self.reach(0, &mut reached);
        for step in steps {
            for number in reached.drain(..) {
                self.follow(number, step, &mut next);
            }
            // A `**` is reached from itself and from the node before it.
            next.sort_unstable();
            next.dedup();
            std::mem::swap(&mut reached, &mut next);
            if reached.is_empty() {
                break;
            }
        }
        let ends = reached.iter().flat_map(|number| &self.nodes[*number as usize].rules);
        ends.copied().collect()
    }

    fn follow(&self, number: NodeNumber, step: Step<'_>, next: &mut Vec<NodeNumber>) {
        let node = &self.nodes[number as usize];
        if node.is_many {
            next.push(number);
        }
        let literal = match step {
            Step::Literal(text) => node.literals.get(text).copied(),
            Step::AnyPart => None,
            // Only a `**` matches any number of parts.
            Step::AnyParts => return,
        };
        for reached in literal.into_iter().chain(node.one) {
            self.reach(reached, next);
        }
    }

    /// Adds a node, and the `**` after it, which also matches no part.
    fn reach(&self, number: NodeNumber, reached: &mut Vec<NodeNumber>) {
        reached.push(number);
        reached.extend(self.nodes[number as usize].many);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(globs: &[&str]) -> RuleIndex {
        let mut index = RuleIndex::default();
        for (rule, glob) in (0..).zip(globs) {
            index.add_glob(rule, &NameGlob::parse(glob).unwrap());
        }
        index
    }

    #[test]
    fn the_index_finds_each_glob_that_matches() {
        let globs = ["a.b", "a.*", "**", "a.**", "*.b", "**.b", "a.**.b", "a.*.b", "*", "a.b"];
        let index = index(&globs);
        for name in ["a.b", "a", "b", "a.x.b", "a.x.y.b", "x.b", "", "a.", "a..b", "x.y"] {
            let expected: Vec<RuleNumber> = (0..)
                .zip(globs)
                .filter(|(_, glob)| NameGlob::parse(glob).unwrap().captures(name).is_some())
                .map(|(rule, _)| rule)
                .collect();
            assert_eq!(index.matches(name), expected, "{name}");
        }
    }

    #[test]
    fn a_more_general_glob_covers_another() {
        let globs = ["a.*", "a.**", "a.b", "*.*", "**"];
        let index = index(&globs);
        for (glob, expected) in [
            ("a.b", vec![0, 1, 2, 3, 4]),
            ("a.*", vec![0, 1, 3, 4]),
            ("a.b.c", vec![1, 4]),
            ("a.**", vec![1, 4]),
            ("a.*.**", vec![1, 4]),
            ("**.b", vec![4]),
            ("b", vec![4]),
        ] {
            assert_eq!(index.covers(&NameGlob::parse(glob).unwrap()), expected, "{glob}");
        }
        assert_eq!(index.covers_all(), [4]);
    }
}
