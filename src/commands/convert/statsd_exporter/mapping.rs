//! The mappings of the exporter, and their defaults.

use std::time::Duration;

use super::super::document::{Block, Value};
use super::super::notes::Notes;
use super::super::setting::{ConvertError, Section};
use super::super::span::{go_duration, span};
use super::template;

/// How the name of a metric is compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum MatchType {
    Glob,
    Regex,
}

/// How a timer is shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Observer {
    Summary,
    Histogram,
}

/// The options of timers, of a mapping or the defaults.
#[derive(Clone, Debug, Default)]
pub(super) struct TimerOptions {
    pub(super) observer: Option<Observer>,
    pub(super) quantiles: Vec<f64>,
    pub(super) buckets: Vec<f64>,
    pub(super) native_buckets: Option<f64>,
}

/// The section `defaults`.
#[derive(Debug)]
pub(super) struct Defaults {
    pub(super) timers: TimerOptions,
    match_type: MatchType,
    pub(super) is_unordered: bool,
    /// The time to live of series; none for forever.
    pub(super) ttl: Option<Duration>,
}

/// An entry of `mappings`.
#[derive(Debug)]
pub(super) struct Mapping {
    /// Its place in the file, such as `mappings[2]`.
    pub(super) setting: String,
    pub(super) pattern: String,
    pub(super) match_type: MatchType,
    pub(super) name: String,
    labels: Vec<(String, String)>,
    is_dropped: bool,
    types: Option<Vec<&'static str>>,
    pub(super) ttl: Option<Duration>,
    scale: Option<f64>,
    pub(super) timers: TimerOptions,
}

impl Defaults {
    pub(super) fn take(section: Option<Section>, notes: &mut Notes) -> Result<Self, ConvertError> {
        let mut defaults = Self {
            timers: TimerOptions::default(),
            match_type: MatchType::Glob,
            is_unordered: false,
            ttl: None,
        };
        let Some(mut section) = section else { return Ok(defaults) };
        defaults.timers = TimerOptions::take(&mut section, notes)?;
        defaults.match_type = match_type(&mut section)?.unwrap_or(MatchType::Glob);
        defaults.is_unordered = section.flag("glob_disable_ordering")?.unwrap_or(false);
        defaults.ttl = ttl(&mut section)?;
        section.finish(notes);
        Ok(defaults)
    }
}

impl TimerOptions {
    /// Takes the options, also those of releases before 0.17, which have no sections.
    fn take(section: &mut Section, notes: &mut Notes) -> Result<Self, ConvertError> {
        let mut options = Self::default();
        for key in ["timer_type", "observer_type"] {
            match section.text(key)?.as_deref() {
                None | Some("") => {}
                Some("summary") => options.observer = Some(Observer::Summary),
                Some("histogram") => options.observer = Some(Observer::Histogram),
                Some(other) => {
                    let name = section.name_of(key);
                    return Err(ConvertError(format!(
                        "`{name}` is `summary` or `histogram`, not `{other}`"
                    )));
                }
            }
        }
        options.buckets = numbers(section, "buckets")?;
        options.quantiles = quantiles(section, notes)?;
        if let Some(mut summary) = section.section("summary_options")? {
            options.quantiles.extend(quantiles(&mut summary, notes)?);
            let words = "quantiles describe the latest window with samples, exactly for up to \
                         `aggregation.exact_samples` values";
            summary.without_equivalent(
                &[("max_age", words), ("age_buckets", words), ("buf_cap", words)],
                notes,
            );
            summary.finish(notes);
        }
        if let Some(mut histogram) = section.section("histogram_options")? {
            options.buckets.extend(numbers(&mut histogram, "buckets")?);
            options.native_buckets = histogram.number("native_histogram_max_buckets")?;
            let words = "native histograms have a factor of 2^(1/64), at most 1.1 of the exporter's default";
            histogram.without_equivalent(&[("native_histogram_bucket_factor", words)], notes);
            histogram.finish(notes);
        }
        Ok(options)
    }
}

impl Mapping {
    pub(super) fn take(
        mut section: Section,
        defaults: &Defaults,
        notes: &mut Notes,
    ) -> Result<Self, ConvertError> {
        let setting = section.name_of("").trim_end_matches('.').to_owned();
        let Some(pattern) = section.text("match")? else {
            return Err(ConvertError(format!("`{setting}` has no `match`")));
        };
        let is_dropped = match section.text("action")?.as_deref() {
            None | Some("" | "map") => false,
            Some("drop") => true,
            Some(other) => {
                return Err(ConvertError(format!(
                    "`{setting}.action` is `map` or `drop`, not `{other}`"
                )));
            }
        };
        let labels =
            section.section("labels")?.map(Section::pairs).transpose()?.unwrap_or_default();
        let mapping = Self {
            pattern,
            match_type: match_type(&mut section)?.unwrap_or(defaults.match_type),
            name: section.text("name")?.unwrap_or_default(),
            labels,
            is_dropped,
            types: types(&mut section)?,
            ttl: ttl(&mut section)?,
            scale: section.number("scale")?,
            timers: TimerOptions::take(&mut section, notes)?,
            setting,
        };
        if section.flag("honor_labels")? == Some(true) {
            let words = "a tag of the message would win; the tags of a rule always replace those of the message";
            notes.lost(section.name_of("honor_labels"), words);
        }
        let words = "the page has tallyd's help text: the type and the name";
        section.without_equivalent(&[("help", words)], notes);
        section.finish(notes);
        Ok(mapping)
    }

    /// Whether the exporter never applies a later mapping because of this one: its state machine for globs
    /// ignores a pattern of which it knows a longer one (its issue 351).
    pub(super) fn hides(&self, later: &Self) -> bool {
        let is_longer =
            self.pattern.strip_prefix(&later.pattern).is_some_and(|rest| rest.starts_with('.'));
        is_longer && (self.types.is_none() || self.types == later.types)
    }

    /// The rule of tallyd with the same effect.
    pub(super) fn rule(&self, notes: &mut Notes) -> Block {
        let mut rule = Block::default();
        let key = if self.match_type == MatchType::Glob { "match" } else { "match_regex" };
        rule.set(key, Value::Text(self.pattern.clone()));
        rule.set_some("types", self.types.clone().map(Value::words));
        if self.is_dropped {
            rule.set("drop", Value::word(true));
            return rule;
        }
        let mut convert = |setting: String, text: &str| match self.match_type {
            MatchType::Glob => template::of_glob(text),
            MatchType::Regex => template::of_regex(text, &self.pattern, &setting, notes),
        };
        rule.set("name", Value::Text(convert(format!("{}.name", self.setting), &self.name)));
        for (label, text) in &self.labels {
            let text = convert(format!("{}.labels.{label}", self.setting), text);
            rule.block("tags").set(label, Value::Text(text));
        }
        match self.scale {
            Some(scale) if scale != 0.0 => {
                rule.set("scale", Value::word(scale));
            }
            Some(_) => notes.lost(format!("{}.scale", self.setting), "0 would make every value 0"),
            None => {}
        }
        rule.set_some("expire_after", self.ttl.map(span).map(Value::word));
        rule
    }

    /// Whether it applies to timers that are shown.
    pub(super) fn is_for_timers(&self) -> bool {
        !self.is_dropped && self.types.as_ref().is_none_or(|types| types.contains(&"timer"))
    }
}

fn match_type(section: &mut Section) -> Result<Option<MatchType>, ConvertError> {
    match section.text("match_type")?.as_deref() {
        None | Some("") => Ok(None),
        Some("glob") => Ok(Some(MatchType::Glob)),
        Some("regex") => Ok(Some(MatchType::Regex)),
        Some(other) => {
            let name = section.name_of("match_type");
            Err(ConvertError(format!("`{name}` is `glob` or `regex`, not `{other}`")))
        }
    }
}

/// The types of a mapping, in tallyd's words.
fn types(section: &mut Section) -> Result<Option<Vec<&'static str>>, ConvertError> {
    match section.text("match_metric_type")?.as_deref() {
        None | Some("") => Ok(None),
        Some("counter") => Ok(Some(vec!["counter"])),
        Some("gauge") => Ok(Some(vec!["gauge"])),
        Some("observer" | "timer") => Ok(Some(vec!["timer"])),
        Some(other) => {
            let name = section.name_of("match_metric_type");
            Err(ConvertError(format!(
                "`{name}` is `counter`, `gauge` or `observer`, not `{other}`"
            )))
        }
    }
}

/// A time to live; 0 is forever.
fn ttl(section: &mut Section) -> Result<Option<Duration>, ConvertError> {
    let Some(text) = section.text("ttl")? else { return Ok(None) };
    match go_duration(&text) {
        Some(duration) => Ok(Some(duration).filter(|duration| !duration.is_zero())),
        None => Err(ConvertError(format!(
            "`{}` must be a duration such as 1m20s",
            section.name_of("ttl")
        ))),
    }
}

fn numbers(section: &mut Section, key: &str) -> Result<Vec<f64>, ConvertError> {
    let texts = section.texts(key)?.unwrap_or_default();
    let parsed: Option<Vec<f64>> = texts.iter().map(|text| text.parse().ok()).collect();
    parsed.ok_or_else(|| {
        ConvertError(format!("`{}` must be a list of numbers", section.name_of(key)))
    })
}

/// The quantiles, without their errors: tallyd's percentiles are exact or within 0.55 %.
fn quantiles(section: &mut Section, notes: &mut Notes) -> Result<Vec<f64>, ConvertError> {
    let mut quantiles = Vec::new();
    for mut entry in section.sections("quantiles")?.unwrap_or_default() {
        quantiles.extend(entry.number("quantile")?);
        entry.take("error");
        entry.finish(notes);
    }
    Ok(quantiles)
}
