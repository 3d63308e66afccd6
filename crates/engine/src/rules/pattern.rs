//! The patterns of rules: globs and regular expressions.

use std::ops::Range;

use regex::{Regex, RegexBuilder};

use super::glob::NameGlob;
use super::template::Reference;

/// Maximum length of a regular expression, in bytes.
const REGEX_TEXT_BYTES_MAX: usize = 4_096;
/// Maximum size of a compiled regular expression, in bytes.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(super) enum Pattern {
    Glob(NameGlob),
    Regex(Regex),
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
    /// Compiles a regular expression.
    ///
    /// # Errors
    /// When it is invalid or too large.
    pub(super) fn regex(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("must not be empty; `match: \"**\"` matches every name".to_owned());
        }
        if text.len() > REGEX_TEXT_BYTES_MAX {
            return Err(format!("may have at most {REGEX_TEXT_BYTES_MAX} bytes"));
        }
        let compiled = RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).build();
        compiled.map(Self::Regex).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => format!(
                "the regular expression takes more than {} MiB when compiled; make its counted \
                 repetitions and classes smaller",
                REGEX_BYTES_MAX >> 20
            ),
            // The last line is the reason; the lines above it draw the place.
            error => {
                let text = error.to_string();
                let reason = text.lines().last().unwrap_or_default();
                let reason = reason.strip_prefix("error: ").unwrap_or(reason);
                format!("is not a regular expression: {reason}")
            }
        })
    }

    /// The pattern as it is written.
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Glob(glob) => glob.as_str(),
            Self::Regex(regex) => regex.as_str(),
        }
    }

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
                check_number(*number, regex.captures_len() - 1, "`match_regex`", "group")
            }
            (Reference::Name(name), Self::Regex(regex)) => {
                let is_known = regex.capture_names().flatten().any(|known| known == name);
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
    pub(super) fn groups<'n>(&self, name: &'n str) -> Option<Groups<'n>> {
        match self {
            Self::Glob(glob) => {
                let whole = Some(0..name.len());
                let captures = glob.captures(name)?.into_iter().map(Some);
                let ranges = std::iter::once(whole).chain(captures).collect();
                Some(Groups { name, ranges, names: Vec::new() })
            }
            Self::Regex(regex) => {
                let captures = regex.captures(name)?;
                let ranges = captures.iter().map(|group| group.map(|group| group.range()));
                let names = regex.capture_names().enumerate();
                let names = names.filter_map(|(n, name)| name.map(|name| (name.to_owned(), n)));
                Some(Groups { name, ranges: ranges.collect(), names: names.collect() })
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
