//! Which names Prometheus sees: metric names, labels, and who gives way when two want the same.

use std::borrow::Cow;
use std::collections::HashSet;

use model::{AssignedName, MetricKind, Percentile, Series};

/// What the name of a counter's samples ends with.
const TOTAL: &str = "_total";

/// A metric name as Prometheus takes it: letters, digits and `_`, no digit first. Each character
/// that is not allowed becomes a `_`. So does `:`, which Prometheus keeps for recording rules.
pub(super) fn metric_name(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 1);
    push_sanitised(&mut text, name);
    text
}

/// A label name. Beyond the rules for metric names, a name that begins with `__` is Prometheus'
/// own, so only one `_` is left of these.
pub(super) fn label_name(key: &str) -> String {
    let mut text = metric_name(key);
    let underscores = text.len() - text.trim_start_matches('_').len();
    text.drain(..underscores.saturating_sub(1));
    text
}

fn push_sanitised(text: &mut String, name: &str) {
    if name.starts_with(|first: char| first.is_ascii_digit()) {
        text.push('_');
    }
    text.extend(name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }));
}

/// The series on the page that a series of the pipeline belongs to: its name and its tag keys
/// sanitised. Two that differ only in what is lost by that become one.
///
/// The tag `quantile` of a timer becomes `tag_quantile`, because a summary has a label of that name.
pub(super) fn page_series(series: &Series) -> Series {
    let mut labels = Vec::with_capacity(series.tag_count());
    let is_timer = series.kind() == MetricKind::Timer;
    let label = |key: &str| match key {
        "quantile" if is_timer => "tag_quantile".to_owned(),
        key => label_name(key),
    };
    page_labels(series.tags(), label, &mut labels);
    Series::new(series.kind(), &metric_name(series.name()), &labels)
}

/// The series on the page for a series of the pipeline with an assigned name. Its labels are the added
/// labels and the tags that are kept, both unchanged, and then the sanitised tags of its source.
pub(super) fn renamed_series(series: &Series, assigned: &AssignedName) -> Series {
    let own = assigned.own_tags;
    let added = assigned.added_labels.iter();
    let mut labels: Vec<_> =
        added.map(|(key, value)| (Cow::Borrowed(*key), value.as_str())).collect();
    let is_kept = |(key, value): &(&str, &str)| own.kept.contains(key) && !value.is_empty();
    let kept = series.tags().filter(is_kept);
    labels.extend(kept.map(|(key, value)| (Cow::Borrowed(key), value)));
    let of_source = series.tags().filter(|(key, _)| !own.contains(key));
    page_labels(of_source, label_name, &mut labels);
    Series::new(series.kind(), &assigned.name, &labels)
}

/// Adds the labels for tags to the existing labels, and sorts all.
///
/// No label occurs twice: of the tags that map to one label, the tag with exactly this name gets it,
/// and the others get `_2`, `_3`… in order. Tags with an empty value are left out.
fn page_labels<'a>(
    tags: impl Iterator<Item = (&'a str, &'a str)>,
    label: impl Fn(&str) -> String,
    labels: &mut Vec<(Cow<'a, str>, &'a str)>,
) {
    let given = labels.len();
    let mut renamed: Vec<(String, &str)> = Vec::new();
    for (key, value) in tags.filter(|(_, value)| !value.is_empty()) {
        let label = label(key);
        let is_renamed = labels[..given].iter().any(|(taken, _)| *taken == label);
        if label == key && !is_renamed {
            labels.push((Cow::Borrowed(key), value));
        } else {
            renamed.push((label, value));
        }
    }
    for (label, value) in renamed {
        let is_free = |label: &str| labels.iter().all(|(taken, _)| taken != label);
        let label = first_free(label, is_free);
        labels.push((Cow::Owned(label), value));
    }
    labels.sort_unstable_by(|a, b| a.0.cmp(&b.0));
}

/// `name`, or else `name_2`, `name_3`… Never two `_` in a row that the name has not itself: a label
/// must not begin with them.
fn first_free(name: String, is_free: impl Fn(&str) -> bool) -> String {
    if is_free(&name) {
        return name;
    }
    let separator = if name.ends_with('_') { "" } else { "_" };
    let mut number = 2_u64;
    loop {
        let numbered = format!("{name}{separator}{number}");
        if is_free(&numbered) {
            return numbered;
        }
        number += 1;
    }
}

/// Percentile 99.9 as the label of a summary: `0.999`. Moved in the text, because 99.9/100 is
/// 0.9990000000000001; `1.0` is how OpenMetrics wants a whole number.
pub(super) fn quantile(percentile: &Percentile) -> String {
    let text = percentile.label().trim_start_matches('p').replace('_', ".");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let digits = format!("{whole:0>3}{fraction}");
    let (ones, decimals) = digits.split_at(digits.len() - fraction.len() - 2);
    let (ones, decimals) = (ones.trim_start_matches('0'), decimals.trim_end_matches('0'));
    let or_zero = |text: &str| if text.is_empty() { "0".to_owned() } else { text.to_owned() };
    format!("{}.{}", or_zero(ones), or_zero(decimals))
}

/// A metric family: all series of one kind whose names are sanitised to the same, or that a naming
/// gave the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Family<'a> {
    /// Its name, without what its samples add to it.
    pub(super) base: &'a str,
    /// What it is shown as.
    pub(super) kind: MetricKind,
    /// Whether a naming gave it its name, to which samples add nothing.
    pub(super) is_renamed: bool,
}

/// The name that a family has on the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FamilyName {
    /// The name, without what its samples add to it: of a counter `a_total` it is `a`.
    pub(super) base: String,
    /// The name of a counter's samples, with exactly one `_total`. That of all other kinds is
    /// `base`, to which a summary adds `_sum` and `_count`.
    pub(super) sample: String,
    /// Whether OpenMetrics may show its type. There a counter `a` is a family `a`, and a counter or
    /// summary `a` may have a sample `a_created`; another family may have one of these names.
    pub(super) typed_in_openmetrics: bool,
    /// Whether a naming gave it.
    pub(super) is_renamed: bool,
}

/// Gives every family its name, so that no sample can be of two families. `families` has no
/// duplicates.
///
/// Where two want the same sample name (a gauge and a timer `a`, a timer `a` and a gauge `a.sum`),
/// the first by kind (counter, gauge, timer, set, trace) and then by name keeps it, and the other
/// has its kind appended: `a_timer`. Names that a naming gave take precedence. Only the
/// families on the page decide, not their order of arrival, so that a restart does not change names.
pub(super) fn assign(families: &[Family<'_>]) -> Vec<FamilyName> {
    let mut order: Vec<usize> = (0..families.len()).collect();
    order.sort_unstable_by_key(|index| {
        let Family { base, kind, is_renamed } = families[*index];
        (!is_renamed, kind, base)
    });
    let mut taken = HashSet::new();
    let mut names: Vec<Option<String>> = vec![None; families.len()];
    let mut give_way = Vec::new();
    for index in order {
        let family = families[index];
        if take(&mut taken, family) {
            names[index] = Some(family.base.to_owned());
        } else {
            give_way.push(index);
        }
    }
    for index in give_way {
        let family = families[index];
        let is_free = |name: &str| {
            !wanted(Family { base: name, ..family }).iter().any(|name| taken.contains(name))
        };
        let name = first_free(format!("{}_{}", family.base, family.kind), is_free);
        take(&mut taken, Family { base: &name, ..family });
        names[index] = Some(name);
    }
    let names: Vec<String> = names.into_iter().flatten().collect();
    with_openmetrics(families, names, taken)
}

fn take(taken: &mut HashSet<String>, family: Family<'_>) -> bool {
    let wanted = wanted(family);
    let is_free = !wanted.iter().any(|name| taken.contains(name));
    if is_free {
        taken.extend(wanted);
    }
    is_free
}

/// The names of a family's samples.
fn wanted(family: Family<'_>) -> smallvec::SmallVec<[String; 3]> {
    let Family { base, kind, is_renamed } = family;
    match kind {
        _ if is_renamed => [base.to_owned()].into_iter().collect(),
        MetricKind::Counter | MetricKind::Trace => [total(base)].into_iter().collect(),
        MetricKind::Gauge | MetricKind::Set => [base.to_owned()].into_iter().collect(),
        MetricKind::Timer => {
            [base.to_owned(), format!("{base}_sum"), format!("{base}_count")].into_iter().collect()
        }
    }
}

/// `a` and `a_total` become `a_total`.
fn total(base: &str) -> String {
    let has_it = base.len() > TOTAL.len() && base.ends_with(TOTAL);
    if has_it { base.to_owned() } else { format!("{base}{TOTAL}") }
}

fn with_openmetrics(
    families: &[Family<'_>],
    names: Vec<String>,
    mut taken: HashSet<String>,
) -> Vec<FamilyName> {
    let mut named: Vec<FamilyName> = Vec::with_capacity(names.len());
    for (base, family) in names.into_iter().zip(families) {
        let sample = if is_counted(*family) { total(&base) } else { base.clone() };
        let typed_in_openmetrics =
            family.kind != MetricKind::Timer || taken.insert(format!("{base}_created"));
        let is_renamed = family.is_renamed;
        named.push(FamilyName { base, sample, typed_in_openmetrics, is_renamed });
    }
    // After all timers, because a counter has a way out and a timer has none.
    for (name, _) in named.iter_mut().zip(families).filter(|(_, family)| is_counted(**family)) {
        name.base.truncate(name.sample.len() - TOTAL.len());
        let created = format!("{}_created", name.base);
        name.typed_in_openmetrics = !taken.contains(&name.base) && !taken.contains(&created);
        if name.typed_in_openmetrics {
            taken.extend([name.base.clone(), created]);
        }
    }
    named
}

/// Whether its samples have `_total`.
fn is_counted(family: Family<'_>) -> bool {
    !family.is_renamed && matches!(family.kind, MetricKind::Counter | MetricKind::Trace)
}
