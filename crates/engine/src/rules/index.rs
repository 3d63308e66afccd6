//! Finds the rules that can match a name, without trying each of them.

use std::collections::HashMap;

use super::glob::{GlobPart, NameGlob};
use super::name_regex::{Name, NameRegex};
use super::regex_index::RegexIndex;
use super::rule::RuleNumber;

/// The globs of all rules as a trie over their parts, and an index of their regular expressions.
#[derive(Clone, Debug)]
pub(super) struct RuleIndex {
    /// The first is the root.
    nodes: Vec<TrieNode>,
    regexes: RegexIndex,
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
        Self { nodes: vec![TrieNode::default()], regexes: RegexIndex::default() }
    }
}

impl RuleIndex {
    /// Creates an index of the regular expressions.
    ///
    /// # Errors
    /// When they are too large together.
    pub(super) fn of_regexes<'r>(
        regexes: impl Iterator<Item = (RuleNumber, &'r NameRegex)>,
    ) -> Result<Self, String> {
        Ok(Self { regexes: RegexIndex::new(regexes)?, ..Self::default() })
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

    /// Returns the rules whose patterns can match a name, in their order: all that match, and rules with
    /// regular expressions that do not.
    pub(super) fn candidates(&self, name: &Name<'_>) -> Vec<RuleNumber> {
        let mut rules = self.walk(name.text.split('.').map(Step::Literal));
        self.regexes.candidates(name, &mut rules);
        rules.sort_unstable();
        rules.dedup();
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
            assert_eq!(index.candidates(&Name::new(name)), expected, "{name}");
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
