//! Advice for differences without a known reason.

use std::collections::{BTreeMap, BTreeSet};

use super::kind::ValueKind;
use super::report::Comparison;

/// Parts of a name that a prefix may have.
const PREFIX_PARTS: usize = 4;

/// What to try, for operators.
pub(super) fn hints(comparison: &Comparison) -> Vec<String> {
    let Comparison { old, new, only_old, only_new, uncovered, .. } = comparison;
    let mut hints = Vec::new();
    for (side, word) in [(old, "old"), (new, "new")] {
        if side.values == 0 {
            hints.push(format!(
                "{word} has no values: does the daemon send there, and as plaintext?"
            ));
        }
        if let Some(line) = &side.first_unreadable {
            let line: String = line.chars().take(80).collect();
            hints.push(format!(
                "{} lines of {word} have no value, such as `{line}`",
                side.unreadable
            ));
        }
        if side.left_out > 0 {
            hints.push(format!(
                "{} values of {word} were left out: compare for a shorter time",
                side.left_out
            ));
        }
    }
    for (windows, word, other) in [(uncovered.0, "old", "new"), (uncovered.1, "new", "old")] {
        if windows > 0 {
            hints.push(format!(
                "{windows} windows of {word} are earlier or later than all of {other}: compare the same time"
            ));
        }
    }
    if !comparison.aligned && old.windows.min(new.windows) < 4 {
        hints.push(
            "the windows end at different times, and there are fewer than 4: compare for longer"
                .to_owned(),
        );
    }
    hints.extend(undecided(comparison));
    hints.extend(prefix(only_old, only_new));
    let both = old.windows > 0 && new.windows > 0;
    if both
        && (old.interval_s - new.interval_s).abs() > 1e-3
        && old.interval_s * new.interval_s > 0.0
    {
        hints.push(format!(
            "old has a window every {} s and new every {} s: set `interval` to the former",
            old.interval_s, new.interval_s
        ));
    }
    hints
}

/// The gauges of which nothing shows whether their levels agree.
fn undecided(comparison: &Comparison) -> Option<String> {
    let is_gauge = |series: &str| ValueKind::of(series) == ValueKind::Level;
    let count = comparison.different.iter().filter(|one| is_gauge(&one.series)).count();
    (count > 0 && !comparison.aligned).then(|| {
        format!(
            "of the different series, {count} are gauges: if they are set several times per window, this cannot be \
             decided, because the windows end at different times: start both daemons so that they \
             end together, or compare without these gauges"
        )
    })
}

/// The prefix that makes the most names of one the names of the other.
fn prefix(only_old: &[String], only_new: &[String]) -> Option<String> {
    let new: BTreeSet<&str> = only_new.iter().map(String::as_str).collect();
    let mut suffixes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in &new {
        for (prefix, suffix) in divisions(name) {
            suffixes.entry(suffix).or_default().push(prefix);
        }
    }
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for name in only_old {
        // The longest common suffix only: `a.b` and `x.a.b` differ by `x.`, not by `x.a.`.
        let found =
            divisions(name).find_map(|(before, suffix)| Some((before, suffixes.get(suffix)?)));
        if let Some((before, others)) = found {
            others.iter().for_each(|other| *counts.entry((before, *other)).or_default() += 1);
        }
    }
    let ((before, after), count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    let is_common = count * 2 > only_old.len() && before != after;
    is_common.then(|| {
        format!(
            "{count} series of old match one of new if the prefix `{before}` is `{after}`: compare the \
             prefixes of both (`naming`, `prefix`, `legacy_namespace`)"
        )
    })
}

/// The divisions of a name into a prefix, with its last dot, and the rest; the shortest prefix first.
fn divisions(name: &str) -> impl Iterator<Item = (&str, &str)> {
    let dots = name.match_indices('.').map(|(at, _)| at + 1);
    std::iter::once(0).chain(dots).take(PREFIX_PARTS).map(|at| name.split_at(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_prefix_that_differs_is_named() {
        let old = names(&["stats.a.count", "stats.b.count", "stats.c.count"]);
        let new = names(&["tallyd.x.a.count", "tallyd.x.b.count", "tallyd.x.c.count"]);
        let hint = prefix(&old, &new).unwrap();
        assert!(hint.starts_with("3 series") && hint.contains("`stats.` is `tallyd.x.`"), "{hint}");
        let hint = prefix(&names(&["a.b"]), &names(&["x.a.b"])).unwrap();
        assert!(hint.contains("`` is `x.`"), "{hint}");
    }

    #[test]
    fn names_with_nothing_in_common_have_no_hint() {
        assert_eq!(prefix(&names(&["a.b", "c.d"]), &names(&["e.f"])), None);
        assert_eq!(prefix(&[], &[]), None);
    }
}
