//! Finds the regular expressions that a name can match, without trying each of them.

use std::cmp::Reverse;
use std::collections::HashMap;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use regex_automata::nfa::thompson::WhichCaptures;
use regex_automata::{Input, MatchKind, PatternSet, meta};

use super::literals::{Literals, required, shortest};
use super::name_regex::{Name, NameRegex, WordLooks, narrowed};
use super::rule::RuleNumber;

/// Maximum size of all regular expressions together when compiled, in bytes.
const REGEXES_BYTES_MAX: usize = 256 << 20;
/// Maximum number of expressions that share a literal. A name with the literal makes each of them a candidate.
const SHARED_MAX: usize = 64;
/// Number of expressions in an automaton. A larger one has too many states to keep the states that names need.
const SET_RULES: usize = 128;
/// Memory for the states of an automaton that a thread has met, in bytes. With too little, a search falls
/// back to a slower method.
const SET_STATES_BYTES: usize = 256 << 10;

/// Regular expressions by the literals that they require, and automata of those without.
#[derive(Clone, Debug, Default)]
pub(super) struct RegexIndex {
    /// `None` without literals.
    literals: Option<AhoCorasick>,
    /// The rules of each of `literals`.
    literal_rules: Vec<Vec<RuleNumber>>,
    sets: Vec<RegexSet>,
}

/// Expressions in one automaton.
#[derive(Clone, Debug)]
struct RegexSet {
    automaton: meta::Regex,
    /// The rule of each expression.
    rules: Vec<RuleNumber>,
}

/// An expression that is put into an index.
struct Entry<'r> {
    rule: RuleNumber,
    regex: &'r NameRegex,
    required: Vec<Literals>,
}

impl RegexIndex {
    /// Creates an index.
    ///
    /// # Errors
    /// When the expressions are too large together.
    pub(super) fn new<'r>(
        regexes: impl Iterator<Item = (RuleNumber, &'r NameRegex)>,
    ) -> Result<Self, String> {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for (rule, regex) in regexes {
            bytes += regex.memory_bytes();
            if bytes > REGEXES_BYTES_MAX {
                return Err(too_large());
            }
            let required = required(&regex.parsed());
            entries.push(Entry { rule, regex, required });
        }
        let (by_literal, others) = by_rarest_literal(entries);
        let (literals, literal_rules): (Vec<_>, Vec<_>) = by_literal.into_iter().unzip();
        let sets = others.chunks(SET_RULES).map(RegexSet::new).collect::<Option<Vec<_>>>();
        let sets = sets.ok_or_else(too_large)?;
        let automaton = || {
            AhoCorasick::builder()
                .ascii_case_insensitive(true)
                .kind(Some(AhoCorasickKind::ContiguousNFA))
                .build(&literals)
        };
        let literals = (!literals.is_empty()).then(automaton).transpose();
        let literals = literals.map_err(|_| too_large())?;
        let index = Self { literals, literal_rules, sets };
        if bytes + index.memory_bytes() > REGEXES_BYTES_MAX {
            return Err(too_large());
        }
        Ok(index)
    }

    fn memory_bytes(&self) -> usize {
        let literals = self.literals.as_ref().map_or(0, AhoCorasick::memory_usage);
        self.sets.iter().map(|set| set.automaton.memory_usage()).sum::<usize>() + literals
    }

    /// Adds the rules whose expressions the name can match: each that it matches, and others. A rule can be
    /// added repeatedly.
    ///
    /// Each place of the name ends at most as many literals as their maximum length has bytes.
    pub(super) fn candidates(&self, name: &Name<'_>, rules: &mut Vec<RuleNumber>) {
        if let Some(literals) = &self.literals {
            for found in literals.find_overlapping_iter(name.text) {
                rules.extend(&self.literal_rules[found.pattern().as_usize()]);
            }
        }
        for set in &self.sets {
            let mut matches = PatternSet::new(set.rules.len());
            set.automaton.which_overlapping_matches(&Input::new(name.bytes()), &mut matches);
            rules.extend(matches.iter().map(|index| set.rules[index.as_usize()]));
        }
    }
}

impl RegexSet {
    /// Compiles expressions; `None` if they are too large.
    fn new(entries: &[Entry<'_>]) -> Option<Self> {
        let config = meta::Config::new()
            .match_kind(MatchKind::All)
            .utf8_empty(false)
            .which_captures(WhichCaptures::None)
            .nfa_size_limit(Some(REGEXES_BYTES_MAX))
            .hybrid_cache_capacity(SET_STATES_BYTES);
        let expression = |entry: &Entry<'_>| narrowed(&entry.regex.parsed(), WordLooks::Anywhere);
        let expressions: Vec<_> = entries.iter().map(expression).collect();
        let automaton = meta::Builder::new().configure(config).build_many_from_hir(&expressions);
        let rules = entries.iter().map(|entry| entry.rule).collect();
        Some(Self { automaton: automaton.ok()?, rules })
    }
}

/// Assigns each expression to the literals that it shares with the fewest others. The second result are those
/// without literals, or with literals that many share.
fn by_rarest_literal(
    entries: Vec<Entry<'_>>,
) -> (HashMap<Vec<u8>, Vec<RuleNumber>>, Vec<Entry<'_>>) {
    let mut counts = HashMap::<Vec<u8>, usize>::new();
    for literal in entries.iter().flat_map(|entry| entry.required.iter().flatten()) {
        *counts.entry(literal.clone()).or_default() += 1;
    }
    let most = |set: &Literals| set.iter().map(|literal| counts[literal]).max().unwrap_or(0);
    let (mut by_literal, mut others) = (HashMap::<_, Vec<_>>::new(), Vec::new());
    for entry in entries {
        let rarest = entry.required.iter().min_by_key(|set| (most(set), Reverse(shortest(set))));
        let Some(rarest) = rarest.filter(|set| most(set) <= SHARED_MAX) else {
            others.push(entry);
            continue;
        };
        for literal in rarest {
            by_literal.entry(literal.clone()).or_default().push(entry.rule);
        }
    }
    (by_literal, others)
}

fn too_large() -> String {
    format!(
        "all `match_regex` together take more than {} MiB when compiled; use `match` where it is enough",
        REGEXES_BYTES_MAX >> 20
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(texts: &[String]) -> RegexIndex {
        let regexes: Vec<_> = texts.iter().map(|text| NameRegex::new(text).unwrap()).collect();
        RegexIndex::new((0..).zip(&regexes)).unwrap()
    }

    fn candidates(index: &RegexIndex, name: &str) -> Vec<RuleNumber> {
        let mut rules = Vec::new();
        index.candidates(&Name::new(name), &mut rules);
        rules
    }

    #[test]
    fn an_expression_is_a_candidate_for_names_with_its_rarest_literal() {
        let texts = (0..1_000).map(|app| format!("^prod\\.([^.]*)\\.app{app}\\.(.*)$"));
        let index = index(&texts.collect::<Vec<_>>());
        assert_eq!(candidates(&index, "prod.host.app123.x"), [123]);
        assert_eq!(candidates(&index, "other.APP7."), [7], "tried in vain");
        assert!(candidates(&index, "prod.host.app.x").is_empty());
        assert!(index.sets.is_empty());
    }

    #[test]
    fn expressions_that_share_their_literals_or_have_none_are_in_automata() {
        let shared = (0..100).map(|n| format!("^web\\.[{n}a]+$"));
        let none = (0..200).map(|n| format!("^[a-z]+[{n}]$"));
        let index = index(&shared.chain(none).collect::<Vec<_>>());
        let sizes: Vec<_> = index.sets.iter().map(|set| set.rules.len()).collect();
        assert_eq!(sizes, [128, 128, 44]);
        assert!(index.literals.is_none());
        assert_eq!(candidates(&index, "web.9aa").len(), 19, "each with a 9");
        assert_eq!(candidates(&index, "x8").first(), Some(&108));
    }

    #[test]
    fn all_expressions_together_have_a_limit() {
        let regex = NameRegex::new("(?:[a-c]?[b-d]?){500}[a-z]").unwrap();
        let many = REGEXES_BYTES_MAX / regex.memory_bytes() + 1;
        let error = RegexIndex::new((0..).zip(std::iter::repeat_n(&regex, many))).unwrap_err();
        assert!(error.contains("more than 256 MiB"), "{error}");
    }
}
