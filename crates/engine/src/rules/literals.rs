//! The literals of a regular expression, of which each name that matches contains one.
//!
//! `^prod\.([^.]*)\.(?:get|put)\.` requires `prod.`, and also one of `.get.` and `.put.`. The index looks for
//! such literals, so that it tries an expression only with names that contain one of them.

use std::collections::BTreeSet;

use regex_syntax::hir::{Class, Hir, HirKind, Repetition};

/// Maximum number of literals of which a name contains one. More make an expression a candidate for too
/// many names.
const ALTERNATIVES_MAX: usize = 64;
/// Maximum number of texts that an expression is expanded to.
const EXACT_MAX: usize = 16;
/// Length of a literal, in bytes. Most names contain each shorter one; a longer one does not exclude many
/// more names, and a bound limits the number of literals that end at the same place of a name.
const BYTES_MIN: usize = 2;
const BYTES_MAX: usize = 32;

/// Literals in lower case of ASCII. Each name that matches contains at least one, in any case.
pub(super) type Literals = BTreeSet<Vec<u8>>;

/// Known facts about the texts that match an expression.
#[derive(Default)]
struct Texts {
    /// All of them, if they are few.
    exact: Option<Literals>,
    /// Otherwise, literals that they contain: one of each set.
    required: Vec<Literals>,
}

/// Returns sets of literals. Each name that matches the expression contains a literal of each set.
pub(super) fn required(expression: &Hir) -> Vec<Literals> {
    Texts::of(expression).into_required()
}

impl Texts {
    fn exact(texts: Literals) -> Self {
        Self { exact: Some(texts), required: Vec::new() }
    }

    fn of(expression: &Hir) -> Self {
        match expression.kind() {
            HirKind::Empty | HirKind::Look(_) => Self::exact(empty_text()),
            HirKind::Literal(literal) => Self::exact([literal.0.to_ascii_lowercase()].into()),
            HirKind::Class(class) => Self { exact: class_texts(class), required: Vec::new() },
            HirKind::Repetition(repetition) => Self::of_repetition(repetition),
            HirKind::Capture(capture) => Self::of(&capture.sub),
            HirKind::Concat(parts) => Self::of_concat(parts),
            HirKind::Alternation(branches) => Self::of_alternation(branches),
        }
    }

    fn of_repetition(repetition: &Repetition) -> Self {
        let texts = Self::of(&repetition.sub);
        match (repetition.min, repetition.max, texts.exact) {
            (0, Some(1), Some(mut exact)) => {
                exact.insert(Vec::new());
                Self::exact(exact)
            }
            (0, ..) => Self::default(),
            (_, _, Some(exact)) => {
                Self { exact: None, required: Self::exact(exact).into_required() }
            }
            (_, _, None) => Self { exact: None, required: texts.required },
        }
    }

    /// Joins neighbours while all their texts are known.
    fn of_concat(parts: &[Hir]) -> Self {
        let mut required = Vec::new();
        let (mut run, mut is_exact) = (empty_text(), true);
        for part in parts {
            let texts = Self::of(part);
            let next = match texts.exact {
                Some(exact) if run.len() * exact.len() <= EXACT_MAX => {
                    run = joined(&run, &exact);
                    continue;
                }
                other => other.unwrap_or_else(empty_text),
            };
            require(&std::mem::replace(&mut run, next), &mut required);
            required.extend(texts.required);
            is_exact = false;
        }
        if is_exact {
            return Self::exact(run);
        }
        require(&run, &mut required);
        Self { exact: None, required }
    }

    fn of_alternation(branches: &[Hir]) -> Self {
        let branches: Vec<_> = branches.iter().map(Self::of).collect();
        let exact = branches.iter().map(|branch| branch.exact.as_ref());
        if let Some(exact) = exact.collect::<Option<Vec<_>>>() {
            let all: Literals = exact.into_iter().flatten().cloned().collect();
            if all.len() <= EXACT_MAX {
                return Self::exact(all);
            }
        }
        let longest = |branch: Self| {
            let sets = branch.into_required().into_iter();
            sets.max_by_key(|literals| (shortest(literals), std::cmp::Reverse(literals.len())))
        };
        let required = branches.into_iter().map(longest).collect::<Option<Vec<_>>>();
        let all: Option<Literals> = required.map(|sets| sets.into_iter().flatten().collect());
        let all = all.filter(|all| all.len() <= ALTERNATIVES_MAX);
        Self { exact: None, required: all.into_iter().collect() }
    }

    fn into_required(mut self) -> Vec<Literals> {
        if let Some(exact) = self.exact {
            require(&exact, &mut self.required);
        }
        self.required
    }
}

fn empty_text() -> Literals {
    [Vec::new()].into()
}

/// The length of the shortest literal, in bytes.
pub(super) fn shortest(literals: &Literals) -> usize {
    literals.iter().map(Vec::len).min().unwrap_or(0)
}

/// Adds a set of literals, unless most names contain one of them. Of long literals both ends are sets.
fn require(literals: &Literals, required: &mut Vec<Literals>) {
    if shortest(literals) < BYTES_MIN {
        return;
    }
    if literals.iter().any(|literal| literal.len() > BYTES_MAX) {
        let end = |literal: &Vec<u8>| literal[literal.len().saturating_sub(BYTES_MAX)..].to_vec();
        required.push(literals.iter().map(end).collect());
    }
    let start = |literal: &Vec<u8>| literal[..literal.len().min(BYTES_MAX)].to_vec();
    required.push(literals.iter().map(start).collect());
}

/// Each text of the first set followed by each of the second.
fn joined(first: &Literals, second: &Literals) -> Literals {
    let pairs = first.iter().flat_map(|start| second.iter().map(move |end| (start, end)));
    pairs.map(|(start, end)| [start.as_slice(), end].concat()).collect()
}

/// The characters of a class; `None` if they are many.
fn class_texts(class: &Class) -> Option<Literals> {
    let texts: Literals = match class {
        Class::Unicode(class) => {
            let count: usize = class.iter().map(regex_syntax::hir::ClassUnicodeRange::len).sum();
            let chars = || class.iter().flat_map(|range| range.start()..=range.end());
            let text = |char: char| char.to_ascii_lowercase().to_string().into_bytes();
            (count <= EXACT_MAX).then(|| chars().map(text).collect())?
        }
        Class::Bytes(class) => {
            let count: usize = class.iter().map(regex_syntax::hir::ClassBytesRange::len).sum();
            let bytes = || class.iter().flat_map(|range| range.start()..=range.end());
            (count <= EXACT_MAX)
                .then(|| bytes().map(|byte| vec![byte.to_ascii_lowercase()]).collect())?
        }
    };
    // An empty class matches nothing, and has no literal.
    (!texts.is_empty()).then_some(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(expression: &str) -> String {
        let sets = required(&regex_syntax::parse(expression).unwrap());
        let text = |literal: &Vec<u8>| String::from_utf8(literal.clone()).unwrap();
        let set = |set: &Literals| set.iter().map(text).collect::<Vec<_>>().join("|");
        sets.iter().map(set).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_name_that_matches_contains_one_literal_of_each_set() {
        for (expression, expected) in [
            ("^app1\\.([^.]*)\\.requests\\.(.*)$", "app1. .requests."),
            ("^(a|b)\\.x", "a.x|b.x"),
            ("^(foo|ba[rz])\\.(.*)$", "bar.|baz.|foo."),
            ("foo.*|ba.r", "ba|foo"),
            ("foo|", ""),
            ("foo.*|.", ""),
            ("(?i)^web\\.K1", "web.k1|web.\u{212a}1"),
            ("(foo)?bar", "bar|foobar"),
            ("(foo)*bar", "bar"),
            ("(foo)+bar", "foo bar"),
            ("(?:ab){3}", "ab"),
            ("x{0}yz", "yz"),
            ("[a-z]+\\.[a-z]+", ""),
            ("[ab][cd][ef][gh][ij]k", "acef|aceg"),
            ("(?m)^a$\\n^b", "a\nb"),
            ("größe", "größe"),
            ("(?x) a b # c\n c", "abc"),
            ("\\bfoo\\b", "foo"),
            ("[^\\s\\S]ab", "ab"),
        ] {
            let shown = shown(expression);
            if expression.starts_with("[ab]") {
                assert_eq!(shown.split('|').count(), 17, "{shown}");
                assert!(shown.ends_with("ik|jk"), "{shown}");
            } else {
                assert_eq!(shown, expected, "{expression}");
            }
        }
    }

    #[test]
    fn a_long_literal_gives_both_its_ends() {
        let expression = format!("^{}{}", "a".repeat(40), "b".repeat(20));
        let expected = format!("{}{} {}", "a".repeat(12), "b".repeat(20), "a".repeat(32));
        assert_eq!(shown(&expression), expected);
    }

    #[test]
    fn many_alternatives_are_no_literals() {
        let branches = |count: u32| {
            let branches: Vec<_> = (0..count).map(|number| format!("{number:03}.")).collect();
            required(&regex_syntax::parse(&branches.join("|")).unwrap()).len()
        };
        assert_eq!([branches(64), branches(65)], [1, 0]);
    }
}
