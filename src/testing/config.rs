//! The check of the configuration: any text is either accepted or refused at a position in it.

use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

use crate::config::{Config, LITERAL_SECTION};
use engine::rules::Rules;
use yaml::{ConfigError, ConfigErrors, Position, Source, parse};

/// The value of every environment variable. It stands for a secret, so no error may show it.
const INSERTED: &str = "hunter2-of-the-environment";
/// Maximum length, in characters, of a line of an error that quotes the file.
const LINE_CHARS_MAX: usize = 1_000;

/// Checks that an error has a position in the file, shows no value from the environment and contains
/// no control character.
pub fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let source = Source::from_bytes("f", input.to_vec()).map_err(ConfigErrors::from);
    let source = source.map(|source| source.with_literal_section(LITERAL_SECTION));
    if let Err(errors) = source.and_then(|source| load(&source)) {
        errors.iter().for_each(|error| check_error(error, &text));
    }
}

fn environment(name: &str) -> Option<String> {
    (name != "NONE").then(|| INSERTED.to_owned())
}

/// Processes a file as the daemon does, without opening sockets or files.
fn load(source: &Source) -> Result<(), ConfigErrors> {
    // `${file:/…}` would read files of this machine; some of them, such as /dev/zero, never end.
    if source.text().contains("file:/") {
        return Ok(());
    }
    let anything: Value = parse(source, &environment)?;
    if names_a_host(&anything) {
        return Ok(());
    }
    let config: Config = parse(source, &environment)?;
    config.listeners(source)?;
    config.destinations(source, "fuzz")?;
    Rules::compile(&config.rules, source)?;
    Ok(())
}

/// Whether reading the configuration would resolve a host name over the network.
fn names_a_host(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(names_a_host),
        Value::Object(members) => members.iter().any(|(key, value)| match key.as_str() {
            "bind_address" => is_scalar(value) && !is::<IpAddr>(value),
            "address" | "listen" => is_scalar(value) && !is::<SocketAddr>(value),
            _ => names_a_host(value),
        }),
        _ => false,
    }
}

fn is_scalar(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Array(_) | Value::Object(_))
}

fn is<T: std::str::FromStr>(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.parse::<T>().is_ok())
}

/// Panics if an error breaks a promise that every error of a configuration file makes.
pub fn check_error(error: &ConfigError, text: &str) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // YAML accepts all three kinds of line endings.
    let unified = text.replace("\r\n", "\n").replace('\r', "\n");
    let lines: Vec<&str> = unified.split('\n').collect();
    let Position { line, column } = error.position();
    assert!((1..=lines.len()).contains(&line), "{error}");
    assert!((1..=lines[line - 1].chars().count() + 1).contains(&column), "{error}");
    let shown = error.to_string();
    assert!(!shown.contains(INSERTED) || text.contains(INSERTED), "{error}");
    assert!(!error.message().contains('\n'), "{error}");
    for line in shown.lines() {
        assert!(!line.contains(char::is_control), "{line:?}");
        assert!(line.chars().count() <= LINE_CHARS_MAX, "{line:?}");
    }
}
