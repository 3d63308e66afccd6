//! Configuration files: any text is read, or refused at a place in it.

use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

use crate::config::Config;
use yaml::{ConfigError, Position, Source, parse};

/// What every variable of the environment holds. It stands for a secret: no error may show it.
const INSERTED: &str = "hunter2-of-the-environment";
/// Most characters of a line of an error that repeats something of the file.
const LINE_CHARS_MAX: usize = 1_000;

/// An error stands at a place in the file, shows nothing that came from the environment and sends
/// no control character to the terminal.
pub fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let result = Source::from_bytes("f", input.to_vec()).and_then(|source| load(&source));
    if let Err(error) = result {
        check_error(&error, &text);
    }
}

fn environment(name: &str) -> Option<String> {
    (name != "NONE").then(|| INSERTED.to_owned())
}

/// Does what the daemon does with a file, but opens nothing.
fn load(source: &Source) -> Result<(), ConfigError> {
    // Files of this machine have no place in a test; some of them never end.
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
    Ok(())
}

/// Whether reading the configuration would ask the network for the address of a name.
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

/// Fails where an error does not keep what every error of a file promises.
pub fn check_error(error: &ConfigError, text: &str) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // The line ends of YAML.
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
