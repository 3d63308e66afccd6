//! Renamed and hidden series on the page.

use std::borrow::Cow;
use std::sync::Arc;

use model::testing::snapshot_of;
use model::{AssignedName, MetricKind, OwnTags, Point, Series, SeriesNaming, SeriesPlacement};

use super::{Bench, LIMITS, counter, gauge, kept, samples, text};
use crate::prometheus::state::State;

/// A naming that renames four metrics of a program and hides its other series.
#[derive(Debug)]
pub(in crate::prometheus) struct StubNaming;

impl StubNaming {
    /// Returns the type, name, added labels and own tags of a renamed series.
    fn assigned(name: &str) -> Option<AssignedName> {
        let keeps = |kept| OwnTags { kept, ..OwnTags::default() };
        let of_type = |value: &str| vec![("type", value.to_owned())];
        let (kind, name, added_labels, own_tags) = match name {
            "source.poll" => (MetricKind::Counter, "other_polls", vec![], OwnTags::default()),
            "source.target" => (MetricKind::Gauge, "other_target", vec![], keeps(&["flags"])),
            "source.memory" => {
                let renamed = &[("rank", "place")];
                let own_tags = OwnTags { kept: &["entry"], renamed, dropped: &["process"] };
                (MetricKind::Gauge, "other_memory", vec![], own_tags)
            }
            "source.active" => {
                (MetricKind::Counter, "other_dialogs", of_type("active"), OwnTags::default())
            }
            "source.processed" => {
                (MetricKind::Counter, "other_dialogs", of_type("processed"), OwnTags::default())
            }
            _ => return None,
        };
        let (name, help) = (Cow::Borrowed(name), Cow::Borrowed("Help of the other program."));
        Some(AssignedName { name, kind, help, added_labels, own_tags })
    }
}

impl SeriesNaming for StubNaming {
    fn place(&self, series: &Series) -> SeriesPlacement<'_> {
        match Self::assigned(series.name()) {
            Some(assigned) => SeriesPlacement::Renamed(Cow::Owned(assigned)),
            None if series.name().starts_with("source.") => SeriesPlacement::Hidden,
            None => SeriesPlacement::Unchanged,
        }
    }

    fn marks_poll(&self, series: &Series) -> bool {
        series.name() == "source.poll"
    }

    fn shown_value(&self, value: f64) -> f64 {
        if value < 0.0 { value + 1e20 } else { value }
    }
}

/// Renders a page with the names of the other program.
fn renaming() -> Bench {
    Bench { state: State::new(LIMITS, Some(Arc::new(StubNaming))) }
}

fn page(points: Vec<Point>) -> String {
    text(&renaming().window(points))
}

fn poll(node: &str) -> Point {
    counter("source.poll", &[("node", node)], 1.0)
}

#[test]
fn a_renamed_family_has_the_type_and_help_of_the_other_program() {
    let page = page(vec![
        gauge("source.active", &[("x", "y")], 2e6),
        kept("source.processed", &[("x", "y")], 0.0, 30.0),
        gauge("user.logins", &[], 2e6),
    ]);
    assert_eq!(
        page,
        "# HELP other_dialogs Help of the other program.\n\
         # TYPE other_dialogs counter\n\
         other_dialogs{type=\"active\",x=\"y\"} 2e+06\n\
         other_dialogs{type=\"processed\",x=\"y\"} 30\n\
         # HELP user_logins tallyd gauge user.logins\n\
         # TYPE user_logins gauge\n\
         user_logins 2000000\n"
    );
}

#[test]
fn a_renamed_level_may_fall_although_it_is_declared_a_counter() {
    let mut bench = renaming();
    for level in [4.0, 2.0] {
        let page = text(&bench.window(vec![gauge("source.active", &[], level)]));
        assert_eq!(samples(&page), [format!("other_dialogs{{type=\"active\"}} {level}")]);
    }
}

#[test]
fn hidden_points_count_as_delivered_and_values_are_converted() {
    let points = vec![gauge("source.other", &[], 1.0), gauge("source.target", &[], -467.0)];
    let mut bench = renaming();
    let applied = bench.state.apply(&snapshot_of(points));
    assert_eq!((applied.shown, applied.refused), (2, 0));
    assert_eq!(samples(&text(&bench.window(vec![]))), ["other_target 1e+20"]);
}

#[test]
fn source_tags_are_added_to_the_labels_and_replace_none() {
    let tags = [("entry", "3"), ("host", "h"), ("node", "a"), ("process", "timer"), ("rank", "1")];
    let memory = page(vec![gauge("source.memory", &tags, 9.0)]);
    // `rank` has another name there, which a tag of the source does not take.
    let labels = "entry=\"3\",host=\"h\",node=\"a\",place=\"1\"";
    assert_eq!(samples(&memory), [format!("other_memory{{{labels}}} 9")]);
    let active = page(vec![gauge("source.active", &[("type", "edge")], 9.0)]);
    assert_eq!(samples(&active), ["other_dialogs{type=\"active\",type_2=\"edge\"} 9"]);
}

#[test]
fn a_series_with_the_name_of_a_renamed_one_gives_way() {
    let page = page(vec![gauge("source.memory", &[], 2.0), gauge("other_memory", &[], 3.0)]);
    assert_eq!(samples(&page), ["other_memory_gauge 3", "other_memory 2"]);
}

#[test]
fn a_renamed_series_expires_with_the_first_poll_without_it() {
    let target = |flags, node| gauge("source.target", &[("flags", flags), ("node", node)], 1.0);
    let mut bench = renaming();
    let mut targets = |points| {
        let page = text(&bench.window(points));
        assert!(page.contains("\nuser_logins 1\n"), "{page}");
        let shown = samples(&page).into_iter().filter(|line| line.starts_with("other_target"));
        shown.map(str::to_owned).collect::<Vec<_>>()
    };
    let shown = |flags, node| format!("other_target{{flags=\"{flags}\",node=\"{node}\"}} 1");
    let first = vec![target("AP", "a"), target("AP", "b"), gauge("user.logins", &[], 1.0)];
    assert_eq!(targets(first), [shown("AP", "a"), shown("AP", "b")]);
    // A window without a poll.
    assert_eq!(targets(vec![]), [shown("AP", "a"), shown("AP", "b")]);
    assert_eq!(targets(vec![target("IP", "a"), poll("a")]), [shown("AP", "b"), shown("IP", "a")]);
    // A poll that failed.
    assert_eq!(targets(vec![poll("a")]), [shown("AP", "b")]);
}

#[test]
fn a_page_with_renamed_series_is_not_valid_openmetrics() {
    assert!(renaming().window(vec![]).breaks_openmetrics());
    assert!(!Bench::new(LIMITS).window(vec![]).breaks_openmetrics());
}
