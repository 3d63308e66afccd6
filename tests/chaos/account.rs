//! The account at the end: which samples each destination has, and whether the missing and the repeated
//! ones are those that the documents allow.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use crate::evidence::{Evidence, Key, Span};
use crate::numbers::{Numbers, Range};
use crate::run::{Finished, Outcome};
use crate::senders::{SENDERS, is_datagram, weight};

/// Destinations that have a spool: they lose no window that has left memory.
const WITH_SPOOL: [&str; 2] = ["influxdb", "graphite"];

/// What is written about an account.
pub(crate) struct Account<'a> {
    finished: &'a Finished,
    outcome: &'a Outcome,
    pub(crate) lines: Vec<String>,
}

impl<'a> Account<'a> {
    /// Accounts for every sample at every destination.
    pub(crate) fn of(finished: &'a Finished) -> Self {
        let mut account = Self { finished, outcome: &finished.outcome, lines: Vec::new() };
        let file = account.file();
        account.stored("file", &file, Merge::Adds);
        let influx = finished.influx.evidence();
        let numbers = account.stored("influxdb", &influx, Merge::LastWrite);
        account.stored("graphite", &finished.graphite.evidence(), Merge::Seconds);
        account.statsd();
        account.page(&influx, &numbers);
        account.drops();
        account
    }

    fn finding(&self, text: String) {
        self.finished.report.finding(text);
    }

    /// The file, and the files that it was before.
    fn file(&self) -> Evidence {
        let mut evidence = Evidence::default();
        for entry in fs::read_dir(&self.finished.site.folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy();
            if name == "out" || name.starts_with("rotated.") {
                read_file(&fs::read_to_string(&path).unwrap(), &mut evidence);
            }
        }
        evidence
    }

    /// Accounts for a destination that gets windows. Returns the numbers that it has, by sender.
    fn stored(&mut self, name: &str, evidence: &Evidence, merge: Merge) -> Vec<Numbers> {
        let kills = self.outcome.restarts.iter().filter(|restart| restart.is_kill).count();
        let allowed_odd = if merge == Merge::Adds { kills } else { 0 };
        if evidence.odd.len() > allowed_odd {
            self.finding(format!("{name}: lines that are none: {:?}", evidence.odd));
        }
        let mut overwritten = 0;
        let mut spans = vec![Vec::new(); SENDERS.len()];
        for (key, writes) in &evidence.spans {
            for span in writes.iter().filter(|span| !span.is_whole()) {
                self.check_holes(name, key, span, merge);
            }
            let last = writes[writes.len() - 1];
            for write in &writes[..writes.len() - 1] {
                match merge {
                    Merge::Adds => {}
                    _ if write.is_within(&last) => continue,
                    Merge::Seconds => {}
                    Merge::LastWrite => {
                        overwritten += 1;
                        if !self.outcome.clock_went_back {
                            self.finding(format!(
                                "{name}: {} {}: {write:?} was overwritten by {last:?}",
                                SENDERS[key.0], key.1
                            ));
                        }
                    }
                }
                if !writes.iter().any(|other| other != write && write.is_within(other)) {
                    spans[key.0].push((write.first, write.last));
                }
            }
            if merge != Merge::Seconds
                || !writes.iter().any(|other| *other != last && last.is_within(other))
            {
                spans[key.0].push((last.first, last.last));
            }
        }
        let mut all = Vec::new();
        let mut lost = 0;
        for (sender, spans) in spans.into_iter().enumerate() {
            let (numbers, twice) = Numbers::of(spans);
            if !twice.is_empty() {
                self.finding(format!("{name}: {} has samples in two windows: {twice:?}", SENDERS[sender]));
            }
            lost += self.judge(name, sender, &numbers);
            all.push(numbers);
        }
        self.check_counts(name, evidence, &all, merge);
        let samples: u64 = all.iter().map(Numbers::count).sum();
        self.lines.push(format!(
            "{name}: {samples} samples in {} windows, {} repeats, {overwritten} overwritten after a clock step, {lost} lost as allowed",
            evidence.spans.len(),
            evidence.repeats,
        ));
        all
    }

    /// Judges the missing numbers of a sender. Returns how many are missing as allowed.
    fn judge(&self, name: &str, sender: usize, numbers: &Numbers) -> u64 {
        let missing = numbers.missing(self.outcome.sent[sender]);
        let unexplained = missing.without(&self.allowed(name, sender));
        let dropped: u64 = self.outcome.dropped.get(name).map_or(0, |reasons| reasons.values().sum());
        let kernel = self.outcome.kernel_drops[sender];
        if unexplained.count() > kernel && unexplained.ranges().len() as u64 > dropped {
            self.finding(format!(
                "{name}: {}: samples are missing: {:?}; dropped {dropped} points, the kernel {kernel} datagrams",
                SENDERS[sender],
                unexplained.ranges()
            ));
        }
        missing.count()
    }

    /// A window has holes only where a restart that divided it cost samples.
    fn check_holes(&self, name: &str, key: &Key, span: &Span, merge: Merge) {
        let (allowed, _) = Numbers::of([(span.first, span.last)]);
        let allowed = allowed.count() - allowed.without(&self.allowed(name, key.0)).count();
        let allowed = if merge == Merge::Adds { 0 } else { allowed };
        if span.holes() > allowed + self.outcome.kernel_drops[key.0] {
            let (sender, time_ms) = (SENDERS[key.0], key.1);
            self.finding(format!("{name}: {sender} {time_ms}: samples are missing within {span:?}"));
        }
    }

    /// The numbers of a sender that a destination may lack.
    fn allowed(&self, name: &str, sender: usize) -> Numbers {
        let doubts = self.outcome.in_doubt[sender].iter().map(|number| (*number, *number));
        let ends = self.outcome.restarts.iter().map(|restart| -> Range {
            let is_untold = !WITH_SPOOL.contains(&name) && !restart.told.iter().any(|told| told == name);
            let safe = restart.safe.get(name).map_or(0, |safe| safe[sender]);
            let kept = if restart.is_kill || is_untold { safe } else { restart.signalled[sender] };
            (kept + 1, restart.resumed[sender])
        });
        Numbers::of(ends.chain(doubts)).0
    }

    /// Compares the counters with the numbers of the timer.
    fn check_counts(&self, name: &str, evidence: &Evidence, all: &[Numbers], merge: Merge) {
        if merge == Merge::LastWrite {
            self.check_windows(name, evidence);
        }
        if merge != Merge::Adds || self.outcome.dropped.get(name).is_some_and(|drops| !drops.is_empty()) {
            return;
        }
        for (sender, numbers) in all.iter().enumerate() {
            let counts = evidence.counts.iter().filter(|((of, _), _)| *of == sender);
            let sum: f64 = counts.map(|(_, (_, sum))| sum).sum();
            self.compare_sum(name, sender, sum, numbers);
        }
    }

    /// Compares the sum of a counter with its increments. A stream's step may be divided where it was cut.
    fn compare_sum(&self, name: &str, sender: usize, sum: f64, numbers: &Numbers) {
        let ranges = numbers.ranges().iter();
        let expected: u64 = ranges.flat_map(|(first, last)| *first..=*last).map(weight).sum();
        let cuts = if is_datagram(sender) { 0 } else { 2 * self.outcome.restarts.len() };
        if (sum - expected as f64).abs() > (cuts * 7) as f64 {
            self.finding(format!("{name}: {}: counted {sum} instead of {expected}", SENDERS[sender]));
        }
    }

    /// Compares each window's counter with its numbers, where a step is always in one window.
    fn check_windows(&self, name: &str, evidence: &Evidence) {
        for (key, spans) in evidence.spans.iter().filter(|((sender, _), _)| is_datagram(*sender)) {
            let expected = |span: &Span| (span.first..=span.last).map(weight).sum::<u64>() as f64;
            let count = evidence.counts.get(key).map(|counts| counts.0);
            if !spans.iter().any(|span| !span.is_whole() || Some(expected(span)) == count) {
                let (sender, time_ms) = (SENDERS[key.0], key.1);
                self.finding(format!("{name}: {sender} {time_ms}: counted {count:?} in {spans:?}"));
            }
        }
    }

    /// A statsd server gets each sample at most once.
    fn statsd(&mut self) {
        let kernel_drops = self.finished.statsd.kernel_drops();
        let lines = self.finished.statsd.lines();
        if !lines.odd.is_empty() {
            self.finding(format!("statsd: lines that are none: {:?}", lines.odd));
        }
        let (mut samples, mut lost) = (0, 0);
        for (sender, times) in lines.numbers.iter().enumerate() {
            let arrived = (1..times.len() as u64).filter(|number| times[*number as usize] > 0);
            let (numbers, _) = Numbers::of(arrived.map(|number| (number, number)));
            let twice: Vec<usize> = (0..times.len()).filter(|number| times[*number] > 1).collect();
            if !twice.is_empty() {
                self.finding(format!("statsd: {}: sent twice: {twice:?}", SENDERS[sender]));
            }
            samples += numbers.count();
            if kernel_drops == 0 {
                lost += self.judge("statsd", sender, &numbers);
                if self.outcome.dropped.get("statsd").is_none_or(BTreeMap::is_empty) {
                    self.compare_sum("statsd", sender, lines.counts[sender], &numbers);
                }
            }
        }
        self.lines.push(format!(
            "statsd: {samples} samples, {lost} lost as allowed, {kernel_drops} datagrams dropped by this test's socket"
        ));
    }

    /// The totals on the page continue since the last kill.
    fn page(&mut self, evidence: &Evidence, influx: &[Numbers]) {
        let page = self.finished.report.totals();
        let restarts = &self.outcome.restarts;
        let last_kill = restarts.iter().rposition(|restart| restart.is_kill);
        for (sender, numbers) in influx.iter().enumerate() {
            let from = last_kill.map_or(0, |place| restarts[place].resumed[sender]);
            let spans = evidence.spans.iter().filter(|((of, _), _)| *of == sender);
            let last = spans.filter_map(|(_, writes)| writes.last().filter(|span| span.first > from));
            let expected = numbers.count_above(from) - last.map(Span::holes).sum::<u64>();
            let shown = |name: &str| page.totals.get(&(name.to_owned(), sender)).copied().unwrap_or(0.0);
            if shown("t_count") != expected as f64 {
                let shown = shown("t_count");
                self.finding(format!("page: {} has {shown} samples instead of {expected}", SENDERS[sender]));
            }
            let level = shown("g");
            if (level - expected as f64).abs() > if is_datagram(sender) { 0.0 } else { 2.0 * restarts.len() as f64 } {
                self.finding(format!("page: the level of {} is {level} instead of {expected}", SENDERS[sender]));
            }
        }
        let count = page.totals.len();
        self.lines.push(format!("page: {count} totals"));
    }

    /// Which reasons of drops the faults explain.
    fn drops(&mut self) {
        let disk_failed = self.outcome.restarts.iter().any(|restart| restart.disk_failed);
        for (name, reasons) in &self.outcome.dropped {
            for (reason, points) in reasons {
                let is_explained = match reason.as_str() {
                    "lost" => name == "statsd",
                    "shutdown" => disk_failed || ["statsd", "file", "extra"].contains(&name.as_str()),
                    "replaced" => ["statsd", "file", "extra"].contains(&name.as_str()),
                    _ => false,
                };
                if !is_explained {
                    self.finding(format!("{name}: {points} points dropped: {reason}"));
                }
            }
        }
        self.lines.push(format!("dropped: {:?}", self.outcome.dropped));
    }
}

/// What a destination does with two windows of one timestamp.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Merge {
    /// It has both.
    Adds,
    /// It keeps the later one.
    LastWrite,
    /// The same, but its timestamps are whole seconds, in which several windows may end.
    Seconds,
}

fn read_file(text: &str, evidence: &mut Evidence) {
    for line in text.lines() {
        if read_line(line, evidence).is_none() {
            evidence.add_odd(line);
        }
    }
}

fn read_line(line: &str, evidence: &mut Evidence) -> Option<()> {
    let point: Value = serde_json::from_str(line).ok()?;
    let (name, sender) = (point["name"].as_str()?, point["tags"]["s"].as_str()?);
    evidence.add(name, sender, point["timestamp"].as_u64()?, |field| point["fields"][field].as_f64())
}
