//! Expands `${…}` in the text of a scalar.
//!
//! - `${VAR}`: an environment variable that must be set;
//! - `${VAR:-default}`: the same, or the default when it is unset or empty;
//! - `${file:/path}`: the content of a file, without one line break at its end;
//! - `${credential:NAME}`: the same of a credential that systemd gives the service;
//! - `$${`: a literal `${`. Every other `$` stays as it is.
//!
//! What was inserted is not expanded again, and an error never repeats it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// The most bytes that `${file:…}` reads.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// The most bytes that all values of one configuration may expand to.
const EXPANDED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Where systemd says that the credentials are, and where those of the service are for whoever looks
/// from outside of it.
const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";
const CREDENTIALS_FOLDER: &str = "/run/credentials/tallyd.service";

/// Answers what an environment variable holds.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A text with every `${…}` replaced.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expansion {
    /// The text that counts.
    pub(super) text: String,
    /// What was replaced, without defaults, such as `${VAR} and ${file:/path}`. `None` when there
    /// were escapes only, and so nothing to hide.
    pub(super) from: Option<String>,
}

/// Why a text cannot be expanded: a message that shows nothing of what was inserted.
pub(super) type Refusal = String;

/// Expands the values of one configuration.
pub(super) struct Expander<'a> {
    env: Env<'a>,
    bytes_left: usize,
}

/// One `${…}`, taken apart.
enum Reference<'a> {
    Variable { name: &'a str, default: Option<&'a str> },
    File { path: &'a str },
    Credential { name: &'a str },
}

impl<'a> Expander<'a> {
    pub(super) fn new(env: Env<'a>) -> Self {
        Self { env, bytes_left: EXPANDED_BYTES_MAX }
    }

    /// Expands `text`, or returns `None` when it holds nothing to expand.
    pub(super) fn expand(&mut self, text: &str) -> Result<Option<Expansion>, Refusal> {
        if !text.contains("${") {
            return Ok(None);
        }
        let mut expanded = String::new();
        let mut from: Vec<String> = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            if rest[..at].ends_with('$') {
                expanded.push_str(&rest[..at - 1]);
                expanded.push_str("${");
                rest = &rest[at + 2..];
                continue;
            }
            expanded.push_str(&rest[..at]);
            let (inside, behind) = rest[at + 2..]
                .split_once('}')
                .ok_or("a `${` has no `}`; write `$${` for a literal `${`")?;
            let reference = Reference::parse(inside)?;
            expanded.push_str(&self.value_of(&reference)?);
            self.check_size(expanded.len())?;
            let shown = reference.shown();
            if !from.contains(&shown) {
                from.push(shown);
            }
            rest = behind;
        }
        expanded.push_str(rest);
        self.check_size(expanded.len())?;
        self.bytes_left -= expanded.len();
        let from = (!from.is_empty()).then(|| from.join(" and "));
        Ok(Some(Expansion { text: expanded, from }))
    }

    fn value_of(&self, reference: &Reference<'_>) -> Result<String, Refusal> {
        match *reference {
            Reference::File { path } => {
                read_file(path).map_err(|reason| format!("cannot read `{path}`: {reason}"))
            }
            Reference::Credential { name } => {
                let folder = (self.env)(CREDENTIALS_VARIABLE).filter(|folder| !folder.is_empty());
                let folder = folder.unwrap_or_else(|| CREDENTIALS_FOLDER.to_owned());
                let path = format!("{folder}/{name}");
                read_file(&path).map_err(|reason| {
                    format!(
                        "cannot read the credential `{name}` at {path}: {reason}; the unit has to \
                         name it in LoadCredential= or SetCredential="
                    )
                })
            }
            Reference::Variable { name, default: None } => (self.env)(name).ok_or_else(|| {
                format!(
                    "the environment variable {name} is not set: set it, or give a default, `${{{name}:-…}}`"
                )
            }),
            Reference::Variable { name, default: Some(default) } => {
                let value = (self.env)(name).filter(|value| !value.is_empty());
                Ok(value.unwrap_or_else(|| default.to_owned()))
            }
        }
    }

    fn check_size(&self, bytes: usize) -> Result<(), Refusal> {
        if bytes > self.bytes_left {
            return Err(format!(
                "the `${{…}}` of this file expand to more than {EXPANDED_BYTES_MAX} bytes"
            ));
        }
        Ok(())
    }
}

impl<'a> Reference<'a> {
    fn parse(inside: &'a str) -> Result<Self, Refusal> {
        if let Some(path) = inside.strip_prefix("file:") {
            if !Path::new(path).is_absolute() || path.contains("${") {
                return Err(
                    "`${file:…}` needs an absolute path, such as `${file:/run/token}`".into()
                );
            }
            return Ok(Self::File { path });
        }
        if let Some(name) = inside.strip_prefix("credential:") {
            let is_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
            if name.is_empty() || name.starts_with('.') || !name.bytes().all(is_allowed) {
                return Err("`${credential:…}` needs the name of a credential, such as \
                            `${credential:kafka_apikey}`"
                    .into());
            }
            return Ok(Self::Credential { name });
        }
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        // What stands in the braces is not repeated: a secret may hold a `${` by accident.
        if !is_variable_name(name) {
            return Err("a `${…}` must be `${VAR}`, `${VAR:-default}`, `${file:/path}` or \
                        `${credential:NAME}`; write `$${` for a literal `${`"
                .into());
        }
        if default.is_some_and(|default| default.contains("${")) {
            return Err(format!("the default of `${{{name}:-…}}` cannot hold another `${{`"));
        }
        Ok(Self::Variable { name, default })
    }

    /// The reference as an error names it. The default is left out: it may be secret.
    fn shown(&self) -> String {
        match self {
            Self::Variable { name, .. } => format!("${{{name}}}"),
            Self::File { path } => format!("${{file:{path}}}"),
            Self::Credential { name } => format!("${{credential:{name}}}"),
        }
    }
}

/// Whether a text is one reference without a default, and so holds nothing secret itself.
pub(super) fn is_bare_reference(text: &str) -> bool {
    let inside = text.trim().strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    inside.is_some_and(|inside| {
        let reference = if inside.contains('}') { None } else { Reference::parse(inside).ok() };
        matches!(
            reference,
            Some(
                Reference::File { .. }
                    | Reference::Credential { .. }
                    | Reference::Variable { default: None, .. }
            )
        )
    })
}

fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Reads a small file of text. The reason of a failure never holds content.
fn read_file(path: &str) -> Result<String, String> {
    // Asked before opening, because to open a FIFO waits for its writer.
    if !fs::metadata(path).map_err(|error| reason(&error))?.is_file() {
        return Err("not a regular file".to_owned());
    }
    let file = File::open(path).map_err(|error| reason(&error))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| reason(&error))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("larger than {} KiB", FILE_BYTES_MAX / 1024));
    }
    let mut text = String::from_utf8(bytes).map_err(|_| "not UTF-8 text".to_owned())?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

/// An error of the system without the number that only a programmer knows.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        kind => kind.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("broker".to_owned()),
            "EMPTY" => Some(String::new()),
            "NESTED" => Some("${HOST}".to_owned()),
            "BIG" => Some("x".repeat(EXPANDED_BYTES_MAX)),
            _ => None,
        }
    }

    fn expand(text: &str) -> Result<Option<Expansion>, Refusal> {
        Expander::new(&env).expand(text)
    }

    fn text(text: &str) -> String {
        expand(text).unwrap().unwrap().text
    }

    /// A file of this test alone, with `content`.
    fn file(name: &str, content: &[u8]) -> String {
        let path = std::env::temp_dir().join(format!("tallyd-{name}-{}", std::process::id()));
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    #[test]
    fn variables_and_defaults_are_expanded() {
        assert_eq!(text("${HOST}:9092"), "broker:9092");
        assert_eq!(text("${HOST:-x}${NONE:-y}${EMPTY:-z}"), "brokeryz");
        assert_eq!(text("${EMPTY}"), "");
        assert_eq!(text("${NONE:-}"), "");
        assert_eq!(text("${NONE:-a:-b}"), "a:-b");
    }

    #[test]
    fn what_was_inserted_is_not_expanded_again() {
        assert_eq!(text("${NESTED}"), "${HOST}");
    }

    #[test]
    fn a_doubled_dollar_before_a_brace_is_a_literal_one() {
        let expansion = expand("$${HOST} $5 $$ $").unwrap().unwrap();
        assert_eq!(expansion, Expansion { text: "${HOST} $5 $$ $".to_owned(), from: None });
        assert_eq!(text("$$${HOST}"), "$${HOST}");
        assert_eq!(text("$${${HOST}"), "${broker");
        assert_eq!(expand("$5 and $HOST").unwrap(), None);
    }

    #[test]
    fn the_origin_names_each_reference_once_and_no_default() {
        let expansion = expand("${HOST}${NONE:-s3cret}${HOST}").unwrap().unwrap();
        assert_eq!(expansion.from.as_deref(), Some("${HOST} and ${NONE}"));
    }

    #[test]
    fn a_file_loses_one_line_break() {
        let path = file("break", b"one\ntwo\n\n");
        assert_eq!(text(&format!("<${{file:{path}}}>")), "<one\ntwo\n>");
        fs::write(&path, "x\r\n").unwrap();
        assert_eq!(text(&format!("${{file:{path}}}")), "x");
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_used_is_refused_with_its_path_and_reason() {
        let big = file("big", &vec![b'x'; usize::try_from(FILE_BYTES_MAX).unwrap() + 1]);
        let binary = file("binary", b"\xff");
        for (path, reason) in [
            ("/nonexistent/token", "no such file"),
            ("/dev/null", "not a regular file"),
            ("/", "not a regular file"),
            (&big, "larger than 64 KiB"),
            (&binary, "not UTF-8 text"),
        ] {
            let refusal = expand(&format!("${{file:{path}}}")).unwrap_err();
            assert_eq!(refusal, format!("cannot read `{path}`: {reason}"));
        }
        fs::remove_file(big).unwrap();
        fs::remove_file(binary).unwrap();
    }

    #[test]
    fn a_credential_is_read_from_where_the_service_manager_says_that_they_are() {
        let path = file("credential", b"s3cret\n");
        let (folder, name) = path.rsplit_once('/').unwrap();
        let env = |variable: &str| (variable == CREDENTIALS_VARIABLE).then(|| folder.to_owned());
        let expansion = Expander::new(&env).expand(&format!("${{credential:{name}}}"));
        let Expansion { text, from } = expansion.unwrap().unwrap();
        assert_eq!((text.as_str(), from), ("s3cret", Some(format!("${{credential:{name}}}"))));
        let refusal = Expander::new(&env).expand("${credential:none}").unwrap_err();
        assert!(refusal.contains(&format!("{folder}/none: no such file")), "{refusal}");
        assert!(refusal.contains("LoadCredential="), "{refusal}");
        let refusal = expand("${credential:none}").unwrap_err();
        assert!(refusal.contains("/run/credentials/tallyd.service/none"), "{refusal}");
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_reference_that_cannot_be_understood_is_refused() {
        for (text, part) in [
            ("${NONE}", "variable NONE is not set"),
            ("a ${HOST", "has no `}`"),
            ("${}", "must be `${VAR}`"),
            ("${1A}", "must be `${VAR}`"),
            ("${HOST-x}", "must be `${VAR}`"),
            ("${file:token}", "absolute path"),
            ("${credential:}", "the name of a credential"),
            ("${credential:../passwd}", "the name of a credential"),
            ("${NONE:-${HOST}}", "cannot hold another"),
        ] {
            let refusal = expand(text).unwrap_err();
            assert!(refusal.contains(part), "{text}: {refusal}");
        }
    }

    #[test]
    fn the_sum_of_all_values_is_bounded() {
        let mut expander = Expander::new(&env);
        assert!(expander.expand("${BIG}").is_ok());
        assert!(expander.expand("${HOST}").unwrap_err().contains("expand to more than"));
    }

    #[test]
    fn only_a_bare_reference_holds_nothing_secret() {
        assert!(is_bare_reference("${A}") && is_bare_reference("${file:/run/a}"));
        for text in ["${A:-b}", "x${A}", "${A}${B}", "${A", "$${A}", "", "${A}x}"] {
            assert!(!is_bare_reference(text), "{text}");
        }
    }
}
