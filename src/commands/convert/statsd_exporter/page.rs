//! The page for Prometheus: its address, and the forms of timers.

use super::super::document::{Block, Value};
use super::super::flags::Flags;
use super::super::plan::Plan;
use super::mapping::{Defaults, Mapping, Observer};

/// The bounds of a histogram without `buckets`, in seconds.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// The quantiles of a summary without `quantiles`.
const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];

pub(super) fn forwarder(
    flags: &mut Flags,
    defaults: &Defaults,
    mappings: &[Mapping],
    plan: &mut Plan,
) {
    let mut addresses = flags.values(&["web.listen-address"]);
    if addresses.is_empty() {
        addresses.push(":9102".to_owned());
    }
    let path = flags.value(&["web.telemetry-path"], None);
    let timers = timers(defaults, mappings, plan);
    for address in addresses {
        let mut page = Block::default();
        page.set("listen", Value::text(&address));
        page.set_some("path", path.as_ref().map(|path| Value::text(path)));
        page.append(&timers);
        plan.forwarders.push(("prometheus", page));
    }
    for (flag, words) in [
        ("web.config.file", "name the same file in `forwarders.prometheus.web_config_file`"),
        ("web.systemd-socket", "the page binds its own address"),
    ] {
        if flags.has(flag) {
            flags.value(&[flag], None);
            plan.notes.lost(format!("--{flag}"), words);
        }
    }
    plan.notes.differs(
        "counters",
        "the page adds `_total` to the name of a counter that does not end in it; the exporter did not",
    );
    plan.notes.differs(
        "when the page changes",
        "at the end of each window (`interval`, 10s by default), in the exporter at once",
    );
    plan.notes.differs(
        "sets",
        "the exporter refused them; tallyd shows the number of members as a gauge",
    );
}

/// The keys for timers.
fn timers(defaults: &Defaults, mappings: &[Mapping], plan: &mut Plan) -> Block {
    let default = defaults.timers.observer.unwrap_or(Observer::Summary);
    let of_timers = || mappings.iter().filter(|mapping| mapping.is_for_timers());
    let observer = |mapping: &Mapping| mapping.timers.observer.unwrap_or(default);
    let has = |wanted| default == wanted || of_timers().any(|mapping| observer(mapping) == wanted);
    let mut keys = Block::default();
    match (has(Observer::Summary), has(Observer::Histogram)) {
        (true, true) => {
            let forms = match default {
                Observer::Summary => ["summary", "histogram"],
                Observer::Histogram => ["histogram", "summary"],
            };
            keys.set("timers", Value::words(forms));
            plan.notes.differs(
                "observer_type",
                "differs between mappings; the page shows every timer in both forms, and the second one with the \
                 suffix `_distribution` or `_quantiles`",
            );
        }
        (false, _) => {
            keys.set("timers", Value::words(["histogram"]));
        }
        (true, false) => {}
    }
    if has(Observer::Summary) {
        percentiles(
            defaults,
            of_timers().filter(|mapping| observer(mapping) == Observer::Summary),
            plan,
        );
    }
    if has(Observer::Histogram) {
        let with_bounds = of_timers().filter(|mapping| !mapping.timers.buckets.is_empty());
        let entry = |glob: &str, bounds: &[f64]| {
            let mut block = Block::default();
            block.set("match", Value::Text(glob.to_owned())).set("le", Value::words(bounds));
            Value::Block(block)
        };
        let mut buckets: Vec<Value> = with_bounds
            .map(|mapping| entry(&glob(&mapping.name), &mapping.timers.buckets))
            .collect();
        let of_defaults = &defaults.timers.buckets;
        buckets.push(entry("*", if of_defaults.is_empty() { &BUCKETS } else { of_defaults }));
        keys.set("buckets", Value::List(buckets));
    }
    let native = mappings.iter().map(|mapping| &mapping.timers).chain([&defaults.timers]);
    if native.filter_map(|timers| timers.native_buckets).next().is_some() {
        plan.notes.lost(
            "native_histogram_max_buckets",
            "add `native` to `timers`, and set `max_buckets`, if Prometheus scrapes native histograms",
        );
    }
    keys
}

/// The percentiles of all summaries: tallyd has one list.
fn percentiles<'m>(
    defaults: &Defaults,
    mappings: impl Iterator<Item = &'m Mapping>,
    plan: &mut Plan,
) {
    let mut quantiles = match defaults.timers.quantiles.as_slice() {
        [] => QUANTILES.to_vec(),
        given => given.to_vec(),
    };
    let own: Vec<f64> =
        mappings.flat_map(|mapping| mapping.timers.quantiles.iter().copied()).collect();
    if !own.is_empty() {
        plan.notes.differs(
            "quantiles",
            "every summary has all quantiles that occur: tallyd has one list for all",
        );
    }
    quantiles.extend(own);
    quantiles.sort_by(f64::total_cmp);
    quantiles.dedup();
    let usable = quantiles.iter().filter(|quantile| **quantile > 0.0 && **quantile <= 1.0);
    plan.aggregation.set("percentiles", Value::words(usable.map(|quantile| percent(*quantile))));
    plan.notes.differs(
        "quantiles",
        "of the latest window with samples; in the exporter of the last ten minutes (`max_age`)",
    );
}

/// A quantile in percent, without the digits that a multiplication adds.
fn percent(quantile: f64) -> String {
    let text = format!("{:.6}", quantile * 100.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A glob for the names that a template makes.
fn glob(name: &str) -> String {
    let (mut glob, mut rest) = (String::new(), name);
    while let Some((before, after)) = rest.split_once('$') {
        glob += before;
        glob.push('*');
        rest = match after.strip_prefix('{') {
            Some(inner) => inner.split_once('}').map_or("", |(_, after)| after),
            None => after.trim_start_matches(|c: char| c.is_ascii_digit()),
        };
    }
    glob + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_references_are_globs() {
        assert_eq!(
            (glob("a_$1"), glob("${2}_total"), glob("x")),
            ("a_*".into(), "*_total".into(), "x".into())
        );
        assert_eq!(
            (percent(0.5), percent(0.999), percent(0.29)),
            ("50".into(), "99.9".into(), "29".into())
        );
    }
}
