//! The keys that the sample file shows, with their defaults. Tests compare them with the code.

/// The sample file, `etc/tallyd.yaml`.
pub const SAMPLE: &str = include_str!("../../etc/tallyd.yaml");

/// The kind of a line of the sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleLine {
    /// `# text`, or an empty line.
    Prose,
    /// `#key: value`, a default.
    Default,
    /// `##key: value`, an example of a key without a default.
    Example,
}

/// A key that the sample shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleKey {
    /// Its path, in which `[]` stands for any item of a list.
    pub path: String,
    /// Whether its value is the default or an example.
    pub line: SampleLine,
    /// Its value; empty if it is a section or list on further lines.
    pub value: String,
}

/// All lines of the sample with their kinds and, except for prose, the YAML in them.
pub fn lines() -> impl Iterator<Item = (SampleLine, &'static str)> {
    SAMPLE.lines().map(|line| {
        let Some(commented) = line.strip_prefix('#') else { return (SampleLine::Prose, line) };
        if let Some(example) = commented.strip_prefix('#') {
            return (SampleLine::Example, example);
        }
        let is_text = |text: &str| !text.starts_with(' ');
        match commented.strip_prefix(' ') {
            Some(text) if is_text(text) => (SampleLine::Prose, commented),
            None if commented.is_empty() => (SampleLine::Prose, commented),
            _ => (SampleLine::Default, commented),
        }
    })
}

/// All keys, in the order of the sample. Of a key that several items of a list show, the default is
/// returned, else the last example.
#[must_use]
pub fn keys() -> Vec<SampleKey> {
    let mut keys: Vec<SampleKey> = Vec::new();
    let mut sections: Vec<(usize, String)> = Vec::new();
    for (line, yaml) in lines().filter(|(line, _)| *line != SampleLine::Prose) {
        let mut indent = yaml.len() - yaml.trim_start().len();
        let mut entry = yaml.trim_start();
        let is_item = entry.starts_with("- ");
        if is_item {
            (indent, entry) = (indent + 2, &entry[2..]);
        }
        sections.retain(|(outer, _)| *outer < indent);
        if is_item
            && let Some((_, section)) = sections.last_mut()
            && !section.ends_with("[]")
        {
            section.push_str("[]");
        }
        let (key, value) = entry.split_once(':').unwrap_or((entry, ""));
        let path = match sections.last() {
            Some((_, section)) => format!("{section}.{key}"),
            None => key.to_owned(),
        };
        sections.push((indent, path.clone()));
        let value = value.trim().to_owned();
        match keys.iter_mut().find(|known| known.path == path) {
            Some(known) if known.line == SampleLine::Default => {}
            Some(known) => (known.line, known.value) = (line, value),
            None => keys.push(SampleKey { path, line, value }),
        }
    }
    keys
}
