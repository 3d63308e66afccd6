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
const FREE_SECTIONS: [&str; 5] = ["tags", "headers", "librdkafka", "parameters", "users"];
/// Keys that every destination has. The sample shows them once.
const SHARED: [&str; 5] = ["name", "select", "idle", "idle_for", "delivery"];
/// The destination of a file without any.
const DEFAULT_FORWARDER: &str = "forwarders.console";

/// All keys of a configuration that was read.
#[must_use]
pub fn of(file: &ConfigFile) -> EffectiveConfig {
    let mut keys = keys(file.leaves.all().collect());
    correct_state_dir(&mut keys, file);
    EffectiveConfig { file: file.is_file.then(|| file.source.name().to_owned()), keys }
}

/// All keys of a file with these values.
fn keys(values: Vec<FileValue<'_>>) -> Vec<EffectiveKey> {
    let values = FileValues::new(values);
    let samples = sample::keys();
    let sections = samples.iter().flat_map(SampleKey::sections).collect();
    let mut listing = Listing { values, sections, listed: BTreeSet::new(), keys: Vec::new() };
    for key in samples.iter().filter(|key| !key.is_shared()) {
        listing.add(key, &samples);
    }
    listing.add_rest();
    listing.keys
}

/// The values of the file in the order of their paths. A file may have 200,000 of them, and each key of
/// an item of a list is looked up.
struct FileValues<'a>(Vec<FileValue<'a>>);

/// The keys so far.
struct Listing<'a> {
    values: FileValues<'a>,
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
        let items: Vec<String> = self.values.items(kind).collect();
        if !items.is_empty() {
            return items;
        }
        let is_default = !self.values.has("forwarders") && kind == DEFAULT_FORWARDER;
        let is_set = is_default || self.values.has(kind);
        if is_set { vec![kind.to_owned()] } else { Vec::new() }
    }

    /// Lists a key at a path, in which each `[]` stands for all items of the list.
    fn add_key(&mut self, key: &SampleKey, path: &str) {
        if let Some((list, rest)) = path.split_once("[]") {
            let items: Vec<String> = self.values.items(list).collect();
            for item in items {
                self.add_key(key, &format!("{item}{rest}"));
            }
            return;
        }
        // A key without a value may also be one without a default.
        let is_section = self.sections.contains(&key.path);
        let is_free = FREE_SECTIONS.iter().any(|free| path.ends_with(&format!(".{free}")));
        let is_set = self.values.has(path);
        if is_set && (!is_section || is_free || self.values.at(path).is_some()) {
            self.add_values(path);
        } else if is_set || self.values.has_around(path) {
            // A section, whose keys follow; or the file has a shorthand for it.
        } else if !is_section && key.line == SampleLine::Default {
            let value = Some(key.value.clone()).filter(|value| !value.is_empty());
            self.keys.push(EffectiveKey { value, ..not_set(path) });
        } else if !is_section
            || is_free
            || self.values.items(path).next().is_none() && is_list(key, path)
        {
            self.keys.push(not_set(path));
        }
    }

    /// Lists the values at a path and below it; a list of scalars as one value.
    fn add_values(&mut self, path: &str) {
        let below: Vec<FileValue<'a>> = self.values.below(path).copied().collect();
        self.listed.extend(below.iter().map(|value| value.path));
        let is_item = |value: &FileValue<'_>| {
            let rest = value.path.strip_prefix(path).unwrap_or_default();
            rest.starts_with('[') && rest.ends_with(']') && !rest.contains('.')
        };
        if below.len() > 1 && below.iter().all(is_item) {
            let mut items: Vec<_> =
                below.iter().map(|value| (value.path.len(), value.path, value.effective)).collect();
            // By their numbers: a longer path of the same list has a larger one.
            items.sort_unstable();
            let items: Vec<&str> = items.into_iter().map(|(.., effective)| effective).collect();
            let value = FileValue { path, ..below[0] };
            let joined = Some(format!("[{}]", items.join(", ")));
            self.keys.push(EffectiveKey { value: joined, ..from_file(&value) });
            return;
        }
        self.keys.extend(below.iter().map(from_file));
    }

    /// Lists values under paths that the sample does not show.
    fn add_rest(&mut self) {
        let rest: Vec<FileValue<'a>> = self
            .values
            .0
            .iter()
            .filter(|value| !self.listed.contains(value.path))
            .copied()
            .collect();
        self.keys.extend(rest.iter().map(from_file));
    }
}

impl<'a> FileValues<'a> {
    fn new(mut values: Vec<FileValue<'a>>) -> Self {
        values.sort_unstable_by_key(|value| value.path);
        Self(values)
    }

    /// The value at exactly this path.
    fn at(&self, path: &str) -> Option<&FileValue<'a>> {
        let found = self.0.binary_search_by_key(&path, |value| value.path);
        found.ok().map(|index| &self.0[index])
    }

    /// The values at a path, and below it.
    fn below(&self, path: &str) -> impl Iterator<Item = &FileValue<'a>> {
        // Between both lie the paths of other keys, such as `path-name`.
        let members = ['.', '['].map(|step| {
            let prefix = format!("{path}{step}");
            let start = self.0.partition_point(|value| value.path < prefix.as_str());
            let values = self.0[start..].iter();
            values.take_while(move |value| value.path.starts_with(&prefix))
        });
        self.at(path).into_iter().chain(members.into_iter().flatten())
    }

    fn has(&self, path: &str) -> bool {
        self.below(path).next().is_some()
    }

    /// Whether a section around a path has a value itself, such as a shorthand.
    fn has_around(&self, path: &str) -> bool {
        path.match_indices(['.', '[']).any(|(end, _)| self.at(&path[..end]).is_some())
    }

    /// The items of a list in the file, such as `listeners[0]`.
    fn items(&self, list: &str) -> impl Iterator<Item = String> {
        (0..).map(move |index| format!("{list}[{index}]")).take_while(|item| self.has(item))
    }
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn value(path: &str) -> FileValue<'_> {
        FileValue { path, effective: "v", line: 1, references: None }
    }

    #[test]
    fn the_values_below_a_path_are_those_of_its_keys_and_items() {
        let paths = ["a", "a-b.c", "a.b", "a.b[0]", "a.b[1].c", "a.bc", "a[0]", "a[10]", "ab"];
        let values = FileValues::new(paths.into_iter().rev().map(value).collect());
        let below = |path| values.below(path).map(|value| value.path).collect::<Vec<_>>();
        assert_eq!(below("a"), ["a", "a.b", "a.b[0]", "a.b[1].c", "a.bc", "a[0]", "a[10]"]);
        assert_eq!(below("a.b"), ["a.b", "a.b[0]", "a.b[1].c"]);
        assert_eq!(below("a.b[1]"), ["a.b[1].c"]);
        assert_eq!(below("b"), [""; 0]);
        assert_eq!(values.items("a.b").collect::<Vec<_>>(), ["a.b[0]", "a.b[1]"]);
        assert!(values.has_around("a.x") && values.has_around("a[3].x"));
        assert!(
            !values.has_around("a-b.c") && !values.has_around("b.c") && !values.has_around("a")
        );
    }

    #[test]
    fn the_time_for_a_long_list_grows_with_its_length_only() {
        // Quadratic, 20,000 rules take minutes.
        let paths: Vec<String> = (0..20_000).map(|rule| format!("rules[{rule}].match")).collect();
        let values = paths.iter().map(|path| value(path)).collect();
        let started = Instant::now();
        let listed = keys(values).iter().filter(|key| key.key.starts_with("rules[")).count();
        assert!(listed >= 40_000, "{listed}");
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    }
}
