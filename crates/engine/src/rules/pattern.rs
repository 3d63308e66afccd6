//! The patterns of rules: globs and regular expressions.

use std::ops::Range;

use super::glob::NameGlob;
use super::name_regex::{Name, NameRegex};
use super::template::Reference;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(super) enum Pattern {
    Glob(NameGlob),
    Regex(NameRegex),
}

/// The texts for the groups of a pattern in a name that matches.
pub(super) struct Groups<'n> {
    name: &'n str,
    /// By number; 0 is the whole match. `None` for a group that took no part.
    ranges: Vec<Option<Range<usize>>>,
    /// The number of each group that has a name.
    names: Vec<(String, usize)>,
}

impl Pattern {
    /// Checks that a reference of a template leads to a group.
    ///
    /// # Errors
    /// When the pattern has no such group.
    pub(super) fn check(&self, reference: &Reference) -> Result<(), String> {
        match (reference, self) {
            (Reference::Number(number), Self::Glob(glob)) => {
                check_number(*number, glob.wildcards(), "`match`", "wildcard")
            }
            (Reference::Number(number), Self::Regex(regex)) => {
                check_number(*number, regex.group_names().len() - 1, "`match_regex`", "group")
            }
            (Reference::Name(name), Self::Regex(regex)) => {
                let is_known = regex.group_names().flatten().any(|known| known == name);
                let error = || {
                    let name = shortened(name);
                    format!("`${{{name}}}`: `match_regex` has no group `(?P<{name}>…)`")
                };
                is_known.then_some(()).ok_or_else(error)
            }
            (Reference::Name(name), Self::Glob(_)) => Err(format!(
                "`${{{}}}`: the wildcards of `match` have numbers: `$1` is the first. The environment \
                 is not available in `rules`",
                shortened(name)
            )),
        }
    }

    /// The groups in a name that matches.
    pub(super) fn groups<'n>(&self, name: &Name<'n>) -> Option<Groups<'n>> {
        let text = name.text;
        match self {
            Self::Glob(glob) => {
                let whole = Some(0..text.len());
                let captures = glob.captures(text)?.into_iter().map(Some);
                let ranges = std::iter::once(whole).chain(captures).collect();
                Some(Groups { name: text, ranges, names: Vec::new() })
            }
            Self::Regex(regex) => {
                let ranges = regex.captures(name)?;
                let names = regex.group_names().enumerate();
                let names = names.filter_map(|(n, name)| name.map(|name| (name.to_owned(), n)));
                Some(Groups { name: text, ranges, names: names.collect() })
            }
        }
    }
}

/// Checks that a pattern has a group with this number.
fn check_number(number: usize, count: usize, key: &str, what: &str) -> Result<(), String> {
    let has = match count {
        _ if number <= count => return Ok(()),
        0 => format!("no {what}"),
        1 => format!("one {what}"),
        _ => format!("{count} {what}s"),
    };
    Err(format!("`${number}`: {key} has {has}"))
}

/// The start of a name, for a message.
fn shortened(name: &str) -> &str {
    name.get(..60).unwrap_or(name)
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Glob(glob), Self::Glob(other)) => glob == other,
            (Self::Regex(regex), Self::Regex(other)) => regex.as_str() == other.as_str(),
            (Self::Glob(_), Self::Regex(_)) | (Self::Regex(_), Self::Glob(_)) => false,
        }
    }
}

impl<'n> Groups<'n> {
    /// The text for a reference; empty for a group that took no part in the match.
    pub(super) fn text(&self, reference: &Reference) -> &'n str {
        let number = match reference {
            Reference::Number(number) => Some(*number),
            Reference::Name(name) => {
                let named = self.names.iter().find(|(known, _)| known == name);
                named.map(|(_, number)| *number)
            }
        };
        let range = number.and_then(|number| self.ranges.get(number)?.clone());
        range.map_or("", |range| &self.name[range])
    }
}
