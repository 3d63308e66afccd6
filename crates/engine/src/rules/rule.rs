//! One compiled rule, and the checks of its keys.

use std::time::Duration;

use model::MetricKind;

use super::name_regex::NameRegex;
use super::pattern::Pattern;
use super::section::RuleSection;
use super::template::{Reference, Template};
use crate::protocol::dispatch::Protocol;
use yaml::{ConfigError, Source, SourceSpan, Spanned};

/// Maximum number of tags that a rule sets.
const TAGS_MAX: usize = 64;
/// Maximum length of the key of a tag that a rule sets, in bytes.
const KEY_BYTES_MAX: usize = 256;

/// The number of a rule in the configuration, from 0.
pub type RuleNumber = u32;

/// A rule whose keys fit together.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rule {
    /// Its line in the configuration file.
    pub(super) line: usize,
    pub(super) pattern: Pattern,
    pub(super) kinds: KindFilter,
    pub(super) protocol: Option<Protocol>,
    pub(super) name: Option<Template>,
    /// Sorted by key.
    pub(super) tags: Vec<(String, Template)>,
    pub(super) continues: bool,
    pub(super) drops: bool,
    pub(super) scale: f64,
    pub(super) expire_after: Option<Duration>,
}

/// The types to which a rule applies, a bit for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KindFilter(u8);

impl KindFilter {
    const ALL: Self = Self(u8::MAX);

    fn of(kinds: impl Iterator<Item = MetricKind>) -> Self {
        Self(kinds.fold(0, |bits, kind| bits | Self::bit(kind)))
    }

    fn bit(kind: MetricKind) -> u8 {
        1 << kind as u8
    }

    fn has(self, kind: MetricKind) -> bool {
        self.0 & Self::bit(kind) != 0
    }

    fn includes(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Whether a factor applies to the values of a type.
pub(super) fn is_scalable(kind: MetricKind) -> bool {
    matches!(kind, MetricKind::Counter | MetricKind::Gauge | MetricKind::Timer)
}

/// A key of a rule with an error.
struct InvalidRuleKey {
    span: SourceSpan,
    /// Its path in the rule; empty for the rule itself.
    key: String,
    message: String,
}

impl InvalidRuleKey {
    fn new(span: SourceSpan, key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { span, key: key.into(), message: message.into() }
    }
}

impl Rule {
    /// Compiles an entry of `rules`.
    ///
    /// # Errors
    /// At a key that is missing, or does not fit another one.
    pub(super) fn compile(
        section: &Spanned<RuleSection>,
        index: usize,
        source: &Source,
    ) -> Result<Self, ConfigError> {
        Self::new(section).map_err(|InvalidRuleKey { span, key, message }| {
            let dot = if key.is_empty() { "" } else { "." };
            source.error_at(span, format!("`rules[{index}]{dot}{key}`: {message}"))
        })
    }

    fn new(section: &Spanned<RuleSection>) -> Result<Self, InvalidRuleKey> {
        check_effect(section)?;
        check_scale(section)?;
        let pattern = pattern(section)?;
        if let Some(name) = &section.name {
            check_references(&pattern, name, "name")?;
            if name.is_empty() {
                let message = "must not be empty; omit the key to keep the name";
                return Err(InvalidRuleKey::new(name.span(), "name", message));
            }
        }
        for (key, value) in &section.tags {
            if key.is_empty() || key.len() > KEY_BYTES_MAX || key.contains(char::is_control) {
                let message = format!(
                    "the name of a tag has 1 to {KEY_BYTES_MAX} bytes and no control characters"
                );
                return Err(InvalidRuleKey::new(value.span(), "tags", message));
            }
            check_references(&pattern, value, &format!("tags.{key}"))?;
        }
        if section.tags.len() > TAGS_MAX {
            let message = format!("a rule may set at most {TAGS_MAX} tags");
            return Err(InvalidRuleKey::new(section.span(), "tags", message));
        }
        let kinds = section.types.as_ref();
        let tags = section.tags.iter();
        Ok(Self {
            line: section.span().start.line,
            pattern,
            kinds: kinds.map_or(KindFilter::ALL, |kinds| KindFilter::of(kinds.iter().map(|k| k.0))),
            protocol: section.protocol,
            name: section.name.as_ref().map(|name| name.get().clone()),
            tags: tags.map(|(key, value)| (key.clone(), value.get().clone())).collect(),
            continues: section.continues,
            drops: section.drops,
            scale: section.scale.map_or(1.0, |scale| scale.0),
            expire_after: section.expire_after.map(|time| time.get().get()),
        })
    }

    /// Whether it applies to series of this type and protocol whose names match.
    pub(super) fn is_for(&self, protocol: Protocol, kind: MetricKind) -> bool {
        self.kinds.has(kind) && self.protocol.is_none_or(|wanted| wanted == protocol)
    }

    /// Whether it applies to all types and protocols of another one.
    pub(super) fn is_for_all_of(&self, other: &Self) -> bool {
        self.kinds.includes(other.kinds)
            && (self.protocol.is_none() || self.protocol == other.protocol)
    }
}

fn pattern(section: &Spanned<RuleSection>) -> Result<Pattern, InvalidRuleKey> {
    match (&section.glob, &section.regex) {
        (Some(glob), None) => Ok(Pattern::Glob(glob.get().clone())),
        (None, Some(regex)) => NameRegex::new(regex)
            .map(Pattern::Regex)
            .map_err(|message| InvalidRuleKey::new(regex.span(), "match_regex", message)),
        (Some(_), Some(regex)) => {
            let message = "a rule has either `match` or `match_regex`; make two rules";
            Err(InvalidRuleKey::new(regex.span(), "match_regex", message))
        }
        (None, None) => {
            let message = "`match` or `match_regex` is missing; `match: \"**\"` matches every name";
            Err(InvalidRuleKey::new(section.span(), "", message))
        }
    }
}

/// Checks that the rule does something that a later rule does not undo.
fn check_effect(section: &Spanned<RuleSection>) -> Result<(), InvalidRuleKey> {
    let RuleSection { name, tags, scale, expire_after, drops, continues, .. } = section.get();
    let spans = [
        ("name", name.as_ref().map(Spanned::span)),
        ("tags", tags.values().next().map(Spanned::span)),
        ("scale", scale.as_ref().map(Spanned::span)),
        ("expire_after", expire_after.as_ref().map(Spanned::span)),
    ];
    let first = spans.iter().find_map(|(key, span)| span.map(|span| (*key, span)));
    match (drops, continues, first) {
        (true, _, Some((key, span))) => {
            let message = "has no effect with `drop: true`; remove one of them";
            Err(InvalidRuleKey::new(span, key, message))
        }
        (true, true, None) => {
            let message = "no rule applies after `drop: true`; remove `continue`";
            Err(InvalidRuleKey::new(section.span(), "continue", message))
        }
        (false, true, None) => {
            let message = "the rule changes nothing; remove it, or remove `continue` to keep later \
                           rules from the names that it matches";
            Err(InvalidRuleKey::new(section.span(), "", message))
        }
        _ => Ok(()),
    }
}

fn check_scale(section: &RuleSection) -> Result<(), InvalidRuleKey> {
    let Some(types) = &section.types else { return Ok(()) };
    if types.is_empty() {
        let message = "must not be empty; omit the key for all types";
        return Err(InvalidRuleKey::new(types.span(), "types", message));
    }
    match &section.scale {
        Some(scale) if !types.iter().any(|kind| is_scalable(kind.0)) => {
            let message = "only counters, gauges and timers have values that can be multiplied";
            Err(InvalidRuleKey::new(scale.span(), "scale", message))
        }
        _ => Ok(()),
    }
}

fn check_references(
    pattern: &Pattern,
    template: &Spanned<Template>,
    key: &str,
) -> Result<(), InvalidRuleKey> {
    let check = |reference: &Reference| pattern.check(reference);
    let checked = template.references().try_for_each(check);
    checked.map_err(|message| InvalidRuleKey::new(template.span(), key, message))
}
