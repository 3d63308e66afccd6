//! README.md, ARCHITECTURE.md and docs/ are true: links have targets, examples have the shown results,
//! and the references are complete.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "documents/bounds.rs"]
mod bounds;
#[path = "documents/constants.rs"]
mod constants;
#[path = "documents/guarantees.rs"]
mod guarantees;
#[path = "documents/limits.rs"]
mod limits;
#[path = "documents/schema.rs"]
mod schema;
#[path = "documents/support.rs"]
mod support;
#[path = "documents/terms.rs"]
mod terms;
#[path = "documents/times.rs"]
mod times;

use common::keys;
use common::markdown;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use common::Daemon;
use common::markdown::{Block, Document, all_blocks, document, documents};
use common::pki::{Pki, with_certificates};
use common::rates::full_windows;
use engine::listener::Protocol;
use engine::protocol::{MessageLimits, RejectReason, Rejection, Sample, json, statsd};
use forwarders::stats::reason;
use serde_json::Value;
use times::without_times;

// ---- Links and completeness ----------------------------------------------------------------

#[test]
fn every_link_has_a_target() {
    for document in documents() {
        for link in document.links() {
            if link.starts_with("https://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let folder = document.path.parent().unwrap();
            let target = if file.is_empty() { document.path.clone() } else { folder.join(file) };
            let there = common::root().join(&target);
            assert!(there.exists(), "{}: {link} does not exist", document.path.display());
            if !anchor.is_empty() {
                let anchors = markdown::document(there.to_str().unwrap()).anchors();
                let found = anchors.iter().any(|other| other == anchor);
                assert!(found, "{}: no heading for {link}: {anchors:?}", document.path.display());
            }
        }
    }
}

#[test]
fn the_table_of_contents_lists_every_page_once() {
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
fn links_out_of_the_book_point_to_the_repository() {
    use std::io::Write;
    use std::process::{Command, Stdio};

    let script = common::root().join("scripts/outward-links.py");
    let spawned =
        Command::new("python3").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut child) = spawned else {
        let _written = writeln!(std::io::stderr(), "SKIPPED: python3 is missing");
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
        let row = row.unwrap_or_else(|| panic!("docs/configuration.md lacks {cell}"));
        let sample = shown.iter().find(|(other, _)| *other == path);
        if let Some((_, (keys::Line::Default, value))) = sample
            && !value.is_empty()
        {
            assert_eq!(row[1], format!("`{value}`"), "the default of {path}");
        }
    }
}

/// The row of the reference for a key.
fn row_of<'a>(reference: &'a Document, key: &str) -> Vec<&'a str> {
    let cell = format!("`{key}`");
    reference.rows().find(|row| row[0] == cell).unwrap()
}

/// The keys in the tables of a page, with rows of key, default and meaning.
fn listed_keys(page: &Document) -> Vec<String> {
    let is_key =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || b"_.[]".contains(&byte));
    page.rows()
        .filter_map(|row| Some(row[0].strip_prefix('`')?.strip_suffix('`')?.to_owned()))
        .filter(|key| is_key(key))
        .collect()
}

#[test]
fn the_reference_lists_only_accepted_keys_and_each_once() {
    let accepted = documented();
    let listed = listed_keys(&document("docs/configuration.md"));
    assert!(listed.len() > 100, "{listed:?}");
    for (index, key) in listed.iter().enumerate() {
        assert!(accepted.contains_key(key), "the key `{key}` does not exist");
        assert!(!listed[..index].contains(key), "`{key}` is listed twice");
    }
}

/// The accepted keys by the path under which the reference lists them, which is the same for keys that
/// all forwarders share.
fn documented() -> BTreeMap<String, String> {
    let accepted = keys::accepted();
    accepted.into_iter().map(|path| (keys::documented_as(&path), path)).collect()
}

#[test]
fn every_choice_is_in_the_reference() {
    let reference = document("docs/configuration.md");
    let mut seen = 0;
    for (key, path) in documented() {
        let row = row_of(&reference, &key);
        for choice in bounds::choices(&path) {
            let is_listed = row[1..].iter().any(|cell| cell.contains(&format!("`{choice}`")));
            assert!(is_listed, "docs/configuration.md on `{key}` lacks `{choice}`");
            seen += 1;
        }
    }
    assert!(seen > 40, "{seen}");
}

#[test]
fn every_bound_in_the_reference_is_that_of_the_code() {
    let reference = document("docs/configuration.md");
    let mut seen = 0;
    let mut complaints = Vec::new();
    for (key, path) in documented() {
        if let Some(quantity) = bounds::quantity(&path) {
            complaints.extend(quantity.complaints(&path, row_of(&reference, &key).last().unwrap()));
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
        assert!(page.rows().any(|row| row[0] == cell), "{} lacks {key}", page.path.display());
    }
}

#[test]
fn the_readme_lists_every_forwarder() {
    let readme = document("README.md");
    for kind in keys::forwarder_kinds() {
        let link = format!("[{kind}](docs/forwarders/{kind}.md)");
        assert!(readme.rows().any(|row| row[0] == link), "README.md: no row for {link}");
        let is_in_index =
            readme.rows().any(|row| row[0] == "forward from it" && row[1].contains(&link));
        assert!(is_in_index, "README.md: the row `forward from it` lacks {link}");
    }
    let count = format!("{} kinds", keys::forwarder_kinds().len());
    let row = readme.rows().find(|row| row[0] == "destinations").unwrap();
    assert!(row[1].starts_with(&count), "README.md: the row `destinations` lacks: {count}");
}

#[test]
fn the_guide_to_a_destination_leads_to_every_forwarder() {
    let guide = document("docs/how-to/connect-a-destination.md");
    for kind in keys::forwarder_kinds() {
        let link = format!("[{kind}](../forwarders/{kind}.md)");
        assert!(guide.text.contains(&link), "{}: no {link}", guide.path.display());
    }
}

#[test]
fn the_limits_list_every_key_that_is_a_maximum() {
    let limits = document("docs/limits.md");
    let mut seen = 0;
    for path in documented().into_keys() {
        if path.rsplit('.').next().unwrap().starts_with("max_") {
            let cell = format!("`{path}`");
            assert!(limits.rows().any(|row| row[0] == cell), "docs/limits.md lacks {cell}");
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn every_reason_is_documented() {
    let lists = |page: &Document, word: &str| page.rows().any(|row| row[0] == format!("`{word}`"));
    let messages = document("docs/messages.md");
    for reason in RejectReason::ALL {
        assert!(lists(&messages, reason.as_str()), "docs/messages.md lacks {}", reason.as_str());
    }
    let ledger = document("docs/ledger.md");
    for word in reason::ALL {
        assert!(lists(&ledger, word), "docs/ledger.md lacks {word}");
    }
}

#[test]
fn the_packages_have_this_version() {
    let version = env!("CARGO_PKG_VERSION");
    for (file, line) in [
        ("debian/changelog", format!("tallyd ({version}-1) unstable; urgency=medium")),
        ("deploy/chart/Chart.yaml", format!("version: {version}")),
        ("deploy/chart/Chart.yaml", format!("appVersion: \"{version}\"")),
        ("clients/python/pyproject.toml", format!("version = \"{version}\"")),
        ("clients/python/tallyd/__init__.py", format!("__version__ = \"{version}\"")),
    ] {
        let text = std::fs::read_to_string(common::root().join(file)).unwrap();
        assert!(text.lines().any(|other| other == line), "{file} lacks `{line}`");
    }
}

// ---- Examples ------------------------------------------------------------------------------

/// The outcomes of the messages of a datagram: the reason of a rejection, or `None` for a sample.
fn outcomes(protocol: Protocol, datagram: &str) -> Vec<Option<&'static str>> {
    let mut outcomes = Vec::new();
    let mut each = |message: Result<Sample<'_>, Rejection>| {
        outcomes.push(message.err().map(|rejection| rejection.reason.as_str()));
    };
    let (datagram, limits) = (datagram.as_bytes(), MessageLimits::default());
    match protocol {
        Protocol::Json => json::decode(datagram, &limits, &mut each),
        Protocol::Statsd => assert_eq!(statsd::decode(datagram, &limits, &mut each), 0),
    }
    outcomes
}

#[test]
fn marked_messages_are_accepted_and_rejected() {
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
fn every_configuration_in_the_documents_is_accepted() {
    let mut seen = 0;
    for block in all_blocks() {
        if block.language() != "yaml" {
            continue;
        }
        let (_files, text) = with_certificates(&without_files(&block.text));
        if let Err(error) = keys::read(&text) {
            panic!("{block}: {error}");
        }
        seen += 1;
    }
    assert!(seen >= 3, "{seen}");
}

/// Replaces each `${file:…}` and `${credential:…}` by a text as long as a token, and removes the files for librdkafka,
/// because none of these files exists.
fn without_files(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.contains(".location: /"));
    let text = lines.collect::<Vec<_>>().join("\n");
    let text = text.replace("${credential:", "${file:");
    let mut parts = text.split("${file:");
    let mut replaced = parts.next().unwrap_or_default().to_owned();
    for (number, part) in parts.enumerate() {
        // As long as a secret must be.
        replaced.push_str(&format!("an-example-value-{number}"));
        replaced.push_str(part.split_once('}').unwrap().1);
    }
    replaced
}

/// The blocks of input, each with the following blocks of output.
fn exchanges() -> Vec<(Block, Vec<Block>)> {
    let mut exchanges: Vec<(Block, Vec<Block>)> = Vec::new();
    for block in all_blocks() {
        if block.is("json", "input") || block.is("text", "input") {
            exchanges.push((block, Vec::new()));
        } else if block.is("text", "output") {
            let problem = "output without input";
            exchanges.last_mut().unwrap_or_else(|| panic!("{block}: {problem}")).1.push(block);
        }
    }
    exchanges
}

#[test]
fn inputs_produce_the_outputs_that_the_documents_show() {
    let exchanges = exchanges();
    assert!(exchanges.len() > 5);
    for (input, outputs) in exchanges {
        assert!(!outputs.is_empty(), "{input}: no output is shown");
        for output in outputs {
            let mut config = String::new();
            if let Some(format) = output.option("format") {
                let naming = output.option("naming").unwrap_or("tallyd");
                config += &format!(
                    "forwarders: {{ console: {{ format: {format}, naming: {naming} }} }}\n"
                );
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

/// The output of the daemon for one datagram in one window: sorted lines with `TIME` for the window's
/// end. `skipped` lines of the datagram are not samples.
fn sent_to_the_daemon(config: &str, datagram: &str, skipped: u64) -> Vec<String> {
    let daemon = Daemon::start(config);
    let messages = datagram.lines().count() as u64 - skipped;
    daemon.send(datagram);
    let status = daemon.wait_received(messages);
    assert_eq!(status["ledger"]["skipped"], skipped);
    let stopped = daemon.stop();
    sorted(&without_times(&full_windows(&stopped.stdout, 10.0)))
}

fn sorted(lines: &str) -> Vec<String> {
    let mut lines: Vec<String> = lines.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn the_prometheus_document_shows_the_real_page() {
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
fn the_kafka_document_shows_the_real_records() {
    use forwarders::format::json;
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
        window: Window { end_ms: 1_490_114_074_000, length: Duration::from_secs(10) },
        start_ms: None,
        percentiles: percentiles.into(),
        exact_samples: 1000,
        instance: None,
        points: vec![
            point(MetricKind::Counter, "user.logins", &[("stage", "login")], counter),
            point(MetricKind::Timer, "user.latency", &[("name", "x"), ("stage", "login")], timer),
        ]
        .into(),
    };
    let envelope = Envelope::new(&serde_json::from_str("7444").unwrap(), &"69bc".into());
    let written = snapshot.points.iter().map(|point| {
        let mut out = Vec::new();
        envelope.write_point(&mut out, &snapshot, point);
        serde_json::from_slice::<Value>(&out).unwrap()
    });
    let blocks = document("docs/forwarders/kafka.md").blocks();
    let shown = blocks.iter().filter(|block| block.is("json", "pystatsd"));
    let shown: Vec<Value> = shown.map(|block| serde_json::from_str(&block.text).unwrap()).collect();
    assert_eq!(written.collect::<Vec<_>>(), shown);

    let mut written = Vec::new();
    json::write_point_with_sketch(&mut written, &snapshot, &snapshot.points[1]);
    let shown: Vec<_> = blocks.iter().filter(|block| block.is("json", "sketch")).collect();
    assert_eq!(String::from_utf8(written).unwrap(), shown[0].text.trim());
    assert_eq!(shown.len(), 1);
    let schema = record_schema();
    let record: Value = serde_json::from_str(&shown[0].text).unwrap();
    assert!(schema.is_valid(&record));
    for (key, wrong) in [("type", "gauge"), ("type", "set"), ("value", "1"), ("timestamp", "1")] {
        let mut record = record.clone();
        record[key] = wrong.into();
        assert!(!schema.is_valid(&record), "{key}");
    }
}

/// `docs/record.schema.json`.
fn record_schema() -> jsonschema::Validator {
    let schema = std::fs::read_to_string(common::root().join("docs/record.schema.json")).unwrap();
    jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap()
}

#[test]
fn records_of_every_type_fit_the_schema_with_exactly_their_fields() {
    use forwarders::format::json;
    use model::testing::{snapshot_of, timer};
    use model::{DistinctSet, MetricKind, Point, Series, SetSeed, Sum};
    use std::sync::Arc;

    let mut set = DistinctSet::default();
    set.insert(b"a", &SetSeed::from_text(""));
    let gauge = model::Value::Gauge { value: -2.5, arrival_ns: 1 };
    let values = [
        (MetricKind::Counter, model::Value::Counter(Sum::of(5.0))),
        (MetricKind::Trace, model::Value::Trace(Sum::of(2.0))),
        (MetricKind::Gauge, gauge),
        (MetricKind::Set, model::Value::set(set)),
        (MetricKind::Timer, timer("t", &[], &[(12.75, 2.0), (-1.0, 1.0)]).value),
    ];
    let schema = record_schema();
    for (kind, value) in values {
        let series = Arc::new(Series::new(kind, "m", &[("stage", "login")]));
        let snapshot = snapshot_of(vec![Point { series, value }]);
        let mut written = Vec::new();
        json::write_point(&mut written, &snapshot, &snapshot.points[0]);
        let record: Value = serde_json::from_slice(&written).unwrap();
        assert!(schema.is_valid(&record), "{record}");
        let fields = record["fields"].as_object().unwrap();
        for name in fields.keys().filter(|name| !name.starts_with('p')) {
            let mut without = record.clone();
            without["fields"].as_object_mut().unwrap().remove(name);
            // Only a rate may be missing.
            assert_eq!(
                schema.is_valid(&without),
                name == "rate" && kind != MetricKind::Timer,
                "{without}"
            );
        }
        let with = |name: &str, member: Value| {
            let mut record = record.clone();
            if name == "sketch" {
                record[name] = member;
            } else {
                record["fields"][name] = member;
            }
            schema.is_valid(&record)
        };
        let (is_timer, is_set) = (kind == MetricKind::Timer, kind == MetricKind::Set);
        assert_eq!(with("p99", 1.into()), is_timer, "{kind:?}");
        assert_eq!(with("sketch", "AAAAAAAAAAAA".into()), is_timer || is_set, "{kind:?}");
        assert!(!with("value", "text".into()), "{kind:?}");
        // A gauge has them in the results of the fleet job.
        let is_gauge = kind == MetricKind::Gauge;
        for name in ["min", "max", "sum", "mean"] {
            assert_eq!(with(name, 1.into()), is_timer || is_gauge, "{name} of {kind:?}");
        }
        assert!(is_timer || with("series", 1.into()) == is_gauge, "{kind:?}");
    }
}

// ---- The status ----------------------------------------------------------------------------

/// The paths of the members of a status, without the names that operators and clients choose.
fn shape(value: &Value) -> BTreeSet<String> {
    fn walk(path: &str, value: &Value, paths: &mut BTreeSet<String>) {
        let last = path.rsplit('.').next().unwrap_or_default();
        let chosen = [
            "rejected",
            "refused",
            "closed",
            "failed",
            "dropped",
            "by_metric",
            "overflowed_by_metric",
            "faults",
            "tags",
            "fields",
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
fn the_admin_document_shows_the_real_status() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Pki::new(folder.path(), "ca");
    authority.issue("server");
    let files = ["server.pem", "server.key"].map(|file| authority.path(file));
    let [certificate, key] = files.map(|file| file.display().to_string());
    let tls = format!("{{ cert_file: {certificate}, key_file: {key} }}");
    let mut config =
        format!("listeners: [{{ transport: tcp, address: \"127.0.0.1:0\", tls: {tls} }}]\n");
    config += "kamailio: [{ endpoint: \"unix:/nonexistent/ctl\" }]\n";
    // A destination with a spool; nothing listens on port 1.
    config += "forwarders: { kafka: { kafka_broker: \"127.0.0.1:1\", kafka_topic: t } }\n";
    let daemon = Daemon::start(&config);
    daemon.send("nonsense");
    daemon.wait_received(1);
    let real = shape(&daemon.reload(&config));
    let list: Value = serde_json::from_str(&daemon.get("/api/v1/rejected").1).unwrap();
    let history: Value = serde_json::from_str(&daemon.get("/api/v1/history").1).unwrap();
    drop(daemon);

    let admin = document("docs/admin.md");
    for (block, example) in blocks_of("status") {
        let shown = shape(&example);
        if block.to_string().starts_with("docs/admin.md") {
            assert_eq!(shown, real, "{block}");
        } else {
            assert!(shown.is_subset(&real), "{block}: {:?}", shown.difference(&real));
        }
        ledger_adds_up(&block, &example);
    }
    let [(block, example)] = &blocks_of("rejected-list")[..] else {
        panic!("not exactly one block")
    };
    assert_eq!(shape(example), shape(&list), "{block}");
    let [(block, example)] = &blocks_of("history")[..] else { panic!("not exactly one block") };
    assert_eq!(shape(example), shape(&history), "{block}");

    let listed: Vec<&str> = admin.rows().flat_map(|row| row.concat().leak().split('`')).collect();
    for path in real.iter().chain(&shape(&list)).chain(&shape(&history)) {
        let member = path.rsplit('.').next().unwrap().trim_end_matches("[]");
        assert!(member == "*" || listed.contains(&member), "docs/admin.md lacks {path}");
    }
}

#[test]
fn the_status_schema_matches_a_real_status_and_the_example() {
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
    // The example has no forwarder with a page, totals, topics or a merge, no mirror and no secret.
    let not_shown = [
        ".forwarders.*",
        ".forwarders.*.refused_access",
        ".forwarders.*.refused_connections",
        ".forwarders.*.failed_fetches",
        ".forwarders.*.held_totals",
        ".forwarders.*.reduced_histograms",
        ".forwarders.*.fallback_records",
        ".forwarders.*.failed_probes",
        ".forwarders.*.refused_probes",
        ".listeners[].mirror",
        ".listeners[].mirror[].target",
        ".listeners[].mirror[].sent",
        ".listeners[].mirror[].failed",
        ".listeners[].keys",
        ".listeners[].keys[].key",
        ".listeners[].keys[].accepted",
        ".listeners[].keys[].reordered",
        ".listeners[].keys[].unnumbered",
        ".listeners[].keys[].lost",
        ".listeners[].keys[].shortened",
        ".listeners[].keys[].forgotten_senders",
    ];
    known.retain(|path| !not_shown.contains(&path.as_str()));
    let mut shown = shape(example);
    shown.retain(|path| path != ".forwarders.*");
    assert_eq!(known, shown);
    // The check finds violations.
    let mut wrong = example.clone();
    wrong["uptime_s"] = Value::from("61");
    wrong["ledger"]["received"] = Value::from(-1);
    wrong["forwarders"]["kafka"]["last_success"] = Value::from("yesterday");
    wrong["series"].as_object_mut().unwrap().remove("total");
    wrong["listeners"][0]["more"] = Value::from(1);
    assert_eq!(schema::complaints(&schema, &wrong).len(), 5);
}

#[test]
fn the_admin_document_shows_the_real_top_metrics() {
    let text = std::fs::read_to_string(common::root().join("docs/top.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&text).unwrap();
    let daemon = Daemon::start("interval: 200ms\n");
    let top = || -> Value { serde_json::from_str(&daemon.get("/api/v1/top").1).unwrap() };
    // The first request starts the counting of senders. Tag keys are cached for some seconds.
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
    let [(block, example)] = &blocks_of("top")[..] else { panic!("not exactly one block") };
    assert_eq!(schema::complaints(&schema, example), [""; 0]);
    assert_eq!(shape(example), shape(&real), "{block}");
    assert_eq!(schema::members(&schema), shape(example));
    let admin = document("docs/admin.md");
    let listed: Vec<&str> = admin.rows().flat_map(|row| row.concat().leak().split('`')).collect();
    for path in shape(&real) {
        let member = path.rsplit('.').next().unwrap().trim_end_matches("[]");
        assert!(listed.contains(&member), "docs/admin.md lacks {path}");
    }
}

#[test]
fn the_admin_document_shows_the_real_current_values() {
    let text = std::fs::read_to_string(common::root().join("docs/series.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&text).unwrap();
    let daemon = Daemon::start("interval: 200ms\n");
    let message = r#"{"metric_name":"m","metric_type":"counter","stage":"login","host":"a"}"#;
    let deadline = std::time::Instant::now() + common::PATIENCE;
    let real = loop {
        daemon.send(message);
        let real: Value = serde_json::from_str(&daemon.get("/api/v1/series").1).unwrap();
        assert_eq!(schema::complaints(&schema, &real), [""; 0]);
        if real["series"][0]["fields"]["rate"].is_number() {
            break real;
        }
        assert!(std::time::Instant::now() < deadline, "{real:#}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    let [(block, example)] = &blocks_of("series")[..] else { panic!("not exactly one block") };
    assert_eq!(schema::complaints(&schema, example), [""; 0]);
    assert_eq!(shape(example), shape(&real), "{block}");
    // Only Kamailio reports running totals.
    let mut members = schema::members(&schema);
    members.retain(|path| path != ".series[].total");
    assert_eq!(members, shape(example));
    let admin = document("docs/admin.md");
    let listed: Vec<&str> = admin.rows().flat_map(|row| row.concat().leak().split('`')).collect();
    for path in schema::members(&schema) {
        let member = path.rsplit('.').next().unwrap().trim_end_matches("[]");
        assert!(member == "*" || listed.contains(&member), "docs/admin.md lacks {path}");
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

/// Maximum number of words of ARCHITECTURE.md, so that it is read to the end.
const ARCHITECTURE_WORDS_MAX: usize = 2_500;

#[test]
fn the_map_of_the_architecture_names_existing_folders_and_types() {
    let page = document("ARCHITECTURE.md");
    assert!(page.text.split_whitespace().count() <= ARCHITECTURE_WORDS_MAX);
    let mut code = String::new();
    for folder in ["src", "crates", "forwarders/src"] {
        read_code(&common::root().join(folder), &mut code);
    }
    let (mut folders, mut types) = (0, 0);
    let map = page.rows().skip_while(|row| row[0] != "folder").skip(2);
    for row in map.take_while(|row| row[0].starts_with('`')) {
        let parent = in_backticks(row[0]).next().map(Path::new).and_then(Path::parent).unwrap();
        for (number, path) in in_backticks(row[0]).enumerate() {
            let path = if number == 0 { path.into() } else { parent.join(path) };
            let is_there = common::root().join(&path).exists();
            assert!(is_there, "ARCHITECTURE.md: {}", path.display());
            folders += 1;
        }
        for name in in_backticks(row.last().unwrap()) {
            let is_defined = ["struct", "enum", "trait"].iter().any(|kind| {
                let start = format!("{kind} {name}");
                code.match_indices(&start).any(|(at, _)| {
                    let next = code[at + start.len()..].chars().next();
                    next.is_some_and(|next| !next.is_alphanumeric() && next != '_')
                })
            });
            assert!(is_defined, "ARCHITECTURE.md: no type is called {name}");
            types += 1;
        }
    }
    assert!(folders > 20 && types > 20, "{folders} folders, {types} types");
}

fn in_backticks(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn read_code(folder: &Path, code: &mut String) {
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_code(&path, code);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            code.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}
