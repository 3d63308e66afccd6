//! For tests: what tallyd's rules make of a name.

use engine::listener::Protocol;
use engine::rules::{RuleSection, RuleVerdict, Rules};
use model::MetricKind;
use serde::Deserialize;
use yaml::{Source, Spanned};

use super::document::{Block, Value};

#[derive(Deserialize)]
struct RulesFile {
    rules: Vec<Spanned<RuleSection>>,
}

/// The name and tags that the rules make, as `name;key=value`, with the factor of values if it is not 1;
/// `dropped` for a rule that drops.
pub(super) fn applied(rules: &[Block], kind: MetricKind, name: &str) -> String {
    let mut file = Block::default();
    file.set("rules", Value::List(rules.iter().cloned().map(Value::Block).collect()));
    let source = Source::new("rules", file.write()).with_literal_section("rules");
    let file: RulesFile = yaml::parse(&source, &|_| None).unwrap_or_else(|error| panic!("{error}"));
    let rules = Rules::compile(&file.rules, &source).unwrap_or_else(|error| panic!("{error}"));
    let RuleVerdict::Change(change) = rules.apply(Protocol::Statsd, kind, name).verdict else {
        return "dropped".to_owned();
    };
    let mut text = change.name.unwrap_or_else(|| name.to_owned());
    for (key, value) in change.tags {
        text += &format!(";{key}={value}");
    }
    if change.scale != 1.0 { format!("{text} * {}", change.scale) } else { text }
}
