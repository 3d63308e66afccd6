//! A regular expression over names.
//!
//! A class such as `\w` or `[^.]` has hundreds of kilobytes when it is compiled for all characters, but names
//! are ASCII almost always. So an expression is compiled for names of which each character that is not ASCII
//! has become one [byte](OTHER). For a name of ASCII the result is exact. For another one it is only
//! necessary, and the expression for all characters decides; it is compiled then.

use std::borrow::Cow;
use std::ops::Range;

use parking_lot::Mutex;
use regex::{Regex, RegexBuilder};
use regex_automata::PatternID;
use regex_automata::meta;
use regex_syntax::hir::{Class, ClassBytes, ClassBytesRange, Hir, HirKind, Look, Repetition};

/// Maximum length of a regular expression, in bytes.
const REGEX_TEXT_BYTES_MAX: usize = 4_096;
/// Maximum size of a compiled regular expression, in bytes.
const REGEX_BYTES_MAX: usize = 1 << 20;
/// Maximum size of the automaton that makes a search of an expression fast, in bytes.
const ONE_PASS_BYTES_MAX: usize = 64 << 10;
/// Number of expressions for all characters that are kept after their use.
const REGEXES_KEPT: usize = 64;
/// A byte for each character that is not ASCII.
const OTHER: u8 = 0xff;

/// A name, and its bytes for expressions.
#[derive(Clone, Debug)]
pub(super) struct Name<'n> {
    pub(super) text: &'n str,
    /// With one [`OTHER`] for each character that is not ASCII.
    bytes: Cow<'n, [u8]>,
}

/// A compiled regular expression.
#[derive(Clone, Debug)]
pub(super) struct NameRegex {
    text: Box<str>,
    /// Exact for a name of ASCII.
    ascii: meta::Regex,
    /// Matches each name that the expression matches. `None` for the same as `ascii`.
    superset: Option<meta::Regex>,
}

/// The last expressions for all characters that were used. It belongs to no configuration: an entry is a
/// function of its text.
static KEPT: Mutex<Vec<Regex>> = Mutex::new(Vec::new());

impl<'n> Name<'n> {
    pub(super) fn new(text: &'n str) -> Self {
        Self { text, bytes: narrow(text.as_bytes()) }
    }

    fn is_ascii(&self) -> bool {
        matches!(self.bytes, Cow::Borrowed(_))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl NameRegex {
    /// Compiles a regular expression.
    ///
    /// # Errors
    /// When it is invalid or too large.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("must not be empty; `match: \"**\"` matches every name".to_owned());
        }
        if text.len() > REGEX_TEXT_BYTES_MAX {
            return Err(format!("may have at most {REGEX_TEXT_BYTES_MAX} bytes"));
        }
        let expression = regex_syntax::parse(text).map_err(|error| {
            // The last line is the reason; the lines above it draw the place.
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default();
            let reason = reason.strip_prefix("error: ").unwrap_or(reason);
            format!("is not a regular expression: {reason}")
        })?;
        let too_large = || {
            format!(
                "the regular expression takes more than {} MiB when compiled; make its counted \
                 repetitions and classes smaller",
                REGEX_BYTES_MAX >> 20
            )
        };
        // To compile each for all characters would take minutes for ten thousand.
        if bytes_at_most(&expression) > REGEX_BYTES_MAX && for_all_characters(text).is_none() {
            return Err(too_large());
        }
        let compile = |looks| compile(&narrowed(&expression, looks)).ok_or_else(too_large);
        let has_words = expression.properties().look_set().contains_word_unicode();
        let superset = has_words.then(|| compile(WordLooks::Anywhere)).transpose()?;
        Ok(Self { text: text.into(), ascii: compile(WordLooks::Ascii)?, superset })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// The parsed expression.
    pub(super) fn parsed(&self) -> Hir {
        // It was valid. The result is large and needed only to build an index, so it is not kept.
        regex_syntax::parse(&self.text).unwrap_or_else(|_| Hir::empty())
    }

    /// Its size in memory when compiled, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        let superset = self.superset.as_ref().map_or(0, meta::Regex::memory_usage);
        self.ascii.memory_usage() + superset
    }

    /// The names of its groups; the first group is the whole match.
    pub(super) fn group_names(&self) -> impl ExactSizeIterator<Item = Option<&str>> {
        self.ascii.group_info().pattern_names(PatternID::ZERO)
    }

    /// The groups in a name that matches; `None` for a group that took no part.
    pub(super) fn captures(&self, name: &Name<'_>) -> Option<Vec<Option<Range<usize>>>> {
        if !name.is_ascii() {
            let superset = self.superset.as_ref().unwrap_or(&self.ascii);
            return if superset.is_match(name.bytes()) {
                self.captures_of_any(name.text)
            } else {
                None
            };
        }
        let mut captures = self.ascii.create_captures();
        self.ascii.captures(name.bytes(), &mut captures);
        let groups = captures.iter().map(|group| group.map(|span| span.range()));
        captures.is_match().then(|| groups.collect())
    }

    fn captures_of_any(&self, name: &str) -> Option<Vec<Option<Range<usize>>>> {
        let kept = KEPT.lock().iter().find(|kept| kept.as_str() == &*self.text).cloned();
        let regex = kept.or_else(|| {
            let regex = for_all_characters(&self.text)?;
            let mut kept = KEPT.lock();
            if kept.len() == REGEXES_KEPT {
                kept.remove(0);
            }
            kept.push(regex.clone());
            Some(regex)
        })?;
        let captures = regex.captures(name)?;
        Some(captures.iter().map(|group| group.map(|group| group.range())).collect())
    }
}

/// Compiles an expression for all characters. `None` if it is too large.
fn for_all_characters(text: &str) -> Option<Regex> {
    RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).build().ok()
}

/// Compiles an expression over the bytes of names. `None` if it is too large.
fn compile(expression: &Hir) -> Option<meta::Regex> {
    let config = meta::Config::new()
        .utf8_empty(false)
        .nfa_size_limit(Some(REGEX_BYTES_MAX))
        .onepass_size_limit(Some(ONE_PASS_BYTES_MAX))
        // These are fast for long texts, and take most of the memory.
        .auto_prefilter(false)
        .hybrid(false)
        .dfa(false);
    meta::Builder::new().configure(config).build_from_hir(expression).ok()
}

/// Replaces each character that is not ASCII.
fn narrow(text: &[u8]) -> Cow<'_, [u8]> {
    if text.is_ascii() {
        return text.into();
    }
    let first = text.iter().filter(|byte| !matches!(byte, 0x80..0xc0));
    first.map(|byte| if byte.is_ascii() { *byte } else { OTHER }).collect()
}

/// The meaning of a word boundary such as `\b` for names that are not ASCII.
#[derive(Clone, Copy)]
pub(super) enum WordLooks {
    /// It is that of ASCII: the expression does not match some of these names.
    Ascii,
    /// It is everywhere.
    Anywhere,
}

/// The expression over the bytes of names.
pub(super) fn narrowed(expression: &Hir, looks: WordLooks) -> Hir {
    let of = |sub: &Hir| narrowed(sub, looks);
    match expression.kind() {
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) => Hir::literal(narrow(&literal.0)),
        HirKind::Class(class) => Hir::class(Class::Bytes(narrowed_class(class))),
        HirKind::Look(look) => narrowed_look(*look, looks),
        HirKind::Repetition(repetition) => {
            let sub = Box::new(of(&repetition.sub));
            Hir::repetition(Repetition { sub, ..repetition.clone() })
        }
        HirKind::Capture(capture) => {
            let mut capture = capture.clone();
            capture.sub = Box::new(of(&capture.sub));
            Hir::capture(capture)
        }
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(of).collect()),
        HirKind::Alternation(branches) => Hir::alternation(branches.iter().map(of).collect()),
    }
}

fn narrowed_class(class: &Class) -> ClassBytes {
    let class = match class {
        Class::Unicode(class) => class,
        Class::Bytes(class) => return class.clone(),
    };
    let ascii = class.iter().filter(|range| range.start().is_ascii());
    let last = |end: char| if end.is_ascii() { end as u8 } else { 0x7f };
    let ascii = ascii.map(|range| ClassBytesRange::new(range.start() as u8, last(range.end())));
    let has_others = !class.is_ascii();
    ClassBytes::new(ascii.chain(has_others.then(|| ClassBytesRange::new(OTHER, OTHER))))
}

fn narrowed_look(look: Look, looks: WordLooks) -> Hir {
    let ascii = match look {
        Look::WordUnicode => Look::WordAscii,
        Look::WordUnicodeNegate => Look::WordAsciiNegate,
        Look::WordStartUnicode => Look::WordStartAscii,
        Look::WordEndUnicode => Look::WordEndAscii,
        Look::WordStartHalfUnicode => Look::WordStartHalfAscii,
        Look::WordEndHalfUnicode => Look::WordEndHalfAscii,
        other => return Hir::look(other),
    };
    match looks {
        WordLooks::Ascii => Hir::look(ascii),
        WordLooks::Anywhere => Hir::empty(),
    }
}

/// An upper bound of the size of an expression when compiled for all characters, in bytes.
fn bytes_at_most(expression: &Hir) -> usize {
    /// Of a state with its transitions, or a byte of a literal.
    const STATE: usize = 64;
    /// Of a range of a class, whose sequences of bytes share states with other ranges.
    const RANGE: usize = 96;
    /// Of a class with one range, which can take several sequences of up to four bytes.
    const CLASS: usize = 2_048;
    let sum = |subs: &[Hir]| subs.iter().map(bytes_at_most).fold(STATE, usize::saturating_add);
    match expression.kind() {
        HirKind::Empty | HirKind::Look(_) => STATE,
        HirKind::Literal(literal) => literal.0.len() * STATE,
        HirKind::Class(Class::Unicode(class)) => CLASS + class.ranges().len() * RANGE,
        HirKind::Class(Class::Bytes(class)) => class.ranges().len() * STATE,
        HirKind::Repetition(repetition) => {
            let count = repetition.max.unwrap_or(repetition.min).max(1) as usize + 1;
            bytes_at_most(&repetition.sub).saturating_add(2 * STATE).saturating_mul(count)
        }
        HirKind::Capture(capture) => bytes_at_most(&capture.sub).saturating_add(2 * STATE),
        HirKind::Concat(subs) | HirKind::Alternation(subs) => sum(subs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_matches_as_one_for_all_characters_does() {
        let expressions = [
            "^(\\w+)\\.x$",
            "(.)$",
            "[^a]b",
            "\\bé",
            "b\\b",
            "\\Bé",
            "(?i)stra\u{df}e",
            "(?i)k",
            "é|x",
            "[à-ï]+",
            "^$",
            "x*",
            "(?m)^b",
            "(?s)a.b",
            "\\d",
            "(?P<n>a)?b",
            "\u{65e5}.",
            "[[:alpha:]]+\\b{end}",
        ];
        let names = [
            "",
            "a.x",
            "éa.x",
            "aé",
            "é",
            "éb",
            "b",
            "ab",
            "bé",
            " é",
            "STRA\u{1e9e}E",
            "strasse",
            "\u{212a}",
            "k",
            "a\nb",
            "x",
            "x\u{301}",
            "\u{663}",
            "3",
            "\u{65e5}\u{672c}",
            "\u{ff}",
            "\u{1f600}",
        ];
        for expression in expressions {
            let regex = NameRegex::new(expression).unwrap();
            let reference = Regex::new(expression).unwrap();
            for name in names {
                let expected = reference.captures(name).map(|captures| {
                    captures.iter().map(|group| group.map(|group| group.range())).collect()
                });
                assert_eq!(
                    regex.captures(&Name::new(name)),
                    expected,
                    "{expression} with {name:?}"
                );
            }
        }
    }

    #[test]
    fn an_expression_that_is_not_compiled_for_all_characters_is_not_too_large_for_that() {
        for part in [
            "\\w",
            "\\d",
            "[^.]",
            "(?i)k",
            "(a|b)",
            "é",
            "[a-é]",
            "(?:a?b)*",
            ".",
            "[à-ïα-ωа-я日-本]",
            "(\\s)",
            "(?:ab|cd|é)",
            "a",
        ] {
            // The largest number of repetitions with which it is not compiled.
            let repeated = |count: usize| format!("(?:{part}){{{count}}}");
            let is_compiled = |count| {
                bytes_at_most(&regex_syntax::parse(&repeated(count)).unwrap()) > REGEX_BYTES_MAX
            };
            let (mut fitting, mut too_many) = (1, 100_000);
            while too_many - fitting > 1 {
                let middle = usize::midpoint(fitting, too_many);
                *(if is_compiled(middle) { &mut too_many } else { &mut fitting }) = middle;
            }
            assert!(fitting > 1 && is_compiled(too_many), "{part}");
            assert!(for_all_characters(&repeated(fitting)).is_some(), "{part} {fitting} times");
        }
    }

    #[test]
    fn an_expression_that_is_too_large_for_all_characters_is_an_error() {
        assert!(NameRegex::new("[a-z]{100}\\w{10}").is_ok());
        let error = NameRegex::new("\\w{100}").unwrap_err();
        assert!(error.contains("takes more than 1 MiB"), "{error}");
    }

    #[test]
    fn a_kept_expression_gives_way_to_newer_ones() {
        for number in 0..=REGEXES_KEPT {
            let regex = NameRegex::new(&format!("{number}é(.)")).unwrap();
            let name = format!("{number}éb");
            let group = name.len() - 1..name.len();
            for _ in 0..2 {
                let captures = regex.captures(&Name::new(&name)).unwrap();
                assert_eq!(captures[1], Some(group.clone()));
            }
        }
        assert!(KEPT.lock().len() <= REGEXES_KEPT);
    }
}
