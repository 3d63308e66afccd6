//! The names in Prometheus: metric names, labels, and the resolution of conflicts between them.

use std::borrow::Cow;
use std::collections::HashSet;

use super::timers::TimerForms;
use crate::format::number;
use model::{AssignedName, MetricKind, Percentile, Series};

/// Suffix of the samples of a counter.
const TOTAL: &str = "_total";

/// Returns a valid metric name: letters, digits and `_`, no digit first. Each other character
/// becomes a `_`, also `:`, which Prometheus reserves for recording rules.
pub(super) fn metric_name(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 1);
    push_sanitised(&mut text, name);
    text
}

/// Returns a valid label name. In addition to the rules for metric names, Prometheus reserves label
/// names that begin with `__`, so only one leading `_` is kept.
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

/// Returns the series on the page for a series of the pipeline, with sanitised name and tag keys.
/// Series that become equal by this share one series on the page.
///
/// The tag `quantile` of a timer becomes `tag_quantile`, because a summary has a label of that
/// name, and its tag `le` becomes `tag_le` if it is shown as a histogram.
pub(super) fn page_series(series: &Series, forms: &TimerForms) -> Series {
    let mut labels = Vec::with_capacity(series.tag_count());
    let is_timer = series.kind() == MetricKind::Timer;
    let label = |key: &str| match key {
        "quantile" if is_timer => "tag_quantile".to_owned(),
        "le" if is_timer && forms.has_histogram() => "tag_le".to_owned(),
        key => label_name(key),
    };
    page_labels(series.tags(), label, &mut labels);
    Series::new(series.kind(), &metric_name(series.name()), &labels)
}

/// Returns the series on the page for a series of the pipeline with an assigned name. Its labels
/// are the added labels, the kept and the renamed tags, unchanged, and then the sanitised tags of
/// its source.
pub(super) fn renamed_series(series: &Series, assigned: &AssignedName) -> Series {
    let own = assigned.own_tags;
    let added = assigned.added_labels.iter();
    let mut labels: Vec<_> =
        added.map(|(key, value)| (Cow::Borrowed(*key), value.as_str())).collect();
    let is_kept = |(key, value): &(&str, &str)| own.kept.contains(key) && !value.is_empty();
    let kept = series.tags().filter(is_kept);
    labels.extend(kept.map(|(key, value)| (Cow::Borrowed(key), value)));
    let renamed = own.renamed.iter().filter_map(|(tag, label)| {
        let value = series.tag(tag).filter(|value| !value.is_empty())?;
        Some((Cow::Borrowed(*label), value))
    });
    labels.extend(renamed);
    let of_source = series.tags().filter(|(key, _)| !own.contains(key));
    page_labels(of_source, label_name, &mut labels);
    Series::new(series.kind(), &assigned.name, &labels)
}

/// Adds the labels for tags to the existing labels, and sorts all.
///
/// No label occurs twice: of the tags that map to one label, the tag with exactly this name gets
/// it, and the others get `_2`, `_3`… in order. Tags with an empty value are left out.
fn page_labels<'a>(
    tags: impl Iterator<Item = (&'a str, &'a str)>,
    label: impl Fn(&str) -> String,
    labels: &mut Vec<(Cow<'a, str>, &'a str)>,
) {
    let given = labels.len();
    // Named only after the others: a tag whose key is a valid label must not lose it to a sanitised
    // key.
    let mut renamed: Vec<(String, &str)> = Vec::new();
    // In Prometheus, an empty label value is the same as a missing label.
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

/// Returns the first of `name`, `name_2`, `name_3`… that is free. Adds no second `_` to a trailing
/// one, because a label must not begin with `__`.
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

/// Returns percentile 99.9 as the label of a summary, `0.999`. Shifts the decimal point in the
/// text, because 99.9 / 100 is 0.9990000000000001. OpenMetrics requires the form `1.0` for whole
/// numbers.
pub(super) fn quantile(percentile: &Percentile) -> String {
    let text = percentile.label().trim_start_matches('p').replace('_', ".");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let digits = format!("{whole:0>3}{fraction}");
    let (ones, decimals) = digits.split_at(digits.len() - fraction.len() - 2);
    let (ones, decimals) = (ones.trim_start_matches('0'), decimals.trim_end_matches('0'));
    let or_zero = |text: &str| if text.is_empty() { "0".to_owned() } else { text.to_owned() };
    format!("{}.{}", or_zero(ones), or_zero(decimals))
}

/// Returns the upper bound of a classic bucket as the label `le`, as Prometheus itself writes it:
/// `0.5`, `10.0`, `1e+06`. A form that depended on the format of the page would change the series.
pub(super) fn le(bound: f64) -> String {
    let mut text = Vec::new();
    number::write_as_go(&mut text, bound);
    let mut text = String::from_utf8(text).unwrap_or_default();
    if !text.contains(['.', 'e']) {
        text.push_str(".0");
    }
    text
}

/// A metric family: all series of one kind whose names become equal when sanitised, or to which a
/// naming assigned the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Family<'a> {
    /// The name without the suffixes of the samples.
    pub(super) base: &'a str,
    /// The kind as which the family is shown.
    pub(super) kind: MetricKind,
    /// Whether a naming assigned the name. The samples then have no suffix.
    pub(super) is_renamed: bool,
}

/// The name of a family on the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FamilyName {
    /// The name without the suffixes of the samples: `a` for the counter `a_total`.
    pub(super) base: String,
    /// The name of a counter's samples, with exactly one `_total`. For all other kinds it equals
    /// `base`, to which a summary adds `_sum` and `_count`.
    pub(super) sample: String,
    /// Whether OpenMetrics may state the type. In OpenMetrics, a counter `a` reserves the names `a`
    /// and `a_created`, and a summary `a` reserves `a_created`; another family may have one of
    /// these names.
    pub(super) typed_in_openmetrics: bool,
    /// Whether a naming assigned the name.
    pub(super) is_renamed: bool,
}

/// Assigns each family a name so that no sample name belongs to two families. `families` must not
/// contain duplicates, and timers are shown in these `forms`.
///
/// If two families want the same sample name (a gauge and a timer `a`, a timer `a` and a gauge
/// `a.sum`), the first by kind (counter, gauge, timer, set, trace) and then by name keeps it, and
/// the other has its kind appended: `a_timer`. Names that a naming assigned take precedence. Only
/// the families on the page decide, not their order of arrival, so that a restart does not change
/// names.
pub(super) fn assign(families: &[Family<'_>], forms: &TimerForms) -> Vec<FamilyName> {
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
        if take(&mut taken, family, forms) {
            names[index] = Some(family.base.to_owned());
        } else {
            give_way.push(index);
        }
    }
    // After all others, so that a replacement name takes none that another family has by right.
    for index in give_way {
        let family = families[index];
        let is_free = |name: &str| {
            let wanted = wanted(Family { base: name, ..family }, forms);
            !wanted.iter().any(|name| taken.contains(name))
        };
        let name = first_free(format!("{}_{}", family.base, family.kind), is_free);
        take(&mut taken, Family { base: &name, ..family }, forms);
        names[index] = Some(name);
    }
    let names: Vec<String> = names.into_iter().flatten().collect();
    with_openmetrics(families, names, taken, forms)
}

/// Adds the names of a family's samples to `taken`. Returns false, and adds none, if one of them is
/// taken already.
fn take(taken: &mut HashSet<String>, family: Family<'_>, forms: &TimerForms) -> bool {
    let wanted = wanted(family, forms);
    // All of a family's names or none: a summary needs `_sum` and `_count` in addition to its base.
    let is_free = !wanted.iter().any(|name| taken.contains(name));
    if is_free {
        taken.extend(wanted);
    }
    is_free
}

/// Returns the names of a family's samples.
fn wanted(family: Family<'_>, forms: &TimerForms) -> smallvec::SmallVec<[String; 3]> {
    let Family { base, kind, is_renamed } = family;
    match kind {
        _ if is_renamed => [base.to_owned()].into_iter().collect(),
        MetricKind::Counter | MetricKind::Trace => [total(base)].into_iter().collect(),
        MetricKind::Gauge | MetricKind::Set => [base.to_owned()].into_iter().collect(),
        MetricKind::Timer => {
            let families = forms.families();
            let suffixes = families.iter().flat_map(|(family, suffix)| {
                family.sample_suffixes().iter().map(move |end| (suffix, end))
            });
            suffixes.map(|(suffix, end)| format!("{base}{suffix}{end}")).collect()
        }
    }
}

/// Returns the name with exactly one `_total`: `a` and `a_total` become `a_total`.
fn total(base: &str) -> String {
    // A name that is only `_total` would leave OpenMetrics a family without a name.
    let has_it = base.len() > TOTAL.len() && base.ends_with(TOTAL);
    if has_it { base.to_owned() } else { format!("{base}{TOTAL}") }
}

/// Adds the names of the samples, and whether OpenMetrics may state the types. `names` are those of
/// `families`, in the same order, and `taken` are the names of all samples.
fn with_openmetrics(
    families: &[Family<'_>],
    names: Vec<String>,
    mut taken: HashSet<String>,
    forms: &TimerForms,
) -> Vec<FamilyName> {
    let mut named: Vec<FamilyName> = Vec::with_capacity(names.len());
    for (base, family) in names.into_iter().zip(families) {
        let sample = if is_counted(*family) { total(&base) } else { base.clone() };
        let created = |suffix: &str| format!("{base}{suffix}_created");
        let typed_in_openmetrics = family.kind != MetricKind::Timer
            || forms.families().iter().all(|(_, suffix)| taken.insert(created(suffix)));
        let is_renamed = family.is_renamed;
        named.push(FamilyName { base, sample, typed_in_openmetrics, is_renamed });
    }
    // After all timers: a counter can be shown as `unknown`, whereas a timer without its type makes
    // the page invalid in OpenMetrics.
    for (name, _) in named.iter_mut().zip(families).filter(|(_, family)| is_counted(**family)) {
        // OpenMetrics names the family of a counter without `_total`.
        name.base.truncate(name.sample.len() - TOTAL.len());
        let created = format!("{}_created", name.base);
        name.typed_in_openmetrics = !taken.contains(&name.base) && !taken.contains(&created);
        if name.typed_in_openmetrics {
            taken.extend([name.base.clone(), created]);
        }
    }
    named
}

/// Returns whether the samples of a family end with `_total`.
fn is_counted(family: Family<'_>) -> bool {
    !family.is_renamed && matches!(family.kind, MetricKind::Counter | MetricKind::Trace)
}
