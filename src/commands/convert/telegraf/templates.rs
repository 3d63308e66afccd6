//! The templates of the statsd input: parts of a name that become tags.

use super::super::document::{Block, Value};
use super::super::notes::Notes;

/// A template, as Telegraf reads it: `[separator] [filter] template [tag=value,…]`.
#[derive(Debug, PartialEq)]
struct Template {
    separator: String,
    filter: String,
    parts: Vec<String>,
    tags: Vec<(String, String)>,
}

/// The rules for these templates. `joiner` is `metric_separator`, which joins the parts of a name or of
/// a tag.
pub(super) fn rules(
    templates: &[String],
    joiner: &str,
    setting: &str,
    notes: &mut Notes,
) -> Vec<Block> {
    let mut parsed: Vec<(&String, Template)> = Vec::new();
    for text in templates {
        match parse(text) {
            Ok(template) => parsed.push((text, template)),
            Err(words) => notes.lost(format!("{setting}: {text}"), words),
        }
    }
    // The longest filter applies, and a part before a `*` in the same place. The template without a
    // filter is for everything else; of several, Telegraf uses the last one.
    parsed.sort_by_key(|(_, template)| {
        let parts = filter_parts(template);
        let stars: Vec<bool> = parts.iter().map(|part| *part == "*").collect();
        (
            template.filter.is_empty(),
            Specificity { stars, parts: parts.iter().map(ToString::to_string).collect() },
        )
    });
    if let Some(last) = parsed.iter().rposition(|(_, template)| template.filter.is_empty()) {
        let first =
            parsed.iter().position(|(_, template)| template.filter.is_empty()).unwrap_or(last);
        for (text, _) in parsed.drain(first..last) {
            notes.lost(
                format!("{setting}: {text}"),
                "had no effect: a later template without a filter replaces it",
            );
        }
    }
    parsed
        .iter()
        .flat_map(|(text, template)| of_template(text, template, joiner, setting, notes))
        .collect()
}

/// The order of filters: where two filters can match one name, the one that Telegraf prefers is less.
#[derive(PartialEq, Eq)]
struct Specificity {
    stars: Vec<bool>,
    parts: Vec<String>,
}

impl Ord for Specificity {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let common = self.stars.len().min(other.stars.len());
        // Telegraf walks from left to right: a literal part first; at the end, the longer filter.
        self.stars[..common]
            .cmp(&other.stars[..common])
            .then(other.stars.len().cmp(&self.stars.len()))
            .then(self.parts.cmp(&other.parts))
    }
}

impl PartialOrd for Specificity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

fn filter_parts(template: &Template) -> Vec<&str> {
    if template.filter.is_empty() { Vec::new() } else { template.filter.split('.').collect() }
}

fn parse(text: &str) -> Result<Template, &'static str> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let has_tags = words.last().is_some_and(|last| last.contains('='));
    let (separator, filter, template, tags) = match (words.as_slice(), has_tags) {
        ([template], _) => (".", "", *template, ""),
        ([template, tags], true) => (".", "", *template, *tags),
        ([filter, template], false) => (".", *filter, *template, ""),
        ([filter, template, tags], true) => (".", *filter, *template, *tags),
        ([separator, filter, template], false) => (*separator, *filter, *template, ""),
        ([separator, filter, template, tags], _) => (*separator, *filter, *template, *tags),
        _ => return Err("is no template of Telegraf"),
    };
    if separator != "." {
        return Err(
            "has a separator other than a dot, between which `rules` divide names; use `match_regex`",
        );
    }
    if filter.split('.').any(|part| part.contains('*') && part != "*") {
        return Err(
            "has a filter with a `*` inside a part, which Telegraf compares as text; it matches nothing",
        );
    }
    let parts: Vec<String> = template.split('.').map(str::to_owned).collect();
    if !parts.iter().any(|part| part.starts_with("measurement")) {
        return Err("has no `measurement`, so that Telegraf refuses it");
    }
    let pair =
        |tag: &str| tag.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    let tags = tags.split(',').filter_map(pair).collect();
    Ok(Template { separator: separator.to_owned(), filter: filter.to_owned(), parts, tags })
}

/// The rules of a template. A name may have more or fewer parts than it: more are left out, unless the
/// last part takes them all, and missing ones have no effect. So there is a rule for each shorter name.
fn of_template(
    text: &str,
    template: &Template,
    joiner: &str,
    setting: &str,
    notes: &mut Notes,
) -> Vec<Block> {
    let setting = format!("{setting}: {text}");
    let greedy = template.parts.iter().position(|part| part.ends_with('*'));
    let used = greedy.map_or(template.parts.len(), |at| at + 1);
    let parts = &template.parts[..used];
    if parts.iter().any(|part| part.starts_with("field")) {
        let words =
            "`field` becomes a part of the name: a point of tallyd has the fields of its type";
        notes.differs(&setting, words);
    }
    if greedy.is_some() && joiner != "." {
        let words = format!(
            "the parts of `*` keep their dots, except in line protocol; Telegraf joins them with `{joiner}`"
        );
        notes.differs(&setting, words);
    }
    let filter = filter_parts(template);
    let longest = used.max(filter.len()).max(1);
    let shortest = filter.len().max(1);
    let mut rules = Vec::new();
    for length in (shortest..=longest).rev() {
        let used = used.min(length);
        if !parts[..used].iter().any(|part| part.starts_with("measurement")) {
            notes.differs(
                &setting,
                "a name with too few parts has no measurement, and is not renamed",
            );
            break;
        }
        let name_parts: Vec<&str> =
            (0..length).map(|at| filter.get(at).copied().unwrap_or("*")).collect();
        let matched = match (length == longest, greedy) {
            (true, Some(_)) if used == length => Matched::from_part(&name_parts),
            (true, _) => Matched::and_more(&name_parts),
            (false, _) => Matched::exactly(&name_parts),
        };
        rules.push(rule(template, used, matched, joiner));
    }
    rules
}

/// What a rule matches, and the text for each part of the name.
struct Matched {
    key: &'static str,
    pattern: String,
    texts: Vec<String>,
}

impl Matched {
    /// Names with exactly these parts, of which `*` is any.
    fn exactly(parts: &[&str]) -> Self {
        Self { key: "match", pattern: parts.join("."), texts: references(parts) }
    }

    /// Names with these parts, and any further ones.
    fn and_more(parts: &[&str]) -> Self {
        Self { key: "match", pattern: format!("{}.**", parts.join(".")), texts: references(parts) }
    }

    /// Names with these parts, of which the last stands for one or more. A glob has no such wildcard.
    fn from_part(parts: &[&str]) -> Self {
        let last = parts.len() - 1;
        let regex = |(at, part): (usize, &&str)| match (*part == "*", at == last) {
            (true, false) => "([^.]*)".to_owned(),
            (true, true) => "(.+)".to_owned(),
            (false, false) => escaped(part),
            // The filter gives its first part.
            (false, true) => format!("({}(?:\\..*)?)", escaped(part)),
        };
        let regexes: Vec<String> = parts.iter().enumerate().map(regex).collect();
        let mut texts = references(parts);
        let wildcards = parts[..last].iter().filter(|part| **part == "*").count();
        texts[last] = format!("${{{}}}", wildcards + 1);
        Self { key: "match_regex", pattern: format!("^{}$", regexes.join("\\.")), texts }
    }
}

/// The text of each part: a reference for `*`.
fn references(parts: &[&str]) -> Vec<String> {
    let mut wildcards = 0;
    let text = |part: &&str| {
        if *part == "*" {
            wildcards += 1;
            return format!("${{{wildcards}}}");
        }
        part.replace('$', "$$")
    };
    parts.iter().map(text).collect()
}

/// A text in a regular expression.
fn escaped(text: &str) -> String {
    let is_special = |c: char| "\\.+*?()|[]{}^$#&-~".contains(c);
    text.chars().flat_map(|c| is_special(c).then_some('\\').into_iter().chain([c])).collect()
}

/// The rule for names whose first `used` parts the template names.
fn rule(template: &Template, used: usize, matched: Matched, joiner: &str) -> Block {
    let (mut name, mut field) = (Vec::new(), Vec::new());
    let mut tags: Vec<(&str, Vec<&str>)> = Vec::new();
    for (word, text) in template.parts[..used].iter().zip(&matched.texts) {
        match word.trim_end_matches('*') {
            "" => {}
            "measurement" => name.push(text.as_str()),
            "field" => field.push(text.as_str()),
            key => match tags.iter_mut().find(|(other, _)| *other == key) {
                Some((_, texts)) => texts.push(text),
                None => tags.push((key, vec![text])),
            },
        }
    }
    name.append(&mut field);
    let mut block = Block::default();
    block
        .set(matched.key, Value::Text(matched.pattern))
        .set("name", Value::Text(name.join(joiner)));
    for (key, value) in &template.tags {
        block.block("tags").set(key, Value::Text(value.replace('$', "$$")));
    }
    for (key, texts) in tags {
        block.block("tags").set(key, Value::Text(texts.join(joiner)));
    }
    block
}

#[cfg(test)]
mod tests {
    use model::MetricKind;

    use super::super::super::applied::applied;
    use super::*;

    /// The measurement and tags that Telegraf makes of names; the examples of its documentation and its
    /// tests.
    #[test]
    fn names_become_the_measurements_and_tags_of_telegraf() {
        for (templates, joiner, name, expected) in [
            (
                &["measurement.measurement.region"][..],
                "_",
                "cpu.load.us-west",
                "cpu_load;region=us-west",
            ),
            (&["region.region.measurement*"], ".", "us.west.cpu.load", "cpu.load;region=us.west"),
            (
                &["*.*.* region.region.measurement", "*.*.*.* region.region.host.measurement"],
                "_",
                "eu.central.cpu",
                "cpu;region=eu_central",
            ),
            (
                &["*.*.* region.region.measurement", "*.*.*.* region.region.host.measurement"],
                "_",
                "eu.central.web1.cpu",
                "cpu;host=web1;region=eu_central",
            ),
            (&["cpu.* measurement.measurement.region"], "_", "mem.cached.x", "mem.cached.x"),
            (&["cpu.* measurement.measurement.region"], "_", "cpu.load", "cpu_load"),
            (
                &["cpu.* measurement.measurement.region"],
                "_",
                "cpu.load.eu.more.parts",
                "cpu_load;region=eu",
            ),
            (&["a.* measurement.host", "a.b measurement.zone"], "_", "a.b", "a;zone=b"),
            (&["a.* measurement.host", "a.b measurement.zone"], "_", "a.c", "a;host=c"),
            (&["measurement.host zone=1a,az=b"], "_", "m.h", "m;az=b;host=h;zone=1a"),
            (&["measurement..host"], "_", "m.x.h", "m;host=h"),
            (&["measurement*"], ".", "a.b.c", "a.b.c"),
            (&["host.measurement*"], ".", "a", "a"),
            (&["stats.* .host.measurement*"], ".", "stats.h.a.b", "a.b;host=h"),
        ] {
            let templates: Vec<String> = templates.iter().map(ToString::to_string).collect();
            let rules = rules(&templates, joiner, "templates", &mut Notes::default());
            assert_eq!(
                applied(&rules, MetricKind::Counter, name),
                expected,
                "{templates:?} {name}"
            );
        }
    }

    fn text(templates: &[&str], joiner: &str) -> (String, Notes) {
        let templates: Vec<String> = templates.iter().map(ToString::to_string).collect();
        let mut notes = Notes::default();
        let rules = rules(&templates, joiner, "templates", &mut notes);
        let mut block = Block::default();
        block.set("rules", Value::List(rules.into_iter().map(Value::Block).collect()));
        (block.write(), notes)
    }

    #[test]
    fn a_template_becomes_a_rule_for_each_number_of_parts() {
        let (rules, notes) = text(&["cpu.* measurement.region.measurement zone=1a"], "_");
        assert_eq!(
            rules,
            "rules:\n  - match: \"cpu.*.*.**\"\n    name: \"cpu_${2}\"\n    tags:\n      zone: \"1a\"\n      \
             region: \"${1}\"\n  - match: \"cpu.*\"\n    name: cpu\n    tags:\n      zone: \"1a\"\n      \
             region: \"${1}\"\n"
        );
        assert_eq!(notes.counts(), (0, 0));
    }

    #[test]
    fn a_part_with_a_star_takes_the_rest_of_the_name() {
        let (rules, notes) = text(&["region.measurement*"], ".");
        assert_eq!(
            rules,
            "rules:\n  - match_regex: \"^([^.]*)\\\\.(.+)$\"\n    name: \"${2}\"\n    tags:\n      region: \
             \"${1}\"\n"
        );
        assert_eq!(notes.counts(), (0, 1), "a name with one part has no measurement");
    }

    #[test]
    fn the_filter_that_telegraf_prefers_comes_first() {
        let (rules, notes) = text(
            &["measurement.a", "*.b measurement", "x.* measurement", "x.*.c measurement"],
            "_",
        );
        let matches: Vec<&str> = rules.lines().filter(|line| line.contains("match")).collect();
        assert_eq!(
            matches,
            [
                "  - match: \"x.*.c.**\"",
                "  - match: \"x.*.**\"",
                "  - match: \"*.b.**\"",
                "  - match: \"*.*.**\"",
                "  - match: \"*\""
            ]
        );
        assert_eq!(notes.counts(), (0, 0));
    }

    #[test]
    fn templates_that_cannot_be_rules_are_named() {
        let (_, notes) = text(
            &["/ a/b measurement", "region", "a*.b measurement", "measurement", "measurement.x"],
            "_",
        );
        assert_eq!(notes.counts(), (4, 0));
        assert!(notes.comments().contains("measurement: had no effect"), "{}", notes.comments());
    }
}
