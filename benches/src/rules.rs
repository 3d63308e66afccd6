//! Many mapping rules, and lines to which they apply.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;

use engine::listener::Protocol;
use engine::rules::{RuleSection, Rules};
use serde::Deserialize;
use yaml::{Source, Spanned};

use crate::datagrams::DatagramList;

#[derive(Deserialize)]
struct RulesFile {
    rules: Vec<Spanned<RuleSection>>,
}

/// Rules with globs, each for the names of another application, and a general one at the end.
///
/// # Panics
/// When they are invalid.
#[must_use]
pub fn globs(count: usize) -> Arc<Rules> {
    many(count, "match: \"app{}.*.requests.**\"")
}

/// The same rules with regular expressions.
///
/// # Panics
/// When they are invalid.
#[must_use]
pub fn regexes(count: usize) -> Arc<Rules> {
    many(count, "match_regex: '^app{}\\.([^.]*)\\.requests\\.(.*)$'")
}

fn many(count: usize, pattern: &str) -> Arc<Rules> {
    let mut yaml = "rules:\n".to_owned();
    for app in 1..count {
        let pattern = pattern.replace("{}", &app.to_string());
        let tags = format!("{{ app: \"{app}\", host: \"$1\", path: \"$2\" }}");
        let _infallible = writeln!(yaml, "- {{ {pattern}, name: app.requests, tags: {tags} }}");
    }
    yaml += "- { match: \"**\", tags: { app: other } }\n";
    let source = Source::new("rules", yaml).with_literal_section("rules");
    let file: Result<RulesFile, _> = yaml::parse(&source, &|_| None);
    let rules = file.and_then(|file| Rules::compile(&file.rules, &source));
    Arc::new(rules.unwrap_or_else(|errors| panic!("{errors}")))
}

/// Lines of statsd, each with another name, to which these rules apply.
#[must_use]
pub fn lines(series: usize, rules: usize) -> DatagramList {
    let mut datagrams = DatagramList::new(Protocol::Statsd);
    for number in 0..series {
        let (app, host) = (number % rules, number / rules);
        datagrams.push(|bytes| {
            let _infallible = write!(bytes, "app{app}.host{host}.requests.login.get:1|c");
        });
    }
    datagrams
}
