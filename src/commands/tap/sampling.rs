//! Reports that only a part of the samples is shown.

use std::time::{Duration, Instant};

use api::tap::CountsEvent;

use crate::commands::client::numbers::grouped;

/// Least time between two reports of how much is shown, unless the share has not changed much.
const REPORT_PAUSE: Duration = Duration::from_secs(10);
/// Counts in a row in which every sample is shown, after which that is reported.
const CALM_COUNTS: u32 = 3;

/// The counts so far, and the latest report about them.
#[derive(Debug, Default)]
pub(super) struct Sampling {
    pub(super) received: u64,
    pub(super) shown: u64,
    pub(super) matched: u64,
    pub(super) unseen: u64,
    /// The share of samples shown at the latest report, and its time.
    reported: Option<(f64, Instant)>,
    /// Counts in a row in which every sample was shown.
    calm: u32,
}

impl Sampling {
    /// Adds the counts of a second; returns a report when there is news.
    pub(super) fn learn(
        &mut self,
        counts: &CountsEvent,
        what: &str,
        now: Instant,
    ) -> Option<String> {
        let CountsEvent { seconds, received, matched, shown, unseen, dropped } = *counts;
        self.received += received;
        self.shown += shown;
        self.matched += matched;
        self.unseen += unseen;
        if matched == shown && unseen == 0 {
            self.calm += 1;
            let is_new = self.reported.is_some() && self.calm == CALM_COUNTS;
            return is_new.then(|| {
                self.reported = None;
                format!("all {what} are shown again")
            });
        }
        self.calm = 0;
        let share = (shown.max(1)) as f64 / (matched + unseen).max(1) as f64;
        let is_new = self.reported.is_none_or(|(reported, at)| {
            now.duration_since(at) >= REPORT_PAUSE
                && !(reported / 2.0..=reported * 2.0).contains(&share)
        });
        if !is_new {
            return None;
        }
        self.reported = Some((share, now));
        let a_second = |count: u64| grouped((count as f64 / seconds).round() as u64);
        let mut parts = Vec::new();
        if matched > shown {
            let (shown, matched) = (a_second(shown), a_second(matched));
            parts.push(format!("{shown} of {matched} {what} a second are shown"));
        }
        if dropped > 0 {
            let dropped = a_second(dropped);
            parts.push(format!(
                "{dropped} a second are left out because this command reads too slowly"
            ));
        }
        if unseen > 0 {
            let (unseen, received) = (a_second(unseen), a_second(received));
            parts.push(format!(
                "{unseen} of {received} messages a second are not examined (`admin.tap.max_cpu`)"
            ));
        }
        let words = format!("sampling: {}", parts.join("; "));
        Some(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(matched: u64, shown: u64, unseen: u64) -> CountsEvent {
        CountsEvent { seconds: 1.0, received: matched + unseen, unseen, matched, shown, dropped: 0 }
    }

    #[test]
    fn sampling_is_reported_once_and_its_end_after_a_calm_period() {
        let mut sampling = Sampling::default();
        let start = Instant::now();
        let mut told = Vec::new();
        let seconds =
            [(10, 10, 0), (98_000, 1_000, 0), (99_000, 1_000, 0), (5, 5, 0), (2_000, 1_000, 7)];
        let calm = [(5, 5, 0); 5];
        for (number, (matched, shown, unseen)) in seconds.into_iter().chain(calm).enumerate() {
            let now = start + Duration::from_secs(number as u64);
            told.extend(sampling.learn(&second(matched, shown, unseen), "samples", now));
        }
        assert_eq!(
            told,
            ["sampling: 1,000 of 98,000 samples a second are shown", "all samples are shown again"]
        );
        let later = start + Duration::from_secs(60);
        let words = sampling.learn(&second(3_000_000, 1_000, 20), "samples", later).unwrap();
        assert!(words.starts_with("sampling: 1,000 of 3,000,000 "), "{words}");
        assert!(words.contains("; 20 of 3,000,020 messages a second are not examined"), "{words}");
        let later = later + REPORT_PAUSE;
        assert_eq!(sampling.learn(&second(2_900_000, 1_000, 0), "samples", later), None);
        assert!(sampling.learn(&second(2_000, 1_000, 0), "samples", later).is_some());
    }
}
