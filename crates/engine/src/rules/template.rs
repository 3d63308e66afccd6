//! Templates: texts with references to the parts of a name that a pattern matched.

use basics::scalar_text::ScalarText;
use serde::Deserialize;
use serde::de::{Deserializer, Error};

/// Maximum length of a template, in bytes.
const TEMPLATE_BYTES_MAX: usize = 1_024;

/// A text in which `$1`, `${1}` and `${name}` stand for the groups of a pattern, and `$$` for a `$`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Reference(Reference),
}

/// A reference to a group of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reference {
    /// By its number; 0 is the whole match.
    Number(usize),
    /// By its name.
    Name(String),
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// When it is too long, or a `$` is not followed by a reference or another `$`.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(format!("a template may have at most {TEMPLATE_BYTES_MAX} bytes"));
        }
        let (mut pieces, mut literal, mut rest) = (Vec::new(), String::new(), text);
        while let Some((before, after)) = rest.split_once('$') {
            literal += before;
            if let Some(after) = after.strip_prefix('$') {
                literal.push('$');
                rest = after;
                continue;
            }
            let (reference, after) = Reference::parse(after)?;
            if !literal.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut literal)));
            }
            pieces.push(Piece::Reference(reference));
            rest = after;
        }
        literal += rest;
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Self { text: text.to_owned(), pieces })
    }

    /// The template as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its references.
    pub(super) fn references(&self) -> impl Iterator<Item = &Reference> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Reference(reference) => Some(reference),
            Piece::Text(_) => None,
        })
    }

    /// Whether it stands for the empty text, whatever a pattern matched.
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Replaces the references. Returns `None` if the result would be longer than `bytes_max`.
    pub(super) fn expand<'n>(
        &self,
        group: impl Fn(&Reference) -> &'n str,
        bytes_max: usize,
    ) -> Option<String> {
        let mut expanded = String::new();
        for piece in &self.pieces {
            let text = match piece {
                Piece::Text(text) => text,
                Piece::Reference(reference) => group(reference),
            };
            // Before it is appended: references can repeat a long name many times.
            if expanded.len() + text.len() > bytes_max {
                return None;
            }
            expanded += text;
        }
        Some(expanded)
    }
}

impl Reference {
    /// Parses a reference at the start of a text, which follows a `$`; returns the rest of the text.
    fn parse(text: &str) -> Result<(Self, &str), String> {
        const FORMS: &str = "write `$1`, `${1}` or `${name}` for a group, and `$$` for a `$`";
        if let Some(inside) = text.strip_prefix('{') {
            let (name, rest) =
                inside.split_once('}').ok_or_else(|| format!("a `${{` has no `}}`; {FORMS}"))?;
            let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
            let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            return match (name.parse(), is_name) {
                (Ok(number), _) if is_number => Ok((Self::Number(number), rest)),
                (Err(_), true) if !name.is_empty() && !is_number => {
                    Ok((Self::Name(name.to_owned()), rest))
                }
                _ => Err(format!("`${{{name}}}` is not a reference; {FORMS}")),
            };
        }
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = text.split_at(digits);
        let number = number.parse().map_err(|_| format!("a `$` has no group; {FORMS}"))?;
        Ok((Self::Number(number), rest))
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The value of a tag may be a number in YAML.
        Self::parse(&ScalarText::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(template: &str) -> String {
        let group = |reference: &Reference| match reference {
            Reference::Number(0) => "all",
            Reference::Number(1) => "one",
            Reference::Number(12) => "twelve",
            Reference::Name(name) if name == "service" => "api",
            _ => "",
        };
        Template::parse(template).unwrap().expand(group, 1_000).unwrap()
    }

    #[test]
    fn references_are_replaced() {
        for (template, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("$1", "one"),
            ("${1}", "one"),
            ("$1_total", "one_total"),
            ("$12", "twelve"),
            ("${1}2", "one2"),
            ("a.$1.b.${service}.$0", "a.one.b.api.all"),
            ("$9", ""),
            ("$$1", "$1"),
            ("$$$1$$", "$one$"),
            ("$${service}", "${service}"),
        ] {
            assert_eq!(expanded(template), expected, "{template}");
        }
    }

    #[test]
    fn a_text_that_is_no_template_is_refused() {
        for (template, words) in [
            ("$", "has no group"),
            ("$service", "has no group"),
            ("a$ ", "has no group"),
            ("${", "has no `}`"),
            ("${}", "`${}` is not a reference"),
            ("${a b}", "`${a b}` is not a reference"),
            ("${+1}", "`${+1}` is not a reference"),
            ("${99999999999999999999999}", "is not a reference"),
            ("$99999999999999999999999", "has no group"),
        ] {
            let error = Template::parse(template).unwrap_err();
            assert!(error.contains(words), "{template}: {error}");
        }
        assert!(Template::parse(&"a".repeat(1_024)).is_ok());
        assert!(Template::parse(&"a".repeat(1_025)).is_err());
    }

    #[test]
    fn a_template_is_shown_as_it_is_written() {
        assert_eq!(Template::parse("a.$$.${1}").unwrap().as_str(), "a.$$.${1}");
    }

    #[test]
    fn a_result_is_bounded() {
        let template = Template::parse("$1$1").unwrap();
        assert_eq!(template.expand(|_| "abc", 6).unwrap(), "abcabc");
        assert_eq!(template.expand(|_| "abc", 5), None);
    }
}
