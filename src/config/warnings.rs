//! Valid values that are probably mistakes, or that the host does not fit.

use model::Percentile;
use yaml::{ConfigError, Source};

use super::Config;

/// Largest percentage of a list that was probably meant as fractions.
const FRACTION_MAX: f64 = 1.0;
/// Decimals of a suggested percentage: multiplying a fraction by 100 is not exact.
const DECIMALS: f64 = 1e6;

/// Finds every key whose value is probably a mistake.
pub(super) fn check(config: &Config, source: &Source) -> Vec<ConfigError> {
    let percentiles: Vec<_> = config.aggregation.percentiles.iter().map(Percentile::rank).collect();
    let aggregation = fractions(source, 0, &["aggregation", "percentiles"], &percentiles);
    let listed = config.forwarders.percentages();
    let forwarders = listed.iter().filter_map(|listed| {
        let path = [&["forwarders", listed.kind], listed.keys].concat();
        fractions(source, listed.index, &path, &listed.percentages)
    });
    aggregation.into_iter().chain(forwarders).collect()
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
