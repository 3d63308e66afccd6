//! The options of a run, from the environment.

use std::env;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The options of a run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// `TALLYD_CHAOS_SEED`; by default another one in each run.
    pub(crate) seed: u64,
    /// `TALLYD_CHAOS_SECONDS`: how long faults are injected.
    pub(crate) length: Duration,
    /// `TALLYD_CHAOS_HEALTH_MS`: how long a reply of `/healthz` may take. Generous by default, because
    /// other tests run at the same time.
    pub(crate) health: Duration,
    /// `TALLYD_CHAOS_FAULTS`: kinds of faults, separated by commas; only these, or with `-` in front of
    /// a kind all others.
    pub(crate) faults: String,
}

impl Options {
    pub(crate) fn from_environment() -> Self {
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        Self {
            seed: number("TALLYD_CHAOS_SEED").unwrap_or(clock % 1_000_000),
            length: Duration::from_secs(number("TALLYD_CHAOS_SECONDS").unwrap_or(20)),
            health: Duration::from_millis(number("TALLYD_CHAOS_HEALTH_MS").unwrap_or(5_000)),
            faults: env::var("TALLYD_CHAOS_FAULTS").unwrap_or_default(),
        }
    }

    /// Whether faults of this kind are wanted.
    pub(crate) fn wants(&self, kind: &str) -> bool {
        let words = || self.faults.split(',').map(str::trim).filter(|word| !word.is_empty());
        if words().any(|word| word.strip_prefix('-') == Some(kind)) {
            return false;
        }
        words().all(|word| word.starts_with('-')) || words().any(|word| word == kind)
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}: {text} is not a number")))
}
