//! References to what a mapping matched, in tallyd's form.

use super::super::notes::Notes;

/// Converts a template of a glob: `$1` and `${1}` are references, every other `$` is itself.
pub(super) fn of_glob(text: &str) -> String {
    let (mut converted, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('$') {
        converted += before;
        let (inner, is_braced) = match after.strip_prefix('{') {
            Some(inner) => (inner, true),
            None => (after, false),
        };
        let digits = inner.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            converted += "$$";
            rest = after;
            continue;
        }
        converted += &format!("${{{}}}", &inner[..digits]);
        rest = &inner[digits..];
        if is_braced {
            rest = rest.strip_prefix('}').unwrap_or(rest);
        }
    }
    converted + rest
}

/// Converts a template of a regular expression, in the syntax of Go: `$name` takes as many letters, digits
/// and underscores as there are, and a reference to a group that does not exist is empty.
pub(super) fn of_regex(text: &str, regex: &str, setting: &str, notes: &mut Notes) -> String {
    let (mut converted, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('$') {
        converted += before;
        if let Some(after) = after.strip_prefix('$') {
            converted += "$$";
            rest = after;
            continue;
        }
        let braced = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let (name, after_name) = braced.unwrap_or_else(|| {
            let end = after.find(|c| !is_word(c)).unwrap_or(after.len());
            after.split_at(end)
        });
        if name.is_empty() || !name.chars().all(is_word) {
            converted += "$$";
            rest = after;
            continue;
        }
        let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
        if is_number || has_group(regex, name) {
            converted += &format!("${{{name}}}");
        } else {
            notes.differs(
                setting,
                format!("`${name}` is no group, and empty in the exporter too; `${{1}}_x` keeps a number and text apart"),
            );
        }
        rest = after_name;
    }
    converted + rest
}

fn has_group(regex: &str, name: &str) -> bool {
    [format!("(?P<{name}>"), format!("(?<{name}>")].iter().any(|group| regex.contains(group))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_of_globs_are_numbers() {
        for (text, expected) in [
            ("$1", "${1}"),
            ("${1}_server", "${1}_server"),
            ("$1_total", "${1}_total"),
            ("a$b${x}$", "a$$b$${x}$$"),
            ("${12", "${12}"),
            ("", ""),
        ] {
            assert_eq!(of_glob(text), expected, "{text}");
        }
    }

    #[test]
    fn references_of_regular_expressions_are_numbers_and_names() {
        let mut notes = Notes::default();
        let mut of = |text| of_regex(text, "(?P<a>.)(.)", "s", &mut notes);
        assert_eq!((of("$1.$a"), of("${2}x$$")), ("${1}.${a}".to_owned(), "${2}x$$".to_owned()));
        assert_eq!((of("$1_x"), of("x$.")), (String::new(), "x$$.".to_owned()));
        assert_eq!(notes.counts(), (0, 1));
    }
}
