//! The same lines for a real Telegraf and for tallyd, and the lines that both write.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use common::telegraf::Telegraf;
use common::{Daemon, PATIENCE};

use super::{ATTEMPTS, ROUNDS};

/// Numbers by series.
type Numbers = BTreeMap<String, f64>;

/// The numbers of each interval of Telegraf, by time.
fn intervals_of(telegraf: &Telegraf) -> BTreeMap<u64, Numbers> {
    intervals(telegraf.lines().iter().filter_map(|line| of_telegraf(line)))
}

/// A line of InfluxDB's line protocol: series, fields, time.
fn parts(line: &str) -> (&str, BTreeMap<&str, f64>, u64) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [series, fields, time] = words[..] else { panic!("{line}") };
    let number = |field: &'_ str| field.trim_end_matches('i').parse().unwrap();
    let fields = fields.split(',').map(|field| field.split_once('=').unwrap());
    (series, fields.map(|(key, text)| (key, number(text))).collect(), time.parse().unwrap())
}

/// Series without the tag of the type, number and time. Of a timer, the number of values.
fn of_telegraf(line: &str) -> Option<(String, f64, u64)> {
    let (series, fields, time) = parts(line);
    let kind = series.split(',').find_map(|tag| tag.strip_prefix("metric_type="))?;
    let name = series.replace(&format!(",metric_type={kind}"), "");
    let number = fields.get("value").or_else(|| fields.get("count"))?;
    // Telegraf gathers some milliseconds after each second.
    Some((name, *number, time / 1_000_000_000))
}

fn of_tallyd(line: &str) -> Option<(String, f64, u64)> {
    let (series, fields, time) = parts(line);
    let number = fields.get("value").or_else(|| fields.get("count"))?;
    Some((series.replace('.', "_"), *number, time / 1_000_000_000))
}

fn intervals(lines: impl Iterator<Item = (String, f64, u64)>) -> BTreeMap<u64, Numbers> {
    let mut intervals: BTreeMap<u64, Numbers> = BTreeMap::new();
    for (series, number, time) in lines {
        intervals.entry(time).or_default().insert(series, number);
    }
    intervals
}

/// The numbers of one round from both.
struct Round {
    telegraf: Numbers,
    tallyd: Numbers,
}

/// The numbers of ten rounds, without an interval between two of them.
fn rounds(options: &str, idle: &str) -> Option<Vec<Round>> {
    for _ in 0..ATTEMPTS {
        let input = format!("percentiles = []\n{options}");
        let telegraf = Telegraf::start("omit_hostname = true", &input)?;
        let daemon = Daemon::start(&format!(
            "interval: 1s\nlisteners: [{{ protocol: statsd, address: \"127.0.0.1:0\" }}]\n\
             forwarders: {{ file: {{ path: DIR/out, format: influx, {idle} }} }}\n"
        ));
        let of_daemon = || {
            let text = std::fs::read_to_string(daemon.path("out")).unwrap_or_default();
            let complete = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            intervals(complete.filter_map(of_tallyd))
        };
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = [telegraf.address, daemon.address("statsd/udp ")];
        for round in 1..=ROUNDS {
            let lines = super::input(round, false).join("\n");
            let datagram = format!("{lines}\nround_{round}:1|c");
            for address in &to {
                socket.send_to(datagram.as_bytes(), address).unwrap();
            }
            let has = |intervals: &BTreeMap<u64, Numbers>| time_of(intervals, round).is_some();
            repeat_until("a round", || has(&intervals_of(&telegraf)) && has(&of_daemon()));
        }
        let (theirs, ours) = (intervals_of(&telegraf), of_daemon());
        let times = |intervals: &BTreeMap<u64, Numbers>| -> Vec<u64> {
            (1..=ROUNDS).map(|round| time_of(intervals, round).unwrap()).collect()
        };
        let has_gap = |times: &[u64]| times.windows(2).any(|pair| pair[0] + 1 < pair[1]);
        let (of_theirs, of_ours) = (times(&theirs), times(&ours));
        if has_gap(&of_theirs) || has_gap(&of_ours) {
            continue;
        }
        let pair = |(telegraf, tallyd): (u64, u64)| Round {
            telegraf: theirs[&telegraf].clone(),
            tallyd: ours[&tallyd].clone(),
        };
        return Some(of_theirs.into_iter().zip(of_ours).map(pair).collect());
    }
    panic!("the machine is too busy: an interval came between two rounds in {ATTEMPTS} attempts");
}

/// The time of the first interval with the marker of a round.
fn time_of(intervals: &BTreeMap<u64, Numbers>, round: usize) -> Option<u64> {
    let marker = format!("round_{round}");
    let mut all = intervals.iter();
    all.find(|(_, numbers)| numbers.contains_key(&marker)).map(|(time, _)| *time)
}

fn repeat_until(what: &str, mut is_met: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_met() {
        assert!(Instant::now() < deadline, "timeout waiting for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Compares the numbers of all rounds.
#[allow(clippy::print_stderr, reason = "--nocapture shows how much was compared")]
fn compare(options: &str, idle: &str) {
    let Some(rounds) = rounds(options, idle) else { return };
    let mut compared = 0;
    for (number, Round { telegraf, tallyd }) in (1..).zip(rounds) {
        assert_eq!(tallyd, telegraf, "round {number}: tallyd, Telegraf; {options}; {idle}");
        compared += tallyd.len();
    }
    eprintln!("{options}: {compared} equal numbers");
    assert!(compared > 30, "{compared}");
}

#[test]
fn telegraf_and_tallyd_write_the_same_series_by_default() {
    compare("", "");
}

#[test]
fn telegraf_and_tallyd_write_the_same_gauges_without_delete_gauges() {
    compare("delete_gauges = false", "idle: { gauges: last }");
}

#[test]
fn telegraf_and_tallyd_write_the_same_gauges_with_max_ttl() {
    // Telegraf writes a gauge once more after its time and forgets it then.
    let options = "delete_gauges = false\nmax_ttl = \"1500ms\"";
    compare(options, "idle: { gauges: last }, idle_for: 1500ms");
}

/// The values of Telegraf's other options have no equivalent: they are running totals.
#[test]
fn without_deletion_telegraf_writes_running_totals_of_counters_sets_and_timers() {
    let options = "delete_counters = false\ndelete_sets = false\ndelete_timings = false";
    let Some(rounds) = rounds(options, "idle: { counters: zero, timers: zero, sets: zero }") else {
        return;
    };
    let mut totals = Numbers::new();
    for (number, Round { telegraf, tallyd }) in (1..).zip(rounds) {
        for (series, count) in &tallyd {
            *totals.entry(series.clone()).or_default() += count;
        }
        let series = |numbers: &Numbers| numbers.keys().cloned().collect::<Vec<_>>();
        assert_eq!(series(&tallyd), series(&telegraf), "round {number}");
        for (series, total) in &telegraf {
            if series.starts_with("c_") || series.starts_with("t_") || series == "s_once" {
                assert_eq!(totals.get(series), Some(total), "round {number}: {series}");
            }
        }
    }
}
