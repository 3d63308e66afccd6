//! The timeline of a run and its findings.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Mutex;
use std::time::Instant;

use crate::senders::SENDERS;

/// The latest faults that a failure shows.
const SHOWN: usize = 40;
/// A broken promise often shows in each poll.
const FINDINGS_MAX: usize = 50;

/// The timeline of a run and its findings.
pub(crate) struct Report {
    began: Instant,
    timeline: Mutex<Vec<String>>,
    findings: Mutex<Vec<String>>,
    /// Number of faults by kind.
    counts: Mutex<BTreeMap<String, u64>>,
    page: Mutex<Page>,
}

/// The totals on the page for Prometheus.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    /// The run of the daemon that showed it last.
    run: u64,
    /// By name and sender.
    pub(crate) totals: BTreeMap<(String, usize), f64>,
}

impl Report {
    pub(crate) fn new() -> Self {
        let (timeline, findings, counts, page) = Default::default();
        Self { began: Instant::now(), timeline, findings, counts, page }
    }

    /// Notes an event.
    pub(crate) fn event(&self, text: &str) {
        let line = format!("{:8.2} {text}", self.began.elapsed().as_secs_f64());
        if std::env::var_os("TALLYD_CHAOS_VERBOSE").is_some() {
            let _unread = writeln!(std::io::stderr(), "{line}");
        }
        self.timeline.lock().unwrap().push(line);
    }

    /// Notes a broken promise.
    pub(crate) fn finding(&self, text: impl Into<String>) {
        let text = text.into();
        self.event(&format!("FINDING {text}"));
        let mut findings = self.findings.lock().unwrap();
        if findings.len() < FINDINGS_MAX {
            findings.push(format!("{:8.2} {text}", self.began.elapsed().as_secs_f64()));
        }
    }

    pub(crate) fn count(&self, kind: &str) {
        *self.counts.lock().unwrap().entry(kind.to_owned()).or_default() += 1;
    }

    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        self.counts.lock().unwrap().clone()
    }

    pub(crate) fn findings(&self) -> Vec<String> {
        self.findings.lock().unwrap().clone()
    }

    /// The whole timeline.
    pub(crate) fn timeline(&self) -> String {
        self.timeline.lock().unwrap().join("\n")
    }

    /// The end of the timeline.
    pub(crate) fn latest(&self) -> String {
        let timeline = self.timeline.lock().unwrap();
        timeline[timeline.len().saturating_sub(SHOWN)..].join("\n")
    }

    /// Takes the page of a run, whose totals must not be below those seen before.
    pub(crate) fn page(&self, run: u64, text: &str) {
        let mut page = self.page.lock().unwrap();
        if run < page.run {
            return;
        }
        page.run = run;
        for (name, sender, value) in text.lines().filter_map(total) {
            let before = page.totals.insert((name.to_owned(), sender), value).unwrap_or_default();
            if value < before && name != "g" {
                self.finding(format!(
                    "page: {name} of {} fell from {before} to {value}",
                    SENDERS[sender]
                ));
            }
        }
    }

    /// Forgets the totals that a kill has reset, and the page of earlier runs.
    pub(crate) fn reset_page(&self, run: u64) {
        *self.page.lock().unwrap() = Page { run, totals: BTreeMap::new() };
    }

    pub(crate) fn totals(&self) -> Page {
        self.page.lock().unwrap().clone()
    }
}

/// A line `name{s="SENDER"} value`.
fn total(line: &str) -> Option<(&str, usize, f64)> {
    let (name, rest) = line.split_once("{s=\"")?;
    let (sender, value) = rest.split_once("\"} ")?;
    let sender = crate::senders::place_of(sender)?;
    ["t_count", "c_total", "g"].contains(&name).then_some((name, sender, value.parse().ok()?))
}
