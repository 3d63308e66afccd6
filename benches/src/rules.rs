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
    many(count, |app| format!("match: \"app{app}.*.requests.**\""))
}

/// Where the regular expressions of rules differ.
#[derive(Clone, Copy, Debug)]
pub enum Regexes {
    /// At the start of the name.
    Start,
    /// In the middle of the name, after the same start.
    Middle,
    /// At the start of the name, with classes of Unicode after it.
    Unicode,
    /// In classes: they have no literal.
    Classes,
}

impl Regexes {
    /// Rules with regular expressions, each for the names of another application, and a general one at the
    /// end.
    ///
    /// # Panics
    /// When they are invalid.
    #[must_use]
    pub fn rules(self, count: usize) -> Arc<Rules> {
        many(count, |app| match self {
            Self::Start => format!("match_regex: '^app{app}\\.([^.]*)\\.requests\\.(.*)$'"),
            Self::Middle => format!("match_regex: '^prod\\.([^.]*)\\.app{app}\\.(.*)$'"),
            Self::Unicode => format!("match_regex: '^app{app}\\.(\\w+)\\.(requests\\.\\w.*)$'"),
            Self::Classes => {
                let digit =
                    |digit: char| format!("[{digit}{}]", (b'a' + digit as u8 - b'0') as char);
                let digits: String = app.to_string().chars().map(digit).collect();
                format!("match_regex: '^[a-z]+{digits}\\.([^.]*)\\.(.*)$'")
            }
        })
    }

    /// Lines of statsd, each with another name, to which these rules apply.
    #[must_use]
    pub fn lines(self, series: usize, rules: usize) -> DatagramList {
        lines_of(series, rules, |app, host| match self {
            Self::Start | Self::Unicode | Self::Classes => {
                format!("app{app}.host{host}.requests.login.get")
            }
            Self::Middle => format!("prod.host{host}.app{app}.login.get"),
        })
    }
}

fn many(count: usize, pattern: impl Fn(usize) -> String) -> Arc<Rules> {
    let mut yaml = "rules:\n".to_owned();
    for app in 1..count {
        let pattern = pattern(app);
        let tags = format!("{{ app: \"{app}\", host: \"$1\", path: \"$2\" }}");
        let _infallible = writeln!(yaml, "- {{ {pattern}, name: app.requests, tags: {tags} }}");
    }
    yaml += "- { match: \"**\", tags: { app: other } }\n";
    let source = Source::new("rules", yaml).with_literal_section("rules");
    let file: Result<RulesFile, _> = yaml::parse(&source, &|_| None);
    let rules = file.and_then(|file| Rules::compile(&file.rules, &source));
    Arc::new(rules.unwrap_or_else(|errors| panic!("{errors}")))
}

/// Lines of statsd, each with another name, to which the globs apply.
#[must_use]
pub fn lines(series: usize, rules: usize) -> DatagramList {
    Regexes::Start.lines(series, rules)
}

fn lines_of(series: usize, rules: usize, name: impl Fn(usize, usize) -> String) -> DatagramList {
    let mut datagrams = DatagramList::new(Protocol::Statsd);
    for number in 0..series {
        let name = name(number % rules, number / rules);
        datagrams.push(|bytes| {
            let _infallible = write!(bytes, "{name}:1|c");
        });
    }
    datagrams
}
