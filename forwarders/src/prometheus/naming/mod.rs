//! The names that older exporters for Kamailio gave its statistics, for pages that take their place.
//!
//! A scheme is a table: a metric of the exporter's, and the metrics of the pipeline that it shows.
//! What they are is not known here, but for [`POLLS`], which tells that an instance was polled. All
//! other series keep the names that tallyd gives them.

use std::borrow::Cow;
use std::collections::HashMap;

use super::config::Naming;
use super::names::{label_name, page_labels};
use model::{MetricKind, Series};

mod callr;
mod pascom;

/// A series of it stands for an instance that was polled in the window, whose tags it has.
const POLLS: &str = "kamailio.poll.count";

/// What the default methods are read as, besides statistics. A page that takes an exporter's place
/// shows of it what the exporter did, and nothing else.
const POLLED: [&str; 13] = [
    "kamailio.up",
    "kamailio.tm.stats.",
    "kamailio.sl.stats.",
    "kamailio.core.shmmem.",
    "kamailio.core.uptime.",
    "kamailio.core.tcp_info.",
    "kamailio.pkg.stats.",
    "kamailio.dispatcher.list.",
    "kamailio.tls.info.",
    "kamailio.dlg.stats_active.",
    "kamailio.dmq.list_nodes.",
    "kamailio.rtpengine.show.",
    "kamailio.script.",
];

/// A metric of an exporter's.
struct Metric {
    name: &'static str,
    /// What its `TYPE` line says: a counter or a gauge, whatever its sources are.
    kind: MetricKind,
    help: &'static str,
    from: &'static [From],
}

/// Metrics of the pipeline that a metric of an exporter's shows.
enum From {
    /// One, whose own labels stay as they are.
    Metric { name: &'static str, keeps: &'static [&'static str], drops: &'static [&'static str] },
    /// Several, each with a value of a label, which stands for `*` in their names.
    Each { label: &'static str, names: &'static str, values: &'static [&'static str] },
}

const fn gauge(name: &'static str, help: &'static str, from: &'static [From]) -> Metric {
    Metric { name, kind: MetricKind::Gauge, help, from }
}

const fn counter(name: &'static str, help: &'static str, from: &'static [From]) -> Metric {
    Metric { name, kind: MetricKind::Counter, help, from }
}

/// A metric that has no labels of its own.
const fn one(name: &'static str) -> From {
    with(name, &[])
}

/// A metric whose labels stay.
const fn with(name: &'static str, keeps: &'static [&'static str]) -> From {
    From::Metric { name, keeps, drops: &[] }
}

/// The metrics whose names have a word in place of `*`, which is the value of the label; without `*`,
/// the one that stands for a value.
const fn each(label: &'static str, names: &'static str, values: &'static [&'static str]) -> From {
    From::Each { label, names, values }
}

/// How a scheme names what is in no table.
type Rule = fn(&Series) -> Option<Named>;

/// A metric of the pipeline, as an exporter names it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    name: Cow<'static, str>,
    kind: MetricKind,
    help: Cow<'static, str>,
    /// Labels that are not among the tags.
    adds: Vec<(&'static str, String)>,
    keeps: &'static [&'static str],
    drops: &'static [&'static str],
}

/// How series are named on a page.
pub(super) struct Scheme {
    metrics: HashMap<String, Named>,
    rule: Rule,
}

/// A series under the name that an exporter gave it.
pub(super) struct Given {
    /// Kind of its values, name and labels.
    pub(super) series: Series,
    /// What the `TYPE` line of its family says.
    pub(super) kind: MetricKind,
    /// What the `HELP` line of its family says.
    pub(super) help: Cow<'static, str>,
    /// Tags that are not those of its instance.
    pub(super) own_tags: OwnTags,
}

/// The keys of tags that tell series of one instance from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OwnTags {
    keeps: &'static [&'static str],
    drops: &'static [&'static str],
}

/// What becomes of a series under a scheme.
pub(super) enum Placing {
    /// The exporter showed it.
    Given(Given),
    /// The exporter did not.
    Left,
    /// It is none of the exporter's business.
    Other,
}

impl Scheme {
    /// The scheme of a naming; none for tallyd's own.
    pub(super) fn of(naming: Naming) -> Option<Self> {
        let (table, rule): (&[Metric], Rule) = match naming {
            Naming::Tallyd => return None,
            Naming::Callr => (callr::TABLE, callr::statistic),
            Naming::Pascom => (pascom::TABLE, pascom::scripted),
        };
        let metrics = table.iter().flat_map(Metric::sources).collect();
        Some(Self { metrics, rule })
    }

    /// What becomes of a series.
    pub(super) fn place(&self, series: &Series) -> Placing {
        if !matches!(series.kind(), MetricKind::Counter | MetricKind::Gauge) {
            return Placing::Other;
        }
        let by_rule;
        let named = match self.metrics.get(series.name()) {
            Some(named) => named,
            None => {
                // What a script counts may take any name, also one of the table.
                by_rule = (self.rule)(series).filter(|named| self.is_free(&named.name));
                match &by_rule {
                    Some(named) => named,
                    None if is_polled(series.name()) => return Placing::Left,
                    None => return Placing::Other,
                }
            }
        };
        let own_tags = OwnTags { keeps: named.keeps, drops: named.drops };
        let labels = named.labels(series);
        let given = Given {
            series: Series::new(series.kind(), &named.name, &labels),
            kind: named.kind,
            help: named.help.clone(),
            own_tags,
        };
        Placing::Given(given)
    }

    /// Whether a name is not in the table.
    fn is_free(&self, name: &str) -> bool {
        self.metrics.values().all(|metric| metric.name != name)
    }
}

/// Whether the series says that its instance was polled.
pub(super) fn is_poll(series: &Series) -> bool {
    series.name() == POLLS
}

/// As the exporters show a number: what is below zero is for them the 64 bits without a sign.
pub(super) fn unsigned(number: f64) -> f64 {
    const BITS_64: f64 = 18_446_744_073_709_551_616.0;
    if number < 0.0 { number + BITS_64 } else { number }
}

fn is_polled(name: &str) -> bool {
    statistic(name).is_some() || POLLED.iter().any(|start| name.starts_with(start))
}

/// Group and name of a statistic, `kamailio.GROUP.NAME`. What methods answer has more words; how the
/// polls go has as many.
fn statistic(name: &str) -> Option<(&str, &str)> {
    let (group, name) = name.strip_prefix("kamailio.")?.split_once('.')?;
    let is_one = !group.is_empty() && !name.is_empty() && !name.contains('.');
    is_one.then_some((group, name))
}

impl Metric {
    /// The metrics of the pipeline that it shows.
    fn sources(&self) -> impl Iterator<Item = (String, Named)> + '_ {
        self.from.iter().flat_map(move |from| match from {
            From::Metric { name, keeps, drops } => {
                vec![((*name).to_owned(), self.named(vec![], keeps, drops))]
            }
            From::Each { label, names, values } => {
                let each = |value: &&str| {
                    let adds = vec![(*label, (*value).to_owned())];
                    (names.replace('*', value), self.named(adds, &[], &[]))
                };
                values.iter().map(each).collect()
            }
        })
    }

    fn named(
        &self,
        adds: Vec<(&'static str, String)>,
        keeps: &'static [&'static str],
        drops: &'static [&'static str],
    ) -> Named {
        let (name, help) = (Cow::Borrowed(self.name), Cow::Borrowed(self.help));
        Named { name, kind: self.kind, help, adds, keeps, drops }
    }
}

impl Named {
    /// The exporter's labels as they are, and what other tags there are beside them.
    fn labels<'a>(&'a self, series: &'a Series) -> Vec<(Cow<'a, str>, &'a str)> {
        let mut labels: Vec<(Cow<'_, str>, &str)> =
            self.adds.iter().map(|(key, value)| (Cow::Borrowed(*key), value.as_str())).collect();
        let is_kept = |key: &str| self.keeps.contains(&key);
        let kept = series.tags().filter(|(key, value)| is_kept(key) && !value.is_empty());
        labels.extend(kept.map(|(key, value)| (Cow::Borrowed(key), value)));
        let rest = series.tags().filter(|(key, _)| !is_kept(key) && !self.drops.contains(key));
        page_labels(rest, label_name, &mut labels);
        labels
    }
}

impl OwnTags {
    /// Whether a series with such tags is of the instance that was polled: what other tags it has are
    /// those of the instance.
    pub(super) fn is_of(self, series: &Series, poll: &Series) -> bool {
        let is_other =
            |(key, _): &(&str, &str)| !self.keeps.contains(key) && !self.drops.contains(key);
        series.tags().filter(is_other).eq(poll.tags().filter(is_other))
    }
}

#[cfg(test)]
mod tests;
