//! The account at the end: which samples each destination has, and whether the documents allow the
//! missing and the repeated ones.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use crate::clusters::Cluster;
use crate::evidence::{Evidence, Span};
use crate::numbers::{Numbers, Range};
use crate::run::{Finished, Outcome};
use crate::senders::{SENDERS, is_datagram, weight};
use crate::statsd::Lines;

/// Destinations that have a spool: they lose no window that has left memory.
const WITH_SPOOL: [&str; 2] = ["influxdb", "graphite"];

/// The account of a finished run.
pub(crate) struct Account<'a> {
    pub(crate) finished: &'a Finished,
    pub(crate) outcome: &'a Outcome,
    /// Lines about the destinations, for the report.
    pub(crate) lines: Vec<String>,
}

impl<'a> Account<'a> {
    /// Accounts for every sample at every destination.
    pub(crate) fn of(finished: &'a Finished) -> Self {
        let mut account = Self { finished, outcome: &finished.outcome, lines: Vec::new() };
        let file = account.file();
        account.stored("file", &file, Merge::Adds);
        let influx =
            account.stored("influxdb", &finished.scene.influx.evidence(), Merge::LastWrite);
        account.repeats();
        account.stored("graphite", &finished.scene.graphite.evidence(), Merge::Seconds);
        let kernel_drops = finished.scene.statsd.kernel_drops();
        account.statsd("statsd", &finished.scene.statsd.lines(), kernel_drops);
        account.statsd("statsd_tcp", &finished.scene.statsd_tcp.lines(), 0);
        account.page(&influx);
        account.drops();
        account
    }

    pub(crate) fn finding(&self, text: String) {
        self.finished.scene.report.finding(text);
    }

    /// The points in the file and in the rotated files.
    fn file(&self) -> Evidence {
        let mut evidence = Evidence::default();
        for entry in fs::read_dir(&self.finished.scene.site.folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy();
            if name == "out" || name.starts_with("rotated.") {
                read_file(&fs::read_to_string(&path).unwrap(), &mut evidence);
            }
        }
        evidence
    }

    /// Accounts for a destination that gets windows. Returns its windows, by sender.
    fn stored(&mut self, name: &str, evidence: &Evidence, merge: Merge) -> Vec<Vec<Cluster>> {
        let kills = self.outcome.restarts.iter().filter(|restart| restart.is_kill).count();
        let allowed_odd = if merge == Merge::Adds { kills } else { 0 };
        if evidence.odd.len() > allowed_odd {
            self.finding(format!("{name}: invalid lines: {:?}", evidence.odd));
        }
        let (spans, overwritten) = self.last_writes(name, evidence, merge);
        let (mut all, mut lost) = (Vec::new(), 0);
        for (sender, spans) in spans.into_iter().enumerate() {
            let clusters = Cluster::group(spans);
            let allowed = self.allowed(name, sender);
            for cluster in &clusters {
                if let Some(fault) = cluster.fault(&allowed, self.outcome.kernel_drops[sender]) {
                    self.finding(format!("{name}: {}: {fault}: {cluster:?}", SENDERS[sender]));
                }
            }
            lost += self.judge(name, sender, &Numbers::of(clusters.iter().map(Cluster::range)).0);
            all.push(clusters);
        }
        self.check_counts(name, evidence, &all, merge);
        let samples: u64 = all.iter().flatten().map(|cluster| cluster.count).sum();
        self.lines.push(format!(
            "{name}: {samples} samples in {} windows, {} repeats, {overwritten} overwritten after a clock step, {lost} lost as allowed",
            evidence.spans.len(),
            evidence.repeats,
        ));
        all
    }

    /// The windows of each sender that a destination keeps, and the number of windows that another
    /// one overwrote.
    fn last_writes(&self, name: &str, evidence: &Evidence, merge: Merge) -> (Vec<Vec<Span>>, u64) {
        let (mut kept, mut overwritten) = (vec![Vec::new(); SENDERS.len()], 0);
        for (key, writes) in &evidence.spans {
            let (last, before) = writes.split_last().unwrap();
            kept[key.0].push(*last);
            for write in before {
                // Another write, usually the last one, may contain it: that one continues the
                // window.
                let is_continued = write.is_part_of(last)
                    || writes.iter().any(|other| other != write && write.is_part_of(other));
                match merge {
                    Merge::Adds => {}
                    Merge::LastWrite | Merge::Seconds if is_continued => continue,
                    Merge::Seconds => {}
                    Merge::LastWrite => {
                        overwritten += 1;
                        if !self.outcome.may_overwrite() {
                            let (sender, time_ms) = (SENDERS[key.0], key.1);
                            self.finding(format!(
                                "{name}: {sender} {time_ms}: {last:?} replaced {write:?}"
                            ));
                        }
                    }
                }
                kept[key.0].push(*write);
            }
        }
        (kept, overwritten)
    }

    /// Reports missing numbers of a sender that nothing explains. Returns how many are missing.
    fn judge(&self, name: &str, sender: usize, numbers: &Numbers) -> u64 {
        let missing = numbers.missing(self.outcome.sent[sender]);
        let unexplained = missing.without(&self.allowed(name, sender));
        // Refused points are gauges.
        let reasons = self.outcome.dropped.get(name).into_iter().flatten();
        let dropped: u64 =
            reasons.filter(|(reason, _)| *reason != "refused").map(|(_, points)| points).sum();
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

    /// The numbers of a sender that a destination may lack.
    fn allowed(&self, name: &str, sender: usize) -> Numbers {
        let doubts = self.outcome.in_doubt[sender].iter().map(|number| (*number, *number));
        let ends = self.outcome.restarts.iter().map(|restart| -> Range {
            // A spool whose disk fails cannot keep windows either, and the log line about it may be lost.
            let has_spool = WITH_SPOOL.contains(&name) && !restart.disk_failed;
            let is_untold = !has_spool && !restart.told.iter().any(|told| told == name);
            let safe = restart.safe.get(name).map_or(0, |safe| safe[sender]);
            let kept = if restart.is_kill || is_untold { safe } else { restart.signalled[sender] };
            (kept + 1, restart.resumed[sender])
        });
        Numbers::of(ends.chain(doubts)).0
    }

    /// Compares the counters with the numbers that the timers have as values.
    fn check_counts(&self, name: &str, evidence: &Evidence, all: &[Vec<Cluster>], merge: Merge) {
        if merge == Merge::LastWrite {
            self.check_windows(name, evidence);
        }
        if merge != Merge::Adds
            || self.outcome.dropped.get(name).is_some_and(|drops| !drops.is_empty())
        {
            return;
        }
        for (sender, clusters) in all.iter().enumerate() {
            let (numbers, _) = Numbers::of(clusters.iter().map(Cluster::range));
            let counts = evidence.counts.iter().filter(|((of, _), _)| *of == sender);
            let sum: f64 = counts.map(|(_, (_, sum))| sum).sum();
            self.compare_sum(name, sender, sum, &numbers);
        }
    }

    /// Compares the sum of a counter with its increments. A stream's step may be divided where it was cut.
    fn compare_sum(&self, name: &str, sender: usize, sum: f64, numbers: &Numbers) {
        let ranges = numbers.ranges().iter();
        let expected: u64 = ranges.flat_map(|(first, last)| *first..=*last).map(weight).sum();
        let cuts = if is_datagram(sender) { 0 } else { 2 * self.outcome.restarts.len() };
        if (sum - expected as f64).abs() > (cuts * 7) as f64 {
            self.finding(format!(
                "{name}: {}: counted {sum} instead of {expected}",
                SENDERS[sender]
            ));
        }
    }

    /// Compares each window's counter with its numbers, for senders whose steps are never divided.
    fn check_windows(&self, name: &str, evidence: &Evidence) {
        for (key, spans) in evidence.spans.iter().filter(|((sender, _), _)| is_datagram(*sender)) {
            let expected = |span: &Span| (span.first..=span.last).map(weight).sum::<u64>() as f64;
            // A drop may concern one of the two points.
            let Some(count) = evidence.counts.get(key).map(|counts| counts.0) else { continue };
            if !spans.iter().any(|span| !span.is_whole() || expected(span) == count) {
                let (sender, time_ms) = (SENDERS[key.0], key.1);
                self.finding(format!("{name}: {sender} {time_ms}: counted {count} in {spans:?}"));
            }
        }
    }

    /// Accounts for a statsd server, which gets each sample at most once.
    fn statsd(&mut self, name: &str, lines: &Lines, kernel_drops: u64) {
        if !lines.odd.is_empty() {
            self.finding(format!("{name}: invalid lines: {:?}", lines.odd));
        }
        let (mut samples, mut lost) = (0, 0);
        for (sender, times) in lines.numbers.iter().enumerate() {
            let arrived = (1..times.len() as u64).filter(|number| times[*number as usize] > 0);
            let (numbers, _) = Numbers::of(arrived.map(|number| (number, number)));
            let twice: Vec<usize> = (0..times.len()).filter(|number| times[*number] > 1).collect();
            if !twice.is_empty() {
                self.finding(format!("{name}: {}: sent twice: {twice:?}", SENDERS[sender]));
            }
            samples += numbers.count();
            if kernel_drops == 0 {
                lost += self.judge(name, sender, &numbers);
                if self.outcome.dropped.get(name).is_none_or(BTreeMap::is_empty) {
                    self.compare_sum(name, sender, lines.counts[sender], &numbers);
                }
            }
        }
        self.lines.push(format!(
            "{name}: {samples} samples, {lost} lost as allowed, {kernel_drops} datagrams dropped by this test's socket"
        ));
    }

    /// Reports dropped points whose reason no fault explains.
    fn drops(&mut self) {
        let disk_failed = self.outcome.restarts.iter().any(|restart| restart.disk_failed);
        for (name, reasons) in &self.outcome.dropped {
            for (reason, points) in reasons {
                let has_no_spool =
                    ["statsd", "statsd_tcp", "file", "extra"].contains(&name.as_str());
                let is_explained = match reason.as_str() {
                    "lost" => name.starts_with("statsd"),
                    "refused" => name == "influxdb",
                    "shutdown" => disk_failed || has_no_spool,
                    "replaced" => has_no_spool,
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

/// How a destination treats two windows with the same timestamp.
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
    evidence
        .add(name, sender, point["timestamp"].as_u64()?, |field| point["fields"][field].as_f64())
}
