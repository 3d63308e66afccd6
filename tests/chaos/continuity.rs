//! The part of the account that is about two runs of the daemon: totals and levels that continue, and
//! windows that arrive again.

use crate::account::Account;
use crate::clusters::Cluster;
use crate::senders::{SENDERS, is_datagram};

impl Account<'_> {
    /// After its end, a run repeats at most one window that the destination has acknowledged, unless the
    /// disk kept the file of that window from being removed.
    pub(crate) fn repeats(&mut self) {
        let mut repeats = 0;
        for restart in &self.outcome.restarts {
            let repeated = self.finished.scene.influx.repeated(restart.next, restart.ended_ms);
            repeats += repeated.len();
            if repeated.len() > 1 && !restart.disk_failed {
                self.finding(format!(
                    "influxdb: run {} repeated more than one window: {repeated:?}",
                    restart.next
                ));
            }
        }
        self.lines.push(format!("influxdb: {repeats} windows repeated after a restart"));
    }

    /// The totals on the page and the levels of gauges continue over all orderly restarts.
    pub(crate) fn page(&mut self, influx: &[Vec<Cluster>]) {
        let page = self.finished.scene.report.totals();
        // Then InfluxDB lacks windows whose samples are in the totals.
        let is_incomplete = self
            .outcome
            .dropped
            .get("influxdb")
            .is_some_and(|reasons| reasons.keys().any(|reason| reason != "refused"));
        for (sender, clusters) in influx.iter().enumerate() {
            let since = |from| clusters.iter().map(|cluster| cluster.count_above(from)).sum();
            let expected: Vec<u64> = self.beginnings(sender).into_iter().map(since).collect();
            // A stream's step may be divided where it was cut.
            let cuts =
                if is_datagram(sender) { 0.0 } else { 2.0 * self.outcome.restarts.len() as f64 };
            for (name, slack) in [("t_count", 0.0), ("g", cuts)] {
                if expected.is_empty() {
                    continue;
                }
                let shown = page.totals.get(&(name.to_owned(), sender)).copied().unwrap_or(0.0);
                let is_expected = |expected: &u64| (shown - *expected as f64).abs() <= slack;
                if !is_incomplete && !expected.iter().any(is_expected) {
                    let sender = SENDERS[sender];
                    self.finding(format!(
                        "page: {name} of {sender} is {shown} instead of {expected:?}"
                    ));
                }
            }
        }
        self.lines.push(format!("page: {} totals", page.totals.len()));
    }

    /// The steps of a sender after which the totals may have begun: those of the last kill, and of later
    /// restarts at which the disk failed. None if they began with totals of an unknown run.
    fn beginnings(&self, sender: usize) -> Vec<u64> {
        let mut beginnings = Vec::new();
        for restart in self.outcome.restarts.iter().rev().filter(|restart| restart.may_reset) {
            if restart.is_stale {
                return Vec::new();
            }
            beginnings.push(restart.resumed[sender]);
            if restart.is_kill {
                return beginnings;
            }
        }
        beginnings.push(0);
        beginnings
    }
}
