//! Globs over the parts of a name.

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, Error};

/// Maximum length of a glob, in bytes.
const GLOB_BYTES_MAX: usize = 1_024;

/// A glob: literal parts between dots, `*` for exactly one part, and `**` for any number of parts, also
/// none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameGlob {
    text: String,
    parts: Box<[GlobPart]>,
}

/// A part of a glob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum GlobPart {
    /// Exactly this part.
    Literal(Box<str>),
    /// Any one part.
    One,
    /// Any number of parts.
    Many,
}

impl NameGlob {
    /// Parses a glob.
    ///
    /// # Errors
    /// When it is empty or too long, has a `*` next to other characters, or two `**` in a row.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a glob must not be empty; `**` matches every name".to_owned());
        }
        if text.len() > GLOB_BYTES_MAX {
            return Err(format!("a glob may have at most {GLOB_BYTES_MAX} bytes"));
        }
        let parts = text.split('.').map(GlobPart::parse).collect::<Result<Box<[_]>, _>>()?;
        if parts.windows(2).any(|pair| pair == [GlobPart::Many, GlobPart::Many]) {
            return Err("`**.**` matches the same names as `**`; write only one".to_owned());
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// The glob as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn parts(&self) -> &[GlobPart] {
        &self.parts
    }

    /// The number of its wildcards, which templates refer to by their position.
    pub(super) fn wildcards(&self) -> usize {
        self.parts.iter().filter(|part| !matches!(part, GlobPart::Literal(_))).count()
    }

    /// Returns the text for each wildcard of a name that matches, as byte ranges in the name. Of several
    /// `**`, each but the last takes as few parts as possible.
    pub(super) fn captures(&self, name: &str) -> Option<Vec<Range<usize>>> {
        let ranges = part_ranges(name);
        let captured = self.captured_parts(name, &ranges)?;
        let bytes = |parts: Range<usize>| match (ranges.get(parts.start), parts.is_empty()) {
            (Some(first), false) => first.start..ranges[parts.end - 1].end,
            _ => 0..0,
        };
        Some(captured.into_iter().map(bytes).collect())
    }

    /// The parts of the name that each wildcard matches.
    fn captured_parts(&self, name: &str, ranges: &[Range<usize>]) -> Option<Vec<Range<usize>>> {
        let mut captured: Vec<Range<usize>> = Vec::new();
        let (mut at, mut part) = (0, 0);
        // The latest `**`: only that one has to take more parts when the rest does not match, because
        // the rest then also matches later for every earlier one.
        let mut many: Option<(usize, usize)> = None;
        while at < ranges.len() || part < self.parts.len() {
            match (self.parts.get(part), ranges.get(at)) {
                (Some(GlobPart::Many), _) => {
                    captured.push(at..at);
                    many = Some((part, captured.len()));
                    part += 1;
                }
                (Some(GlobPart::One), Some(_)) => {
                    captured.push(at..at + 1);
                    (at, part) = (at + 1, part + 1);
                }
                (Some(GlobPart::Literal(text)), Some(range)) if **text == name[range.clone()] => {
                    (at, part) = (at + 1, part + 1);
                }
                _ => {
                    let (many_part, count) = many?;
                    captured.truncate(count);
                    let taken = captured.last_mut().filter(|taken| taken.end < ranges.len())?;
                    taken.end += 1;
                    (at, part) = (taken.end, many_part + 1);
                }
            }
        }
        Some(captured)
    }
}

impl GlobPart {
    fn parse(part: &str) -> Result<Self, String> {
        match part {
            "*" => Ok(Self::One),
            "**" => Ok(Self::Many),
            _ if part.contains('*') => Err(format!(
                "`*` stands for a whole part between dots, and `**` for any number of parts, which \
                 `{part}` is not; use `match_regex` instead"
            )),
            _ => Ok(Self::Literal(part.into())),
        }
    }
}

/// The byte ranges of the parts between dots.
fn part_ranges(name: &str) -> Vec<Range<usize>> {
    let mut start = 0;
    let range = |part: &str| {
        let range = start..start + part.len();
        start = range.end + 1;
        range
    };
    name.split('.').map(range).collect()
}

impl fmt::Display for NameGlob {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for NameGlob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(glob: &str, name: &str) -> Option<Vec<String>> {
        let captures = NameGlob::parse(glob).unwrap().captures(name)?;
        Some(captures.into_iter().map(|range| name[range].to_owned()).collect())
    }

    #[test]
    fn a_star_is_exactly_one_part() {
        assert_eq!(captured("web.*.requests.*", "web.a.requests.200").unwrap(), ["a", "200"]);
        assert_eq!(captured("*", "a").unwrap(), ["a"]);
        assert_eq!(captured("a.*", "a.").unwrap(), [""], "an empty part is a part");
        for (glob, name) in [
            ("a.*", "a"),
            ("a.*", "a.b.c"),
            ("*", "a.b"),
            ("a.*.c", "a.c"),
            ("a.b", "a.bc"),
            ("a.b", "A.b"),
        ] {
            assert_eq!(captured(glob, name), None, "{glob} {name}");
        }
    }

    #[test]
    fn two_stars_are_any_number_of_parts() {
        for (glob, name, expected) in [
            ("debug.**", "debug", vec![""]),
            ("debug.**", "debug.a.b", vec!["a.b"]),
            ("**", "a.b.c", vec!["a.b.c"]),
            ("**.time", "time", vec![""]),
            ("**.time", "a.time.b.time", vec!["a.time.b"]),
            ("a.**.z", "a.z", vec![""]),
            ("a.**.z.*", "a.z.z.z.b", vec!["z.z", "b"]),
            ("**.x.**.y", "a.x.b.x.y.y", vec!["a", "b.x.y"]),
            ("*.**.*", "a.b", vec!["a", "", "b"]),
        ] {
            assert_eq!(captured(glob, name).unwrap(), expected, "{glob} {name}");
        }
        for (glob, name) in [("debug.**", "debugs.a"), ("a.**.z", "a.b"), ("*.**.*", "a")] {
            assert_eq!(captured(glob, name), None, "{glob} {name}");
        }
    }

    #[test]
    fn a_glob_that_means_something_else_is_refused() {
        for (glob, words) in [
            ("", "empty"),
            ("web*.a", "`match_regex`"),
            ("a.***", "`match_regex`"),
            ("a.**.**", "only one"),
        ] {
            let error = NameGlob::parse(glob).unwrap_err();
            assert!(error.contains(words), "{glob}: {error}");
        }
        assert!(NameGlob::parse(&"a".repeat(1_024)).is_ok());
        assert!(NameGlob::parse(&"a".repeat(1_025)).unwrap_err().contains("1024 bytes"));
    }

    #[test]
    fn a_glob_is_shown_as_it_is_written() {
        let glob = NameGlob::parse("a.*.**.b").unwrap();
        assert_eq!((glob.as_str(), glob.to_string().as_str()), ("a.*.**.b", "a.*.**.b"));
    }
}
