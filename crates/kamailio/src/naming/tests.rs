//! The names that each naming assigns, and the series that it leaves alone.

use std::collections::HashSet;

use super::*;

fn series(kind: MetricKind, name: &str) -> Series {
    Series::new(kind, name, &[("node", "a")])
}

/// How a naming shows a series: type, name and added labels.
fn shown(naming: &dyn SeriesNaming, kind: MetricKind, name: &str) -> String {
    match naming.place(&series(kind, name)) {
        SeriesPlacement::Renamed(assigned) => {
            let labels = assigned.added_labels.iter();
            let labels: String = labels.map(|(key, value)| format!(" {key}={value}")).collect();
            format!("{} {}{labels}", assigned.kind, assigned.name)
        }
        SeriesPlacement::Hidden => "hidden".to_owned(),
        SeriesPlacement::Unchanged => "unchanged".to_owned(),
    }
}

fn gauge_in(naming: &dyn SeriesNaming, name: &str) -> String {
    shown(naming, MetricKind::Gauge, name)
}

#[test]
fn each_series_is_in_a_table_at_most_once_and_comes_from_a_default_method() {
    let voiplens = || pascom::TABLE.iter().chain(voiplens::TABLE).collect::<Vec<_>>();
    for table in [callr::TABLE.iter().collect(), pascom::TABLE.iter().collect(), voiplens()] {
        let names = table.iter().flat_map(|metric| metric.assigned_names());
        let sources: Vec<String> = names.map(|(name, _)| name).collect();
        let distinct: HashSet<&String> = sources.iter().collect();
        assert_eq!(distinct.len(), sources.len());
        let names: HashSet<_> = table.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), table.len());
        // The guide for this exporter lists the other methods.
        let is_listed = |source: &str| {
            ["core.runinfo.", "dlg.profile_get_size", "htable.listTables.", "htable.stats."]
                .iter()
                .any(|method| source.starts_with(&format!("kamailio.{method}")))
        };
        for source in sources {
            assert!(is_polled_by_default(&source) || is_listed(&source), "{source}");
        }
    }
}

#[test]
fn callr_names_metrics_by_method_and_field_and_statistics_by_labels() {
    let callr = callr();
    for (name, expected) in [
        ("kamailio.tm.stats.current", "gauge kamailio_tm_stats_current"),
        ("kamailio.tm.stats.created", "counter kamailio_tm_stats_created_total"),
        ("kamailio.core.uptime.uptime", "counter kamailio_core_uptime_uptime_total"),
        ("kamailio.poll.complete", "gauge kamailio_up"),
        ("kamailio.poll.count", "counter kamailio_exporter_total_scrapes"),
        ("kamailio.script.my_total", "gauge kamailio_stats_fetch_value group=script name=my_total"),
        (
            "kamailio.core.rcv_replies",
            "gauge kamailio_stats_fetch_value group=core name=rcv_replies",
        ),
    ] {
        assert_eq!(gauge_in(&*callr, name), expected);
    }
}

#[test]
fn pascom_names_metrics_by_group_and_distinguishes_statistics_by_a_label() {
    let pascom = pascom();
    for (name, expected) in [
        ("kamailio.core.rcv_requests", "counter kamailio_core_request_total method=rcv"),
        (
            "kamailio.core.unsupported_methods",
            "counter kamailio_core_rcv_request_total method=unsupported",
        ),
        ("kamailio.tmx.active_transactions", "gauge kamailio_tmx type=active"),
        ("kamailio.tmx.2xx_transactions", "counter kamailio_tmx_code_total code=2xx"),
        // A level that the exporter declared a counter.
        ("kamailio.dialog.active_dialogs", "counter kamailio_dialog type=active_dialogs"),
        ("kamailio.pkg.stats.used", "gauge kamailio_pkgmem_used"),
    ] {
        assert_eq!(gauge_in(&*pascom, name), expected);
    }
}

#[test]
fn pascom_declares_a_statistic_of_a_script_by_the_suffix_of_its_name() {
    let pascom = pascom();
    for (statistic, expected) in [
        ("my_custom_value_total", "counter kamailio_my_custom_value_total"),
        ("db_seconds", "counter kamailio_db_seconds"),
        ("media_bytes", "counter kamailio_media_bytes"),
        ("bytes", "gauge kamailio_bytes"),
        ("my_gauge", "gauge kamailio_my_gauge"),
        ("MixedCase_Total", "gauge kamailio_mixedcase_total"),
        ("a:b", "gauge kamailio_a:b"),
        ("dash-name", "hidden"),
        ("a.b", "hidden"),
        ("", "hidden"),
        ("é", "hidden"),
        // The name of a metric of the exporter.
        ("tcp_readers", "hidden"),
    ] {
        let name = format!("kamailio.script.{statistic}");
        assert_eq!(gauge_in(&*pascom, &name), expected, "{statistic}");
    }
}

#[test]
fn statistics_that_an_exporter_did_not_show_are_hidden() {
    let hidden_by_both = [
        "kamailio.up",
        "kamailio.poll.duration_seconds",
        "kamailio.poll.failures",
        "kamailio.method.faults",
        "kamailio.core.shmmem.headroom",
        "kamailio.dispatcher.list.state",
        "kamailio.tm.stats.unknown",
        "kamailio.script.a.b",
    ];
    for naming in [callr(), pascom()] {
        for name in hidden_by_both {
            assert_eq!(gauge_in(&*naming, name), "hidden", "{naming:?}: {name}");
        }
    }
    assert_eq!(gauge_in(&*pascom(), "kamailio.tm.stats.current"), "hidden");
    assert_eq!(gauge_in(&*callr(), "kamailio.rtpengine.show.enabled"), "hidden");
}

#[test]
fn series_of_other_methods_and_other_programs_keep_their_names() {
    for naming in [callr(), pascom()] {
        for name in ["kamailio.htable.stats.slots", "kamailio.shm.stats.used", "user.logins", "up"]
        {
            assert_eq!(gauge_in(&*naming, name), "unchanged", "{naming:?}: {name}");
        }
        for kind in [MetricKind::Timer, MetricKind::Set, MetricKind::Trace] {
            assert_eq!(shown(&*naming, kind, "kamailio.tm.stats.current"), "unchanged");
        }
    }
}

#[test]
fn voiplens_has_the_names_of_pascom_and_those_of_methods() {
    let voiplens = voiplens();
    for (name, expected) in [
        ("kamailio.core.rcv_requests", "counter kamailio_core_request_total method=rcv"),
        ("kamailio.script.my_total", "counter kamailio_my_total"),
        ("kamailio.tm.stats.total_local", "counter kamailio_tm_stats_local_total"),
        ("kamailio.tm.stats.total", "counter kamailio_tm_stats_total"),
        ("kamailio.dispatcher.list.active", "gauge kamailio_dispatcher_list_target"),
        ("kamailio.dispatcher.list.target", "gauge kamailio_dispatcher_list_target_flags_status"),
        (
            "kamailio.dispatcher.list.timeouts",
            "gauge kamailio_dispatcher_list_target_latency_timeout",
        ),
        ("kamailio.htable.stats.all", "gauge kamailio_htable_items_total"),
        ("kamailio.up", "gauge kamailio_up"),
        ("kamailio.dispatcher.list.state", "hidden"),
        ("user.logins", "unchanged"),
    ] {
        assert_eq!(gauge_in(&*voiplens, name), expected);
    }
}

#[test]
fn own_tags_are_those_of_the_reply() {
    let own_tags = |naming: Arc<dyn SeriesNaming>, name: &str| {
        let SeriesPlacement::Renamed(assigned) = naming.place(&series(MetricKind::Gauge, name))
        else {
            panic!("{name} has no name")
        };
        (assigned.own_tags.kept, assigned.own_tags.dropped)
    };
    let target = own_tags(callr(), "kamailio.dispatcher.list.target");
    let dropped = &["duid", "set_name", "socket"];
    assert_eq!(target, (&["flags", "setid", "uri"][..], &dropped[..]));
    let process = own_tags(pascom(), "kamailio.pkg.stats.used");
    assert_eq!(process, (&["entry"][..], &["process"][..]));
    assert_eq!(own_tags(callr(), "kamailio.core.rcv_replies"), (&[][..], &[][..]));
}

#[test]
fn negative_numbers_are_shown_as_unsigned_64_bit_numbers() {
    for naming in [callr(), pascom(), voiplens()] {
        assert_eq!(naming.shown_value(-467.0), 1.844_674_407_370_955_2e19);
        assert_eq!(naming.shown_value(8.0), 8.0);
    }
}

#[test]
fn the_number_of_polls_marks_a_poll() {
    let callr = callr();
    assert!(callr.marks_poll(&series(MetricKind::Counter, "kamailio.poll.count")));
    assert!(!callr.marks_poll(&series(MetricKind::Gauge, "kamailio.poll.complete")));
}
