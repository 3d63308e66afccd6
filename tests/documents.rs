//! What README.md, ARCHITECTURE.md and docs/ say is so: links lead somewhere, examples do what is
//! said of them, and nothing that has to be told of is missing.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

#[path = "documents/bounds.rs"]
mod bounds;
#[path = "documents/schema.rs"]
mod schema;
#[path = "documents/times.rs"]
mod times;

use common::keys;
use common::markdown;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use common::Daemon;
use common::markdown::{Block, Document, all_blocks, document, documents};
use engine::listener::Protocol;
use engine::protocol::{Limits, RejectReason, Rejection, Sample, json, statsd};
use forwarders::stats::reason;
use serde_json::Value;
use times::without_times;

// ---- Links and completeness ----------------------------------------------------------------

#[test]
fn every_link_leads_somewhere() {
    for document in documents() {
        for link in document.links() {
            if link.starts_with("https://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let folder = document.path.parent().unwrap();
            let target = if file.is_empty() { document.path.clone() } else { folder.join(file) };
            let there = common::root().join(&target);
            assert!(there.exists(), "{}: nothing is at {link}", document.path.display());
            if !anchor.is_empty() {
                let anchors = markdown::document(there.to_str().unwrap()).anchors();
                let found = anchors.iter().any(|other| other == anchor);
                assert!(found, "{}: no heading for {link}: {anchors:?}", document.path.display());
            }
        }
    }
}

#[test]
fn the_contents_of_the_book_have_every_page_once() {
    let contents = document("docs/SUMMARY.md");
    let mut listed: Vec<String> = contents.links().into_iter().map(str::to_owned).collect();
    listed.push("SUMMARY.md".to_owned());
    listed.sort();
    let mut pages: Vec<String> = documents()
        .iter()
        .filter_map(|page| Some(page.path.strip_prefix("docs").ok()?.to_str().unwrap().to_owned()))
        .collect();
    pages.sort();
    assert_eq!(listed, pages);
}

#[test]
fn links_that_lead_out_of_the_book_lead_to_the_repository() {
    use std::io::Write;
    use std::process::{Command, Stdio};

    let script = common::root().join("scripts/book-links.py");
    let spawned =
        Command::new("python3").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut child) = spawned else {
        let _nobody_listens = writeln!(std::io::stderr(), "SKIPPED: it needs python3");
        return;
    };
    let chapters: Vec<Value> = documents()
        .into_iter()
        .filter_map(|page| {
            let path = page.path.strip_prefix("docs").ok()?.to_str().unwrap().to_owned();
            Some(serde_json::json!({ "Chapter": { "path": path, "content": page.text } }))
        })
        .collect();
    let input = serde_json::json!([{}, { "items": chapters }]).to_string();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let book: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut led_out = 0;
    for chapter in book["items"].as_array().unwrap() {
        let chapter = &chapter["Chapter"];
        let (path, text) =
            (chapter["path"].as_str().unwrap(), chapter["content"].as_str().unwrap());
        let page = Document { path: Path::new("docs").join(path), text: text.to_owned() };
        for link in page.links() {
            if let Some(target) = link.strip_prefix("https://github.com/tallyd/tallyd/blob/main/") {
                let file = target.split('#').next().unwrap();
                assert!(common::root().join(file).exists(), "{path}: {link}");
                led_out += 1;
            } else if !link.starts_with("https://") && !link.starts_with('#') {
                let target = page.path.parent().unwrap().join(link.split('#').next().unwrap());
                let target = common::root().join(target).canonicalize().unwrap();
                let docs = common::root().join("docs").canonicalize().unwrap();
                assert!(target.starts_with(docs), "{path}: {link} leads out of the book");
            }
        }
    }
    assert!(led_out > 4, "{led_out}");
}

#[test]
fn every_key_is_in_the_reference_with_the_default_of_the_sample() {
    let reference = document("docs/configuration.md");
    let shown: Vec<_> = keys::shown()
        .into_iter()
        .map(|(path, value)| (keys::documented_as(&path), value))
        .collect();
    for path in keys::accepted() {
        let path = keys::documented_as(&path);
        let cell = format!("`{path}`");
        let row = reference.rows().find(|row| row[0] == cell);
        let row = row.unwrap_or_else(|| panic!("docs/configuration.md does not tell of {cell}"));
        let sample = shown.iter().find(|(other, _)| *other == path);
        if let Some((_, (keys::Line::Default, value))) = sample
            && !value.is_empty()
        {
            assert_eq!(row[1], format!("`{value}`"), "the default of {path}");
        }
    }
}

/// The row of the reference for a key.
fn told<'a>(reference: &'a Document, key: &str) -> Vec<&'a str> {
    let cell = format!("`{key}`");
    reference.rows().find(|row| row[0] == cell).unwrap()
}

/// The keys that the rows of a page tell of: `key`, default, meaning.
#[allow(dead_code, reason = "only a build with everything can look for what is too much")]
fn keys_told(page: &Document) -> Vec<String> {
    let is_key =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || b"_.[]".contains(&byte));
    page.rows()
        .filter_map(|row| Some(row[0].strip_prefix('`')?.strip_suffix('`')?.to_owned()))
        .filter(|key| is_key(key))
        .collect()
}

#[test]
#[cfg(all(
    feature = "console",
    feature = "file",
    feature = "graphite",
    feature = "influxdb",
    feature = "kafka",
    feature = "prometheus",
    feature = "statsd"
))]
fn the_reference_tells_of_no_key_that_there_is_not() {
    let accepted = documented();
    let told = keys_told(&document("docs/configuration.md"));
    assert!(told.len() > 100, "{told:?}");
    for (place, key) in told.iter().enumerate() {
        assert!(accepted.contains_key(key), "there is no `{key}`");
        assert!(!told[..place].contains(key), "`{key}` is told of twice");
    }
}

/// Every accepted key of which the reference tells in a row of its own. What all destinations share
/// is here once.
fn documented() -> BTreeMap<String, String> {
    let accepted = keys::accepted();
    accepted.into_iter().map(|path| (keys::documented_as(&path), path)).collect()
}

#[test]
fn every_choice_is_in_the_reference() {
    let reference = document("docs/configuration.md");
    let mut seen = 0;
    for (key, path) in documented() {
        let row = told(&reference, &key);
        for choice in bounds::choices(&path) {
            let is_told = row[1..].iter().any(|cell| cell.contains(&format!("`{choice}`")));
            assert!(is_told, "docs/configuration.md on `{key}` does not tell of `{choice}`");
            seen += 1;
        }
    }
    assert!(seen > 40, "{seen}");
}

#[test]
fn every_bound_is_in_the_reference_and_is_the_codes() {
    let reference = document("docs/configuration.md");
    let mut seen = 0;
    let mut complaints = Vec::new();
    for (key, path) in documented() {
        if let Some(quantity) = bounds::quantity(&path) {
            complaints.extend(quantity.complaints(&path, told(&reference, &key).last().unwrap()));
            seen += 1;
        }
    }
    assert!(complaints.is_empty(), "docs/configuration.md: {complaints:#?}");
    assert!(seen > 40, "{seen}");
}

#[test]
fn every_option_of_a_forwarder_is_on_its_page() {
    for path in keys::accepted() {
        let Some((kind, key)) = path.strip_prefix("forwarders.").and_then(|p| p.split_once('.'))
        else {
            continue;
        };
        if key.contains('.') {
            continue;
        }
        let page = document(&format!("docs/forwarders/{kind}.md"));
        let cell = format!("`{key}`");
        assert!(page.rows().any(|row| row[0] == cell), "{} on {key}", page.path.display());
    }
}

#[test]
fn every_reason_is_told_of() {
    let tells = |page: &Document, word: &str| page.rows().any(|row| row[0] == format!("`{word}`"));
    let messages = document("docs/messages.md");
    for reason in RejectReason::ALL {
        assert!(tells(&messages, reason.as_str()), "docs/messages.md on {}", reason.as_str());
    }
    let ledger = document("docs/ledger.md");
    for word in reason::ALL {
        assert!(tells(&ledger, word), "docs/ledger.md on {word}");
    }
}

#[test]
fn the_changelog_of_the_deb_is_of_this_version() {
    let changelog = include_str!("../debian/changelog");
    let version = env!("CARGO_PKG_VERSION");
    assert!(changelog.starts_with(&format!("tallyd ({version}-1) ")), "debian/changelog");
}

// ---- Examples ------------------------------------------------------------------------------

/// What becomes of the messages of a datagram: nothing for a sample, the reason for a rejection.
fn outcomes(protocol: Protocol, datagram: &str) -> Vec<Option<&'static str>> {
    let mut outcomes = Vec::new();
    let mut each = |message: Result<Sample<'_>, Rejection>| {
        outcomes.push(message.err().map(|rejection| rejection.reason.as_str()));
    };
    let (datagram, limits) = (datagram.as_bytes(), Limits::default());
    match protocol {
        Protocol::Json => json::decode(datagram, &limits, &mut each),
        Protocol::Statsd => assert_eq!(statsd::decode(datagram, &limits, &mut each), 0),
    }
    outcomes
}

#[test]
fn messages_are_accepted_and_rejected_as_they_are_marked() {
    let mut seen = 0;
    for block in all_blocks() {
        let protocol = if block.marks.iter().any(|mark| mark == "statsd") {
            Protocol::Statsd
        } else {
            Protocol::Json
        };
        if block.is("json", "accepted") || block.is("json", "input") || block.is("text", "accepted")
        {
            let outcomes = outcomes(protocol, &block.text);
            assert!(!outcomes.is_empty(), "{block}: no message");
            assert!(outcomes.iter().all(Option::is_none), "{block}: {outcomes:?}");
            seen += outcomes.len();
        } else if block.is("text", "rejected") {
            for line in block.text.lines() {
                let (reason, message) = line.split_once(' ').unwrap();
                let outcomes = outcomes(protocol, message.trim_start());
                assert_eq!(outcomes, [Some(reason)], "{block}: {message}");
                seen += 1;
            }
        }
    }
    assert!(seen > 50, "{seen}");
}

#[test]
fn every_configuration_is_accepted() {
    let mut seen = 0;
    for block in all_blocks() {
        if block.language() != "yaml" || (!cfg!(feature = "kafka") && block.text.contains("kafka:"))
        {
            continue;
        }
        let text = without_files(&block.text);
        if let Err(error) = keys::read(&text) {
            panic!("{block}: {error}");
        }
        seen += 1;
    }
    assert!(seen >= 3, "{seen}");
}

/// The text with `example` in place of each `${file:…}` and `${credential:…}`, and without the files that
/// librdkafka is to read, as they are not there.
fn without_files(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.contains(".location: /"));
    let text = lines.collect::<Vec<_>>().join("\n");
    let text = text.replace("${credential:", "${file:");
    let mut parts = text.split("${file:");
    let mut replaced = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        replaced.push_str("example");
        replaced.push_str(part.split_once('}').unwrap().1);
    }
    replaced
}

/// Blocks of input, each with the blocks of output that follow it.
fn exchanges() -> Vec<(Block, Vec<Block>)> {
    let mut exchanges: Vec<(Block, Vec<Block>)> = Vec::new();
    for block in all_blocks() {
        if block.is("json", "input") || block.is("text", "input") {
            exchanges.push((block, Vec::new()));
        } else if block.is("text", "output") {
            let what = "output without input";
            exchanges.last_mut().unwrap_or_else(|| panic!("{block}: {what}")).1.push(block);
        }
    }
    exchanges
}

#[test]
fn what_goes_in_comes_out_as_it_is_shown() {
    let exchanges = exchanges();
    assert!(exchanges.len() > 5);
    for (input, outputs) in exchanges {
        assert!(!outputs.is_empty(), "{input}: nothing comes out");
        for output in outputs {
            let mut config = String::new();
            if let Some(format) = output.option("format") {
                config += &format!("forwarders: {{ console: {{ format: {format} }} }}\n");
            }
            if let Some(most) = input.option("max_series_per_metric") {
                config += &format!("aggregation: {{ max_series_per_metric: {most} }}\n");
            }
            if input.is("text", "statsd") {
                config += "listeners: [{ protocol: statsd, address: \"127.0.0.1:0\" }]\n# bind_port: is not opened\n";
            }
            let skipped = input.option("skipped").map_or(0, |lines| lines.parse().unwrap());
            let written = sent_to_the_daemon(&config, &input.text, skipped);
            assert_eq!(written, sorted(&output.text), "{input}, {output}");
        }
    }
}

/// What the daemon writes of one datagram, which lies in one window: lines, sorted, with `TIME` for
/// the window's end. So many lines of it are skipped.
fn sent_to_the_daemon(config: &str, datagram: &str, skipped: u64) -> Vec<String> {
    let daemon = Daemon::start(config);
    let messages = datagram.lines().count() as u64 - skipped;
    daemon.send(datagram);
    let status = daemon.wait_received(messages);
    assert_eq!(status["ledger"]["skipped"], skipped);
    let stopped = daemon.stop();
    sorted(&without_times(&stopped.stdout))
}

fn sorted(lines: &str) -> Vec<String> {
    let mut lines: Vec<String> = lines.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn the_page_for_prometheus_is_as_it_is_shown() {
    let blocks = document("docs/forwarders/prometheus.md").blocks();
    let sent = blocks.iter().find(|block| block.is("json", "sent")).unwrap();
    let shown = blocks.iter().find(|block| block.is("text", "page")).unwrap();
    let listen = "forwarders: { prometheus: { listen: \"127.0.0.1:0\" } }\n";
    let daemon = Daemon::start(&format!("interval: 500ms\n{listen}"));
    daemon.send(&sent.text);
    let points = sent.text.lines().count();
    daemon.wait_for("the points on the page", |status| {
        status["forwarders"]["prometheus"]["delivered"] == points
    });
    let url = format!("http://{}/metrics", daemon.page.unwrap());
    let page = common::get(url).unwrap().text().unwrap();
    assert_eq!(page.trim_end(), shown.text.trim_end());
}

#[test]
fn what_kafka_readers_get_is_as_it_is_shown() {
    use forwarders::format::pystatsd::Envelope;
    use model::{MetricKind, Percentile, Point, Series, Snapshot, Sum, Timer, Window};
    use std::sync::Arc;
    use std::time::Duration;

    let percentiles: Vec<Percentile> =
        ["50", "90", "95", "99"].iter().map(|text| Percentile::parse(text).unwrap()).collect();
    let mut timer = Timer::default();
    timer.record(12.75, 1.0, 1000);
    let timer = model::Value::timer(timer, &percentiles);
    let counter = model::Value::Counter(Sum::of(5.0));
    let point = |kind, name: &str, tags: &[(&str, &str)], value| Point {
        series: Arc::new(Series::new(kind, name, tags)),
        value,
    };
    let snapshot = Snapshot {
        window: Window { end_ms: 1_490_114_074_000, interval: Duration::from_secs(10) },
        percentiles: percentiles.into(),
        exact_samples: 1000,
        instance: None,
        points: vec![
            point(MetricKind::Counter, "user.logins", &[("stage", "login")], counter),
            point(MetricKind::Timer, "user.latency", &[("name", "x"), ("stage", "login")], timer),
        ]
        .into(),
    };
    let envelope = Envelope::new("7444", "69bc");
    let written = snapshot.points.iter().map(|point| {
        let mut out = Vec::new();
        envelope.write_point(&mut out, &snapshot, point);
        serde_json::from_slice::<Value>(&out).unwrap()
    });
    let shown = document("docs/forwarders/kafka.md").blocks();
    let shown = shown.iter().filter(|block| block.is("json", "pystatsd"));
    let shown: Vec<Value> = shown.map(|block| serde_json::from_str(&block.text).unwrap()).collect();
    assert_eq!(written.collect::<Vec<_>>(), shown);
}

// ---- The status ----------------------------------------------------------------------------

/// The paths of the members of a status. Names that operators and clients choose are left out.
fn shape(value: &Value) -> BTreeSet<String> {
    fn walk(path: &str, value: &Value, paths: &mut BTreeSet<String>) {
        let last = path.rsplit('.').next().unwrap_or_default();
        let chosen = [
            "rejected",
            "refused",
            "closed",
            "dropped",
            "by_metric",
            "overflowed_by_metric",
            "faults",
            "tags",
        ];
        match value {
            Value::Object(_) if chosen.contains(&last) => {}
            Value::Object(members) => {
                for (key, value) in members {
                    let key = if last == "forwarders" { "*" } else { key };
                    let path = format!("{path}.{key}");
                    paths.insert(path.clone());
                    walk(&path, value, paths);
                }
            }
            Value::Array(items) => {
                items.iter().for_each(|item| walk(&format!("{path}[]"), item, paths));
            }
            _ => {}
        }
    }
    let mut paths = BTreeSet::new();
    walk("", value, &mut paths);
    paths
}

fn blocks_of(mark: &str) -> Vec<(Block, Value)> {
    let blocks = all_blocks().into_iter().filter(|block| block.is("json", mark));
    let parsed = blocks.map(|block| match serde_json::from_str(&block.text) {
        Ok(value) => (block, value),
        Err(error) => panic!("{block}: {error}"),
    });
    parsed.collect()
}

#[test]
fn the_status_is_as_it_is_shown() {
    let mut config = "listeners: [{ transport: tcp, address: \"127.0.0.1:0\" }]\n".to_owned();
    config += "kamailio: [{ endpoint: \"unix:/nonexistent/ctl\" }]\n";
    // Of the destinations with a spool. Nobody listens on port 1.
    if cfg!(feature = "kafka") {
        config += "forwarders: { kafka: { kafka_broker: \"127.0.0.1:1\", kafka_topic: t } }\n";
    }
    let daemon = Daemon::start(&config);
    daemon.send("nonsense");
    daemon.wait_received(1);
    let real = shape(&daemon.reload(&config));
    let list: Value = serde_json::from_str(&daemon.get("/api/v1/rejected").1).unwrap();
    let history: Value = serde_json::from_str(&daemon.get("/api/v1/history").1).unwrap();
    drop(daemon);

    let admin = document("docs/admin.md");
    for (block, example) in blocks_of("status") {
        let mut shown = shape(&example);
        shown.retain(|path| cfg!(feature = "kafka") || !path.contains(".spool."));
        if block.to_string().starts_with("docs/admin.md") {
            assert_eq!(shown, real, "{block}");
        } else {
            assert!(shown.is_subset(&real), "{block}: {:?}", shown.difference(&real));
        }
        ledger_adds_up(&block, &example);
    }
    let [(block, example)] = &blocks_of("rejected-list")[..] else { panic!("there is one") };
    assert_eq!(shape(example), shape(&list), "{block}");
    let [(block, example)] = &blocks_of("history")[..] else { panic!("there is one") };
    assert_eq!(shape(example), shape(&history), "{block}");

    let told: Vec<&str> = admin.rows().flat_map(|row| row.concat().leak().split('`')).collect();
    for path in real.iter().chain(&shape(&list)).chain(&shape(&history)) {
        let member = path.rsplit('.').next().unwrap().trim_end_matches("[]");
        assert!(member == "*" || told.contains(&member), "docs/admin.md on {path}");
    }
}

#[test]
fn the_schema_of_the_status_is_that_of_a_real_one_and_of_the_example() {
    let text = std::fs::read_to_string(common::root().join("docs/status.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&text).unwrap();
    let daemon = Daemon::start("kamailio: [{ endpoint: \"unix:/nonexistent/ctl\" }]\n");
    daemon.send("nonsense");
    let status = daemon.wait_received(1);
    assert_eq!(schema::complaints(&schema, &status), [""; 0]);
    let examples = blocks_of("status");
    let whole = examples.iter().find(|(block, _)| block.to_string().starts_with("docs/admin.md"));
    let (_, example) = whole.unwrap();
    assert_eq!(schema::complaints(&schema, example), [""; 0]);
    let mut known = schema::members(&schema);
    // The example has no page that others connect to, nor one that is fetched.
    let not_shown =
        [".forwarders.*", ".forwarders.*.refused_connections", ".forwarders.*.failed_fetches"];
    known.retain(|path| !not_shown.contains(&path.as_str()));
    let mut shown = shape(example);
    shown.retain(|path| path != ".forwarders.*");
    assert_eq!(known, shown);
    // A check that lets everything pass would not have seen these.
    let mut wrong = example.clone();
    wrong["uptime_s"] = Value::from("61");
    wrong["ledger"]["received"] = Value::from(-1);
    wrong["forwarders"]["kafka"]["last_success"] = Value::from("yesterday");
    wrong["series"].as_object_mut().unwrap().remove("total");
    wrong["listeners"][0]["more"] = Value::from(1);
    assert_eq!(schema::complaints(&schema, &wrong).len(), 5);
}

#[test]
fn what_there_is_most_of_is_as_it_is_shown() {
    let text = std::fs::read_to_string(common::root().join("docs/top.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&text).unwrap();
    let daemon = Daemon::start("interval: 200ms\n");
    let top = || -> Value { serde_json::from_str(&daemon.get("/api/v1/top").1).unwrap() };
    // Somebody looks, so senders are counted. What the tags are is told again for some seconds.
    assert_eq!(daemon.get("/api/v1/top?parts=senders").0, 200);
    let message = r#"{"metric_name":"m","metric_type":"counter","stage":"login"}"#;
    daemon.send(message);
    daemon.wait_for("its window", |status| status["windows"]["points"] == 1);
    let is_whole = |top: &Value| {
        ["metrics", "tag_keys", "senders"].iter().all(|part| top[part]["top"][0].is_object())
    };
    let mut real = top();
    let deadline = std::time::Instant::now() + common::PATIENCE;
    while !is_whole(&real) {
        assert!(std::time::Instant::now() < deadline, "{real:#}");
        std::thread::sleep(std::time::Duration::from_millis(50));
        real = top();
    }
    assert_eq!(schema::complaints(&schema, &real), [""; 0]);
    let [(block, example)] = &blocks_of("top")[..] else { panic!("there is one") };
    assert_eq!(schema::complaints(&schema, example), [""; 0]);
    assert_eq!(shape(example), shape(&real), "{block}");
    assert_eq!(schema::members(&schema), shape(example));
    let admin = document("docs/admin.md");
    let told: Vec<&str> = admin.rows().flat_map(|row| row.concat().leak().split('`')).collect();
    for path in shape(&real) {
        let member = path.rsplit('.').next().unwrap().trim_end_matches("[]");
        assert!(told.contains(&member), "docs/admin.md on {path}");
    }
}

fn ledger_adds_up(block: &Block, status: &Value) {
    let sum = |counts: &Value| -> u64 {
        counts.as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum()
    };
    let count = |ledger: &Value, name: &str| ledger[name].as_u64().unwrap();
    let ledger = &status["ledger"];
    let fates = count(ledger, "aggregated") + sum(&ledger["rejected"]);
    assert_eq!(count(ledger, "received"), fates, "{block}");
    for (name, ledger) in status["forwarders"].as_object().unwrap() {
        let places = ["delivered", "queued", "spooled"].map(|place| count(ledger, place));
        let fates = places.iter().sum::<u64>() + sum(&ledger["dropped"]);
        let recovered = ledger.get("recovered").map_or(0, |count| count.as_u64().unwrap());
        assert_eq!(count(ledger, "flushed") + recovered, fates, "{block}: {name}");
    }
}
