//! Valid values that are probably mistakes, or that the host does not fit.

use std::time::Duration;

use basics::address::Listen;
use basics::exposure::Exposure;
use engine::rules::{Rules, UnreachableRule};
use forwarders::SectionIdle;
use httpserver::Access;
use model::{MetricKind, Percentile};
use yaml::{ConfigError, Source};

use super::Config;

/// Largest percentage of a list that was probably meant as fractions.
const FRACTION_MAX: f64 = 1.0;
/// Maximum number of rules that are reported because they never apply.
const UNREACHABLE_MAX: usize = 20;
/// Decimals of a suggested percentage: multiplying a fraction by 100 is not exact.
const DECIMALS: f64 = 1e6;

/// Finds every key whose value is probably a mistake.
pub(super) fn check(config: &Config, rules: &Rules, source: &Source) -> Vec<ConfigError> {
    let percentiles: Vec<_> = config.aggregation.percentiles.iter().map(Percentile::rank).collect();
    let aggregation = fractions(source, 0, &["aggregation", "percentiles"], &percentiles);
    let listed = config.forwarders.percentages();
    let forwarders = listed.iter().filter_map(|listed| {
        let path = [&["forwarders", listed.kind], listed.keys].concat();
        fractions(source, listed.index, &path, &listed.percentages)
    });
    let idle = config.forwarders.idle();
    let idle = idle.iter().filter_map(|section| useless_idle_time(source, config, section));
    let rules = unreachable_rules(config, rules, source);
    aggregation.into_iter().chain(forwarders).chain(idle).chain(rules).collect()
}

/// Returns a warning for each rule that never applies, up to a limit.
fn unreachable_rules<'a>(
    config: &'a Config,
    rules: &Rules,
    source: &'a Source,
) -> impl Iterator<Item = ConfigError> {
    let unreachable = rules.unreachable().into_iter().take(UNREACHABLE_MAX);
    unreachable.map(|UnreachableRule { rule, earlier_line }| {
        let message = format!(
            "`rules[{rule}]`: never applies, because the rule in line {earlier_line} applies to all of \
             its names"
        );
        let help = "move it before that rule, or give that rule `continue: true`";
        source.error_at(config.rules[rule as usize].span(), message).with_help(help)
    })
}

/// Returns a warning if an `idle_for` has no effect.
fn useless_idle_time(
    source: &Source,
    config: &Config,
    section: &SectionIdle,
) -> Option<ConfigError> {
    let limits = MetricKind::ALL.into_iter().filter_map(|kind| section.limits.of(kind));
    let times: Vec<_> = limits.filter(|limit| *limit != Duration::MAX).collect();
    let of_rules = config.rules.iter().filter_map(|rule| rule.get().expire_after.as_ref());
    let longest_of_rules = of_rules.map(|time| time.get().get()).max().unwrap_or_default();
    let (interval, expire_after) = (config.interval, config.aggregation.expire_after);
    let (what, help) = if *times.iter().min()? < interval.get() {
        let what = format!("shorter than `interval` ({interval}), so that no window is that early");
        (what, "use a multiple of `interval`, or `idle: none`")
    } else if *times.iter().max()? > expire_after.get().max(longest_of_rules) {
        let what = format!(
            "longer than `aggregation.expire_after` ({expire_after}), after which a series has no \
             points"
        );
        (what, "raise `aggregation.expire_after` too")
    } else {
        return None;
    };
    let path = ["forwarders", section.kind];
    let span = yaml::key_span(source, &path, section.index, Some("idle_for"))?;
    let message = format!("`{}.idle_for`: {what}", path.join("."));
    Some(source.error_at(span, message).with_help(help))
}

/// Finds every server that other hosts reach without authentication or without encryption.
pub(super) fn exposures(config: &Config, admin: &Access, source: &Source) -> Vec<ConfigError> {
    let of_admin = match &config.admin.listen {
        Listen::At(addresses) => {
            Exposure::of(addresses, admin.is_restricted(), admin.is_encrypted())
        }
        Listen::None => None,
    };
    let of_admin = of_admin.map(|exposure| (vec!["admin"], 0, exposure));
    let pages = config.forwarders.exposures().into_iter();
    let pages = pages.map(|page| (vec!["forwarders", page.kind], page.index, page.exposure));
    let warning = |(path, index, Exposure { words, help }): (Vec<&str>, usize, Exposure)| {
        let span = yaml::key_span(source, &path, index, Some("listen"))?;
        let message = format!("`{}.listen`: {words}", path.join("."));
        Some(source.error_at(span, message).with_help(help))
    };
    of_admin.into_iter().chain(pages).filter_map(warning).collect()
}

/// Finds every key with a file of this host because of which a destination delivers nothing.
pub(super) fn obstacles(config: &Config, source: &Source) -> Vec<ConfigError> {
    let found = config.forwarders.obstacles();
    let error = found.iter().map(|error| {
        let path = ["forwarders", error.kind];
        let span = yaml::key_span(source, &path, error.index, error.invalid.key);
        source.error_at(span.unwrap_or(config.forwarders.span()), error.to_string())
    });
    error.collect()
}

/// Returns a warning if all percentages look like fractions: 0.95 instead of 95. As percentages they
/// would all be near the minimum.
fn fractions(
    source: &Source,
    index: usize,
    path: &[&str],
    percentages: &[f64],
) -> Option<ConfigError> {
    let are_fractions = percentages.iter().all(|percentage| percentage.abs() <= FRACTION_MAX);
    if percentages.is_empty() || !are_fractions {
        return None;
    }
    let (key, section) = path.split_last()?;
    let span = yaml::key_span(source, section, index, Some(key))?;
    let message = format!(
        "`{}`: all are 1 % or less, which are values near the minimum or maximum of a timer",
        path.join(".")
    );
    let meant = percentages.iter().map(|fraction| (fraction * 100.0 * DECIMALS).round() / DECIMALS);
    let meant: Vec<String> = meant.map(|percentage| percentage.to_string()).collect();
    let help = format!("percentages are numbers up to 100: did you mean [{}]?", meant.join(", "));
    Some(source.error_at(span, message).with_help(help))
}
