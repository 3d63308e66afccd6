//! The `rules` section: rules that turn names into names and tags, and drop or scale values.
//!
//! ```text
//! section → rule     the keys of a rule, checked
//! glob, name_regex, pattern, template     the names that a rule matches, and the names that it makes
//! index              the rules that can match a name
//! regex_index, literals     those with regular expressions, by the literals that these require
//! change             the result for a name
//! ```
//!
//! Rules are pure: they know neither tables nor listeners. A listener applies them when it meets a series
//! for the first time, and remembers the result.

use std::borrow::Cow;

use model::MetricKind;

pub use self::change::{AppliedRule, Change, RuleOutcome, RuleVerdict};
use self::index::RuleIndex;
use self::name_regex::Name;
use self::pattern::Pattern;
use self::rule::Rule;
pub use self::rule::RuleNumber;
pub use self::section::RuleSection;
use crate::protocol::dispatch::Protocol;
use crate::protocol::{RejectReason, Rejection};
use yaml::{ConfigError, ConfigErrors, Source, Spanned};

mod change;
pub mod glob;
mod index;
mod literals;
mod name_regex;
mod pattern;

mod regex_index;
mod rule;
pub mod section;
pub mod template;

/// Maximum number of errors that are found in one check. Each draws its line, for which the whole file is
/// read.
const ERRORS_MAX: usize = 20;

/// All rules, compiled.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    rules: Vec<Rule>,
    index: RuleIndex,
}

/// A rule that never applies, because an earlier one applies to all of its series and is their last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnreachableRule {
    /// Its number.
    pub rule: RuleNumber,
    /// The line of the earlier rule.
    pub earlier_line: usize,
}

impl Rules {
    /// Compiles the entries of `rules`.
    ///
    /// # Errors
    /// At each key that is missing, or does not fit another one, up to twenty.
    pub fn compile(
        sections: &[Spanned<RuleSection>],
        source: &Source,
    ) -> Result<Self, ConfigErrors> {
        let (mut rules, mut errors) = (Vec::with_capacity(sections.len()), Vec::new());
        for (index, section) in sections.iter().enumerate() {
            match Rule::compile(section, index, source) {
                Ok(rule) => rules.push(rule),
                Err(error) => errors.push(error),
            }
            if errors.len() == ERRORS_MAX {
                break;
            }
        }
        ConfigErrors::check(errors)?;
        let index =
            Self::index(&rules).map_err(|message| Self::at_first(sections, source, &message))?;
        Ok(Self { rules, index })
    }

    fn index(rules: &[Rule]) -> Result<RuleIndex, String> {
        let numbered = || (0..).zip(rules);
        let regexes = numbered().filter_map(|(number, rule)| match &rule.pattern {
            Pattern::Regex(regex) => Some((number, regex)),
            Pattern::Glob(_) => None,
        });
        let mut index = RuleIndex::of_regexes(regexes)?;
        for (number, rule) in numbered() {
            if let Pattern::Glob(glob) = &rule.pattern {
                index.add_glob(number, glob);
            }
        }
        Ok(index)
    }

    fn at_first(sections: &[Spanned<RuleSection>], source: &Source, message: &str) -> ConfigErrors {
        let first = sections.iter().find_map(|section| section.regex.as_ref());
        let span = first.map_or(yaml::SourceSpan::START, Spanned::span);
        let error: ConfigError = source.error_at(span, format!("`rules`: {message}"));
        error.into()
    }

    /// Whether there are no rules.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The number of rules.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Applies the rules to a name that clients of a protocol send as this type.
    #[must_use]
    pub fn apply(&self, protocol: Protocol, kind: MetricKind, name: &str) -> RuleOutcome<'_> {
        let mut change = Change::NONE;
        let mut applied = Vec::new();
        let mut name = Cow::Borrowed(name);
        let mut from = 0;
        // Each round is for the name that a rule of the previous one has made.
        loop {
            let current = Name::new(&name);
            let mut is_renamed = false;
            for number in self.candidates(&current, from) {
                let rule = self.rule(number);
                if !rule.is_for(protocol, kind) {
                    continue;
                }
                let Some(groups) = rule.pattern.groups(&current) else { continue };
                applied.push(AppliedRule { rule: number, line: rule.line });
                if let Err(expected) = rule.apply(&groups, kind, &mut change) {
                    let reject = Rejection { reason: RejectReason::Rule, offset: 0, expected };
                    return RuleOutcome { applied, verdict: RuleVerdict::Reject(reject) };
                }
                is_renamed = rule.continues && rule.name.is_some();
                if is_renamed || !rule.continues {
                    from = number + 1;
                    break;
                }
            }
            match change.name.clone() {
                Some(renamed) if is_renamed => name = Cow::Owned(renamed),
                _ => return RuleOutcome { applied, verdict: RuleVerdict::Change(change) },
            }
        }
    }

    /// Finds rules that never apply. Not every such rule is found, but every rule that is found never
    /// applies.
    #[must_use]
    pub fn unreachable(&self) -> Vec<UnreachableRule> {
        let covers_all = self.index.covers_all();
        let mut unreachable = Vec::new();
        // A rule that renames and continues can lead to a name that an earlier rule has not met.
        let mut after = 0;
        for (number, rule) in (0..).zip(&self.rules) {
            let earlier = match &rule.pattern {
                Pattern::Glob(glob) => &self.index.covers(glob),
                Pattern::Regex(_) => &covers_all,
            };
            let covering =
                earlier.iter().take_while(|earlier| **earlier < number).find(|earlier| {
                    let earlier_rule = &self.rules[**earlier as usize];
                    **earlier >= after
                        && !earlier_rule.continues
                        && earlier_rule.is_for_all_of(rule)
                });
            if let Some(earlier) = covering {
                let earlier_line = self.rules[*earlier as usize].line;
                unreachable.push(UnreachableRule { rule: number, earlier_line });
            }
            if rule.continues && rule.name.is_some() {
                after = number + 1;
            }
        }
        unreachable
    }

    fn candidates(&self, name: &Name<'_>, from: RuleNumber) -> Vec<RuleNumber> {
        let mut rules = self.index.candidates(name);
        rules.retain(|number| *number >= from);
        rules
    }

    fn rule(&self, number: RuleNumber) -> &Rule {
        &self.rules[number as usize]
    }
}

/// Rules are the same if they have the same effect and the same lines, which `explain` and `tap` name.
impl PartialEq for Rules {
    fn eq(&self, other: &Self) -> bool {
        self.rules == other.rules
    }
}

#[cfg(test)]
mod tests;
