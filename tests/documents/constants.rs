//! The values of constants in source files: whole numbers, and durations in milliseconds.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

/// The functions that make a value of a number, and the value of their unit.
const UNITS: [(&str, u64); 5] = [
    ("Duration::from_secs", 1_000),
    ("Duration::from_millis", 1),
    ("Span::from_secs", 1_000),
    ("ByteSize::from_mib", 1 << 20),
    ("ByteSize::from_bytes", 1),
];

/// Evaluates an expression of numbers, `+`, `-`, `*`, `<<`, parentheses and constants of the source.
pub(crate) fn evaluate(expression: &str, source: &str) -> u64 {
    let mut tokens = Tokens { rest: expression.trim(), source };
    let value = tokens.shift();
    assert_eq!(tokens.rest, "", "cannot evaluate `{expression}`");
    value
}

/// The expression of a constant.
fn definition<'a>(name: &str, source: &'a str) -> &'a str {
    let start = format!("const {name}: ");
    let mut found = source.split(&start).skip(1);
    let rest = found.next().unwrap_or_else(|| panic!("there is no constant `{name}`"));
    assert!(found.next().is_none(), "there are several constants `{name}`");
    rest.split_once(" = ").unwrap().1.split_once(';').unwrap().0
}

/// The part of an expression that is not evaluated yet. Each method evaluates one level of precedence.
struct Tokens<'a> {
    rest: &'a str,
    source: &'a str,
}

impl Tokens<'_> {
    /// Removes a token, if it comes next.
    fn take(&mut self, token: &str) -> bool {
        let rest = self.rest.strip_prefix(token).map(str::trim_start);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn shift(&mut self) -> u64 {
        let mut value = self.sum();
        while self.take("<<") {
            value <<= self.sum();
        }
        value
    }

    fn sum(&mut self) -> u64 {
        let mut value = self.product();
        loop {
            if self.take("+") {
                value += self.product();
            } else if self.take("-") {
                value -= self.product();
            } else {
                return value;
            }
        }
    }

    fn product(&mut self) -> u64 {
        let mut value = self.operand();
        while self.take("*") {
            value *= self.operand();
        }
        value
    }

    /// A number, a constant, a call of one of [`UNITS`], or an expression in parentheses.
    fn operand(&mut self) -> u64 {
        if self.take("(") {
            let value = self.shift();
            assert!(self.take(")"), "a parenthesis is missing before `{}`", self.rest);
            return value;
        }
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        if let Some((_, unit)) = UNITS.iter().find(|(call, _)| *call == word) {
            return unit * self.operand();
        }
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            let digits = word.replace('_', "");
            let digits = digits.trim_end_matches("u64").trim_end_matches("usize");
            return digits.parse().unwrap_or_else(|_| panic!("`{word}` is not a whole number"));
        }
        evaluate(definition(word, self.source), self.source)
    }
}

#[test]
fn expressions_have_the_value_that_the_compiler_gives_them() {
    const SOURCE: &str = "const UNIT: usize = 32;\npub(crate) const LINE: usize = UNIT * 16 - 16;\n\
                          const PAUSE: Duration = Duration::from_secs(5);\n";
    for (expression, value) in [
        ("1_000", 1_000),
        ("64 << 10", 65_536),
        ("(64 << 10) - 2", 65_534),
        ("1 << 2 + 3", 32),
        ("2 + 3 * 4 - 1", 13),
        ("16 * 1024 * 1024", 16 << 20),
        ("Duration::from_secs(300)", 300_000),
        ("Duration::from_millis(50)", 50),
        ("ByteSize::from_mib(64)", 64 << 20),
        ("LINE", 496),
        ("PAUSE + 2 * PAUSE", 15_000),
    ] {
        assert_eq!(evaluate(expression, SOURCE), value, "{expression}");
    }
}
