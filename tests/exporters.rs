//! Pages that replace the two older exporters for Kamailio: line by line equal to the exporters' output
//! for the same recorded replies.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use common::promtool::promtool;
use common::replay::{Answer, Replay};
use common::{Daemon, PATIENCE, assert_balanced, tallyd};
use forwarders::http::scripted::{ScriptedAnswer as Says, ScriptedServer};
use forwarders::testing::real_server;

/// The methods that the exporter polled when its page was recorded.
const METHODS: &str = "tm.stats, sl.stats, core.shmmem, core.uptime, core.tcp_info, \
                       dispatcher.list, tls.info, dlg.stats_active";

/// A recorded page below `crates/binrpc/tests/captures/exporters`.
fn recorded(name: &str) -> String {
    let folder = common::root().join("crates/binrpc/tests/captures/exporters");
    fs::read_to_string(folder.join(name)).unwrap()
}

/// A daemon that polls `replay` and has a page with this section.
fn daemon(replay: &Replay, instance: &str, section: &str) -> Daemon {
    Daemon::start(&format!(
        "interval: 200ms\n\
         kamailio: [{{ endpoint: \"{}\", interval: 100ms, {instance} }}]\n\
         forwarders: {{ prometheus: {{ listen: \"127.0.0.1:0\", {section} }} }}\n",
        replay.unix
    ))
}

fn page(daemon: &Daemon) -> String {
    let url = format!("http://{}/metrics", daemon.page.unwrap());
    // As Prometheus requests it, which prefers OpenMetrics.
    let accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3";
    let reply = common::http().build().unwrap().get(url).header("Accept", accept).send().unwrap();
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    reply.text().unwrap()
}

/// Waits until the page meets a condition, and returns it.
fn wait_page(daemon: &Daemon, what: &str, is_so: impl Fn(&str) -> bool) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let page = page(daemon);
        if is_so(&page) {
            return page;
        }
        assert!(Instant::now() < deadline, "{what} did not come: {page}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// The lines of each family, with its `HELP` and `TYPE`.
fn families(page: &str) -> BTreeMap<String, Vec<String>> {
    let mut families = BTreeMap::<String, Vec<String>>::new();
    let mut name = String::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ").or(line.strip_prefix("# TYPE ")) {
            rest.split(' ').next().unwrap().clone_into(&mut name);
        }
        families.entry(name.clone()).or_default().push(line.to_owned());
    }
    families
}

#[test]
fn the_methods_page_equals_that_of_the_exporter() {
    let folder = tempfile::tempdir().unwrap();
    let replay = Replay::start(folder.path());
    replay.learn("");
    // The recording is of the second scrape.
    replay.answer_only(2);
    let instance = format!("methods: [{METHODS}], timeout: 1h");
    let daemon = daemon(&replay, &instance, "naming: callr");
    let scrapes = "\nkamailio_exporter_total_scrapes 2\n";
    let page = wait_page(&daemon, "the second poll", |page| page.contains(scrapes));
    let recorded = recorded("methods_v1.metrics.txt");
    for (line, recorded) in page.lines().zip(recorded.lines()) {
        assert_eq!(line, recorded);
    }
    assert_eq!(page, recorded);
    assert_balanced(&daemon.status());
}

/// The program that took the exporter's place in docs/migration-transcripts.md.
#[test]
fn the_stand_in_of_the_transcript_has_the_page_of_the_exporter() {
    let folder = tempfile::tempdir().unwrap();
    let replay = Replay::start(folder.path());
    replay.learn("");
    let program = common::root().join("tests/servers/kamailio/exporter_stand_in.py");
    let mut command = Command::new("python3");
    command.arg(program).arg(format!("--kamailio.scrape-uri={}", replay.unix));
    command.arg(format!("--kamailio.methods={METHODS}")).arg("--web.listen-address=127.0.0.1:0");
    let mut exporter = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(exporter.stdout.take().unwrap()).read_line(&mut said).unwrap();
    let address = said.trim().strip_prefix("listening on ").unwrap();
    let scrape = || common::get(format!("http://{address}/metrics")).unwrap().text().unwrap();
    // The recording is of the second scrape.
    let pages = [scrape(), scrape()];
    replay.answer(Answer::HangUp);
    let failed = scrape();
    exporter.kill().unwrap();
    exporter.wait().unwrap();
    assert_eq!(pages[1], recorded("methods_v1.metrics.txt"));
    assert!(failed.contains("\nkamailio_up 0\n") && !failed.contains("kamailio_tm_"), "{failed}");
}

#[test]
fn methods_added_in_the_second_release_are_present() {
    let folder = tempfile::tempdir().unwrap();
    let replay = Replay::start(folder.path());
    replay.learn("");
    let daemon = daemon(&replay, "methods: [default]", "naming: callr");
    let page = wait_page(&daemon, "a poll", |page| page.contains("kamailio_up 1"));
    for lines in [
        "# HELP kamailio_dmq_list_nodes_node DMQ node status.\n\
         # TYPE kamailio_dmq_list_nodes_node gauge\n\
         kamailio_dmq_list_nodes_node{host=\"127.0.0.1\",local=\"",
        "# HELP kamailio_stats_fetch_value Statistic value.\n\
         # TYPE kamailio_stats_fetch_value gauge\n\
         kamailio_stats_fetch_value{group=\"core\",name=\"bad_URIs_rcvd\"} 0\n",
        "\nkamailio_stats_fetch_value{group=\"script\",name=\"my_big_total\"} 4.67e+11\n",
        "\nkamailio_stats_fetch_value{group=\"script\",name=\"my_negative\"} 1.8446744073709552e+19\n",
    ] {
        assert!(page.contains(lines), "{lines}: {page}");
    }
    // No metric that the exporter lacks.
    let mut names: Vec<String> = families(&page).into_keys().collect();
    names.retain(|name| !recorded("methods_v1.metrics.txt").contains(&format!("# TYPE {name} ")));
    assert_eq!(names, ["kamailio_dmq_list_nodes_node", "kamailio_stats_fetch_value"]);
}

#[test]
fn the_statistics_page_equals_that_of_the_exporter() {
    let folder = tempfile::tempdir().unwrap();
    let replay = Replay::start(folder.path());
    replay.learn("");
    let defined =
        ScriptedServer::start(|_, _| Says::status(200, &recorded("user_defined.metrics.txt")));
    let section = format!("naming: pascom, merge: {{ url: \"http://{}/x\" }}", defined.address);
    let daemon = daemon(&replay, "methods: [default]", &section);
    let page = wait_page(&daemon, "a poll", |page| page.contains("kamailio_"));
    assert_eq!(defined.asked()[0].line, "GET /x HTTP/1.1");
    let recorded = recorded("pascom.metrics.txt");
    // Its own families are followed by those that the operator defined, in any order.
    let mark = "# TYPE kamuser";
    let (own, theirs) = (page.split_once(mark).unwrap().0, recorded.split_once(mark).unwrap().0);
    for (line, recorded) in own.lines().zip(theirs.lines()) {
        assert_eq!(line, recorded);
    }
    assert_eq!(own, theirs);
    assert_eq!(families(&page), families(&recorded));
    assert_eq!(page.len(), recorded.len());
    let status = daemon.status();
    assert_eq!(status["forwarders"]["prometheus"]["failed_fetches"], 0);
    assert_balanced(&status);
}

#[test]
fn the_page_of_the_third_exporter_has_its_names_and_labels() {
    let folder = tempfile::tempdir().unwrap();
    let replay = Replay::start(folder.path());
    replay.learn("");
    let methods = "methods: [default, core.runinfo, htable.listTables, htable.stats, \
                   dlg.profile_get_size bridged], set_names: { 1: Carrier 1 }";
    let daemon = daemon(&replay, methods, "naming: voiplens");
    let page = wait_page(&daemon, "a poll", |page| page.contains("kamailio_up 1"));
    // From the exporter's README, with the values of the recorded replies.
    for lines in [
        "# HELP kamailio_up kamailio_exporter: Whether the Kamailio endpoint is up.\n\
         # TYPE kamailio_up gauge\nkamailio_up 1\n",
        "# HELP kamailio_core_uptime Uptime in seconds\n# TYPE kamailio_core_uptime gauge\n\
         kamailio_core_uptime{compiler=\"gcc 12.2.0\",version=\"5.6.3\"} 8\n",
        "# HELP kamailio_dispatcher_list_target Target status.\n\
         # TYPE kamailio_dispatcher_list_target gauge\n",
        "\nkamailio_dispatcher_list_target{destination=\"sip:127.0.0.1:25462\",set_id=\"1\",\
         set_name=\"Carrier 1\"} 1\n",
        "\nkamailio_dispatcher_list_target{destination=\"sip:127.0.0.1:25465\",set_id=\"2\"} 0\n",
        "\nkamailio_dispatcher_list_target_flags_status{destination=\"sip:127.0.0.1:25462\",\
         flags=\"AP\",set_id=\"1\",set_name=\"Carrier 1\"} 1\n",
        "# TYPE kamailio_dispatcher_list_target_latency_timeout gauge\n",
        "\nkamailio_dispatcher_list_target_weight{destination=\"sip:127.0.0.1:25462\",\
         set_id=\"1\",set_name=\"Carrier 1\"} 60\n",
        "# HELP kamailio_dlg_profile_get_size_dialog Current number of dialogs belonging to a \
         profile.\n# TYPE kamailio_dlg_profile_get_size_dialog gauge\n\
         kamailio_dlg_profile_get_size_dialog{profile=\"bridged\"} 4\n",
        "\nkamailio_htable_items_total{name=\"big\"} 24\n",
        "\nkamailio_htable_update_expire_status{name=\"small\"} 1\n",
        "# HELP kamailio_tm_stats_local_total Total local transactions.\n\
         # TYPE kamailio_tm_stats_local_total counter\nkamailio_tm_stats_local_total 9\n",
        "\nkamailio_tm_stats_total 163\n",
        "\nkamailio_sl_stats_codes_total{code=\"302\"} 30\n",
        "\nkamailio_tls_opened_connections 2\n",
        "\nkamailio_my_big_total 4.67e+11\n",
    ] {
        assert!(page.contains(lines), "{lines}: {page}");
    }
    assert!(!page.contains("duid") && !page.contains("setid"), "{page}");
    // It has every family of the exporter that it continues.
    let families = families(&page);
    for (name, _) in self::families(&recorded("pascom.metrics.txt")) {
        assert!(families.contains_key(&name) || name.starts_with("kamuser"), "{name}");
    }
}

/// The status and the page of a probe.
fn probe(daemon: &Daemon, target: &str) -> (u16, String) {
    let url = format!("http://{}/probe", daemon.page.unwrap());
    let url = reqwest::Url::parse_with_params(&url, &[("target", target)]).unwrap();
    let reply = common::get(url).unwrap();
    (reply.status().as_u16(), reply.text().unwrap())
}

#[test]
fn a_probe_polls_an_allowed_target_once_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let replay = Replay::start(folder.path());
    replay.learn("");
    let daemon = Daemon::start(&format!(
        "forwarders: {{ prometheus: {{ listen: \"127.0.0.1:0\", naming: callr, \
         probe: {{ targets: [\"unix:{}/*\", \"tcp:127.0.0.1:1\"], timeout: 1s }} }} }}\n",
        folder.path().display()
    ));
    let (status, page) = probe(&daemon, &replay.unix);
    assert_eq!(status, 200);
    for line in [
        "kamailio_up 1\n",
        "\nkamailio_core_uptime_uptime_total 8\n",
        "\nkamailio_tm_stats_created_total 163\n",
        "\nkamailio_dispatcher_list_target{flags=\"AP\",setid=\"1\",uri=\"sip:127.0.0.1:25462\"} 1\n",
    ] {
        assert!(page.contains(line), "{line}: {page}");
    }
    // Nothing listens there: the scrape succeeds, and says that Kamailio is down.
    let (status, page) = probe(&daemon, "tcp:127.0.0.1:1");
    assert_eq!((status, page.contains("\nkamailio_up 0\n")), (200, true), "{page}");
    for (target, expected) in [
        ("tcp:127.0.0.1:2", 403),
        ("unix:/etc/passwd", 403),
        (&format!("unix:{}/../x", folder.path().display()), 403),
        ("", 400),
    ] {
        assert_eq!(probe(&daemon, target).0, expected, "{target}");
    }
    let page = daemon.status()["forwarders"]["prometheus"].clone();
    assert_eq!((&page["failed_probes"], &page["refused_probes"]), (&1.into(), &4.into()));
    let stopped = daemon.stop();
    let refusals = stopped.warnings().into_iter().filter(|line| line.contains("refused to probe"));
    assert_eq!(refusals.count(), 1, "at most one line a minute");
}

#[test]
fn probes_are_limited_in_number_and_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let replay = Replay::start(folder.path());
    replay.learn("");
    replay.answer(Answer::Hang);
    let daemon = Daemon::start(
        "forwarders: { prometheus: { listen: \"127.0.0.1:0\", \
         probe: { targets: [\"unix:*\"], timeout: 2s, max_concurrent: 1 } } }\n",
    );
    let began = Instant::now();
    let statuses = std::thread::scope(|scope| {
        let probes = [(); 3].map(|()| scope.spawn(|| probe(&daemon, &replay.unix)));
        let mut statuses = probes.map(|probe| probe.join().unwrap().0);
        statuses.sort_unstable();
        statuses
    });
    // One is polled for two seconds, during which the others are refused.
    assert_eq!(statuses, [200, 503, 503]);
    assert!(began.elapsed().as_secs() < 10);
    replay.answer(Answer::Recorded);
    let (status, page) = probe(&daemon, &replay.unix);
    assert_eq!((status, page.contains("\nkamailio_up 1\n")), (200, true), "{page}");
}

#[test]
fn promtool_reports_the_same_as_for_the_exporters() {
    let Some(program) = real_server("TALLYD_TEST_PROMTOOL") else { return };
    let folder = tempfile::tempdir().unwrap();
    let replay = Replay::start(folder.path());
    replay.learn("");
    let defined =
        ScriptedServer::start(|_, _| Says::status(200, &recorded("user_defined.metrics.txt")));
    let merge = format!("merge: {{ url: \"http://{}/\" }}", defined.address);
    for (section, name) in [
        ("naming: callr".to_owned(), "methods_v1.metrics.txt"),
        (format!("naming: pascom, {merge}"), "pascom.metrics.txt"),
    ] {
        let daemon =
            daemon(&replay, &format!("methods: [{METHODS}, stats.fetch, pkg.stats]"), &section);
        let page = wait_page(&daemon, "a poll", |page| page.contains("kamailio_"));
        let (status, words) = promtool(&program, &page);
        // Status 3: the page was parsed, with lint warnings. 1 would be a page that does not parse.
        assert_eq!(status, Some(3), "{words}");
        let (_, of_exporter) = promtool(&program, &recorded(name));
        let new = |word: &&str| !of_exporter.lines().any(|line| line == *word);
        assert_eq!(words.lines().filter(new).collect::<Vec<_>>(), [""; 0]);
    }
}

#[test]
fn a_down_kamailio_leaves_the_same_lines_as_the_exporters() {
    let folder = tempfile::tempdir().unwrap();
    let replay = Replay::start(folder.path());
    replay.learn("");
    let daemon = Daemon::start(&format!(
        "interval: 200ms\n\
         agent: {{ tags: {{ dc: x }} }}\n\
         kamailio: [{{ endpoint: \"{}\", interval: 100ms, tags: {{ node: a }} }}]\n\
         forwarders: {{ prometheus: {{ listen: \"127.0.0.1:0\", naming: callr, \
         select: {{ drop_tags: [dc] }} }} }}\n",
        replay.unix
    ));
    daemon.send(r#"{"metric_name":"user.logins","metric_type":"counter"}"#);
    wait_page(&daemon, "a poll", |page| {
        page.contains("\nkamailio_up{node=\"a\"} 1\n")
            && page.contains("\nkamailio_core_uptime_uptime_total{node=\"a\"} 8\n")
            && page.contains("\nuser_logins_total 1\n")
    });
    replay.answer(Answer::HangUp);
    let page = wait_page(&daemon, "the failure", |page| {
        page.contains("\nkamailio_up{node=\"a\"} 0\n") && !page.contains("uptime")
    });
    let families = families(&page);
    let names: Vec<&String> = families.keys().collect();
    let exporter = ["kamailio_exporter_failed_scrapes", "kamailio_exporter_total_scrapes"];
    assert_eq!(names, [exporter[0], exporter[1], "kamailio_up", "user_logins_total"]);
    let failed = families[exporter[0]].last().unwrap().rsplit_once(' ').unwrap().1;
    assert!(failed.parse::<f64>().unwrap() >= 1.0, "{page}");
    replay.answer(Answer::Recorded);
    wait_page(&daemon, "its return", |page| {
        page.contains("\nkamailio_up{node=\"a\"} 1\n") && page.contains("uptime")
    });
}

#[test]
fn only_a_refused_method_from_the_configuration_fails_the_scrape() {
    for (methods, up) in [("[default]", 1), ("[tm.stats, tls.info]", 0)] {
        let folder = tempfile::tempdir().unwrap();
        let replay = Replay::start(folder.path());
        replay.learn("");
        replay.forget("tls.info");
        let daemon = daemon(&replay, &format!("methods: {methods}"), "naming: callr");
        let page = wait_page(&daemon, "a poll", |page| page.contains("kamailio_tm_stats_current"));
        assert!(page.contains(&format!("\nkamailio_up {up}\n")), "{methods}: {page}");
        let failed = page.lines().find(|line| line.starts_with("kamailio_exporter_failed"));
        assert_eq!(failed.unwrap().ends_with(" 0"), up == 1, "{methods}: {failed:?}");
        assert_eq!(daemon.status()["kamailio"][0]["up"], true);
    }
}

#[test]
fn an_invalid_page_to_merge_is_counted_and_costs_no_other_line() {
    let server = ScriptedServer::start(|number, _| match number {
        0 => Says::status(404, "no such page"),
        1 => Says::status(200, "good 1\nbad\n"),
        2 => Says::status(200, &format!("# {}\ngood 1\n", "x".repeat(2_000))),
        3 => Says::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\ngood 1\n".to_vec()),
        4 => Says::Hang,
        // The page already has a metric of that name.
        5 => Says::status(200, "user_logins_total 5\ngood 1\n"),
        _ => Says::status(200, "# TYPE good gauge\ngood{a=\"b\"} 1e9 17\n"),
    });
    let daemon = Daemon::start(&format!(
        "interval: 200ms\n\
         forwarders: {{ prometheus: {{ listen: \"127.0.0.1:0\", \
         merge: {{ url: \"http://{}/\", timeout: 2s, max_bytes: 1KiB }} }} }}\n",
        server.address
    ));
    daemon.send(r#"{"metric_name":"user.logins","metric_type":"counter","count":3}"#);
    daemon.wait_for("the window", |status| status["forwarders"]["prometheus"]["delivered"] == 1);
    let own = "# HELP user_logins_total tallyd counter user.logins\n\
               # TYPE user_logins_total counter\nuser_logins_total 3\n";
    for failures in 1..=5 {
        assert_eq!(page(&daemon), own, "{failures}");
        assert_eq!(daemon.status()["forwarders"]["prometheus"]["failed_fetches"], failures);
    }
    assert_eq!(page(&daemon), format!("{own}# TYPE good untyped\ngood 1\n"));
    assert_eq!(page(&daemon), format!("{own}# TYPE good gauge\ngood{{a=\"b\"}} 1e+09 17\n"));
    assert_eq!(daemon.status()["forwarders"]["prometheus"]["failed_fetches"], 6);
    let stopped = daemon.stop();
    let told: Vec<_> =
        stopped.warnings().into_iter().filter(|line| line.contains("another program")).collect();
    assert_eq!(told.len(), 1, "once a minute: {told:?}");
    assert!(told[0].contains("404 Not Found") && told[0].contains("no such page"), "{told:?}");
}

#[test]
fn a_page_is_relayed_unchanged_or_not_at_all() {
    let server = ScriptedServer::start(|number, _| match number {
        0 => {
            let kind = ("Content-Type", "text/plain; version=0.0.4; odd".to_owned());
            Says::Reply(200, vec![kind], b"# not\nread at { all\n".to_vec())
        }
        1 => Says::status(500, "broken"),
        _ => Says::Hang,
    });
    let daemon = Daemon::start(&format!(
        "forwarders: {{ prometheus: {{ listen: \"127.0.0.1:0\", \
         relay: {{ path: /rtpengine, url: \"http://{}/metrics\", timeout: 2s }} }} }}\n",
        server.address
    ));
    let get = |path: &str| {
        let url = format!("http://{}{path}", daemon.page.unwrap());
        let reply = common::get(url).unwrap();
        let kind = reply.headers()["content-type"].to_str().unwrap().to_owned();
        (reply.status().as_u16(), kind, reply.text().unwrap())
    };
    let odd = "text/plain; version=0.0.4; odd".to_owned();
    assert_eq!(get("/rtpengine"), (200, odd, "# not\nread at { all\n".to_owned()));
    let (status, _, words) = get("/rtpengine");
    assert_eq!(status, 503);
    assert!(words.starts_with("500 Internal Server Error from http://127.0.0.1"), "{words}");
    let (status, _, words) = get("/rtpengine");
    assert_eq!(status, 503);
    assert!(words.contains("within 2s (timeout)"), "{words}");
    assert_eq!(get("/metrics").0, 200);
    assert_eq!(get("/rtp").0, 404);
    assert_eq!(daemon.status()["forwarders"]["prometheus"]["failed_fetches"], 2);
}

#[test]
fn contradictory_keys_of_a_page_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tallyd.yaml");
    let url = "url: \"http://127.0.0.1:1/\"";
    for (section, words) in [
        (format!("relay: {{ path: /metrics, {url} }}"), "`relay` has the `path` of the page"),
        (
            format!("listen: none, merge: {{ {url} }}"),
            "`merge` needs a page, and `listen` is `none`",
        ),
        (
            format!("merge: {{ {url}, timeout: 30s }}"),
            "`merge` has a `timeout` that is not below `request_timeout`, 30s",
        ),
        ("merge: {}".to_owned(), "`forwarders.prometheus.merge.url` is missing"),
    ] {
        let section = format!("forwarders: {{ prometheus: {{ {section} }} }}\n");
        fs::write(&path, section).unwrap();
        let output = tallyd().args(["check", "--config"]).arg(&path).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(words) && said.contains("tallyd.yaml:1:"), "{said}");
    }
}
