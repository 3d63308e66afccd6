//! Measures the CPU time that a listener takes for a datagram, with and without signatures. Prints a
//! table; the figures of a row are ratios of one run.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use benches::socket::SocketListener;
use engine::listener::signature::config::{SecretKeys, SignatureConfig};
use engine::protocol::signed::SigningKey;

/// Datagrams of a measurement.
const DATAGRAMS: u32 = 200_000;
/// Measurements of each row, in turns. The median counts.
const ROUNDS: usize = 7;
/// Lines of a datagram.
const LINES: [usize; 2] = [1, 10];
const FIRST: &str = "the first secret of a listener";
const SECOND: &str = "the second secret of a listener";

/// Each row: its name, the secret of the sender, and the secrets of the listener.
const ROWS: [(&str, Option<&str>, &[&str]); 4] = [
    ("unsigned", None, &[]),
    ("signed", Some(FIRST), &[FIRST]),
    ("signed with the second of two secrets", Some(SECOND), &[FIRST, SECOND]),
    ("forged, two secrets", Some("a secret that the listener has not"), &[FIRST, SECOND]),
];

#[allow(clippy::print_stdout)]
fn main() {
    let mut times: BTreeMap<(usize, usize), Vec<f64>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        for lines in LINES {
            for (row, (_, signed_with, secrets)) in ROWS.iter().enumerate() {
                let time = time_of_datagram(lines, *signed_with, secrets);
                times.entry((row, lines)).or_default().push(time);
            }
        }
    }
    println!(
        "| datagrams | 1 line, ns | ratio | 10 lines, ns | ratio |\n| --- | --- | --- | --- | --- |"
    );
    for (row, (name, ..)) in ROWS.iter().enumerate() {
        print!("| {name} |");
        for lines in LINES {
            let (time, base) = (median(&times[&(row, lines)]), median(&times[&(0, lines)]));
            print!(" {time:.0} | {:.2} |", time / base);
        }
        println!();
    }
}

fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// CPU time of the listener for a datagram with this number of lines, in nanoseconds.
fn time_of_datagram(lines: usize, signed_with: Option<&str>, secrets: &[&str]) -> f64 {
    let listener = SocketListener::start(keys(secrets), SignatureConfig::default());
    let key = signed_with.map(SigningKey::new);
    let text = |number: u32| {
        let line = |line| format!("page.views.{}:1|c", (number as usize * lines + line) % 1_000);
        (0..lines).map(line).collect::<Vec<_>>().join("\n")
    };
    let datagram = |number: u32| match &key {
        None => text(number).into_bytes(),
        Some(key) => {
            let mut datagram = Vec::new();
            key.sign(unix_seconds(), number, text(number).as_bytes(), &mut datagram);
            datagram
        }
    };
    listener.send((0..DATAGRAMS).map(datagram));
    let report = listener.finish();
    assert_eq!(report.datagrams, u64::from(DATAGRAMS), "none is lost");
    let is_forged = key.is_some() && !secrets.iter().any(|secret| Some(*secret) == signed_with);
    let samples = if is_forged { 0 } else { u64::from(DATAGRAMS) * lines as u64 };
    assert_eq!(report.aggregated, samples);
    report.cpu_ns as f64 / f64::from(DATAGRAMS)
}

/// The secrets of a listener, as in its configuration.
fn keys(secrets: &[&str]) -> SecretKeys {
    let mut keys = SecretKeys::default();
    for (number, secret) in secrets.iter().enumerate() {
        keys.push(&number.to_string(), secret).expect("a good secret");
    }
    keys
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
