//! The keys that the configuration accepts, determined from the errors for an unknown key, and the
//! keys that the sample file shows.

#![allow(dead_code, reason = "each test file uses a part of them")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use engine::rules::{RuleSection, Rules};
use forwarders::ForwardersConfig;
use tallyd::config::{Config, LITERAL_SECTION};
use yaml::{ConfigErrors, Source, Spanned, parse};

pub use tallyd::config::sample::{SAMPLE, SampleLine as Line, lines};

/// A key that does not exist.
const UNKNOWN: &str = "no_such_key";

/// Reads a configuration as the program does, with every environment variable set.
pub fn read(text: &str) -> Result<Config, ConfigErrors> {
    let source = Source::new("example.yaml", text).with_literal_section(LITERAL_SECTION);
    let config: Config = parse(&source, &|_| Some("example".to_owned()))?;
    config.listeners(&source)?;
    config.destinations(&source, "example")?;
    Rules::compile(&config.rules, &source)?;
    Ok(config)
}

/// All settings of a configuration as text, without their positions in the file.
pub fn meaning(config: &Config) -> String {
    let forwarders: &ForwardersConfig = &config.forwarders;
    let listeners = config.listeners(&Source::new("sample", "")).unwrap();
    let rest = Config {
        forwarders: Spanned::default(),
        bind_address: None,
        bind_port: None,
        listeners: None,
        rules: Vec::new(),
        ..config.clone()
    };
    let rules: Vec<String> = config.rules.iter().map(|rule| rule_meaning(rule)).collect();
    format!("{listeners:#?}\n{forwarders:#?}\n{rules:#?}\n{rest:#?}")
}

fn rule_meaning(rule: &RuleSection) -> String {
    fn value<T: std::fmt::Debug>(spanned: Option<&Spanned<T>>) -> String {
        format!("{:?}", spanned.map(Spanned::get))
    }
    let RuleSection { glob, regex, types, protocol, name, tags, continues, drops, .. } = rule;
    let patterns = [value(glob.as_ref()), value(regex.as_ref()), value(types.as_ref())];
    let (name, scale) = (value(name.as_ref()), value(rule.scale.as_ref()));
    let tags: Vec<_> = tags.iter().map(|(key, tag)| (key, tag.get())).collect();
    let expire_after = value(rule.expire_after.as_ref());
    format!("{patterns:?} {protocol:?} {name} {tags:?} {continues} {drops} {scale} {expire_after}")
}

/// The paths of all keys that the code accepts, such as `forwarders.kafka.format` and
/// `listeners[].address`, including those of sections.
pub fn accepted() -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let top = allowed(&format!("{UNKNOWN}: 1")).expect("the top level refuses unknown keys");
    collect("", top, &|inner| inner, &mut keys);
    keys
}

/// The kinds of destinations that the tests' build has: the keys of `forwarders`.
pub fn forwarder_kinds() -> BTreeSet<String> {
    let kind = |path: &str| Some(path.strip_prefix("forwarders.")?.split('.').next()?.to_owned());
    accepted().iter().filter_map(|path| kind(path)).collect()
}

/// Adds the keys of a section and of its inner sections; `wrap` places text inside the section.
fn collect(
    path: &str,
    found: Vec<String>,
    wrap: &dyn Fn(String) -> String,
    keys: &mut BTreeSet<String>,
) {
    for key in found {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        keys.insert(path.clone());
        let as_section = |inner: String| wrap(format!("{key}: {{ {inner} }}"));
        let as_list = |inner: String| wrap(format!("{key}: [{{ {inner} }}]"));
        if let Some(found) = allowed(&as_section(format!("{UNKNOWN}: 1"))) {
            collect(&path, found, &as_section, keys);
        } else if let Some(found) = allowed(&as_list(format!("{UNKNOWN}: 1"))) {
            collect(&format!("{path}[]"), found, &as_list, keys);
        }
    }
}

/// The error for a configuration.
pub struct KeyError {
    pub message: String,
    pub help: Vec<String>,
}

/// The error for a configuration, if it is invalid.
pub fn key_error(text: &str) -> Option<KeyError> {
    let errors = read(text).err()?;
    let error = errors.first();
    Some(KeyError {
        message: error.message().to_string(),
        help: error.help().iter().map(ToString::to_string).collect(),
    })
}

/// The keys that the error for an unknown key lists, if the text has that error.
fn allowed(text: &str) -> Option<Vec<String>> {
    let errors = read(text).err()?;
    let error = errors.first();
    if !error.message().starts_with("unknown key") {
        return None;
    }
    let list = error.help().iter().find_map(|help| help.strip_prefix("allowed: "))?;
    Some(list.split(", ").map(str::to_owned).collect())
}

/// The path under which the documents list a key. They list the keys that several kinds of forwarders
/// share once, without the kind.
pub fn documented_as(path: &str) -> String {
    let shared = ["name", "select", "idle", "idle_for", "delivery", "telegraf"];
    // A list of forwarders has the same keys as a single one.
    let path = &path.replace("[].", if path.starts_with("forwarders.") { "." } else { "[]." });
    match path.strip_prefix("forwarders.").and_then(|rest| rest.split_once('.')) {
        Some((_, key)) if shared.contains(&key.split('.').next().unwrap()) => key.to_owned(),
        _ => path.to_owned(),
    }
}

/// The lines of these kinds, uncommented.
pub fn uncommented(kinds: &[Line]) -> String {
    let mut text = String::new();
    for (kind, yaml) in lines().filter(|(kind, _)| *kind != Line::Prose) {
        if kinds.contains(&kind) {
            text.push_str(yaml);
            text.push('\n');
        }
    }
    text
}

/// All keys that the sample shows: the path, whether the value is the default, and the value.
pub fn shown() -> BTreeMap<String, (Line, String)> {
    assert!(lines().all(|(kind, line)| kind != Line::Prose || is_prose(line)));
    let keys = tallyd::config::sample::keys().into_iter();
    keys.map(|key| (key.path, (key.line, key.value))).collect()
}

/// Whether a line of prose is a comment or empty: everything in the sample is commented out.
fn is_prose(line: &str) -> bool {
    line.is_empty() || line.starts_with(' ')
}
