//! Expands `${…}` in the text of a scalar.
//!
//! - `${VAR}`: an environment variable that must be set;
//! - `${VAR:-default}`: an environment variable, or the default if it is unset or empty;
//! - `${file:/path}`: the content of a file, without one line break at its end;
//! - `${credential:NAME}`: a credential that systemd passes to the service, likewise;
//! - `$${`: a literal `${`. Every other `$` stays as it is.
//!
//! Inserted text is not expanded again, and an error never repeats it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// Maximum size of a file for `${file:…}`, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Maximum size of all expanded values of one configuration, in bytes.
const EXPANDED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The variable in which systemd passes the folder of the credentials, and the folder of the
/// service's credentials, for commands that run outside the service.
const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";
const CREDENTIALS_FOLDER: &str = "/run/credentials/tallyd.service";

const UNKNOWN_FORM: &str = "a `${…}` must be `${VAR}`, `${VAR:-default}`, `${file:/path}` or \
                            `${credential:NAME}`; write `$${` for a literal `${`";

/// Looks up an environment variable.
pub(crate) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A text with every `${…}` expanded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expansion {
    /// The expanded text.
    pub(crate) text: String,
    /// The references in the original text, without their defaults, such as `${VAR} and
    /// ${file:/path}`. `None` if it had only escapes, and so nothing to hide.
    pub(crate) references: Option<String>,
}

/// Expands the values of one configuration. Errors never contain an inserted text.
pub(crate) struct Expander<'a> {
    env: Env<'a>,
    bytes_left: usize,
}

/// The name of a `${…}` in errors, and its value. The name omits the default, which may be secret.
type NamedValue = (String, String);

impl<'a> Expander<'a> {
    pub(crate) fn new(env: Env<'a>) -> Self {
        Self { env, bytes_left: EXPANDED_BYTES_MAX }
    }

    /// Expands `text`; `None` if it contains no `${`.
    pub(crate) fn expand(&mut self, text: &str) -> Result<Option<Expansion>, String> {
        if !text.contains("${") {
            return Ok(None);
        }
        let (mut expanded, mut references, mut rest) = (String::new(), Vec::new(), text);
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                expanded += before;
                expanded += "${";
                rest = after;
                continue;
            }
            let (reference, after) =
                after.split_once('}').ok_or("a `${` has no `}`; write `$${` for a literal `${`")?;
            let (name, value) = self.resolve(reference)?;
            expanded += before;
            expanded += &value;
            self.bytes_left_after(&expanded)?;
            if !references.contains(&name) {
                references.push(name);
            }
            rest = after;
        }
        expanded += rest;
        self.bytes_left = self.bytes_left_after(&expanded)?;
        let references = (!references.is_empty()).then(|| references.join(" and "));
        Ok(Some(Expansion { text: expanded, references }))
    }

    fn bytes_left_after(&self, expanded: &str) -> Result<usize, String> {
        self.bytes_left.checked_sub(expanded.len()).ok_or_else(|| {
            format!("the `${{…}}` of this file expand to more than {EXPANDED_BYTES_MAX} bytes")
        })
    }

    /// Returns the name and the value of the text between the braces.
    fn resolve(&self, reference: &str) -> Result<NamedValue, String> {
        let (name, value) = if let Some(path) = reference.strip_prefix("file:") {
            (reference, file_content(path)?)
        } else if let Some(name) = reference.strip_prefix("credential:") {
            (reference, self.credential(name)?)
        } else {
            let (name, default) = match reference.split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (reference, None),
            };
            (name, self.variable(name, default)?)
        };
        Ok((format!("${{{name}}}"), value))
    }

    fn variable(&self, name: &str, default: Option<&str>) -> Result<String, String> {
        // The name is repeated only if it is valid: a secret may contain a `${` by accident.
        if !is_variable_name(name) {
            return Err(UNKNOWN_FORM.to_owned());
        }
        let Some(default) = default else {
            return (self.env)(name).ok_or_else(|| {
                format!(
                    "the environment variable {name} is not set: set it, or give a default, `${{{name}:-…}}`"
                )
            });
        };
        if default.contains("${") {
            return Err(format!("the default of `${{{name}:-…}}` cannot hold another `${{`"));
        }
        let value = (self.env)(name).filter(|value| !value.is_empty());
        Ok(value.unwrap_or_else(|| default.to_owned()))
    }

    fn credential(&self, name: &str) -> Result<String, String> {
        let is_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        if name.is_empty() || name.starts_with('.') || !name.bytes().all(is_allowed) {
            return Err("`${credential:…}` needs the name of a credential, such as \
                        `${credential:kafka_apikey}`"
                .to_owned());
        }
        let folder = (self.env)(CREDENTIALS_VARIABLE).filter(|folder| !folder.is_empty());
        let folder = folder.unwrap_or_else(|| CREDENTIALS_FOLDER.to_owned());
        let path = format!("{folder}/{name}");
        read_text(&path).map_err(|reason| {
            format!(
                "cannot read the credential `{name}` at {path}: {reason}; the unit has to name it \
                 in LoadCredential= or SetCredential="
            )
        })
    }
}

fn file_content(path: &str) -> Result<String, String> {
    if !Path::new(path).is_absolute() || path.contains("${") {
        return Err("`${file:…}` needs an absolute path, such as `${file:/run/token}`".to_owned());
    }
    read_text(path).map_err(|reason| format!("cannot read `{path}`: {reason}"))
}

/// Returns whether a text is a single reference without a default, and so contains no secret.
pub(crate) fn is_bare_reference(text: &str) -> bool {
    let inside = text.trim().strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    inside.is_some_and(|inside| {
        let is_source = inside.starts_with("file:/") || inside.starts_with("credential:");
        is_variable_name(inside) || (is_source && !inside.contains(['$', '{', '}']))
    })
}

fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Reads a small text file. The reason for a failure contains nothing of its content.
fn read_text(path: &str) -> Result<String, String> {
    // Checked before opening, because opening a FIFO waits for its writer.
    if !fs::metadata(path).map_err(|error| reason(&error))?.is_file() {
        return Err("not a regular file".to_owned());
    }
    let file = File::open(path).map_err(|error| reason(&error))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| reason(&error))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("larger than {} KiB", FILE_BYTES_MAX / 1024));
    }
    let text = String::from_utf8(bytes).map_err(|_| "not UTF-8 text".to_owned())?;
    let line = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    Ok(line.unwrap_or(&text).to_owned())
}

/// Returns the message of a system error without its number, which means nothing to operators.
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

    fn expand(text: &str) -> Result<Option<Expansion>, String> {
        Expander::new(&env).expand(text)
    }

    fn text(text: &str) -> String {
        expand(text).unwrap().unwrap().text
    }

    /// Creates a file for one test.
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
    fn expanded_text_is_not_expanded_again() {
        assert_eq!(text("${NESTED}"), "${HOST}");
    }

    #[test]
    fn a_doubled_dollar_before_a_brace_is_a_literal_one() {
        let expansion = expand("$${HOST} $5 $$ $").unwrap().unwrap();
        assert_eq!(expansion, Expansion { text: "${HOST} $5 $$ $".to_owned(), references: None });
        assert_eq!(text("$$${HOST}"), "$${HOST}");
        assert_eq!(text("$${${HOST}"), "${broker");
        assert_eq!(expand("$5 and $HOST").unwrap(), None);
    }

    #[test]
    fn the_origin_names_each_reference_once_and_no_default() {
        let expansion = expand("${HOST}${NONE:-s3cret}${HOST}").unwrap().unwrap();
        assert_eq!(expansion.references.as_deref(), Some("${HOST} and ${NONE}"));
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
    fn a_credential_is_read_from_the_folder_of_the_service_manager() {
        let path = file("credential", b"s3cret\n");
        let (folder, name) = path.rsplit_once('/').unwrap();
        let env = |variable: &str| (variable == CREDENTIALS_VARIABLE).then(|| folder.to_owned());
        let expansion = Expander::new(&env).expand(&format!("${{credential:{name}}}"));
        let Expansion { text, references } = expansion.unwrap().unwrap();
        assert_eq!(
            (text.as_str(), references),
            ("s3cret", Some(format!("${{credential:{name}}}")))
        );
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
    fn only_a_value_that_is_a_bare_reference_is_shown() {
        assert!(is_bare_reference("${A}") && is_bare_reference("${file:/run/a}"));
        for text in ["${A:-b}", "x${A}", "${A}${B}", "${A", "$${A}", "", "${A}x}"] {
            assert!(!is_bare_reference(text), "{text}");
        }
    }
}
