//! Flags of Go programs, from a command line or a file that contains one.

use super::setting::ConvertError;

/// Flags and environment variables that were given, in order.
#[derive(Debug, Default)]
pub(super) struct Flags {
    /// The name without dashes, and the value if there is one.
    given: Vec<(String, Option<String>)>,
    variables: Vec<(String, String)>,
}

impl Flags {
    /// Reads words such as `--name=value`, `--name value` or `-name value`. Of `flags_without_value`, the next
    /// word is never the value.
    pub(super) fn parse(words: &[String], flags_without_value: &[&str]) -> Self {
        let mut flags = Self::default();
        let mut words = words.iter().peekable();
        while let Some(word) = words.next() {
            let Some(name) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
                // The program itself, or an assignment before it.
                if let Some((name, value)) =
                    word.split_once('=').filter(|(name, _)| is_variable(name))
                {
                    flags.variables.push((name.to_owned(), value.to_owned()));
                }
                continue;
            };
            match name.split_once('=') {
                Some((name, value)) => flags.given.push((name.to_owned(), Some(value.to_owned()))),
                None => {
                    let takes_next = !flags_without_value.contains(&name);
                    let value = words.next_if(|next| takes_next && !next.starts_with('-'));
                    flags.given.push((name.to_owned(), value.cloned()));
                }
            }
        }
        flags
    }

    /// Takes the last value of a flag, or else of a variable.
    pub(super) fn value(&mut self, names: &[&str], variable: Option<&str>) -> Option<String> {
        let is_it = |name: &String| names.contains(&name.as_str());
        let of_flag = self
            .given
            .iter()
            .rev()
            .find(|(name, _)| is_it(name))
            .and_then(|(_, value)| value.clone());
        self.given.retain(|(name, _)| !is_it(name));
        let of_variable =
            self.variables.iter().rev().find(|(name, _)| variable == Some(name.as_str()));
        let found = of_flag.or_else(|| of_variable.map(|(_, value)| value.clone()));
        self.variables.retain(|(name, _)| variable != Some(name.as_str()));
        found
    }

    /// Takes all values of a flag that may be repeated.
    pub(super) fn values(&mut self, names: &[&str]) -> Vec<String> {
        let is_it = |name: &String| names.contains(&name.as_str());
        let of_flag = self.given.iter().filter(|(name, _)| is_it(name));
        let values = of_flag.filter_map(|(_, value)| value.clone()).collect();
        self.given.retain(|(name, _)| !is_it(name));
        values
    }

    /// Takes a switch: `--name`, `--name=false` or `--no-name`; `None` if it is absent.
    pub(super) fn switch(&mut self, name: &str, variable: Option<&str>) -> Option<bool> {
        let no = format!("no-{name}");
        if self.has(&no) {
            self.given.retain(|(given, _)| *given != no && given != name);
            return Some(false);
        }
        let is_given = self.has(name);
        let value = self.value(&[name], variable);
        let is_on = |value: &String| !["false", "0", ""].contains(&value.as_str());
        if is_given { Some(value.as_ref().is_none_or(is_on)) } else { value.as_ref().map(is_on) }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.given.iter().any(|(given, _)| given == name)
    }

    /// Whether a flag's or a variable's name is one of these.
    pub(super) fn has_any(&self, flags: &[&str], variables: &[&str]) -> bool {
        flags.iter().any(|name| self.has(name))
            || self.variables.iter().any(|(name, _)| variables.contains(&name.as_str()))
    }

    /// The names of the flags that were not taken, with their dashes. Variables of other programs are
    /// none of ours.
    pub(super) fn rest(self) -> Vec<String> {
        self.given.into_iter().map(|(name, _)| format!("--{name}")).collect()
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte == b'_' || byte.is_ascii_digit())
}

/// The words of a command line in a file: a systemd unit, a file with variables, or a shell command.
///
/// # Errors
/// If a quote is not closed.
pub(super) fn words_of_file(name: &str, text: &str) -> Result<Vec<String>, ConvertError> {
    let joined = text.replace("\\\n", " ");
    let mut all = Vec::new();
    for (number, line) in (1..).zip(joined.lines()) {
        let line = line.trim();
        let is_unit_key =
            |key: &str| key.starts_with(|c: char| c.is_ascii_uppercase()) && !is_variable(key);
        let line = match line.split_once('=') {
            Some(("ExecStart" | "Environment", command)) => command,
            // Other keys of a unit.
            Some((key, _)) if is_unit_key(key) => continue,
            _ if line.starts_with(['#', ';', '[']) => continue,
            _ => line,
        };
        let words = shlex::split(line)
            .ok_or_else(|| ConvertError(format!("{name}:{number}: a quote is not closed")))?;
        for word in words {
            // A file with variables may hold the flags: ARGS="--web.listen-address=:9494".
            let (key, value) = word.split_once('=').unwrap_or_default();
            match is_variable(key) && value.trim_start().starts_with('-') {
                true => all.extend(shlex::split(value).unwrap_or_default()),
                false => all.push(word),
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(text: &str) -> Flags {
        Flags::parse(&words_of_file("f", text).unwrap(), &["debug"])
    }

    #[test]
    fn flags_have_values_after_a_sign_or_a_blank() {
        let mut flags = flags("kamailio_exporter --a=1 -b 2 --debug c --no-d --e");
        assert_eq!(flags.value(&["a"], None).as_deref(), Some("1"));
        assert_eq!(flags.value(&["b"], None).as_deref(), Some("2"));
        assert_eq!(
            (flags.switch("debug", None), flags.switch("d", None)),
            (Some(true), Some(false))
        );
        assert_eq!(flags.switch("x", None), None);
        assert_eq!(flags.rest(), ["--e"]);
    }

    #[test]
    fn units_and_files_with_variables_contain_flags() {
        let unit = "[Service]\nUser=x\nEnvironment=\"BIND_PORT=1\" DEBUG=true\nExecStart=/usr/bin/e \\\n  --a='b c'\n";
        let mut unit = flags(unit);
        assert_eq!(unit.value(&["a"], None).as_deref(), Some("b c"));
        assert_eq!(unit.value(&["bindPort"], Some("BIND_PORT")).as_deref(), Some("1"));
        assert_eq!(unit.switch("debug", Some("DEBUG")), Some(true));
        assert_eq!(flags("ARGS=\"--a=1 --b\"").rest(), ["--a", "--b"]);
        assert!(words_of_file("f", "--a='").is_err());
    }
}
