//! The result of rules for a name.

use std::borrow::Cow;
use std::time::Duration;

use model::MetricKind;

use super::pattern::Groups;
use super::rule::{Rule, RuleNumber, is_scalable};
use super::template::Template;
use crate::protocol::{Rejection, Tags};

/// Maximum length of a name or a tag value that a template makes, in bytes: that of the longest datagram.
const RESULT_BYTES_MAX: usize = 65_535;

/// The rules that applied to a name, and their result.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleOutcome<'r> {
    /// The rules, in their order.
    pub applied: Vec<AppliedRule>,
    /// The result.
    pub verdict: RuleVerdict<'r>,
}

/// A rule that applied to a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedRule {
    /// Its number.
    pub rule: RuleNumber,
    /// Its line in the configuration file.
    pub line: usize,
}

/// The result of all rules for a series.
#[derive(Clone, Debug, PartialEq)]
pub enum RuleVerdict<'r> {
    /// Its samples are recorded, into a series with these changes.
    Change(Change<'r>),
    /// Its samples are rejected.
    Reject(Rejection),
}

/// The changes to a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Change<'r> {
    /// The new name; `None` for the same.
    pub name: Option<String>,
    /// The tags to set, sorted by key; an empty value removes a tag.
    pub tags: Vec<(&'r str, String)>,
    /// The factor for its values, 1 for the same values. Finite.
    pub scale: f64,
    /// Time without samples after which it expires, instead of the general one.
    pub expire_after: Option<Duration>,
}

impl Change<'_> {
    pub(super) const NONE: Self =
        Self { name: None, tags: Vec::new(), scale: 1.0, expire_after: None };

    /// Sets and removes tags in a sorted list, which stays sorted.
    pub fn set_tags<'a>(&'a self, tags: &mut Tags<'a>) {
        for (key, value) in &self.tags {
            let found = tags.binary_search_by(|(other, _)| (**other).cmp(key));
            match (found, value.is_empty()) {
                (Ok(index), true) => drop(tags.remove(index)),
                (Ok(index), false) => tags[index].1 = value.as_str().into(),
                (Err(_), true) => {}
                (Err(index), false) => {
                    tags.insert(index, (Cow::Borrowed(*key), value.as_str().into()));
                }
            }
        }
    }
}

impl Rule {
    /// Applies the rule to the result of the previous ones, `change`, with the groups of its pattern.
    ///
    /// # Errors
    /// When it drops the sample, or a result is no name. The error is the expected input.
    pub(super) fn apply<'r>(
        &'r self,
        groups: &Groups<'_>,
        kind: MetricKind,
        change: &mut Change<'r>,
    ) -> Result<(), &'static str> {
        const LONG: &str = "a name for which the templates of `rules` make at most 65,535 bytes";
        if self.drops {
            return Err("a name that no rule with `drop: true` matches");
        }
        let expand = |template: &Template| {
            template.expand(|reference| groups.text(reference), RESULT_BYTES_MAX).ok_or(LONG)
        };
        for (key, template) in &self.tags {
            let value = expand(template)?;
            match change.tags.binary_search_by(|(other, _)| (*other).cmp(key)) {
                Ok(index) => change.tags[index].1 = value,
                Err(index) => change.tags.insert(index, (key, value)),
            }
        }
        if let Some(template) = &self.name {
            let renamed = expand(template)?;
            if renamed.is_empty() {
                return Err("a name for which the `name` of a rule is not empty");
            }
            change.name = Some(renamed);
        }
        if is_scalable(kind) {
            // Finite, so that no value becomes NaN.
            change.scale = (change.scale * self.scale).clamp(f64::MIN, f64::MAX);
        }
        change.expire_after = self.expire_after.or(change.expire_after);
        Ok(())
    }
}
