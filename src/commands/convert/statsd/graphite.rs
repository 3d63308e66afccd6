//! The backend for Graphite: its address, names and arithmetic.

use super::super::address::address;
use super::super::document::{Block, Value};
use super::super::notes::Notes;
use super::super::plan::Plan;
use super::super::setting::{ConvertError, Section};
use super::idle::IdleSettings;

/// The parts of names, as statsd and tallyd call them.
const PARTS: [(&str, &str); 6] = [
    ("globalPrefix", "global_prefix"),
    ("prefixCounter", "prefix_counter"),
    ("prefixTimer", "prefix_timer"),
    ("prefixGauge", "prefix_gauge"),
    ("prefixSet", "prefix_set"),
    ("globalSuffix", "global_suffix"),
];

/// The settings of the backend.
pub(super) struct GraphiteSettings {
    host: Option<String>,
    ports: [Option<f64>; 2],
    protocol: Option<String>,
    is_legacy: bool,
    /// Those of [`PARTS`] that are given.
    parts: [Option<String>; 6],
    thresholds: Option<Vec<String>>,
    histogram: Vec<Histogram>,
    timer_stats: Vec<String>,
    flush_counts: Option<bool>,
    sanitizes: Option<bool>,
    unknown: Option<Section>,
}

struct Histogram {
    setting: String,
    metric: String,
    bins: Vec<String>,
}

impl GraphiteSettings {
    pub(super) fn take(root: &mut Section, notes: &mut Notes) -> Result<Self, ConvertError> {
        let mut graphite = root.section("graphite")?;
        let mut parts = [const { None }; 6];
        let mut is_legacy = true;
        if let Some(section) = &mut graphite {
            for (part, (key, _)) in parts.iter_mut().zip(PARTS) {
                *part = section.text(key)?;
            }
            is_legacy = section.flag("legacyNamespace")?.unwrap_or(true);
        }
        let mut histogram = Vec::new();
        for mut entry in root.sections("histogram")?.unwrap_or_default() {
            histogram.push(Histogram {
                setting: entry.name_of("bins"),
                metric: entry.text("metric")?.unwrap_or_default(),
                bins: entry.texts("bins")?.unwrap_or_default(),
            });
            entry.finish(notes);
        }
        Ok(Self {
            host: root.text("graphiteHost")?,
            ports: [root.number("graphitePort")?, root.number("graphitePicklePort")?],
            protocol: root.text("graphiteProtocol")?,
            is_legacy,
            parts,
            // statsd takes 0 for an absent value.
            thresholds: root.texts("percentThreshold")?.filter(|list| list != &["0"]),
            histogram,
            timer_stats: root.texts("calculatedTimerMetrics")?.unwrap_or_default(),
            flush_counts: root.flag("flush_counts")?,
            sanitizes: root.flag("keyNameSanitize")?,
            unknown: graphite,
        })
    }

    /// Notes what is configured although the backend is not loaded.
    pub(super) fn report_unused(self, notes: &mut Notes) {
        let words = "had no effect, because `backends` does not contain graphite, or `graphiteHost` is missing";
        if self.host.is_some() {
            notes.lost("graphiteHost", words);
        }
        if self.thresholds.is_some() || !self.histogram.is_empty() || !self.timer_stats.is_empty() {
            notes.lost(
                "percentThreshold, histogram, calculatedTimerMetrics",
                "only `forwarders.graphite` with `naming: etsy` has them; `aggregation.percentiles` applies to all \
                 forwarders",
            );
        }
        if let Some(unknown) = self.unknown {
            unknown.finish(notes);
        }
    }
}

/// Adds the destination.
pub(super) fn forwarder(settings: &GraphiteSettings, idle: &IdleSettings, plan: &mut Plan) {
    let Some(host) = settings.host.as_deref().filter(|host| !host.is_empty()) else {
        plan.notes.lost(
            "graphiteHost",
            "is missing, so that statsd sends nothing; configure `forwarders`",
        );
        return;
    };
    if let Some(unknown) = &settings.unknown {
        unknown.keys().iter().for_each(|key| plan.notes.unknown(unknown.name_of(key)));
    }
    let is_pickle = settings.protocol.as_deref() == Some("pickle");
    let port = if is_pickle {
        settings.ports[1].unwrap_or(2004.0)
    } else {
        settings.ports[0].unwrap_or(2003.0)
    };
    let mut forwarder = Block::default();
    forwarder.set("address", Value::text(&address(host, port)));
    if is_pickle {
        forwarder.set("protocol", Value::word("pickle"));
    }
    forwarder.set("naming", Value::word("etsy")).set("etsy", etsy(settings, &mut plan.notes));
    idle.apply(&mut forwarder, true, plan);
    plan.forwarders.push(("graphite", forwarder));
}

fn etsy(settings: &GraphiteSettings, notes: &mut Notes) -> Block {
    let mut etsy = Block::default();
    etsy.set("legacy_namespace", Value::word(settings.is_legacy));
    for (part, (key, ours)) in settings.parts.iter().zip(PARTS) {
        let Some(part) = part else { continue };
        // The suffix applies to both forms of names.
        if settings.is_legacy && key != "globalSuffix" {
            notes.lost(
                format!("graphite.{key}"),
                "had no effect, because `legacyNamespace` is not false",
            );
        } else {
            etsy.set(ours, Value::text(part));
        }
    }
    let default = || vec!["90".to_owned()];
    let thresholds = settings.thresholds.clone().unwrap_or_else(default);
    let (good, wrong): (Vec<_>, Vec<_>) =
        thresholds.into_iter().partition(|text| is_threshold(text));
    for text in wrong {
        notes.lost(
            "percentThreshold",
            format!("{text} is not between 0 and 100 percent, and selects no values"),
        );
    }
    etsy.set("percent_threshold", Value::words(good));
    let stats = timer_stats(&settings.timer_stats, notes);
    if !stats.is_empty() {
        etsy.set("timer_stats", Value::texts(&stats));
    }
    let histograms: Vec<Value> =
        settings.histogram.iter().map(|entry| histogram(entry, notes)).collect();
    if !histograms.is_empty() {
        etsy.set("histogram", Value::List(histograms));
    }
    if settings.flush_counts == Some(false) {
        let words = "counts are always written; let carbon drop them, with `stats_counts` or `\\.count$` in its blacklist.conf";
        notes.lost("flush_counts", words);
    }
    if settings.sanitizes == Some(false) {
        notes.lost(
            "keyNameSanitize",
            "`naming: etsy` always cleans names, as statsd does by default",
        );
    }
    etsy
}

fn is_threshold(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_decimal = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    is_decimal && digits.parse::<f64>().is_ok_and(|percent| percent > 0.0 && percent <= 100.0)
}

/// The names that select fields.
fn timer_stats(names: &[String], notes: &mut Notes) -> Vec<String> {
    let mut good = Vec::new();
    for name in names {
        match selects_fields(name) {
            Ok(()) => good.push(name.clone()),
            Err(words) => notes.lost(
                "calculatedTimerMetrics",
                format!("`{name}` selects nothing in statsd, and was left out ({words})"),
            ),
        }
    }
    if good.is_empty() && !names.is_empty() {
        notes.differs(
            "calculatedTimerMetrics",
            "no name selects a field, so all fields are written",
        );
    }
    good
}

/// Whether a name selects a field; if not, what it should be.
#[cfg(feature = "graphite")]
fn selects_fields(name: &str) -> Result<(), String> {
    forwarders::graphite::TimerStat::parse(name).map(|_| ())
}

/// A build without Graphite cannot check the result anyway.
#[cfg(not(feature = "graphite"))]
fn selects_fields(_: &str) -> Result<(), String> {
    Ok(())
}

/// The bins of a histogram that can have values: those whose bound is above all earlier ones.
fn histogram(entry: &Histogram, notes: &mut Notes) -> Value {
    let mut bins: Vec<String> = Vec::new();
    let mut highest = f64::NEG_INFINITY;
    for bin in &entry.bins {
        let bound = if bin == "inf" { f64::INFINITY } else { bin.parse().unwrap_or(f64::NAN) };
        // Decimal, as JavaScript writes it in the field's name.
        let is_written =
            bound == 0.0 || bound == f64::INFINITY || (1e-6..1e21).contains(&bound.abs());
        if bound > highest && is_written {
            highest = bound;
            bins.push(bound.to_string());
        } else {
            notes.lost(
                &entry.setting,
                format!("the bin {bin} is always empty, because an earlier one is not lower, or is no usable number"),
            );
        }
    }
    let mut block = Block::default();
    block.set("metric", Value::text(&entry.metric)).set("bins", Value::words(bins));
    block.into()
}
