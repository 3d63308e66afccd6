//! What each scheme makes of series, and which it leaves alone.

use std::time::Duration;

use super::*;
use crate::prometheus::page::{Page, PageFormat};
use crate::prometheus::state::{Limits, State};
use model::testing::{point, snapshot_of};
use model::{Point, Sum, TotalValue, Value};

const LIMITS: Limits = Limits {
    expire_after: Duration::from_secs(600),
    series_max: 1_000,
    bytes_max: 1 << 20,
    departed_max: 10,
};

fn gauge(name: &str, tags: &[(&str, &str)], value: f64) -> Point {
    point(MetricKind::Gauge, name, tags, Value::Gauge { value, arrival_ns: 0 })
}

fn kept(name: &str, tags: &[(&str, &str)], total: f64) -> Point {
    let value = TotalValue { added: Sum::default(), total };
    point(MetricKind::Counter, name, tags, Value::Total(Box::new(value)))
}

fn poll(tags: &[(&str, &str)]) -> Point {
    point(MetricKind::Counter, POLLS, tags, Value::Counter(Sum::of(1.0)))
}

/// The page after each of these windows.
fn pages(naming: Naming, windows: Vec<Vec<Point>>) -> Vec<String> {
    let mut state = State::new(LIMITS, naming);
    let page = |points| {
        let snapshot = snapshot_of(points);
        let applied = state.apply(&snapshot);
        assert_eq!((applied.shown, applied.refused), (snapshot.points.len() as u64, 0));
        let page = Page::of(&state, &snapshot.percentiles, Vec::new());
        String::from_utf8(page.plain(PageFormat::Text).to_vec()).unwrap()
    };
    windows.into_iter().map(page).collect()
}

fn page(naming: Naming, points: Vec<Point>) -> String {
    pages(naming, vec![points]).remove(0)
}

#[test]
fn no_two_metrics_of_a_table_show_the_same_series() {
    for table in [callr::TABLE, pascom::TABLE] {
        let mut sources: Vec<_> = table.iter().flat_map(Metric::sources).collect();
        let all = sources.len();
        sources.sort_by(|a, b| a.0.cmp(&b.0));
        sources.dedup_by(|a, b| a.0 == b.0);
        assert_eq!(sources.len(), all);
        let names: std::collections::HashSet<_> = table.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), table.len());
        assert!(table.iter().all(|metric| is_polled(&metric.sources().next().unwrap().0)));
    }
}

#[test]
fn statistics_are_called_by_their_group_and_name_be_they_totals_or_not() {
    let page = page(
        Naming::Callr,
        vec![
            kept("kamailio.script.my_total", &[], 7.0),
            gauge("kamailio.script.my_negative", &[], -467.0),
            kept("kamailio.core.rcv_replies", &[("node", "a")], 8.0),
            gauge("kamailio.htable.stats.slots", &[("name", "big")], 16.0),
            gauge("kamailio.poll.duration_seconds", &[], 1.0),
            gauge("kamailio.core.shmmem.headroom", &[], 0.5),
        ],
    );
    assert_eq!(
        page,
        "# HELP kamailio_htable_stats_slots tallyd gauge kamailio.htable.stats.slots\n\
         # TYPE kamailio_htable_stats_slots gauge\n\
         kamailio_htable_stats_slots{name=\"big\"} 16\n\
         # HELP kamailio_stats_fetch_value Statistic value.\n\
         # TYPE kamailio_stats_fetch_value gauge\n\
         kamailio_stats_fetch_value{group=\"core\",name=\"rcv_replies\",node=\"a\"} 8\n\
         kamailio_stats_fetch_value{group=\"script\",name=\"my_negative\"} 1.8446744073709552e+19\n\
         kamailio_stats_fetch_value{group=\"script\",name=\"my_total\"} 7\n"
    );
}

#[test]
fn what_scripts_count_is_a_counter_by_the_end_of_its_name() {
    for (statistic, name, word) in [
        ("my_custom_value_total", "my_custom_value_total", "counter"),
        ("db_seconds", "db_seconds", "counter"),
        ("media_bytes", "media_bytes", "counter"),
        ("bytes", "bytes", "gauge"),
        ("my_gauge", "my_gauge", "gauge"),
        ("MixedCase_Total", "mixedcase_total", "gauge"),
        ("a:b", "a:b", "gauge"),
    ] {
        let source = format!("kamailio.script.{statistic}");
        let is_total = COUNTED.iter().any(|end| statistic.ends_with(end));
        let make = if is_total { kept } else { gauge };
        assert_eq!(
            page(Naming::Pascom, vec![make(&source, &[], 2e6)]),
            format!(
                "# HELP kamailio_{name} Scripted metric {name}\n# TYPE kamailio_{name} {word}\n\
                 kamailio_{name} 2e+06\n"
            )
        );
    }
    let unnamed = ["dash-name", "a.b", "", "é"].map(|name| format!("kamailio.script.{name}"));
    let points = unnamed.iter().map(|name| gauge(name, &[], 1.0)).collect();
    assert_eq!(page(Naming::Pascom, points), "");
}

const COUNTED: [&str; 3] = ["_total", "_seconds", "_bytes"];

#[test]
fn what_a_script_counts_takes_no_name_of_the_exporters() {
    let page = page(
        Naming::Pascom,
        vec![
            gauge("kamailio.script.tcp_readers", &[], 1.0),
            gauge("kamailio.core.tcp_info.readers", &[], 2.0),
            gauge("kamailio_tcp_readers", &[], 3.0),
        ],
    );
    let samples: Vec<_> = page.lines().filter(|line| !line.starts_with('#')).collect();
    // Somebody else's of that name gives way to it.
    assert_eq!(samples, ["kamailio_tcp_readers_gauge 3", "kamailio_tcp_readers 2"]);
}

#[test]
fn tags_of_instance_and_agent_stand_beside_the_labels_and_never_in_their_place() {
    let tags = [("entry", "3"), ("host", "h"), ("node", "a"), ("process", "timer")];
    let page_of = |points| {
        let page = page(Naming::Pascom, points);
        page.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(
        page_of(vec![gauge("kamailio.pkg.stats.used", &tags, 9.0)]),
        "kamailio_pkgmem_used{entry=\"3\",host=\"h\",node=\"a\"} 9"
    );
    assert_eq!(
        page_of(vec![gauge("kamailio.tmx.active_transactions", &[("type", "edge")], 9.0)]),
        "kamailio_tmx{type=\"active\",type_2=\"edge\"} 9"
    );
}

#[test]
fn a_series_leaves_with_the_first_poll_that_does_not_have_it() {
    let target = |flags, node| {
        let tags = [("flags", flags), ("node", node), ("setid", "1"), ("uri", "sip:x")];
        gauge("kamailio.dispatcher.list.target", &tags, 1.0)
    };
    let pages = pages(
        Naming::Callr,
        vec![
            vec![target("AP", "a"), target("AP", "b"), gauge("other", &[], 1.0)],
            // Not polled in this window.
            vec![],
            vec![target("IP", "a"), poll(&[("node", "a")])],
            // Polled without an answer.
            vec![poll(&[("node", "a")])],
        ],
    );
    let targets = |page: &str| -> Vec<String> {
        let shown = page.lines().filter(|line| line.starts_with("kamailio_dispatcher"));
        shown.map(|line| line.replace(",setid=\"1\",uri=\"sip:x\"", "")).collect()
    };
    let [ap_a, ap_b] = ["a", "b"]
        .map(|node| format!("kamailio_dispatcher_list_target{{flags=\"AP\",node=\"{node}\"}} 1"));
    let ip_a = ap_a.replace("AP", "IP");
    assert_eq!(targets(&pages[0]), [ap_a.clone(), ap_b.clone()]);
    assert_eq!(pages[1], pages[0]);
    assert_eq!(targets(&pages[2]), [ap_b.clone(), ip_a]);
    assert_eq!(targets(&pages[3]), [ap_b]);
    assert!(pages.iter().all(|page| page.contains("\nother 1\n")), "{pages:#?}");
}

#[test]
fn a_level_that_the_exporter_called_a_counter_is_one_and_falls() {
    let tags = [("x", "y")];
    let active = |value| gauge("kamailio.dialog.active_dialogs", &tags, value);
    let processed = |total| kept("kamailio.dialog.processed_dialogs", &tags, total);
    let pages = pages(
        Naming::Pascom,
        vec![vec![active(4.0), processed(29.0)], vec![active(2.0), processed(30.0)]],
    );
    assert_eq!(
        pages[1],
        "# HELP kamailio_dialog Ongoing Dialogs\n# TYPE kamailio_dialog counter\n\
         kamailio_dialog{type=\"active_dialogs\",x=\"y\"} 2\n\
         kamailio_dialog{type=\"processed_dialogs\",x=\"y\"} 30\n"
    );
}
