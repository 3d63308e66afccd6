//! Every key with its effective value and its origin.
//!
//! A value that the file sets comes from the file. The default of any other key comes from the sample
//! file, which tests compare with the code: so there is no second list of keys and defaults.

use std::collections::BTreeSet;

use api::config::{ConfigOrigin, EffectiveConfig, EffectiveKey};
use yaml::FileValue;

use super::ConfigFile;
use super::sample::{self, SampleKey, SampleLine};

/// Sections whose keys are chosen by the operator: the sample shows examples.
const FREE_SECTIONS: [&str; 4] = ["tags", "headers", "librdkafka", "parameters"];
/// Keys that every destination has. The sample shows them once.
const SHARED: [&str; 5] = ["name", "select", "idle", "idle_for", "delivery"];
/// The destination of a file without any.
const DEFAULT_FORWARDER: &str = "forwarders.console";

/// All keys of a configuration that was read.
#[must_use]
pub fn of(file: &ConfigFile) -> EffectiveConfig {
    let values: Vec<FileValue<'_>> = file.leaves.all().collect();
    let samples = sample::keys();
    let sections = samples.iter().flat_map(SampleKey::sections).collect();
    let mut listing = Listing { values, sections, listed: BTreeSet::new(), keys: Vec::new() };
    for key in samples.iter().filter(|key| !key.is_shared()) {
        listing.add(key, &samples);
    }
    listing.add_rest();
    let mut keys = listing.keys;
    correct_state_dir(&mut keys, file);
    EffectiveConfig { file: file.is_file.then(|| file.source.name().to_owned()), keys }
}

/// The keys so far.
struct Listing<'a> {
    values: Vec<FileValue<'a>>,
    /// The paths of the sample that have keys below them.
    sections: BTreeSet<String>,
    /// The paths of the values that are listed.
    listed: BTreeSet<&'a str>,
    keys: Vec<EffectiveKey>,
}

impl SampleKey {
    /// The paths of the sections around the key.
    fn sections(&self) -> impl Iterator<Item = String> {
        let ends = self.path.match_indices('.').map(|(end, _)| end);
        ends.map(move |end| self.path[..end].trim_end_matches("[]").to_owned())
    }

    fn is_shared(&self) -> bool {
        let key = self.path.strip_prefix("forwarders.").and_then(|rest| rest.split('.').nth(1));
        key.is_some_and(|key| SHARED.contains(&key))
    }

    /// Whether an operator chose the key, as a tag of the sample.
    fn is_example_of_a_free_key(&self) -> bool {
        let mut sections = self.path.split('.').rev().skip(1);
        sections.any(|section| FREE_SECTIONS.contains(&section))
    }

    fn is_forwarder(&self) -> bool {
        self.path.strip_prefix("forwarders.").is_some_and(|kind| !kind.contains('.'))
    }
}

impl<'a> Listing<'a> {
    fn add(&mut self, key: &SampleKey, samples: &[SampleKey]) {
        if key.is_example_of_a_free_key() {
            return;
        }
        if key.is_forwarder() {
            return self.add_forwarders(key, samples);
        }
        // The keys of a destination are listed with its section.
        if key.path.starts_with("forwarders.") {
            return;
        }
        self.add_key(key, &key.path);
    }

    /// Lists all keys of the destinations of a kind.
    fn add_forwarders(&mut self, section: &SampleKey, samples: &[SampleKey]) {
        let instances = self.forwarders(&section.path);
        if instances.is_empty() {
            self.keys.push(not_set(&section.path));
        }
        let of_kind = format!("{}.", section.path);
        for instance in instances {
            // The sample shows some of the shared keys with several destinations.
            let mut seen = BTreeSet::new();
            for key in samples.iter().filter(|key| !key.is_example_of_a_free_key()) {
                let own = key.path.strip_prefix(&of_kind).filter(|_| !key.is_shared());
                let shared = key.is_shared().then(|| key.path.splitn(3, '.').nth(2)).flatten();
                if let Some(rest) = own.or(shared).filter(|rest| seen.insert(*rest)) {
                    self.add_key(key, &format!("{instance}.{rest}"));
                }
            }
        }
    }

    /// The paths of the destinations of a kind: its section, or the items of a list.
    fn forwarders(&self, kind: &str) -> Vec<String> {
        let items = self.items(kind);
        if !items.is_empty() {
            return items;
        }
        let has_any = self.values.iter().any(|value| is_in(value.path, "forwarders"));
        let is_default = !has_any && kind == DEFAULT_FORWARDER;
        let is_set = is_default || self.values.iter().any(|value| is_in(value.path, kind));
        if is_set { vec![kind.to_owned()] } else { Vec::new() }
    }

    /// The items of a list in the file, such as `listeners[0]`.
    fn items(&self, list: &str) -> Vec<String> {
        let mut items = Vec::new();
        while self.values.iter().any(|value| is_in(value.path, &format!("{list}[{}]", items.len())))
        {
            items.push(format!("{list}[{}]", items.len()));
        }
        items
    }

    /// Lists a key at a path, in which each `[]` stands for all items of the list.
    fn add_key(&mut self, key: &SampleKey, path: &str) {
        if let Some((list, rest)) = path.split_once("[]") {
            for item in self.items(list) {
                self.add_key(key, &format!("{item}{rest}"));
            }
            return;
        }
        // A key without a value may also be one without a default.
        let is_section = self.sections.contains(&key.path);
        let is_free = FREE_SECTIONS.iter().any(|free| path.ends_with(&format!(".{free}")));
        let is_set = self.values.iter().any(|value| is_in(value.path, path));
        let is_within_another =
            self.values.iter().any(|value| value.path != path && is_in(path, value.path));
        if is_set && (!is_section || is_free || self.is_scalar(path)) {
            self.add_values(path);
        } else if is_set || is_within_another {
            // A section, whose keys follow; or the file has a shorthand for it.
        } else if !is_section && key.line == SampleLine::Default {
            let value = Some(key.value.clone()).filter(|value| !value.is_empty());
            self.keys.push(EffectiveKey { value, ..not_set(path) });
        } else if !is_section || is_free || self.items(path).is_empty() && is_list(key, path) {
            self.keys.push(not_set(path));
        }
    }

    fn is_scalar(&self, path: &str) -> bool {
        self.values.iter().any(|value| value.path == path)
    }

    /// Lists the values at a path and below it; a list of scalars as one value.
    fn add_values(&mut self, path: &str) {
        let below: Vec<FileValue<'a>> =
            self.values.iter().filter(|value| is_in(value.path, path)).copied().collect();
        self.listed.extend(below.iter().map(|value| value.path));
        let is_item = |value: &FileValue<'_>| {
            let rest = value.path.strip_prefix(path).unwrap_or_default();
            rest.starts_with('[') && rest.ends_with(']') && !rest.contains('.')
        };
        if below.len() > 1 && below.iter().all(is_item) {
            let items: Vec<&str> = below.iter().map(|value| value.effective).collect();
            let value = FileValue { path, ..below[0] };
            let joined = Some(format!("[{}]", items.join(", ")));
            self.keys.push(EffectiveKey { value: joined, ..from_file(&value) });
            return;
        }
        self.keys.extend(below.iter().map(from_file));
    }

    /// Lists values under paths that the sample does not show.
    fn add_rest(&mut self) {
        let rest: Vec<FileValue<'a>> =
            self.values.iter().filter(|value| !self.listed.contains(value.path)).copied().collect();
        self.keys.extend(rest.iter().map(from_file));
    }
}

/// Whether a path is at or below another.
fn is_in(path: &str, other: &str) -> bool {
    path.strip_prefix(other)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || rest.starts_with('['))
}

/// Whether the sample shows a list at the top level, whose items have keys.
fn is_list(key: &SampleKey, path: &str) -> bool {
    key.line == SampleLine::Example && !path.contains('.')
}

fn not_set(path: &str) -> EffectiveKey {
    EffectiveKey { key: path.to_owned(), ..EffectiveKey::default() }
}

fn from_file(value: &FileValue<'_>) -> EffectiveKey {
    let is_of_environment = value.references.is_some_and(|references| {
        references
            .split("${")
            .skip(1)
            .any(|name| !name.starts_with("file:") && !name.starts_with("credential:"))
    });
    EffectiveKey {
        key: value.path.to_owned(),
        value: Some(value.effective.to_owned()),
        origin: if is_of_environment { ConfigOrigin::Environment } else { ConfigOrigin::File },
        line: Some(value.line as u64),
        references: value.references.map(ToOwned::to_owned),
    }
}

/// The default of `state_dir` may come from the service manager.
fn correct_state_dir(keys: &mut [EffectiveKey], file: &ConfigFile) {
    let is_default =
        |key: &&mut EffectiveKey| key.key == "state_dir" && key.origin == ConfigOrigin::Default;
    let Some(key) = keys.iter_mut().find(is_default) else { return };
    let folder = file.config.state_dir.display().to_string();
    if key.value.as_deref() != Some(folder.as_str()) {
        key.value = Some(folder);
        key.origin = ConfigOrigin::Environment;
        key.references = Some("${STATE_DIRECTORY}".to_owned());
    }
}

/// The keys as lines of text: path, value, origin.
#[must_use]
pub fn text(config: &EffectiveConfig) -> String {
    let value = |key: &EffectiveKey| key.value.clone().unwrap_or_else(|| "(not set)".to_owned());
    let width =
        |lengths: &mut dyn Iterator<Item = usize>, most| lengths.max().unwrap_or(0).min(most);
    let keys = width(&mut config.keys.iter().map(|key| key.key.chars().count()), 50);
    let values = width(&mut config.keys.iter().map(|key| value(key).chars().count()), 40);
    let line = |key: &EffectiveKey| {
        let file = config.file.as_deref().unwrap_or_default();
        let mut origin = match key.line {
            Some(line) => format!("{file}:{line}"),
            None if key.origin == ConfigOrigin::Environment => "environment".to_owned(),
            None => "default".to_owned(),
        };
        if let Some(references) = &key.references {
            origin += &format!(" {references}");
        }
        format!("{:keys$}  {:values$}  {origin}\n", key.key, value(key))
    };
    config.keys.iter().map(line).collect()
}
