//! A real Kamailio under real SIP traffic, started by tests/servers/kamailio.sh: tallyd's values equal
//! those of `kamcmd`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "kafka/topic.rs"]
mod topic;

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use common::carbon::Carbon;
use common::{Daemon, PATIENCE, assert_balanced, tallyd};
use forwarders::testing::real_server;
use serde_json::Value;
use tempfile::TempDir;
use topic::read_back;

/// A Kamailio for one test. Stopped when dropped.
struct Kamailio {
    script: String,
    folder: TempDir,
    endpoints: BTreeMap<String, String>,
}

impl Kamailio {
    fn start() -> Option<Self> {
        let script = real_server("TALLYD_TEST_KAMAILIO")?;
        // The path of a socket must be short.
        let folder = tempfile::Builder::new().prefix("k").tempdir().unwrap();
        let mut kamailio = Self { script, folder, endpoints: BTreeMap::new() };
        kamailio.restart();
        Some(kamailio)
    }

    fn restart(&mut self) {
        let printed = self.run(&["start"], &[]);
        let lines = printed.lines().filter_map(|line| line.split_once('='));
        self.endpoints = lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    }

    fn command(&self, before: &[&str], after: &[&str]) -> Command {
        let mut command = Command::new(&self.script);
        command.args(before).arg(self.folder.path()).args(after);
        command
    }

    fn run(&self, before: &[&str], after: &[&str]) -> String {
        let output = self.command(before, after).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{before:?} {after:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn endpoint(&self, name: &str) -> &str {
        &self.endpoints[&format!("KAMAILIO_{name}")]
    }

    /// Runs `kamcmd` and returns its output.
    fn kamcmd(&self, method: &[&str]) -> String {
        self.run(&["rpc"], method)
    }

    /// Sends traffic and waits until all calls are complete.
    fn traffic(&self, calls: &str) {
        self.run(&["traffic"], &[calls]);
    }

    /// Sends traffic in the background until the result is dropped.
    fn background_traffic(&self, calls: &str) -> Traffic {
        Traffic(self.command(&["traffic"], &[calls]).process_group(0).spawn().unwrap())
    }

    /// Connects over TLS until the result is dropped.
    fn connect_tls(&self) -> Caller {
        let mut client = Command::new("openssl");
        client.args(["s_client", "-quiet", "-connect", self.endpoint("TLS")]);
        client.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let caller = Caller(client.spawn().unwrap());
        let deadline = Instant::now() + PATIENCE;
        while !self.kamcmd(&["tls.info"]).contains("opened_connections: 1") {
            assert!(Instant::now() < deadline, "Kamailio has no TLS connection");
        }
        caller
    }

    /// The totals that `kamcmd` prints, by the names of tallyd's metrics.
    fn totals(&self) -> BTreeMap<String, f64> {
        let mut totals = BTreeMap::new();
        for (name, number) in fields(&self.kamcmd(&["stats.fetch", "all"])) {
            totals.insert(format!("kamailio.{name}"), number);
        }
        for (name, number) in fields(&self.kamcmd(&["tm.stats"])) {
            let name = if name.len() == 3 { format!("codes{{{name}}}") } else { name };
            totals.insert(format!("kamailio.tm.stats.{name}"), number);
        }
        for (name, number) in fields(&self.kamcmd(&["sl.stats"])) {
            totals.insert(format!("kamailio.sl.stats.codes{{{name}}}"), number);
        }
        totals
    }
}

/// A connection over TLS.
struct Caller(Child);

impl Drop for Caller {
    fn drop(&mut self) {
        // Fails if it has ended already.
        let _ended_already = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Background traffic, in a separate process group.
struct Traffic(Child);

impl Drop for Traffic {
    fn drop(&mut self) {
        let group = format!("-{}", self.0.id());
        // Fails if it has ended already.
        let _killed = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _reaped = self.0.wait();
    }
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        // Fails if the test has stopped it already.
        let _stopped = self.command(&["stop"], &[]).output();
    }
}

/// Parses the numbers of a struct in the output of `kamcmd`.
fn fields(printed: &str) -> Vec<(String, f64)> {
    let pairs = printed.lines().filter_map(|line| line.trim().split_once(": "));
    pairs.filter_map(|(name, text)| Some((name.to_owned(), text.parse().ok()?))).collect()
}

fn ours(endpoint: &str, method: &[&str]) -> String {
    let output = tallyd().args(["kamailio", endpoint]).args(method).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn polling(kamailio: &Kamailio) -> Daemon {
    Daemon::start(&format!(
        "interval: 500ms\n\
         kamailio: [{{ endpoint: \"{}\", interval: 100ms, timeout: 5s }}]\n\
         forwarders: {{ file: {{ path: DIR/points, format: json }} }}\n",
        kamailio.endpoint("UNIX")
    ))
}

fn wait_polls(daemon: &Daemon, member: &str, more: u64) {
    let before = daemon.status()["kamailio"][0][member].as_u64().unwrap();
    daemon.wait_for(member, |status| {
        status["kamailio"][0][member].as_u64().unwrap() >= before + more
    });
}

/// The sum of each counter over all windows, by name and tag `code`.
fn sums(points: &[Value]) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for point in points.iter().filter(|point| point["type"] == "counter") {
        let count = point["fields"]["count"].as_f64().unwrap();
        assert!(count >= 0.0, "{point}");
        let name = point["name"].as_str().unwrap();
        let name = match point["tags"]["code"].as_str() {
            Some(code) => format!("{name}{{{code}}}"),
            None => name.to_owned(),
        };
        *sums.entry(name).or_insert(0.0) += count;
    }
    sums
}

#[test]
fn the_command_prints_the_same_as_kamcmd_over_every_transport() {
    let Some(kamailio) = Kamailio::start() else { return };
    kamailio.traffic("2");
    for transport in ["UNIX", "UNIXD", "TCP", "UDP"] {
        for method in [
            &["core.version"][..],
            &["core.uptime"],
            &["tm.stats"],
            &["stats.fetch", "all"],
            &["pkg.stats"],
            &["dispatcher.list"],
            &["system.listMethods"],
            &["htable.dump", "small"],
            &["cnt.get", "script", "my_negative"],
            &["no.such_method"],
        ] {
            // Values that change by themselves are compared when they were stable for a moment.
            let same = (0..100).any(|_| {
                let before = print(&kamailio, method);
                let ours = ours(kamailio.endpoint(transport), method);
                let after = print(&kamailio, method);
                assert!(before != after || before == ours, "{transport} {method:?}: {ours}");
                before == after
            });
            assert!(same, "{method:?} never stands still");
        }
    }
}

/// The output of `kamcmd`, which may be a fault.
fn print(kamailio: &Kamailio, method: &[&str]) -> String {
    let output = kamailio.command(&["rpc"], method).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_reply_in_hundreds_of_pieces_is_whole() {
    let Some(kamailio) = Kamailio::start() else { return };
    for index in 0..300 {
        let [key, value] = [format!("s:key-{index}"), format!("s:{}", "x".repeat(100))];
        kamailio.kamcmd(&["htable.sets", "big", &key, &value]);
    }
    let expected = print(&kamailio, &["htable.dump", "big"]);
    assert!(expected.len() > 30_000, "{}", expected.len());
    // Not over UDP, where only the first datagram of a reply identifies its request.
    for transport in ["UNIX", "UNIXD", "TCP"] {
        assert_eq!(ours(kamailio.endpoint(transport), &["htable.dump", "big"]), expected);
    }
}

#[test]
fn counters_of_traffic_equal_those_of_kamcmd() {
    let Some(kamailio) = Kamailio::start() else { return };
    kamailio.traffic("2");
    let first_not_before = kamailio.totals();
    let daemon = polling(&kamailio);
    wait_polls(&daemon, "polls", 1);
    let first_not_after = kamailio.totals();
    kamailio.traffic("10");
    let last_not_before = kamailio.totals();
    wait_polls(&daemon, "polls", 2);
    let status = daemon.status();
    let stopped = daemon.stop();
    let last_not_after = kamailio.totals();

    assert_eq!(status["kamailio"][0]["failures"], 0, "{status:#}");
    assert_eq!(status["listeners"][1]["received"], status["listeners"][1]["aggregated"]);
    assert_balanced(&status);
    let points = stopped.points("points");
    let (mut exact, mut moved) = (0, 0);
    for (name, sum) in sums(&points) {
        // Excludes metrics about the polls themselves.
        let Some(at_start) = first_not_before.get(&name) else { continue };
        let most = last_not_after[&name] - at_start;
        let least = last_not_before[&name] - first_not_after[&name];
        assert!(least <= sum && sum <= most, "{name}: {sum}, not {least} to {most}");
        exact += u32::from(least == most);
        moved += u32::from(sum > 0.0);
    }
    // Kamailio probes gateways all the time, but that leaves most of its statistics unchanged.
    assert!(exact > 100 && moved > 30, "{exact} of them exact, {moved} moved");
    let invites = sums(&points)["kamailio.core.rcv_requests_invite"];
    assert_eq!(invites, 10.0 * 5.0);
}

#[test]
fn gauges_equal_those_of_kamcmd_at_the_same_time() {
    let Some(kamailio) = Kamailio::start() else { return };
    kamailio.traffic("5");
    let daemon = polling(&kamailio);
    let _caller = kamailio.connect_tls();
    let levels = [
        ("kamailio.core.shmmem", "core.shmmem"),
        ("kamailio.core.tcp_info", "core.tcp_info"),
        ("kamailio.tls.info", "tls.info"),
        ("kamailio.dlg.stats_active", "dlg.stats_active"),
        ("kamailio.core.uptime", "core.uptime"),
    ];
    // Compared in a window in which they did not change. Transactions and dialogs end by themselves.
    let deadline = Instant::now() + 2 * PATIENCE;
    let is_in_time = || Instant::now() < deadline;
    let same = std::iter::from_fn(|| is_in_time().then_some(())).any(|()| {
        let read = || -> Vec<(String, f64)> {
            let of = |(prefix, method): (&str, &str)| {
                let fields = fields(&kamailio.kamcmd(&[method])).into_iter();
                fields.map(|(name, level)| (format!("{prefix}.{name}"), level)).collect::<Vec<_>>()
            };
            levels.into_iter().filter(|(_, method)| *method != "core.uptime").flat_map(of).collect()
        };
        let before = read();
        let windows = || daemon.status()["forwarders"]["file"]["flushed"].as_u64().unwrap();
        wait_polls(&daemon, "polls", 2);
        let flushed = windows();
        daemon.wait_for("a window", |status| {
            status["forwarders"]["file"]["delivered"].as_u64().unwrap() > flushed
        });
        let after = read();
        if before != after {
            return false;
        }
        let points = common::points(&daemon.path("points"));
        for (name, level) in &before {
            let latest = points.iter().rfind(|point| point["name"] == name.as_str());
            let shown = latest.unwrap_or_else(|| panic!("no {name}"))["fields"]["value"].as_f64();
            assert_eq!(shown, Some(*level), "{name}");
        }
        true
    });
    assert!(same, "it never stands still");
    let points = common::points(&daemon.path("points"));
    let state = |flags: &str| {
        points.iter().any(|point| {
            point["name"] == "kamailio.dispatcher.list.target" && point["tags"]["flags"] == flags
        })
    };
    assert!(state("AP") && state("AX") && state("DX"), "states of the gateways");
    let processes = fields(&kamailio.kamcmd(&["pkg.stats"]));
    let processes = processes.iter().filter(|(name, _)| name == "entry").count();
    let entries: std::collections::BTreeSet<_> = points
        .iter()
        .filter(|point| point["name"] == "kamailio.pkg.stats.headroom")
        .map(|point| point["tags"]["entry"].as_str().unwrap())
        .collect();
    assert_eq!(entries.len(), processes);
}

#[test]
fn totals_do_not_jump_when_kamailio_is_killed_and_restarted_under_traffic() {
    let Some(mut kamailio) = Kamailio::start() else { return };
    let daemon = polling(&kamailio);
    wait_polls(&daemon, "polls", 1);
    let mut counted = BTreeMap::new();
    for _ in 0..2 {
        let traffic = kamailio.background_traffic("40");
        wait_polls(&daemon, "polls", 10);
        let totals = kamailio.totals();
        kamailio.run(&["kill"], &[]);
        wait_polls(&daemon, "failures", 2);
        totals.into_iter().for_each(|(name, total)| *counted.entry(name).or_insert(0.0) += total);
        drop(traffic);
        kamailio.restart();
        wait_polls(&daemon, "polls", 3);
    }
    kamailio.traffic("5");
    let last = kamailio.totals();
    wait_polls(&daemon, "polls", 2);
    let status = daemon.status();
    let points = daemon.stop().points("points");
    assert_eq!(status["kamailio"][0]["up"], true, "{status:#}");
    assert_balanced(&status);
    for (name, sum) in sums(&points) {
        let (Some(before), Some(last)) = (counted.get(&name), last.get(&name)) else { continue };
        // Each request adds this much, and there were some more requests before the kill.
        let step = match name.as_str() {
            "kamailio.script.my_big_total" => 1e9,
            "kamailio.script.media_bytes" => 172.0,
            _ => 2.0,
        };
        assert!(sum <= before + last + 100.0 * step, "{name}: {sum}, of {before} and {last}");
        // The last run was observed from its start.
        assert!(sum >= *last, "{name}: {sum}, the last run alone {last}");
    }
    let up: Vec<_> = points.iter().filter(|point| point["name"] == "kamailio.up").collect();
    assert!(up.iter().any(|point| point["fields"]["value"] == 0.0), "windows without an answer");
}

#[test]
fn the_exporter_pages_show_the_values_of_kamcmd() {
    let Some(kamailio) = Kamailio::start() else { return };
    kamailio.traffic("3");
    let endpoint = kamailio.endpoint("UNIX");
    for (naming, shown) in [
        (
            "pascom",
            &[
                ("kamailio_core_rcv_request_total{method=\"invite\"}", "core.rcv_requests_invite"),
                ("kamailio_sl_reply_total{code=\"404\"}", "sl.404_replies"),
                ("kamailio_tmx_code_total{code=\"5xx\"}", "tmx.5xx_transactions"),
                ("kamailio_dialog{type=\"processed_dialogs\"}", "dialog.processed_dialogs"),
                ("kamailio_db_seconds", "script.db_seconds"),
            ][..],
        ),
        (
            "callr",
            &[
                ("kamailio_stats_fetch_value{group=\"script\",name=\"bytes\"}", "script.bytes"),
                ("kamailio_tm_stats_codes_total{code=\"4xx\"}", "tmx.4xx_transactions"),
                ("kamailio_sl_stats_codes_total{code=\"302\"}", "sl.302_replies"),
            ],
        ),
    ] {
        let daemon = Daemon::start(&format!(
            "interval: 200ms\nkamailio: [{{ endpoint: \"{endpoint}\", interval: 100ms }}]\n\
             forwarders: {{ prometheus: {{ listen: \"127.0.0.1:0\", naming: {naming} }} }}\n"
        ));
        let url = format!("http://{}/metrics", daemon.page.unwrap());
        let number = |page: &str, sample: &str| {
            let line =
                page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '))?;
            line.parse::<f64>().ok()
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let page = common::get(&url).unwrap().text().unwrap();
            let says: BTreeMap<_, _> =
                fields(&kamailio.kamcmd(&["stats.fetch", "all"])).into_iter().collect();
            let is_same =
                |(sample, name): &(&str, &str)| number(&page, sample) == Some(says[*name]);
            if shown.iter().all(is_same) {
                assert!(shown.iter().all(|(_, name)| says[*name] > 0.0), "{says:?}");
                break;
            }
            assert!(Instant::now() < deadline, "{naming}: {page}");
        }
    }
}

// ---- One poll, several destinations ----------------------------------------------------------

/// A separate database in a real InfluxDB for one test.
struct Influx {
    url: String,
    database: String,
}

impl Influx {
    fn create() -> Option<Self> {
        let url = real_server("TALLYD_TEST_INFLUXDB")?;
        let influx = Self { url, database: format!("kamailio_{}", std::process::id()) };
        influx.query(&format!("CREATE DATABASE {}", influx.database));
        Some(influx)
    }

    fn query(&self, query: &str) -> Value {
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let url = format!("{}/query?db={}&epoch=s&q={escaped}", self.url, self.database);
        let reply = common::http().build().unwrap().post(url).send().unwrap();
        let reply: Value = reply.json().unwrap();
        assert!(reply["results"][0]["error"].is_null(), "{query}: {reply}");
        reply
    }

    /// All stored values.
    fn numbers(&self) -> Numbers {
        let reply = self.query("SELECT * FROM /kamailio/ GROUP BY *");
        let mut numbers = Numbers::new();
        for series in reply["results"][0]["series"].as_array().into_iter().flatten() {
            let tags = series["tags"].as_object().into_iter().flatten();
            // A tag that a series lacks is empty.
            let tags = tags.map(|(key, tag)| (key.as_str(), tag.as_str().unwrap()));
            let name =
                shown(series["name"].as_str().unwrap(), tags.filter(|tag| !tag.1.is_empty()));
            let columns = series["columns"].as_array().unwrap();
            for row in series["values"].as_array().unwrap() {
                let time = row[0].as_u64().unwrap();
                for (column, value) in columns.iter().zip(row.as_array().unwrap()).skip(1) {
                    if let Some(value) = value.as_f64() {
                        let field = column.as_str().unwrap().to_owned();
                        numbers.insert((time, name.clone(), field), value);
                    }
                }
            }
        }
        numbers
    }
}

/// Values by time in seconds, series and field.
type Numbers = BTreeMap<(u64, String, String), f64>;

/// A series in Graphite's notation: name and tags, in which some characters are replaced.
fn shown<'a>(name: &str, tags: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut tags: Vec<_> = tags.collect();
    tags.sort_unstable();
    let tags =
        tags.iter().map(|(key, tag)| format!(";{key}={}", tag.replace([' ', ';', '~'], "_")));
    format!("{name}{}", tags.collect::<String>())
}

/// The values of points in JSON, as the file and Kafka have them.
fn numbers_of<'a>(points: impl IntoIterator<Item = &'a Value>) -> Numbers {
    let mut numbers = Numbers::new();
    for point in points {
        let tags = point["tags"].as_object().unwrap().iter();
        let tags = tags.map(|(key, tag)| (key.as_str(), tag.as_str().unwrap()));
        let name = shown(point["name"].as_str().unwrap(), tags);
        let time = point["timestamp"].as_u64().unwrap() / 1000;
        for (field, value) in point["fields"].as_object().unwrap() {
            numbers.insert((time, name.clone(), field.clone()), value.as_f64().unwrap());
        }
    }
    numbers
}

/// Compares all values and reports the first difference.
fn assert_same<K: Ord + std::fmt::Debug>(
    place: &str,
    stored: &BTreeMap<K, f64>,
    expected: &BTreeMap<K, f64>,
) {
    for (key, value) in expected {
        assert_eq!(stored.get(key), Some(value), "{place}: {key:?}");
    }
    let more = stored.keys().find(|key| !expected.contains_key(key));
    assert!(more.is_none(), "{place} has {more:?}");
}

#[test]
fn kafka_influxdb_and_graphite_get_the_same_values_from_the_same_polls() {
    let (Some(kamailio), Some(broker), Some(influx), Some(carbon)) =
        (Kamailio::start(), real_server("TALLYD_TEST_KAFKA"), Influx::create(), Carbon::start())
    else {
        return;
    };
    let topic = format!("tallyd-kamailio-{}", std::process::id());
    // Graphite stores one point per second.
    let to_all = format!(
        "interval: 1s\n\
         agent: {{ tags: {{ dc: north }} }}\n\
         forwarders:\n  \
         file: {{ path: DIR/points, format: json }}\n  \
         kafka: {{ kafka_broker: \"{broker}\", kafka_topic: {topic}, format: json }}\n  \
         influxdb: {{ url: \"{}\", database: {} }}\n  \
         graphite: {{ address: \"{}\" }}\n",
        influx.url, influx.database, carbon.line
    );
    let daemon = Daemon::start(&format!(
        "{to_all}kamailio: [{{ endpoint: \"{}\", interval: 1s, tags: {{ node: edge-1 }} }}]\n",
        kamailio.endpoint("UNIX")
    ));
    kamailio.traffic("10");
    wait_polls(&daemon, "polls", 3);
    // A stop ends the open window early: it would share its second with the preceding window.
    let closed = daemon.reload(&to_all)["windows"]["closed"].as_u64().unwrap();
    daemon
        .wait_for("the last window", |status| status["windows"]["closed"].as_u64() > Some(closed));
    let stopped = daemon.stop();
    let ledger = stopped.log.iter().filter(|entry| entry["message"] == "ledger of a forwarder");
    assert_eq!(ledger.clone().count(), 4);
    assert!(ledger.clone().all(|entry| entry["delivered"] == entry["flushed"]), "{ledger:?}");
    let points = stopped.points("points");
    let expected = numbers_of(&points);
    let invites = sums(&points)["kamailio.core.rcv_requests_invite"];
    assert!(expected.len() > 1_000 && invites > 0.0, "{} numbers, {invites}", expected.len());

    let records = read_back(&broker, &topic, |records| records.len() >= points.len());
    assert_same("Kafka", &numbers_of(records.iter().map(|(_, record)| record)), &expected);
    assert_same("InfluxDB", &influx.numbers(), &expected);
    // Graphite writes values with a single number without a field.
    let path = |(time, series, field): &(u64, String, String)| {
        let (name, tags) = series.split_at(series.find(';').unwrap());
        let path = match field.as_str() {
            "value" | "count" => series.clone(),
            field => format!("{name}.{field}{tags}"),
        };
        (path, *time)
    };
    let expected: BTreeMap<(String, u64), f64> =
        expected.iter().map(|(key, value)| (path(key), *value)).collect();
    let flat = |stored: &common::carbon::Stored| -> BTreeMap<(String, u64), f64> {
        let points = |(path, points): (&String, &Vec<(u64, f64)>)| {
            points.iter().map(|(time, value)| ((path.clone(), *time), *value)).collect::<Vec<_>>()
        };
        stored.iter().flat_map(points).collect()
    };
    let stored = carbon.wait_for("every number", |stored| flat(stored).len() >= expected.len());
    assert_same("Graphite", &flat(&stored), &expected);
}
