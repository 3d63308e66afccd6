//! `naming: telegraf`: a real Telegraf and tallyd get the same lines and write the same measurements, tags,
//! fields, types and percentiles.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use common::line_protocol::{FieldValue, Fields, Written, differences, written};
use common::telegraf::Telegraf;
use common::{Daemon, PATIENCE};

/// Attempts to send the lines of a round to both within one interval.
const ATTEMPTS: usize = 10;

/// tallyd with Telegraf's names.
struct Tallyd(Daemon);

impl Tallyd {
    fn start(agent: &str, telegraf: &str) -> Self {
        Self(Daemon::start(&format!(
            "interval: 1s\n{agent}listeners: [{{ protocol: statsd, address: \"127.0.0.1:0\" }}]\n\
             aggregation: {{ percentiles: [50, 90, 99, 99.9, 99.95, 100] }}\n\
             forwarders: {{ file: {{ path: DIR/out, format: influx, naming: telegraf, telegraf: {{ {telegraf} }} }} }}\n"
        )))
    }

    fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.0.path("out")).unwrap_or_default();
        let complete = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        complete.map(|line| line.trim_end().to_owned()).collect()
    }
}

const PERCENTILES: &str = "percentiles = [50.0, 90.0, 99.0, 99.9, 99.95, 100.0]";

/// What both write for these lines, each of which gets a prefix of its round: Telegraf first.
fn both(telegraf: &Telegraf, tallyd: &Tallyd, round: usize, lines: &[&str]) -> (Written, Written) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let prefix = format!("r{round}_");
    let datagram: Vec<String> = lines.iter().map(|line| format!("{prefix}{line}")).collect();
    // The last line shows that all have been written.
    let datagram = format!("{}\n{prefix}last:1|c", datagram.join("\n"));
    for address in [telegraf.address, tallyd.0.address("statsd/udp ")] {
        socket.send_to(datagram.as_bytes(), address).unwrap();
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let both = [telegraf.lines(), tallyd.lines()].map(|lines| written(&lines, &prefix));
        let is_last = |written: &Written| written.keys().any(|series| series.starts_with("last,"));
        if both.iter().all(is_last) {
            let [theirs, ours] = both;
            return (theirs, ours);
        }
        assert!(Instant::now() < deadline, "timeout waiting for round {round}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Compares everything that both write. The edge of an interval may divide the lines of a round, which
/// then repeats with other names.
#[allow(clippy::print_stderr, reason = "--nocapture shows how much was compared")]
fn compare(telegraf: &Telegraf, tallyd: &Tallyd, lines: &[&str], series: usize) -> Written {
    let mut last = Vec::new();
    for round in 1..=ATTEMPTS {
        let (theirs, ours) = both(telegraf, tallyd, round, lines);
        last = differences(&theirs, &ours);
        if last.is_empty() {
            let fields: usize = theirs.values().map(Fields::len).sum();
            eprintln!("{} equal series with {fields} fields, round {round}", theirs.len());
            assert_eq!(theirs.len(), series + 1, "{theirs:#?}");
            return ours;
        }
    }
    panic!("{last:#?}");
}

/// Lines of all kinds with whole numbers as weights, so that Telegraf truncates nothing.
const LINES: [&str; 56] = [
    // Counters.
    "page.views:1|c",
    "page.views:4|c",
    "page.views:3|c|@0.1",
    "page.views:-2|c",
    "page.exponent:1e3|c",
    "page.zero:0|c",
    "large.count:9007199254740992|c",
    "web-1.cart.checkout_total:7|c",
    "nodots:1|c",
    "a..b.:1|c",
    "köln.besucher:2|c",
    // With datadog_extensions, Telegraf takes `c:5` for the id of a container.
    "both:1|g:5|ms",
    // Names that become equal.
    "same.name:1|c",
    "same_name:2|c",
    // Gauges.
    "queue.depth:17|g",
    "queue.depth:12.75|g",
    "queue.change:10|g",
    "queue.change:+4|g",
    "queue.change:-1.5|g",
    "queue.from_zero:-4|g",
    "queue.tiny:0.000001|g",
    // Sets.
    "users.unique:anna|s",
    "users.unique:bert|s",
    "users.unique:anna|s",
    "users.unique:101|s",
    // Timers.
    "one.value:3.25|ms",
    "load.time:310|ms",
    "load.time:200|ms|@0.1",
    "even:1|ms",
    "even:10|ms",
    "even:2|ms",
    "even:9|ms",
    "odd:0.5|ms|@0.5",
    "odd:0.25|ms",
    "ten:1|ms",
    "ten:2|ms",
    "ten:3|ms",
    "ten:4|ms",
    "ten:5|ms",
    "ten:6|ms",
    "ten:7|ms",
    "ten:8|ms",
    "ten:9|ms",
    "ten:10|ms",
    "size.bytes:17|h",
    "size.bytes:1e3|h|@0.25|#part:body",
    // Tags.
    "tagged:1|c|#stage:login,host:a",
    "tagged:2|c|#host:a,stage:login",
    "tagged,host=a,stage=login:3|c",
    "mixed,zone=z:1|g|#stage:login",
    "urgent:1|c|#urgent,k:v",
    // Telegraf cuts the last character of all tags if it has several bytes.
    "special:1|c|#né:日本,path:/a b=c",
    "region:1|c|#dc:own,host:own",
    "sections:1|c|#k:v|T1656581400|c:4a1b",
    "sampled.set:x|s|@0.5|#k:v",
    "rated.gauge:5|g|@0.1",
];

#[test]
fn telegraf_and_tallyd_write_the_same_lines() {
    let agent = "omit_hostname = true";
    let Some(telegraf) = Telegraf::start(agent, PERCENTILES) else { return };
    let tallyd = Tallyd::start("", "");
    let ours = compare(&telegraf, &tallyd, &LINES, 31);
    // Not only equal: a timer has all of its statistics.
    assert_eq!(ours["ten,metric_type=timing"]["90_percentile"], FieldValue::Float(10.0));
    assert_eq!(ours["ten,metric_type=timing"].len(), 7 + 6);
}

#[test]
fn telegraf_and_tallyd_write_the_same_tags_of_the_host() {
    let agent = "hostname = \"web1\"\n[global_tags]\ndc = \"eu\"\nrole = \"shop\"";
    let Some(telegraf) = Telegraf::start(agent, PERCENTILES) else { return };
    let tags = "agent: { tags: { host: web1, dc: eu, role: shop }, on_conflict: message }\n";
    let ours = compare(&telegraf, &Tallyd::start(tags, ""), &LINES, 31);
    assert!(ours.contains_key("region,dc=own,host=own,metric_type=counter,role=shop"), "{ours:#?}");
}

#[test]
fn telegraf_and_tallyd_write_the_same_lines_with_floats_and_another_separator() {
    let input = format!(
        "{PERCENTILES}\nmetric_separator = \".\"\nfloat_counters = true\nfloat_timings = true\nfloat_sets = true"
    );
    let Some(telegraf) = Telegraf::start("omit_hostname = true", &input) else { return };
    let options =
        "metric_separator: ., float_counters: true, float_timings: true, float_sets: true";
    compare(&telegraf, &Tallyd::start("", options), &LINES, 32);
}

/// The differences that the documents list.
#[test]
fn telegraf_and_tallyd_differ_as_documented() {
    let Some(telegraf) = Telegraf::start("omit_hostname = true", PERCENTILES) else { return };
    let tallyd = Tallyd::start("", "");
    let lines = [
        "fraction:1.5|c",
        "third:1|c|@0.3",
        "third.timer:4|ms|@0.3",
        "two.types:1|ms",
        "two.types:2|h",
        "distribution:7|d",
        "a blank:1|c",
    ];
    let (theirs, ours) = both(&telegraf, &tallyd, 1, &lines);
    let field = |written: &Written, series: &str, field: &str| {
        written.get(series).and_then(|fields| fields.get(field)).cloned()
    };
    let integer = |value| Some(FieldValue::Integer(value));
    for (series, name, telegraf, tallyd) in [
        ("fraction,metric_type=counter", "value", integer(1), integer(2)),
        ("third,metric_type=counter", "value", integer(3), integer(3)),
        ("third_timer,metric_type=timing", "count", integer(3), integer(3)),
        ("two_types,metric_type=timing", "count", integer(1), integer(2)),
        ("two_types,metric_type=histogram", "count", integer(1), None),
        ("distribution,metric_type=distribution", "count", None, integer(1)),
        ("a,metric_type=counter", "value", integer(1), None),
        (r"a\ blank,metric_type=counter", "value", None, integer(1)),
    ] {
        assert_eq!(field(&theirs, series, name), telegraf, "Telegraf: {series}: {theirs:#?}");
        assert_eq!(field(&ours, series, name), tallyd, "tallyd: {series}: {ours:#?}");
    }
}
